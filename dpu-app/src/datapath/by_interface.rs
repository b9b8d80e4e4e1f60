//! A map from interfaces of this node to something small.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use model::snapshot::InterfaceId;

/// A map from interfaces to `T`. It grows when an interface is seen for the first time.
pub(crate) type ByInterface<T> = HashMap<InterfaceId, T, BuildHasherDefault<IdHasher>>;

/// Interface ids are given out by us, one after the other: spreading them over the table is all that hashing must do.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
