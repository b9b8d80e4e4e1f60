//! The reference of connection tracking: naive, in virtual time, on ordinary maps.
//!
//! Written from DESIGN section 5 alone. It exists to be obviously right and to be compared with: it walks over all
//! connections where the datapath may not, and shares no line with it.

mod fragment;
mod key;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use crate::interpreter::Time;
use fragment::Fragments;
pub use fragment::{Family, Fragment, Ports};
pub use key::{Key, Tuple, Zone};
pub use tcp::TcpFlags;
use tcp::{Tcp, Way};

const SECOND: Time = 1_000_000_000;

/// ICMP and ICMPv6, whose echoes have ports: the identifier, and 1.
const ICMP: &[u8] = &[1, 58];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// How long a connection of each kind lives without a packet. A packet at exactly this time finds it gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP before the handshake is whole.
    pub tcp_half_open: Time,
    /// TCP behind it (RFC 5382).
    pub tcp_established: Time,
    /// TCP after a FIN, and after both.
    pub tcp_closing: Time,
    /// TCP after a RST.
    pub tcp_reset: Time,
    /// UDP while only one side has sent (RFC 4787).
    pub udp_one_way: Time,
    /// UDP when both have.
    pub udp_both_ways: Time,
    /// ICMP echo.
    pub icmp_echo: Time,
    /// All else.
    pub other: Time,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_half_open: 30 * SECOND,
            tcp_established: 7440 * SECOND,
            tcp_closing: 60 * SECOND,
            tcp_reset: 10 * SECOND,
            udp_one_way: 30 * SECOND,
            udp_both_ways: 180 * SECOND,
            icmp_echo: 30 * SECOND,
            other: 120 * SECOND,
        }
    }
}

/// What is remembered of a connection's first packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewConnection {
    /// The zone that the first packet came from, and its tuple.
    pub key: Key,
    /// The same of the packets that answer it.
    pub reverse: Key,
    /// The interface that sent the first packet; 0 when it is beyond the wire.
    pub initiator: u32,
    /// The interface that the first packet went to; 0 when it is beyond the wire.
    pub responder: u32,
    /// ICMP type and code of the first packet.
    pub icmp: (u8, u8),
}

/// What became of a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Created {
    /// It is recorded.
    Created,
    /// TCP in mid-stream, and no pick-up.
    NotSyn,
    /// The interface has as many connections as it may have, or the table is full.
    Quota,
}

/// What is known of a connection's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Tcp(Tcp),
    Udp { answered: bool },
    Echo,
    Other,
}

#[derive(Clone, Debug)]
struct Connection {
    first: NewConnection,
    life: Life,
    /// When the last packet passed.
    last: Time,
}

impl Connection {
    fn timeout(&self, timeouts: &Timeouts) -> Time {
        match self.life {
            Life::Tcp(tcp) => tcp.timeout(timeouts),
            Life::Udp { answered: false } => timeouts.udp_one_way,
            Life::Udp { answered: true } => timeouts.udp_both_ways,
            Life::Echo => timeouts.icmp_echo,
            Life::Other => timeouts.other,
        }
    }

    fn is_alive(&self, timeouts: &Timeouts, now: Time) -> bool {
        now.saturating_sub(self.last) < self.timeout(timeouts)
    }

    fn is_half_open(&self) -> bool {
        matches!(self.life, Life::Tcp(tcp) if tcp.is_half_open())
    }

    /// The interface whose quota it is counted to: whose VM began it, or to whose VM it came from the wire.
    fn charged(&self) -> u32 {
        if self.first.initiator == 0 { self.first.responder } else { self.first.initiator }
    }
}

/// The connections and the fragments of a node.
pub struct Conntrack {
    timeouts: Timeouts,
    capacity: usize,
    quota: usize,
    /// In the order in which they were made.
    connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Each direction of each connection.
    directions: HashMap<Key, (u64, Way)>,
    fragments: Fragments,
}

impl Conntrack {
    /// Room for so many connections, of which an interface may have so many.
    #[must_use]
    pub fn new(capacity: usize, quota: usize) -> Self {
        Self {
            timeouts: Timeouts::default(),
            capacity,
            quota,
            connections: BTreeMap::new(),
            next: 0,
            directions: HashMap::new(),
            fragments: Fragments::default(),
        }
    }

    /// The connection of a packet, and whether the packet goes against the direction of the first one.
    ///
    /// A SYN finds no connection that is closing: it starts anew. Nothing changes: the packet may still be dropped.
    pub fn lookup(
        &mut self,
        key: Key,
        flags: TcpFlags,
        now: Time,
    ) -> Option<(NewConnection, bool)> {
        let (id, way) = self.find(key, now)?;
        let connection = &self.connections[&id];
        if let Life::Tcp(tcp) = connection.life
            && flags.opens()
            && tcp.is_closing()
        {
            return None;
        }
        Some((connection.first, way == Way::Reply))
    }

    /// The connection that an ICMP error belongs to, by the key of a packet that would answer the quoted one.
    pub fn related(&mut self, key: Key, now: Time) -> Option<(NewConnection, bool)> {
        let (id, way) = self.find(key, now)?;
        Some((self.connections[&id].first, way == Way::Reply))
    }

    fn find(&mut self, key: Key, now: Time) -> Option<(u64, Way)> {
        self.expire(now);
        self.directions.get(&key).copied()
    }

    fn expire(&mut self, now: Time) {
        let timeouts = self.timeouts;
        let gone: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| !connection.is_alive(&timeouts, now))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        for key in [connection.first.key, connection.first.reverse] {
            if self.directions.get(&key).is_some_and(|(owner, _)| *owner == id) {
                self.directions.remove(&key);
            }
        }
    }

    /// Records a connection by its first packet. One that has the same key leaves: it was closing, or it would have been found.
    pub fn create(
        &mut self,
        new: NewConnection,
        flags: TcpFlags,
        pick_up: bool,
        now: Time,
    ) -> Created {
        self.expire(now);
        let tuple = new.key.tuple;
        let life = match tuple.protocol {
            TCP if flags.opens() => Life::Tcp(Tcp::opened()),
            TCP if pick_up && flags.may_be_picked_up() => Life::Tcp(Tcp::picked_up(flags)),
            TCP => return Created::NotSyn,
            UDP => Life::Udp { answered: false },
            protocol if ICMP.contains(&protocol) && tuple.destination_port == 1 => Life::Echo,
            _ => Life::Other,
        };
        for key in [new.key, new.reverse] {
            if let Some((id, _)) = self.directions.get(&key) {
                self.forget(*id);
            }
        }
        let connection = Connection { first: new, life, last: now };
        if !self.make_room(connection.charged()) {
            return Created::Quota;
        }
        let id = self.next;
        self.next += 1;
        self.directions.insert(new.reverse, (id, Way::Reply));
        self.directions.insert(new.key, (id, Way::Original));
        self.connections.insert(id, connection);
        Created::Created
    }

    /// Half-open connections of the same interface go first; nothing of another interface does.
    fn make_room(&mut self, interface: u32) -> bool {
        let own: Vec<(u64, bool)> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.charged() == interface)
            .map(|(id, connection)| (*id, connection.is_half_open()))
            .collect();
        if own.len() < self.quota && self.connections.len() < self.capacity {
            return true;
        }
        let Some((id, _)) = own.iter().find(|(_, half_open)| *half_open) else { return false };
        self.forget(*id);
        true
    }

    /// A packet of a connection was forwarded.
    pub fn update(&mut self, key: Key, flags: TcpFlags, now: Time) {
        let Some((id, way)) = self.find(key, now) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.last = now;
        match &mut connection.life {
            Life::Tcp(tcp) => tcp.passed(way, flags),
            Life::Udp { answered } => *answered |= way == Way::Reply,
            Life::Echo | Life::Other => {}
        }
    }

    /// A connection is no longer allowed.
    pub fn remove(&mut self, key: Key) {
        if let Some((id, _)) = self.directions.get(&key) {
            self.forget(*id);
        }
    }

    /// Remembers what the first fragment of a packet said of its ports.
    pub fn remember_fragment(&mut self, fragment: Fragment, ports: Ports, now: Time) {
        self.fragments.remember(fragment, ports, now);
    }

    /// What the first fragment said.
    pub fn find_fragment(&mut self, fragment: Fragment, now: Time) -> Option<Ports> {
        self.fragments.find(fragment, now)
    }
}
