//! What rules are looked up by: words gathered from a packet's blocks under masks.

use std::cmp::Ordering;

use arrayvec::ArrayVec;
use smallvec::SmallVec;

use super::subject::{Block, HeaderIndex, Subject};

/// The most bytes a rule's key may have.
pub const KEY_BYTES: usize = 192;

/// A packet's key: words, of each of which a byte counts at least.
pub type Key = ArrayVec<u64, KEY_BYTES>;

/// How many words nearly every pattern makes do with.
const USUAL: usize = 8;

/// Eight bytes of a block, some of which count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Word {
    block: Block,
    /// Of the block.
    header: Option<HeaderIndex>,
    /// Of the first byte in the block; a multiple of eight.
    offset: u8,
    /// The bits that count; the first byte is the lowest.
    mask: u64,
}

impl Word {
    /// Bytes up to the last that counts.
    const fn length(&self) -> usize {
        8 - self.mask.leading_zeros() as usize / 8
    }

    #[inline]
    fn of(&self, subject: &mut Subject, frame: &[u8]) -> Option<u64> {
        let (offset, length) = (usize::from(self.offset), self.length());
        let word = match self.header {
            Some(header) => subject.word(frame, header, offset, length)?,
            None => subject.other_word(frame, self.block, offset, length)?,
        };
        Some(word & self.mask)
    }
}

/// What a set of rules has in common: the headers that must be there, and the bits that count.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shape {
    required: u64,
    words: SmallVec<[Word; USUAL]>,
}

impl Shape {
    /// The length of its keys in words.
    pub fn key_length(&self) -> usize {
        self.words.len()
    }

    /// Gathers a packet's key; `None` when the packet lacks a header.
    #[inline]
    pub fn key<'k>(
        &self,
        subject: &mut Subject,
        frame: &[u8],
        key: &'k mut Key,
    ) -> Option<&'k [u64]> {
        if !subject.has(self.required) {
            return None;
        }
        key.clear();
        for word in &self.words {
            key.try_push(word.of(subject, frame)?).ok()?;
        }
        Some(key)
    }
}

/// A number of a block that must lie in a range, under a mask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeTest {
    /// Where the number is.
    pub block: Block,
    /// Its first byte in the block.
    pub offset: usize,
    /// Its length in bytes, 1..=16.
    pub length: usize,
    /// The bits that count.
    pub mask: u128,
    /// The smallest value admitted, masked.
    pub low: u128,
    /// The largest value admitted, masked.
    pub high: u128,
}

impl RangeTest {
    fn admits(&self, subject: &mut Subject, frame: &[u8]) -> bool {
        subject
            .number(frame, self.block, self.offset, self.length)
            .is_some_and(|number| (self.low..=self.high).contains(&(number & self.mask)))
    }
}

/// A rule's whole pattern, ready to be looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matcher {
    /// What it has in common with others.
    pub shape: Shape,
    /// The words it asks for.
    pub key: SmallVec<[u64; USUAL]>,
    /// The ranges it asks for besides.
    pub ranges: Box<[RangeTest]>,
    /// It contradicts itself, or asks for bits outside its mask: the card takes such a rule, and no packet ever hits it.
    pub never: bool,
}

impl Matcher {
    /// Whether a packet is what this asks for.
    pub fn admits(&self, subject: &mut Subject, frame: &[u8]) -> bool {
        let mut key = Key::new();
        !self.never
            && self.shape.key(subject, frame, &mut key).is_some_and(|key| *key == *self.key)
            && self.ranges.iter().all(|range| range.admits(subject, frame))
    }
}

/// A pattern would need more key bytes than there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooWide {
    /// How many it needs.
    pub bytes: usize,
}

/// A matcher in the making.
#[derive(Debug)]
pub struct MatcherBuilder {
    required: u64,
    /// In order of place, each once.
    words: SmallVec<[Word; USUAL]>,
    /// What they shall be.
    key: SmallVec<[u64; USUAL]>,
    ranges: Vec<RangeTest>,
    /// Bits outside the mask are asked for.
    outside: bool,
    /// A bit is asked for twice, and differently.
    contradictory: bool,
}

impl MatcherBuilder {
    /// Nothing is asked yet.
    pub fn new() -> Self {
        Self {
            required: 0,
            words: SmallVec::new(),
            key: SmallVec::new(),
            ranges: Vec::new(),
            outside: false,
            contradictory: false,
        }
    }

    /// Asks that the packet has a block.
    pub fn require(&mut self, block: Block) {
        self.required |= block.presence();
    }

    /// Asks that the `length` bytes of `block` from `offset` on are `spec` under `mask`, besides what is asked of them
    /// already. A mask of 0 asks nothing.
    pub fn bits(&mut self, block: Block, offset: usize, length: usize, spec: u128, mask: u128) {
        self.outside |= spec & !mask != 0;
        if mask == 0 {
            return;
        }
        self.require(block);
        let within = offset % 8;
        if within + length <= 8 {
            let word = |number: u128| {
                let unused = 64_u32.saturating_sub(8 * length as u32);
                (number as u64).checked_shl(unused).unwrap_or(0).swap_bytes() << (8 * within)
            };
            self.word(block, (offset - within) as u8, word(spec & mask), word(mask));
            return;
        }
        let (specs, masks) = (words(spec & mask, length, within), words(mask, length, within));
        for (at, (spec, mask)) in (offset - within..).step_by(8).zip(specs.into_iter().zip(masks)) {
            if mask != 0 {
                self.word(block, at as u8, spec, mask);
            }
        }
    }

    /// Asks for the bits of one word.
    fn word(&mut self, block: Block, offset: u8, spec: u64, mask: u64) {
        let place = (block, offset);
        // Items, and their fields, mostly come in the order of places.
        let mut at = self.words.len();
        while let Some(before) = at.checked_sub(1)
            && let Some(word) = self.words.get_mut(before)
        {
            match (word.block, word.offset).cmp(&place) {
                Ordering::Less => break,
                Ordering::Greater => at = before,
                Ordering::Equal => {
                    if let Some(key) = self.key.get_mut(before) {
                        self.contradictory |= (spec ^ *key) & mask & word.mask != 0;
                        *key |= spec;
                        word.mask |= mask;
                    }
                    return;
                }
            }
        }
        self.words.insert(at, Word { block, header: block.header(), offset, mask });
        self.key.insert(at, spec);
    }

    /// Asks for a range.
    pub fn range(&mut self, range: RangeTest) {
        self.require(range.block);
        self.ranges.push(range);
    }

    /// The matcher. `spec_outside_mask_never_hits`: whether bits asked for outside the mask make the rule one that no
    /// packet hits (else they are ignored).
    pub fn build(self, spec_outside_mask_never_hits: bool) -> Result<Matcher, TooWide> {
        let asked = |word: &Word| word.mask.to_le_bytes().iter().filter(|byte| **byte != 0).count();
        let bytes = self.words.iter().map(asked).sum();
        if bytes > KEY_BYTES {
            return Err(TooWide { bytes });
        }
        Ok(Matcher {
            shape: Shape { required: self.required, words: self.words },
            key: self.key,
            ranges: self.ranges.into(),
            never: self.contradictory || (self.outside && spec_outside_mask_never_hits),
        })
    }
}

/// The last `length` bytes (1 to 16) of a number in network byte order, `within` (less than 8) bytes after the begin of words of which the first byte is the
/// lowest.
fn words(number: u128, length: usize, within: usize) -> [u64; 3] {
    let bytes = number.checked_shl(8 * (16_u32.saturating_sub(length as u32))).unwrap_or(0);
    let number = bytes.swap_bytes();
    let shift = 8 * within as u32;
    // What is shifted out of the low two words is in the third.
    let low = number << shift;
    let high = number.checked_shr(128 - shift).unwrap_or(0);
    [low as u64, (low >> 64) as u64, high as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lie_in_words_as_in_a_packet() {
        let number = 0x0102_0304;
        let of = |within| words(number, 4, within).map(u64::to_le_bytes).concat();
        for within in 0..8 {
            let mut expected = [0; 24];
            expected[within..within + 4].copy_from_slice(&[1, 2, 3, 4]);
            assert_eq!(of(within), expected, "{within}");
        }
        let address = u128::from_be_bytes(std::array::from_fn(|at| at as u8 + 1));
        for within in 0..8 {
            let mut expected = [0; 24];
            expected[within..within + 16].copy_from_slice(&address.to_be_bytes());
            assert_eq!(words(address, 16, within).map(u64::to_le_bytes).concat(), expected);
        }
        assert_eq!(words(0xab, 1, 7), [0xab << 56, 0, 0]);
    }

    #[test]
    fn a_short_field_is_asked_for_like_a_long_one() {
        for (offset, length) in [(0, 1), (3, 4), (7, 1), (9, 6), (0, 8), (5, 4), (4, 16)] {
            let number = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10 >> (128 - 8 * length);
            let mut builder = MatcherBuilder::new();
            builder.bits(Block::Meta, offset, length, number, u128::MAX >> (128 - 8 * length));
            let matcher = builder.build(true).expect("it is short");
            let mut bytes = [0; 40];
            for (word, key) in matcher.shape.words.iter().zip(&matcher.key) {
                let from = usize::from(word.offset);
                bytes[from..from + 8].copy_from_slice(&key.to_le_bytes());
            }
            let mut expected = [0; 40];
            for at in 0..length {
                expected[offset + at] = at as u8 + 1;
            }
            assert_eq!(bytes, expected, "{length} bytes from {offset}");
        }
    }

    #[test]
    fn what_is_asked_in_parts_is_asked_once() {
        let mut builder = MatcherBuilder::new();
        builder.bits(Block::Meta, 0, 4, 0x0000_0002, 0x0000_ffff);
        builder.bits(Block::Origin, 0, 3, 1, 0xff);
        builder.bits(Block::Meta, 0, 4, 0x0001_0000, 0xffff_0000);
        let matcher = builder.build(true).expect("it is short");
        assert_eq!(matcher.key[..], [1 << 16, 0x0200_0100]);
        assert!(!matcher.never);
    }
}
