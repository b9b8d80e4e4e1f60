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
    sets: Vec<[Option<Neighbor>; WAYS]>,
}

/// Who wants a neighbour entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrant {
    /// We need it for a packet.
    Wanted,
    /// It talked to us.
    Stranger,
}

impl Table {
    pub fn new() -> Self {
        Self { sets: vec![[None; WAYS]; SETS] }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Neighbor> {
        self.sets.iter().flatten().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Neighbor> {
        self.sets.iter_mut().flatten().flatten()
    }

    pub fn get(&mut self, address: IpAddr) -> Option<&mut Neighbor> {
        self.places(address).iter_mut().flatten().find(|neighbor| neighbor.address == address)
    }

    /// The neighbour with this address, entered now if it is new. `version` moves when a known one has to give way.
    /// `None` for a stranger where only wanted neighbours could give way: strangers are free to invent, and must not
    /// push out the neighbours that traffic goes to.
    pub fn enter(
        &mut self,
        address: IpAddr,
        entrant: Entrant,
        now: Time,
        version: &mut u64,
    ) -> Option<&mut Neighbor> {
        let places = self.places(address);
        let is_it = |place: &Option<Neighbor>| place.is_some_and(|n| n.address == address);
        // In this order: the neighbour itself, a free place, strangers, those not needed for the longest time.
        let place = match places.iter().position(is_it) {
            Some(index) => places.get_mut(index),
            None => places
                .iter_mut()
                .min_by_key(|place| place.map(|neighbor| (neighbor.wanted, neighbor.touched))),
        }?;
        if let Some(other) = *place
            && other.address != address
        {
            if entrant == Entrant::Stranger && other.wanted {
                return None;
            }
            if other.mac.is_some() {
                *version = version.wrapping_add(1);
            }
            *place = None;
        }
        let neighbor = place.get_or_insert(Neighbor {
            address,
            mac: None,
            confirmed: now,
            asked: None,
            touched: now,
            wanted: false,
        });
        if entrant == Entrant::Wanted {
            neighbor.wanted = true;
            neighbor.touched = now;
        }
        Some(neighbor)
    }

    /// Where the address may stand.
    fn places(&mut self, address: IpAddr) -> &mut [Option<Neighbor>] {
        // Fibonacci hashing of the folded address: neighbours of a link differ in their low bits.
        let bits = match address {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
        };
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        self.sets.get_mut(hash as usize % SETS).map_or(&mut [], |set| set.as_mut_slice())
    }
}
