//! A hash index of fixed size: from a hash to the number of an entry whose key lies elsewhere.
//!
//! Open addressing with linear probing; removal shifts entries back, so there are no tombstones, no rehash and no
//! allocation after creation.

/// Slots hold the hash in the upper half and the entry plus one in the lower; 0 is empty.
#[derive(Debug)]
pub(crate) struct Index {
    slots: Vec<u64>,
    mask: usize,
}

impl Index {
    /// An index for at most `entries` entries, which then fills half of it at most.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        let slots = entries.saturating_mul(2).max(2).next_power_of_two();
        Self { slots: vec![0; slots], mask: slots - 1 }
    }

    /// The entry with this hash that `is_match` accepts.
    pub(crate) fn find(&self, hash: u32, mut is_match: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        for _ in 0..self.slots.len() {
            let slot = self.slot(at)?;
            if slot.hash == hash && is_match(slot.entry) {
                return Some(slot.entry);
            }
            at = self.after(at);
        }
        None
    }

    /// Adds an entry; the caller keeps to the capacity.
    pub(crate) fn insert(&mut self, hash: u32, entry: u32) {
        let mut at = self.home(hash);
        for _ in 0..self.slots.len() {
            if self.slot(at).is_none() {
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = Slot { hash, entry }.pack();
                }
                return;
            }
            at = self.after(at);
        }
    }

    /// Removes exactly this entry under this hash, if it is there.
    pub(crate) fn remove(&mut self, hash: u32, entry: u32) {
        let mut at = self.home(hash);
        for _ in 0..self.slots.len() {
            match self.slot(at) {
                None => return,
                Some(slot) if slot == (Slot { hash, entry }) => return self.close_gap(at),
                Some(_) => at = self.after(at),
            }
        }
    }

    /// Empties `gap`, moving back whatever probing would no longer find beyond it.
    fn close_gap(&mut self, mut gap: usize) {
        let mut at = self.after(gap);
        while let Some(slot) = self.slot(at) {
            let from_home = at.wrapping_sub(self.home(slot.hash)) & self.mask;
            let from_gap = at.wrapping_sub(gap) & self.mask;
            if from_home >= from_gap {
                if let Some(free) = self.slots.get_mut(gap) {
                    *free = slot.pack();
                }
                gap = at;
            }
            at = self.after(at);
        }
        if let Some(free) = self.slots.get_mut(gap) {
            *free = 0;
        }
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & self.mask
    }

    fn after(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.mask
    }

    fn slot(&self, at: usize) -> Option<Slot> {
        self.slots.get(at).copied().and_then(Slot::unpack)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot {
    hash: u32,
    entry: u32,
}

impl Slot {
    fn pack(self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.entry.wrapping_add(1))
    }

    fn unpack(bits: u64) -> Option<Self> {
        (bits != 0)
            .then_some(Self { hash: (bits >> 32) as u32, entry: (bits as u32).wrapping_sub(1) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Few hashes, so that chains of probes overlap and wrap around.
        #[test]
        fn behaves_like_a_set(
            operations in prop::collection::vec((any::<bool>(), 0_u32..40, 0_u32..8), 0..300),
        ) {
            let hash_of = |entry: u32, spread: u32| (entry % 5).wrapping_mul(spread).wrapping_sub(2);
            for spread in [1, 3, 0x0100_0001] {
                let mut index = Index::with_capacity(40);
                let mut model = BTreeSet::new();
                for &(insert, entry, _) in &operations {
                    let hash = hash_of(entry, spread);
                    if insert && model.insert(entry) {
                        index.insert(hash, entry);
                    } else if !insert {
                        model.remove(&entry);
                        index.remove(hash, entry);
                    }
                }
                for entry in 0..40 {
                    let found = index.find(hash_of(entry, spread), |e| e == entry);
                    prop_assert_eq!(found.is_some(), model.contains(&entry));
                }
                prop_assert_eq!(index.slots.iter().filter(|s| **s != 0).count(), model.len());
            }
        }
    }
}
