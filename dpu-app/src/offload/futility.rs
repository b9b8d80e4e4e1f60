//! Rules that the NIC has taken and that no packet meets: the connection's packets come to software all the same. Such a rule
//! leaves, is tried again some times, and with it what it builds upon, unless other rules show that that works.

use std::time::Duration;

use rte_flow_compiler::NotOffloaded;

use super::exchange::{News, Notice, RuleCounters};
use super::manager::Manager;
use super::records::{Owner, Phase, Record, Ticket};
use super::statics::Purpose;
use crate::datapath::{ConnectionHandle, FlowDirection, Time};

/// How often a counter that does not move is read, with packets in software before each, before its rule has no effect.
const MISSES: u32 = 3;
/// Intervals between readings that this takes at least, beside the time that a counter may be late.
const INTERVALS: u32 = 4;
/// How often a rule without effect is tried again.
const ATTEMPTS: u32 = 3;

/// Whether packets meet a rule.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Effect {
    /// Software got a packet that the rule should have taken, since its counter was last read.
    bypassed: bool,
    /// How often in a row that was so when the counter had not moved.
    misses: u32,
    /// When that was the case first.
    since: Time,
    /// How many rules for the same packets, one after the other, had no effect before this one.
    attempts: u32,
}

impl<H: Copy> Manager<H> {
    /// A packet of a direction came to software though the NIC should carry it.
    pub fn bypassed(&mut self, connection: ConnectionHandle, direction: FlowDirection) {
        let rule = self.flows.get(&(connection, direction)).and_then(|wanted| wanted.ticket);
        if let Some(record) = rule.and_then(|rule| self.records.get_mut(rule)) {
            record.effect.bypassed = true;
        }
    }

    /// A rule's counter was read, and has `moved` since the reading before or not.
    pub(super) fn see_effect(&mut self, now: Time, ticket: Ticket, moved: bool) {
        let patience = self.patience();
        let Some(record) = self.records.get_mut(ticket) else { return };
        let Owner::Connection(connection, direction) = record.owner else { return };
        let effect = &mut record.effect;
        if moved {
            *effect = Effect { bypassed: effect.bypassed, ..Effect::default() };
        }
        if !std::mem::take(&mut effect.bypassed) {
            return;
        }
        if !moved {
            if effect.misses == 0 {
                effect.since = now;
            }
            effect.misses += 1;
        }
        let is_futile = effect.misses >= MISSES && now >= effect.since + patience;
        self.notices.push_back(Notice { connection, direction, news: News::Watched });
        if is_futile && matches!(record.phase, Phase::Installed(_)) {
            self.give_rule_up(now, ticket);
        }
    }

    /// How long a counter may stand still while packets come to software.
    fn patience(&self) -> Duration {
        let interval = Duration::from_millis(self.settings.poll_interval_ms);
        self.settings.counter_delay(self.nic.profile()) + interval * INTERVALS
    }

    /// A rule has no effect: it leaves, and another one may be tried later.
    fn give_rule_up(&mut self, now: Time, ticket: Ticket) {
        if self.wanted_like(ticket) != Some(ticket) {
            return;
        }
        let Some(Record { content, owner, effect, .. }) = self.records.get(ticket) else {
            return;
        };
        let Owner::Connection(connection, direction) = *owner else { return };
        let (content, owner, attempts) = (content.clone(), *owner, effect.attempts + 1);
        for need in &content.needs {
            self.renew(now, *need);
        }
        let why = Some(NotOffloaded::NoEffect);
        if attempts > ATTEMPTS {
            if let Some(wanted) = self.flows.get_mut(&(connection, direction)) {
                wanted.ticket = None;
            }
            self.judge(connection, direction, why);
            self.doom(ticket);
            return;
        }
        let next = self.record(content, owner, Some(ticket));
        if let Some(record) = self.records.get_mut(next) {
            record.refusals = attempts;
            record.effect.attempts = attempts;
        }
        self.set_rule(connection, direction, next);
        self.set_phase(next, Phase::Retry(now + self.wait(next)));
        self.judge(connection, direction, why);
        self.let_replaced_go(next);
    }

    /// Makes a static rule anew, unless one that builds upon it has an effect.
    fn renew(&mut self, now: Time, purpose: Purpose) {
        let patience = self.patience();
        let Some(state) = self.statics.get(&purpose) else { return };
        let is_recent = state.renewals > 0 && now < state.renewed + patience * 2;
        if is_recent || state.renewals == ATTEMPTS {
            return;
        }
        let users = state.users.iter().filter_map(|user| self.records.get(*user));
        // Only these count.
        let mut users = users.filter(|user| matches!(user.owner, Owner::Connection(..)));
        let has_effect =
            |user: &Record<H>| user.counters != RuleCounters::default() && user.effect.misses == 0;
        if users.any(has_effect) {
            return;
        }
        let Some(old) = state.wanted else { return };
        let Some(Record { content, phase: Phase::Installed(_), .. }) = self.records.get(old) else {
            return;
        };
        let content = content.clone();
        let new = self.record(content, Owner::Static, Some(old));
        let state = self.state_mut(purpose);
        state.wanted = Some(new);
        state.renewals += 1;
        state.renewed = now;
        self.submit(new);
    }
}
