//! Where the addresses of a VPC are.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use packet::VtepAddr;

use super::Mapping;

/// Where the addresses of a VPC are.
#[derive(Debug)]
pub struct Mappings {
    /// Moves when anything in here changes, and when the VPC's MTU or a subnet's prefixes or gateway MAC do: all that
    /// a decision takes from a VPC besides policy and routes.
    pub generation: u32,
    pub(crate) by_address: MappingTable,
    /// VTEPs with an interface that may send for any address (`antiSpoof: false`).
    pub(crate) open_vteps: Vec<VtepAddr>,
}

impl Mappings {
    /// Where an overlay address is.
    #[must_use]
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<&Mapping> {
        self.by_address.get(address)
    }

    /// All overlay addresses, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Mapping)> {
        self.by_address.iter()
    }

    /// VTEPs that may send packets whatever their inner source.
    #[must_use]
    pub fn open_vteps(&self) -> &[VtepAddr] {
        &self.open_vteps
    }

    /// Whether a VTEP may send packets whose inner source is `inner`: the owner's VTEP, or that of an interface
    /// with `antiSpoof: false`.
    #[must_use]
    pub fn admits(&self, inner: IpAddr, vtep: IpAddr) -> bool {
        self.lookup(inner).is_some_and(|m| m.vtep.ip() == vtep)
            || self.open_vteps.iter().any(|v| v.ip() == vtep)
    }
}

/// Addresses with their mappings, in parts that a changed copy shares with the table it is a copy of: a change costs a
/// part, not the table.
#[derive(Debug, Clone)]
pub(crate) struct MappingTable {
    /// A power of two of them; which one an address is in follows from its hash.
    parts: Vec<Arc<HashTable<(IpAddr, Mapping)>>>,
    hasher: DefaultHashBuilder,
    len: usize,
}

impl MappingTable {
    /// Entries of a part, on average, of a table that is as large as it was asked for.
    const PART: usize = 512;

    /// An empty table, with room for so many.
    pub(crate) fn new(room: usize) -> Self {
        let count = (room / Self::PART).next_power_of_two();
        let room = if room == 0 { 0 } else { Self::PART * 5 / 4 };
        let part = |_| Arc::new(HashTable::with_capacity(room));
        let parts = (0..count).map(part).collect();
        Self { parts, hasher: DefaultHashBuilder::default(), len: 0 }
    }

    /// The low bits of a hash are the part's own affair, and so are the topmost.
    #[inline]
    fn part_of(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.parts.len() - 1)
    }

    #[inline]
    pub(crate) fn get(&self, address: IpAddr) -> Option<&Mapping> {
        let hash = self.hasher.hash_one(address);
        let part = self.parts.get(self.part_of(hash))?;
        part.find(hash, |(other, _)| *other == address).map(|(_, mapping)| mapping)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, &Mapping)> {
        self.parts.iter().flat_map(|part| part.iter()).map(|(address, mapping)| (*address, mapping))
    }

    /// Puts a mapping in, in place of what the address had.
    pub(crate) fn insert(&mut self, address: IpAddr, mapping: Mapping) {
        if self.len >= self.parts.len() * Self::PART * 4 {
            self.grow();
        }
        let hash = self.hasher.hash_one(address);
        let (place, hasher) = (self.part_of(hash), &self.hasher);
        let Some(part) = self.parts.get_mut(place).map(Arc::make_mut) else { return };
        if let Some(entry) = part.find_mut(hash, |(other, _)| *other == address) {
            entry.1 = mapping;
        } else {
            part.insert_unique(hash, (address, mapping), |(address, _)| hasher.hash_one(address));
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, address: IpAddr) {
        let hash = self.hasher.hash_one(address);
        let place = self.part_of(hash);
        let Some(part) = self.parts.get_mut(place).map(Arc::make_mut) else { return };
        if let Ok(entry) = part.find_entry(hash, |(other, _)| *other == address) {
            entry.remove();
            self.len -= 1;
        }
    }

    /// More parts, so that each stays small.
    fn grow(&mut self) {
        let mut larger = Self::new(self.len * 4);
        self.iter().for_each(|(address, mapping)| larger.insert(address, *mapping));
        *self = larger;
    }
}

impl PartialEq for MappingTable {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self.iter().all(|(address, mapping)| other.get(address) == Some(mapping))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use packet::Mac;
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::{InterfaceId, Location, SubnetIndex};

    fn mapping(number: u32) -> Mapping {
        Mapping {
            location: Location::Local(InterfaceId(number)),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            subnet: SubnetIndex(0),
            vtep: VtepAddr::try_from(IpAddr::from([192, 0, 2, 1])).expect("unicast"),
        }
    }

    fn content(table: &MappingTable) -> BTreeMap<IpAddr, Mapping> {
        table.iter().map(|(address, mapping)| (address, *mapping)).collect()
    }

    proptest! {
        #[test]
        fn a_copy_changes_and_the_original_does_not(
            room in prop_oneof![Just(0_usize), Just(5000)],
            first in prop::collection::vec(any::<u16>(), 0..200),
            steps in prop::collection::vec((any::<u16>(), any::<bool>()), 0..200),
        ) {
            let address = |number: u16| IpAddr::from([10, 0, number.to_be_bytes()[0] % 4, number.to_be_bytes()[1] % 32]);
            let mut table = MappingTable::new(room);
            let mut expected = BTreeMap::new();
            for number in first {
                table.insert(address(number), mapping(number.into()));
                expected.insert(address(number), mapping(number.into()));
            }
            let (original, before) = (table.clone(), expected.clone());
            for (number, put) in steps {
                if put {
                    table.insert(address(number), mapping(u32::from(number) + 1));
                    expected.insert(address(number), mapping(u32::from(number) + 1));
                } else {
                    table.remove(address(number));
                    expected.remove(&address(number));
                }
            }
            prop_assert_eq!(content(&table), expected.clone());
            prop_assert!(expected.iter().all(|(address, mapping)| table.get(*address) == Some(mapping)));
            prop_assert_eq!(content(&original), before);
            prop_assert_eq!(table == original, content(&table) == content(&original));
        }
    }

    #[test]
    fn a_table_that_grows_keeps_its_parts_small() {
        let mut table = MappingTable::new(0);
        for number in 0..20_000_u32 {
            table.insert(IpAddr::V4(number.into()), mapping(number));
        }
        assert_eq!(table.iter().count(), 20_000);
        let largest = table.parts.iter().map(|part| part.len()).max();
        assert!(largest.is_some_and(|largest| largest < MappingTable::PART * 6), "{largest:?}");
    }
}
