//! The datapath's end of the queues to and from the NIC's thread. Nothing here waits, and nothing is lost: what finds the
//! queue full goes into a backlog, in order.

use std::collections::VecDeque;

use dpu_app::datapath::effects::Effect;
use dpu_app::datapath::underlay::Underlay;
use dpu_app::datapath::{Shard, Time};
use dpu_app::offload::{Notice, Wish};
use rtrb::{Consumer, Producer, PushError};

use crate::nic_thread::{NOTICES, ToNic, WISHES};

/// Room in the backlog before it must grow.
const BACKLOG: usize = 16384;
/// Notices taken in one round.
const BATCH: usize = 256;

/// See the module.
pub struct OffloadLink {
    wishes: Producer<ToNic>,
    backlog: VecDeque<ToNic>,
    notices: Consumer<Notice>,
    neighbors: u64,
}

/// The NIC's thread's ends of the queues.
pub struct FarEnd {
    /// What the datapath wishes.
    pub wishes: Consumer<ToNic>,
    /// What the datapath should know.
    pub notices: Producer<Notice>,
}

impl OffloadLink {
    /// Both ends.
    pub fn new() -> (Self, FarEnd) {
        let (wishes, wishes_out) = rtrb::RingBuffer::new(WISHES);
        let (notices_in, notices) = rtrb::RingBuffer::new(NOTICES);
        let backlog = VecDeque::with_capacity(BACKLOG);
        let near = Self { wishes, backlog, notices, neighbors: 0 };
        (near, FarEnd { wishes: wishes_out, notices: notices_in })
    }

    /// Passes on what an effect means for the NIC.
    pub fn wish(&mut self, now: Time, effect: &Effect, shard: &mut Shard) {
        for wish in Wish::of(effect, shard).collect::<arrayvec::ArrayVec<_, 2>>() {
            wish.note(now, shard);
            self.tell(ToNic::Wish(wish));
        }
    }

    /// Passes on neighbours when they have changed, and what had to wait.
    pub fn flush(&mut self, underlay: &Underlay) {
        while let Some(first) = self.backlog.pop_front() {
            if let Err(PushError::Full(first)) = self.wishes.push(first) {
                self.backlog.push_front(first);
                break;
            }
        }
        if underlay.version() != self.neighbors {
            self.neighbors = underlay.version();
            self.tell(ToNic::Neighbors(underlay.known().collect()));
        }
    }

    /// Takes notice of what happened in the NIC; whether anything did.
    pub fn take_notice(&mut self, now: Time, shard: &mut Shard) -> bool {
        let mut any = false;
        for _ in 0..BATCH {
            let Ok(notice) = self.notices.pop() else { break };
            notice.tell(now, shard);
            any = true;
        }
        any
    }

    fn tell(&mut self, message: ToNic) {
        if !self.backlog.is_empty() {
            self.backlog.push_back(message);
        } else if let Err(PushError::Full(message)) = self.wishes.push(message) {
            self.backlog.push_back(message);
        }
    }
}
