//! `Conntrack`: between the values of a program and the reference of connection tracking.

use super::LoadError;
use crate::address::{self, address};
use crate::conntrack::{
    Connection, Conntrack, Family, First, Fragment, Key, Removal, TcpFlags, Tuple, Zone,
};
use crate::interpreter::Time;
use crate::program::Program;
use crate::value::Value;

/// The structures whose fields are read here, in order.
const STRUCTURES: &[(&str, &[&str])] = &[
    ("zone_t", &["interface", "from_network"]),
    ("tuple_t", &["source", "destination", "protocol", "source_port", "destination_port"]),
    ("connection_key_t", &["zone", "flow"]),
    (
        "connection_t",
        &[
            "zone_interface",
            "from_network",
            "source",
            "destination",
            "protocol",
            "source_port",
            "destination_port",
            "icmp_type",
            "icmp_code",
            "answers_interface",
            "reply",
        ],
    ),
    ("fragment_t", &["zone", "source", "destination", "protocol", "identification", "ipv6"]),
];

const ENUMS: &[(&str, &[&str])] = &[("removal_t", &["policy", "interface_removed"])];

/// Whether the program declares what is read here.
pub fn check(program: &Program) -> Result<(), LoadError> {
    for (name, fields) in STRUCTURES {
        let fits = program.structure(name).is_some_and(|(_, structure)| {
            structure.fields.iter().map(|(field, _)| field).eq(fields.iter())
        });
        if !fits {
            return Err(LoadError::Missing(format!("struct {name} {{ {} }}", fields.join("; "))));
        }
    }
    for (name, members) in ENUMS {
        let fits = program
            .enumeration(name)
            .is_some_and(|found| found.members.iter().map(|(member, _)| member).eq(members.iter()));
        if !fits {
            return Err(LoadError::Missing(format!("enum {name} {{ {} }}", members.join(", "))));
        }
    }
    Ok(())
}

/// Calls a method.
pub fn call(
    tracker: &mut Conntrack,
    method: &str,
    arguments: &mut [Value],
    now: Time,
) -> Result<Value, String> {
    match method {
        "lookup" => {
            let found = tracker.lookup(key(&arguments[0]), flags(&arguments[1]), now);
            if let Some((connection, reply)) = found {
                arguments[2] = show(&connection, reply);
            }
            Ok(Value::Boolean(found.is_some()))
        }
        "create" => {
            let connection = Connection {
                first: key(&arguments[0]),
                answers: key(&arguments[1]),
                icmp: (number(&arguments[2]) as u8, number(&arguments[3]) as u8),
            };
            Ok(Value::Boolean(tracker.create(connection, flags(&arguments[4]), now)))
        }
        "update" => {
            tracker.update(key(&arguments[0]), flags(&arguments[1]), now);
            Ok(Value::Nothing)
        }
        "remove" => {
            let reason = match arguments[1] {
                Value::Member(0) => Removal::Policy,
                _ => Removal::InterfaceRemoved,
            };
            tracker.remove(key(&arguments[0]), reason, now);
            Ok(Value::Nothing)
        }
        "due" => {
            let due = tracker.due();
            if let Some(connection) = due {
                arguments[0] = show(&connection, false);
            }
            Ok(Value::Boolean(due.is_some()))
        }
        "follow" => {
            tracker.follow(key(&arguments[0]), key(&arguments[1]));
            Ok(Value::Nothing)
        }
        "remember_fragment" => {
            let first = First { key: key(&arguments[1]), related: arguments[2].as_boolean() };
            tracker.remember_fragment(fragment(&arguments[0]), first, now);
            Ok(Value::Nothing)
        }
        "find_fragment" => {
            let found = tracker.find_fragment(fragment(&arguments[0]), now);
            if let Some(First { key, related }) = found {
                arguments[1] = Value::List(show_tuple(&key.tuple));
                arguments[2] = Value::Boolean(related);
            }
            Ok(Value::Boolean(found.is_some()))
        }
        _ => Err("unknown to the interpreter".to_owned()),
    }
}

fn fields(value: &Value) -> &[Value] {
    match value {
        Value::List(fields) => fields,
        other => unreachable!("checked as a struct, but is {other:?}"),
    }
}

fn number(value: &Value) -> u128 {
    value.as_bits().value().as_u128()
}

fn flags(value: &Value) -> TcpFlags {
    TcpFlags(number(value) as u8)
}

fn zone(value: &Value) -> Zone {
    let fields = fields(value);
    Zone { interface: number(&fields[0]) as u32, from_network: fields[1].as_boolean() }
}

fn tuple(value: &Value) -> Tuple {
    let fields = fields(value);
    Tuple {
        source: address(fields[0].as_bits()),
        destination: address(fields[1].as_bits()),
        protocol: number(&fields[2]) as u8,
        source_port: number(&fields[3]) as u16,
        destination_port: number(&fields[4]) as u16,
    }
}

fn key(value: &Value) -> Key {
    let fields = fields(value);
    Key { zone: zone(&fields[0]), tuple: tuple(&fields[1]) }
}

fn fragment(value: &Value) -> Fragment {
    let fields = fields(value);
    Fragment {
        zone: zone(&fields[0]),
        source: address(fields[1].as_bits()),
        destination: address(fields[2].as_bits()),
        identification: number(&fields[4]) as u32,
        family: if fields[5].as_boolean() {
            Family::V6
        } else {
            Family::V4 { protocol: number(&fields[3]) as u8 }
        },
    }
}

fn show_tuple(tuple: &Tuple) -> Vec<Value> {
    vec![
        Value::Bits(address::bits(tuple.source)),
        Value::Bits(address::bits(tuple.destination)),
        Value::bits(8, tuple.protocol),
        Value::bits(16, tuple.source_port),
        Value::bits(16, tuple.destination_port),
    ]
}

fn show(connection: &Connection, reply: bool) -> Value {
    let Key { zone, tuple } = connection.first;
    let mut fields = vec![Value::bits(32, zone.interface), Value::Boolean(zone.from_network)];
    fields.extend(show_tuple(&tuple));
    fields.extend([
        Value::bits(8, connection.icmp.0),
        Value::bits(8, connection.icmp.1),
        Value::bits(32, connection.answers.zone.interface),
        Value::Boolean(reply),
    ]);
    Value::List(fields)
}
