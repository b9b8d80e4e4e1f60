//! The NIC's layout: which tables there are, what each matches, what each may do. It is derived from the offload stage of
//! the contract when the crate is built; [`vocabulary`](crate::vocabulary) says what the contract's words mean.
//!
//! A packet from a VM goes `VmDispatch` -> `VmChecks` -> `VmConnections` [-> `Tunnels`]; one from a tunnel
//! goes `TunnelDispatch` -> `TunnelChecks` -> `TunnelConnections`. Only the tables of connections and what lies
//! behind them change a packet: a miss before that hands the software the packet as it came.

pub use crate::vocabulary::{Field, Operation};

/// Whether a table can do without a field that the NIC cannot match.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Need {
    /// Without it the table cannot exist: nothing is offloaded.
    Always,
    /// Left out where the profile cannot match it; the difference that remains is documented in
    /// `docs/reference/offload-differences.md`.
    WhereMatchable,
}

/// One action of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActionLayout {
    /// Its name.
    pub verb: Verb,
    /// What it does, in the contract's order: its parts do not depend on each other.
    pub operations: &'static [Operation],
    /// The table that the packet goes on to, unless it leaves by a port.
    pub next: Option<Table>,
}

/// One table's data.
#[derive(Clone, Copy, Debug)]
pub struct TableLayout {
    /// The table.
    pub table: Table,
    /// Its `rte_flow` group in the transfer domain.
    pub group: u32,
    /// What it matches, from what entries share most to what each has alone.
    pub fields: &'static [(Field, Need)],
    /// What its rules do: each one of these.
    pub actions: &'static [ActionLayout],
}

include!(concat!(env!("OUT_DIR"), "/layout.rs"));

impl Table {
    /// The table's data.
    ///
    /// # Panics
    /// Never: every table stands at its number in [`TABLES`], which a test asserts.
    #[must_use]
    pub const fn layout(self) -> &'static TableLayout {
        &TABLES[self as usize]
    }
}

impl TableLayout {
    /// One of its actions.
    ///
    /// # Panics
    /// When it has no such action.
    #[must_use]
    pub fn action(&self, verb: Verb) -> &'static ActionLayout {
        let action = self.actions.iter().find(|action| action.verb == verb);
        action.unwrap_or_else(|| panic!("{:?} has no action {verb:?}", self.table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_stands_at_its_number() {
        for (number, layout) in TABLES.iter().enumerate() {
            assert_eq!(layout.table as usize, number);
            assert_eq!(layout.table.layout().table, layout.table);
        }
    }

    #[test]
    fn packets_go_onwards_only() {
        for layout in TABLES {
            for next in layout.actions.iter().filter_map(|action| action.next) {
                let from = layout.table;
                assert!(next.layout().group > layout.group, "{from:?} jumps back to {next:?}");
            }
        }
    }

    /// A miss behind a change would hand the changed packet to software.
    #[test]
    fn behind_a_table_that_changes_packets_every_packet_has_its_entry() {
        use Operation::{Decapsulate, Encapsulate, SetDestinationMac, SetSourceMac};
        let changes = [Decapsulate, Encapsulate, SetDestinationMac, SetSourceMac];
        for layout in TABLES {
            for action in layout.actions {
                let is_change = action.operations.iter().any(|o| changes.contains(o));
                let next = action.next.filter(|_| is_change);
                // The manager keeps a tunnel's rule for as long as a connection's leads to it.
                assert!(next.is_none_or(|next| next == Table::Tunnels), "{:?}", layout.table);
            }
        }
    }
}
