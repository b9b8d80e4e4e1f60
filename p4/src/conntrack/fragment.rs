//! Fragments follow their first one.

use std::net::IpAddr;

use super::{Key, Limits, Zone};
use crate::interpreter::Time;

/// What makes fragments belong together beside addresses and identification.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// RFC 791: the protocol.
    V4 {
        /// The protocol.
        protocol: u8,
    },
    /// RFC 8200: nothing; later fragments may name another next header.
    V6,
}

/// What the fragments of one packet have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fragment {
    /// Where they come from.
    pub zone: Zone,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The packet's identification.
    pub identification: u32,
    /// And of which family.
    pub family: Family,
}

/// What a packet's first fragment belonged to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct First {
    /// The key of its connection.
    pub key: Key,
    /// Whether it was an error about that.
    pub related: bool,
}

/// First fragments, in the order in which they passed.
#[derive(Default)]
pub struct Fragments {
    first: Vec<(Fragment, First, Time)>,
}

impl Fragments {
    /// A first fragment passed. Where there are too many, the oldest one of the same interface makes room.
    pub fn remember(
        &mut self,
        fragment: Fragment,
        first: First,
        now: Time,
        timeout: Time,
        limits: &Limits,
    ) {
        self.expire(now, timeout);
        self.first.retain(|(other, ..)| *other != fragment);
        let interface = fragment.zone.interface;
        let is_own = |(other, ..): &(Fragment, First, Time)| other.zone.interface == interface;
        if self.first.iter().filter(|one| is_own(one)).count()
            >= limits.fragmented_packets_of_an_interface
            || self.first.len() >= limits.fragmented_packets
        {
            let Some(oldest) = self.first.iter().position(is_own) else { return };
            self.first.remove(oldest);
        }
        self.first.push((fragment, first, now));
    }

    /// What the first one belonged to, if it is remembered.
    pub fn find(&mut self, fragment: Fragment, now: Time, timeout: Time) -> Option<First> {
        self.expire(now, timeout);
        self.first.iter().find(|(other, ..)| *other == fragment).map(|(_, first, _)| *first)
    }

    fn expire(&mut self, now: Time, timeout: Time) {
        self.first.retain(|(_, _, since)| now.saturating_sub(*since) < timeout);
    }
}
