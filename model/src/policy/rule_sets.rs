//! Sets of rules that are asked for what they have in common.
//!
//! A set is written as its blocks of 4096 numbers: the block's number, one bit for each of its words that is not zero,
//! and those words. Two sets meet only in words that neither has as zero, so that sets of few rules are cheap to store
//! and to compare however many rules there are.

use std::cmp::Ordering;

/// Numbers of a word.
const WORD: u32 = u64::BITS;
/// Numbers of a block.
const BLOCK: u32 = WORD * WORD;
/// Bit of a block's head: no block of the set follows.
const LAST: u64 = 1 << 63;

/// A set of numbers that changes.
pub(super) struct NumberSet {
    words: Vec<u64>,
    /// For each block, its words that are not zero.
    present: Vec<u64>,
}

impl NumberSet {
    /// An empty set, for numbers below `count`.
    pub(super) fn new(count: usize) -> Self {
        let words = count.div_ceil(WORD as usize);
        Self { words: vec![0; words], present: vec![0; words.div_ceil(WORD as usize)] }
    }

    pub(super) fn insert(&mut self, number: u32) {
        self.words[(number / WORD) as usize] |= 1 << (number % WORD);
        self.present[(number / BLOCK) as usize] |= 1 << (number / WORD % WORD);
    }

    pub(super) fn remove(&mut self, number: u32) {
        let word = &mut self.words[(number / WORD) as usize];
        *word &= !(1 << (number % WORD));
        if *word == 0 {
            self.present[(number / BLOCK) as usize] &= !(1 << (number / WORD % WORD));
        }
    }

    fn clear(&mut self) {
        for (block, present) in (0..).step_by(WORD as usize).zip(&mut self.present) {
            ones(*present).for_each(|word| self.words[block + word as usize] = 0);
            *present = 0;
        }
    }

    /// The numbers, ascending.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..).step_by(WORD as usize).zip(&self.present).flat_map(move |(block, present)| {
            ones(*present).flat_map(move |word| {
                let word = block + word;
                ones(self.words[word as usize]).map(move |bit| word * WORD + bit)
            })
        })
    }

    /// Writes the set; equal sets equally.
    pub(super) fn write(&self, out: &mut Vec<u64>) {
        let mut head = None;
        for (number, present) in (0..).zip(&self.present).filter(|(_, present)| **present != 0) {
            head = Some(out.len());
            out.extend([number, *present]);
            let first = number as usize * WORD as usize;
            out.extend(ones(*present).map(|word| self.words[first + word as usize]));
        }
        match head.and_then(|at| out.get_mut(at)) {
            Some(head) => *head |= LAST,
            None => out.extend([LAST, 0]),
        }
    }
}

/// Places of the bits that are set, ascending.
fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(bit)
    })
}

/// A set in a [`RuleSets`]: where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetId(u32);

/// See the module.
#[derive(Debug)]
pub(super) struct RuleSets {
    words: Vec<u64>,
}

/// Sets while they are collected.
pub(super) struct SetWriter {
    words: Vec<u64>,
    /// Empty between two sets.
    set: NumberSet,
}

impl SetWriter {
    /// No sets yet, of `rules` rules.
    pub(super) fn new(rules: usize) -> Self {
        Self { words: Vec::new(), set: NumberSet::new(rules) }
    }

    /// Adds a set of rules, given in any order.
    pub(super) fn add(&mut self, rules: impl Iterator<Item = u32>) -> SetId {
        rules.for_each(|rule| self.set.insert(rule));
        let id = SetId(self.words.len() as u32);
        self.set.write(&mut self.words);
        self.set.clear();
        id
    }

    /// All sets that were added.
    pub(super) fn finish(mut self) -> RuleSets {
        self.words.shrink_to_fit();
        RuleSets { words: self.words }
    }
}

/// A block of a set, and what is behind it.
struct Block<'s> {
    number: u64,
    present: u64,
    words: &'s [u64],
    behind: Option<&'s [u64]>,
}

impl<'s> Block<'s> {
    fn read(set: &'s [u64]) -> Option<Self> {
        let (&[head, present], rest) = set.split_first_chunk()?;
        let (words, behind) = rest.split_at_checked(present.count_ones() as usize)?;
        let behind = (head & LAST == 0).then_some(behind);
        Some(Self { number: head & !LAST, present, words, behind })
    }

    /// A word that is not zero, by its place in the block.
    fn word(&self, place: u32) -> u64 {
        let before = self.present & ((1 << place) - 1);
        self.words.get(before.count_ones() as usize).copied().unwrap_or_default()
    }
}

impl RuleSets {
    /// The first rule that is in both sets.
    #[inline]
    pub(super) fn first_in_both(&self, a: SetId, b: SetId) -> Option<u32> {
        // Of up to 64 rules, as most groups are: no more than one word.
        match (self.words.get(a.0 as usize..), self.words.get(b.0 as usize..)) {
            (Some([LAST, 0, ..]), Some(_)) | (Some(_), Some([LAST, 0, ..])) => None,
            (Some([LAST, 1, a, ..]), Some([LAST, 1, b, ..])) => {
                let common = a & b;
                (common != 0).then(|| common.trailing_zeros())
            }
            _ => self.first_of_many_in_both(a, b),
        }
    }

    fn first_of_many_in_both(&self, a: SetId, b: SetId) -> Option<u32> {
        let mut a = Block::read(self.words.get(a.0 as usize..)?)?;
        let mut b = Block::read(self.words.get(b.0 as usize..)?)?;
        loop {
            match a.number.cmp(&b.number) {
                Ordering::Less => a = Block::read(a.behind?)?,
                Ordering::Greater => b = Block::read(b.behind?)?,
                Ordering::Equal => {
                    let common = ones(a.present & b.present)
                        .map(|place| (place, a.word(place) & b.word(place)))
                        .find(|(_, common)| *common != 0);
                    if let Some((place, common)) = common {
                        let word = a.number as u32 * WORD + place;
                        return Some(word * WORD + common.trailing_zeros());
                    }
                    (a, b) = (Block::read(a.behind?)?, Block::read(b.behind?)?);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Sparse and dense ones, over several blocks.
    fn numbers() -> impl Strategy<Value = BTreeSet<u32>> {
        prop_oneof![
            prop::collection::btree_set(0..20_000_u32, 0..6),
            prop::collection::btree_set(0..200_u32, 0..150),
            prop::collection::btree_set(
                prop::sample::select(vec![0, 63, 64, 4095, 4096, 19_999]),
                0..6
            ),
        ]
    }

    proptest! {
        #[test]
        fn the_first_in_both_is_the_least_of_the_intersection(sets in prop::collection::vec(numbers(), 2..5)) {
            let mut writer = SetWriter::new(20_000);
            let ids: Vec<_> = sets.iter().map(|set| writer.add(set.iter().rev().copied())).collect();
            let all = writer.finish();
            for (a, id_a) in sets.iter().zip(&ids) {
                for (b, id_b) in sets.iter().zip(&ids) {
                    prop_assert_eq!(all.first_in_both(*id_a, *id_b), a.intersection(b).next().copied());
                }
            }
        }

        #[test]
        fn a_set_has_what_was_put_in_and_not_taken_out(
            steps in prop::collection::vec((0..10_000_u32, any::<bool>()), 0..60),
        ) {
            let (mut set, mut expected) = (NumberSet::new(10_000), BTreeSet::new());
            for (number, put) in steps {
                if put {
                    set.insert(number);
                    expected.insert(number);
                } else {
                    set.remove(number);
                    expected.remove(&number);
                }
            }
            prop_assert!(set.numbers().eq(expected.iter().copied()));
            // Written alike, however it came about.
            let mut other = NumberSet::new(10_000);
            for number in &expected {
                other.insert(*number);
            }
            let (mut written, mut again) = (Vec::new(), Vec::new());
            set.write(&mut written);
            other.write(&mut again);
            prop_assert_eq!(written, again);
        }
    }
}
