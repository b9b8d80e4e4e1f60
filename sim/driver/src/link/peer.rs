//! A cable between two ports of one process: what one end sends, the other receives.
//!
//! The ends know each other by the cable's name; either may come or go first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::{Link, LinkError, Received, Sent};
use crate::batch::Batch;
use crate::lock;

/// Frames that wait at one end; the next ones are lost.
const DEPTH: usize = 4096;

/// The cables that have an end at least.
static CABLES: Mutex<BTreeMap<String, Weak<Cable>>> = Mutex::new(BTreeMap::new());

/// What connects two ends.
#[derive(Default)]
struct Cable {
    ends: [End; 2],
}

/// One of the two.
#[derive(Default)]
struct End {
    /// Whether a link is there. Changes under the lock of [`CABLES`].
    taken: AtomicBool,
    inbox: Mutex<Inbox>,
}

/// Frames on their way to an end.
#[derive(Default)]
struct Inbox {
    frames: VecDeque<Vec<u8>>,
    /// Buffers for the next ones.
    spare: Vec<Vec<u8>>,
}

/// A link at one end of a cable.
pub struct Peer {
    name: String,
    cable: Arc<Cable>,
    side: usize,
}

impl Peer {
    /// Takes a free end of the cable of this name.
    ///
    /// # Errors
    /// [`LinkError::CableInUse`] when both ends are taken.
    pub fn open(name: &str) -> Result<Self, LinkError> {
        let mut cables = lock(&CABLES);
        let cable = cables.get(name).and_then(Weak::upgrade).unwrap_or_default();
        let free = |end: &End| !end.taken.swap(true, Ordering::AcqRel);
        let side = cable.ends.iter().position(free);
        let side = side.ok_or_else(|| LinkError::CableInUse(name.to_owned()))?;
        cables.insert(name.to_owned(), Arc::downgrade(&cable));
        Ok(Self { name: name.to_owned(), cable, side })
    }

    fn own(&self) -> Option<&End> {
        self.cable.ends.get(self.side)
    }

    /// The other end, when somebody is there.
    fn other(&self) -> Option<&End> {
        self.cable.ends.get(1 - self.side).filter(|end| end.taken.load(Ordering::Acquire))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut cables = lock(&CABLES);
        if let Some(end) = self.own() {
            end.taken.store(false, Ordering::Release);
            *lock(&end.inbox) = Inbox::default();
        }
        if self.other().is_none() {
            cables.remove(&self.name);
        }
    }
}

impl Link for Peer {
    fn receive(&self, batch: &mut Batch) -> Received {
        let Some(end) = self.own() else { return Received::default() };
        let mut inbox = lock(&end.inbox);
        let mut received = Received::default();
        while let Some(room) = batch.next_room() {
            let Some(frame) = inbox.frames.pop_front() else {
                received.idle = true;
                break;
            };
            if let Some(room) = room.get_mut(..frame.len()) {
                room.copy_from_slice(&frame);
            }
            received.errors += u64::from(!batch.commit(frame.len()));
            inbox.spare.push(frame);
        }
        received
    }

    fn send(&self, frames: &[&[u8]]) -> Sent {
        let Some(end) = self.other() else { return Sent::default() };
        let mut inbox = lock(&end.inbox);
        let room = DEPTH.saturating_sub(inbox.frames.len());
        let taken = frames.get(..frames.len().min(room)).unwrap_or_default();
        for frame in taken {
            let mut buffer = inbox.spare.pop().unwrap_or_default();
            buffer.clear();
            buffer.extend_from_slice(frame);
            inbox.frames.push_back(buffer);
        }
        taken.iter().copied().collect()
    }

    fn is_up(&self) -> bool {
        self.other().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BURST;

    fn received(link: &Peer) -> Vec<Vec<u8>> {
        let mut batch = Batch::new();
        batch.clear(BURST);
        link.receive(&mut batch);
        batch.frames().iter().map(|slot| slot.bytes().to_vec()).collect()
    }

    #[test]
    fn frames_come_out_at_the_other_end_in_order() {
        let (one, two) = (Peer::open("order").unwrap(), Peer::open("order").unwrap());
        assert_eq!(one.send(&[b"first", b"second"]), Sent { packets: 2, bytes: 11 });
        assert_eq!(two.send(&[b"answer"]), Sent { packets: 1, bytes: 6 });
        assert_eq!(received(&two), [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!(received(&one), [b"answer".to_vec()]);
        assert!(received(&one).is_empty() && received(&two).is_empty());
    }

    #[test]
    fn either_end_comes_and_goes() {
        let one = Peer::open("either").unwrap();
        assert!(!one.is_up());
        assert_eq!(one.send(&[b"lost"]), Sent::default());
        let two = Peer::open("either").unwrap();
        assert!(one.is_up() && two.is_up());
        assert!(matches!(Peer::open("either"), Err(LinkError::CableInUse(_))));
        assert!(one.is_up(), "a third one changes nothing");
        two.send(&[b"waits"]);
        drop(one);
        assert!(!two.is_up());
        let one = Peer::open("either").unwrap();
        assert!(two.is_up());
        assert!(received(&one).is_empty(), "what waited for the former one is gone");
        drop((one, two));
        assert!(!lock(&CABLES).contains_key("either"));
    }

    #[test]
    fn a_full_end_takes_no_more() {
        let (one, _two) = (Peer::open("full").unwrap(), Peer::open("full").unwrap());
        let frames = vec![&b"frame"[..]; DEPTH + 1];
        assert_eq!(one.send(&frames).packets, DEPTH as u64);
        assert_eq!(one.send(&frames).packets, 0);
    }
}
