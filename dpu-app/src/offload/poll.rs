//! What the manager looks at from time to time: the counters of connections' rules, and the answers that the NIC owes.

use std::time::Duration;

use super::exchange::{News, Notice, RuleCounters};
use super::manager::{Ask, Manager};
use super::records::{Owner, Phase, Record, Ticket};
use crate::datapath::Time;

/// Rules that are looked at at once; more are spread over the interval in which each is looked at once.
const POLLED_AT_ONCE: usize = 1024;
/// The most parts that interval is divided into.
const POLL_PARTS: usize = 16;

/// How far all rules have been looked at.
#[derive(Debug, Default)]
pub(super) struct Poll {
    next: Time,
    /// Where the next part begins.
    at: usize,
    /// Parts of this round.
    parts: usize,
}

impl Poll {
    /// When the next part is due.
    pub const fn next(&self) -> Time {
        self.next
    }
}

impl<H: Copy> Manager<H> {
    /// Looks at the next part of all rules.
    pub(super) fn poll(&mut self, now: Time) {
        let places = self.records.places();
        if self.poll.at == 0 {
            self.poll.parts = places.div_ceil(POLLED_AT_ONCE).clamp(1, POLL_PARTS);
        }
        let interval = Duration::from_millis(self.settings.poll_interval_ms);
        self.poll.next = now + interval / self.poll.parts as u32;
        let end = self.poll.at + places.div_ceil(self.poll.parts);
        let part: Vec<Ticket> = self.records.within(self.poll.at..end).collect();
        for ticket in part {
            self.count(ticket);
            self.give_up(now, ticket);
        }
        self.poll.at = if end < places { end } else { 0 };
    }

    /// Asks for one rule's counter now.
    pub fn count(&mut self, ticket: Ticket) {
        if let Some(Record { phase: Phase::Installed(_), owner: Owner::Connection(..), .. }) =
            self.records.get(ticket)
        {
            self.requests.push_back((ticket, Ask::Count));
        }
    }

    /// Tells what a rule carried since its counter was last read; whether that is anything.
    pub(super) fn carried(&mut self, ticket: Ticket, counters: RuleCounters) -> bool {
        let Some(record) = self.records.get_mut(ticket) else { return false };
        let packets = counters.packets.saturating_sub(record.counters.packets);
        let bytes = counters.bytes.saturating_sub(record.counters.bytes);
        // Rules see tunnel packets whole; a connection's bytes are those of its own frames.
        let outer = packets.saturating_mul(record.content.outer_bytes());
        let carried = RuleCounters { packets, bytes: bytes.saturating_sub(outer) };
        record.counters = counters;
        if let Owner::Connection(connection, direction) = record.owner
            && carried.packets > 0
        {
            self.notices.push_back(Notice { connection, direction, news: News::Carried(carried) });
        }
        carried.packets > 0
    }
}
