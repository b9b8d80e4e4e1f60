//! The way of a frame from the wire, up to the connection table.

use std::net::IpAddr;

use model::decision::{DropReason, Side, Zone};
use model::snapshot::{Interface, Snapshot, Vpc};
use packet::checksum::Delta;
use packet::wire::ethernet::Ethernet;
use packet::{
    Ecn, Family, Frame, IpPacket, Network, Parsed, Usual, UsualVxlan, Vni, VxlanError, VxlanPacket,
    decapsulate_ecn,
};

use super::arrival::{Arrival, Received, Way};
use super::counters::Owner;
use super::token_bucket::TokenBucket;
use super::underlay::{Underlay, UplinkResponse};
use super::{Outcome, Port, Time, reason_of};

/// Takes a frame from the wire. What is VXLAN to our VTEP is decapsulated in place; VNI and inner destination MAC choose
/// the interface. All else is for the node itself. `usual` is what the frame was found to be, if it was.
pub(crate) fn receive<'s>(
    snapshot: &'s Snapshot,
    usual: Option<&(UsualVxlan, Usual)>,
    frame: &mut Frame,
) -> Received<'s> {
    let wire = |way| Received { owner: Owner::Wire, way };
    let outer = match usual.and_then(|(outer, _)| outer.packet(frame.bytes())) {
        Some(outer) => Ok(outer),
        None => packet::parse_vxlan(frame.bytes()),
    };
    let outer = match outer {
        Ok(outer) if outer.destination == snapshot.node.vtep.ip() => outer,
        Err(VxlanError::Malformed) => return wire(DropReason::Malformed.into()),
        Ok(_) | Err(VxlanError::NotVxlan(_)) => return wire(Way::ToTheNode),
    };
    let Some(vpc) = vpc_of(snapshot, outer.vni) else {
        return wire(DropReason::UnknownVni.into());
    };
    // What trails the datagram stays, as it does when the card takes the outer headers off.
    frame.trim_front(outer.inner().start);
    let inner = match usual.and_then(|(_, inner)| inner.parsed(frame.bytes())) {
        Some(inner) => Ok(inner),
        None => packet::parse(frame.bytes()),
    };
    let inner = match inner {
        Ok(inner) => inner,
        Err(error) => return wire(reason_of(error).into()),
    };
    let interface = match receiver(snapshot, vpc, &inner) {
        Ok(interface) => interface,
        Err(reason) => return wire(reason.into()),
    };
    let way = match admit(snapshot, vpc, interface, &outer, &inner, frame) {
        Ok(arrival) => Way::On(arrival),
        Err(reason) => reason.into(),
    };
    Received { owner: Owner::Receiver(interface.id), way }
}

/// Questions for our VTEP's MAC are answered. All else goes to the kernel, also what a neighbour was learned from: the
/// kernel may have asked too.
pub(crate) fn for_the_node(
    now: Time,
    snapshot: &Snapshot,
    underlay: &mut Underlay,
    kernel: Option<&mut TokenBucket>,
    frame: &mut Frame,
) -> Outcome {
    let response = match packet::parse(frame.bytes()) {
        Ok(parsed) => underlay.handle(now, &snapshot.node, &parsed, frame),
        Err(_) => UplinkResponse::NotForUs,
    };
    match (response, kernel) {
        (UplinkResponse::Answered, _) => Outcome::Reply { port: Port::Uplink },
        (UplinkResponse::Learned | UplinkResponse::NotForUs, Some(limit)) => {
            if limit.take(now) {
                Outcome::Forward { port: Port::Kernel }
            } else {
                Outcome::Drop(DropReason::RateLimited)
            }
        }
        (UplinkResponse::Learned, None) => Outcome::Consumed,
        (UplinkResponse::NotForUs, None) => Outcome::Drop(DropReason::NotOurVtep),
    }
}

/// The VPC with a VNI, if it has an interface here.
pub(crate) fn vpc_of(snapshot: &Snapshot, vni: u32) -> Option<&Vpc> {
    let vni = Vni::try_from(u64::from(vni)).ok()?;
    snapshot.vpc_of_vni(vni).filter(|vpc| !vpc.local_by_mac.is_empty())
}

/// The interface that the inner destination MAC names.
fn receiver<'s>(
    snapshot: &'s Snapshot,
    vpc: &Vpc,
    inner: &Parsed,
) -> Result<&'s Interface, DropReason> {
    if inner.destination_mac.is_group() {
        return Err(DropReason::Broadcast);
    }
    vpc.local_by_mac
        .get(&inner.destination_mac)
        .and_then(|id| snapshot.interface(*id))
        .map(AsRef::as_ref)
        .ok_or(DropReason::UnknownDestination)
}

/// Whether the packet may reach `interface` at all: addresses, the VTEP it came from, congestion marks.
fn admit<'s>(
    snapshot: &Snapshot,
    vpc: &Vpc,
    interface: &'s Interface,
    outer: &VxlanPacket,
    inner: &Parsed,
    frame: &mut Frame,
) -> Result<Arrival<'s>, DropReason> {
    if !interface.enabled {
        return Err(DropReason::InterfaceDown);
    }
    let Network::Ip(packet) = inner.network else {
        return Err(DropReason::UnsupportedEtherType);
    };
    let destination = packet.tuple.destination();
    if interface.anti_spoof && !interface.addresses.contains(&destination) {
        return Err(DropReason::UnknownDestination);
    }
    if is_for_many(snapshot, interface, destination) {
        return Err(DropReason::Broadcast);
    }
    // A frame from our own VTEP never comes in from the wire, whatever intent allows that address.
    if outer.source == snapshot.node.vtep.ip()
        || !vpc.mappings.admits(packet.tuple.source(), outer.source)
    {
        return Err(DropReason::OverlaySourceMismatch);
    }
    let ecn = decapsulate_ecn(packet.ecn, outer.ecn).ok_or(DropReason::EcnNotCapable)?;
    if ecn != packet.ecn {
        write_ecn(frame.bytes_mut(), &packet, ecn);
    }
    Ok(Arrival {
        interface,
        zone: Zone::new(interface.id, Side::FromNetwork),
        packet: IpPacket { ecn, ..packet },
        vtep: Some(outer.source),
    })
}

fn is_for_many(snapshot: &Snapshot, interface: &Interface, destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(address) => {
            address.is_broadcast()
                || address.is_multicast()
                || snapshot.subnet(interface.subnet).is_some_and(|subnet| {
                    subnet.v4.iter().any(|(prefix, _)| {
                        prefix.prefix_len() < 31 && prefix.broadcast() == address
                    })
                })
        }
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Writes the ECN field of the frame's IP header, and mends the IPv4 header checksum.
fn write_ecn(frame: &mut [u8], packet: &IpPacket, ecn: Ecn) {
    let Some(header) = frame.get_mut(Ethernet::LENGTH..) else {
        return;
    };
    match (packet.tuple.family(), header) {
        (Family::V4, [version, class, _, _, _, _, _, _, _, _, high, low, ..]) => {
            let old = u16::from_be_bytes([*version, *class]);
            *class = (*class & !3) | ecn.bits();
            let new = u16::from_be_bytes([*version, *class]);
            let sum = Delta::NONE.u16(old, new).apply(u16::from_be_bytes([*high, *low]));
            [*high, *low] = sum.to_be_bytes();
        }
        // Version, then 8 bits of class across two bytes, of which ECN is the last two.
        (Family::V6, [_, class, ..]) => *class = (*class & !0x30) | ecn.bits() << 4,
        _ => {}
    }
}
