//! Telling a VM that its packet is longer than its network carries.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use model::snapshot::{Interface, Subnet};
use packet::wire::icmp::{self, Echo, Icmp};
use packet::{Fragment, Frame, IpPacket, NoRoom, Transport};
use zerocopy::IntoBytes;
use zerocopy::big_endian::U16;

use super::compose::{Addresses, Envelope};

/// Hop limit of the message: it does not leave the VM's link, but the VM may route.
const HOP_LIMIT: u8 = 64;
/// Longest ICMP error message as an IP packet, bytes (RFC 1812, section 4.3.2.3).
const V4_LIMIT: usize = 576;
/// Longest ICMPv6 error message as an IP packet, bytes: the minimum MTU (RFC 4443, section 2.4).
const V6_LIMIT: usize = 1280;

/// Makes of `frame`, which the VM behind `interface` sent and `packet` describes, the message from the gateway that it
/// was too big: ICMP "fragmentation needed" with the next-hop MTU (RFC 1191, section 4) or ICMPv6 "packet too big"
/// (RFC 4443, section 3.2), with as much of the packet as such a message may quote. `mtu` in bytes.
///
/// `false`, and the frame as it was, when there must be no answer (RFC 1122, section 3.2.2): to an ICMP error, to a
/// fragment other than the first, to a source that is not one host; when the subnet has no gateway of the packet's
/// family; when `may_send`, which is asked last, says so; or when the buffer has no headroom for the message.
pub fn answer(
    interface: &Interface,
    subnet: &Subnet,
    packet: &IpPacket,
    mtu: u16,
    may_send: impl FnOnce() -> bool,
    frame: &mut Frame,
) -> bool {
    if matches!(packet.transport, Transport::IcmpError { .. })
        || matches!(packet.fragment, Fragment::Later(_))
    {
        return false;
    }
    let Some(addresses) = addresses(subnet, packet) else {
        return false;
    };
    if !may_send() {
        return false;
    }
    let mtu = U16::new(mtu);
    let (kind, code, limit) = match addresses {
        Addresses::V4(..) => (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, V4_LIMIT),
        Addresses::V6(..) => (icmp::V6_PACKET_TOO_BIG, 0, V6_LIMIT),
    };
    // ICMPv6 has 32 bits for the MTU, ICMP the last 16 of them: the same place.
    let head = Echo {
        icmp: Icmp { kind, code, checksum: U16::ZERO },
        identifier: U16::ZERO,
        sequence: mtu,
    };
    let envelope = Envelope {
        source_mac: subnet.gateway_mac,
        destination_mac: interface.mac,
        addresses,
        hop_limit: HOP_LIMIT,
    };
    quote(frame, packet, &envelope, head, limit).is_ok()
}

/// From the gateway of the sender's prefix to the sender.
fn addresses(subnet: &Subnet, packet: &IpPacket) -> Option<Addresses> {
    match packet.tuple.source() {
        IpAddr::V4(source) => {
            let one_host = !(source.is_unspecified()
                || source.is_multicast()
                || source.is_broadcast()
                || source.is_loopback());
            let of_sender = |(prefix, _): &&(ipnet::Ipv4Net, _)| prefix.contains(&source);
            let (prefix, gateway) =
                subnet.v4.iter().find(of_sender).or_else(|| subnet.v4.first())?;
            let directed = prefix.prefix_len() < 31 && prefix.broadcast() == source;
            (one_host && !directed).then_some(Addresses::V4(*gateway, source))
        }
        IpAddr::V6(source) => {
            let one_host = !(source.is_multicast()
                || source == Ipv6Addr::UNSPECIFIED
                || source == Ipv6Addr::LOCALHOST);
            let of_sender = |(prefix, _): &&(ipnet::Ipv6Net, _)| prefix.contains(&source);
            let (_, gateway) = subnet.v6.iter().find(of_sender).or_else(|| subnet.v6.first())?;
            one_host.then_some(Addresses::V6(*gateway, source))
        }
    }
}

fn quote(
    frame: &mut Frame,
    packet: &IpPacket,
    envelope: &Envelope,
    head: Echo,
    limit: usize,
) -> Result<(), NoRoom> {
    let network = usize::from(packet.network_offset);
    let before = envelope.length() + Echo::LENGTH;
    // Checked before anything is changed.
    if let Some(needed) = before.checked_sub(frame.start() + network).filter(|missing| *missing > 0)
    {
        return Err(NoRoom { needed });
    }
    let headers = before.saturating_sub(network);
    let quoted = usize::from(packet.length()).min(limit.saturating_sub(headers));
    frame.trim_front(network);
    frame.resize(quoted)?;
    frame.prepend(Echo::LENGTH)?;
    if let Some(place) = frame.bytes_mut().get_mut(..Echo::LENGTH) {
        place.copy_from_slice(head.as_bytes());
    }
    envelope.wrap_icmp(frame)
}
