//! The manager: offers in, requests out, replies in, notices out.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::snapshot::{Snapshot, TunnelId};
use rte_flow::{EAGAIN, ENOMEM, ENOSPC, FlowError, Rule};
use rte_flow_compiler::{Entry, Nic, NotOffloaded, connection, statics};

use super::exchange::{News, Notice, Offer, OffloadSettings, Reply, Request, RuleCounters};
use super::records::{Owner, Phase, Record, Records, Ticket};
use super::statics::{Purpose, Static, Statics, needs, purpose};
use crate::datapath::{ConnectionHandle, FlowDirection, Time};

/// How often in a row a NIC may put a changed rule off before the rule that it replaces goes without it.
const PUT_OFF: u32 = 3;
/// Rules whose counters are read at once; more are spread over the interval in which each is read once.
const POLLED_AT_ONCE: usize = 1024;
/// The most parts that interval is divided into.
const POLL_PARTS: usize = 16;

/// One direction of a connection: what is wanted, by which rule, and what was last said of it.
#[derive(Debug, Default)]
struct Wanted {
    ticket: Option<Ticket>,
    in_hardware: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Manager<H> {
    nic: Nic,
    settings: OffloadSettings,
    snapshot: Arc<Snapshot>,
    records: Records<H>,
    statics: Statics,
    flows: HashMap<(ConnectionHandle, FlowDirection), Wanted>,
    /// What is to be tried again, by time.
    retries: BTreeSet<(Time, Ticket)>,
    poll: Poll,
    requests: VecDeque<(Ticket, Request<H>)>,
    notices: VecDeque<Notice>,
}

/// How far the counters have been read.
#[derive(Debug, Default)]
struct Poll {
    next: Time,
    /// Where the next part begins.
    at: usize,
    /// Parts of this round.
    parts: usize,
}

impl<H: Copy> Manager<H> {
    /// A manager for an empty NIC. Nothing is offloaded before [`Manager::set_snapshot`].
    #[must_use]
    pub fn new(nic: Nic, settings: OffloadSettings, snapshot: Arc<Snapshot>) -> Self {
        Self {
            nic,
            settings,
            snapshot,
            records: Records::default(),
            statics: Statics::new(),
            flows: HashMap::new(),
            retries: BTreeSet::new(),
            poll: Poll::default(),
            requests: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// The NIC that rules are made for.
    #[must_use]
    pub fn nic(&self) -> &Nic {
        &self.nic
    }

    /// Makes the static part that of `snapshot`, by difference: an unchanged snapshot asks for nothing.
    ///
    /// `header` gives the outer headers of tunnels whose next hop is known. To be called again when that changes.
    pub fn set_snapshot(
        &mut self,
        snapshot: Arc<Snapshot>,
        header: impl FnMut(TunnelId) -> Option<Vec<u8>>,
    ) {
        let wanted: Vec<(Purpose, Entry)> = statics(&self.nic, &snapshot, header)
            .into_iter()
            .filter_map(|entry| Some((purpose(&entry)?, entry)))
            .collect();
        self.snapshot = snapshot;
        let stays: HashSet<Purpose> = wanted.iter().map(|(purpose, _)| *purpose).collect();
        let gone: Vec<(Purpose, Ticket)> = self
            .statics
            .iter()
            .filter(|(purpose, _)| !stays.contains(purpose))
            .filter_map(|(purpose, state)| Some((*purpose, state.wanted?)))
            .collect();
        for (purpose, ticket) in gone {
            let state = self.state_mut(purpose);
            (state.wanted, state.refusal) = (None, None);
            self.retire(ticket);
        }
        for (purpose, entry) in wanted {
            self.want_static(purpose, entry);
        }
    }

    fn state_mut(&mut self, purpose: Purpose) -> &mut Static {
        self.statics.entry(purpose).or_default()
    }

    /// Asks for a static rule unless the very same one is wanted already.
    fn want_static(&mut self, purpose: Purpose, entry: Entry) {
        let old = self.state_mut(purpose).wanted;
        if old.and_then(|old| self.records.get(old)).is_some_and(|old| old.entry == entry) {
            return;
        }
        match self.nic.rule(&entry) {
            Ok(rule) => {
                let ticket = self.record(entry, rule, Owner::Static, old);
                self.state_mut(purpose).wanted = Some(ticket);
                self.submit(ticket);
            }
            Err(refusal) => {
                let state = self.state_mut(purpose);
                state.refusal = Some(refusal.message.into_owned());
                state.wanted = None;
                if let Some(old) = old {
                    self.retire(old);
                }
            }
        }
    }

    /// A connection's direction should be in the NIC as `offer` says; replaces what was offered before.
    pub fn offer(&mut self, offer: &Offer) {
        let (connection, direction) = (offer.connection, offer.direction);
        let compiled = self.compile(offer);
        // Whoever offers takes it for being on its way, and waits to hear more.
        let wanted = self.flows.entry((connection, direction)).or_default();
        wanted.in_hardware = false;
        let old = wanted.ticket.take();
        match compiled {
            Ok((entry, rule)) => {
                let same = |ticket: &Ticket| {
                    self.records.get(*ticket).is_some_and(|r| r.entry == entry && !r.doomed)
                };
                if let Some(same) = old.filter(same) {
                    self.set_rule(connection, direction, same);
                    match self.records.get(same).map(|record| record.phase) {
                        Some(Phase::Waiting | Phase::Retry(_)) => self.submit(same),
                        _ => self.judge(connection, direction, None),
                    }
                    return;
                }
                let owner = Owner::Connection(connection, direction);
                let ticket = self.record(entry, rule, owner, old);
                self.set_rule(connection, direction, ticket);
                self.submit(ticket);
            }
            Err(reason) => {
                if let Some(old) = old {
                    self.doom(old);
                }
                self.judge(connection, direction, Some(reason));
            }
        }
    }

    fn compile(&self, offer: &Offer) -> Result<(Entry, Rule), NotOffloaded> {
        let Offer { key, path, outer_source, .. } = offer;
        let entry = connection(&self.nic, &self.snapshot, key, path, *outer_source)?;
        let rule = self.nic.rule(&entry).map_err(NotOffloaded::Refused)?;
        Ok((entry, rule))
    }

    fn set_rule(&mut self, connection: ConnectionHandle, direction: FlowDirection, rule: Ticket) {
        self.flows.entry((connection, direction)).or_default().ticket = Some(rule);
    }

    /// A direction should leave the NIC: its connection is closing, gone, or no longer allowed.
    pub fn withdraw(&mut self, connection: ConnectionHandle, direction: FlowDirection) {
        let wanted = self.flows.remove(&(connection, direction));
        if let Some(ticket) = wanted.and_then(|wanted| wanted.ticket) {
            self.doom(ticket);
        }
    }

    /// How many rules are in the NIC or on their way: static ones, and those of connections.
    #[must_use]
    pub fn rules(&self) -> (usize, usize) {
        let of = |wanted: fn(&Owner) -> bool| {
            self.records.iter().filter(|(_, record)| wanted(&record.owner)).count()
        };
        (of(|o| matches!(o, Owner::Static)), of(|o| matches!(o, Owner::Connection(..))))
    }

    fn record(
        &mut self,
        entry: Entry,
        rule: Rule,
        owner: Owner,
        replaces: Option<Ticket>,
    ) -> Ticket {
        let needs = needs(&entry);
        let ticket = self.records.add(Record {
            entry,
            rule,
            owner,
            phase: Phase::Waiting,
            doomed: false,
            refusals: 0,
            counters: RuleCounters::default(),
            replaces,
        });
        for need in needs {
            self.state_mut(need).users.insert(ticket);
        }
        ticket
    }

    /// Notes where a rule is now, and what follows from that for others.
    fn set_phase(&mut self, ticket: Ticket, phase: Phase<H>) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        let before = std::mem::replace(&mut record.phase, phase);
        let needs = needs(&record.entry);
        if let Some(at) = before.due() {
            self.retries.remove(&(at, ticket));
        }
        if let Some(at) = phase.due() {
            self.retries.insert((at, ticket));
        }
        match (before.may_be_in_nic(), phase.may_be_in_nic()) {
            (false, true) => needs.for_each(|need| self.state_mut(need).used += 1),
            (true, false) => needs.for_each(|need| self.release(need)),
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
    fn forget(&mut self, ticket: Ticket) {
        self.set_phase(ticket, Phase::Waiting);
        let Some(record) = self.records.remove(ticket) else { return };
        for need in needs(&record.entry) {
            self.state_mut(need).users.remove(&ticket);
            self.tidy(need);
        }
        if let Some(purpose) = purpose(&record.entry) {
            self.tidy(purpose);
        }
        if let Some(replaced) = record.replaces {
            self.retire(replaced);
        }
    }

    /// Forgets a purpose that nobody has in mind any more.
    fn tidy(&mut self, purpose: Purpose) {
        if self.statics.get(&purpose).is_some_and(Static::is_idle) {
            self.statics.remove(&purpose);
        }
    }

    /// Asks for a rule's insertion, if what it needs is there.
    fn submit(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get(ticket) else { return };
        let owner = record.owner;
        if let Some(missing) = needs(&record.entry).find(|need| !self.has_static(*need)) {
            self.set_phase(ticket, Phase::Waiting);
            self.let_replaced_go(ticket);
            let refusal = self.statics.get(&missing).and_then(|state| state.refusal.clone());
            if let Owner::Connection(connection, direction) = owner {
                self.judge(connection, direction, Some(NotOffloaded::StaticPart(refusal)));
            }
            return;
        }
        let rule = record.rule.clone();
        self.set_phase(ticket, Phase::Inserting);
        self.requests.push_back((ticket, Request::Insert(rule)));
    }

    /// The rule that a rule was to replace goes without it: what it does was decided before, and holds no longer.
    fn let_replaced_go(&mut self, ticket: Ticket) {
        let replaced = self.records.get_mut(ticket).and_then(|record| record.replaces.take());
        if let Some(replaced) = replaced {
            self.retire(replaced);
        }
    }

    /// Lets a rule go, wherever it is.
    fn doom(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        record.doomed = true;
        let (phase, owner) = (record.phase, record.owner);
        self.let_replaced_go(ticket);
        match phase {
            Phase::Waiting | Phase::Retry(_) => self.forget(ticket),
            Phase::Inserting | Phase::Removing(_) | Phase::RetryRemoval(..) => {}
            Phase::Installed(handle) => {
                self.set_phase(ticket, Phase::Removing(handle));
                self.requests.push_back((ticket, Request::Remove(handle)));
                if let Owner::Connection(connection, direction) = owner {
                    self.judge(connection, direction, None);
                }
            }
        }
    }

    /// Lets a rule go, after the rules that lead to it unless another one takes its place: a packet must not be lost between
    /// them, half rewritten.
    fn retire(&mut self, ticket: Ticket) {
        let purpose = self.records.get(ticket).and_then(|record| purpose(&record.entry));
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
        let flow = (connection, direction);
        let is_wanted = self.flows.get(&flow).is_some_and(|flow| flow.ticket == Some(ticket));
        match record.phase {
            Phase::Waiting | Phase::Removing(_) | Phase::RetryRemoval(..) => {}
            Phase::Retry(_) => self.submit(ticket),
            Phase::Inserting | Phase::Installed(_) if is_wanted => {
                let (entry, rule, owner) =
                    (record.entry.clone(), record.rule.clone(), record.owner);
                let waiting = self.record(entry, rule, owner, Some(ticket));
                self.set_rule(connection, direction, waiting);
                self.submit(waiting);
            }
            Phase::Inserting | Phase::Installed(_) => self.doom(ticket),
        }
    }

    /// Says whether the NIC carries a direction, when that has changed or `reason` says why it does not.
    fn judge(
        &mut self,
        connection: ConnectionHandle,
        direction: FlowDirection,
        reason: Option<NotOffloaded>,
    ) {
        let Some(wanted) = self.flows.get(&(connection, direction)) else { return };
        let in_hardware = wanted.ticket.and_then(|t| self.records.get(t)).is_some_and(|record| {
            matches!(record.phase, Phase::Installed(_))
                && needs(&record.entry).all(|need| self.has_static(need))
        });
        if in_hardware == wanted.in_hardware && (in_hardware || reason.is_none()) {
            return;
        }
        if let Some(wanted) = self.flows.get_mut(&(connection, direction)) {
            wanted.in_hardware = in_hardware;
        }
        let news = if in_hardware {
            News::InHardware
        } else {
            News::InSoftware(reason.unwrap_or(NotOffloaded::StaticPart(None)))
        };
        self.notices.push_back(Notice { connection, direction, news });
    }

    /// Whether a rule for the purpose is in the NIC, to stay or until another one takes its place.
    fn has_static(&self, purpose: Purpose) -> bool {
        let mut rule = self.statics.get(&purpose).and_then(|state| state.wanted);
        while let Some(record) = rule.and_then(|ticket| self.records.get(ticket)) {
            if matches!(record.phase, Phase::Installed(_)) {
                return true;
            }
            rule = record.replaces;
        }
        false
    }

    /// How a request ended.
    pub fn complete(&mut self, now: Time, ticket: Ticket, reply: Reply<H>) {
        match reply {
            Reply::Inserted(Ok(handle)) => self.inserted(ticket, handle),
            Reply::Inserted(Err(refusal)) => self.refused(now, ticket, refusal),
            Reply::Removed(Ok(last)) => {
                if let Some(last) = last {
                    self.counted(ticket, last);
                }
                self.forget(ticket);
            }
            Reply::Removed(Err(_)) => {
                let until = now + self.wait(ticket);
                if let Some(record) = self.records.get_mut(ticket)
                    && let Phase::Removing(handle) = record.phase
                {
                    record.refusals += 1;
                    self.set_phase(ticket, Phase::RetryRemoval(handle, until));
                }
            }
            Reply::Counted(Ok(counters)) => self.counted(ticket, counters),
            // The counter is not to be had right now (EAGAIN): the next poll asks again.
            Reply::Counted(Err(_)) => {}
        }
    }

    fn inserted(&mut self, ticket: Ticket, handle: H) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        record.refusals = 0;
        let (owner, doomed, purpose) = (record.owner, record.doomed, purpose(&record.entry));
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
            (Owner::Static, Some(purpose)) => {
                let state = self.state_mut(purpose);
                state.refusal = None;
                let (leaving, users) = (std::mem::take(&mut state.leaving), state.users.clone());
                for ticket in leaving {
                    self.doom(ticket);
                }
                for user in users {
                    if self.records.get(user).is_some_and(|r| matches!(r.phase, Phase::Waiting)) {
                        self.submit(user);
                    }
                }
            }
            (Owner::Static, None) => {}
        }
    }

    fn refused(&mut self, now: Time, ticket: Ticket, refusal: FlowError) {
        let wait = self.wait(ticket);
        let Some(record) = self.records.get_mut(ticket) else { return };
        if record.doomed {
            self.forget(ticket);
            return;
        }
        record.refusals += 1;
        let put_off = refusal.errno == EAGAIN && record.refusals <= PUT_OFF;
        let (owner, purpose) = (record.owner, purpose(&record.entry));
        let lets_go = record.replaces.is_some() && !put_off;
        // The one it replaces may be what stands in its way: a NIC may refuse equal patterns, or be full.
        self.set_phase(ticket, Phase::Retry(if lets_go { now } else { now + wait }));
        if lets_go {
            self.let_replaced_go(ticket);
        }
        match owner {
            Owner::Static => {
                if let Some(purpose) = purpose {
                    self.state_mut(purpose).refusal = Some(refusal.message.into_owned());
                }
            }
            Owner::Connection(connection, direction) => {
                let full = matches!(refusal.errno, ENOSPC | ENOMEM);
                let reason =
                    if full { NotOffloaded::TableFull } else { NotOffloaded::Refused(refusal) };
                self.judge(connection, direction, Some(reason));
            }
        }
    }

    /// How long to wait after the next refusal.
    fn wait(&self, ticket: Ticket) -> Duration {
        let refusals = self.records.get(ticket).map_or(0, |record| record.refusals).min(20);
        let wait = self.settings.retry_after_ms.saturating_mul(1 << refusals);
        Duration::from_millis(wait.min(self.settings.retry_at_most_ms))
    }

    fn counted(&mut self, ticket: Ticket, counters: RuleCounters) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        let packets = counters.packets.saturating_sub(record.counters.packets);
        let bytes = counters.bytes.saturating_sub(record.counters.bytes);
        // Rules see tunnel packets whole; a connection's bytes are those of its own frames.
        let outer = packets.saturating_mul(record.entry.outer_bytes());
        let carried = RuleCounters { packets, bytes: bytes.saturating_sub(outer) };
        record.counters = counters;
        if let Owner::Connection(connection, direction) = record.owner
            && carried.packets > 0
        {
            self.notices.push_back(Notice { connection, direction, news: News::Carried(carried) });
        }
    }

    /// Asks for one rule's counter now.
    pub fn count(&mut self, ticket: Ticket) {
        if let Some(Record {
            phase: Phase::Installed(handle), owner: Owner::Connection(..), ..
        }) = self.records.get(ticket)
        {
            self.requests.push_back((ticket, Request::Count(*handle)));
        }
    }

    /// What is due by time: retries and polls.
    pub fn advance(&mut self, now: Time) {
        self.retry(now);
        if now >= self.poll.next {
            self.poll(now);
        }
    }

    /// Tries again what is due for that.
    pub fn retry(&mut self, now: Time) {
        while let Some((at, ticket)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.remove(&(at, ticket));
            match self.records.get(ticket).map(|record| record.phase) {
                Some(Phase::RetryRemoval(handle, _)) => {
                    self.set_phase(ticket, Phase::Removing(handle));
                    self.requests.push_back((ticket, Request::Remove(handle)));
                }
                Some(Phase::Retry(_)) => self.submit(ticket),
                _ => {}
            }
        }
    }

    /// Asks for the counters of the next part of all rules.
    fn poll(&mut self, now: Time) {
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
        }
        self.poll.at = if end < places { end } else { 0 };
    }

    /// When something is to be tried again.
    #[must_use]
    pub fn next_retry(&self) -> Option<Time> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// When [`Manager::advance`] should be called next, at the latest.
    #[must_use]
    pub fn next_time(&self) -> Time {
        self.next_retry().map_or(self.poll.next, |at| at.min(self.poll.next))
    }

    /// The next thing the NIC should do; requests are to be carried out in this order.
    pub fn next_request(&mut self) -> Option<(Ticket, Request<H>)> {
        self.requests.pop_front()
    }

    /// The next thing the shards should know.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}
