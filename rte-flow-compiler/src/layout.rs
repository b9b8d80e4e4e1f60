//! The NIC's layout: which tables there are, what each matches, what each may do. Everything else is derived.
//!
//! A packet from a VM goes `VmDispatch` -> `VmChecks` -> `VmConnections` [-> `Encapsulation`]; one from a tunnel
//! goes `TunnelDispatch` -> `TunnelChecks` -> `TunnelConnections`. Only the tables of connections and what lies
//! behind them change a packet: a miss before that hands the software the packet as it came.

/// A table: the rules of one shape and purpose. Two tables may share a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Table {
    /// Which interface does a frame from a VM belong to?
    VmDispatch,
    /// Which interface is a tunnel packet for?
    TunnelDispatch,
    /// Is it a frame that software would handle by its tuple alone?
    VmChecks,
    /// The same for tunnel packets, outside and inside.
    TunnelChecks,
    /// The connections' directions that start at a VM.
    VmConnections,
    /// The connections' directions that come out of a tunnel.
    TunnelConnections,
    /// What a tunnel means: one rule a tunnel, whatever the number of connections.
    Encapsulation,
}

/// What a table looks at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Field {
    /// The entity that sent the packet: a VF or the wire.
    IngressPort,
    /// The zone that the dispatch table found.
    Zone,
    /// The tunnel that the connection chose.
    Tunnel,
    /// Source MAC of the (inner) frame; not asked of interfaces that may use any.
    SourceMac,
    /// Destination MAC of the (inner) frame.
    DestinationMac,
    /// The (inner) frame has no VLAN tag.
    NoVlan,
    /// The IP packet is not longer than the MTU.
    Length,
    /// IPv4: header without options.
    HeaderLength,
    /// The (inner) packet is not a fragment; IPv6: has no extension header at all.
    Whole,
    /// TCP without SYN, FIN and RST; nothing for UDP.
    NoTcpTransition,
    /// The device found the (inner) headers in order.
    Integrity,
    /// Addresses, protocol and ports of the (inner) packet.
    Tuple,
    /// Outer destination: this node's VTEP.
    OuterDestination,
    /// Outer source: the VTEP this connection comes from.
    OuterSource,
    /// The outer header is not ECN-capable (RFC 6040: everything else is software's).
    OuterNotEct,
    /// The outer frame has no VLAN tag.
    OuterNoVlan,
    /// The outer packet is not a fragment.
    OuterWhole,
    /// The device found the outer headers in order.
    OuterIntegrity,
    /// The VXLAN header says that its VNI is valid.
    VniValid,
    /// The VNI.
    Vni,
}

/// Whether a table can do without a field that the NIC cannot match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Without it the table cannot exist: nothing is offloaded.
    Always,
    /// Left out where the profile cannot match it; the difference that remains is documented in
    /// `docs/reference/offload-differences.md`.
    WhereMatchable,
}

/// What a table's rules do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Remember the zone.
    SetZone,
    /// Go on with another table's group.
    Jump(Table),
    /// Take the outer headers off.
    Decapsulate,
    /// Count packets and bytes.
    Count,
    /// Write both MAC addresses.
    SetMacs,
    /// Remember the tunnel.
    SetTunnel,
    /// Put the outer headers on.
    Encapsulate,
    /// Send to a VF or the wire.
    Deliver,
}

/// One table's data.
#[derive(Clone, Copy, Debug)]
pub struct TableLayout {
    /// The table.
    pub table: Table,
    /// Its `rte_flow` group in the transfer domain.
    pub group: u32,
    /// What it matches, in the order of the pattern.
    pub fields: &'static [(Field, Need)],
    /// What its rules do, in the order every profile accepts; each entry is one variant.
    pub variants: &'static [&'static [Operation]],
    /// Whether its rules may change a packet.
    pub may_modify: bool,
}

use Field as F;
use Need::{Always, WhereMatchable};
use Operation as O;

/// All tables.
pub const TABLES: &[TableLayout] = &[
    TableLayout {
        table: Table::VmDispatch,
        group: 0,
        fields: &[
            (F::IngressPort, Always),
            (F::SourceMac, Always),
            (F::NoVlan, Always),
            (F::Length, WhereMatchable),
        ],
        variants: &[&[O::SetZone, O::Jump(Table::VmChecks)]],
        may_modify: false,
    },
    TableLayout {
        table: Table::TunnelDispatch,
        group: 0,
        fields: &[
            (F::IngressPort, Always),
            (F::OuterNoVlan, Always),
            (F::OuterDestination, Always),
            (F::OuterNotEct, Always),
            (F::OuterWhole, Always),
            (F::VniValid, WhereMatchable),
            (F::Vni, Always),
            (F::DestinationMac, Always),
            (F::NoVlan, Always),
        ],
        variants: &[&[O::SetZone, O::Jump(Table::TunnelChecks)]],
        may_modify: false,
    },
    TableLayout {
        table: Table::VmChecks,
        group: 1,
        fields: &[
            (F::Integrity, Always),
            (F::HeaderLength, WhereMatchable),
            (F::Whole, Always),
            (F::NoTcpTransition, Always),
        ],
        variants: &[&[O::Jump(Table::VmConnections)]],
        may_modify: false,
    },
    TableLayout {
        table: Table::TunnelChecks,
        group: 2,
        fields: &[
            (F::OuterIntegrity, Always),
            (F::Integrity, Always),
            (F::HeaderLength, WhereMatchable),
            (F::Whole, Always),
            (F::NoTcpTransition, Always),
        ],
        variants: &[&[O::Jump(Table::TunnelConnections)]],
        may_modify: false,
    },
    TableLayout {
        table: Table::VmConnections,
        group: 3,
        fields: &[(F::Zone, Always), (F::Tuple, Always)],
        variants: &[
            &[O::Count, O::SetMacs, O::Deliver],
            &[O::Count, O::SetMacs, O::SetTunnel, O::Jump(Table::Encapsulation)],
        ],
        may_modify: true,
    },
    TableLayout {
        table: Table::TunnelConnections,
        group: 4,
        fields: &[(F::Zone, Always), (F::OuterSource, Always), (F::Tuple, Always)],
        variants: &[&[O::Decapsulate, O::Count, O::Deliver]],
        may_modify: true,
    },
    TableLayout {
        table: Table::Encapsulation,
        group: 5,
        fields: &[(F::Tunnel, Always)],
        variants: &[&[O::Encapsulate, O::Deliver]],
        may_modify: true,
    },
];

impl Table {
    /// The table's data.
    ///
    /// # Panics
    /// Never: every table is in [`TABLES`], which a test asserts.
    #[must_use]
    pub const fn layout(self) -> &'static TableLayout {
        &TABLES[self as usize]
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
    fn jumps_lead_onwards_only() {
        for layout in TABLES {
            for operation in layout.variants.iter().copied().flatten() {
                if let Operation::Jump(to) = operation {
                    assert!(
                        to.layout().group > layout.group,
                        "{:?} jumps back to {to:?}",
                        layout.table
                    );
                }
            }
        }
    }

    #[test]
    fn only_tables_that_may_modify_do() {
        for layout in TABLES {
            let modifies =
                layout.variants.iter().copied().flatten().any(|operation| {
                    matches!(operation, O::SetMacs | O::Decapsulate | O::Encapsulate)
                });
            assert!(!modifies || layout.may_modify, "{:?} changes packets", layout.table);
        }
    }
}
