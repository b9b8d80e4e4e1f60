//! What a VM asks of its link, answered on the spot: ARP, neighbour discovery, DHCP, ping to the gateway.
//!
//! Runs after anti-spoofing and before conntrack; security groups do not apply. Nothing is flooded, so what is not
//! answered here and is meant for more than one station ends here as well.

mod arp;
mod dhcpv4;
mod dhcpv6;
mod echo;
mod gateways;
mod nd;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use model::decision::DropReason;
use model::snapshot::{Interface, Snapshot, Subnet};
use packet::{Frame, IpPacket, Mac, Network, NoRoom, Parsed, Transport};

pub use nd::advertise;

/// What the responders did with a frame from a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response {
    /// It goes on through the pipeline, unchanged.
    NotForUs,
    /// It now holds the answer, to go back to the VM.
    Answered,
    /// It ends here.
    Drop(DropReason),
}

impl Response {
    /// For a message to the link, or to its services, that nobody answers: ARP for unknown addresses, neighbour and
    /// router advertisements of a VM, DHCP releases (addresses are the operator's to give and take), DHCP for another
    /// server, and all other broadcast and multicast.
    const UNANSWERED: Self = Self::Drop(DropReason::Broadcast);

    /// The outcome of writing an answer. A buffer too small for it leaves the question unanswered.
    const fn answered(written: Result<(), NoRoom>) -> Self {
        match written {
            Ok(()) => Self::Answered,
            Err(NoRoom { .. }) => Self::UNANSWERED,
        }
    }
}

/// Answers `frame`, which the VM behind `interface` sent and `parsed` describes, if it is a question to the link;
/// tells whether it goes on otherwise.
///
/// Answers go to the interface's MAC, from the gateway's or, in ARP and neighbour discovery, from that of the interface
/// asked for. A frame whose answer finds no room in the buffer must not be sent on: its content is undefined.
pub fn respond(
    snapshot: &Snapshot,
    interface: &Interface,
    parsed: &Parsed,
    frame: &mut Frame,
) -> Response {
    let Some(subnet) = snapshot.subnet(interface.subnet) else {
        return Response::Drop(DropReason::InterfaceDown);
    };
    let packet = match &parsed.network {
        Network::Arp => return arp::answer(snapshot, interface, subnet, frame),
        Network::Ip(packet) => packet,
    };
    let response = match packet.transport {
        Transport::Icmp { .. } if nd::is_nd(packet) => {
            nd::answer(snapshot, interface, subnet, packet, frame)
        }
        Transport::Icmp { .. } => echo::answer(interface, subnet, packet, frame),
        Transport::Udp if dhcpv4::is_for_server(subnet, packet) => {
            dhcpv4::answer(snapshot, interface, subnet, packet, frame)
        }
        Transport::Udp if dhcpv6::is_for_server(subnet, packet) => {
            dhcpv6::answer(interface, subnet, packet, frame)
        }
        _ => Response::NotForUs,
    };
    match response {
        Response::NotForUs if is_for_many(subnet, packet) => Response::UNANSWERED,
        response => response,
    }
}

/// Whether the destination address is that of more than one station. The destination MAC does not count: a VM may send
/// unicast IP in whatever frame it likes.
fn is_for_many(subnet: &Subnet, packet: &IpPacket) -> bool {
    match packet.tuple.destination() {
        IpAddr::V4(address) => {
            address.is_broadcast()
                || address.is_multicast()
                || subnet.v4.iter().any(|(prefix, _)| {
                    // RFC 3021: with 31 bits there is no broadcast address.
                    prefix.prefix_len() < 31 && prefix.broadcast() == address
                })
        }
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// The MAC of another interface of the same subnet, by its address.
fn neighbor_mac(snapshot: &Snapshot, interface: &Interface, address: IpAddr) -> Option<Mac> {
    let mapping = snapshot.vpc(interface.vpc)?.mappings.lookup(address)?;
    let other = mapping.subnet == interface.subnet && !interface.addresses.contains(&address);
    other.then_some(mapping.mac)
}
