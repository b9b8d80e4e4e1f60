//! The reference of connection tracking: naive, in virtual time, on ordinary maps.
//!
//! Written from DESIGN section 5 alone. It exists to be obviously right and to be compared with: it walks over all
//! connections where the datapath may not, and shares no line with it.

mod fragment;
mod key;
mod limits;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use crate::interpreter::Time;
use fragment::Fragments;
pub use fragment::{Family, First, Fragment};
pub use key::{Key, Tuple, Zone};
pub use limits::{Limits, Timeouts};
pub use tcp::TcpFlags;
use tcp::{Tcp, Way};

/// A second.
pub const SECOND: Time = 1_000_000_000;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// The destination port of ICMP messages that are no echo; of those it is the message type.
const NOT_ECHO: u16 = 0xffff;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What is remembered of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// The zone that the first packet came from, and its tuple.
    pub first: Key,
    /// The same of the packets that answer it.
    pub answers: Key,
    /// ICMP type and code of the first packet.
    pub icmp: (u8, u8),
}

/// Why a connection left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Removal {
    /// It was silent for its timeout.
    Expired,
    /// Both sides had closed it, or a SYN began it anew when one had.
    Closed,
    /// It was reset.
    Reset,
    /// It was no longer allowed.
    Policy,
    /// One of its interfaces was gone.
    InterfaceRemoved,
    /// It was half-open and had to make room.
    Evicted,
}

/// What became of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// It was recorded.
    Created,
    /// It left.
    Removed(Removal),
}

/// A change of a connection, known by its first packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub time: Time,
    /// Which connection.
    pub first: Key,
    /// What.
    pub change: Change,
}

/// What is known of a connection's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Tcp(Tcp),
    Udp { answered: bool },
    Echo { answered: bool },
    Other { answered: bool },
}

#[derive(Clone, Debug)]
struct Entry {
    connection: Connection,
    life: Life,
    /// When the last packet passed that is a sign of life.
    last: Time,
}

impl Entry {
    fn timeout(&self, timeouts: &Timeouts) -> Time {
        match self.life {
            Life::Tcp(tcp) => tcp.timeout(timeouts),
            Life::Udp { answered: false } => timeouts.udp_one_way,
            Life::Udp { answered: true } => timeouts.udp_both_ways,
            Life::Echo { .. } => timeouts.icmp_echo,
            Life::Other { .. } => timeouts.other,
        }
    }

    /// When it is over, if nothing passes any more.
    fn end(&self, timeouts: &Timeouts) -> Time {
        self.last + self.timeout(timeouts)
    }

    /// What it will have left for, then.
    fn reason(&self) -> Removal {
        match self.life {
            Life::Tcp(tcp) => tcp.reason(),
            _ => Removal::Expired,
        }
    }

    fn is_half_open(&self) -> bool {
        match self.life {
            Life::Tcp(tcp) => tcp.is_half_open(),
            Life::Udp { answered } | Life::Echo { answered } | Life::Other { answered } => {
                !answered
            }
        }
    }
}

/// The connections and the fragments of a node.
pub struct Conntrack {
    timeouts: Timeouts,
    limits: Limits,
    /// In the order in which they were made.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    /// Each direction of each connection.
    directions: HashMap<Key, (u64, Way)>,
    fragments: Fragments,
    /// Those that are to be decided again.
    due: Vec<u64>,
    events: Vec<Event>,
}

impl Conntrack {
    /// Room for so many connections, of which an interface may have so many.
    #[must_use]
    pub fn new(connections: usize, connections_of_an_interface: usize) -> Self {
        Self {
            timeouts: Timeouts::default(),
            limits: Limits { connections, connections_of_an_interface, ..Limits::default() },
            entries: BTreeMap::new(),
            next: 0,
            directions: HashMap::new(),
            fragments: Fragments::default(),
            due: Vec::new(),
            events: Vec::new(),
        }
    }

    /// How long things live, and how many there may be.
    pub fn settings(&mut self) -> (&mut Timeouts, &mut Limits) {
        (&mut self.timeouts, &mut self.limits)
    }

    /// What happened to connections until `now`, since this was last asked.
    pub fn take_events(&mut self, now: Time) -> Vec<Event> {
        self.expire(now);
        std::mem::take(&mut self.events)
    }

    /// The connection of a packet, and whether the packet goes against the direction of the first one.
    ///
    /// A SYN finds no connection that is closing: it ends that one, and starts anew.
    pub fn lookup(&mut self, key: Key, flags: TcpFlags, now: Time) -> Option<(Connection, bool)> {
        let (id, way) = self.find(key, now)?;
        let entry = &self.entries[&id];
        if let Life::Tcp(tcp) = entry.life
            && flags.opens()
            && tcp.is_closing()
        {
            let reason = tcp.reason_when_replaced();
            self.forget(id, reason, now);
            return None;
        }
        Some((entry.connection, way == Way::Reply))
    }

    fn find(&mut self, key: Key, now: Time) -> Option<(u64, Way)> {
        self.expire(now);
        self.directions.get(&key).copied()
    }

    /// Connections leave in the order in which their time is over.
    fn expire(&mut self, now: Time) {
        let timeouts = self.timeouts;
        let mut over: Vec<(Time, u64)> = self
            .entries
            .iter()
            .map(|(id, entry)| (entry.end(&timeouts), *id))
            .filter(|(end, _)| *end <= now)
            .collect();
        over.sort_unstable();
        for (end, id) in over {
            let reason = self.entries[&id].reason();
            self.forget(id, reason, end);
        }
    }

    fn forget(&mut self, id: u64, reason: Removal, time: Time) {
        let Some(entry) = self.entries.remove(&id) else { return };
        let Connection { first, answers, .. } = entry.connection;
        for key in [first, answers] {
            self.release(key, id);
        }
        self.events.push(Event { time, first, change: Change::Removed(reason) });
    }

    /// A key is one connection's: who comes later does without it.
    fn claim(&mut self, key: Key, id: u64, way: Way) {
        self.directions.entry(key).or_insert((id, way));
    }

    fn release(&mut self, key: Key, id: u64) {
        if self.directions.get(&key).is_some_and(|(owner, _)| *owner == id) {
            self.directions.remove(&key);
        }
    }

    /// Records a connection by its first packet; `false` when there is no room for it.
    pub fn create(&mut self, connection: Connection, flags: TcpFlags, now: Time) -> bool {
        self.expire(now);
        let tuple = connection.first.tuple;
        let icmp = if tuple.source.is_ipv4() { ICMP } else { ICMPV6 };
        let life = match tuple.protocol {
            TCP if flags.opens() => Life::Tcp(Tcp::opened()),
            TCP => Life::Tcp(Tcp::picked_up(flags)),
            UDP => Life::Udp { answered: false },
            protocol if protocol == icmp && tuple.destination_port != NOT_ECHO => {
                Life::Echo { answered: false }
            }
            _ => Life::Other { answered: false },
        };
        if !self.make_room(connection.first.zone.interface, now) {
            return false;
        }
        let id = self.next;
        self.next += 1;
        self.claim(connection.first, id, Way::Original);
        self.claim(connection.answers, id, Way::Reply);
        self.entries.insert(id, Entry { connection, life, last: now });
        self.events.push(Event { time: now, first: connection.first, change: Change::Created });
        true
    }

    /// Half-open connections of the same interface go first; nothing of another interface does.
    fn make_room(&mut self, interface: u32, now: Time) -> bool {
        let own: Vec<(u64, bool)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.connection.first.zone.interface == interface)
            .map(|(id, entry)| (*id, entry.is_half_open()))
            .collect();
        if own.len() < self.limits.connections_of_an_interface
            && self.entries.len() < self.limits.connections
        {
            return true;
        }
        let Some((id, _)) = own.iter().find(|(_, half_open)| *half_open) else { return false };
        self.forget(*id, Removal::Evicted, now);
        true
    }

    /// A packet of a connection was forwarded.
    pub fn update(&mut self, key: Key, flags: TcpFlags, now: Time) {
        let Some((id, way)) = self.find(key, now) else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let is_sign_of_life = match &mut entry.life {
            Life::Tcp(tcp) => tcp.passed(way, flags),
            Life::Udp { answered } | Life::Echo { answered } | Life::Other { answered } => {
                *answered |= way == Way::Reply;
                true
            }
        };
        if is_sign_of_life {
            entry.last = now;
        }
    }

    /// A connection leaves.
    pub fn remove(&mut self, key: Key, reason: Removal, now: Time) {
        if let Some((id, _)) = self.directions.get(&key) {
            self.forget(*id, reason, now);
        }
    }

    /// All connections are to be decided again; how many they are.
    pub fn recheck(&mut self, now: Time) -> usize {
        self.expire(now);
        self.due = self.entries.keys().rev().copied().collect();
        self.due.len()
    }

    /// The next one of those.
    pub fn due(&mut self) -> Option<Connection> {
        let id = self.due.pop()?;
        self.entries.get(&id).map(|entry| entry.connection)
    }

    /// A connection's answers now have this key.
    pub fn follow(&mut self, first: Key, answers: Key) {
        let Some((id, _)) = self.directions.get(&first).copied() else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.connection.answers, answers);
        if before != answers {
            self.release(before, id);
            self.claim(answers, id, Way::Reply);
        }
    }

    /// Remembers what the first fragment of a packet belonged to.
    pub fn remember_fragment(&mut self, fragment: Fragment, first: First, now: Time) {
        let timeout = self.timeouts.fragments;
        self.fragments.remember(fragment, first, now, timeout, &self.limits);
    }

    /// What the first fragment belonged to.
    pub fn find_fragment(&mut self, fragment: Fragment, now: Time) -> Option<First> {
        self.fragments.find(fragment, now, self.timeouts.fragments)
    }
}
