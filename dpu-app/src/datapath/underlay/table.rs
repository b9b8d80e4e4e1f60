//! Neighbours by address, in a table of fixed size.

use std::net::IpAddr;

use packet::Mac;

use crate::datapath::Time;

/// Places an address may stand in.
const WAYS: usize = 8;
/// Sets of such places: 4096 neighbours in all.
const SETS: usize = 512;

/// One neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Neighbor {
    pub address: IpAddr,
    /// Its MAC, once it is known.
    pub mac: Option<Mac>,
    /// When the MAC was last heard; meaningless without one.
    pub confirmed: Time,
    /// When it was last asked for it.
    pub asked: Option<Time>,
    /// When it was last needed (or came).
    pub touched: Time,
    /// Whether a packet ever had to go there; others only talked to us.
    pub wanted: bool,
}

/// A set-associative table: an address has [`WAYS`] places, and the least needed neighbour among them gives way.
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[[Option<Neighbor>; WAYS]; SETS]>,
}

impl Table {
    pub fn new() -> Self {
        Self { sets: Box::new([[None; WAYS]; SETS]) }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Neighbor> {
        self.sets.iter().flatten().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Neighbor> {
        self.sets.iter_mut().flatten().flatten()
    }

    pub fn get(&mut self, address: IpAddr) -> Option<&mut Neighbor> {
        self.set(address).iter_mut().flatten().find(|neighbor| neighbor.address == address)
    }

    /// The neighbour with this address, entered now if it is new. `version` moves when a known one has to give way.
    pub fn get_or_insert(&mut self, address: IpAddr, now: Time, version: &mut u64) -> &mut Neighbor {
        let set = self.set(address);
        let rank = |place: &Option<Neighbor>| {
            place.map(|neighbor| (neighbor.address == address, neighbor.wanted, neighbor.touched))
        };
        // The place that holds the address, or else the first in the order free, not wanted, longest not needed.
        let mut chosen = 0;
        let mut lowest = None;
        for (index, place) in set.iter().enumerate() {
            match rank(place) {
                Some((true, ..)) => {
                    chosen = index;
                    break;
                }
                rank if index == 0 || rank < lowest => (chosen, lowest) = (index, rank),
                _ => {}
            }
        }
        let place = &mut set[chosen % WAYS];
        if let Some(other) = *place
            && other.address != address
        {
            if other.mac.is_some() {
                *version = version.wrapping_add(1);
            }
            *place = None;
        }
        place.get_or_insert(Neighbor {
            address,
            mac: None,
            confirmed: now,
            asked: None,
            touched: now,
            wanted: false,
        })
    }

    fn set(&mut self, address: IpAddr) -> &mut [Option<Neighbor>; WAYS] {
        // Fibonacci hashing of the folded address: neighbours of a link differ in their low bits.
        let bits = match address {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
        };
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        &mut self.sets[hash as usize % SETS]
    }
}
