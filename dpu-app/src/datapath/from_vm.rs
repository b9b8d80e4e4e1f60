//! The way of a frame that a VM sent, up to the connection table.

use model::decision::{DropReason, Side, Zone};
use model::snapshot::{Interface, Snapshot};
use packet::{Frame, IpPacket, Network, Usual};

use super::arrival::{Arrival, Received, Way};
use super::counters::Owner;
use super::responder::{Response, respond};
use super::{Outcome, Port, anti_spoof, reason_of};

/// Takes a frame from the VM behind `interface`: is the interface enabled, is the frame sound, is it from the VM, is it
/// a question that the datapath answers by itself? `usual` is what the frame was found to be, if it was.
pub(crate) fn receive<'s>(
    snapshot: &Snapshot,
    interface: &'s Interface,
    usual: Option<&Usual>,
    frame: &mut Frame,
) -> Received<'s> {
    let way = match admit(snapshot, interface, usual, frame) {
        Ok(packet) => {
            let zone = Zone::new(interface.id, Side::FromVm);
            Way::On(Arrival { interface, zone, packet, vtep: None })
        }
        Err(outcome) => outcome.into(),
    };
    Received { owner: Owner::Sender(interface.id), way }
}

fn admit(
    snapshot: &Snapshot,
    interface: &Interface,
    usual: Option<&Usual>,
    frame: &mut Frame,
) -> Result<IpPacket, Outcome> {
    if !interface.enabled {
        return Err(Outcome::Drop(DropReason::InterfaceDown));
    }
    let parsed = match usual.and_then(|usual| usual.parsed(frame.bytes())) {
        Some(parsed) => parsed,
        None => packet::parse(frame.bytes()).map_err(|error| Outcome::Drop(reason_of(error)))?,
    };
    anti_spoof::check(interface, &parsed, frame.bytes()).map_err(Outcome::Drop)?;
    match respond(snapshot, interface, &parsed, frame) {
        Response::NotForUs => {}
        Response::Answered => return Err(Outcome::Reply { port: Port::Vf(interface.vf) }),
        Response::Drop(reason) => return Err(Outcome::Drop(reason)),
    }
    match parsed.network {
        Network::Ip(packet) => Ok(packet),
        // ARP that nobody answers goes to nobody else.
        Network::Arp => Err(Outcome::Drop(DropReason::Broadcast)),
    }
}
