//! The connections of a shard: an arena, the index that finds them by either key, their timers, and who has how many.

use std::num::NonZeroU32;

use model::decision::{Decision, Key};
use model::snapshot::InterfaceId;
use zerocopy::IntoBytes;

use super::chain::{Chain, Links};
use super::connection::{Connection, Event};
use super::index::Index;
use super::timer_wheel::TimerWheel;
use super::{FlowDirection, Offload};
use crate::datapath::Time;
use crate::datapath::by_interface::ByInterface;
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

/// Hashes keys under a secret seed, so that nobody outside can aim at a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    pub(crate) fn hash(self, key: &Key) -> u32 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let fold = |state: u64, word: u64| {
            let product = u128::from(state ^ word) * u128::from(self.seed | 1 | ODD << 63);
            (product as u64) ^ (product >> 64) as u64
        };
        let start = fold(self.seed ^ ODD, u64::from(key.zone.number()));
        let (words, rest) = key.tuple.as_bytes().as_chunks::<8>();
        let state = words
            .iter()
            .fold(start, |state, word| fold(state.wrapping_add(ODD), u64::from_ne_bytes(*word)));
        let state = rest.iter().fold(state, |state, byte| fold(state, u64::from(*byte)));
        (state ^ state >> 32) as u32
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
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
    slots: Vec<Slot>,
    free: Vec<u32>,
    capacity: u32,
    per_interface: NonZeroU32,
    live: u32,
    hasher: KeyHasher,
    /// Entries are the connection's index times two, plus its direction.
    index: Index,
    wheel: TimerWheel,
    half_open: Links,
    shares: ByInterface<Share>,
    timeouts: Timeouts,
}

const fn entry(index: u32, direction: FlowDirection) -> u32 {
    index << 1 | direction as u32
}

impl ConnectionTable {
    pub(crate) fn new(limits: ConnectionLimits, timeouts: Timeouts, hasher: KeyHasher) -> Self {
        let capacity = limits.table_size.get();
        let room = capacity as usize;
        Self {
            slots: Vec::with_capacity(room),
            free: Vec::with_capacity(room),
            capacity,
            per_interface: limits.per_interface,
            live: 0,
            hasher,
            index: Index::with_capacity(room.saturating_mul(2)),
            wheel: TimerWheel::with_capacity(room),
            half_open: Links::with_capacity(room),
            shares: ByInterface::default(),
            timeouts,
        }
    }

    /// How many connections there are.
    pub(crate) const fn len(&self) -> u32 {
        self.live
    }

    /// How many places of the arena have ever been used: ids' indices are below.
    pub(crate) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The connection to which packets with this key belong, and their direction.
    pub(crate) fn find(&self, key: &Key) -> Option<(ConnectionHandle, FlowDirection)> {
        let direction_of = |entry: u32| {
            if entry & 1 == 0 { FlowDirection::Forward } else { FlowDirection::Reverse }
        };
        let found = self.index.find(self.hasher.hash(key), |entry| {
            self.at(entry >> 1).is_some_and(|(_, c)| c.key(direction_of(entry)) == *key)
        })?;
        Some((self.at(found >> 1)?.0, direction_of(found)))
    }

    /// The connection at a place of the arena, if there is one.
    pub(crate) fn at(&self, index: u32) -> Option<(ConnectionHandle, &Connection)> {
        let slot = self.slots.get(index as usize)?;
        let id = ConnectionHandle { index, generation: slot.generation };
        Some((id, slot.connection.as_ref()?))
    }

    pub(crate) fn get(&self, id: ConnectionHandle) -> Option<&Connection> {
        let slot = self.slots.get(id.index as usize)?;
        slot.connection.as_ref().filter(|_| slot.generation == id.generation)
    }

    /// For changes that touch neither keys, state nor deadline.
    pub(crate) fn get_mut(&mut self, id: ConnectionHandle) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.index as usize)?;
        slot.connection.as_mut().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionHandle, &Connection)> {
        (0..self.places()).filter_map(|index| self.at(index))
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

    /// Adds a connection, for which there must be room, with its first packet, under its forward key, which must be free. A reverse key that
    /// another connection has stays with that one: its decision was made for that very key.
    pub(crate) fn insert(
        &mut self,
        mut connection: Connection,
        event: Event,
    ) -> Option<ConnectionHandle> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places() < self.capacity => {
                self.slots.push(Slot::default());
                self.places().saturating_sub(1)
            }
            None => return None,
        };
        connection.observe(FlowDirection::Forward, event, connection.created(), &self.timeouts);
        let keys = FlowDirection::ALL.map(|direction| (direction, connection.key(direction)));
        let deadline = connection.deadline();
        let is_half_open = connection.state().is_half_open();
        let slot = self.slots.get_mut(index as usize)?;
        slot.connection = Some(connection);
        let id = ConnectionHandle { index, generation: slot.generation };
        self.live = self.live.saturating_add(1);
        let [(_, forward), _] = keys;
        let share = self.shares.entry(forward.zone.interface()).or_default();
        share.connections = share.connections.saturating_add(1);
        if is_half_open {
            self.half_open.push_back(&mut share.half_open, index);
        }
        for (direction, key) in keys {
            self.add_key(index, direction, &key);
        }
        self.wheel.arm(index, deadline);
        Some(id)
    }

    fn add_key(&mut self, index: u32, direction: FlowDirection, key: &Key) {
        let hash = self.hasher.hash(key);
        let taken = self.index.find(hash, |other| {
            let found =
                if other & 1 == 0 { FlowDirection::Forward } else { FlowDirection::Reverse };
            other != entry(index, direction)
                && self.at(other >> 1).is_some_and(|(_, c)| c.key(found) == *key)
        });
        if taken.is_none() {
            self.index.insert(hash, entry(index, direction));
        }
    }

    /// Removes a connection.
    pub(crate) fn remove(&mut self, id: ConnectionHandle) -> Option<Connection> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
        self.live = self.live.saturating_sub(1);
        for direction in FlowDirection::ALL {
            let hash = self.hasher.hash(&connection.key(direction));
            self.index.remove(hash, entry(id.index, direction));
        }
        self.wheel.disarm(id.index);
        let owner = connection.key(FlowDirection::Forward).zone.interface();
        if let Some(share) = self.shares.get_mut(&owner) {
            share.connections = share.connections.saturating_sub(1);
            if connection.state().is_half_open() {
                self.half_open.remove(&mut share.half_open, id.index);
            }
        }
        Some(connection)
    }

    /// Lets a connection take notice of traffic: state, timer, and whether it still counts as half-open.
    pub(crate) fn observe(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        event: Event,
        at: Time,
    ) {
        let timeouts = self.timeouts;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let was_half_open = connection.state().is_half_open();
        connection.observe(direction, event, at, &timeouts);
        let is_half_open = connection.state().is_half_open();
        let owner = connection.key(FlowDirection::Forward).zone.interface();
        let deadline = connection.deadline();
        if was_half_open
            && !is_half_open
            && let Some(share) = self.shares.get_mut(&owner)
        {
            self.half_open.remove(&mut share.half_open, id.index);
        }
        // A later deadline is noticed when the timer fires: most packets leave the wheel alone.
        if self.wheel.armed(id.index).is_none_or(|armed| armed > deadline) {
            self.wheel.arm(id.index, deadline);
        }
    }

    /// When a connection of this table is over.
    pub(crate) fn end_of(&self, connection: &Connection) -> Time {
        connection.ends_at(&self.timeouts)
    }

    /// Takes a connection of which rules are about to leave hardware for alive, if counters tell of traffic late: what the
    /// rules carried last is lost with them.
    pub(crate) fn presume_alive(&mut self, id: ConnectionHandle, now: Time) {
        if self.timeouts.counter_delay.is_zero() {
            return;
        }
        for direction in FlowDirection::ALL {
            let is_alive = |connection: &Connection| now < connection.ends_at(&self.timeouts);
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
        let timeouts = self.timeouts;
        let Some(connection) = self.get(id) else {
            return false;
        };
        if connection.may_be_in_hardware(direction) && offload != Offload::Hardware {
            self.presume_alive(id, now);
        }
        let Some(connection) = self.get_mut(id) else {
            return false;
        };
        connection.set_offload(direction, offload);
        let deadline = connection.ends_at(&timeouts);
        if self.wheel.armed(id.index).is_none_or(|armed| armed > deadline) {
            self.wheel.arm(id.index, deadline);
        }
        true
    }

    /// Replaces what is decided for a connection, and with it the key of its answers.
    pub(crate) fn set_decision(&mut self, id: ConnectionHandle, decision: Decision) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let before = connection.key(FlowDirection::Reverse);
        let after = decision.reverse_key;
        connection.set_decision(decision);
        if before != after {
            self.index.remove(self.hasher.hash(&before), entry(id.index, FlowDirection::Reverse));
            self.add_key(id.index, FlowDirection::Reverse, &after);
        }
    }

    /// A time not later than the one at which the time of a connection is over next.
    pub(crate) fn next_time(&self) -> Option<Time> {
        self.wheel.next_time()
    }

    /// The next connection whose time is over by `now`; it stays in the table, for the caller to remove.
    pub(crate) fn next_ended(&mut self, now: Time) -> Option<ConnectionHandle> {
        while let Some((index, armed)) = self.wheel.next_due(now) {
            let Some((id, connection)) = self.at(index) else {
                continue;
            };
            let deadline = connection.ends_at(&self.timeouts);
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
    use crate::datapath::conntrack::Beginning;
    use crate::datapath::recheck::Checked;
    use crate::datapath::settings::Settings;

    fn key(interface: u32, side: Side, ports: (u16, u16)) -> Key {
        let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17, ports.0, ports.1);
        Key { zone: Zone::new(InterfaceId(interface), side), tuple }
    }

    /// UDP of an interface to the network: answers come back from there.
    fn connection(interface: u32, port: u16, now: Time) -> Connection {
        let decision = Decision {
            forward: Path {
                steps: ArrayVec::new(),
                output: Output::Local(InterfaceId(9)),
                mtu: u16::MAX,
            },
            reverse_key: answer(interface, port),
            reverse: Verdict::Drop(model::decision::DropReason::NoRoute),
        };
        let beginning = Beginning {
            key: key(interface, Side::FromVm, (port, 53)),
            transport: Transport::Udp,
            decision,
            checked: Checked::never(),
            picked_up: false,
        };
        Connection::new(beginning, now)
    }

    fn answer(interface: u32, port: u16) -> Key {
        key(interface, Side::FromNetwork, (53, port))
    }

    fn table(size: u32, per_interface: u32) -> ConnectionTable {
        let limits = ConnectionLimits {
            table_size: size.try_into().unwrap(),
            per_interface: NonZeroU32::new(per_interface).unwrap(),
        };
        ConnectionTable::new(limits, Settings::default().timeouts, KeyHasher::new(3))
    }

    #[test]
    fn a_reverse_key_that_is_taken_stays_with_its_owner() {
        let mut table = table(8, 8);
        let first = table.insert(connection(1, 7, Time(0)), Event::Packet).unwrap();
        let mut other = connection(2, 7, Time(0));
        let mut decision = other.decision().clone();
        decision.reverse_key = answer(1, 7);
        other.set_decision(decision.clone());
        let second = table.insert(other, Event::Packet).unwrap();
        assert_eq!(table.find(&answer(1, 7)), Some((first, FlowDirection::Reverse)));
        table.remove(second);
        assert_eq!(table.find(&answer(1, 7)), Some((first, FlowDirection::Reverse)));
        // Another decision, another key for answers.
        decision.reverse_key = answer(3, 7);
        table.set_decision(first, decision);
        assert_eq!(table.find(&answer(1, 7)), None);
        assert_eq!(table.find(&answer(3, 7)), Some((first, FlowDirection::Reverse)));
        table.remove(first);
        assert_eq!(table.find(&answer(3, 7)), None);
        assert_eq!(table.remove(first).map(|c| c.created()), None);
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
                                let key = table.get(victim).unwrap().key(FlowDirection::Forward);
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
                        table.insert(connection(interface, port, now), Event::Packet).unwrap();
                        let deadline = after(now, 30);
                        model.insert((interface, port), Expected { number, deadline, answered: false });
                    }
                    Operation::Answer(interface, port) => {
                        let found = table.find(&answer(interface, port));
                        let expected = model.get_mut(&(interface, port));
                        prop_assert_eq!(found.is_some(), expected.is_some());
                        if let (Some((id, direction)), Some(expected)) = (found, expected) {
                            table.observe(id, direction, Event::Packet, now);
                            expected.answered = true;
                            expected.deadline = after(now, 180);
                        }
                    }
                    Operation::Remove(interface, port) => {
                        let found = table.find(&key(interface, Side::FromVm, (port, 53)));
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
                            let ended = table.remove(id).unwrap();
                            prop_assert!(ended.deadline() >= last);
                            last = ended.deadline();
                            let key = ended.key(FlowDirection::Forward);
                            let flow = (key.zone.interface().0, key.tuple.source_port());
                            prop_assert_eq!(model.remove(&flow).map(|e| e.deadline), Some(last));
                        }
                        prop_assert!(model.values().all(|e| e.deadline > now));
                    }
                    Operation::Insert(..) => {}
                }
                prop_assert_eq!(table.len() as usize, model.len());
                prop_assert_eq!(table.iter().count(), model.len());
            }
        }
    }
}
