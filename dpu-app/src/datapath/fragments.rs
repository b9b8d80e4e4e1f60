//! Later fragments carry no ports: they follow what their packet's first fragment belonged to.

use std::num::NonZeroU32;
use std::time::Duration;

use model::decision::{Key, Zone};
use model::snapshot::InterfaceId;
use packet::{Family, IpPacket, Tuple};

use super::Time;
use super::by_interface::ByInterface;
use super::conntrack::KeyHasher;
use super::conntrack::chain::{Chain, Links};
use super::conntrack::index::Index;
use super::settings::FragmentLimits;

/// What a packet's first fragment belonged to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct First {
    /// The key under which its connection is found.
    pub(crate) key: Key,
    /// Whether it was an ICMP error about that connection, instead of a part of it.
    pub(crate) related: bool,
}

/// What all fragments of a packet have in common: where they come from, addresses, identification, and in IPv4 the
/// protocol (RFC 791). In IPv6 each fragment header names a next header of its own, and only the first one's counts
/// (RFC 8200, section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PacketId {
    zone: Zone,
    tuple: Tuple,
    identification: u32,
}

impl PacketId {
    pub(crate) fn new(zone: Zone, packet: &IpPacket, identification: u32) -> Self {
        let tuple = match packet.tuple.family() {
            Family::V4 => packet.tuple.with_ports(0, 0),
            Family::V6 => packet.tuple.with_ports(0, 0).with_protocol(0),
        };
        Self { zone, tuple, identification }
    }
}

#[derive(Clone, Copy, Debug)]
struct Record {
    packet: PacketId,
    first: First,
    deadline: Time,
}

/// Fragmented packets whose first fragment was forwarded a short time ago. Of fixed size; when an interface has its
/// share, its own oldest record gives way, never another's.
#[derive(Debug)]
pub(crate) struct FragmentTable {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    index: Index,
    hasher: KeyHasher,
    /// All records, oldest first: the order in which they expire.
    by_age: Chain,
    age_links: Links,
    shares: ByInterface<Share>,
    share_links: Links,
    capacity: u32,
    per_interface: NonZeroU32,
    lifetime: Duration,
}

#[derive(Debug, Default)]
struct Share {
    records: u32,
    by_age: Chain,
}

impl FragmentTable {
    pub(crate) fn new(limits: FragmentLimits, lifetime: Duration, hasher: KeyHasher) -> Self {
        let room = limits.table_size.get() as usize;
        Self {
            records: Vec::with_capacity(room),
            free: Vec::with_capacity(room),
            index: Index::with_capacity(room),
            hasher,
            by_age: Chain::default(),
            age_links: Links::with_capacity(room),
            shares: ByInterface::default(),
            share_links: Links::with_capacity(room),
            capacity: limits.table_size.get(),
            per_interface: limits.per_interface,
            lifetime,
        }
    }

    /// What the packet's first fragment belonged to, if that is known.
    pub(crate) fn find(&mut self, now: Time, packet: &PacketId) -> Option<First> {
        self.expire(now);
        let at = self.position(packet)?;
        self.records.get(at as usize)?.map(|record| record.first)
    }

    /// Remembers what a packet's first fragment belonged to.
    pub(crate) fn record(&mut self, now: Time, packet: PacketId, first: First) {
        self.expire(now);
        if let Some(at) = self.position(&packet) {
            self.remove(at);
        }
        let interface = packet.zone.interface();
        let share = self.shares.entry(interface).or_default();
        if (share.records >= self.per_interface.get() || self.is_full())
            && let Some(oldest) = self.shares.get(&interface).and_then(|s| s.by_age.first())
        {
            self.remove(oldest);
        }
        let Some(at) = self.place() else {
            return;
        };
        if !self.index.insert(self.hash(&packet), at) {
            self.free.push(at);
            return;
        }
        let record = Record { packet, first, deadline: now + self.lifetime };
        if let Some(place) = self.records.get_mut(at as usize) {
            *place = Some(record);
        }
        self.age_links.push_back(&mut self.by_age, at);
        let share = self.shares.entry(interface).or_default();
        share.records = share.records.saturating_add(1);
        self.share_links.push_back(&mut share.by_age, at);
    }

    /// Forgets interfaces that are neither known nor have records left.
    pub(crate) fn retain(&mut self, is_known: impl Fn(InterfaceId) -> bool) {
        self.shares.retain(|id, share| share.records > 0 || is_known(*id));
    }

    fn is_full(&self) -> bool {
        self.free.is_empty() && self.records.len() >= self.capacity as usize
    }

    fn place(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            (!self.is_full()).then(|| {
                self.records.push(None);
                (self.records.len() as u32).saturating_sub(1)
            })
        })
    }

    fn hash(&self, packet: &PacketId) -> u64 {
        let tuple = packet
            .tuple
            .with_ports((packet.identification >> 16) as u16, packet.identification as u16);
        self.hasher.hash(&(&Key { zone: packet.zone, tuple }).into())
    }

    fn position(&self, packet: &PacketId) -> Option<u32> {
        self.index.find(self.hash(packet), |at| {
            self.records
                .get(at as usize)
                .is_some_and(|record| record.is_some_and(|record| record.packet == *packet))
        })
    }

    fn expire(&mut self, now: Time) {
        while let Some(oldest) = self.by_age.first() {
            let deadline = self.records.get(oldest as usize).copied().flatten().map(|r| r.deadline);
            if deadline.is_some_and(|deadline| now < deadline) {
                return;
            }
            self.remove(oldest);
        }
    }

    fn remove(&mut self, at: u32) {
        let Some(record) = self.records.get_mut(at as usize).and_then(Option::take) else {
            return;
        };
        self.index.remove(self.hash(&record.packet), at);
        self.age_links.remove(&mut self.by_age, at);
        if let Some(share) = self.shares.get_mut(&record.packet.zone.interface()) {
            share.records = share.records.saturating_sub(1);
            self.share_links.remove(&mut share.by_age, at);
        }
        self.free.push(at);
    }
}

#[cfg(test)]
mod tests {
    use model::decision::Side;
    use packet::{Ecn, Fragment, Transport};

    use super::super::settings::TableSize;
    use super::*;

    fn packet(last_octet: u8) -> IpPacket {
        IpPacket {
            tuple: Tuple::v4([10, 0, 0, 1], [10, 0, 0, last_octet], 17, 0, 0),
            transport: Transport::LaterFragment,
            fragment: Fragment::Later(7),
            network_offset: 14,
            transport_offset: 34,
            end: 60,
            ttl: 64,
            ecn: Ecn::NotEct,
            plain: true,
            dont_fragment: false,
        }
    }

    fn table(size: u32, per_interface: u32) -> FragmentTable {
        let limits = FragmentLimits {
            table_size: TableSize::try_from(size).unwrap(),
            per_interface: NonZeroU32::new(per_interface).unwrap(),
        };
        FragmentTable::new(limits, Duration::from_nanos(30), KeyHasher::new(1))
    }

    fn zone(interface: u32) -> Zone {
        Zone::new(InterfaceId(interface), Side::FromVm)
    }

    fn first(zone: Zone, port: u16) -> First {
        First { key: Key { zone, tuple: packet(2).tuple.with_ports(port, port) }, related: false }
    }

    #[test]
    fn lives_exactly_so_long() {
        let mut table = table(4, 4);
        let id = PacketId::new(zone(1), &packet(2), 7);
        assert_eq!(table.find(Time(0), &id), None);
        table.record(Time(5), id, first(zone(1), 80));
        assert_eq!(table.find(Time(34), &id), Some(first(zone(1), 80)));
        assert_eq!(table.find(Time(34), &PacketId::new(zone(1), &packet(2), 8)), None);
        assert_eq!(table.find(Time(34), &PacketId::new(zone(2), &packet(2), 7)), None);
        assert_eq!(table.find(Time(34), &PacketId::new(zone(1), &packet(3), 7)), None);
        table.record(Time(34), id, first(zone(1), 81));
        assert_eq!(table.find(Time(63), &id), Some(first(zone(1), 81)));
        assert_eq!(table.find(Time(64), &id), None);
    }

    #[test]
    fn a_flood_costs_only_its_own_interface() {
        let mut table = table(6, 4);
        let id = |interface, n| PacketId::new(zone(interface), &packet(2), n);
        table.record(Time(0), id(1, 0), first(zone(1), 1));
        for n in 0..100 {
            table.record(Time(1), id(2, n), first(zone(2), 2));
        }
        assert!(table.find(Time(2), &id(1, 0)).is_some());
        let kept: Vec<u32> =
            (0..100).filter(|n| table.find(Time(2), &id(2, *n)).is_some()).collect();
        assert_eq!(kept, [96, 97, 98, 99]);
        table.record(Time(3), id(3, 0), first(zone(3), 3));
        // Full, and this one has nothing of its own to give.
        table.record(Time(3), id(4, 0), first(zone(4), 4));
        assert_eq!(table.find(Time(3), &id(4, 0)), None);
        assert!(table.find(Time(3), &id(3, 0)).is_some());
        // A full table: the own oldest gives way below the share too.
        table.record(Time(3), id(1, 1), first(zone(1), 1));
        assert_eq!(table.find(Time(3), &id(1, 0)), None);
        assert!(table.find(Time(3), &id(1, 1)).is_some());
    }
}
