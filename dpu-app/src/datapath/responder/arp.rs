//! ARP from a VM (RFC 826).

use std::net::IpAddr;

use model::decision::DropReason;
use model::snapshot::{Interface, Snapshot, Subnet};
use packet::wire::arp::{Arp, REPLY, REQUEST};
use packet::wire::ethernet::Ethernet;
use packet::{Frame, Mac};
use zerocopy::FromBytes;

use super::{Response, gateways, neighbor_mac};
use crate::datapath::compose;

/// Answers a request for a gateway or for another interface of the subnet. All else ends here: announcements and probes
/// of the VM's own address, questions for addresses nobody has, replies.
pub(super) fn answer(
    snapshot: &Snapshot,
    interface: &Interface,
    subnet: &Subnet,
    frame: &mut Frame,
) -> Response {
    let Some(Ok((request, _))) = frame.bytes().get(Ethernet::LENGTH..).map(Arp::read_from_prefix)
    else {
        return Response::Drop(DropReason::Malformed);
    };
    if request.operation.get() != REQUEST {
        return Response::UNANSWERED;
    }
    let target = request.target_ip();
    let mac: Option<Mac> = if gateways::is_v4(subnet, target) {
        Some(subnet.gateway_mac)
    } else {
        neighbor_mac(snapshot, interface, IpAddr::V4(target))
    };
    let Some(mac) = mac else {
        return Response::UNANSWERED;
    };
    let reply = Arp::new(REPLY, (mac, target), (request.sender_mac, request.sender_ip()));
    Response::answered(compose::arp(frame, mac, interface.mac, &reply))
}
