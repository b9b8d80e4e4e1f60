//! The ethdev's side of a port: what the application set, and the frames that wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::description::Description;
use crate::lock;
use crate::mbuf::Metadata;
use crate::receive_filter::ReceiveFilter;
use crate::rss::Rss;

/// Most receive queues of a port, and most transmit queues.
pub const MAX_QUEUES: u16 = 16;

/// A receive queue of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueIndex(pub u16);

/// Frames that wait for the application to poll their queue.
#[derive(Default)]
struct ReceiveRing {
    frames: VecDeque<(Box<[u8]>, Metadata)>,
    /// 0 until the application sets the queue up.
    capacity: usize,
}

/// The receive queue has no room, or is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The ethdev's side of a port; unused by a VF without representor.
pub struct SoftwareSide {
    /// Whether the application started the ethdev.
    pub started: AtomicBool,
    /// Whether VLAN tags of received frames go into `vlan_tci`.
    pub vlan_strip: AtomicBool,
    filter: RwLock<ReceiveFilter>,
    /// `None`: everything goes to queue 0.
    rss: RwLock<Option<Rss>>,
    rings: Vec<Mutex<ReceiveRing>>,
    /// The ethdevs to which hairpin queues lead, by queue; [`NO_HAIRPIN`] for the others.
    hairpins: [AtomicU16; MAX_QUEUES as usize],
}

/// No ethdev has this number.
const NO_HAIRPIN: u16 = u16::MAX;

impl SoftwareSide {
    /// An ethdev that is stopped, without address and not promiscuous.
    pub fn new() -> Self {
        Self {
            started: AtomicBool::new(false),
            vlan_strip: AtomicBool::new(false),
            filter: RwLock::default(),
            rss: RwLock::new(None),
            rings: (0..MAX_QUEUES).map(|_| Mutex::default()).collect(),
            hairpins: [const { AtomicU16::new(NO_HAIRPIN) }; MAX_QUEUES as usize],
        }
    }

    /// Changes which frames are for this port.
    pub fn change_filter(&self, change: impl FnOnce(&mut ReceiveFilter)) {
        change(&mut self.filter.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether a frame that no rule sent to a queue passes the port's own filter.
    pub fn wants(&self, frame: &[u8]) -> bool {
        self.filter.read().unwrap_or_else(PoisonError::into_inner).wants(frame)
    }

    /// How frames are spread over the queues; `None`: not at all.
    pub fn rss(&self) -> Option<Rss> {
        self.rss.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes how frames are spread over the queues.
    pub fn set_rss(&self, rss: Option<Rss>) {
        *self.rss.write().unwrap_or_else(PoisonError::into_inner) = rss;
    }

    /// The queue that a frame goes to when no rule says so, and the hash that decided.
    pub fn spread(&self, frame: &[u8]) -> (QueueIndex, Option<u32>) {
        match &*self.rss.read().unwrap_or_else(PoisonError::into_inner) {
            None => (QueueIndex(0), None),
            Some(rss) => {
                let hash = Description::of(frame).ip().and_then(|ip| rss.hash(ip));
                (rss.queue(hash), hash)
            }
        }
    }

    /// Lets what rules send to a queue leave through an ethdev of the card, or wait for the application. Other frames are not spread
    /// over queues that lead away.
    pub fn set_hairpin(&self, queue: QueueIndex, to: Option<u16>) {
        if to.is_some()
            && let Some(rss) = &mut *self.rss.write().unwrap_or_else(PoisonError::into_inner)
        {
            rss.leave_out(queue.0);
        }
        if let Some(hairpin) = self.hairpins.get(usize::from(queue.0)) {
            hairpin.store(to.unwrap_or(NO_HAIRPIN), Ordering::Release);
        }
    }

    /// The ethdev through which what rules send to a queue leaves.
    pub fn hairpin(&self, queue: QueueIndex) -> Option<u16> {
        let hairpin = self.hairpins.get(usize::from(queue.0))?.load(Ordering::Acquire);
        Some(hairpin).filter(|to| *to != NO_HAIRPIN)
    }

    fn ring(&self, queue: QueueIndex) -> Option<MutexGuard<'_, ReceiveRing>> {
        self.rings.get(usize::from(queue.0)).map(lock)
    }

    /// Gives a receive queue room for `capacity` frames; 0 takes the queue away.
    pub fn set_capacity(&self, queue: QueueIndex, capacity: u16) {
        if let Some(mut ring) = self.ring(queue) {
            ring.capacity = capacity.into();
            ring.frames.truncate(capacity.into());
        }
    }

    /// Forgets what waits in the receive queues.
    pub fn clear(&self) {
        for ring in &self.rings {
            lock(ring).frames.clear();
        }
    }

    /// Lets a frame wait for the application.
    ///
    /// # Errors
    /// [`Full`]: the frame is lost.
    pub fn put(&self, queue: QueueIndex, frame: &[u8], metadata: Metadata) -> Result<(), Full> {
        let mut ring = self.ring(queue).ok_or(Full)?;
        if ring.frames.len() >= ring.capacity {
            return Err(Full);
        }
        ring.frames.push_back((frame.into(), metadata));
        Ok(())
    }

    /// Takes the oldest waiting frame of a queue.
    pub fn take(&self, queue: QueueIndex) -> Option<(Box<[u8]>, Metadata)> {
        self.ring(queue)?.frames.pop_front()
    }

    /// How many frames wait in a queue, and how many it has room for.
    pub fn level(&self, queue: QueueIndex) -> (usize, usize) {
        self.ring(queue).map_or((0, 0), |ring| (ring.frames.len(), ring.capacity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_as_many_as_it_has_room_for() {
        let side = SoftwareSide::new();
        let queue = QueueIndex(1);
        assert_eq!(side.put(queue, b"a", Metadata::default()), Err(Full), "not set up");
        side.set_capacity(queue, 2);
        assert_eq!(side.put(queue, b"a", Metadata::default()), Ok(()));
        assert_eq!(side.put(queue, b"b", Metadata::default()), Ok(()));
        assert_eq!(side.put(queue, b"c", Metadata::default()), Err(Full));
        assert_eq!(side.level(queue), (2, 2));
        assert_eq!(side.take(queue).map(|(frame, _)| frame), Some((*b"a").into()));
        assert_eq!(side.put(QueueIndex(MAX_QUEUES), b"a", Metadata::default()), Err(Full));
        side.clear();
        assert_eq!(side.take(queue), None);
    }
}
