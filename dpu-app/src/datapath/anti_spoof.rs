//! Anti-spoofing: a VM may send only as itself.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::decision::DropReason;
use model::snapshot::Interface;
use packet::wire::arp::Arp;
use packet::wire::ethernet::Ethernet;
use packet::wire::{dhcpv4, dhcpv6, nd};
use packet::{Fragment, IpPacket, Network, Parsed, Transport};
use zerocopy::FromBytes;

/// Checks the source of a frame that the VM behind `interface` sent. `parsed` describes `frame`.
///
/// With `antiSpoof: false` everything passes. Otherwise the frame's source MAC, the sender of an ARP message and the
/// source of an IP packet must be the interface's own. Legal without an own address are only the messages by which a
/// host gets or probes one: ARP probes (RFC 5227), DHCP from `0.0.0.0`, router and neighbour solicitations from `::`,
/// and neighbour discovery and DHCPv6 from link-local addresses. None of these is ever forwarded: their destinations
/// are checked here too, where the responders would otherwise let them through as ordinary traffic.
///
/// # Errors
/// [`DropReason::SpoofedSource`].
pub fn check(interface: &Interface, parsed: &Parsed, frame: &[u8]) -> Result<(), DropReason> {
    let own = !interface.anti_spoof
        || parsed.source_mac == interface.mac
            && match &parsed.network {
                Network::Arp => arp_is_own(interface, frame),
                Network::Ip(packet) => {
                    let source = packet.tuple.source();
                    interface.addresses.contains(&source) || is_legal_without(source, packet)
                }
            };
    if own { Ok(()) } else { Err(DropReason::SpoofedSource) }
}

fn arp_is_own(interface: &Interface, frame: &[u8]) -> bool {
    let Some(Ok((message, _))) = frame.get(Ethernet::LENGTH..).map(Arp::ref_from_prefix) else {
        return false;
    };
    let sender = message.sender_ip();
    message.sender_mac == interface.mac
        && (sender.is_unspecified() || interface.addresses.contains(&IpAddr::V4(sender)))
}

/// Whether the packet may be sent from an address that is not the interface's.
fn is_legal_without(source: IpAddr, packet: &IpPacket) -> bool {
    let (tuple, ports) =
        (&packet.tuple, (packet.tuple.source_port(), packet.tuple.destination_port()));
    match (source, tuple.destination(), packet.transport) {
        _ if packet.fragment != Fragment::None => false,
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), destination, Transport::Udp) => {
            destination == IpAddr::V4(Ipv4Addr::BROADCAST)
                && ports == (dhcpv4::CLIENT_PORT, dhcpv4::SERVER_PORT)
        }
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(_), Transport::Icmp { kind, .. }) => {
            packet.ttl == nd::HOP_LIMIT
                && matches!(kind, nd::ROUTER_SOLICITATION | nd::NEIGHBOR_SOLICITATION)
        }
        (IpAddr::V6(source), IpAddr::V6(destination), transport)
            if source.is_unicast_link_local() =>
        {
            match transport {
                Transport::Icmp { kind, .. } => matches!(
                    kind,
                    nd::ROUTER_SOLICITATION
                        | nd::NEIGHBOR_SOLICITATION
                        | nd::NEIGHBOR_ADVERTISEMENT
                ),
                Transport::Udp => {
                    (destination.is_multicast() || destination.is_unicast_link_local())
                        && ports == (dhcpv6::CLIENT_PORT, dhcpv6::SERVER_PORT)
                }
                _ => false,
            }
        }
        _ => false,
    }
}
