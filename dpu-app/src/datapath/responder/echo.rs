//! Ping to the gateway.

use std::net::IpAddr;

use model::decision::DropReason;
use model::snapshot::{Interface, Subnet};
use packet::wire::icmp::{ECHO_REPLY, ECHO_REQUEST, V6_ECHO_REPLY, V6_ECHO_REQUEST};
use packet::{Family, Fragment, Frame, IpPacket, NoRoom, Transport};

use super::{Response, gateways};
use crate::datapath::compose::{Addresses, Envelope, verified};

const HOP_LIMIT: u8 = 64;

/// Answers an echo request (RFC 792; RFC 4443, section 4.2) to a gateway of the subnet, in place. IPv4 options and IPv6
/// extension headers are not carried over into the reply. Fragments are not answered.
pub(super) fn answer(
    interface: &Interface,
    subnet: &Subnet,
    packet: &IpPacket,
    frame: &mut Frame,
) -> Response {
    let Transport::Icmp { kind, .. } = packet.transport else {
        return Response::NotForUs;
    };
    let reply = match (packet.tuple.family(), kind) {
        (Family::V4, ECHO_REQUEST) => ECHO_REPLY,
        (Family::V6, V6_ECHO_REQUEST) => V6_ECHO_REPLY,
        _ => return Response::NotForUs,
    };
    let addresses = match (packet.tuple.source(), packet.tuple.destination()) {
        (IpAddr::V4(vm), IpAddr::V4(gateway))
            if gateways::is_v4(subnet, gateway) && !vm.is_multicast() && !vm.is_broadcast() =>
        {
            Addresses::V4(gateway, vm)
        }
        (IpAddr::V6(vm), IpAddr::V6(gateway))
            if gateways::is_v6(subnet, gateway) && !vm.is_multicast() =>
        {
            Addresses::V6(gateway, vm)
        }
        _ => return Response::NotForUs,
    };
    if packet.fragment != Fragment::None || packet.tuple.source().is_unspecified() {
        return Response::NotForUs;
    }
    if verified(frame.bytes(), packet).is_none() {
        return Response::Drop(DropReason::Malformed);
    }
    let envelope = Envelope {
        source_mac: subnet.gateway_mac,
        destination_mac: interface.mac,
        addresses,
        hop_limit: HOP_LIMIT,
    };
    Response::answered(reply_in_place(frame, packet, &envelope, reply))
}

fn reply_in_place(
    frame: &mut Frame,
    packet: &IpPacket,
    envelope: &Envelope,
    kind: u8,
) -> Result<(), NoRoom> {
    frame.resize(usize::from(packet.end))?;
    frame.trim_front(usize::from(packet.transport_offset));
    // Type, and a checksum to be computed; code, identifier, sequence and data come back as they were.
    if let [first, _, high, low, ..] = frame.bytes_mut() {
        (*first, *high, *low) = (kind, 0, 0);
    }
    envelope.wrap_icmp(frame)
}
