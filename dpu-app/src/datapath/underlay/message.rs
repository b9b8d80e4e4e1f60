//! ARP and neighbour discovery on the uplink: what is heard, what is asked, what is answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::snapshot::Node;
use packet::wire::arp::{self, Arp};
use packet::wire::ethernet::Ethernet;
use packet::wire::icmp::Icmp;
use packet::wire::nd::{
    ALL_NODES, HOP_LIMIT, LinkLayer, NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, Neighbor,
    Options, SOURCE_LINK_LAYER, TARGET_LINK_LAYER, multicast_mac, solicited_node,
};
use packet::{Family, Fragment, Frame, IpPacket, Mac, NoRoom, Transport};
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use crate::datapath::compose::{self, Addresses, Envelope, verified};

/// Room for a neighbour solicitation or advertisement with its one option, bytes.
const MESSAGE_LIMIT: usize = Neighbor::LENGTH + size_of::<LinkLayer>();

/// What a valid message says.
pub(super) struct Heard {
    /// An address, and what is said of it.
    pub claim: Option<(IpAddr, Claim)>,
    /// A question for our VTEP's MAC.
    pub question: Option<Question>,
}

/// What a message says of an address.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    /// Its MAC; without one the message only confirms what is known.
    pub mac: Option<Mac>,
    /// Whether it may replace another MAC.
    pub replaces: bool,
}

/// Who wants to know our VTEP's MAC.
pub(super) enum Question {
    Arp {
        mac: Mac,
        ip: Ipv4Addr,
    },
    /// `ip` is unspecified for a probe by somebody who wants our address.
    Nd {
        mac: Mac,
        ip: Ipv6Addr,
    },
}

/// Reads an ARP message; `frame` is known to hold one.
pub(super) fn hear_arp(node: &Node, frame: &[u8]) -> Option<Heard> {
    let (message, _) = Arp::ref_from_prefix(frame.get(Ethernet::LENGTH..)?).ok()?;
    let (mac, ip) = (message.sender_mac.unicast().ok()?, message.sender_ip());
    let request = match message.operation.get() {
        arp::REQUEST => true,
        arp::REPLY => false,
        _ => return None,
    };
    if ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() {
        return None;
    }
    let claim = Claim { mac: Some(mac), replaces: true };
    let asked = request && IpAddr::V4(message.target_ip()) == node.vtep.ip();
    Some(Heard {
        // A probe (RFC 5227) tells of no address.
        claim: (!ip.is_unspecified()).then_some((IpAddr::V4(ip), claim)),
        question: asked.then_some(Question::Arp { mac, ip }),
    })
}

/// Reads a neighbour solicitation or advertisement, checked as RFC 4861, section 7.1 wants it. `source_mac` is that of
/// the frame.
pub(super) fn hear_nd(
    node: &Node,
    source_mac: Mac,
    packet: &IpPacket,
    frame: &[u8],
) -> Option<Heard> {
    let Transport::Icmp { kind, code: 0 } = packet.transport else {
        return None;
    };
    let (IpAddr::V6(source), IpAddr::V6(destination)) =
        (packet.tuple.source(), packet.tuple.destination())
    else {
        return None;
    };
    if packet.tuple.family() != Family::V6
        || !matches!(kind, NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT)
        || packet.ttl != HOP_LIMIT
        || packet.fragment != Fragment::None
        || source.is_multicast()
    {
        return None;
    }
    let (message, options) = Neighbor::ref_from_prefix(verified(frame, packet)?).ok()?;
    let target = message.target();
    if target.is_multicast() {
        return None;
    }
    if kind == NEIGHBOR_SOLICITATION {
        let mac = Options::new(options).link_layer(SOURCE_LINK_LAYER).ok()?;
        let probe = source.is_unspecified();
        if probe && (mac.is_some() || destination != solicited_node(target)) {
            return None;
        }
        let asked = IpAddr::V6(target) == node.vtep.ip();
        let reply_to = mac.unwrap_or(source_mac).unicast().ok()?;
        return Some(Heard {
            claim: mac
                .filter(|_| !probe)
                .map(|mac| (IpAddr::V6(source), Claim { mac: Some(mac), replaces: true })),
            question: asked.then_some(Question::Nd { mac: reply_to, ip: source }),
        });
    }
    let solicited = message.flags & Neighbor::SOLICITED != 0;
    if solicited && destination.is_multicast() {
        return None;
    }
    let mac = Options::new(options).link_layer(TARGET_LINK_LAYER).ok()?;
    let claim = Claim { mac, replaces: message.flags & Neighbor::OVERRIDE != 0 };
    Some(Heard {
        // Without a MAC, only the answer to our own question says that the old one still holds.
        claim: (mac.is_some() || solicited).then_some((IpAddr::V6(target), claim)),
        question: None,
    })
}

/// Makes of `frame` the answer to `question`. `false` when the buffer has no room for it.
pub(super) fn answer(node: &Node, question: &Question, frame: &mut Frame) -> bool {
    let written = match (question, node.vtep.ip()) {
        (Question::Arp { mac, ip }, IpAddr::V4(vtep)) => {
            let reply = Arp::new(arp::REPLY, (node.mac, vtep), (*mac, *ip));
            compose::arp(frame, node.mac, *mac, &reply)
        }
        (Question::Nd { mac, ip }, IpAddr::V6(vtep)) => {
            // RFC 4861, section 7.2.4.
            let (to, to_mac, solicited) = if ip.is_unspecified() {
                (ALL_NODES, multicast_mac(ALL_NODES), 0)
            } else {
                (*ip, *mac, Neighbor::SOLICITED)
            };
            let message = neighbor(NEIGHBOR_ADVERTISEMENT, solicited | Neighbor::OVERRIDE, vtep);
            write_neighbor(node, vtep, (to, to_mac), &message, TARGET_LINK_LAYER, frame)
        }
        _ => return false,
    };
    written.is_ok()
}

/// Writes into `frame` the question for the MAC of `target`: an ARP request, or a neighbour solicitation to the target's
/// solicited-node group, from the node's VTEP address and MAC.
///
/// `false` when the VTEP is of another family than the target, so that there is no address to ask from, or when the
/// buffer has no room.
pub fn solicitation(node: &Node, target: IpAddr, frame: &mut Frame) -> bool {
    let written = match (node.vtep.ip(), target) {
        (IpAddr::V4(vtep), IpAddr::V4(target)) => {
            let request = Arp::new(arp::REQUEST, (node.mac, vtep), (Mac([0; 6]), target));
            compose::arp(frame, node.mac, Mac::BROADCAST, &request)
        }
        (IpAddr::V6(vtep), IpAddr::V6(target)) => {
            let group = solicited_node(target);
            let message = neighbor(NEIGHBOR_SOLICITATION, 0, target);
            let to = (group, multicast_mac(group));
            write_neighbor(node, vtep, to, &message, SOURCE_LINK_LAYER, frame)
        }
        _ => return false,
    };
    written.is_ok()
}

fn neighbor(kind: u8, flags: u8, target: Ipv6Addr) -> Neighbor {
    Neighbor {
        icmp: Icmp { kind, code: 0, checksum: U16::ZERO },
        flags,
        reserved: [0; 3],
        target: target.octets(),
    }
}

fn write_neighbor(
    node: &Node,
    source: Ipv6Addr,
    (to, to_mac): (Ipv6Addr, Mac),
    message: &Neighbor,
    option: u8,
    frame: &mut Frame,
) -> Result<(), NoRoom> {
    let envelope = Envelope {
        source_mac: node.mac,
        destination_mac: to_mac,
        addresses: Addresses::V6(source, to),
        hop_limit: HOP_LIMIT,
    };
    envelope.icmp(frame, MESSAGE_LIMIT, |writer| {
        writer.put(message.as_bytes())?;
        writer.put(LinkLayer::new(option, node.mac).as_bytes())
    })
}
