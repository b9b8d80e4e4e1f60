//! From what a draft asks and an entry's values to the items of a pattern.

use std::net::IpAddr;

use packet::Family;
use rte_flow::{
    Eth, EthdevPort as PortHeader, Integrity, IntegrityBits, Ipv4, Ipv6, Item, Match, Tag, Tcp,
    U24, Udp, Vxlan,
};

use crate::draft::{Ask, Draft, FOUND_TAG, TUNNEL_TAG, ZONE_TAG};
use crate::entry::{Layers, Transport, Value};
use crate::layout::Field;

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

/// The headers of a pattern, filled field by field.
struct Headers {
    /// Ports, registers, the outermost headers' integrity: asked first.
    metadata: Vec<Item>,
    /// The integrity of headers inside a tunnel: some cards take it for theirs only behind the tunnel.
    inner_integrity: Option<Item>,
    outer: Option<Outer>,
    eth: Option<Match<Eth>>,
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

impl Headers {
    /// Headers of which nothing is asked yet.
    fn of(layers: Layers) -> Self {
        Self {
            metadata: Vec::new(),
            inner_integrity: None,
            outer: layers.outer.map(|family| Outer {
                eth: Match::default(),
                ip: Ip::of(family),
                udp: Match::<Udp>::default().dst(VXLAN_PORT),
                vxlan: Match::default(),
            }),
            eth: layers.link.then(Match::default),
            ip: layers.family.map(Ip::of),
            transport: layers.transport.map(|transport| match transport {
                Transport::Tcp => Layer4::Tcp(Match::default()),
                Transport::Udp => Layer4::Udp(Match::default()),
            }),
        }
    }

    /// Asks a field for a value. What the headers do not have, nothing is asked of.
    fn ask(&mut self, field: Field, value: Value) {
        match (field, value) {
            (Field::IngressPort, Value::Port(port)) => {
                let port = Match::<PortHeader>::default().port_id(port.0);
                self.metadata.push(Item::RepresentedPort(port));
            }
            (Field::Zone, Value::Zone(zone)) => self.metadata.push(tag(ZONE_TAG, zone.number())),
            (Field::Tunnel, Value::Tunnel(tunnel)) => {
                self.metadata.push(tag(TUNNEL_TAG, tunnel.0));
            }
            (Field::SourceMac, Value::Mac(mac)) => self.eth = self.eth.map(|eth| eth.src(mac.0)),
            (Field::DestinationMac, Value::Mac(mac)) => {
                self.eth = self.eth.map(|eth| eth.dst(mac.0));
            }
            (Field::NoVlan, _) => self.eth = self.eth.map(no_vlan),
            (Field::Length, Value::AtMost(length)) => {
                self.ip.iter_mut().for_each(|ip| ip.at_most(length));
            }
            (Field::HeaderLength, _) => {
                if let Some(Ip::V4(asked)) = &mut self.ip {
                    *asked = asked.version_ihl(0x45_u8);
                }
            }
            (Field::Whole, Value::Transport(transport)) => {
                self.ip.iter_mut().for_each(|ip| ip.whole(transport.number()));
            }
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
            (Field::Source, Value::Address(address)) => {
                self.ip.iter_mut().for_each(|ip| ip.source(address));
            }
            (Field::Destination, Value::Address(address)) => {
                self.ip.iter_mut().for_each(|ip| ip.destination(address));
            }
            (Field::SourcePort, Value::TransportPort(port)) => match &mut self.transport {
                Some(Layer4::Tcp(asked)) => *asked = asked.src(port),
                Some(Layer4::Udp(asked)) => *asked = asked.src(port),
                None => {}
            },
            (Field::DestinationPort, Value::TransportPort(port)) => match &mut self.transport {
                Some(Layer4::Tcp(asked)) => *asked = asked.dst(port),
                Some(Layer4::Udp(asked)) => *asked = asked.dst(port),
                None => {}
            },
            _ => self.ask_outer(field, value),
        }
    }

    /// The same for fields of outer headers. The protocol is asked for by the transport's item alone.
    fn ask_outer(&mut self, field: Field, value: Value) {
        let Some(outer) = &mut self.outer else { return };
        match (field, value) {
            (Field::OuterDestination, Value::Address(address)) => outer.ip.destination(address),
            (Field::OuterSource, Value::Address(address)) => outer.ip.source(address),
            (Field::OuterNotEct, _) => outer.ip.not_ect(),
            (Field::OuterNoVlan, _) => outer.eth = no_vlan(outer.eth),
            (Field::OuterWhole, _) => outer.ip.whole(Transport::Udp.number()),
            (Field::OuterIntegrity, _) => {
                self.metadata.push(integrity(0, Some(&outer.ip)));
            }
            (Field::VniValid, _) => outer.vxlan = outer.vxlan.flags(0x08_u8),
            (Field::Vni, Value::Vni(vni)) => outer.vxlan = outer.vxlan.vni(U24::from(vni)),
            _ => {}
        }
    }

    /// The items, outermost layer first.
    fn into_items(self) -> Vec<Item> {
        let mut items = self.metadata;
        if let Some(outer) = self.outer {
            items.extend([
                Item::Eth(outer.eth),
                outer.ip.item(),
                Item::Udp(outer.udp),
                Item::Vxlan(outer.vxlan),
            ]);
        }
        items.extend(self.eth.map(Item::Eth));
        items.extend(self.ip.map(Ip::item));
        items.extend(self.transport.map(|transport| match transport {
            Layer4::Tcp(asked) => Item::Tcp(asked),
            Layer4::Udp(asked) => Item::Udp(asked),
        }));
        items.extend(self.inner_integrity);
        items
    }
}

/// The pattern of a draft, with the values of an entry; `found` is the number that the rule before notes.
pub(crate) fn pattern(
    draft: &Draft,
    value: impl Fn(Field) -> Option<Value>,
    found: u32,
) -> Vec<Item> {
    let mut headers = Headers::of(draft.layers);
    for ask in &draft.asks {
        match ask {
            Ask::Field(field, _) => {
                if let Some(value) = value(*field) {
                    headers.ask(*field, value);
                }
            }
            Ask::AnyPort => headers.metadata.push(Item::RepresentedPort(Match::default())),
            Ask::Found => headers.metadata.push(tag(FOUND_TAG, found)),
        }
    }
    headers.into_items()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::TABLES;
    use crate::samples::samples;

    #[test]
    fn every_field_of_every_table_asks_something() {
        for layout in TABLES {
            // The transport's item asks for it.
            let fields = layout.fields.iter().filter(|(field, _)| *field != Field::Protocol);
            for (field, _) in fields {
                let asks =
                    samples().iter().filter(|entry| entry.table() == layout.table).any(|entry| {
                        let draft = Draft::of(entry);
                        let without = |asked| entry.value(asked).filter(|_| asked != *field);
                        pattern(&draft, |asked| entry.value(asked), 0)
                            != pattern(&draft, without, 0)
                    });
                assert!(asks, "{field:?} of {:?} asks nothing", layout.table);
            }
        }
    }

    #[test]
    fn entries_of_another_transport_have_another_pattern() {
        let of = |transport| {
            let is = |entry: &&crate::Entry| {
                entry.table() == crate::layout::Table::VmConnections
                    && entry.value(Field::Protocol) == Some(Value::Transport(transport))
            };
            let samples = samples();
            let entry = samples.iter().find(is).expect("a sample");
            pattern(&Draft::of(entry), |field| entry.value(field), 0)
        };
        assert_ne!(of(Transport::Tcp), of(Transport::Udp));
    }
}
