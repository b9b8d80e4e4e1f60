//! The connections of a shard: an arena, the index that finds them by either key, their timers, and who has how many.

use std::net::IpAddr;
use std::num::NonZeroU32;

use model::decision::{Decision, Key};
use model::snapshot::{InterfaceId, VfIndex};
use packet::AddressWords;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::chain::{Chain, Links};
use super::connection::{Beginning, Connection, Event, Lifetimes};
use super::index::Index;
use super::key::{CompactKey, KeyHasher};
use super::record::{Count, Record, Start, traffic};
use super::settled::Settled;
use super::timer_wheel::TimerWheel;
use super::vteps::Vteps;
use super::{FlowDirection, Offload, PerDirection};
use crate::datapath::Time;
use crate::datapath::by_interface::ByInterface;
use crate::datapath::memory::Memory;
use crate::datapath::recheck::Checked;
use crate::datapath::settings::{ConnectionLimits, Timeouts};

/// Names a connection of a shard. When the connection is gone, its id names nothing, also after its place was taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConnectionHandle {
    index: u32,
    generation: u32,
}

impl ConnectionHandle {
    /// Its place in the arena: small, dense, and used again.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }
}

/// The interface has its full share of connections, and none of them can give way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// There is no place for one more connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoRoom;

/// An entry of the index that may be the one that is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    entry: u32,
    /// Of the table, when it was found.
    changes: u32,
}

/// What of a connection packets do not need.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Cold {
    /// When its first packet came: nanoseconds, the lower half first.
    created: [u32; 2],
    /// The last generation of the snapshot under which it was last found allowed.
    generation: u32,
}

/// What an interface has of the table.
#[derive(Debug, Default)]
struct Share {
    connections: u32,
    /// Its half-open connections, oldest first.
    half_open: Chain,
}

/// The connection table.
#[derive(Debug)]
pub(crate) struct ConnectionTable {
    records: Memory<Record>,
    cold: Memory<Cold>,
    /// What hardware carried; touched only for those of which it carried some.
    hardware: Memory<[Count; 2]>,
    /// Places that were ever used.
    used: u32,
    free: Vec<u32>,
    capacity: u32,
    per_interface: NonZeroU32,
    live: u32,
    /// How often connections came, went or changed their keys.
    changes: u32,
    hasher: KeyHasher,
    /// Entries are the connection's place times two, plus its direction.
    index: Index,
    wheel: TimerWheel,
    half_open: Links,
    shares: ByInterface<Share>,
    vteps: Vteps,
    lifetimes: Lifetimes,
}

const fn entry(index: u32, direction: FlowDirection) -> u32 {
    index << 1 | direction as u32
}

const fn direction_of(entry: u32) -> FlowDirection {
    if entry & 1 == 0 { FlowDirection::Forward } else { FlowDirection::Reverse }
}

impl ConnectionTable {
    pub(crate) fn new(limits: ConnectionLimits, timeouts: &Timeouts, hasher: KeyHasher) -> Self {
        let capacity = limits.table_size.get();
        let room = capacity as usize;
        Self {
            records: Memory::zeroed(room),
            cold: Memory::zeroed(room),
            hardware: Memory::zeroed(room),
            used: 0,
            free: Vec::with_capacity(room),
            capacity,
            per_interface: limits.per_interface,
            live: 0,
            changes: 0,
            hasher,
            index: Index::with_capacity(room.saturating_mul(2)),
            wheel: TimerWheel::with_capacity(room),
            half_open: Links::with_capacity(room),
            shares: ByInterface::default(),
            vteps: Vteps::default(),
            lifetimes: Lifetimes::new(timeouts),
        }
    }

    /// See [`Memory::use_huge_pages`].
    pub(crate) fn use_huge_pages(&self) {
        self.records.use_huge_pages();
        self.index.use_huge_pages();
    }

    /// How many connections there are.
    pub(crate) const fn len(&self) -> u32 {
        self.live
    }

    /// How many places of the arena have ever been used: ids' indices are below.
    pub(crate) const fn places(&self) -> u32 {
        self.used
    }

    /// The hash under which packets with this key are looked for.
    #[inline]
    pub(crate) fn hash(&self, key: &CompactKey) -> u64 {
        self.hasher.hash(key)
    }

    /// Has the place fetched where a hash is looked for first.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// What is probably found under a hash, once its place has been fetched; it is fetched in turn. If there is none, the other
    /// place is fetched, for [`Self::look_further`].
    #[inline]
    pub(crate) fn look_ahead(&self, hash: u64) -> Option<Candidate> {
        self.candidate(self.index.candidate(hash)?)
    }

    /// What is probably found in a hash's other place; it is fetched.
    #[inline]
    pub(crate) fn look_further(&self, hash: u64) -> Option<Candidate> {
        self.candidate(self.index.other_candidate(hash)?)
    }

    #[inline]
    fn candidate(&self, entry: u32) -> Option<Candidate> {
        self.records.get(entry >> 1)?.prefetch(direction_of(entry));
        Some(Candidate { entry, changes: self.changes })
    }

    /// The connection to which packets with this key, and its hash, belong, and their direction.
    pub(crate) fn find(
        &self,
        hash: u64,
        key: &CompactKey,
    ) -> Option<(ConnectionHandle, FlowDirection)> {
        let found = self.index.find(hash, |entry| self.is(entry, key))?;
        Some((self.handle(found >> 1)?, direction_of(found)))
    }

    /// The same, for whom looked ahead.
    #[inline]
    pub(crate) fn find_ahead(
        &self,
        hash: u64,
        key: &CompactKey,
        candidate: Option<Candidate>,
    ) -> Option<(ConnectionHandle, FlowDirection)> {
        match candidate {
            // What was an entry then still is one.
            Some(Candidate { entry, changes })
                if changes == self.changes && self.is(entry, key) =>
            {
                Some((self.handle(entry >> 1)?, direction_of(entry)))
            }
            _ => self.find(hash, key),
        }
    }

    /// The settled direction that packets with this key belong to, as they are found ahead: if it is allowed under the snapshot of this
    /// epoch, its time is not over, and its packets came from `vtep`, if they came from one.
    #[inline]
    pub(crate) fn settled(
        &mut self,
        candidate: Option<Candidate>,
        key: &CompactKey,
        epoch: u64,
        now: Time,
        vtep: Option<&AddressWords>,
    ) -> Option<Settled<'_>> {
        let Candidate { entry, changes } = candidate?;
        let flow = self.records.get_mut(entry >> 1)?.settled(direction_of(entry))?;
        let end = flow.last_seen().saturating_add(self.lifetimes.of_code(flow.state_code()));
        let is_it = changes == self.changes
            && flow.is(key)
            && flow.epoch() == epoch
            && now.0 < end
            && vtep.is_none_or(|vtep| self.vteps.is(flow.vtep(), vtep));
        is_it.then_some(flow)
    }

    /// See [`Record::settle`].
    pub(crate) fn settle(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        vf: Option<VfIndex>,
        after_packets: u32,
    ) {
        let counted_late = !self.lifetimes.counter_delay.is_zero();
        if let Some(record) = self.get_mut(id) {
            record.settle(direction, vf, after_packets, counted_late);
        }
    }

    /// Whether packets with this key are those of an entry.
    #[inline]
    fn is(&self, entry: u32, key: &CompactKey) -> bool {
        self.records.get(entry >> 1).is_some_and(|record| record.is(direction_of(entry), key))
    }

    /// The handle of what is at a place.
    #[inline]
    fn handle(&self, index: u32) -> Option<ConnectionHandle> {
        let record = self.records.get(index)?;
        Some(ConnectionHandle { index, generation: record.generation() })
    }

    /// The connection at a place of the arena, if there is one.
    pub(crate) fn at(&self, index: u32) -> Option<(ConnectionHandle, &Record)> {
        let record = self.records.get(index).filter(|record| record.is_live())?;
        Some((ConnectionHandle { index, generation: record.generation() }, record))
    }

    #[inline]
    pub(crate) fn get(&self, id: ConnectionHandle) -> Option<&Record> {
        self.records.get(id.index).filter(|record| record.generation() == id.generation)
    }

    /// For changes that touch neither keys, state nor deadline.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: ConnectionHandle) -> Option<&mut Record> {
        self.records.get_mut(id.index).filter(|record| record.generation() == id.generation)
    }

    /// A connection as it is now.
    pub(crate) fn connection(&self, id: ConnectionHandle) -> Option<Connection> {
        let record = self.get(id)?;
        let [low, high] = self.cold.get(id.index)?.created;
        let hardware = record.is_counted_by_hardware().then(|| self.hardware.get(id.index));
        Some(Connection {
            key: record.key(FlowDirection::Forward),
            decision: record.decision(),
            state: record.state(),
            created: Time(u64::from(low) | u64::from(high) << 32),
            last_seen: record.last_seen(),
            deadline: record.deadline(&self.lifetimes),
            vtep: self.vteps.get(record.vtep()),
            software: record.software(),
            hardware: hardware.flatten().map(|counts| traffic(*counts)).unwrap_or_default(),
            offload: PerDirection {
                forward: record.offload(FlowDirection::Forward),
                reverse: record.offload(FlowDirection::Reverse),
            },
        })
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = ConnectionHandle> {
        (0..self.places()).filter_map(|index| self.at(index).map(|(id, _)| id))
    }

    /// Whether there is room for one more connection of `interface`; if not, which of its own could give way.
    pub(crate) fn room_for(
        &self,
        interface: InterfaceId,
    ) -> Result<Option<ConnectionHandle>, Full> {
        let share = self.shares.get(&interface);
        let used = share.map_or(0, |share| share.connections);
        if used < self.per_interface.get() && self.live < self.capacity {
            return Ok(None);
        }
        let oldest = share.and_then(|share| share.half_open.first()).ok_or(Full)?;
        self.at(oldest).map(|(id, _)| Some(id)).ok_or(Full)
    }

    /// Adds a connection, for which there must be room, with its first packet, under its forward key, which must be free. A
    /// reverse key that another connection has stays with that one: its decision was made for that very key.
    ///
    /// # Errors
    /// When there is no room after all.
    pub(crate) fn insert(
        &mut self,
        beginning: &Beginning,
        event: Event,
        now: Time,
    ) -> Result<ConnectionHandle, NoRoom> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.used < self.capacity => {
                self.used = self.used.saturating_add(1);
                self.used.saturating_sub(1)
            }
            None => return Err(NoRoom),
        };
        let Beginning { key, decision, checked, .. } = beginning;
        let key_hash = self.hasher.hash(&key.into());
        if !self.index.insert(key_hash, entry(index, FlowDirection::Forward)) {
            self.free.push(index);
            return Err(NoRoom);
        }
        let (state, why, icmp) = beginning.state();
        let record = self.records.get_mut(index).ok_or(NoRoom)?;
        let start = Start { state, why, icmp, epoch: checked.epoch };
        record.begin(key, decision, &start, now);
        record.observe(FlowDirection::Forward, event, now);
        let deadline = record.deadline(&self.lifetimes);
        let is_half_open = record.state().is_half_open();
        let id = ConnectionHandle { index, generation: record.generation() };
        if let Some(cold) = self.cold.get_mut(index) {
            let created = [now.0 as u32, (now.0 >> 32) as u32];
            *cold = Cold { created, generation: checked.generation };
        }
        self.live = self.live.saturating_add(1);
        self.changes = self.changes.wrapping_add(1);
        let share = self.shares.entry(key.zone.interface()).or_default();
        share.connections = share.connections.saturating_add(1);
        if is_half_open {
            self.half_open.push_back(&mut share.half_open, index);
        }
        self.add_reverse_key(index, &decision.reverse_key);
        self.wheel.arm(index, deadline);
        Ok(id)
    }

    /// Makes answers find their connection, unless they find another one. Should there be no room in the index, answers begin a
    /// connection of their own.
    fn add_reverse_key(&mut self, index: u32, key: &Key) {
        let key = key.into();
        let hash = self.hasher.hash(&key);
        if self.index.find(hash, |other| self.is(other, &key)).is_none() {
            self.index.insert(hash, entry(index, FlowDirection::Reverse));
        }
    }

    /// Removes a connection; its key, as its initiator sent it.
    pub(crate) fn remove(&mut self, id: ConnectionHandle) -> Option<Key> {
        let record = *self.get(id)?;
        for direction in FlowDirection::ALL {
            let hash = self.hasher.hash(&record.compact_key(direction));
            self.index.remove(hash, entry(id.index, direction));
        }
        if record.is_counted_by_hardware()
            && let Some(counts) = self.hardware.get_mut(id.index)
        {
            *counts = [Count::default(); 2];
        }
        self.vteps.release(record.vtep());
        self.records.get_mut(id.index)?.end();
        self.free.push(id.index);
        self.live = self.live.saturating_sub(1);
        self.changes = self.changes.wrapping_add(1);
        self.wheel.disarm(id.index);
        if let Some(share) = self.shares.get_mut(&record.owner()) {
            share.connections = share.connections.saturating_sub(1);
            if record.state().is_half_open() {
                self.half_open.remove(&mut share.half_open, id.index);
            }
        }
        Some(record.key(FlowDirection::Forward))
    }

    /// Lets a connection take notice of traffic: state, timer, and whether it still counts as half-open.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        event: Event,
        at: Time,
    ) {
        let record =
            self.records.get_mut(id.index).filter(|record| record.generation() == id.generation);
        let Some(record) = record else {
            return;
        };
        let (before, end) = (record.state(), record.ends_at(&self.lifetimes));
        record.observe(direction, event, at);
        let (after, deadline) = (record.state(), record.deadline(&self.lifetimes));
        if before.is_half_open() && !after.is_half_open() {
            let owner = record.owner();
            if let Some(share) = self.shares.get_mut(&owner) {
                self.half_open.remove(&mut share.half_open, id.index);
            }
        }
        // A later deadline is noticed when the timer fires: most packets leave the wheel alone.
        if deadline < end {
            self.arm_by(id.index, deadline);
        }
    }

    /// Has the timer of a connection fire at this time at the latest.
    fn arm_by(&mut self, index: u32, time: Time) {
        if self.wheel.armed(index).is_none_or(|armed| armed > time) {
            self.wheel.arm(index, time);
        }
    }

    /// Notes where a packet from the wire came from. Whether that changed what was known already.
    #[inline]
    pub(crate) fn came_from(&mut self, id: ConnectionHandle, vtep: IpAddr) -> bool {
        let Some(number) = self.get(id).map(Record::vtep) else {
            return false;
        };
        if self.vteps.get(number) == Some(vtep) {
            return false;
        }
        self.vteps.release(number);
        let now = self.vteps.acquire(vtep);
        if let Some(record) = self.get_mut(id) {
            record.set_vtep(now);
        }
        number != 0
    }

    /// The VTEP from which a connection's packets last came.
    #[inline]
    pub(crate) fn vtep_of(&self, record: &Record) -> Option<IpAddr> {
        self.vteps.get(record.vtep())
    }

    /// See [`Record::forget_vtep`].
    pub(crate) fn forget_vtep(&mut self, id: ConnectionHandle) -> Option<FlowDirection> {
        if let Some(number) = self.get(id).map(Record::vtep) {
            self.vteps.release(number);
        }
        self.get_mut(id).and_then(Record::forget_vtep)
    }

    /// Under which intent a connection was last found allowed.
    pub(crate) fn checked(&self, id: ConnectionHandle) -> Option<Checked> {
        let (record, cold) = (self.get(id)?, self.cold.get(id.index)?);
        Some(Checked { epoch: record.epoch(), generation: cold.generation })
    }

    /// Notes under which intent a connection was found allowed.
    pub(crate) fn set_checked(&mut self, id: ConnectionHandle, checked: Checked) {
        if let Some(record) = self.get_mut(id) {
            record.set_epoch(checked.epoch);
            if let Some(cold) = self.cold.get_mut(id.index) {
                cold.generation = checked.generation;
            }
        }
    }

    /// When a connection of this table is over.
    #[inline]
    pub(crate) fn end_of(&self, record: &Record) -> Time {
        record.ends_at(&self.lifetimes)
    }

    /// Takes a connection of which rules are about to leave hardware for alive, if counters tell of traffic late: what the
    /// rules carried last is lost with them.
    pub(crate) fn presume_alive(&mut self, id: ConnectionHandle, now: Time) {
        if self.lifetimes.counter_delay.is_zero() {
            return;
        }
        for direction in FlowDirection::ALL {
            let is_alive = |record: &Record| now < record.ends_at(&self.lifetimes);
            if self.get(id).is_some_and(|c| c.may_be_in_hardware(direction) && is_alive(c)) {
                self.observe(id, direction, Event::Packet, now);
            }
        }
    }

    /// Notes where a direction of a connection is carried from `now` on; `false` when the connection is gone.
    pub(crate) fn set_offload(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        offload: Offload,
        now: Time,
    ) -> bool {
        let Some(record) = self.get(id) else {
            return false;
        };
        if record.may_be_in_hardware(direction) && offload != Offload::Hardware {
            self.presume_alive(id, now);
        }
        let Some(record) = self.get_mut(id) else {
            return false;
        };
        record.set_offload(direction, offload);
        if let Some(end) = self.get(id).map(|record| record.ends_at(&self.lifetimes)) {
            self.arm_by(id.index, end);
        }
        true
    }

    /// Counts packets that hardware carried; `false` when the connection is gone.
    pub(crate) fn count_hardware(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        packets: u64,
        bytes: u64,
    ) -> bool {
        let Some(record) = self.get_mut(id) else {
            return false;
        };
        record.note_hardware();
        if let Some(counts) = self.hardware.get_mut(id.index)
            && let Some(count) = counts.get_mut(direction as usize)
        {
            count.add(packets, bytes);
        }
        true
    }

    /// Replaces what is decided for a connection, and with it the key of its answers.
    pub(crate) fn set_decision(&mut self, id: ConnectionHandle, decision: &Decision) {
        let Some(record) = self.get_mut(id) else {
            return;
        };
        let before = record.compact_key(FlowDirection::Reverse);
        let key = record.key(FlowDirection::Forward);
        record.decide(&key, decision);
        let after = record.compact_key(FlowDirection::Reverse);
        if before != after {
            self.changes = self.changes.wrapping_add(1);
            self.index.remove(self.hasher.hash(&before), entry(id.index, FlowDirection::Reverse));
            self.add_reverse_key(id.index, &decision.reverse_key);
        }
    }

    /// A time not later than the one at which the time of a connection is over next.
    pub(crate) fn next_time(&self) -> Option<Time> {
        self.wheel.next_time()
    }

    /// The next connection whose time is over by `now`; it stays in the table, for the caller to remove.
    pub(crate) fn next_ended(&mut self, now: Time) -> Option<ConnectionHandle> {
        while let Some((index, armed)) = self.wheel.next_due(now) {
            let Some((id, record)) = self.at(index) else {
                continue;
            };
            let deadline = record.ends_at(&self.lifetimes);
            // A connection that had traffic since waits for its new turn, also when that has come by now: the others'
            // deadlines may be earlier.
            if deadline <= armed {
                return Some(id);
            }
            self.wheel.arm(index, deadline);
        }
        None
    }

    /// Forgets interfaces that are neither known nor have connections left.
    pub(crate) fn retain(&mut self, is_known: impl Fn(InterfaceId) -> bool) {
        self.shares.retain(|id, share| share.connections > 0 || is_known(*id));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use arrayvec::ArrayVec;
    use model::decision::{Output, Path, Side, Verdict, Zone};
    use packet::{Transport, Tuple};
    use proptest::prelude::*;

    use super::*;
    use crate::datapath::settings::Settings;

    fn key(interface: u32, side: Side, ports: (u16, u16)) -> Key {
        let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17, ports.0, ports.1);
        Key { zone: Zone::new(InterfaceId(interface), side), tuple }
    }

    /// UDP of an interface to the network: answers come back from there.
    fn beginning(interface: u32, port: u16) -> Beginning {
        let decision = Decision {
            forward: Path {
                steps: ArrayVec::new(),
                output: Output::Local(InterfaceId(9)),
                mtu: u16::MAX,
            },
            reverse_key: answer(interface, port),
            reverse: Verdict::Drop(model::decision::DropReason::NoRoute),
        };
        Beginning {
            key: key(interface, Side::FromVm, (port, 53)),
            transport: Transport::Udp,
            decision,
            checked: Checked { epoch: 0, generation: 0 },
            picked_up: false,
        }
    }

    fn find(table: &ConnectionTable, key: &Key) -> Option<(ConnectionHandle, FlowDirection)> {
        let key = key.into();
        table.find(table.hash(&key), &key)
    }

    fn answer(interface: u32, port: u16) -> Key {
        key(interface, Side::FromNetwork, (53, port))
    }

    fn table(size: u32, per_interface: u32) -> ConnectionTable {
        let limits = ConnectionLimits {
            table_size: size.try_into().unwrap(),
            per_interface: NonZeroU32::new(per_interface).unwrap(),
        };
        ConnectionTable::new(limits, &Settings::default().timeouts, KeyHasher::new(3))
    }

    #[test]
    fn a_reverse_key_that_is_taken_stays_with_its_owner() {
        let mut table = table(8, 8);
        let first = table.insert(&beginning(1, 7), Event::Packet, Time(0)).unwrap();
        let mut other = beginning(2, 7);
        other.decision.reverse_key = answer(1, 7);
        let second = table.insert(&other, Event::Packet, Time(0)).unwrap();
        assert_eq!(find(&table, &answer(1, 7)), Some((first, FlowDirection::Reverse)));
        table.remove(second);
        assert_eq!(find(&table, &answer(1, 7)), Some((first, FlowDirection::Reverse)));
        // Another decision, another key for answers.
        other.decision.reverse_key = answer(3, 7);
        table.set_decision(first, &other.decision);
        assert_eq!(find(&table, &answer(1, 7)), None);
        assert_eq!(find(&table, &answer(3, 7)), Some((first, FlowDirection::Reverse)));
        assert_eq!(table.connection(first).map(|c| c.decision().clone()), Some(other.decision));
        table.remove(first);
        assert_eq!(find(&table, &answer(3, 7)), None);
        assert_eq!(table.remove(first), None);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u32, u16),
        Answer(u32, u16),
        Remove(u32, u16),
        Wait(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let flow = (0_u32..3, 0_u16..6);
        prop_oneof![
            4 => flow.clone().prop_map(|(i, p)| Operation::Insert(i, p)),
            2 => flow.clone().prop_map(|(i, p)| Operation::Answer(i, p)),
            1 => flow.prop_map(|(i, p)| Operation::Remove(i, p)),
            1 => (0_u64..40).prop_map(Operation::Wait),
        ]
    }

    struct Expected {
        number: usize,
        deadline: Time,
        answered: bool,
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_with_deadlines_and_quotas(
            operations in prop::collection::vec(operation(), 0..150),
        ) {
            let (size, share) = (8, 4);
            let mut table = table(size, share);
            let mut model: BTreeMap<(u32, u16), Expected> = BTreeMap::new();
            let mut now = Time(0);
            let after = |now: Time, seconds| now + Duration::from_secs(seconds);
            for (number, operation) in operations.into_iter().enumerate() {
                match operation {
                    Operation::Insert(interface, port) if !model.contains_key(&(interface, port)) => {
                        let own = model.iter().filter(|((i, _), _)| *i == interface);
                        let oldest = own.clone().filter(|(_, e)| !e.answered)
                            .min_by_key(|(_, e)| e.number).map(|(flow, _)| *flow);
                        let full = own.count() >= share as usize || model.len() >= size as usize;
                        match table.room_for(InterfaceId(interface)) {
                            Ok(None) => prop_assert!(!full),
                            Ok(Some(victim)) => {
                                prop_assert!(full);
                                let key = table.connection(victim).unwrap().key(FlowDirection::Forward);
                                let flow = (key.zone.interface().0, key.tuple.source_port());
                                prop_assert_eq!(Some(flow), oldest);
                                table.remove(victim);
                                model.remove(&flow);
                            }
                            Err(Full) => {
                                prop_assert!(full && oldest.is_none());
                                continue;
                            }
                        }
                        table.insert(&beginning(interface, port), Event::Packet, now).unwrap();
                        let deadline = after(now, 30);
                        model.insert((interface, port), Expected { number, deadline, answered: false });
                    }
                    Operation::Answer(interface, port) => {
                        let found = find(&table, &answer(interface, port));
                        let expected = model.get_mut(&(interface, port));
                        prop_assert_eq!(found.is_some(), expected.is_some());
                        if let (Some((id, direction)), Some(expected)) = (found, expected) {
                            table.observe(id, direction, Event::Packet, now);
                            expected.answered = true;
                            expected.deadline = after(now, 180);
                        }
                    }
                    Operation::Remove(interface, port) => {
                        let found = find(&table, &key(interface, Side::FromVm, (port, 53)));
                        let expected = model.remove(&(interface, port));
                        prop_assert_eq!(found.is_some(), expected.is_some());
                        if let Some((id, _)) = found {
                            prop_assert!(table.remove(id).is_some());
                        }
                    }
                    Operation::Wait(seconds) => {
                        now = after(now, seconds);
                        let mut last = Time(0);
                        while let Some(id) = table.next_ended(now) {
                            let deadline = table.connection(id).unwrap().deadline();
                            prop_assert!(deadline >= last);
                            last = deadline;
                            let key = table.remove(id).unwrap();
                            let flow = (key.zone.interface().0, key.tuple.source_port());
                            prop_assert_eq!(model.remove(&flow).map(|e| e.deadline), Some(last));
                        }
                        prop_assert!(model.values().all(|e| e.deadline > now));
                    }
                    Operation::Insert(..) => {}
                }
                prop_assert_eq!(table.len() as usize, model.len());
                prop_assert_eq!(table.handles().count(), model.len());
            }
        }
    }
}
