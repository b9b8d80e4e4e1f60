//! VTEPs by number, so that a connection keeps one in four bytes.

use std::collections::HashMap;
use std::net::IpAddr;

/// The number of a VTEP; 0 is none.
pub(super) type VtepNumber = u32;

/// The VTEPs that connections' packets came from. Intent bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct Vteps {
    /// By number less one, with how many connections have it; those of none are free.
    known: Vec<(IpAddr, u32)>,
    numbers: HashMap<IpAddr, VtepNumber>,
    free: Vec<VtepNumber>,
}

impl Vteps {
    /// A VTEP.
    #[inline]
    pub(super) fn get(&self, number: VtepNumber) -> Option<IpAddr> {
        self.known.get(number.checked_sub(1)? as usize).map(|(address, _)| *address)
    }

    /// The number of a VTEP, for one more connection.
    pub(super) fn acquire(&mut self, address: IpAddr) -> VtepNumber {
        if let Some(number) = self.numbers.get(&address).copied() {
            if let Some((_, users)) = self.known.get_mut(number as usize - 1) {
                *users = users.saturating_add(1);
            }
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.known.push((address, 0));
            self.known.len() as VtepNumber
        });
        if let Some(place) = self.known.get_mut(number as usize - 1) {
            *place = (address, 1);
        }
        self.numbers.insert(address, number);
        number
    }

    /// A connection no longer has this one.
    pub(super) fn release(&mut self, number: VtepNumber) {
        let Some(at) = number.checked_sub(1) else {
            return;
        };
        if let Some((address, users)) = self.known.get_mut(at as usize) {
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.numbers.remove(address);
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
        assert_eq!(vteps.get(0), None);
    }
}
