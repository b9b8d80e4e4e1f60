//! A link that faults can be switched on for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sim::control::LinkStatus;
use sim::link_faults::{FaultyDirection, LinkFaults};

use super::{Link, Received, Sent};
use crate::batch::Batch;
use crate::device::Clock;
use crate::lock;

/// See the module. Without faults it costs a look at one flag for each burst.
pub struct FaultyLink {
    link: Box<dyn Link>,
    clock: Clock,
    /// Whether the lock below must be taken at all.
    is_faulty: AtomicBool,
    state: Mutex<State>,
}

struct State {
    faults: LinkFaults,
    incoming: FaultyDirection,
    outgoing: FaultyDirection,
    /// What has come through and does not fit the reader's batch yet.
    arrived: VecDeque<Vec<u8>>,
}

impl FaultyLink {
    /// A link with these faults; equal seeds and frames have equal fates.
    pub fn new(link: Box<dyn Link>, faults: LinkFaults, seed: u64, clock: Clock) -> Self {
        let new = Self {
            link,
            clock,
            is_faulty: AtomicBool::new(false),
            state: Mutex::new(State {
                faults: LinkFaults::default(),
                incoming: FaultyDirection::new(seed),
                outgoing: FaultyDirection::new(seed ^ u64::MAX),
                arrived: VecDeque::new(),
            }),
        };
        if faults != LinkFaults::default() {
            new.set(faults);
        }
        new
    }

    /// Changes the faults.
    pub fn set(&self, faults: LinkFaults) {
        let mut state = lock(&self.state);
        state.faults = faults;
        state.incoming.set(faults.frames);
        state.outgoing.set(faults.frames);
        // What was held back until now still has to go: the flag falls when there is nothing left.
        self.is_faulty.store(true, Ordering::Release);
    }

    /// How it is.
    pub fn status(&self) -> LinkStatus {
        let state = lock(&self.state);
        let mut counters = state.incoming.counters();
        counters += state.outgoing.counters();
        let is_up = state.faults.carrier.is_up(self.clock.now()) && self.link.is_up();
        LinkStatus { is_up, faults: state.faults, counters }
    }

    fn is_faulty(&self) -> bool {
        self.is_faulty.load(Ordering::Acquire)
    }

    /// Sends what the faults let through.
    fn send_all(&self, frames: &[Vec<u8>]) -> Sent {
        if frames.is_empty() {
            return Sent::default();
        }
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        self.link.send(&frames)
    }
}

impl Link for Arc<FaultyLink> {
    fn receive(&self, batch: &mut Batch) -> Received {
        if !self.is_faulty() {
            return self.link.receive(batch);
        }
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let State { faults, incoming, outgoing, arrived } = &mut *state;
        let mut received = if arrived.is_empty() {
            self.link.receive(batch)
        } else {
            batch.restart();
            Received::default()
        };
        let is_up = faults.carrier.is_up(now);
        for slot in batch.frames() {
            if is_up {
                incoming.pass(now, slot.bytes(), &mut |frame| arrived.push_back(frame.to_vec()));
            } else {
                incoming.lose();
                received.errors += 1;
            }
        }
        incoming.let_go(now, &mut |frame| arrived.push_back(frame.to_vec()));
        batch.restart();
        while let Some(room) = batch.next_room()
            && let Some(frame) = arrived.pop_front()
        {
            // What came is as long as it was, and fits.
            if let Some(place) = room.get_mut(..frame.len()) {
                place.copy_from_slice(&frame);
                batch.commit(frame.len());
            }
        }
        // Nothing else is polled for what waits to leave.
        let mut late = Vec::new();
        outgoing.let_go(now, &mut |frame| late.push(frame.to_vec()));
        self.send_all(&late);
        let is_done = arrived.is_empty() && !incoming.is_holding() && !outgoing.is_holding();
        if *faults == LinkFaults::default() && is_done {
            self.is_faulty.store(false, Ordering::Release);
        }
        received.idle &= is_done;
        received
    }

    fn send(&self, frames: &[&[u8]]) -> Sent {
        if !self.is_faulty() {
            return self.link.send(frames);
        }
        let now = self.clock.now();
        let mut state = lock(&self.state);
        if !state.faults.carrier.is_up(now) {
            for _ in frames {
                state.outgoing.lose();
            }
            return Sent::default();
        }
        let mut out = Vec::new();
        for frame in frames {
            state.outgoing.pass(now, frame, &mut |frame| out.push(frame.to_vec()));
        }
        self.send_all(&out);
        // The port has sent them all: what happens on the wire is not its loss.
        frames.iter().copied().collect()
    }

    fn is_up(&self) -> bool {
        let is_up = || lock(&self.state).faults.carrier.is_up(self.clock.now());
        (!self.is_faulty() || is_up()) && self.link.is_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BURST;
    use sim::link_faults::{Carrier, FrameFaults, Rates};

    /// A wire that brings a numbered frame for each room, and keeps what is sent.
    #[derive(Default)]
    struct Numbers(Mutex<(u8, Vec<Vec<u8>>)>);

    impl Link for Arc<Numbers> {
        fn receive(&self, batch: &mut Batch) -> Received {
            let mut state = lock(&self.0);
            while let Some(room) = batch.next_room() {
                room[0] = state.0;
                state.0 = state.0.wrapping_add(1);
                assert!(batch.commit(1));
            }
            Received::default()
        }
        fn send(&self, frames: &[&[u8]]) -> Sent {
            lock(&self.0).1.extend(frames.iter().map(|frame| frame.to_vec()));
            frames.iter().copied().collect()
        }
        fn is_up(&self) -> bool {
            true
        }
    }

    fn link(faults: LinkFaults) -> (Arc<FaultyLink>, Arc<Numbers>) {
        let numbers = Arc::new(Numbers::default());
        let link = FaultyLink::new(Box::new(Arc::clone(&numbers)), faults, 1, Clock::start());
        (Arc::new(link), numbers)
    }

    fn rates(rates: Rates) -> LinkFaults {
        let frames = FrameFaults::try_from(rates).expect("few");
        LinkFaults { frames, carrier: Carrier::Up }
    }

    fn read(link: &Arc<FaultyLink>, limit: usize) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.clear(limit);
        link.receive(&mut batch);
        batch.frames().iter().map(|slot| slot.bytes()[0]).collect()
    }

    #[test]
    fn doubled_frames_that_find_no_room_come_next() {
        let (link, _) = link(rates(Rates { duplicate: 1000, ..Rates::default() }));
        let frames: Vec<u8> = (0..4).flat_map(|_| read(&link, 3)).collect();
        assert_eq!(frames, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        // Switched off, nothing is lost of what was there.
        link.set(rates(Rates { duplicate: 1000, ..Rates::default() }));
        assert_eq!(read(&link, 3), [6, 6, 7]);
        link.set(LinkFaults::default());
        let frames: Vec<u8> = (0..3).flat_map(|_| read(&link, 3)).collect();
        assert_eq!(frames, [7, 8, 8, 9, 10, 11, 12, 13, 14][..frames.len()]);
        assert!(!link.is_faulty());
    }

    #[test]
    fn a_link_that_is_down_carries_nothing_either_way() {
        let down = LinkFaults { carrier: Carrier::Down, ..LinkFaults::default() };
        let (link, numbers) = link(down);
        assert!(!link.is_up());
        assert!(read(&link, BURST).is_empty());
        assert_eq!(link.send(&[b"a", b"b"]), Sent::default());
        assert_eq!(link.status().counters.dropped, BURST as u64 + 2);
        link.set(LinkFaults::default());
        assert!(link.is_up());
        assert_eq!(link.send(&[b"c"]).packets, 1);
        assert_eq!(lock(&numbers.0).1, [b"c".to_vec()]);
    }
}
