//! `Neighbors`: between the values of a program and the reference of the underlay's neighbours.

use crate::address::address;
use crate::interpreter::Time;
use crate::neighbors::{Neighbors, Told};
use crate::value::Value;

/// Calls a method.
pub fn call(
    neighbors: &mut Neighbors,
    method: &str,
    arguments: &mut [Value],
    now: Time,
) -> Result<Value, String> {
    let address = address(arguments[0].as_bits());
    match method {
        "resolve" => {
            let mac = neighbors.resolve(address, now);
            if let Some(mac) = mac {
                arguments[1] = Value::bits(48, mac);
            }
            Ok(Value::Boolean(mac.is_some()))
        }
        "hear" => {
            let mac = arguments[2].as_bits().low_u64();
            let told = Told {
                mac: arguments[1].as_boolean().then_some(mac),
                replaces: arguments[3].as_boolean(),
                asks_for_us: arguments[4].as_boolean(),
            };
            Ok(Value::Boolean(neighbors.hear(address, told)))
        }
        _ => Err("unknown to the interpreter".to_owned()),
    }
}
