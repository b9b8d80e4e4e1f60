//! Hashing of words: what a packet is looked up by is a few of them, so that a hash must cost little more than loading them.

use std::hash::{BuildHasherDefault, Hasher};

/// Odd, and half of its bits are set: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of what was hashed to `hash` with another word: it is multiplied in, and both halves of the product count.
#[inline]
const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word) as u128 * FACTOR as u128;
    (product >> 64) as u64 ^ product as u64
}

/// The hash of a row of words.
#[inline]
pub fn hash(words: &[u64]) -> u64 {
    words.iter().fold(FACTOR, |hash, word| mix(hash, *word))
}

/// For maps by numbers.
pub type BuildMixer = BuildHasherDefault<Mixer>;

/// A hasher of numbers, the same in each run.
pub struct Mixer(u64);

impl Default for Mixer {
    fn default() -> Self {
        Self(FACTOR)
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_told_apart() {
        // hashbrown takes the low bits for the place and the high seven for a first look.
        let hashes: Vec<u64> = (0..4096).map(|number| hash(&[number << 24, 7])).collect();
        let places: std::collections::HashSet<u64> =
            hashes.iter().map(|hash| hash & 0xffff).collect();
        let looks: std::collections::HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(places.len() > 3800 && looks.len() == 128, "{} {}", places.len(), looks.len());
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
    }
}
