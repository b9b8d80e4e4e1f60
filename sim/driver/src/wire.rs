//! The wire of a port: its link, read by one thread at a time, and left alone for a moment when it has nothing.

use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::counters::PortCounters;
use crate::link::Link;

/// How long a link that had no frame is left alone: busy polling would otherwise be system calls only.
const REST: Duration = Duration::from_micros(5);

/// A link in use.
pub struct Wire {
    link: Box<dyn Link>,
    /// Held by the thread that reads, so that frames stay in order; until when the link is left alone.
    reading: Mutex<Option<Instant>>,
}

impl Wire {
    /// Takes a link into use.
    pub fn new(link: Box<dyn Link>) -> Self {
        Self { link, reading: Mutex::new(None) }
    }

    /// Whether the link is up.
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Reads a burst, unless another thread does or there was nothing a moment ago.
    pub fn read(&self, batch: &mut Batch, counters: &PortCounters) {
        let mut rest_until = match self.reading.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let now = Instant::now();
        if rest_until.is_some_and(|until| now < until) {
            return;
        }
        let received = self.link.receive(batch);
        *rest_until = received.idle.then(|| now + REST);
        counters.link_rx_errors.add(received.errors);
        counters.link_rx.add(batch.frames().iter().map(|slot| slot.bytes().len()).collect());
    }

    /// Sends frames in order; what the link does not take is lost.
    pub fn write(&self, frames: &[&[u8]], counters: &PortCounters) {
        let sent = self.link.send(frames);
        counters.link_tx.packets.add(sent.packets);
        counters.link_tx.bytes.add(sent.bytes);
        counters.link_tx_errors.add((frames.len() as u64).saturating_sub(sent.packets));
    }
}
