//! Neighbour discovery from a VM (RFC 4861), and the gateway's router advertisements.

use std::net::{IpAddr, Ipv6Addr};

use model::decision::DropReason;
use model::snapshot::{Interface, Snapshot, Subnet};
use packet::wire::icmp::Icmp;
use packet::wire::nd::{
    ALL_NODES, HOP_LIMIT, LinkLayer, Mtu, NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, Neighbor,
    Options, PREFIX_INFORMATION, PrefixInformation, RDNSS, REDIRECT, ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION, Rdnss, RouterAdvertisement, RouterSolicitation, SOURCE_LINK_LAYER,
    TARGET_LINK_LAYER, solicited_node,
};
use packet::{Family, Fragment, Frame, IpPacket, Mac, NoRoom, Transport};
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::{Response, gateways, neighbor_mac};
use crate::datapath::compose::{Addresses, Envelope, Writer, verified};

/// Hop limit hosts should use.
const HOST_HOP_LIMIT: u8 = 64;
/// The longest there is (RFC 8319), 18 hours: the gateway never moves, and while the daemon that repeats the
/// advertisements is away, VMs whose connections the hardware carries must not lose their route.
const ROUTER_LIFETIME: u16 = u16::MAX;
/// All ones: for ever. A prefix is on the link as long as the VM is in the subnet.
const PREFIX_LIFETIME: u32 = u32::MAX;
/// Longest ICMPv6 message that fits any link (RFC 8200, section 5): 1280 bytes with its IPv6 header.
const MESSAGE_LIMIT: usize = 1240;

/// Whether the packet is a message of neighbour discovery. None of them ever leaves the link, whatever its destination.
pub(super) fn is_nd(packet: &IpPacket) -> bool {
    let Transport::Icmp { kind, .. } = packet.transport else {
        return false;
    };
    packet.tuple.family() == Family::V6 && matches!(kind, ROUTER_SOLICITATION..=REDIRECT)
}

/// Answers solicitations for neighbours and routers; all other messages of neighbour discovery end here.
pub(super) fn answer(
    snapshot: &Snapshot,
    interface: &Interface,
    subnet: &Subnet,
    packet: &IpPacket,
    frame: &mut Frame,
) -> Response {
    let Transport::Icmp { kind, code } = packet.transport else {
        return Response::NotForUs;
    };
    // RFC 4861, section 6.1 and 7.1; no fragments: RFC 6980.
    if packet.ttl != HOP_LIMIT || code != 0 || packet.fragment != Fragment::None {
        return Response::Drop(DropReason::Malformed);
    }
    let (IpAddr::V6(source), IpAddr::V6(destination)) =
        (packet.tuple.source(), packet.tuple.destination())
    else {
        return Response::NotForUs;
    };
    let Some(message) = verified(frame.bytes(), packet) else {
        return Response::Drop(DropReason::Malformed);
    };
    match kind {
        NEIGHBOR_SOLICITATION => match solicited_neighbor(source, destination, message) {
            Some(target) => answer_neighbor(snapshot, interface, subnet, source, target, frame),
            None => Response::Drop(DropReason::Malformed),
        },
        ROUTER_SOLICITATION if !router_solicitation_is_valid(source, message) => {
            Response::Drop(DropReason::Malformed)
        }
        ROUTER_SOLICITATION if !subnet.v6.is_empty() => {
            let to = if source.is_unspecified() { ALL_NODES } else { source };
            Response::answered(write_advertisement(snapshot, interface, subnet, to, frame))
        }
        _ => Response::UNANSWERED,
    }
}

/// Writes a router advertisement that nobody asked for into `buffer`: from the gateway of the interface's subnet to all
/// nodes, which on this link is the interface's VM. `false` when the subnet has no IPv6, or the buffer no room.
pub fn advertise(snapshot: &Snapshot, interface: &Interface, buffer: &mut Frame) -> bool {
    snapshot.subnet(interface.subnet).is_some_and(|subnet| {
        !subnet.v6.is_empty()
            && write_advertisement(snapshot, interface, subnet, ALL_NODES, buffer).is_ok()
    })
}

/// The target of a valid neighbour solicitation (RFC 4861, section 7.1.1).
fn solicited_neighbor(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Option<Ipv6Addr> {
    let (solicitation, options) = Neighbor::ref_from_prefix(message).ok()?;
    let target = solicitation.target();
    let link_layer = Options::new(options).link_layer(SOURCE_LINK_LAYER).ok()?;
    let probe_is_valid = destination == solicited_node(target) && link_layer.is_none();
    (!target.is_multicast() && (!source.is_unspecified() || probe_is_valid)).then_some(target)
}

/// RFC 4861, section 6.1.1.
fn router_solicitation_is_valid(source: Ipv6Addr, message: &[u8]) -> bool {
    let Some(options) = message.get(RouterSolicitation::LENGTH..) else {
        return false;
    };
    match Options::new(options).link_layer(SOURCE_LINK_LAYER) {
        Ok(link_layer) => link_layer.is_none() || !source.is_unspecified(),
        Err(_) => false,
    }
}

fn answer_neighbor(
    snapshot: &Snapshot,
    interface: &Interface,
    subnet: &Subnet,
    source: Ipv6Addr,
    target: Ipv6Addr,
    frame: &mut Frame,
) -> Response {
    let (mac, router) = if gateways::is_v6(subnet, target) {
        (subnet.gateway_mac, Neighbor::ROUTER)
    } else if let Some(mac) = neighbor_mac(snapshot, interface, IpAddr::V6(target)) {
        (mac, 0)
    } else {
        return Response::UNANSWERED;
    };
    // Section 7.2.4: a probe for a duplicate has no address yet that could be answered to.
    let (to, solicited) =
        if source.is_unspecified() { (ALL_NODES, 0) } else { (source, Neighbor::SOLICITED) };
    let advertisement = Neighbor {
        icmp: Icmp { kind: NEIGHBOR_ADVERTISEMENT, code: 0, checksum: U16::ZERO },
        flags: router | solicited | Neighbor::OVERRIDE,
        reserved: [0; 3],
        target: target.octets(),
    };
    let written = envelope(mac, target, interface, to).icmp(frame, MESSAGE_LIMIT, |writer| {
        writer.put(advertisement.as_bytes())?;
        writer.put(LinkLayer::new(TARGET_LINK_LAYER, mac).as_bytes())
    });
    Response::answered(written)
}

fn write_advertisement(
    snapshot: &Snapshot,
    interface: &Interface,
    subnet: &Subnet,
    to: Ipv6Addr,
    frame: &mut Frame,
) -> Result<(), NoRoom> {
    let mac = subnet.gateway_mac;
    envelope(mac, gateways::LINK_LOCAL, interface, to).icmp(frame, MESSAGE_LIMIT, |writer| {
        let advertisement = RouterAdvertisement {
            icmp: Icmp { kind: ROUTER_ADVERTISEMENT, code: 0, checksum: U16::ZERO },
            hop_limit: HOST_HOP_LIMIT,
            flags: RouterAdvertisement::MANAGED | RouterAdvertisement::OTHER,
            router_lifetime: U16::new(ROUTER_LIFETIME),
            reachable_time: U32::ZERO,
            retransmit_timer: U32::ZERO,
        };
        writer.put(advertisement.as_bytes())?;
        writer.put(LinkLayer::new(SOURCE_LINK_LAYER, mac).as_bytes())?;
        if let Some(vpc) = snapshot.vpc(interface.vpc) {
            writer.put(Mtu::new(vpc.mtu).as_bytes())?;
        }
        // A subnet may have more prefixes than one message holds; DHCPv6 and the default route still serve the rest.
        for (prefix, _) in &subnet.v6 {
            let option = PrefixInformation {
                kind: PREFIX_INFORMATION,
                length: 4,
                prefix_length: prefix.prefix_len(),
                flags: PrefixInformation::ON_LINK,
                valid_lifetime: U32::new(PREFIX_LIFETIME),
                preferred_lifetime: U32::new(PREFIX_LIFETIME),
                reserved: U32::ZERO,
                prefix: prefix.network().octets(),
            };
            if writer.put(option.as_bytes()).is_err() {
                break;
            }
        }
        put_dns(subnet, writer)
    })
}

/// RFC 8106, section 5.1: as many servers as there is room for.
fn put_dns(subnet: &Subnet, writer: &mut Writer) -> Result<(), NoRoom> {
    let servers = || {
        subnet.dns.iter().filter_map(|server| match server {
            IpAddr::V6(address) => Some(address.octets()),
            IpAddr::V4(_) => None,
        })
    };
    let room = writer.room().saturating_sub(size_of::<Rdnss>()) / 16;
    // The option's length field counts to 255.
    let count = servers().count().min(room).min(127);
    if count == 0 {
        return Ok(());
    }
    let option = Rdnss {
        kind: RDNSS,
        length: 1 + 2 * count as u8,
        reserved: U16::ZERO,
        lifetime: U32::new(u32::from(ROUTER_LIFETIME)),
    };
    writer.put(option.as_bytes())?;
    servers().take(count).try_for_each(|server| writer.put(&server))
}

fn envelope(mac: Mac, source: Ipv6Addr, interface: &Interface, to: Ipv6Addr) -> Envelope {
    Envelope {
        source_mac: mac,
        destination_mac: interface.mac,
        addresses: Addresses::V6(source, to),
        hop_limit: HOP_LIMIT,
    }
}
