//! Counters with the delay at which a card publishes them, and the ageing of rules.

use std::time::Duration;

use super::rule::RuleId;
use super::time::Time;

/// What a counter shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of their frames, without FCS, as they were when they reached the rule.
    pub bytes: u64,
}

/// One counter. What it shows is as old as the last refresh; refreshes are at multiples of the interval.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    live: Count,
    published: Count,
    /// The value at the last query that reset it.
    base: Count,
    /// When the next refresh is.
    due: Time,
    /// Nanoseconds between refreshes; 0 shows every packet at once.
    interval: u64,
}

impl Counter {
    /// A counter made at `now`. An interval of zero shows every packet at once.
    pub fn new(interval: Duration, now: Time) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self {
            live: Count::default(),
            published: Count::default(),
            base: Count::default(),
            due: next_multiple(interval, now),
            interval,
        }
    }

    #[inline]
    fn refresh(&mut self, now: Time) {
        if now >= self.due {
            self.published = self.live;
            self.due = next_multiple(self.interval, now);
        }
    }

    /// Counts a packet.
    #[inline]
    pub fn hit(&mut self, bytes: usize, now: Time) {
        // Without interval, the query alone refreshes.
        self.refresh(now);
        self.live.packets = self.live.packets.wrapping_add(1);
        self.live.bytes = self.live.bytes.wrapping_add(bytes as u64);
    }

    /// What the counter shows; with `reset` it counts from there on.
    pub fn query(&mut self, reset: bool, now: Time) -> Count {
        if self.interval == 0 {
            self.published = self.live;
        }
        self.refresh(now);
        let shown = Count {
            packets: self.published.packets.wrapping_sub(self.base.packets),
            bytes: self.published.bytes.wrapping_sub(self.base.bytes),
        };
        if reset {
            self.base = self.published;
        }
        shown
    }
}

/// The first multiple of an interval after `now`; never, for an interval of 0.
fn next_multiple(interval: u64, now: Time) -> Time {
    let cycle = now.0.checked_div(interval).and_then(|cycle| cycle.checked_add(1));
    cycle.and_then(|cycle| cycle.checked_mul(interval)).map_or(Time::NEVER, Time)
}

/// The number of the refresh cycle; 0 where there are none.
pub fn cycle(interval: Duration, now: Time) -> u64 {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    now.0.checked_div(interval).unwrap_or(0)
}

/// What `rte_flow_query_age` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AgeState {
    /// No packet for the timeout.
    pub aged: bool,
    /// Time since the last packet, or since the rule was made.
    pub idle: Duration,
}

/// Who is told of an ageing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AgeOwner {
    /// The ethdev port through which it was made.
    pub port: u16,
    /// The rule whose it is; `None` for a shared AGE.
    pub rule: Option<RuleId>,
    /// The flow queue through which it was made, if it was one.
    pub queue: Option<u32>,
}

/// One rule's, or shared, ageing.
#[derive(Clone, Copy, Debug)]
pub struct Ageing {
    /// Who is told; nobody before the rule is there.
    pub owner: Option<AgeOwner>,
    /// Idle time after which it is reported; zero for never.
    timeout: Duration,
    /// What the report carries; 0 for the rule's handle.
    pub context: usize,
    /// Whether it holds a counter that is reserved for its port.
    pub counted: bool,
    last_hit: Time,
    reported: bool,
}

impl Ageing {
    /// Ageing that starts at `now`.
    pub fn new(timeout: Duration, context: usize, now: Time) -> Self {
        Self { owner: None, timeout, context, counted: false, last_hit: now, reported: false }
    }

    /// A packet came.
    pub fn hit(&mut self, now: Time) {
        self.last_hit = now;
        self.reported = false;
    }

    /// Its state.
    pub fn state(&self, now: Time) -> AgeState {
        let idle = now - self.last_hit;
        AgeState { aged: !self.timeout.is_zero() && idle >= self.timeout, idle }
    }

    /// Changes the idle time, or notes a packet that did not come (`struct rte_flow_update_age`). Ageing that was stopped begins
    /// anew; what had aged and would not with the new idle time, is reported again.
    pub fn update(&mut self, timeout: Option<Duration>, touch: bool, now: Time) {
        let was_stopped = self.timeout.is_zero();
        self.timeout = timeout.unwrap_or(self.timeout);
        if touch || (was_stopped && timeout.is_some()) {
            self.last_hit = now;
        }
        self.reported &= self.state(now).aged;
    }

    /// Whether it has aged since the last report (or packet); it is reported from now on.
    pub fn report(&mut self, now: Time) -> bool {
        let news = !self.reported && self.state(now).aged;
        self.reported |= news;
        news
    }
}
