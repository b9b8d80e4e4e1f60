//! The manager: offers in, requests out, replies in, notices out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::decision::{Key, Path};
use model::snapshot::{Snapshot, TunnelId};
use packet::VtepAddr;
use rte_flow::{EEXIST, ENOMEM, ENOSPC, FlowError, Rule};
use rte_flow_compiler::{Entry, Nic, NotOffloaded, connection, statics};

use super::records::{Owner, Phase, Record, Records, Ticket};
use super::statics::{Purpose, Statics, needs, purpose, tunnel_of};
use crate::datapath::{ConnectionHandle, FlowDirection, Time};

/// How the manager deals with the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct OffloadSettings {
    /// How often the counter of each rule is read, milliseconds.
    pub poll_interval_ms: u64,
    /// Wait before a refused rule is tried again; doubled with each refusal. Milliseconds.
    pub retry_after_ms: u64,
    /// The longest such wait, milliseconds.
    pub retry_at_most_ms: u64,
}

impl Default for OffloadSettings {
    fn default() -> Self {
        Self { poll_interval_ms: 1000, retry_after_ms: 100, retry_at_most_ms: 30_000 }
    }
}

/// One direction of a connection that should be in the NIC, as it is decided now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The connection.
    pub connection: ConnectionHandle,
    /// Its direction.
    pub direction: FlowDirection,
    /// How its packets are found.
    pub key: Key,
    /// What happens to them.
    pub path: Path,
    /// The VTEP they come from, on the network side.
    pub outer_source: Option<VtepAddr>,
}

/// What was counted of a rule since it was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleCounters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What the NIC should do. Each request is answered by one [`Reply`], at any later time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<H> {
    /// Insert a rule.
    Insert(Rule),
    /// Read a rule's counter, then remove it.
    Remove(H),
    /// Read a rule's counter.
    Count(H),
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<H> {
    /// To [`Request::Insert`].
    Inserted(Result<H, FlowError>),
    /// To [`Request::Remove`], with the last count where there was a counter.
    Removed(Result<Option<RuleCounters>, FlowError>),
    /// To [`Request::Count`].
    Counted(Result<RuleCounters, FlowError>),
}

/// What the shards should know of one direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The connection.
    pub connection: ConnectionHandle,
    /// Its direction.
    pub direction: FlowDirection,
    /// What is new.
    pub news: News,
}

/// What a [`Notice`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The NIC carries it.
    InHardware,
    /// It is (again) software's, and why.
    InSoftware(NotOffloaded),
    /// The NIC carried packets since it was last asked.
    Carried(RuleCounters),
}

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
    /// Rules that wait for static ones.
    waiting: HashSet<Ticket>,
    /// Rules to be tried again, unsorted; the NIC refuses few.
    retries: HashSet<Ticket>,
    next_poll: Time,
    requests: VecDeque<(Ticket, Request<H>)>,
    notices: VecDeque<Notice>,
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
            waiting: HashSet::new(),
            retries: HashSet::new(),
            next_poll: Time::ZERO,
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
        let wanted: HashMap<Purpose, Entry> = statics(&self.nic, &snapshot, header)
            .into_iter()
            .filter_map(|entry| Some((purpose(&entry)?, entry)))
            .collect();
        self.snapshot = snapshot;
        let gone: Vec<Purpose> = self
            .statics
            .iter()
            .filter(|(purpose, is)| is.wanted.is_some() && !wanted.contains_key(purpose))
            .map(|(purpose, _)| *purpose)
            .collect();
        for purpose in gone {
            if let Some(ticket) = self.statics.get_mut(&purpose).and_then(|s| s.wanted.take()) {
                self.retire_static(purpose, ticket);
            }
        }
        for (purpose, entry) in wanted {
            self.want_static(purpose, entry);
        }
    }

    /// Asks for a static rule unless the very same one is wanted already.
    fn want_static(&mut self, purpose: Purpose, entry: Entry) {
        let state = self.statics.entry(purpose).or_default();
        let old = state.wanted;
        if old.and_then(|old| self.records.get(old)).is_some_and(|old| old.entry == entry) {
            return;
        }
        match self.nic.rule(&entry) {
            Ok(rule) => {
                let ticket = self.record(entry, rule, Owner::Static, old);
                self.statics.entry(purpose).or_default().wanted = Some(ticket);
                self.submit(ticket);
            }
            Err(refusal) => {
                let state = self.statics.entry(purpose).or_default();
                state.refusal = Some(refusal.message.into_owned());
                state.wanted = None;
                if let Some(old) = old {
                    self.retire_static(purpose, old);
                }
            }
        }
    }

    /// Lets a static rule go, at once or when no connection's rule jumps to it any more.
    fn retire_static(&mut self, purpose: Purpose, ticket: Ticket) {
        match self.statics.get_mut(&purpose) {
            Some(state) if state.users > 0 && state.wanted.is_none() => state.leaving.push(ticket),
            _ => self.doom(ticket),
        }
    }

    /// A connection's direction should be in the NIC as `offer` says; replaces what was offered before.
    pub fn offer(&mut self, offer: &Offer) {
        let compiled = self.compile(offer);
        let wanted = self.wanted_mut(offer.connection, offer.direction);
        let old = wanted.ticket.take();
        match compiled {
            Ok((entry, rule)) => {
                let same = |ticket: &Ticket| {
                    self.records.get(*ticket).is_some_and(|r| r.entry == entry && !r.doomed)
                };
                if let Some(old) = old.filter(same) {
                    self.wanted_mut(offer.connection, offer.direction).ticket = Some(old);
                    return;
                }
                let owner = Owner::Connection(offer.connection, offer.direction);
                let ticket = self.record(entry, rule, owner, old);
                self.wanted_mut(offer.connection, offer.direction).ticket = Some(ticket);
                self.submit(ticket);
            }
            Err(reason) => {
                if let Some(old) = old {
                    self.doom(old);
                }
                self.judge(offer.connection, offer.direction, Some(reason));
            }
        }
    }

    fn compile(&self, offer: &Offer) -> Result<(Entry, Rule), NotOffloaded> {
        let Offer { key, path, outer_source, .. } = offer;
        let entry = connection(&self.nic, &self.snapshot, key, path, *outer_source)?;
        let rule = self.nic.rule(&entry).map_err(NotOffloaded::Refused)?;
        Ok((entry, rule))
    }

    fn wanted_mut(
        &mut self,
        connection: ConnectionHandle,
        direction: FlowDirection,
    ) -> &mut Wanted {
        self.flows.entry((connection, direction)).or_default()
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
        if let Some(state) = tunnel_of(&entry).map(|p| self.statics.entry(p).or_default()) {
            state.users += 1;
        }
        self.records.add(Record {
            entry,
            rule,
            owner,
            phase: Phase::Waiting,
            doomed: false,
            refusals: 0,
            counters: RuleCounters::default(),
            replaces,
        })
    }

    /// Forgets a rule that is not in the NIC, and what waited for it to go.
    fn forget(&mut self, ticket: Ticket) {
        let Some(record) = self.records.remove(ticket) else { return };
        self.waiting.remove(&ticket);
        self.retries.remove(&ticket);
        if let Some(replaced) = record.replaces {
            self.doom(replaced);
        }
        let Some(state) = tunnel_of(&record.entry).and_then(|p| self.statics.get_mut(&p)) else {
            return;
        };
        state.users = state.users.saturating_sub(1);
        if state.users == 0 {
            for ticket in std::mem::take(&mut state.leaving) {
                self.doom(ticket);
            }
        }
    }

    /// Asks for a rule's insertion, if what it needs is there.
    fn submit(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get(ticket) else { return };
        let missing = needs(&record.entry).find(|need| !self.has_static(*need));
        if let Some(missing) = missing {
            let refusal = self.statics.get(&missing).and_then(|state| state.refusal.clone());
            let owner = record.owner;
            self.waiting.insert(ticket);
            if let Owner::Connection(connection, direction) = owner {
                self.judge(connection, direction, Some(NotOffloaded::StaticPart(refusal)));
            }
            return;
        }
        self.waiting.remove(&ticket);
        self.retries.remove(&ticket);
        if let Some(record) = self.records.get_mut(ticket) {
            record.phase = Phase::Inserting;
            self.requests.push_back((ticket, Request::Insert(record.rule.clone())));
        }
    }

    /// Lets a rule go, wherever it is.
    fn doom(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        record.doomed = true;
        match record.phase {
            Phase::Waiting | Phase::Retry(_) => self.forget(ticket),
            Phase::Inserting | Phase::Removing(_) | Phase::RetryRemoval(..) => {}
            Phase::Installed(handle) => {
                record.phase = Phase::Removing(handle);
                self.requests.push_back((ticket, Request::Remove(handle)));
                self.left(ticket);
            }
        }
    }

    /// A rule is (about to be) no longer in the NIC: what it stood for no longer holds.
    fn left(&mut self, ticket: Ticket) {
        let Some(record) = self.records.get(ticket) else { return };
        let owner = record.owner;
        let purpose = purpose(&record.entry);
        if let Some(state) = purpose.and_then(|p| self.statics.get_mut(&p)) {
            state.installed = state.installed.saturating_sub(1);
            if state.installed == 0 {
                self.recheck_flows();
            }
        }
        if let Owner::Connection(connection, direction) = owner {
            self.judge(connection, direction, None);
        }
    }

    /// After a static rule came or went: says anew of every flow whether the NIC carries it.
    fn recheck_flows(&mut self) {
        let flows: Vec<_> = self.flows.keys().copied().collect();
        for (connection, direction) in flows {
            self.judge(connection, direction, None);
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
            let in_nic = matches!(record.phase, Phase::Installed(_))
                || record.replaces.is_some_and(|old| self.is_installed(old));
            in_nic && needs(&record.entry).all(|need| self.has_static(need))
        });
        if in_hardware == wanted.in_hardware && (in_hardware || reason.is_none()) {
            return;
        }
        self.wanted_mut(connection, direction).in_hardware = in_hardware;
        let news = if in_hardware {
            News::InHardware
        } else {
            News::InSoftware(reason.unwrap_or(NotOffloaded::StaticPart(None)))
        };
        self.notices.push_back(Notice { connection, direction, news });
    }

    fn is_installed(&self, ticket: Ticket) -> bool {
        self.records.get(ticket).is_some_and(|r| matches!(r.phase, Phase::Installed(_)))
    }

    fn has_static(&self, purpose: Purpose) -> bool {
        self.statics.get(&purpose).is_some_and(|state| state.installed > 0)
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
                    record.phase = Phase::RetryRemoval(handle, until);
                    self.retries.insert(ticket);
                }
            }
            Reply::Counted(Ok(counters)) => self.counted(ticket, counters),
            // The counter is not to be had right now (EAGAIN): the next poll asks again.
            Reply::Counted(Err(_)) => {}
        }
    }

    fn inserted(&mut self, ticket: Ticket, handle: H) {
        let Some(record) = self.records.get_mut(ticket) else { return };
        record.phase = Phase::Installed(handle);
        record.refusals = 0;
        let (owner, doomed, replaces) = (record.owner, record.doomed, record.replaces.take());
        if let Some(state) = purpose(&record.entry).map(|p| self.statics.entry(p).or_default()) {
            state.installed += 1;
            state.refusal = None;
        }
        if let Some(replaced) = replaces {
            self.doom(replaced);
        }
        if doomed {
            self.doom(ticket);
            return;
        }
        match owner {
            Owner::Static => {
                let waiting: Vec<Ticket> = self.waiting.iter().copied().collect();
                for ticket in waiting {
                    self.submit(ticket);
                }
                self.recheck_flows();
            }
            Owner::Connection(connection, direction) => self.judge(connection, direction, None),
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
        record.phase = Phase::Retry(now + wait);
        let owner = record.owner;
        let (replaced, purpose) = (record.replaces, purpose(&record.entry));
        self.retries.insert(ticket);
        if refusal.errno == EEXIST
            && let Some(replaced) = replaced
        {
            // This NIC wants the old rule out before the new one comes in.
            if let Some(record) = self.records.get_mut(ticket) {
                record.replaces = None;
                record.phase = Phase::Retry(now);
            }
            self.doom(replaced);
        }
        match owner {
            Owner::Static => {
                if let Some(state) = purpose.map(|p| self.statics.entry(p).or_default()) {
                    state.refusal = Some(refusal.message.into_owned());
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
        let due: Vec<Ticket> = self
            .retries
            .iter()
            .copied()
            .filter(|ticket| match self.records.get(*ticket).map(|record| &record.phase) {
                Some(Phase::Retry(at) | Phase::RetryRemoval(_, at)) => *at <= now,
                _ => true,
            })
            .collect();
        for ticket in due {
            self.retries.remove(&ticket);
            match self.records.get_mut(ticket) {
                Some(record) if matches!(record.phase, Phase::RetryRemoval(..)) => {
                    if let Phase::RetryRemoval(handle, _) = record.phase {
                        record.phase = Phase::Removing(handle);
                        self.requests.push_back((ticket, Request::Remove(handle)));
                    }
                }
                Some(_) => self.submit(ticket),
                None => {}
            }
        }
        if now >= self.next_poll {
            self.next_poll = now + Duration::from_millis(self.settings.poll_interval_ms);
            let all: Vec<Ticket> = self.records.iter().map(|(ticket, _)| ticket).collect();
            for ticket in all {
                self.count(ticket);
            }
        }
    }

    /// When [`Manager::advance`] should be called next, at the latest.
    #[must_use]
    pub fn next_time(&self) -> Time {
        let retry = |ticket: &Ticket| match self.records.get(*ticket)?.phase {
            Phase::Retry(at) | Phase::RetryRemoval(_, at) => Some(at),
            _ => None,
        };
        self.retries
            .iter()
            .filter_map(retry)
            .min()
            .map_or(self.next_poll, |at| at.min(self.next_poll))
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
