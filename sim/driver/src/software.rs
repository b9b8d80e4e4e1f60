//! The ethdev's side of a port: what the application set, and the frames that wait for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use packet::Mac;

use crate::lock;
use crate::mbuf::Metadata;
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
    /// Whether it takes frames for any destination.
    pub promiscuous: AtomicBool,
    /// Whether it takes frames for any multicast destination.
    pub allmulticast: AtomicBool,
    /// Whether it takes only what rules send to its queues (`rte_flow_isolate`).
    pub isolated: AtomicBool,
    mac: AtomicU64,
    /// `None`: everything goes to queue 0.
    rss: RwLock<Option<Rss>>,
    rings: Vec<Mutex<ReceiveRing>>,
}

impl SoftwareSide {
    /// An ethdev that is stopped and not promiscuous.
    pub fn new() -> Self {
        Self {
            started: AtomicBool::new(false),
            promiscuous: AtomicBool::new(false),
            allmulticast: AtomicBool::new(false),
            isolated: AtomicBool::new(false),
            mac: AtomicU64::new(0),
            rss: RwLock::new(None),
            rings: (0..MAX_QUEUES).map(|_| Mutex::default()).collect(),
        }
    }

    /// The ethdev's own address.
    pub fn mac(&self) -> Mac {
        let [_, _, octets @ ..] = self.mac.load(Ordering::Relaxed).to_be_bytes();
        Mac(octets)
    }

    /// Changes the ethdev's own address.
    pub fn set_mac(&self, mac: Mac) {
        let number = mac.0.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
        self.mac.store(number, Ordering::Relaxed);
    }

    /// How frames are spread over the queues.
    pub fn rss(&self) -> Option<Rss> {
        *self.rss.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how frames are spread over the queues.
    pub fn set_rss(&self, rss: Option<Rss>) {
        *self.rss.write().unwrap_or_else(PoisonError::into_inner) = rss;
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

    /// Whether a frame that no rule sent to a queue passes the port's own filter.
    pub fn wants(&self, frame: &[u8]) -> bool {
        if self.isolated.load(Ordering::Relaxed) {
            return false;
        }
        if self.promiscuous.load(Ordering::Relaxed) {
            return true;
        }
        let Some(destination) = frame.first_chunk().map(|octets| Mac(*octets)) else {
            return false;
        };
        destination == self.mac()
            || destination == Mac([0xff; 6])
            || (destination.is_group() && self.allmulticast.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_follows_the_modes() {
        let side = SoftwareSide::new();
        side.set_mac(Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(side.mac(), Mac([2, 0, 0, 0, 0, 1]));
        let own = [[2, 0, 0, 0, 0, 1], [0; 6]].concat();
        let other = [[2, 0, 0, 0, 0, 2], [0; 6]].concat();
        let group = [[1, 0, 0x5e, 0, 0, 2], [0; 6]].concat();
        let wanted = |side: &SoftwareSide| [&own, &other, &group].map(|frame| side.wants(frame));
        assert_eq!(wanted(&side), [true, false, false]);
        assert!(side.wants(&[0xff; 12]) && !side.wants(&[0xff; 5]));
        side.allmulticast.store(true, Ordering::Relaxed);
        assert_eq!(wanted(&side), [true, false, true]);
        side.promiscuous.store(true, Ordering::Relaxed);
        assert_eq!(wanted(&side), [true, true, true]);
        side.isolated.store(true, Ordering::Relaxed);
        assert_eq!(wanted(&side), [false, false, false]);
    }

    #[test]
    fn a_queue_keeps_as_many_as_it_has_room_for() {
        let side = SoftwareSide::new();
        let queue = QueueIndex(1);
        assert_eq!(side.put(queue, b"a", Metadata::default()), Err(Full), "not set up");
        side.set_capacity(queue, 2);
        assert_eq!(side.put(queue, b"a", Metadata::default()), Ok(()));
        assert_eq!(side.put(queue, b"b", Metadata::default()), Ok(()));
        assert_eq!(side.put(queue, b"c", Metadata::default()), Err(Full));
        assert_eq!(side.take(queue).map(|(frame, _)| frame), Some((*b"a").into()));
        assert_eq!(side.put(QueueIndex(MAX_QUEUES), b"a", Metadata::default()), Err(Full));
        side.clear();
        assert_eq!(side.take(queue), None);
    }
}
