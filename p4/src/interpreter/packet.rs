//! A packet as the parser reads it and as the deparser writes it: bit by bit.

use ethnum::U256;

use crate::bits::Bits;
use crate::program::{Program, Type};
use crate::value::Value;

/// Why nothing could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketError {
    /// The packet ends before.
    TooShort,
    /// More bits than the `varbit` may have.
    FieldTooLong,
    /// A `varbit` of no whole bytes.
    NotWholeBytes,
}

/// The packet that is parsed.
#[derive(Clone)]
pub struct PacketIn<'a> {
    bytes: &'a [u8],
    /// Bits that have been read.
    at: usize,
}

impl<'a> PacketIn<'a> {
    /// A whole packet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Its length in bytes, whatever has been read.
    pub fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// What has not been read; none inside of a byte.
    pub fn rest(&self) -> Option<&'a [u8]> {
        self.at.is_multiple_of(8).then(|| &self.bytes[self.at / 8..])
    }

    fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    /// Passes over bits.
    pub fn advance(&mut self, bits: u32) -> Result<(), PacketError> {
        if bits as usize > self.left() {
            return Err(PacketError::TooShort);
        }
        self.at += bits as usize;
        Ok(())
    }

    fn bits(&mut self, width: u32) -> Result<Bits, PacketError> {
        let start = self.at;
        self.advance(width)?;
        let mut value = U256::ZERO;
        let mut at = start;
        while at < self.at {
            let offset = at % 8;
            let count = (8 - offset).min(self.at - at);
            let part = (self.bytes[at / 8] << offset) >> (8 - count);
            value = (value << count as u32) | U256::from(part);
            at += count;
        }
        Ok(Bits::truncate(width, value))
    }

    /// Reads a value of a type; a `varbit` in it has this many bits. Nothing is read when not all is there.
    pub fn read(
        &mut self,
        program: &Program,
        ty: &Type,
        variable: u32,
    ) -> Result<Value, PacketError> {
        let mut ahead = self.clone();
        let value = ahead.value(program, ty, variable)?;
        *self = ahead;
        Ok(value)
    }

    fn value(&mut self, program: &Program, ty: &Type, variable: u32) -> Result<Value, PacketError> {
        Ok(match ty {
            Type::Boolean => Value::Boolean(self.bits(1)?.low_u64() != 0),
            Type::Bits(width) => Value::Bits(self.bits(*width)?),
            Type::Enum(id) => Value::Bits(self.bits(program.enums[*id].width.unwrap_or(32))?),
            Type::Varbit(limit) => {
                if variable > *limit {
                    return Err(PacketError::FieldTooLong);
                }
                if !variable.is_multiple_of(8) {
                    return Err(PacketError::NotWholeBytes);
                }
                let bytes: Result<Vec<u8>, _> =
                    (0..variable / 8).map(|_| self.bits(8).map(|b| b.low_u64() as u8)).collect();
                Value::Varbit(bytes?)
            }
            Type::Structure(id) => {
                let structure = &program.structures[*id];
                let fields = structure
                    .fields
                    .iter()
                    .map(|(_, ty)| self.value(program, ty, variable))
                    .collect::<Result<_, _>>()?;
                if structure.is_header {
                    Value::Header { valid: true, fields }
                } else {
                    Value::List(fields)
                }
            }
            other => unreachable!("{other:?} is not in packets"),
        })
    }
}

/// The packet that is built.
#[derive(Default)]
pub struct PacketOut {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used, if not all.
    used: usize,
}

impl PacketOut {
    /// The bytes; none when the last is not whole.
    pub fn bytes(self) -> Option<Vec<u8>> {
        (self.used == 0).then_some(self.bytes)
    }

    fn bits(&mut self, bits: Bits) {
        let mut left = bits.width();
        while left > 0 {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let count = (8 - self.used as u32).min(left);
            let part = bits.slice(left - 1, left - count).low_u64() as u8;
            let last = self.bytes.last_mut().expect("a byte was pushed");
            *last |= part << (8 - self.used as u32 - count);
            self.used = (self.used + count as usize) % 8;
            left -= count;
        }
    }

    /// Appends a value: all fields of a struct, of headers those that are valid.
    pub fn write(&mut self, value: &Value) {
        match value {
            Value::Nothing | Value::Header { valid: false, .. } => {}
            Value::Boolean(value) => self.bits(Bits::truncate(1, u8::from(*value))),
            Value::Bits(bits) => self.bits(*bits),
            Value::Varbit(bytes) => {
                for byte in bytes {
                    self.bits(Bits::truncate(8, *byte));
                }
            }
            Value::Header { fields: values, .. } | Value::List(values) => {
                for value in values {
                    self.write(value);
                }
            }
            other => unreachable!("{other:?} is not in packets"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_read_bit_by_bit_is_written_back(
            bytes in proptest::collection::vec(any::<u8>(), 32),
            widths in proptest::collection::vec(1_u32..=64, 1..12),
        ) {
            let mut input = PacketIn::new(&bytes);
            let mut output = PacketOut::default();
            let total: u32 = widths.iter().sum();
            prop_assume!(total <= 256);
            for width in widths.iter().chain([256 - total].iter().filter(|rest| **rest > 0)) {
                output.bits(input.bits(*width).unwrap());
            }
            prop_assert_eq!(input.rest(), Some(&[][..]));
            prop_assert_eq!(output.bytes(), Some(bytes));
        }
    }

    #[test]
    fn nothing_is_read_behind_the_end() {
        let mut input = PacketIn::new(&[1, 2]);
        assert_eq!(input.bits(17), Err(PacketError::TooShort));
        assert_eq!(input.bits(12), Ok(Bits::truncate(12, 0x010_u16)));
        assert_eq!(input.rest(), None);
        assert_eq!(input.bits(4), Ok(Bits::truncate(4, 2_u8)));
    }
}
