//! The simulated NIC as the offload manager's other end: carries out its requests in virtual time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use dpu_app::datapath::Time;
use dpu_app::offload::{Reply, Request, RuleCounters, Ticket};
use packet::Frame;
use rte_flow::{Api, EncodedRule, ErrorKind, FlowError, Rule, TableAttributes, decode_rule};
use rte_flow_compiler::{Nic, TableTemplate, shape, templates};
use sim::eswitch::{
    self, Enqueue, Eswitch, FlowConfig, Ingress, RuleId, TableId, TableRule, Trace, Verdict,
};

/// The port whose ethdev manages transfer rules.
const PROXY: u16 = 0;
/// The flow queue that is used.
const QUEUE: u32 = 0;
/// Operations in flight in the queue.
const QUEUE_SIZE: u32 = 1024;
/// How often completions are asked for while operations are in flight. When there are none, nobody sees that they are asked for.
const PULL_INTERVAL: Duration = Duration::from_micros(10);
/// Rules a template table has room for.
const TABLE_CAPACITY: u32 = 1 << 20;

/// An answer that the NIC gives at a time.
type Answer = (Time, Ticket, Reply<RuleId>);

/// An asynchronous operation.
enum Operation {
    Create(Ticket, RuleId),
    /// With the rule's last count.
    Destroy(Ticket, Option<RuleCounters>),
    /// Of the handle that a failed creation leaves.
    CleanUp,
}

/// See the module.
pub struct SimulatedNic {
    switch: Eswitch,
    /// The template tables, where the NIC is programmed through them.
    tables: Vec<(TableTemplate, TableId)>,
    /// When the synchronous interface has time for the next request.
    free: Time,
    /// Answers that are still to be given, in order.
    answers: VecDeque<Answer>,
    /// Asynchronous operations whose completion is awaited, by number.
    in_flight: HashMap<u64, Operation>,
    operations: u64,
    /// When the last of them was begun.
    begun: Time,
    /// When completions were last asked for.
    pulled: Time,
    tickets: HashMap<RuleId, Ticket>,
    trace: Trace,
}

fn to_sim(time: Time) -> eswitch::Time {
    eswitch::Time(time.0)
}

impl SimulatedNic {
    /// A NIC with its ports started and, where it needs them, its template tables made.
    ///
    /// # Errors
    /// What the NIC refuses of that.
    pub fn new(mut switch: Eswitch, nic: &Nic) -> Result<Self, FlowError> {
        let mut tables = Vec::new();
        let ports: Vec<u16> = switch.ports().map(|port| port.config.id).collect();
        let uses_templates = nic.api() == Api::Template;
        let counters = nic.profile().limits.counters.and_then(|most| u32::try_from(most).ok());
        let config = FlowConfig {
            queues: vec![QUEUE_SIZE],
            counters: counters.unwrap_or(u32::MAX),
            ..FlowConfig::default()
        };
        for port in ports {
            if uses_templates {
                switch.configure(port, &config)?;
            }
            switch.start(port)?;
        }
        if uses_templates {
            for template in templates(nic) {
                let pattern = switch.pattern_template_create(PROXY, template.pattern.clone())?;
                let actions = switch.actions_template_create(PROXY, template.actions.clone())?;
                let attributes =
                    TableAttributes { attributes: template.attributes, capacity: TABLE_CAPACITY };
                let table = switch.table_create(PROXY, attributes, &[pattern], &[actions])?;
                tables.push((template, table));
            }
        }
        Ok(Self {
            switch,
            tables,
            free: Time::ZERO,
            answers: VecDeque::new(),
            in_flight: HashMap::new(),
            operations: 0,
            begun: Time::ZERO,
            pulled: Time::ZERO,
            tickets: HashMap::new(),
            trace: Trace::default(),
        })
    }

    /// Whether the NIC has time for a request, and room in its queue.
    pub fn is_free(&self, now: Time) -> bool {
        self.free <= now && self.in_flight.len() < QUEUE_SIZE as usize
    }

    /// Carries out a request; its answer comes at its time.
    pub fn execute(&mut self, now: Time, ticket: Ticket, request: Request<RuleId>) {
        match request {
            Request::Insert(rule) if self.tables.is_empty() => self.create(now, ticket, &rule),
            Request::Insert(rule) => self.enqueue_create(now, ticket, &rule),
            Request::Remove(rule) if self.tables.is_empty() => self.destroy(now, ticket, rule),
            Request::Remove(rule) => self.enqueue_destroy(now, ticket, rule),
            Request::Count(rule) => {
                let counted = self.query(now, rule);
                self.answers.push_back((now, ticket, Reply::Counted(counted)));
            }
        }
    }

    fn query(&mut self, now: Time, rule: RuleId) -> Result<RuleCounters, FlowError> {
        let count = self.switch.query_count(PROXY, rule, false, to_sim(now))?;
        Ok(RuleCounters { packets: count.packets, bytes: count.bytes })
    }

    fn create(&mut self, now: Time, ticket: Ticket, rule: &Rule) {
        let encoded = EncodedRule::new(rule);
        // SAFETY: the pointers are those of a rule encoded just now, which lives to the end of the function.
        let decoded =
            unsafe { decode_rule(encoded.attributes(), encoded.pattern(), encoded.actions()) };
        let created = decoded
            .map_err(FlowError::from)
            .and_then(|rule| self.switch.create(PROXY, &rule, to_sim(now)));
        match created {
            Ok(created) => {
                self.tickets.insert(created.rule, ticket);
                self.free = Time(created.done.0);
                self.answers.push_back((self.free, ticket, Reply::Inserted(Ok(created.rule))));
            }
            Err(refusal) => {
                self.answers.push_back((now, ticket, Reply::Inserted(Err(refusal))));
            }
        }
    }

    fn destroy(&mut self, now: Time, ticket: Ticket, rule: RuleId) {
        let last = self.query(now, rule).ok();
        let removed = self.switch.destroy(PROXY, rule, to_sim(now));
        let at = removed.as_ref().map_or(now, |done| Time(done.0));
        if removed.is_ok() {
            self.tickets.remove(&rule);
        }
        self.free = at;
        self.answers.push_back((at, ticket, Reply::Removed(removed.map(|_| last))));
    }

    fn enqueue(&mut self, now: Time) -> Enqueue {
        self.operations += 1;
        self.begun = now;
        Enqueue { queue: QUEUE, postpone: false, user_data: self.operations }
    }

    fn enqueue_create(&mut self, now: Time, ticket: Ticket, rule: &Rule) {
        let enqueue = self.enqueue(now);
        let wanted = shape(rule);
        let table = self.tables.iter().find(|(template, _)| *template == wanted);
        let created = if let Some((_, table)) = table {
            let new = TableRule {
                table: *table,
                items: &rule.pattern,
                pattern_template: 0,
                actions: &rule.actions,
                actions_template: 0,
            };
            self.switch.enqueue_create(PROXY, enqueue, new, to_sim(now))
        } else {
            let message = "no template table has this shape of rule";
            Err(FlowError::other(ErrorKind::Unspecified, rte_flow::ENOTSUP, message))
        };
        match created {
            Ok(rule) => {
                self.tickets.insert(rule, ticket);
                self.in_flight.insert(enqueue.user_data, Operation::Create(ticket, rule));
            }
            Err(refusal) => {
                self.answers.push_back((now, ticket, Reply::Inserted(Err(refusal))));
            }
        }
    }

    fn enqueue_destroy(&mut self, now: Time, ticket: Ticket, rule: RuleId) {
        let last = self.query(now, rule).ok();
        let enqueue = self.enqueue(now);
        match self.switch.enqueue_destroy(PROXY, enqueue, rule, to_sim(now)) {
            Ok(()) => {
                self.tickets.remove(&rule);
                self.in_flight.insert(enqueue.user_data, Operation::Destroy(ticket, last));
            }
            Err(refusal) => self.answers.push_back((now, ticket, Reply::Removed(Err(refusal)))),
        }
    }

    /// An answer that is due.
    pub fn answer(&mut self, now: Time) -> Option<(Ticket, Reply<RuleId>)> {
        self.pull(now);
        let due = self.answers.iter().position(|(at, ..)| *at <= now)?;
        self.answers.remove(due).map(|(_, ticket, reply)| (ticket, reply))
    }

    fn pull(&mut self, now: Time) {
        self.pulled = now;
        if self.in_flight.is_empty() {
            return;
        }
        let mut completions = Vec::new();
        // The queue exists, for without it no operation is in flight.
        let _ = self.switch.pull(PROXY, QUEUE, usize::MAX, to_sim(now), &mut completions);
        for completion in completions {
            let Some(operation) = self.in_flight.remove(&completion.user_data) else { continue };
            let (ticket, reply) = match (operation, completion.result) {
                (Operation::Create(ticket, rule), Ok(())) => (ticket, Reply::Inserted(Ok(rule))),
                (Operation::Create(ticket, rule), Err(errno)) => {
                    let message = "the NIC failed the operation";
                    let refusal = FlowError::other(ErrorKind::Unspecified, errno, message);
                    self.clean_up(now, rule);
                    (ticket, Reply::Inserted(Err(refusal)))
                }
                (Operation::Destroy(ticket, last), Ok(())) => (ticket, Reply::Removed(Ok(last))),
                (Operation::Destroy(ticket, last), Err(_)) => (ticket, Reply::Stranded(last)),
                (Operation::CleanUp, _) => continue,
            };
            self.answers.push_back((now, ticket, reply));
        }
    }

    fn clean_up(&mut self, now: Time, rule: RuleId) {
        let enqueue = self.enqueue(now);
        // Nothing depends on it but the room that the handle takes.
        if self.switch.enqueue_destroy(PROXY, enqueue, rule, to_sim(now)).is_ok() {
            self.in_flight.insert(enqueue.user_data, Operation::CleanUp);
        }
    }

    /// When something is due next, as far as the NIC knows beforehand.
    pub fn next_time(&self) -> Option<Time> {
        let answers = self.answers.iter().map(|(at, ..)| *at);
        let complete = self.switch.next_completion(PROXY, QUEUE).map(|at| Time(at.0));
        let pull = complete.map(|at| {
            let wait = (at - self.pulled).as_nanos().div_ceil(PULL_INTERVAL.as_nanos()).max(1);
            let wait = wait.saturating_mul(PULL_INTERVAL.as_nanos());
            self.pulled + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
        });
        answers.chain(pull).min()
    }

    /// When it was last asked for anything, while it owes answers.
    pub fn owes_since(&self) -> Option<Time> {
        (!self.in_flight.is_empty()).then_some(self.begun)
    }

    /// Takes a frame from what is behind a port through the rules.
    pub fn process(&mut self, now: Time, port: u16, frame: &mut Frame<'_>) -> Verdict {
        self.switch.process(to_sim(now), Ingress::Represented(port), frame, &mut self.trace)
    }

    /// The rules that the last frame hit.
    pub fn hits(&self) -> impl Iterator<Item = Ticket> {
        self.trace.rules().filter_map(|rule| self.tickets.get(&rule).copied())
    }
}
