//! Fragments follow their first one.

use std::collections::HashMap;

use super::{SECOND, Zone};
use crate::interpreter::Time;

/// How long a first fragment is remembered.
const REMEMBERED: Time = 30 * SECOND;

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
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// The packet's identification.
    pub identification: u32,
    /// And of which family.
    pub family: Family,
}

/// What only the first fragment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Protocol.
    pub protocol: u8,
}

/// First fragments.
#[derive(Default)]
pub struct Fragments {
    first: HashMap<Fragment, (Ports, Time)>,
}

impl Fragments {
    /// A first fragment passed.
    pub fn remember(&mut self, fragment: Fragment, ports: Ports, now: Time) {
        self.first.insert(fragment, (ports, now));
    }

    /// What the first one said, if it is remembered.
    pub fn find(&mut self, fragment: Fragment, now: Time) -> Option<Ports> {
        self.first.retain(|_, (_, since)| now.saturating_sub(*since) < REMEMBERED);
        self.first.get(&fragment).map(|(ports, _)| *ports)
    }
}
