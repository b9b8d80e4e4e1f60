//! The asynchronous API: queues of operations and their completions.

use std::collections::VecDeque;

use rte_flow::{
    Action, Api, EBUSY, EINVAL, ENOENT, ENOTSUP, ErrorKind, FlowError, Item, Reconfiguration,
};

use super::faults::InsertionFault;
use super::pool::{FlowConfig, Pools};
use super::rule::{RuleId, Stage};
use super::switch::{Engine, Eswitch};
use super::template::TableId;
use super::time::Time;

/// The result of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// What was passed when it was enqueued.
    pub user_data: u64,
    /// The errno when it failed. A rule whose creation failed is none, but its handle must be destroyed like one; the handle
    /// of a rule whose destruction failed is dead, though the rule is there.
    pub result: Result<(), i32>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Create,
    /// A creation that an injected fault lets fail or loses.
    Faulty(InsertionFault),
    Destroy,
    /// A destruction that an injected fault lets fail.
    Stranded(i32),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    kind: Kind,
    rule: RuleId,
    user_data: u64,
}

/// A queue of a port.
#[derive(Debug, Default)]
pub struct Queue {
    size: usize,
    /// Not pushed yet.
    postponed: Vec<Operation>,
    /// Pushed; each with the time its completion can be pulled.
    pushed: VecDeque<(Time, Operation)>,
    /// Pushed while the queue was frozen: the card has not looked at them.
    held: Vec<Operation>,
}

impl Queue {
    /// Forgets all operations.
    pub fn clear(&mut self) {
        self.postponed.clear();
        self.pushed.clear();
        self.held.clear();
    }

    fn in_flight(&self) -> usize {
        self.postponed.len() + self.pushed.len() + self.held.len()
    }
}

/// A rule's place in a template table, with the values it is made of.
#[derive(Clone, Copy, Debug)]
pub struct TableRule<'a> {
    /// The table.
    pub table: TableId,
    /// Values for the items of the pattern template.
    pub items: &'a [Item],
    /// Which of the table's pattern templates.
    pub pattern_template: usize,
    /// Configurations for the actions of the actions template.
    pub actions: &'a [Action],
    /// Which of the table's actions templates.
    pub actions_template: usize,
}

/// How an operation is enqueued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enqueue {
    /// Which queue.
    pub queue: u32,
    /// Whether it waits for a push; else it is pushed with all before it.
    pub postpone: bool,
    /// Comes back with the completion.
    pub user_data: u64,
}

impl Eswitch {
    /// Gives a port its queues, each of so many operations in flight, and reserves objects for its rules
    /// (`rte_flow_configure`). What becomes of a port that is configured already, the profile says.
    ///
    /// # Errors
    /// `ENOTSUP` when the profile has no templates, or does not change what is configured; `EINVAL` for a queue without room,
    /// queues of sizes that the profile does not have beside each other, ages without counters and a started port; `EBUSY` while
    /// operations are in flight.
    pub fn configure(&mut self, port: u16, config: &FlowConfig) -> Result<(), FlowError> {
        let queues = &config.queues;
        if !self.profile.interface.templates {
            let message = "incorrect steering mode: there are no queues; use rte_flow_create";
            return Err(FlowError::other(ErrorKind::Unspecified, rte_flow::ENOTSUP, message));
        }
        if self.ports.known(port)?.started {
            let message = "the port is started; configure flow queues before starting it";
            return Err(FlowError::other(ErrorKind::State, EINVAL, message));
        }
        if queues.is_empty() || queues.contains(&0) {
            let message = "flow queues need room for an operation; give at least one queue a size";
            return Err(FlowError::other(ErrorKind::Unspecified, EINVAL, message));
        }
        if self.profile.queues.equal && queues.iter().any(|size| Some(size) != queues.first()) {
            let message = "all flow queues of a port have the same size; ask for one";
            return Err(FlowError::other(ErrorKind::Unspecified, EINVAL, message));
        }
        let mut mine = self.queues.iter().filter(|((owner, _), _)| *owner == port);
        if mine.any(|(_, queue)| queue.in_flight() > 0) {
            let message = "operations are in flight; pull their completions first";
            return Err(FlowError::other(ErrorKind::State, EBUSY, message));
        }
        let there = self.engines.get(&port).and_then(|engine| engine.config.as_ref());
        match (self.profile.queues.again, there) {
            (Reconfiguration::SameOnly, Some(there)) if there == config => return Ok(()),
            (Reconfiguration::SameOnly, Some(_)) => {
                let message = "the flow engine is configured already, and does not change; close the port first";
                return Err(FlowError::other(ErrorKind::Unspecified, ENOTSUP, message));
            }
            _ => {}
        }
        let pools = Pools::new(config, &self.profile)?;
        if self.profile.queues.again != Reconfiguration::Queues {
            self.forget_engine(port);
        }
        self.queues.retain(|(owner, _), _| *owner != port);
        for (number, size) in (0..).zip(queues) {
            let rounded = self.profile.queues.rounded.then(|| size.checked_next_power_of_two());
            let size = rounded.flatten().unwrap_or(*size);
            let queue = Queue { size: size as usize, ..Queue::default() };
            self.queues.insert((port, number), queue);
        }
        self.engines.insert(port, Engine { config: Some(config.clone()), pools });
        self.known_mut(port)?.configured = true;
        Ok(())
    }

    /// Forgets all that was made with the flow engine of a stopped port, whose rules are gone.
    fn forget_engine(&mut self, port: u16) {
        self.tables.retain(|table| table.port != port);
        self.pattern_templates.retain(|template| template.port != port);
        self.actions_templates.retain(|template| template.port != port);
        self.discard_all_shared(port);
        self.engines.remove(&port);
    }

    /// Enqueues the creation of a rule. The handle is valid at once; whether there is a rule, the completion tells.
    ///
    /// # Errors
    /// The profile's errno for a full queue or a full table, `ENOSPC` for a full card, `EINVAL` for values that do not fit the templates, and what
    /// the profile or the model refuses.
    pub fn enqueue_create(
        &mut self,
        port: u16,
        enqueue: Enqueue,
        new: TableRule<'_>,
        now: Time,
    ) -> Result<RuleId, FlowError> {
        self.settle(now);
        self.started(port)?;
        self.room(port, enqueue.queue)?;
        let (rule, relaxed) = self.templated(
            port,
            new.table,
            (new.items, new.pattern_template),
            (new.actions, new.actions_template),
        )?;
        let prepared = self.prepare(port, &rule, Api::Template, relaxed)?;
        self.admit(&prepared)?;
        if let Some(table) = self.tables.get(new.table)
            && table.rules >= table.attributes.capacity as usize
        {
            let message = format!(
                "the table holds the {} rules it was made for; destroy some or make it larger",
                table.attributes.capacity
            );
            let errno = self.profile.tables.full;
            return Err(FlowError::other(ErrorKind::Unspecified, errno, message));
        }
        let kind = self.insertion_fault().map_or(Kind::Create, Kind::Faulty);
        let rule = self.insert(
            prepared,
            Some(new.table),
            Stage::Creating,
            (Time::NEVER, Some(enqueue.queue)),
            now,
        )?;
        self.put(port, enqueue, Operation { kind, rule, user_data: enqueue.user_data }, now)?;
        Ok(rule)
    }

    /// Enqueues the destruction of a rule.
    ///
    /// # Errors
    /// `ENOENT` for an unknown rule, `EINVAL` for one of the synchronous API or one that is being destroyed, `EBUSY` for one whose
    /// creation is not pulled yet, the profile's errno for a full queue.
    pub fn enqueue_destroy(
        &mut self,
        port: u16,
        enqueue: Enqueue,
        rule: RuleId,
        now: Time,
    ) -> Result<(), FlowError> {
        self.settle(now);
        self.room(port, enqueue.queue)?;
        let found = self.rule_of(port, rule)?;
        let refuse = |errno, message| Err(FlowError::other(ErrorKind::Handle, errno, message));
        match (found.table, found.stage) {
            (None, _) => {
                return refuse(EINVAL, "the rule came from rte_flow_create; destroy it there");
            }
            (_, Stage::Destroying | Stage::Stranded) => {
                return refuse(EINVAL, "the rule is being destroyed already; do not do it twice");
            }
            (_, Stage::Creating) => {
                return refuse(EBUSY, "the rule's creation is not complete; pull its result first");
            }
            (_, Stage::Settled | Stage::Stillborn) => {}
        }
        if let Some(found) = self.rules.get_mut(rule) {
            found.stage = Stage::Destroying;
        }
        let kind = self.removal_fault().map_or(Kind::Destroy, Kind::Stranded);
        let operation = Operation { kind, rule, user_data: enqueue.user_data };
        self.put(port, enqueue, operation, now)
    }

    /// Hands all postponed operations of a queue to the card.
    ///
    /// # Errors
    /// An unknown queue.
    pub fn push(&mut self, port: u16, queue: u32, now: Time) -> Result<(), FlowError> {
        self.settle(now);
        let found = self.queues.get_mut(&(port, queue)).ok_or_else(|| no_queue(port, queue))?;
        let operations = std::mem::take(&mut found.postponed);
        if self.frozen_queue == Some(queue) {
            found.held.extend(operations);
        } else {
            self.carry_out(port, queue, &operations, now);
        }
        Ok(())
    }

    /// Freezes the queues of this number, of all ports, or none: the card takes nothing from a frozen queue and completes
    /// nothing there. A queue that is frozen no more goes on where it stopped.
    pub fn freeze_queue(&mut self, queue: Option<u32>, now: Time) {
        self.settle(now);
        self.frozen_queue = queue;
        let thawed: Vec<(u16, u32)> =
            self.queues.keys().copied().filter(|(_, number)| Some(*number) != queue).collect();
        for (port, number) in thawed {
            let held =
                self.queues.get_mut(&(port, number)).map(|found| std::mem::take(&mut found.held));
            self.carry_out(port, number, &held.unwrap_or_default(), now);
        }
    }

    /// The number of the frozen queues.
    #[must_use]
    pub const fn frozen_queue(&self) -> Option<u32> {
        self.frozen_queue
    }

    /// The card carries out operations.
    fn carry_out(&mut self, port: u16, queue: u32, operations: &[Operation], now: Time) {
        for operation in operations {
            let done = match operation.kind {
                Kind::Create => {
                    let at = self.pace.insert(now);
                    if let Some(rule) = self.rules.get_mut(operation.rule) {
                        rule.from = at;
                    }
                    at
                }
                Kind::Faulty(_) => self.pace.insert(now),
                Kind::Stranded(_) => self.pace.delete(now),
                Kind::Destroy => {
                    let at = self.pace.delete(now);
                    self.leave(operation.rule, at);
                    at
                }
            };
            if let Some(found) = self.queues.get_mut(&(port, queue)) {
                found.pushed.push_back((done + self.faults.completion_delay, *operation));
            }
        }
        self.settle(now);
    }

    /// When the next operation of a queue that was pushed is complete: [`Self::pull`] has nothing new before. `None` when nothing is
    /// on its way there, or nothing moves.
    #[must_use]
    pub fn next_completion(&self, port: u16, queue: u32) -> Option<Time> {
        let found = self.queues.get(&(port, queue)).filter(|_| self.frozen_queue != Some(queue))?;
        found.pushed.front().map(|(at, _)| *at)
    }

    /// Appends to `completions` the results, at most `most`, of operations that are complete; returns how many.
    ///
    /// # Errors
    /// An unknown queue.
    pub fn pull(
        &mut self,
        port: u16,
        queue: u32,
        most: usize,
        now: Time,
        completions: &mut Vec<Completion>,
    ) -> Result<usize, FlowError> {
        self.settle(now);
        let mut pulled = 0;
        while pulled < most {
            let found = self.queues.get_mut(&(port, queue)).ok_or_else(|| no_queue(port, queue))?;
            if self.frozen_queue == Some(queue) {
                break;
            }
            let Some((_, operation)) = found.pushed.pop_front_if(|(at, _)| *at <= now) else {
                break;
            };
            let (stage, result) = match operation.kind {
                Kind::Create | Kind::Faulty(InsertionFault::Lost) => (Stage::Settled, Ok(())),
                Kind::Faulty(InsertionFault::Refused(errno)) => (Stage::Stillborn, Err(errno)),
                Kind::Destroy => (Stage::Destroying, Ok(())),
                Kind::Stranded(errno) => (Stage::Stranded, Err(errno)),
            };
            // One that was destroyed is gone.
            if let Some(rule) = self.rules.get_mut(operation.rule) {
                rule.stage = stage;
            }
            completions.push(Completion { user_data: operation.user_data, result });
            pulled += 1;
        }
        Ok(pulled)
    }

    fn room(&self, port: u16, queue: u32) -> Result<(), FlowError> {
        let found = self.queues.get(&(port, queue)).ok_or_else(|| no_queue(port, queue))?;
        if found.in_flight() < found.size {
            return Ok(());
        }
        let message = format!("all {} places of the queue are in flight; pull first", found.size);
        Err(FlowError::other(ErrorKind::Unspecified, self.profile.queues.full, message))
    }

    fn put(
        &mut self,
        port: u16,
        enqueue: Enqueue,
        operation: Operation,
        now: Time,
    ) -> Result<(), FlowError> {
        let queue = self.queues.get_mut(&(port, enqueue.queue));
        queue.ok_or_else(|| no_queue(port, enqueue.queue))?.postponed.push(operation);
        if enqueue.postpone { Ok(()) } else { self.push(port, enqueue.queue, now) }
    }
}

fn no_queue(port: u16, queue: u32) -> FlowError {
    let message = format!("port {port} has no flow queue {queue}; configure it first");
    FlowError::other(ErrorKind::Unspecified, ENOENT, message)
}
