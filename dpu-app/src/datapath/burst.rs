//! Packets that came in together: what each of them needs is fetched ahead, before the first one is seen to its end.

use arrayvec::ArrayVec;
use model::decision::DropReason;
use model::snapshot::{Interface, Snapshot, VfIndex};
use packet::Frame;

use super::arrival::{Received, Way};
use super::counters::Owner;
use super::effects::Effects;
use super::memory::prefetch;
use super::shard::Shard;
use super::track::Subject;
use super::{Outcome, Port, Time, from_network, from_vm};

/// Packets that are seen to at a time: enough for memory to answer in the meantime, and no more than the processor's
/// first cache holds.
const BURST: usize = 32;

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

/// What is known of a packet without looking at anything that another packet may change.
struct Ahead<'s> {
    owner: Owner,
    length: usize,
    way: Way<'s>,
    subject: Option<Subject>,
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
        let mut sender = None;
        for burst in packets.chunks_mut(BURST) {
            for packet in &*burst {
                if let Some(start) = packet.frame.bytes().first() {
                    prefetch(start);
                }
            }
            let mut ahead = ArrayVec::<Ahead<'_>, BURST>::new();
            for packet in &mut *burst {
                ahead.push(self.look_ahead(snapshot, &mut sender, packet));
            }
            for Ahead { subject, .. } in &mut ahead {
                if let Some(subject) = subject {
                    subject.candidate = self.table.look_ahead(subject.hash);
                }
            }
            for (packet, ahead) in burst.iter_mut().zip(&ahead) {
                packet.outcome = self.see_through(now, snapshot, ahead, &mut packet.frame, effects);
            }
        }
    }

    /// Finds out what a packet is, and has the place fetched where its connection is looked for.
    #[inline]
    fn look_ahead<'s>(
        &self,
        snapshot: &'s Snapshot,
        sender: &mut Option<&'s Interface>,
        packet: &mut Incoming<'_>,
    ) -> Ahead<'s> {
        let frame = &mut packet.frame;
        let length = frame.bytes().len();
        let Received { owner, way } = match packet.port {
            Port::Vf(vf) => match known(snapshot, sender, vf) {
                Some(interface) => from_vm::receive(snapshot, interface, frame),
                None => Received {
                    owner: Owner::Unassigned,
                    way: Way::Over(Outcome::Drop(DropReason::InterfaceDown)),
                },
            },
            Port::Uplink => from_network::receive(snapshot, frame),
            Port::Kernel => Received {
                owner: Owner::Kernel,
                way: Way::Over(Outcome::Forward { port: Port::Uplink }),
            },
        };
        let subject = match &way {
            Way::On(arrival) => self.subject(arrival),
            Way::Over(_) | Way::ToTheNode => None,
        };
        if let Some(subject) = &subject {
            self.table.prefetch(subject.hash);
        }
        Ahead { owner, length, way, subject }
    }

    /// Sees a packet to its end.
    #[inline]
    fn see_through(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        ahead: &Ahead<'_>,
        frame: &mut Frame,
        effects: &mut Effects,
    ) -> Outcome {
        let outcome = match &ahead.way {
            Way::On(arrival) => self.track(now, snapshot, arrival, ahead.subject, frame, effects),
            Way::ToTheNode => {
                let (underlay, kernel) = (&mut self.underlay, self.kernel.as_mut());
                from_network::for_the_node(now, snapshot, underlay, kernel, frame)
            }
            Way::Over(outcome) => *outcome,
        };
        self.counters.count(ahead.owner, ahead.length, outcome);
        outcome
    }
}

/// The interface behind a VF: mostly the one that sent the packet before.
#[inline]
fn known<'s>(
    snapshot: &'s Snapshot,
    last: &mut Option<&'s Interface>,
    vf: VfIndex,
) -> Option<&'s Interface> {
    if last.is_none_or(|interface| interface.vf != vf) {
        *last = snapshot.interface_of_vf(vf).map(AsRef::as_ref);
    }
    *last
}
