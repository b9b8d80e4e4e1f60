//! A packet's way, for a terminal.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use crate::interpreter::event::Event;
use crate::interpreter::{Outcome, Verdict};
use crate::value::Value;

/// Shows what came in, each step, and what came of it.
#[must_use]
pub fn show(port: u16, packet: &[u8], outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.add_row([
        strong("packet", Color::Cyan),
        Cell::new(format!("port {port}")),
        Cell::new(testbed::notation::show(packet)),
    ]);
    let mut states: Vec<&str> = Vec::new();
    for event in &outcome.events {
        if let Event::State { state, .. } = event {
            states.push(state);
        }
    }
    table.add_row([strong("parser", Color::Cyan), Cell::new(""), Cell::new(states.join(" → "))]);
    for event in &outcome.events {
        match event {
            Event::State { .. } => {}
            Event::Extract { header, value } => {
                table.add_row([Cell::new("  extract"), Cell::new(header), Cell::new(value)]);
            }
            Event::Table { path, keys, hit, action, arguments } => {
                table.add_row(step(path, keys, *hit, action, arguments));
            }
            Event::Call { object, method, arguments, result } => {
                let name =
                    if object.is_empty() { method.clone() } else { format!("{object}.{method}") };
                let text = format!("({}) → {result}", arguments.join(", "));
                table.add_row([Cell::new("call"), Cell::new(name), Cell::new(text)]);
            }
        }
    }
    table.add_row(match &outcome.verdict {
        Verdict::Forward { port, packet } => [
            strong("forward", Color::Green),
            Cell::new(format!("port {port}")),
            Cell::new(testbed::notation::show(packet)),
        ],
        Verdict::Reply { responder } => {
            [strong("reply", Color::Green), Cell::new(responder), Cell::new("")]
        }
        Verdict::Drop { reason } => [strong("drop", Color::Red), Cell::new(reason), Cell::new("")],
    });
    table.trim_fmt()
}

fn strong(text: &str, color: Color) -> Cell {
    Cell::new(text).add_attribute(Attribute::Bold).fg(color)
}

fn step(
    path: &str,
    keys: &[(String, crate::bits::Bits)],
    hit: bool,
    action: &str,
    arguments: &[(String, Value)],
) -> [Cell; 3] {
    let keys: Vec<String> =
        keys.iter().map(|(name, value)| format!("{name}={}", short(*value))).collect();
    let arguments: Vec<String> =
        arguments.iter().map(|(name, value)| format!("{name}={}", argument(value))).collect();
    let text = format!("{}\n→ {action}({})", keys.join(" "), arguments.join(", "));
    let result = if hit { strong("hit", Color::Green) } else { strong("miss", Color::Yellow) };
    [result, Cell::new(path), Cell::new(text)]
}

fn argument(value: &Value) -> String {
    match value {
        Value::Bits(bits) => short(*bits),
        other => other.to_string(),
    }
}

/// Addresses as addresses, small numbers as numbers.
fn short(bits: crate::bits::Bits) -> String {
    match bits.width() {
        128 => {
            let address = std::net::Ipv6Addr::from(bits.value().as_u128());
            address.to_ipv4_mapped().map_or_else(|| address.to_string(), |v4| v4.to_string())
        }
        48 => {
            let bytes = bits.low_u64().to_be_bytes();
            bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
        }
        1..=32 => bits.value().to_string(),
        _ => bits.to_string(),
    }
}
