//! VTEPs by number, so that a connection keeps one in four bytes.

use std::collections::HashMap;
use std::net::IpAddr;

use packet::{AddressWords, address_words};

/// The number of a VTEP; 0 is none.
pub(super) type VtepNumber = u32;

#[derive(Debug)]
struct Known {
    address: IpAddr,
    words: AddressWords,
    connections: u32,
}

/// The VTEPs that connections' packets came from. Intent bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct Vteps {
    /// By number less one; those that no connection has are free.
    known: Vec<Known>,
    numbers: HashMap<IpAddr, VtepNumber>,
    free: Vec<VtepNumber>,
}

impl Vteps {
    /// A VTEP.
    #[inline]
    pub(super) fn get(&self, number: VtepNumber) -> Option<IpAddr> {
        self.known.get(number.checked_sub(1)? as usize).map(|known| known.address)
    }

    /// Whether this is the VTEP with that number.
    #[inline]
    pub(super) fn is(&self, number: VtepNumber, words: &AddressWords) -> bool {
        // 0, which is none, becomes the largest number.
        self.known.get(number.wrapping_sub(1) as usize).is_some_and(|known| known.words == *words)
    }

    /// The number of a VTEP, for one more connection.
    pub(super) fn acquire(&mut self, address: IpAddr) -> VtepNumber {
        if let Some(number) = self.numbers.get(&address).copied() {
            if let Some(known) = self.known.get_mut(number as usize - 1) {
                known.connections = known.connections.saturating_add(1);
            }
            return number;
        }
        let known = Known { address, words: address_words(address), connections: 1 };
        let number = if let Some(number) = self.free.pop() {
            if let Some(place) = self.known.get_mut(number as usize - 1) {
                *place = known;
            }
            number
        } else {
            self.known.push(known);
            self.known.len() as VtepNumber
        };
        self.numbers.insert(address, number);
        number
    }

    /// A connection no longer has this one.
    pub(super) fn release(&mut self, number: VtepNumber) {
        let Some(at) = number.checked_sub(1) else {
            return;
        };
        if let Some(known) = self.known.get_mut(at as usize) {
            known.connections = known.connections.saturating_sub(1);
            if known.connections == 0 {
                self.numbers.remove(&known.address);
                self.free.push(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_when_nobody_has_them() {
        let mut vteps = Vteps::default();
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let (one, two) = (vteps.acquire(address(1)), vteps.acquire(address(2)));
        assert_eq!(vteps.acquire(address(1)), one);
        assert_ne!(one, two);
        vteps.release(one);
        assert_eq!(vteps.get(one), Some(address(1)));
        vteps.release(one);
        assert_eq!(vteps.acquire(address(3)), one);
        assert_eq!((vteps.get(one), vteps.get(two)), (Some(address(3)), Some(address(2))));
        assert!(vteps.is(one, &address_words(address(3))));
        assert!(!vteps.is(two, &address_words(address(3))) && !vteps.is(0, &[0; 2]));
        assert_eq!(vteps.get(0), None);
    }
}
