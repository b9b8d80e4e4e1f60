//! A rule before it is written in `rte_flow`: where it sits, what it asks and what it does, without the values, which an
//! [`Entry`] has. The contract's tables give the first draft; legalisation makes of it what a NIC takes.

use crate::entry::{Entry, Layers};
use crate::layout::{Field, Need, Operation, Verb};

/// The register that holds the zone.
pub(crate) const ZONE_TAG: u8 = 0;
/// The register that holds the tunnel.
pub(crate) const TUNNEL_TAG: u8 = 1;
/// The register that holds what the rules before have found.
pub(crate) const FOUND_TAG: u8 = 2;

/// What a rule asks of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Ask {
    /// A field of the contract.
    Field(Field, Need),
    /// That it came in by a port, whichever.
    AnyPort,
    /// That the rule before in the chain has found it.
    Found,
}

/// What a rule does to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Act {
    /// An operation of the contract.
    Operation(Operation),
    /// Notes for the next rule in the chain that this one has found it.
    Note,
    /// Goes on in a group.
    Jump(u32),
}

/// See the module. Of several drafts in a row each leads to the next: the last is the entry's own, those before may be shared with
/// other entries.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Draft {
    /// The `rte_flow` group of the transfer domain.
    pub group: u32,
    /// The headers it looks through.
    pub layers: Layers,
    /// What it asks, in order.
    pub asks: Vec<Ask>,
    /// What it does, in order.
    pub acts: Vec<Act>,
}

/// What the drafts of entries have in common if this is the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Shape {
    verb: Verb,
    table: crate::layout::Table,
    layers: Layers,
    asks_source_mac: bool,
}

impl Shape {
    pub(crate) fn of(entry: &Entry) -> Self {
        let asks_source_mac = matches!(entry, Entry::VmDispatch { source_mac: Some(_), .. });
        Self { verb: entry.verb(), table: entry.table(), layers: entry.layers(), asks_source_mac }
    }
}

impl Draft {
    /// The rule that the contract has for an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        let layout = entry.table().layout();
        let action = layout.action(entry.verb());
        let asked = layout.fields.iter().filter(|(field, _)| entry.value(*field).is_some());
        let next = action.next.map(|next| Act::Jump(next.layout().group));
        Self {
            group: layout.group,
            layers: entry.layers(),
            asks: asked.map(|(field, need)| Ask::Field(*field, *need)).collect(),
            acts: action.operations.iter().copied().map(Act::Operation).chain(next).collect(),
        }
    }

    /// Whether the rule is one of several that ask for the same of other values, so that the next one must know which.
    #[must_use]
    pub fn notes(&self) -> bool {
        self.acts.contains(&Act::Note)
    }

    /// As many of these headers as what it asks is about.
    #[must_use]
    pub fn needed_layers(&self) -> Layers {
        let mut needed = Layers::default();
        for ask in &self.asks {
            let Ask::Field(field, _) = ask else { continue };
            needed = needed.with(about(*field, self.layers));
        }
        needed
    }
}

impl Layers {
    /// The headers of both.
    fn with(self, other: Self) -> Self {
        Self {
            outer: self.outer.or(other.outer),
            link: self.link || other.link,
            family: self.family.or(other.family),
            transport: self.transport.or(other.transport),
        }
    }
}

/// The headers that a field is in, or behind, of these.
const fn about(field: Field, all: Layers) -> Layers {
    let none = Layers { outer: None, link: false, family: None, transport: None };
    match field {
        Field::IngressPort | Field::Zone | Field::Tunnel => none,
        Field::OuterDestination
        | Field::OuterSource
        | Field::OuterNotEct
        | Field::OuterNoVlan
        | Field::OuterWhole
        | Field::OuterIntegrity
        | Field::VniValid
        | Field::Vni => Layers { outer: all.outer, ..none },
        Field::SourceMac | Field::DestinationMac | Field::NoVlan => {
            Layers { outer: all.outer, link: true, ..none }
        }
        Field::Length | Field::HeaderLength | Field::Source | Field::Destination => {
            Layers { transport: None, ..all }
        }
        Field::Whole
        | Field::NoTcpTransition
        | Field::Integrity
        | Field::Protocol
        | Field::SourcePort
        | Field::DestinationPort => all,
    }
}
