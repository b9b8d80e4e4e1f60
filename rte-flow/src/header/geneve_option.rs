//! One option of a GENEVE header: the only item whose structure leads to more bytes.

use std::mem::offset_of;

use dpdk_sys::rte_flow_item_geneve_opt;

use super::{FieldInfo, Header, placed};
use crate::error::DecodeReason;
use crate::field::Field;
use crate::item::{FieldMatch, Match};

/// A GENEVE option (`RTE_FLOW_ITEM_TYPE_GENEVE_OPT`, RFC 8926 section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneveOption {
    /// Who defines the type.
    pub class: u16,
    /// What the option is; 0x80 says that it is critical.
    pub option_type: u8,
    /// Length of the data in words of four bytes, 0 to 31.
    pub length: u8,
    /// The data; 0 beyond its length.
    pub data: [u8; Self::MAX_DATA],
}

/// What tells one option from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GeneveOptionId {
    /// Who defines the type.
    pub class: u16,
    /// What the option is.
    pub option_type: u8,
    /// Length of the data in words of four bytes.
    pub length: u8,
}

impl GeneveOption {
    /// The longest data that an option has.
    pub const MAX_DATA: usize = 124;

    /// Which option it is.
    #[must_use]
    pub const fn id(&self) -> GeneveOptionId {
        GeneveOptionId { class: self.class, option_type: self.option_type, length: self.length }
    }

    /// A word of the data.
    fn word(&self, index: usize) -> u128 {
        let word = self.data.chunks_exact(4).nth(index).unwrap_or_default();
        word.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    /// The data's length in words.
    fn words(&self) -> usize {
        usize::from(self.length).min(Self::MAX_DATA / 4)
    }
}

impl Default for GeneveOption {
    fn default() -> Self {
        Self { class: 0, option_type: 0, length: 0, data: [0; Self::MAX_DATA] }
    }
}

const fn field(
    name: &'static str,
    bits: u32,
    words: &'static [(&'static str, u32, u32)],
) -> FieldInfo {
    FieldInfo { name, bits, place: 0, words }
}

/// What of the length's byte is the length.
const LENGTH_BITS: u8 = 0x1f;

const CLASS: usize = offset_of!(rte_flow_item_geneve_opt, option_class);
const TYPE: usize = offset_of!(rte_flow_item_geneve_opt, option_type);
const LENGTH: usize = offset_of!(rte_flow_item_geneve_opt, option_len);

impl Header for GeneveOption {
    const SIZE: usize = size_of::<rte_flow_item_geneve_opt>();
    const ALIGN: usize = align_of::<rte_flow_item_geneve_opt>();
    /// The data is visited word by word, each time under its name.
    const FIELDS: &'static [FieldInfo] = &placed([
        field("class", 16, &[("class", 0, 16)]),
        field("option_type", 8, &[("type", 0, 8)]),
        field("length", 5, &[("length", 0, 5)]),
        field("data", 32, &[("data", 0, 32)]),
    ]);
    const DEFAULT_MASK: Self =
        Self { class: 0, option_type: 0xff, length: 0, data: [0; Self::MAX_DATA] };

    fn store(&self, out: &mut [u8]) {
        for (at, bytes) in [
            (CLASS, &self.class.to_be_bytes()[..]),
            (TYPE, &[self.option_type]),
            (LENGTH, &[self.length]),
        ] {
            if let Some(out) = out.get_mut(at..at + bytes.len()) {
                out.copy_from_slice(bytes);
            }
        }
    }

    fn load(bytes: &[u8]) -> Self {
        let at = |at: usize, length: usize| bytes.get(at..at + length).unwrap_or_default();
        Self {
            class: Field::load_wire(at(CLASS, 2)),
            option_type: Field::load_wire(at(TYPE, 1)),
            length: Field::load_wire(at(LENGTH, 1)),
            ..Self::default()
        }
    }

    fn for_each_field(asked: &Match<Self>, visit: &mut dyn FnMut(FieldMatch)) {
        let mask = asked.effective_mask();
        let mut fields = Self::FIELDS.iter().enumerate();
        let mut next = |number: &dyn Fn(&Self) -> u128| {
            let Some((index, info)) = fields.next() else { return };
            let (spec, last) = (asked.spec.as_ref().map(number), asked.last.as_ref().map(number));
            visit(FieldMatch::new(index, info, spec, last, number(&mask)));
        };
        next(&|option| option.class.into());
        next(&|option| option.option_type.into());
        next(&|option| (option.length & LENGTH_BITS).into());
        let Some((index, info)) = fields.next() else { return };
        for word in 0..asked.spec.map_or(0, |spec| spec.words()) {
            let number = |option: &Self| option.word(word);
            let (spec, last) = (asked.spec.as_ref().map(number), asked.last.as_ref().map(number));
            visit(FieldMatch::new(index, info, spec, last, mask.word(word)));
        }
    }

    /// Of the data, the first word.
    fn set(&mut self, index: usize, value: u128) {
        match index {
            0 => self.class = Field::from_bits(value),
            1 => self.option_type = Field::from_bits(value),
            2 => self.length = Field::from_bits(value),
            _ => {
                if let Some(word) = self.data.first_chunk_mut() {
                    *word = u32::from_bits(value).to_be_bytes();
                }
            }
        }
    }

    fn admits(spec: &Self, last: Option<&Self>, mask: &Self, actual: &Self) -> bool {
        let field = |number: &dyn Fn(&Self) -> u128| {
            Field::admits(number(spec), last.map(number), number(mask), number(actual))
        };
        field(&|option| option.class.into())
            && field(&|option| option.option_type.into())
            && field(&|option| option.length.into())
            && (0..spec.words()).all(|word| field(&|option| option.word(word)))
    }

    const TAIL_POINTER: Option<usize> = Some(offset_of!(rte_flow_item_geneve_opt, data));

    fn tail_length(spec: &Self) -> Result<usize, DecodeReason> {
        let length = usize::from(spec.length) * 4;
        if length > Self::MAX_DATA {
            return Err(DecodeReason::OptionLength(spec.length));
        }
        Ok(length)
    }

    fn tail(&self) -> &[u8] {
        &self.data
    }

    fn set_tail(&mut self, bytes: &[u8]) {
        if let Some(data) = self.data.get_mut(..bytes.len()) {
            data.copy_from_slice(bytes);
        }
    }
}
