//! The synchronous API: one call, one rule.

use rte_flow::{Api, EINVAL, ErrorKind, FlowError};

use super::arena::Id;
use super::counter::{AgeOwner, AgeState, Count, Counter};
use super::faults::InsertionFault;
use super::rule::{Rule, RuleId, Stage};
use super::switch::Eswitch;
use super::time::Time;

/// A rule that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Created {
    /// Its handle.
    pub rule: RuleId,
    /// When the call returns: the caller waits until then. The rule takes packets from then on; somewhat earlier with a
    /// completion delay, never when a fault loses it.
    pub done: Time,
}

/// A rule that aged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aged {
    /// The rule; `None` for a shared AGE.
    pub rule: Option<RuleId>,
    /// The flow queue through which it was made, if it was one.
    pub queue: Option<u32>,
    /// What its AGE carries.
    pub context: usize,
}

impl Eswitch {
    /// Whether [`Self::create`] would take the rule now.
    ///
    /// # Errors
    /// What it would refuse it with.
    pub fn validate(&self, port: u16, rule: &rte_flow::Rule) -> Result<(), FlowError> {
        self.started(port)?;
        let prepared = self.prepare(port, rule, Api::Synchronous, false)?;
        self.admit(&prepared)
    }

    /// Makes a rule through a port's ethdev.
    ///
    /// # Errors
    /// What the profile or the model refuses, `EEXIST` for a duplicate where the profile says so, `ENOSPC` when the card is
    /// full, and the errno of a fault that is switched on.
    pub fn create(
        &mut self,
        port: u16,
        rule: &rte_flow::Rule,
        now: Time,
    ) -> Result<Created, FlowError> {
        self.settle(now);
        self.started(port)?;
        let prepared = self.prepare(port, rule, Api::Synchronous, false)?;
        let fault = self.insertion_fault();
        if let Some(InsertionFault::Refused(errno)) = fault {
            let message = "the card refuses the rule because of an injected fault; try again";
            return Err(FlowError::other(ErrorKind::Unspecified, errno, message));
        }
        self.admit(&prepared)?;
        let done = self.pace.insert(now);
        let in_force = if fault == Some(InsertionFault::Lost) { Time::NEVER } else { done };
        let rule = self.insert(prepared, None, Stage::Settled, (in_force, None), now)?;
        Ok(Created { rule, done: done + self.faults.completion_delay })
    }

    /// Destroys a rule that [`Self::create`] made. Returns when the call returns; until then the rule may take packets.
    ///
    /// # Errors
    /// `ENOENT` for an unknown rule, `EINVAL` for one of the asynchronous API, and the errno of a fault that is switched
    /// on.
    pub fn destroy(&mut self, port: u16, rule: RuleId, now: Time) -> Result<Time, FlowError> {
        self.settle(now);
        let found = self.rule_of(port, rule)?;
        if found.table.is_some() {
            let message = "the rule came from a template table; destroy it through a queue";
            return Err(FlowError::other(ErrorKind::Handle, EINVAL, message));
        }
        if found.is_leaving() {
            let message = "the rule is being destroyed already; do not do it twice";
            return Err(FlowError::other(ErrorKind::Handle, EINVAL, message));
        }
        if let Some(errno) = self.removal_fault() {
            let message = "the card keeps the rule because of an injected fault; try again";
            return Err(FlowError::other(ErrorKind::Handle, errno, message));
        }
        let gone = self.pace.delete(now);
        self.leave(rule, gone);
        self.settle(now);
        Ok(gone + self.faults.completion_delay)
    }

    /// Destroys all rules with a handle that were made through a port's ethdev, of both APIs. Returns when the call returns.
    ///
    /// # Errors
    /// An unknown port.
    pub fn flush(&mut self, port: u16, now: Time) -> Result<Time, FlowError> {
        self.settle(now);
        self.ports.known(port)?;
        let mut done = now;
        for rule in self.rules_of(port) {
            // The driver does not know of a rule whose destruction failed.
            let is_known = |rule: &Rule| !rule.is_leaving() && rule.stage != Stage::Stranded;
            if self.rules.get(rule).is_some_and(is_known) {
                done = self.pace.delete(now);
                self.leave(rule, done);
            }
        }
        self.settle(now);
        Ok(done + self.faults.completion_delay)
    }

    /// What a rule's COUNT shows, which is as old as the profile's refresh; with `reset` it counts from there on.
    ///
    /// # Errors
    /// `ENOENT` for an unknown rule, `EINVAL` for one without COUNT.
    pub fn query_count(
        &mut self,
        port: u16,
        rule: RuleId,
        reset: bool,
        now: Time,
    ) -> Result<Count, FlowError> {
        let counter = self.counter_id(port, rule)?;
        self.read_counter(counter, reset, now)
    }

    /// The state of a rule's AGE.
    ///
    /// # Errors
    /// `ENOENT` for an unknown rule, `EINVAL` for one without AGE.
    pub fn query_age(&self, port: u16, rule: RuleId, now: Time) -> Result<AgeState, FlowError> {
        let ageing = self.ageing_id(port, rule)?;
        let ageing = self.ageings.get(ageing).map(|ageing| ageing.state(now));
        ageing.ok_or_else(|| {
            FlowError::other(ErrorKind::Action, EINVAL, "the rule's shared AGE is gone; renew it")
        })
    }

    /// Reports the rules and shared actions of a port whose AGE has run out since the last report. Walks over all that age: not
    /// for the packet path.
    ///
    /// # Errors
    /// An unknown port.
    pub fn aged(&mut self, port: u16, now: Time) -> Result<Vec<Aged>, FlowError> {
        self.ports.known(port)?;
        let aged = self.ageings.iter_mut().filter_map(|ageing| {
            let owner = ageing.owner.filter(|owner| owner.port == port)?;
            let AgeOwner { rule, queue, .. } = owner;
            ageing.report(now).then_some(Aged { rule, queue, context: ageing.context })
        });
        Ok(aged.collect())
    }

    pub(super) fn read_counter(
        &mut self,
        counter: Id<Counter>,
        reset: bool,
        now: Time,
    ) -> Result<Count, FlowError> {
        let counter = self.counters.get_mut(counter).ok_or_else(|| {
            FlowError::other(ErrorKind::Action, EINVAL, "the shared COUNT is gone; renew it")
        })?;
        Ok(counter.query(reset, now))
    }
}
