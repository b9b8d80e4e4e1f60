//! The life of a rule: from the wish for it over the NIC's answers to the moment when it is forgotten, and what each step
//! means for the rules that depend on it.

use std::time::Duration;

use rte_flow::{EAGAIN, ENOMEM, ENOSPC, FlowError};
use rte_flow_compiler::NotOffloaded;

use super::exchange::RuleCounters;
use super::futility::Effect;
use super::manager::{Ask, Manager};
use super::records::{Answer, Content, Needs, Owner, Phase, Record, Ticket};
use super::statics::{Purpose, Static};
use crate::datapath::Time;

/// How often in a row a NIC may put a changed rule off before the rule that it replaces goes without it.
const PUT_OFF: u32 = 3;

impl<H: Copy> Manager<H> {
    /// Notes a rule that is wanted instead of `old`.
    pub(super) fn record(&mut self, content: Content, owner: Owner, old: Option<Ticket>) -> Ticket {
        let (needs, place, purpose) = (content.needs.clone(), content.place, content.purpose);
        let ticket = self.records.add(Record {
            content,
            owner,
            phase: Phase::Waiting,
            doomed: false,
            refusals: 0,
            counters: RuleCounters::default(),
            effect: Effect::default(),
            replaces: None,
        });
        for need in needs {
            self.state_mut(need).users.insert(ticket);
        }
        if let Some(Purpose::Shared(number)) = purpose {
            self.numbers.take(number);
        }
        if let Some(place) = place {
            self.places.entry(place).or_default().insert(ticket);
        }
        // Only now, so that what both need stays.
        let replaces = old.and_then(|old| self.superseded(old));
        if let Some(record) = self.records.get_mut(ticket) {
            record.replaces = replaces;
        }
        ticket
    }

    /// What goes once another rule has taken the place of `old`: itself, or if it is not in the NIC, what it was to replace.
    fn superseded(&mut self, old: Ticket) -> Option<Ticket> {
        let record = self.records.get_mut(old)?;
        if record.phase.may_be_in_nic() {
            return Some(old);
        }
        let replaced = record.replaces.take();
        self.forget(old);
        replaced
    }

    /// Notes where a rule is now, and what follows from that for others.
    pub(super) fn set_phase(&mut self, ticket: Ticket, phase: Phase<H>) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        let before = std::mem::replace(&mut record.phase, phase);
        let is_there = (before.may_be_in_nic(), phase.may_be_in_nic());
        let needs =
            if is_there.0 == is_there.1 { Needs::new() } else { record.content.needs.clone() };
        let place = record.content.place;
        if let Some(at) = before.due() {
            self.retries.remove(&(at, ticket));
            self.starved.remove(&ticket);
        }
        if let Some(at) = phase.due() {
            self.retries.insert((at, ticket));
        }
        match is_there {
            (false, true) => needs.into_iter().for_each(|need| self.state_mut(need).used += 1),
            (true, false) => {
                needs.into_iter().for_each(|need| self.release(need));
                let neighbors = place.and_then(|place| self.places.get(&place)).cloned();
                let others = neighbors.into_iter().flatten().filter(|other| *other != ticket);
                self.submit_waiting(others);
            }
            _ => {}
        }
    }

    /// One rule less in the NIC that leads to the rule for `purpose`.
    fn release(&mut self, purpose: Purpose) {
        let state = self.state_mut(purpose);
        state.used = state.used.saturating_sub(1);
        if state.used == 0 {
            for ticket in std::mem::take(&mut state.leaving) {
                self.doom(ticket);
            }
        }
    }

    /// Forgets a rule that is not in the NIC, and lets go what it was to replace.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.set_phase(ticket, Phase::Waiting);
        let Some(record) = self.records.remove(ticket) else { return };
        for need in record.content.needs {
            self.state_mut(need).users.remove(&ticket);
            match need {
                Purpose::Shared(number) => self.let_shared_go(number),
                _ => self.tidy(need),
            }
        }
        if let Some(purpose) = record.content.purpose {
            self.state_mut(purpose).leaving.retain(|leaving| *leaving != ticket);
            self.tidy(purpose);
            if let Purpose::Shared(number) = purpose {
                self.numbers.give_back(number);
                self.let_shared_go(number);
            }
        }
        if let Some(place) = record.content.place
            && let Some(tickets) = self.places.get_mut(&place)
        {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.places.remove(&place);
            }
        }
        if let Some(replaced) = record.replaces {
            self.retire(replaced);
        }
    }

    /// Forgets a purpose that nobody has in mind any more.
    pub(super) fn tidy(&mut self, purpose: Purpose) {
        if self.statics.get(&purpose).is_some_and(Static::is_idle) {
            self.statics.remove(&purpose);
        }
    }

    /// Asks for a rule's insertion, if nothing stands in its way.
    pub(super) fn submit(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get(ticket) else { return };
        let (owner, purpose) = (record.owner, record.content.purpose);
        let mut missing = record.content.needs.iter().filter(|need| !self.has_static(**need));
        if let Some(missing) = missing.next().copied() {
            self.set_phase(ticket, Phase::Waiting);
            self.let_replaced_go(ticket);
            if let Owner::Connection(connection, direction) = owner {
                let state = self.statics.get(&missing);
                let refusal = state.and_then(|state| state.refusal.clone());
                // A shared rule is made for those that need it: it is on its way as theirs are.
                let is_coming = matches!(missing, Purpose::Shared(_)) && refusal.is_none();
                let why = (!is_coming).then_some(NotOffloaded::StaticPart(refusal));
                self.judge(connection, direction, why);
            }
            return;
        }
        if let Some(purpose) = purpose.filter(|purpose| self.is_place_taken(ticket, *purpose)) {
            self.set_phase(ticket, Phase::Waiting);
            self.let_replaced_go(ticket);
            self.lacks_static(purpose, "the rule of the interface before it is still in the NIC");
            return;
        }
        self.set_phase(ticket, Phase::Inserting(Answer::Unasked));
        self.requests.push_back((ticket, Ask::Insert));
    }

    /// Notes why the NIC has no rule for a purpose, for those that wait for it.
    fn lacks_static(&mut self, purpose: Purpose, why: impl Into<String>) {
        let state = self.state_mut(purpose);
        state.refusal = Some(why.into());
        let users = state.users.clone();
        self.submit_waiting(users.into_iter());
    }

    /// Whether a rule of another purpose, which packets may meet, is for the very packets that this rule is for.
    fn is_place_taken(&self, ticket: Ticket, own: Purpose) -> bool {
        let place = self.records.get(ticket).and_then(|record| record.content.place);
        let neighbors = place.and_then(|place| self.places.get(&place));
        let mut neighbors = neighbors.into_iter().flatten().filter_map(|t| self.records.get(*t));
        neighbors.any(|other| other.phase.may_be_in_nic() && other.content.purpose != Some(own))
    }

    /// Asks for those of the rules that wait, if nothing stands in their way any more.
    fn submit_waiting(&mut self, tickets: impl Iterator<Item = Ticket>) {
        for ticket in tickets {
            if self.records.get(ticket).is_some_and(|r| matches!(r.phase, Phase::Waiting)) {
                self.submit(ticket);
            }
        }
    }

    /// The rule that a rule was to replace goes without it: what it does was decided before, and holds no longer.
    pub(super) fn let_replaced_go(&mut self, ticket: Ticket) {
        let replaced = self.records.get_mut(ticket).and_then(|record| record.replaces.take());
        if let Some(replaced) = replaced {
            self.retire(replaced);
        }
    }

    /// Lets a rule go, wherever it is.
    pub(super) fn doom(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        record.doomed = true;
        let (phase, owner) = (record.phase, record.owner);
        self.let_replaced_go(ticket);
        match phase {
            Phase::Waiting | Phase::Inserting(Answer::Unasked) | Phase::Retry(_) => {
                self.forget(ticket);
            }
            Phase::Installed(handle) => {
                self.remove(ticket, handle);
                if let Owner::Connection(connection, direction) = owner {
                    self.judge(connection, direction, None);
                }
            }
            Phase::Inserting(_)
            | Phase::Removing(..)
            | Phase::RetryRemoval(..)
            | Phase::Stranded => {}
        }
    }

    fn remove(&mut self, ticket: Ticket, handle: H) {
        self.set_phase(ticket, Phase::Removing(handle, Answer::Unasked));
        self.requests.push_back((ticket, Ask::Remove));
    }

    /// Lets a rule go, after the rules that lead to it unless another one takes its place: a packet must not be lost between
    /// them, half rewritten.
    pub(super) fn retire(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get(ticket) else { return };
        let purpose = record.content.purpose.filter(|_| record.phase.may_be_in_nic());
        let Some(purpose) = purpose.filter(|purpose| !self.has_static(*purpose)) else {
            return self.doom(ticket);
        };
        let users = self.statics.get(&purpose).map(|state| state.users.clone());
        for user in users.unwrap_or_default() {
            self.park(user);
        }
        let state = self.state_mut(purpose);
        if state.used == 0 {
            self.doom(ticket);
        } else {
            state.leaving.push(ticket);
        }
    }

    /// Takes a connection's rule out of the NIC until what it needs is there.
    fn park(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get(ticket) else { return };
        let Owner::Connection(connection, direction) = record.owner else { return };
        let is_wanted = self.wanted_like(ticket) == Some(ticket);
        match record.phase {
            Phase::Waiting | Phase::Removing(..) | Phase::RetryRemoval(..) | Phase::Stranded => {}
            Phase::Inserting(Answer::Unasked) | Phase::Retry(_) => self.submit(ticket),
            Phase::Inserting(_) | Phase::Installed(_) if is_wanted => {
                let (content, owner) = (record.content.clone(), record.owner);
                let waiting = self.record(content, owner, Some(ticket));
                self.set_rule(connection, direction, waiting);
                self.submit(waiting);
            }
            Phase::Inserting(_) | Phase::Installed(_) => self.doom(ticket),
        }
    }

    /// Whether a rule for the purpose is in the NIC, to stay or until another one takes its place.
    pub(super) fn has_static(&self, purpose: Purpose) -> bool {
        let mut rule = self.statics.get(&purpose).and_then(|state| state.wanted);
        while let Some(record) = rule.and_then(|ticket| self.records.get(ticket)) {
            if matches!(record.phase, Phase::Installed(_)) {
                return true;
            }
            rule = record.replaces;
        }
        false
    }

    /// The rule that is wanted for what `ticket` is, or was, made for.
    pub(super) fn wanted_like(&self, ticket: Ticket) -> Option<Ticket> {
        let record = self.records.get(ticket)?;
        match record.owner {
            Owner::Static => self.statics.get(&record.content.purpose?)?.wanted,
            Owner::Connection(connection, direction) => {
                self.flows.get(&(connection, direction))?.ticket
            }
        }
    }

    /// The rule that is to replace `ticket`.
    fn successor(&self, ticket: Ticket) -> Option<Ticket> {
        let mut rule = self.wanted_like(ticket);
        while let Some((candidate, found)) =
            rule.and_then(|rule| Some((rule, self.records.get(rule)?)))
        {
            if found.replaces == Some(ticket) {
                return Some(candidate);
            }
            rule = found.replaces;
        }
        None
    }

    pub(super) fn inserted(&mut self, ticket: Ticket, handle: H) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        record.refusals = 0;
        let (owner, doomed, purpose) = (record.owner, record.doomed, record.content.purpose);
        self.set_phase(ticket, Phase::Installed(handle));
        if doomed {
            self.doom(ticket);
            return;
        }
        self.let_replaced_go(ticket);
        match (owner, purpose) {
            (Owner::Connection(connection, direction), _) => {
                self.judge(connection, direction, None);
            }
            // One that nothing leads to but what is leaving itself waits until that is gone.
            (Owner::Static, Some(purpose)) if self.has_static(purpose) => {
                let state = self.state_mut(purpose);
                state.refusal = None;
                let (leaving, users) = (std::mem::take(&mut state.leaving), state.users.clone());
                for ticket in leaving {
                    self.doom(ticket);
                }
                self.submit_waiting(users.into_iter());
            }
            (Owner::Static, _) => {}
        }
    }

    pub(super) fn refused(&mut self, now: Time, ticket: Ticket, refusal: FlowError) {
        let wait = self.wait(ticket);
        let successor = self.successor(ticket);
        let Some(record) = self.records.get_mut(ticket) else { return };
        let (owner, purpose) = (record.owner, record.content.purpose);
        if let Some(successor) = successor {
            // What comes next is under way already.
            let replaced = record.replaces.take();
            if let Some(successor) = self.records.get_mut(successor) {
                successor.replaces = replaced;
            }
            self.forget(ticket);
            return;
        }
        let is_leaving = |state: &Static| state.leaving.contains(&ticket);
        if record.doomed || purpose.and_then(|p| self.statics.get(&p)).is_some_and(is_leaving) {
            self.forget(ticket);
            return;
        }
        record.refusals += 1;
        let full = matches!(refusal.errno, ENOSPC | ENOMEM);
        let put_off = refusal.errno == EAGAIN && record.refusals <= PUT_OFF;
        let lets_go = record.replaces.is_some() && !put_off;
        // The one it replaces may be what stands in its way: a NIC may refuse equal patterns, or be full.
        self.set_phase(ticket, Phase::Retry(if lets_go { now } else { now + wait }));
        if lets_go {
            self.let_replaced_go(ticket);
        }
        if full {
            self.starved.insert(ticket);
        }
        match (owner, purpose) {
            (Owner::Static, Some(purpose)) => self.lacks_static(purpose, refusal.message),
            (Owner::Static, None) => {}
            (Owner::Connection(connection, direction), _) => {
                let reason =
                    if full { NotOffloaded::TableFull } else { NotOffloaded::Refused(refusal) };
                self.judge(connection, direction, Some(reason));
            }
        }
    }

    pub(super) fn not_removed(&mut self, now: Time, ticket: Ticket) {
        let until = now + self.wait(ticket);
        if let Some(record) = self.records.get_mut(ticket)
            && let Phase::Removing(handle, _) = record.phase
        {
            record.refusals += 1;
            self.set_phase(ticket, Phase::RetryRemoval(handle, until));
        }
    }

    /// How long to wait after the next refusal.
    pub(super) fn wait(&self, ticket: Ticket) -> Duration {
        let refusals = self.records.get(ticket).map_or(0, |record| record.refusals).min(20);
        let wait = self.settings.retry_after_ms.saturating_mul(1 << refusals);
        Duration::from_millis(wait.min(self.settings.retry_at_most_ms))
    }

    /// Tries again what is due for that.
    pub fn retry(&mut self, now: Time) {
        while let Some((at, ticket)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.remove(&(at, ticket));
            match self.records.get(ticket).map(|record| record.phase) {
                Some(Phase::RetryRemoval(handle, _)) => self.remove(ticket, handle),
                Some(Phase::Retry(_)) => self.submit(ticket),
                _ => {}
            }
        }
    }

    /// Gives the answer about a rule up, if the NIC owes it for too long: the rule may be in the NIC or not.
    pub(super) fn give_up(&mut self, now: Time, ticket: Ticket) {
        let patience = Duration::from_millis(self.settings.answer_within_ms);
        let is_overdue = |asked: Time| asked + patience <= now;
        match self.records.get(ticket).map(|record| record.phase) {
            Some(Phase::Removing(handle, Answer::Expected(asked))) if is_overdue(asked) => {
                self.set_phase(ticket, Phase::Removing(handle, Answer::Overdue));
            }
            Some(Phase::Inserting(Answer::Expected(asked))) if is_overdue(asked) => {
                self.set_phase(ticket, Phase::Inserting(Answer::Overdue));
                self.let_replaced_go(ticket);
                if self.wanted_like(ticket) == Some(ticket) {
                    self.say_overdue(ticket);
                }
            }
            _ => {}
        }
    }

    /// Tells those who wait for a rule that they do in vain.
    fn say_overdue(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get(ticket) else { return };
        match (record.owner, record.content.purpose) {
            (Owner::Connection(connection, direction), _) => {
                self.judge(connection, direction, Some(NotOffloaded::Unanswered));
            }
            (Owner::Static, Some(purpose)) => {
                self.lacks_static(purpose, NotOffloaded::Unanswered.to_string());
            }
            (Owner::Static, None) => {}
        }
    }
}
