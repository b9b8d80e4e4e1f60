//! The short way of packets that change nothing about their connection: nearly all of them.
//!
//! What may be asked of a packet was asked of one before it ([`conntrack::Settled`](super::conntrack::Settled)). Here is what
//! differs between packets of one key: their length, whether they are TCP's that change its state, where on the underlay they
//! come from, the Ethernet source; and what differs between one moment and another: the time, the next hop's MAC, the room in the
//! buffer. Whatever does not go through at once takes the long way, which also says why.

use model::decision::{Side, Zone};
use model::snapshot::{Interface, Snapshot};
use packet::{
    AddressWords, Frame, Mac, TcpFlags, Usual, UsualVxlan, address_words, parse_usual,
    parse_usual_vxlan,
};

use super::burst::{Incoming, known};
use super::conntrack::{Candidate, CompactKey, Macs, SettledExit};
use super::counters::Pending;
use super::shard::Shard;
use super::{Outcome, Port, Time};

/// Segments that change, or may change, the state of an established connection.
const TRANSITIONS: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);

/// What is known of a packet without looking at anything that another packet may change.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Ahead {
    shape: Shape,
    key: CompactKey,
    hash: u64,
    candidate: Option<Candidate>,
    zone: Zone,
    flags: TcpFlags,
    /// Of the IP packet.
    length: u16,
    /// Where the frame begins in the one that came; 0 if it came from a VM.
    inner_start: u16,
    vni: u32,
    /// The VTEP it came from, if it came from the wire.
    vtep: AddressWords,
}

/// How much is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// Nothing.
    Any,
    /// What it is, and to which key it belongs.
    Usual,
    /// Also that it may take the short way, if its direction is settled.
    Quiet,
}

impl Ahead {
    /// What is known without looking.
    pub(super) fn nothing() -> Self {
        Self {
            shape: Shape::Any,
            key: CompactKey::default(),
            hash: 0,
            candidate: None,
            zone: Zone::new(model::snapshot::InterfaceId(0), Side::FromVm),
            flags: TcpFlags::empty(),
            length: 0,
            inner_start: 0,
            vni: 0,
            vtep: [0; 2],
        }
    }

    #[inline]
    pub(super) const fn is_usual(&self) -> bool {
        !matches!(self.shape, Shape::Any)
    }

    /// The packet, its key, the hash of that and what was found for it, for the long way.
    pub(super) fn usual(&self) -> Option<(Usual, &CompactKey, u64, Option<Candidate>)> {
        let usual = || self.key.usual(self.length, self.flags);
        self.is_usual().then(|| (usual(), &self.key, self.hash, self.candidate))
    }

    /// Outer headers and packet, for the long way.
    pub(super) fn usual_from_wire(&self, snapshot: &Snapshot) -> Option<(UsualVxlan, Usual)> {
        let (inner, ..) = self.usual()?;
        let outer = UsualVxlan {
            source: self.vtep,
            destination: address_words(snapshot.node.vtep.ip()),
            vni: self.vni,
            inner_start: self.inner_start,
        };
        Some((outer, inner))
    }
}

impl Shard {
    /// Finds out what a packet is, if it is of the usual shape, and has the place fetched where its connection is looked for.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called once; what is found is written in place")]
    pub(super) fn look_ahead<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        sender: &mut Option<&'s Interface>,
        packet: &Incoming<'_>,
        ahead: &mut Ahead,
    ) {
        ahead.shape = Shape::Any;
        let bytes = packet.frame.bytes();
        let (inner, interface, side, is_own) = match packet.port {
            Port::Vf(vf) => {
                let Some(interface) = known(snapshot, sender, vf).filter(|found| found.enabled)
                else {
                    return;
                };
                ahead.inner_start = 0;
                let is_own = !interface.anti_spoof || bytes.get(6..12) == Some(&interface.mac.0);
                (bytes, interface.id, Side::FromVm, is_own)
            }
            Port::Uplink => {
                let Some(outer) = parse_usual_vxlan(bytes) else { return };
                if outer.destination != address_words(snapshot.node.vtep.ip()) {
                    return;
                }
                let Some(inner) = bytes.get(usize::from(outer.inner_start)..) else { return };
                let Some(mac) = inner.first_chunk() else { return };
                let Some(interface) = self.receivers.find(snapshot, outer.vni, Mac(*mac)) else {
                    return;
                };
                ahead.inner_start = outer.inner_start;
                ahead.vni = outer.vni;
                ahead.vtep = outer.source;
                (inner, interface, Side::FromNetwork, true)
            }
            Port::Kernel => return,
        };
        let Some(usual) = parse_usual(inner) else { return };
        let is_quiet = is_own && !usual.flags.intersects(TRANSITIONS);
        ahead.shape = if is_quiet { Shape::Quiet } else { Shape::Usual };
        ahead.zone = Zone::new(interface, side);
        ahead.key = CompactKey::of_usual(ahead.zone, &usual);
        ahead.flags = usual.flags;
        ahead.length = usual.length;
        ahead.hash = self.table.hash(&ahead.key);
        self.table.prefetch(ahead.hash);
    }

    /// Has the connection fetched that a packet of the usual shape probably belongs to; whether there seems to be one.
    #[inline]
    pub(super) fn look_at_first_place(&self, ahead: &mut Ahead) -> bool {
        ahead.candidate = self.table.look_ahead(ahead.hash);
        ahead.candidate.is_some()
    }

    /// The same for one for which there was none.
    #[inline]
    pub(super) fn look_at_second_place(&self, ahead: &mut Ahead) {
        ahead.candidate = self.table.look_further(ahead.hash);
    }

    /// Sends a packet the short way; `false`, and nothing is changed, if it must take the long one.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called once")]
    pub(super) fn pass(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        ahead: &Ahead,
        packet: &mut Incoming<'_>,
        pending: &mut Pending,
    ) -> bool {
        if ahead.shape != Shape::Quiet {
            return false;
        }
        let Self { table, tunnels, underlay, counters, .. } = self;
        let headers = usize::from(ahead.inner_start);
        let from_wire = headers != 0;
        let vtep = from_wire.then_some(&ahead.vtep);
        let found = table.settled(ahead.candidate, &ahead.key, snapshot.epoch, now, vtep);
        let Some(mut flow) = found.filter(|flow| ahead.length <= flow.mtu()) else {
            return false;
        };
        let frame = &mut packet.frame;
        let received = frame.length();
        let port = match flow.exit() {
            Some(SettledExit::Vm { vf, interface }) => {
                frame.trim_front(headers);
                write_macs(frame, 0, flow.macs());
                let length = frame.length();
                flow.count(now, length);
                pending.delivered(counters, interface, length);
                Port::Vf(vf)
            }
            // What came in a tunnel leaves in one at most where intent changed in between.
            Some(SettledExit::Wire { tunnel, source_port }) if !from_wire => {
                let (epoch, neighbors) = (snapshot.epoch, underlay.version());
                let Some(header) = tunnels.ready(now, epoch, neighbors, tunnel) else {
                    return false;
                };
                if header.push(frame, source_port).is_err() {
                    return false;
                }
                write_macs(frame, header.length(), flow.macs());
                flow.count(now, received);
                pending.sent(frame.length());
                Port::Uplink
            }
            _ => return false,
        };
        pending.forwarded(counters, ahead.zone.interface(), from_wire, received);
        packet.outcome = Outcome::Forward { port };
        true
    }
}

/// Writes new Ethernet addresses into the frame that begins `at` a place of this one.
#[inline]
fn write_macs(frame: &mut Frame, at: usize, macs: Option<&Macs>) {
    if let Some(macs) = macs
        && let Some(place) = frame.bytes_mut().get_mut(at..).and_then(<[u8]>::first_chunk_mut)
    {
        *place = *macs;
    }
}
