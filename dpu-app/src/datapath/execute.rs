//! Executing a decision: header steps, and the way out that its output handle stands for.

use model::decision::{DropReason, Output, Path, Step};
use model::snapshot::{Interface, InterfaceId, Node, Snapshot, Tunnel, TunnelId};
use packet::wire::ethernet::Ethernet;
use packet::{Frame, Mac, VxlanHeader, VxlanTunnel, vxlan_source_port};
use zerocopy::FromBytes;

use super::arrival::Arrival;
use super::effects::{Effects, Solicitation};
use super::shard::Shard;
use super::underlay::{Resolution, Underlay, solicitation};
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
        /// The outer headers.
        header: VxlanHeader,
        /// Their UDP source port.
        source_port: u16,
    },
}

impl Shard {
    /// Finds the way out for a packet, before anything is changed or remembered.
    ///
    /// # Errors
    /// What became of the packet when there is none: the receiver is disabled, the packet too long (the frame may then
    /// hold the message about it), or the underlay's next hop not known (it is then asked for, at most once a second).
    pub(super) fn find_exit(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        path: &Path,
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Result<Exit, Outcome> {
        let receiver = match path.output {
            Output::Local(id) => Some(enabled(snapshot, id).map_err(Outcome::Drop)?),
            Output::Tunnel(_) => None,
        };
        self.check_length(now, snapshot, arrival, path, frame)?;
        match (path.output, receiver) {
            (Output::Local(_), receiver) => receiver
                .map(|receiver| Exit::Vm { port: Port::Vf(receiver.vf), interface: receiver.id }),
            (Output::Tunnel(id), _) => {
                let header = tunnel_header(now, snapshot, &mut self.underlay, id, effects);
                let header = header.map_err(Outcome::Drop)?;
                let length = frame.bytes().len().saturating_add(header.length());
                // Only a buffer without the headroom we ask for, or a frame of nearly 64 KiB, fails here.
                (frame.start() >= header.length() && u16::try_from(length).is_ok())
                    .then(|| Exit::Wire { header, source_port: vxlan_source_port(&arrival.packet) })
            }
        }
        .ok_or(Outcome::Drop(DropReason::TooBig))
    }

    /// Padding does not count: rules see the packet's length, not the frame's.
    fn check_length(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        arrival: &Arrival,
        path: &Path,
        frame: &mut Frame,
    ) -> Result<(), Outcome> {
        if arrival.packet.length() <= path.mtu {
            return Ok(());
        }
        let (interface, packet, reason) = (arrival.interface, &arrival.packet, DropReason::TooBig);
        let may_send = || self.too_big.take(now, interface.id);
        let told = snapshot.subnet(interface.subnet).is_some_and(|subnet| {
            too_big::answer(interface, subnet, packet, path.mtu, may_send, frame)
        });
        Err(if told {
            Outcome::DropAndReply { reason, port: Port::Vf(interface.vf) }
        } else {
            Outcome::Drop(reason)
        })
    }
}

fn enabled(snapshot: &Snapshot, id: InterfaceId) -> Result<&Interface, DropReason> {
    let interface = snapshot.interface(id).ok_or(DropReason::InterfaceDown)?;
    if interface.enabled { Ok(interface) } else { Err(DropReason::InterfaceDown) }
}

/// The outer headers of a tunnel.
fn tunnel_header(
    now: Time,
    snapshot: &Snapshot,
    underlay: &mut Underlay,
    id: TunnelId,
    effects: &mut Effects,
) -> Result<VxlanHeader, DropReason> {
    let (node, tunnel) = (&snapshot.node, snapshot.tunnel(id).ok_or(DropReason::NoMapping)?);
    let mac = match underlay.resolve(now, node, tunnel.vtep.ip()) {
        Resolution::Known(mac) => Some(mac),
        Resolution::Solicit(hop) => {
            solicit(node, hop, effects);
            None
        }
        Resolution::Unresolved => None,
    };
    mac.and_then(|mac| outer_header(node, tunnel, mac)).ok_or(DropReason::UnresolvedNeighbor)
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

/// Takes the packet out: steps, then the exit.
pub(crate) fn send(path: &Path, exit: &Exit, frame: &mut Frame) -> Outcome {
    for step in &path.steps {
        match step {
            Step::SetMacs { source, destination } => {
                if let Ok((header, _)) = Ethernet::mut_from_prefix(frame.bytes_mut()) {
                    header.source = *source;
                    header.destination = *destination;
                }
            }
        }
    }
    match exit {
        Exit::Vm { port, .. } => Outcome::Forward { port: *port },
        Exit::Wire { header, source_port } => match header.push(frame, *source_port) {
            Ok(()) => Outcome::Forward { port: Port::Uplink },
            Err(_) => Outcome::Drop(DropReason::TooBig),
        },
    }
}
