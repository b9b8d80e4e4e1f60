//! Executing a decision: header steps, and the way out that its output handle stands for.

use model::decision::{DropReason, Output};
use model::snapshot::{Interface, InterfaceId, Node, Snapshot, Tunnel};
use packet::{Frame, Mac, VxlanHeader, VxlanTunnel};

use super::arrival::Arrival;
use super::conntrack::Macs;
use super::effects::{Effects, Solicitation};
use super::shard::Shard;
use super::tunnels::TunnelPlace;
use super::underlay::solicitation;
use super::{Outcome, Port, Time, too_big};

/// A way out, found and passable: nothing can go wrong on it any more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exit {
    /// To a VM.
    Vm {
        /// The port.
        port: Port,
        /// Its interface.
        interface: InterfaceId,
    },
    /// Into the wire, encapsulated.
    Wire {
        /// Whose outer headers it gets.
        tunnel: TunnelPlace,
    },
}

impl Shard {
    /// Finds the way out for a packet, before anything is changed or remembered.
    ///
    /// # Errors
    /// What became of the packet when there is none: the receiver is disabled, the packet too long (the frame may then
    /// hold the message about it), or the underlay's next hop not known (it is then asked for, at most once a second).
    #[inline]
    pub(super) fn find_exit(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        (output, mtu): (Output, u16),
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Result<Exit, Outcome> {
        let receiver = match output {
            Output::Local(id) => Some(enabled(snapshot, id).map_err(Outcome::Drop)?),
            Output::Tunnel(_) => None,
        };
        if arrival.packet.length() > mtu {
            return Err(self.too_big(now, snapshot, arrival, mtu, frame));
        }
        match (output, receiver) {
            (Output::Local(_), receiver) => receiver
                .map(|receiver| Exit::Vm { port: Port::Vf(receiver.vf), interface: receiver.id }),
            (Output::Tunnel(id), _) => {
                let Self { tunnels, underlay, .. } = self;
                let place = tunnels.find(now, snapshot, underlay, id, effects);
                let place = place.map_err(Outcome::Drop)?;
                let header = tunnels.header(place).map_or(0, VxlanHeader::length);
                let length = frame.bytes().len().saturating_add(header);
                // Only a buffer without the headroom we ask for, or a frame of nearly 64 KiB, fails here.
                (frame.start() >= header && u16::try_from(length).is_ok())
                    .then_some(Exit::Wire { tunnel: place })
            }
        }
        .ok_or(Outcome::Drop(DropReason::TooBig))
    }

    /// Padding does not count: rules see the packet's length, not the frame's.
    #[cold]
    fn too_big(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        mtu: u16,
        frame: &mut Frame,
    ) -> Outcome {
        let (interface, packet, reason) = (arrival.interface, &arrival.packet, DropReason::TooBig);
        let may_send = || self.too_big.take(now, interface.id);
        let told = snapshot
            .subnet(interface.subnet)
            .is_some_and(|subnet| too_big::answer(interface, subnet, packet, mtu, may_send, frame));
        if told {
            Outcome::DropAndReply { reason, port: Port::Vf(interface.vf) }
        } else {
            Outcome::Drop(reason)
        }
    }

    /// Takes the packet out: header changes, then the exit.
    #[inline]
    pub(super) fn send(
        &self,
        macs: Option<Macs>,
        exit: Exit,
        source_port: u16,
        frame: &mut Frame,
    ) -> Outcome {
        if let Some(macs) = macs
            && let Some(place) = frame.bytes_mut().first_chunk_mut()
        {
            *place = macs;
        }
        match exit {
            Exit::Vm { port, .. } => Outcome::Forward { port },
            Exit::Wire { tunnel } => match self.tunnels.header(tunnel) {
                Some(header) if header.push(frame, source_port).is_ok() => {
                    Outcome::Forward { port: Port::Uplink }
                }
                _ => Outcome::Drop(DropReason::TooBig),
            },
        }
    }
}

fn enabled(snapshot: &Snapshot, id: InterfaceId) -> Result<&Interface, DropReason> {
    let interface = snapshot.interface(id).ok_or(DropReason::InterfaceDown)?;
    if interface.enabled { Ok(interface) } else { Err(DropReason::InterfaceDown) }
}

/// The outer headers of a tunnel whose next hop has this MAC; `None` when its VTEPs are of different families.
#[must_use]
pub fn outer_header(node: &Node, tunnel: &Tunnel, next_hop: Mac) -> Option<VxlanHeader> {
    let tunnel = VxlanTunnel {
        source_mac: node.mac,
        destination_mac: next_hop,
        source: node.vtep,
        destination: tunnel.vtep,
        vni: tunnel.vni,
        dscp: tunnel.dscp,
    };
    VxlanHeader::new(&tunnel).ok()
}

/// Asks for the MAC of an underlay neighbour.
pub(crate) fn solicit(node: &Node, hop: std::net::IpAddr, effects: &mut Effects) {
    let mut buffer = [0; Solicitation::CAPACITY];
    let Some(mut frame) = Frame::new(&mut buffer, 0, 0) else {
        return;
    };
    if solicitation(node, hop, &mut frame) {
        let length = frame.bytes().len() as u8;
        effects.solicit(Solicitation::new(buffer, length));
    }
}
