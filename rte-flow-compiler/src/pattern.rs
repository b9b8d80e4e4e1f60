//! From a table's fields and an entry's values to the items of a pattern.

use std::net::IpAddr;

use packet::Family;
use rte_flow::{
    Eth, EthdevPort as PortHeader, Integrity, IntegrityBits, Ipv4, Ipv6, Item, Match, Steering,
    Tag, Tcp, U24, Udp, Vxlan,
};

use crate::entry::{Entry, Transport};
use crate::layout::{Field, Need};
use crate::nic::Nic;

/// The register that holds the zone.
pub(crate) const ZONE_TAG: u8 = 0;
/// The register that holds the tunnel.
pub(crate) const TUNNEL_TAG: u8 = 1;

/// UDP destination port of VXLAN (RFC 7348).
const VXLAN_PORT: u16 = 4789;
/// The two ECN bits of the IPv4 TOS byte.
const ECN: u8 = 0x03;
/// The same bits in IPv6's first word.
const ECN_V6: u32 = 0x03 << 20;
/// IPv4 "more fragments" and the fragment offset.
const FRAGMENT: u16 = 0x3fff;
/// TCP's FIN, SYN and RST.
const TRANSITION: u8 = 0x07;

/// One IP layer.
#[derive(Clone, Copy)]
enum Ip {
    V4(Match<Ipv4>),
    V6(Match<Ipv6>),
}

impl Ip {
    fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4(Match::default()),
            Family::V6 => Self::V6(Match::default()),
        }
    }

    const fn item(self) -> Item {
        match self {
            Self::V4(asked) => Item::Ipv4(asked),
            Self::V6(asked) => Item::Ipv6(asked),
        }
    }

    fn source(&mut self, address: IpAddr) {
        match (self, address) {
            (Self::V4(asked), IpAddr::V4(a)) => *asked = asked.src(u32::from(a)),
            (Self::V6(asked), IpAddr::V6(a)) => *asked = asked.src(u128::from(a)),
            // The layer was chosen by the same address's family.
            _ => {}
        }
    }

    fn destination(&mut self, address: IpAddr) {
        match (self, address) {
            (Self::V4(asked), IpAddr::V4(a)) => *asked = asked.dst(u32::from(a)),
            (Self::V6(asked), IpAddr::V6(a)) => *asked = asked.dst(u128::from(a)),
            _ => {}
        }
    }

    fn not_ect(&mut self) {
        match self {
            Self::V4(asked) => {
                asked.spec.get_or_insert_default();
                asked.mask.get_or_insert_default().tos |= ECN;
            }
            Self::V6(asked) => {
                asked.spec.get_or_insert_default();
                asked.mask.get_or_insert_default().vtc_flow |= ECN_V6;
            }
        }
    }

    /// Not a fragment; in IPv6 nothing at all between this header and the transport `protocol`.
    fn whole(&mut self, protocol: u8) {
        match self {
            Self::V4(asked) => {
                asked.spec.get_or_insert_default();
                asked.mask.get_or_insert_default().fragment_offset |= FRAGMENT;
            }
            Self::V6(asked) => *asked = asked.protocol(protocol),
        }
    }

    fn at_most(&mut self, length: u16) {
        match self {
            Self::V4(asked) => {
                *asked = asked.total_length(20_u16);
                asked.last.get_or_insert_default().total_length = length.max(20);
            }
            Self::V6(asked) => {
                *asked = asked.payload_length(0_u16);
                asked.last.get_or_insert_default().payload_length = length.saturating_sub(40);
            }
        }
    }

    const fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }
}

/// Outer headers.
struct Outer {
    eth: Match<Eth>,
    ip: Ip,
    udp: Match<Udp>,
    vxlan: Match<Vxlan>,
}

/// A transport layer.
#[derive(Clone, Copy)]
enum Layer4 {
    Tcp(Match<Tcp>),
    Udp(Match<Udp>),
}

/// The layers of a pattern, filled field by field.
struct Layers {
    /// Ports, registers, the outermost headers' integrity: asked first.
    metadata: Vec<Item>,
    /// The integrity of headers inside a tunnel: some cards take it for theirs only behind the tunnel.
    inner_integrity: Option<Item>,
    outer: Option<Outer>,
    eth: Match<Eth>,
    ip: Option<Ip>,
    transport: Option<Layer4>,
}

fn tag(index: u8, value: u32) -> Item {
    Item::Tag(Match::<Tag>::default().data(value).index(index))
}

fn no_vlan(eth: Match<Eth>) -> Match<Eth> {
    eth.has_vlan(false)
}

/// Some cards look at the level's mask alone: it is 0 for the outermost headers.
fn integrity(level: u32, ip: Option<&Ip>) -> Item {
    let mut checks = IntegrityBits::L3_OK | IntegrityBits::L4_OK;
    if ip.is_some_and(|ip| ip.family() == Family::V4) {
        checks |= IntegrityBits::IPV4_CHECKSUM_OK;
    }
    let asked = Integrity { level, checks };
    Item::Integrity(Match::masked(asked, asked))
}

impl Layers {
    /// The layers that an entry's rules look through, nothing asked of them yet.
    fn of(entry: &Entry) -> Self {
        let family_of = |ip: IpAddr| if ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let (outer, family, transport) = match entry {
            Entry::VmDispatch { family, .. } => (None, Some(*family), None),
            Entry::TunnelDispatch { vtep, .. } => (Some(family_of(vtep.ip())), None, None),
            Entry::VmChecks { family, transport } => (None, Some(*family), Some(*transport)),
            Entry::TunnelChecks { outer, family, transport } => {
                (Some(*outer), Some(*family), Some(*transport))
            }
            Entry::VmConnection { tuple, transport, .. } => {
                (None, Some(tuple.family()), Some(*transport))
            }
            Entry::TunnelConnection { outer_source, tuple, transport, .. } => {
                (Some(family_of(outer_source.ip())), Some(tuple.family()), Some(*transport))
            }
            Entry::Encapsulation { .. } => (None, None, None),
        };
        Self {
            metadata: Vec::new(),
            inner_integrity: None,
            outer: outer.map(|family| Outer {
                eth: Match::default(),
                ip: Ip::of(family),
                udp: Match::<Udp>::default().dst(VXLAN_PORT),
                vxlan: Match::default(),
            }),
            eth: Match::default(),
            ip: family.map(Ip::of),
            transport: transport.map(|transport| match transport {
                Transport::Tcp => Layer4::Tcp(Match::default()),
                Transport::Udp => Layer4::Udp(Match::default()),
            }),
        }
    }

    /// Adds one field with the entry's value for it. A field that the entry has no value for asks nothing: which
    /// fields a table has and which values its entries carry is held together by a test over all tables.
    fn ask(&mut self, field: Field, entry: &Entry) {
        match (field, entry) {
            (
                Field::IngressPort,
                Entry::VmDispatch { port, .. } | Entry::TunnelDispatch { port, .. },
            ) => {
                let port = Match::<PortHeader>::default().port_id(port.0);
                self.metadata.push(Item::RepresentedPort(port));
            }
            (
                Field::Zone,
                Entry::VmConnection { zone, .. } | Entry::TunnelConnection { zone, .. },
            ) => self.metadata.push(tag(ZONE_TAG, zone.number())),
            (Field::Tunnel, Entry::Encapsulation { tunnel, .. }) => {
                self.metadata.push(tag(TUNNEL_TAG, tunnel.0));
            }
            (Field::SourceMac, Entry::VmDispatch { source_mac: Some(mac), .. }) => {
                self.eth = self.eth.src(mac.0);
            }
            (Field::DestinationMac, Entry::TunnelDispatch { destination_mac, .. }) => {
                self.eth = self.eth.dst(destination_mac.0);
            }
            (Field::NoVlan, _) => self.eth = no_vlan(self.eth),
            (Field::Length, Entry::VmDispatch { mtu, .. }) => {
                self.ip.iter_mut().for_each(|ip| ip.at_most(*mtu));
            }
            (Field::HeaderLength, _) => {
                if let Some(Ip::V4(asked)) = &mut self.ip {
                    *asked = asked.version_ihl(0x45_u8);
                }
            }
            (
                Field::Whole,
                Entry::VmChecks { transport, .. } | Entry::TunnelChecks { transport, .. },
            ) => self.ip.iter_mut().for_each(|ip| ip.whole(transport.number())),
            (Field::NoTcpTransition, _) => {
                if let Some(Layer4::Tcp(asked)) = &mut self.transport {
                    asked.spec.get_or_insert_default();
                    asked.mask.get_or_insert_default().flags |= TRANSITION;
                }
            }
            (Field::Integrity, _) => {
                if self.outer.is_some() {
                    self.inner_integrity = Some(integrity(2, self.ip.as_ref()));
                } else {
                    self.metadata.push(integrity(0, self.ip.as_ref()));
                }
            }
            (
                Field::Tuple,
                Entry::VmConnection { tuple, .. } | Entry::TunnelConnection { tuple, .. },
            ) => {
                self.ip.iter_mut().for_each(|ip| {
                    ip.source(tuple.source());
                    ip.destination(tuple.destination());
                });
                let (source, destination) = (tuple.source_port(), tuple.destination_port());
                match &mut self.transport {
                    Some(Layer4::Tcp(asked)) => *asked = asked.src(source).dst(destination),
                    Some(Layer4::Udp(asked)) => *asked = asked.src(source).dst(destination),
                    None => {}
                }
            }
            _ => self.ask_outer(field, entry),
        }
    }

    fn ask_outer(&mut self, field: Field, entry: &Entry) {
        let Some(outer) = &mut self.outer else { return };
        match (field, entry) {
            (Field::OuterDestination, Entry::TunnelDispatch { vtep, .. }) => {
                outer.ip.destination(vtep.ip());
            }
            (Field::OuterSource, Entry::TunnelConnection { outer_source, .. }) => {
                outer.ip.source(outer_source.ip());
            }
            (Field::OuterNotEct, _) => outer.ip.not_ect(),
            (Field::OuterNoVlan, _) => outer.eth = no_vlan(outer.eth),
            (Field::OuterWhole, _) => outer.ip.whole(Transport::Udp.number()),
            (Field::OuterIntegrity, _) => {
                self.metadata.push(integrity(0, Some(&outer.ip)));
            }
            (Field::VniValid, _) => outer.vxlan = outer.vxlan.flags(0x08_u8),
            (Field::Vni, Entry::TunnelDispatch { vni, .. }) => {
                outer.vxlan = outer.vxlan.vni(U24::from(*vni));
            }
            _ => {}
        }
    }

    /// The items, outermost layer first; trailing layers that nothing is asked of are left out.
    fn into_items(self, looks_inside: bool) -> Vec<Item> {
        let mut items = self.metadata;
        if let Some(outer) = self.outer {
            items.extend([
                Item::Eth(outer.eth),
                outer.ip.item(),
                Item::Udp(outer.udp),
                Item::Vxlan(outer.vxlan),
            ]);
        }
        if looks_inside {
            items.push(Item::Eth(self.eth));
        }
        items.extend(self.ip.map(Ip::item));
        items.extend(self.transport.map(|transport| match transport {
            Layer4::Tcp(asked) => Item::Tcp(asked),
            Layer4::Udp(asked) => Item::Udp(asked),
        }));
        items.extend(self.inner_integrity);
        items
    }
}

/// The pattern of an entry's rule on this NIC.
pub(crate) fn pattern(entry: &Entry, nic: &Nic) -> Vec<Item> {
    let table = entry.table();
    let fields = table.layout().fields.iter();
    let mut items = asking(
        entry,
        fields
            .filter(|(field, need)| *need == Need::Always || nic.can_match(table, *field))
            .map(|(field, _)| *field),
    );
    // With software steering, a rule without a port item is for packets from the port on which it was made, in any
    // group; with an item that names no port, for packets from all of them.
    let has_port = items.iter().any(|item| matches!(item, Item::RepresentedPort(_)));
    if nic.profile().steering == Steering::Software && !has_port {
        items.insert(0, Item::RepresentedPort(Match::default()));
    }
    items
}

/// The pattern that asks for these fields with an entry's values.
fn asking(entry: &Entry, fields: impl Iterator<Item = Field>) -> Vec<Item> {
    let mut layers = Layers::of(entry);
    fields.for_each(|field| layers.ask(field, entry));
    layers.into_items(!matches!(entry, Entry::Encapsulation { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::TABLES;
    use crate::nic::samples;

    #[test]
    fn every_field_of_every_table_asks_something() {
        for layout in TABLES {
            let all = || layout.fields.iter().map(|(field, _)| *field);
            for field in all() {
                let asks =
                    samples().iter().filter(|entry| entry.table() == layout.table).any(|entry| {
                        asking(entry, all()) != asking(entry, all().filter(|f| *f != field))
                    });
                assert!(asks, "{field:?} of {:?} asks nothing", layout.table);
            }
        }
    }
}
