//! A hash index of fixed size: from a hash to the number of an entry whose key lies elsewhere.
//!
//! Buckets are a cache line each, with eight entries and a tag of 16 bits of each entry's hash. An entry is in one of two buckets, which is all
//! that a search ever looks at, whatever the keys are; an insertion into two full buckets moves others to their other bucket (a
//! cuckoo hash table whose second bucket follows from the first and the tag, so that no key is needed for moving). Removal
//! leaves nothing behind; nothing is allocated after creation.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::datapath::memory::{Memory, prefetch};

/// Entries of a bucket.
const LANES: u32 = 8;
/// How full the index is at most, in hundredths: displacement then needs a step or two.
const FILLING: usize = 85;
/// How many entries are moved at most to make room for one.
const MOVES: u32 = 3;

/// A tag for each lane, 0 where it is empty, and the entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u64; 2],
    entries: [u32; LANES as usize],
    unused: [u32; 4],
}

impl Bucket {
    /// The lanes with a tag, as bits.
    #[inline]
    fn lanes(&self, tag: u16) -> Lanes {
        // Bit 15 of each 16 bits that are zero, exactly.
        let zeros = |word: u64| {
            const LOW: u64 = 0x7fff_7fff_7fff_7fff;
            let word = word ^ (u64::from(tag) * 0x0001_0001_0001_0001);
            !(((word & LOW) + LOW) | word | LOW)
        };
        let [low, high] = self.tags;
        // 8 lanes in 64 bits: those of the upper word one bit below those of the lower.
        Lanes(zeros(low) | zeros(high) >> 1)
    }

    /// The first lane with a tag.
    #[inline]
    fn first_lane(&self, tag: u16) -> Option<u32> {
        // Bit 15 of each 16 bits that are zero, and, above the lowest of these, perhaps of others.
        let zeros = |word: u64| {
            let word = word ^ (u64::from(tag) * 0x0001_0001_0001_0001);
            word.wrapping_sub(0x0001_0001_0001_0001) & !word & 0x8000_8000_8000_8000
        };
        let [low, high] = self.tags;
        let (low, high) = (zeros(low), zeros(high));
        match (low, high) {
            (0, 0) => None,
            (0, _) => Some(4 + high.trailing_zeros() / 16),
            _ => Some(low.trailing_zeros() / 16),
        }
    }

    fn free_lane(&self) -> Option<u32> {
        self.lanes(0).next()
    }

    #[inline]
    fn entry(&self, lane: u32) -> u32 {
        self.entries.get(lane as usize).copied().unwrap_or_default()
    }

    fn tag(&self, lane: u32) -> u16 {
        let word = self.tags.get(lane as usize / 4).copied().unwrap_or_default();
        (word >> (lane % 4 * 16)) as u16
    }

    fn set(&mut self, lane: u32, tag: u16, entry: u32) {
        let shift = lane % 4 * 16;
        if let (Some(word), Some(place)) =
            (self.tags.get_mut(lane as usize / 4), self.entries.get_mut(lane as usize))
        {
            *word = *word & !(0xffff << shift) | u64::from(tag) << shift;
            *place = entry;
        }
    }
}

/// Lanes of a bucket, lowest bits first.
struct Lanes(u64);

impl Iterator for Lanes {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        // Bit 15 of a lane of the lower word, bit 14 of one of the upper.
        Some(bit / 16 + if bit % 16 == 15 { 0 } else { 4 })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    buckets: Memory<Bucket>,
    count: u32,
}

impl Index {
    /// An index for at most `entries` entries.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        let lanes = entries.saturating_mul(100).div_ceil(FILLING);
        let count = lanes.div_ceil(LANES as usize).max(2);
        Self { buckets: Memory::zeroed(count), count: count as u32 }
    }

    /// Has a hash's first bucket fetched into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(self.home(hash)) {
            prefetch(bucket);
        }
    }

    /// The first entry that may have this hash, for fetching it ahead. If only the second bucket can have it, that one is fetched.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<u32> {
        let (home, tag) = (self.home(hash), tag_of(hash));
        let bucket = self.buckets.get(home)?;
        if let Some(lane) = bucket.first_lane(tag) {
            return Some(bucket.entry(lane));
        }
        prefetch(self.buckets.get(self.other(home, tag))?);
        None
    }

    /// The first entry of a hash's second bucket that may have it.
    #[inline]
    pub(crate) fn other_candidate(&self, hash: u64) -> Option<u32> {
        let tag = tag_of(hash);
        let bucket = self.buckets.get(self.other(self.home(hash), tag))?;
        bucket.first_lane(tag).map(|lane| bucket.entry(lane))
    }

    /// The entry with this hash that `is_match` accepts.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_match: impl FnMut(u32) -> bool) -> Option<u32> {
        let (home, tag) = (self.home(hash), tag_of(hash));
        let mut look = |number| {
            let bucket = self.buckets.get(number)?;
            bucket.lanes(tag).map(|lane| bucket.entry(lane)).find(|entry| is_match(*entry))
        };
        look(home).or_else(|| look(self.other(home, tag)))
    }

    /// Adds an entry; `false` when no room can be made for it, which happens to no caller who keeps to the capacity, unless
    /// very many entries have the same hash.
    pub(crate) fn insert(&mut self, hash: u64, entry: u32) -> bool {
        let (home, tag) = (self.home(hash), tag_of(hash));
        for moves in 0..=MOVES {
            for number in [home, self.other(home, tag)] {
                if let Some(lane) = self.make_room(number, moves)
                    && let Some(bucket) = self.buckets.get_mut(number)
                {
                    bucket.set(lane, tag, entry);
                    return true;
                }
            }
        }
        false
    }

    /// Removes exactly this entry under this hash, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, entry: u32) {
        let (home, tag) = (self.home(hash), tag_of(hash));
        for number in [home, self.other(home, tag)] {
            if let Some(bucket) = self.buckets.get_mut(number)
                && let Some(lane) = bucket.lanes(tag).find(|lane| bucket.entry(*lane) == entry)
            {
                bucket.set(lane, 0, 0);
                return;
            }
        }
    }

    /// A free lane of a bucket, after so many moves of entries to their other bucket, one making room for the next.
    fn make_room(&mut self, number: u32, moves: u32) -> Option<u32> {
        let bucket = self.buckets.get(number)?;
        if let Some(lane) = bucket.free_lane() {
            return Some(lane);
        }
        let below = moves.checked_sub(1)?;
        for lane in 0..LANES {
            let tag = self.buckets.get(number)?.tag(lane);
            if tag == 0 {
                // Moves further on have come back here.
                return Some(lane);
            }
            let other = self.other(number, tag);
            if other == number {
                continue;
            }
            if let Some(room) = self.make_room(other, below) {
                // Read again: it may have been moved, or another taken its place.
                let bucket = self.buckets.get_mut(number)?;
                let (tag, entry) = (bucket.tag(lane), bucket.entry(lane));
                if tag == 0 {
                    return Some(lane);
                }
                if self.other(number, tag) != other {
                    continue;
                }
                self.buckets.get_mut(number)?.set(lane, 0, 0);
                self.buckets.get_mut(other)?.set(room, tag, entry);
                return Some(lane);
            }
        }
        None
    }

    /// The first of a hash's two buckets.
    #[inline]
    fn home(&self, hash: u64) -> u32 {
        self.scale(hash as u32)
    }

    /// The other bucket of an entry with this tag that is in, or could be in, `number`.
    #[inline]
    fn other(&self, number: u32, tag: u16) -> u32 {
        let sum = self.scale(u32::from(tag).wrapping_mul(0x9e37_79b1));
        if sum >= number {
            sum.wrapping_sub(number)
        } else {
            sum.wrapping_add(self.count).wrapping_sub(number)
        }
    }

    /// A number below the count of buckets, in proportion.
    #[inline]
    fn scale(&self, number: u32) -> u32 {
        ((u64::from(number) * u64::from(self.count)) >> 32) as u32
    }

    /// See [`Memory::use_huge_pages`].
    pub(crate) fn use_huge_pages(&self) {
        self.buckets.use_huge_pages();
    }
}

/// Never 0, which is an empty lane's.
#[inline]
fn tag_of(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn entries(index: &Index) -> usize {
        (0..index.count)
            .filter_map(|number| index.buckets.get(number))
            .map(|bucket| (0..LANES).filter(|lane| bucket.tag(*lane) != 0).count())
            .sum()
    }

    proptest! {
        // Few buckets and tags, so that entries are moved a lot.
        #[test]
        fn behaves_like_a_set(
            operations in prop::collection::vec((any::<bool>(), 0_u32..40), 0..300),
            seed in any::<u64>(),
        ) {
            let hash_of = |entry: u32| {
                let hash = (u64::from(entry) + 1).wrapping_mul(seed | 1);
                hash ^ hash >> 17
            };
            let mut index = Index::with_capacity(40);
            let mut model = BTreeSet::new();
            for (insert, entry) in operations {
                if insert && !model.contains(&entry) {
                    if index.insert(hash_of(entry), entry) {
                        model.insert(entry);
                    }
                } else if !insert {
                    model.remove(&entry);
                    index.remove(hash_of(entry), entry);
                }
                for entry in 0..40 {
                    let found = index.find(hash_of(entry), |e| e == entry);
                    prop_assert_eq!(found.is_some(), model.contains(&entry));
                }
            }
            prop_assert_eq!(entries(&index), model.len());
        }
    }

    proptest! {
        #[test]
        fn the_first_lane_is_the_first(mut tags: [u16; 8], tag: u16, near in 0_u8..=255, equal in 0_u8..=255) {
            for (lane, place) in tags.iter_mut().enumerate() {
                if near >> lane & 1 == 1 {
                    *place = tag ^ 1;
                }
                if equal >> lane & 1 == 1 {
                    *place = tag;
                }
            }
            let mut bucket = Bucket { tags: [0; 2], entries: [0; 8], unused: [0; 4] };
            for (lane, tag) in (0..).zip(tags) {
                bucket.set(lane, tag, 0);
            }
            prop_assert_eq!(bucket.first_lane(tag), bucket.lanes(tag).min());
            let first = tags.iter().position(|other| *other == tag);
            prop_assert_eq!(bucket.first_lane(tag).map(|lane| lane as usize), first);
        }
    }

    fn random(number: u64) -> u64 {
        let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Filled to the brim, emptied by half and filled again, thrice.
    #[test]
    fn takes_as_much_as_it_should() {
        const ENTRIES: u32 = 200_000;
        let mut index = Index::with_capacity(ENTRIES as usize);
        for round in 0..3_u64 {
            let hash = |entry: u32, round: u64| random(u64::from(entry) | round << 32);
            for entry in 0..ENTRIES {
                if round == 0 || entry % 2 == 1 {
                    if round > 0 {
                        index.remove(hash(entry, round - 1), entry);
                    }
                    assert!(index.insert(hash(entry, round), entry), "{round} {entry}");
                }
            }
            assert_eq!(entries(&index), ENTRIES as usize);
            for entry in 0..ENTRIES {
                let round = if entry % 2 == 1 { round } else { 0 };
                assert_eq!(index.find(hash(entry, round), |e| e == entry), Some(entry));
            }
        }
    }

    /// What an attacker could do at most who knew the seed: a search stays within two buckets.
    #[test]
    fn equal_hashes_fill_two_buckets_and_no_more() {
        let mut index = Index::with_capacity(1000);
        let taken = (0..100).filter(|entry| index.insert(0x1234_5678_9abc_def0, *entry)).count();
        assert_eq!(taken, 16);
        let mut asked = 0;
        assert_eq!(
            index.find(0x1234_5678_9abc_def0, |_| {
                asked += 1;
                false
            }),
            None
        );
        assert_eq!(asked, 16);
        // Others do not suffer.
        for entry in 1000..1900 {
            assert!(index.insert(random(entry), entry as u32));
        }
    }
}
