//! The manager: offers in, requests out, replies in, notices out.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arrayvec::ArrayVec;
use model::snapshot::{Snapshot, TunnelId};
use rte_flow_compiler::legalise::MAX_PARTS;
use rte_flow_compiler::{Entry, Nic, NotOffloaded, Refusal, connection, statics};

use super::exchange::{InDoubt, News, Notice, Offer, OffloadSettings, Reply, Request, RuleTally};
use super::poll::Poll;
use super::records::{Answer, Content, Owner, Phase, Record, Records, Ticket};
use super::shared::Numbers;
use super::statics::{Place, Purpose, Static, Statics, purpose};
use crate::datapath::{ConnectionHandle, FlowDirection, Time};

/// One direction of a connection: what is wanted, by which rule, and what was last said of it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub ticket: Option<Ticket>,
    pub in_hardware: bool,
}

/// What is to be asked of the NIC about a rule, if it is still what should be when the NIC has time for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Insert,
    Remove,
    Count,
}

/// See the module. What becomes of a rule, from the first request to the last answer, is in `life.rs`.
#[derive(Debug)]
pub struct Manager<H> {
    pub(super) nic: Arc<Nic>,
    pub(super) settings: OffloadSettings,
    snapshot: Arc<Snapshot>,
    pub(super) records: Records<H>,
    pub(super) statics: Statics,
    pub(super) numbers: Numbers,
    /// The rules of the first stage by place, each with all that were not forgotten.
    pub(super) places: HashMap<Place, BTreeSet<Ticket>>,
    pub(super) flows: HashMap<(ConnectionHandle, FlowDirection), Wanted>,
    /// What is to be tried again, by time.
    pub(super) retries: BTreeSet<(Time, Ticket)>,
    /// Those of them for which the NIC had no room.
    pub(super) starved: BTreeSet<Ticket>,
    pub(super) poll: Poll,
    pub(super) requests: VecDeque<(Ticket, Ask)>,
    pub(super) notices: VecDeque<Notice>,
}

impl<H: Copy> Manager<H> {
    /// A manager for an empty NIC. Nothing is offloaded before [`Manager::set_snapshot`].
    #[must_use]
    pub fn new(nic: Arc<Nic>, settings: OffloadSettings, snapshot: Arc<Snapshot>) -> Self {
        Self {
            nic,
            settings,
            snapshot,
            records: Records::default(),
            statics: Statics::new(),
            numbers: Numbers::default(),
            places: HashMap::new(),
            flows: HashMap::new(),
            retries: BTreeSet::new(),
            starved: BTreeSet::new(),
            poll: Poll::default(),
            requests: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// The NIC that rules are made for.
    #[must_use]
    pub const fn nic(&self) -> &Arc<Nic> {
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
        // Shared rules go with those that build upon them.
        let is_gone =
            |purpose: &&Purpose| !stays.contains(purpose) && !matches!(purpose, Purpose::Shared(_));
        let gone: Vec<Purpose> = self.statics.keys().filter(is_gone).copied().collect();
        for purpose in gone {
            let state = self.state_mut(purpose);
            state.refusal = None;
            match state.wanted.take() {
                Some(ticket) => self.retire(ticket),
                None => self.tidy(purpose),
            }
        }
        for (purpose, entry) in wanted {
            self.want_static(purpose, entry);
        }
    }

    /// Asks for a static rule unless the very same one is wanted already.
    fn want_static(&mut self, purpose: Purpose, entry: Entry) {
        let old = self.state_mut(purpose).wanted;
        let is_same = |old: &Record<H>| old.content.entry.as_ref() == Some(&entry);
        if old.and_then(|old| self.records.get(old)).is_some_and(is_same) {
            return;
        }
        match self.content(entry) {
            Ok(content) => {
                let ticket = self.record(content, Owner::Static, old);
                let state = self.state_mut(purpose);
                state.wanted = Some(ticket);
                state.renewals = 0;
                self.submit(ticket);
            }
            Err(refusal) => {
                let state = self.state_mut(purpose);
                state.refusal = Some(refusal.to_string());
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
            Ok(content) => {
                let same = |ticket: &Ticket| {
                    let is_same = |r: &Record<H>| r.content.entry == content.entry && !r.doomed;
                    self.records.get(*ticket).is_some_and(is_same)
                };
                if let Some(same) = old.filter(same) {
                    self.set_rule(connection, direction, same);
                    match self.records.get(same).map(|record| record.phase) {
                        Some(Phase::Waiting | Phase::Retry(_)) => self.submit(same),
                        Some(Phase::Inserting(Answer::Overdue)) => {
                            self.judge(connection, direction, Some(NotOffloaded::Unanswered));
                        }
                        _ => self.judge(connection, direction, None),
                    }
                    return;
                }
                let owner = Owner::Connection(connection, direction);
                let ticket = self.record(content, owner, old);
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

    fn compile(&mut self, offer: &Offer) -> Result<Content, NotOffloaded> {
        let Offer { key, path, outer_source, .. } = offer;
        let entry = connection(&self.nic, &self.snapshot, key, path, *outer_source)?;
        self.content(entry).map_err(NotOffloaded::Illegal)
    }

    /// An entry's rule; the shared rules that it builds upon are asked for.
    fn content(&mut self, entry: Entry) -> Result<Content, Refusal> {
        let mut shared = ArrayVec::<u32, MAX_PARTS>::new();
        let numbers = &mut self.numbers;
        let rule = self.nic.rule(&entry, |one| {
            let number = numbers.of(one);
            shared.push(number);
            number
        });
        match rule {
            Ok(rule) => {
                shared.iter().for_each(|number| self.want_shared(*number));
                Ok(Content::new(entry, rule, shared))
            }
            Err(refusal) => {
                shared.iter().for_each(|number| self.let_shared_go(*number));
                Err(refusal)
            }
        }
    }

    pub(super) fn set_rule(
        &mut self,
        connection: ConnectionHandle,
        direction: FlowDirection,
        rule: Ticket,
    ) {
        self.flows.entry((connection, direction)).or_default().ticket = Some(rule);
    }

    /// A direction should leave the NIC: its connection is closing, gone, or no longer allowed.
    pub fn withdraw(&mut self, connection: ConnectionHandle, direction: FlowDirection) {
        let wanted = self.flows.remove(&(connection, direction));
        if let Some(ticket) = wanted.and_then(|wanted| wanted.ticket) {
            self.doom(ticket);
        }
    }

    /// Says whether the NIC carries a direction, when that has changed or `reason` says why it does not.
    pub(super) fn judge(
        &mut self,
        connection: ConnectionHandle,
        direction: FlowDirection,
        reason: Option<NotOffloaded>,
    ) {
        let Some(wanted) = self.flows.get(&(connection, direction)) else { return };
        let in_hardware = wanted.ticket.and_then(|t| self.records.get(t)).is_some_and(|record| {
            matches!(record.phase, Phase::Installed(_))
                && record.content.needs.iter().all(|need| self.has_static(*need))
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

    /// How a request ended.
    pub fn complete(&mut self, now: Time, ticket: Ticket, reply: Reply<H>) {
        match reply {
            Reply::Inserted(Ok(handle)) => self.inserted(ticket, handle),
            Reply::Inserted(Err(refusal)) => self.refused(now, ticket, refusal),
            Reply::Removed(Ok(last)) => {
                if let Some(last) = last {
                    self.carried(ticket, last);
                }
                self.forget(ticket);
                // There is room for one.
                if let Some(starved) = self.starved.first().copied() {
                    self.submit(starved);
                }
            }
            Reply::Removed(Err(_)) => self.not_removed(now, ticket),
            Reply::Stranded(last) => {
                if let Some(last) = last {
                    self.carried(ticket, last);
                }
                self.set_phase(ticket, Phase::Stranded);
            }
            Reply::Counted(Ok(counters)) => {
                let moved = self.carried(ticket, counters);
                self.see_effect(now, ticket, moved);
            }
            // The counter is not to be had right now (EAGAIN): the next poll asks again.
            Reply::Counted(Err(_)) => {}
        }
    }

    /// What is due by time: retries, counters to be read, answers to be given up.
    pub fn advance(&mut self, now: Time) {
        self.retry(now);
        if now >= self.poll.next() {
            self.poll(now);
        }
    }

    /// When something is to be tried again.
    #[must_use]
    pub fn next_retry(&self) -> Option<Time> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// When [`Manager::advance`] should be called next, at the latest.
    #[must_use]
    pub fn next_time(&self) -> Time {
        let poll = self.poll.next();
        self.next_retry().map_or(poll, |at| at.min(poll))
    }

    /// The next thing the NIC should do, which it sets about now; requests are to be carried out in this order.
    pub fn next_request(&mut self, now: Time) -> Option<(Ticket, Request<H>)> {
        while let Some((ticket, ask)) = self.requests.pop_front() {
            let Some(record) = self.records.get(ticket) else { continue };
            let answer = Answer::Expected(now);
            let request = match (ask, record.phase) {
                (Ask::Insert, Phase::Inserting(Answer::Unasked)) => {
                    let rule = record.content.rule.clone();
                    self.set_phase(ticket, Phase::Inserting(answer));
                    Request::Insert(rule)
                }
                (Ask::Remove, Phase::Removing(handle, Answer::Unasked)) => {
                    self.set_phase(ticket, Phase::Removing(handle, answer));
                    Request::Remove(handle)
                }
                (Ask::Count, Phase::Installed(handle)) => Request::Count(handle),
                // Not wanted any more.
                _ => continue,
            };
            return Some((ticket, request));
        }
        None
    }

    /// The next thing the shards should know.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// How many rules there are. Walks over all of them: for a look now and then.
    #[must_use]
    pub fn rules(&self) -> RuleTally {
        let mut rules = RuleTally::default();
        let InDoubt { inserting, removing, stranded } = &mut rules.in_doubt;
        for (_, record) in self.records.iter().filter(|(_, record)| record.phase.may_be_in_nic()) {
            match record.owner {
                Owner::Static => rules.statics += 1,
                Owner::Connection(..) => rules.connections += 1,
            }
            match record.phase {
                Phase::Inserting(Answer::Overdue) => *inserting += 1,
                Phase::Removing(_, Answer::Overdue) => *removing += 1,
                Phase::Stranded => *stranded += 1,
                _ => {}
            }
        }
        rules
    }

    pub(super) fn state_mut(&mut self, purpose: Purpose) -> &mut Static {
        self.statics.entry(purpose).or_default()
    }
}
