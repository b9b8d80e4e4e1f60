//! What the architecture provides: hashes and checksums, counters, meters, connection tracking.

mod conntrack;
pub mod counter;
mod hash;
pub mod meter;
mod neighbors;
mod options;

use super::Time;
use super::architecture::v1model;
use crate::conntrack::Conntrack;
use crate::neighbors::Neighbors;
use crate::program::Program;
use crate::value::Value;
use counter::Counter;
use meter::{Meter, Unit};

/// Why a program cannot be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// No package.
    #[error("the program has no `main`")]
    NoMain,
    /// An architecture that is not known.
    #[error("the package `{0}` is unknown to the interpreter; it knows {1}")]
    UnknownPackage(String, &'static str),
    /// Something that the architecture needs is not declared as it should be.
    #[error("the architecture needs {0}")]
    Missing(String),
    /// An extern that is not known.
    #[error("the extern `{0}` is unknown to the interpreter")]
    UnknownExtern(String),
    /// A constructor's arguments that make no sense.
    #[error("`{0}`: {1}")]
    Arguments(String, &'static str),
}

/// What an extern may know.
pub struct Context {
    /// The time of the packet.
    pub now: Time,
    /// The length of the packet in bytes.
    pub packet_length: u32,
}

/// An extern object with its state.
pub enum Extern {
    /// `counter`
    Counter(Counter),
    /// `meter`
    Meter(Meter),
    /// `Conntrack`
    Conntrack(Box<Conntrack>),
    /// `Neighbors`
    Neighbors(Neighbors),
}

impl Extern {
    /// An object of this type.
    pub fn new(name: &str, arguments: &[Value], program: &Program) -> Result<Self, LoadError> {
        let number = |n: usize| arguments[n].as_bits().to_count();
        match name {
            "counter" => Ok(Self::Counter(Counter::new(number(0)))),
            "meter" => {
                let unit = match arguments[1] {
                    Value::Member(0) => Unit::Packets,
                    _ => Unit::Bytes,
                };
                Ok(Self::Meter(Meter::new(number(0), unit)))
            }
            "Conntrack" => {
                conntrack::check(program)?;
                let tracker = Conntrack::new(number(0) as usize, number(1) as usize);
                Ok(Self::Conntrack(Box::new(tracker)))
            }
            "Neighbors" => Ok(Self::Neighbors(Neighbors::default())),
            _ => Err(LoadError::UnknownExtern(name.to_owned())),
        }
    }

    /// Calls a method; `out` arguments are left in their places.
    pub fn call(
        &mut self,
        method: &str,
        arguments: &mut [Value],
        context: &Context,
    ) -> Result<Value, String> {
        match self {
            Self::Counter(counter) => {
                counter.count(arguments[0].as_bits().to_count(), context.packet_length)?;
                Ok(Value::Nothing)
            }
            Self::Meter(meter) => {
                let cell = arguments[0].as_bits().to_count();
                let color = meter.execute(cell, context.packet_length, context.now)?;
                let width = arguments[1].as_bits().width();
                arguments[1] = Value::bits(width, color as u8);
                Ok(Value::Nothing)
            }
            Self::Conntrack(tracker) => conntrack::call(tracker, method, arguments, context.now),
            Self::Neighbors(neighbors) => {
                neighbors::call(neighbors, method, arguments, context.now)
            }
        }
    }
}

/// Calls a function of the architecture; `rest` is what the parser has not read yet.
pub fn function(
    name: &str,
    arguments: &mut [Value],
    rest: Option<&[u8]>,
) -> Result<Value, super::Fault> {
    let ahead = |bytes: &Value| rest?.get(..bytes.as_bits().to_count() as usize);
    match name {
        "internet_checksum_with_payload" => {
            let mut data = bytes(&arguments[0], name)?;
            // What is not there has no checksum that could be right.
            let Some(payload) = ahead(&arguments[1]) else { return Ok(Value::bits(16, 1_u8)) };
            data.extend_from_slice(payload);
            Ok(Value::bits(16, hash::internet(&data)))
        }
        "ipv4_options_are_well_formed" => {
            Ok(Value::Boolean(options::ipv4(&bytes(&arguments[0], name)?)))
        }
        "ipv6_options_are_well_formed" => {
            // Behind the next header and the length.
            Ok(Value::Boolean(options::ipv6(bytes(&arguments[0], name)?.get(2..).unwrap_or(&[]))))
        }
        "neighbor_options" => {
            let kind = arguments[0].as_bits().to_count() as u8;
            // What is not there is not in order.
            let found = ahead(&arguments[1]).map(|bytes| options::link_layer(bytes, kind));
            if let Some(Ok(Some(mac))) = found {
                arguments[2] = Value::Boolean(true);
                arguments[3] = Value::bits(48, mac);
            }
            Ok(Value::Boolean(matches!(found, Some(Ok(_)))))
        }
        "internet_checksum" => Ok(Value::bits(16, hash::internet(&bytes(&arguments[0], name)?))),
        "encapsulation_hash" => Ok(Value::bits(16, hash::crc16(&bytes(&arguments[0], name)?))),
        "mark_to_drop" => {
            v1model::set(
                &mut arguments[0],
                v1model::EGRESS_SPEC,
                Value::bits(9, v1model::DROP_PORT),
            );
            Ok(Value::Nothing)
        }
        _ => Err(super::Fault::Extern {
            object: name.to_owned(),
            method: "call".to_owned(),
            reason: "unknown to the interpreter, or not with these arguments".to_owned(),
        }),
    }
}

/// The bytes of a value as a packet has them.
fn bytes(value: &Value, function: &str) -> Result<Vec<u8>, super::Fault> {
    let mut output = super::packet::PacketOut::default();
    output.write(value);
    output.bytes().ok_or_else(|| super::Fault::Extern {
        object: function.to_owned(),
        method: "call".to_owned(),
        reason: "the data are no whole bytes".to_owned(),
    })
}
