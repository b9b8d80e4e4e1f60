//! Packets that came in together: what each of them needs is fetched ahead, before the first one is seen to its end.

use model::decision::DropReason;
use model::snapshot::{Interface, Snapshot, VfIndex};
use packet::Frame;

use super::arrival::{Received, Way};
use super::conntrack::Event;
use super::counters::{Owner, Pending};
use super::effects::Effects;
use super::established::Ahead;
use super::memory::prefetch;
use super::shard::Shard;
use super::track::Subject;
use super::{Outcome, Port, Time, from_network, from_vm};

/// Packets that are seen to at a time: enough for memory to answer in the meantime, and no more than the processor's
/// first cache holds.
pub(super) const BURST: usize = 32;

/// A packet that came in, and what became of it.
#[derive(Debug)]
pub struct Incoming<'f> {
    /// Where it came in.
    pub port: Port,
    /// Its frame, which is changed in place. The buffer should have [`Frame::HEADROOM`] before it.
    pub frame: Frame<'f>,
    /// What to do with the frame, once it was processed.
    pub outcome: Outcome,
}

impl<'f> Incoming<'f> {
    /// A packet that was not processed yet.
    #[must_use]
    pub const fn new(port: Port, frame: Frame<'f>) -> Self {
        Self { port, frame, outcome: Outcome::Consumed }
    }
}

impl Shard {
    /// Takes packets that came in, in this order, changes their frames in place, and tells what to do with each. It makes no
    /// difference how many are taken at a time, other than the time it takes.
    ///
    /// The time never goes back; [`Self::advance`] has been called for it, or events come late.
    pub fn process(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        packets: &mut [Incoming<'_>],
        effects: &mut Effects,
    ) {
        let (mut sender, mut pending) = (None, Pending::new());
        let mut ahead = std::mem::take(&mut self.ahead);
        for burst in packets.chunks_mut(BURST) {
            for packet in &*burst {
                if let Some(start) = packet.frame.bytes().first() {
                    prefetch(start);
                }
            }
            for (packet, ahead) in burst.iter().zip(&mut ahead) {
                self.look_ahead(snapshot, &mut sender, packet, ahead);
            }
            // Which packets' connections were not found at once, as bits.
            let mut elsewhere = 0_u32;
            for (place, (_, ahead)) in burst.iter().zip(&mut ahead).enumerate() {
                if ahead.is_usual() && !self.look_at_first_place(ahead) {
                    elsewhere |= 1 << place;
                }
            }
            while elsewhere != 0 {
                if let Some(ahead) = ahead.get_mut(elsewhere.trailing_zeros() as usize) {
                    self.look_at_second_place(ahead);
                }
                elsewhere &= elsewhere - 1;
            }
            for (packet, ahead) in burst.iter_mut().zip(&ahead) {
                if !self.pass(now, snapshot, ahead, packet, &mut pending) {
                    self.see_through(now, snapshot, &mut sender, ahead, packet, effects);
                }
            }
        }
        self.counters.take(pending);
        self.ahead = ahead;
    }

    /// Sees a packet to its end, the long way.
    #[inline(never)]
    fn see_through<'s>(
        &mut self,
        now: Time,
        snapshot: &'s Snapshot,
        sender: &mut Option<&'s Interface>,
        ahead: &Ahead,
        packet: &mut Incoming<'_>,
        effects: &mut Effects,
    ) {
        let frame = &mut packet.frame;
        let length = frame.length();
        let usual = ahead.usual();
        let Received { owner, way } = match packet.port {
            Port::Vf(vf) => match known(snapshot, sender, vf) {
                Some(interface) => {
                    let usual = usual.as_ref().map(|(usual, ..)| usual);
                    from_vm::receive(snapshot, interface, usual, frame)
                }
                None => Received {
                    owner: Owner::Unassigned,
                    way: Way::Over(Outcome::Drop(DropReason::InterfaceDown)),
                },
            },
            Port::Uplink => {
                let usual = ahead.usual_from_wire(snapshot);
                from_network::receive(snapshot, usual.as_ref(), frame)
            }
            Port::Kernel => Received {
                owner: Owner::Kernel,
                way: Way::Over(Outcome::Forward { port: Port::Uplink }),
            },
        };
        let outcome = match way {
            Way::On(arrival) => {
                let subject = match usual {
                    Some((_, key, hash, candidate)) => {
                        let event = Event::of(arrival.packet.transport);
                        Some(Subject { key: *key, hash, candidate, event })
                    }
                    None => self.subject(&arrival),
                };
                self.track(now, snapshot, &arrival, subject, frame, effects)
            }
            Way::ToTheNode => {
                let (underlay, kernel) = (&mut self.underlay, self.kernel.as_mut());
                from_network::for_the_node(now, snapshot, underlay, kernel, frame)
            }
            Way::Over(outcome) => outcome,
        };
        self.counters.count(owner, length, outcome);
        packet.outcome = outcome;
    }
}

/// The interface behind a VF: mostly the one that sent the packet before.
#[inline]
pub(super) fn known<'s>(
    snapshot: &'s Snapshot,
    last: &mut Option<&'s Interface>,
    vf: VfIndex,
) -> Option<&'s Interface> {
    if last.is_none_or(|interface| interface.vf != vf) {
        *last = snapshot.interface_of_vf(vf).map(AsRef::as_ref);
    }
    *last
}
