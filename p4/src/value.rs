//! Values.

use ethnum::{I256, U256};

use crate::bits::Bits;

/// A value of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of a type without values.
    Nothing,
    /// `bool`
    Boolean(bool),
    /// `bit<N>`, and an enum with numbers.
    Bits(Bits),
    /// A constant without a width.
    Integer(I256),
    /// Text.
    Text(String),
    /// `varbit<N>`, of whole bytes.
    Varbit(Vec<u8>),
    /// A member of `error` or of an enum without numbers, by its place.
    Member(usize),
    /// A header.
    Header {
        /// Whether the packet has it.
        valid: bool,
        /// Its fields.
        fields: Vec<Value>,
    },
    /// A struct or a tuple.
    List(Vec<Value>),
}

impl Value {
    /// A number of a width.
    #[must_use]
    pub fn bits(width: u32, value: impl Into<U256>) -> Self {
        Self::Bits(Bits::truncate(width, value))
    }

    /// The number of a `bit<N>`.
    ///
    /// # Panics
    /// When it is none: the checker has seen to it that it is.
    #[must_use]
    pub fn as_bits(&self) -> Bits {
        match self {
            Self::Bits(bits) => *bits,
            other => unreachable!("checked as a number, but is {other:?}"),
        }
    }

    /// The value of a `bool`.
    ///
    /// # Panics
    /// When it is none: the checker has seen to it that it is.
    #[must_use]
    pub fn as_boolean(&self) -> bool {
        match self {
            Self::Boolean(value) => *value,
            other => unreachable!("checked as a boolean, but is {other:?}"),
        }
    }

    /// What a key or set compares: numbers as they are, all else as a number.
    #[must_use]
    pub fn as_key(&self) -> Option<Bits> {
        match self {
            Self::Boolean(value) => Some(Bits::truncate(1, u8::from(*value))),
            Self::Bits(bits) => Some(*bits),
            Self::Member(member) => Some(Bits::truncate(32, *member as u64)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("-"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Bits(bits) => write!(f, "{bits}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Varbit(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Member(member) => write!(f, "#{member}"),
            Self::Header { valid: false, .. } => f.write_str("(invalid)"),
            Self::Header { fields: values, .. } | Self::List(values) => {
                f.write_str("{")?;
                for (n, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}
