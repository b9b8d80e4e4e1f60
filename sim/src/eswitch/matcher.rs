//! What rules are looked up by: bytes gathered from a packet's blocks under a mask.

use std::sync::Arc;

use super::subject::{Block, Subject};

/// The most bytes a rule's key may have.
pub const KEY_BYTES: usize = 192;

/// Some bytes of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Segment {
    block: Block,
    offset: u8,
    length: u8,
}

/// What a set of rules has in common: the headers that must be there, and the bits that count.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Shape {
    required: u64,
    segments: Box<[Segment]>,
    mask: Box<[u8]>,
}

impl Shape {
    /// The length of its keys in bytes.
    pub fn key_length(&self) -> usize {
        self.mask.len()
    }

    /// Gathers a packet's key into `buffer`; `None` when the packet lacks a header.
    pub fn key<'b>(
        &self,
        subject: &mut Subject,
        frame: &[u8],
        buffer: &'b mut [u8; KEY_BYTES],
    ) -> Option<&'b [u8]> {
        if !subject.has(self.required) {
            return None;
        }
        let mut rest = buffer.get_mut(..self.mask.len())?;
        for segment in &self.segments {
            let (out, after) = rest.split_at_mut_checked(usize::from(segment.length))?;
            subject.read(frame, segment.block, usize::from(segment.offset), out)?;
            rest = after;
        }
        let key = buffer.get_mut(..self.mask.len())?;
        for (byte, mask) in key.iter_mut().zip(&self.mask) {
            *byte &= mask;
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
    pub shape: Arc<Shape>,
    /// The bytes it asks for.
    pub key: Box<[u8]>,
    /// The ranges it asks for besides.
    pub ranges: Box<[RangeTest]>,
    /// It contradicts itself, or asks for bits outside its mask: the card takes such a rule, and no packet ever hits it.
    pub never: bool,
}

impl Matcher {
    /// Whether a packet is what this asks for.
    pub fn admits(&self, subject: &mut Subject, frame: &[u8]) -> bool {
        let mut buffer = [0; KEY_BYTES];
        !self.never
            && self.shape.key(subject, frame, &mut buffer).is_some_and(|key| *key == *self.key)
            && self.ranges.iter().all(|range| range.admits(subject, frame))
    }
}

/// A pattern would need more key bytes than there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooWide {
    /// How many it needs.
    pub bytes: usize,
}

/// A byte that is asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    block: Block,
    offset: u8,
    spec: u8,
    mask: u8,
}

/// A matcher in the making.
#[derive(Debug)]
pub struct MatcherBuilder {
    required: u64,
    bytes: Vec<Wanted>,
    ranges: Vec<RangeTest>,
    /// Bits outside the mask are asked for.
    outside: bool,
}

impl MatcherBuilder {
    /// Nothing is asked yet.
    pub fn new() -> Self {
        // As much as most patterns ask for.
        let bytes = Vec::with_capacity(64);
        Self { required: 0, bytes, ranges: Vec::new(), outside: false }
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
        for at in 0..length {
            let of = |number: u128| (number >> (8 * (length - 1 - at))) as u8;
            let (spec, mask) = (of(spec), of(mask));
            if mask != 0 {
                let offset = (offset + at) as u8;
                self.bytes.push(Wanted { block, offset, spec: spec & mask, mask });
            }
        }
    }

    /// Asks for a range.
    pub fn range(&mut self, range: RangeTest) {
        self.require(range.block);
        self.ranges.push(range);
    }

    /// Makes one of what is asked of a byte several times, in order of place; whether that contradicts itself.
    fn merge(&mut self) -> bool {
        let mut contradictory = false;
        self.bytes.sort_by_key(|byte| (byte.block, byte.offset));
        self.bytes.dedup_by(|later, earlier| {
            let same = (later.block, later.offset) == (earlier.block, earlier.offset);
            if same {
                contradictory |= (later.spec ^ earlier.spec) & later.mask & earlier.mask != 0;
                earlier.spec |= later.spec;
                earlier.mask |= later.mask;
            }
            same
        });
        contradictory
    }

    /// The matcher. `spec_outside_mask_never_hits`: whether bits asked for outside the mask make the rule one that no
    /// packet hits (else they are ignored).
    pub fn build(mut self, spec_outside_mask_never_hits: bool) -> Result<Matcher, TooWide> {
        let contradictory = self.merge();
        if self.bytes.len() > KEY_BYTES {
            return Err(TooWide { bytes: self.bytes.len() });
        }
        let mut segments: Vec<Segment> = Vec::with_capacity(16);
        for Wanted { block, offset, .. } in self.bytes.iter().copied() {
            match segments.last_mut() {
                Some(last) if last.block == block && last.offset + last.length == offset => {
                    last.length += 1;
                }
                _ => segments.push(Segment { block, offset, length: 1 }),
            }
        }
        let shape = Shape {
            required: self.required,
            segments: segments.into(),
            mask: self.bytes.iter().map(|byte| byte.mask).collect(),
        };
        Ok(Matcher {
            shape: Arc::new(shape),
            key: self.bytes.iter().map(|byte| byte.spec).collect(),
            ranges: self.ranges.into(),
            never: contradictory || (self.outside && spec_outside_mask_never_hits),
        })
    }
}
