//! Copies of packets: which packets are copied, and where copies lie until they are fetched.

use std::sync::Arc;

use packet::Frame;

use super::execute::Place;
use super::process::{DropCause, Verdict};
use super::program::Program;
use super::subject::Subject;

/// The most copies of one packet; others are lost.
pub const COPIES: usize = 16;

/// Room before a copy, for headers that its actions add.
const HEADROOM: usize = 192;
/// The longest frame that can be copied.
const LONGEST: usize = 9728;

/// Copies every `ratio`-th packet.
#[derive(Clone, Debug)]
pub struct Sampler {
    ratio: u32,
    /// Packets until the next copy.
    left: u32,
    program: Arc<Program>,
}

impl Sampler {
    /// A sampler that copies the first packet, and then every `ratio`-th (at least 1).
    pub fn new(ratio: u32, program: Program) -> Self {
        Self { ratio: ratio.max(1), left: 0, program: Arc::new(program) }
    }

    /// What happens to the copy of this packet; `None` for a packet that is not copied.
    pub fn hit(&mut self) -> Option<Arc<Program>> {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return None;
        }
        self.left = self.ratio - 1;
        Some(Arc::clone(&self.program))
    }
}

/// A copy of a packet.
#[derive(Debug)]
pub struct PacketCopy {
    pub(super) buffer: Box<[u8]>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// What is still to be done with it.
    pub(super) pending: Option<Pending>,
    pub(super) verdict: Verdict,
}

/// What a packet was when it was copied, and what happens to the copy.
#[derive(Debug)]
pub struct Pending {
    pub(super) subject: Subject,
    pub(super) place: Place,
    pub(super) program: Arc<Program>,
}

impl PacketCopy {
    fn new() -> Self {
        Self {
            buffer: vec![0; HEADROOM + LONGEST].into(),
            start: HEADROOM,
            end: HEADROOM,
            pending: None,
            verdict: Verdict::Dropped(DropCause::Loop),
        }
    }

    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Where it ended.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// The copies of one packet, in buffers that are used again for the next.
#[derive(Debug, Default)]
pub struct Copies {
    slots: Vec<PacketCopy>,
    used: usize,
}

impl Copies {
    /// Makes the buffers, once: only switches with a rule that samples have them.
    pub fn prepare(&mut self) {
        if self.slots.is_empty() {
            self.slots = (0..COPIES).map(|_| PacketCopy::new()).collect();
        }
    }

    /// Forgets the copies.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Copies a packet as it is now. A frame that is too long, or one copy too many, is lost.
    pub fn take(
        &mut self,
        frame: &Frame<'_>,
        subject: &Subject,
        place: Place,
        program: Arc<Program>,
    ) {
        let Some(slot) = self.slots.get_mut(self.used) else { return };
        let end = HEADROOM + frame.bytes().len();
        let Some(room) = slot.buffer.get_mut(HEADROOM..end) else { return };
        room.copy_from_slice(frame.bytes());
        (slot.start, slot.end) = (HEADROOM, end);
        slot.pending = Some(Pending { subject: *subject, place, program });
        self.used += 1;
    }

    /// Takes out the copy of this number, to work on it; [`Self::put_back`] follows.
    pub fn take_out(&mut self, index: usize) -> Option<PacketCopy> {
        let slot = self.slots.get_mut(..self.used)?.get_mut(index)?;
        let (start, end, verdict) = (slot.start, slot.end, slot.verdict);
        let empty = PacketCopy { buffer: Box::default(), start, end, pending: None, verdict };
        Some(std::mem::replace(slot, empty))
    }

    /// Puts a copy back where it was.
    pub fn put_back(&mut self, index: usize, copy: PacketCopy) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = copy;
        }
    }

    /// The copies.
    pub fn all(&self) -> &[PacketCopy] {
        self.slots.get(..self.used).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eswitch::program::Fate;

    #[test]
    fn the_first_packet_and_then_every_so_many_th_is_copied() {
        let copied = |ratio: u32| {
            let program = Program { steps: Box::default(), fate: Fate::Default };
            let mut sampler = Sampler::new(ratio, program);
            (0..10_u32).filter(|_| sampler.hit().is_some()).collect::<Vec<_>>()
        };
        assert_eq!(copied(1), (0..10).collect::<Vec<_>>());
        assert_eq!(copied(3), [0, 3, 6, 9]);
        assert_eq!(copied(100), [0]);
    }
}
