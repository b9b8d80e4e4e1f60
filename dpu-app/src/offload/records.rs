//! The rules the manager knows of, and where each is on its way into the NIC and out of it.

use arrayvec::ArrayVec;
use rte_flow::Rule;
use rte_flow_compiler::Entry;
use rte_flow_compiler::legalise::MAX_PARTS;

use super::exchange::RuleCounters;
use super::futility::Effect;
use super::statics::{Place, Purpose, STATIC_NEEDS, needs, place, purpose};
use crate::datapath::{ConnectionHandle, FlowDirection, Time};

/// The name of a rule between the manager and whoever talks to the NIC. Never used again for another rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ticket {
    index: u32,
    generation: u32,
}

/// What a rule is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// The static part.
    Static,
    /// One direction of a connection.
    Connection(ConnectionHandle, FlowDirection),
}

/// Where a rule is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase<H> {
    /// Wanted, but something stands in its way: what it needs is not in the NIC, or what its place is taken by still is.
    Waiting,
    /// To be inserted, or being inserted.
    Inserting(Answer),
    /// Refused; asked for again at this time.
    Retry(Time),
    /// In the NIC.
    Installed(H),
    /// To be removed, or being removed.
    Removing(H, Answer),
    /// Its removal was refused; asked for again at this time.
    RetryRemoval(H, Time),
    /// Its removal failed for good: in the NIC or not, for as long as the NIC's ports run.
    Stranded,
}

/// An answer that the NIC owes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Not yet: the request waits for the NIC to take it.
    Unasked,
    /// Expected; asked for at this time.
    Expected(Time),
    /// It should have come long ago.
    Overdue,
}

impl<H> Phase<H> {
    /// When it is to be tried again.
    pub const fn due(&self) -> Option<Time> {
        match self {
            Self::Retry(at) | Self::RetryRemoval(_, at) => Some(*at),
            _ => None,
        }
    }

    /// Whether packets may meet it.
    pub const fn may_be_in_nic(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Inserting(Answer::Unasked) | Self::Retry(_))
    }
}

/// What other rules a rule is of no use without.
pub(super) type Needs = ArrayVec<Purpose, { STATIC_NEEDS + MAX_PARTS }>;

/// What a rule is, and what it has to do with others.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// What it was made of; none for a shared rule.
    pub entry: Option<Entry>,
    pub rule: Rule,
    /// What it is for, if it is a static or a shared rule.
    pub purpose: Option<Purpose>,
    pub needs: Needs,
    pub place: Option<Place>,
}

impl Content {
    /// The rule of an entry, which builds upon shared rules with these numbers.
    pub fn new(entry: Entry, rule: Rule, shared: impl IntoIterator<Item = u32>) -> Self {
        Self {
            purpose: purpose(&entry),
            needs: needs(&entry).chain(shared.into_iter().map(Purpose::Shared)).collect(),
            place: place(&entry),
            rule,
            entry: Some(entry),
        }
    }

    /// How many bytes of each packet that the rule sees are headers of a tunnel.
    pub fn outer_bytes(&self) -> u64 {
        self.entry.as_ref().map_or(0, Entry::outer_bytes)
    }
}

/// A rule.
#[derive(Debug)]
pub(super) struct Record<H> {
    pub content: Content,
    pub owner: Owner,
    pub phase: Phase<H>,
    /// To be removed as soon as it can be.
    pub doomed: bool,
    /// How often the NIC refused it in a row.
    pub refusals: u32,
    /// What was last read of its counter.
    pub counters: RuleCounters,
    /// Whether packets meet it.
    pub effect: Effect,
    /// The rule that goes once this one is in.
    pub replaces: Option<Ticket>,
}

#[derive(Debug)]
struct Slot<H> {
    generation: u32,
    record: Option<Record<H>>,
}

/// All rules, by ticket.
#[derive(Debug)]
pub(super) struct Records<H> {
    slots: Vec<Slot<H>>,
    free: Vec<u32>,
}

impl<H> Default for Records<H> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<H> Records<H> {
    pub fn add(&mut self, record: Record<H>) -> Ticket {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.record = Some(record);
            return Ticket { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).expect("fewer rules than 2^32");
        self.slots.push(Slot { generation: 0, record: Some(record) });
        Ticket { index, generation: 0 }
    }

    pub fn get(&self, ticket: Ticket) -> Option<&Record<H>> {
        let slot = self.slots.get(ticket.index as usize)?;
        slot.record.as_ref().filter(|_| slot.generation == ticket.generation)
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Record<H>> {
        let slot = self.slots.get_mut(ticket.index as usize)?;
        slot.record.as_mut().filter(|_| slot.generation == ticket.generation)
    }

    pub fn remove(&mut self, ticket: Ticket) -> Option<Record<H>> {
        self.get(ticket)?;
        let slot = &mut self.slots[ticket.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(ticket.index);
        slot.record.take()
    }

    /// How many places there are, taken or free.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    /// The rules in some of the places.
    pub fn within(&self, places: std::ops::Range<usize>) -> impl Iterator<Item = Ticket> {
        let slots = self.slots.iter().enumerate().skip(places.start).take(places.len());
        slots
            .filter(|(_, slot)| slot.record.is_some())
            .map(|(index, slot)| Ticket { index: index as u32, generation: slot.generation })
    }

    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Record<H>)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let ticket = Ticket { index: index as u32, generation: slot.generation };
            Some((ticket, slot.record.as_ref()?))
        })
    }
}
