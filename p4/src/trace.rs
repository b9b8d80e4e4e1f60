//! A packet's way, for a terminal.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use crate::address;
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
                table.add_row([Cell::new("  extract"), Cell::new(header), Cell::new(brief(value))]);
            }
            Event::Reject { error } => {
                table.add_row([strong("reject", Color::Red), Cell::new(error), Cell::new("")]);
            }
            Event::Table { path, keys, hit, action, arguments } => {
                table.add_row(step(path, keys, *hit, action, arguments));
            }
            Event::Call { object, method, arguments, result } => {
                let name =
                    if object.is_empty() { method.clone() } else { format!("{object}.{method}") };
                let arguments: Vec<String> = arguments.iter().map(brief).collect();
                let text = format!("({}) → {}", arguments.join(", "), brief(result));
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
        Verdict::Consume => [strong("consumed", Color::Green), Cell::new(""), Cell::new("")],
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
        arguments.iter().map(|(name, value)| format!("{name}={}", brief(value))).collect();
    let action = format!("→ {action}({})", arguments.join(", "));
    let text = if keys.is_empty() { action } else { format!("{}\n{action}", keys.join(" ")) };
    let result = if hit { strong("hit", Color::Green) } else { strong("miss", Color::Yellow) };
    [result, Cell::new(path), Cell::new(text)]
}

fn brief(value: &Value) -> String {
    match value {
        Value::Bits(bits) => short(*bits),
        Value::Header { valid: true, fields: values } | Value::List(values) => {
            format!("{{{}}}", values.iter().map(brief).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Addresses as addresses, small numbers as numbers.
fn short(bits: crate::bits::Bits) -> String {
    match bits.width() {
        128 => std::net::Ipv6Addr::from(bits.value().as_u128()).to_string(),
        address::WIDTH => address::address(bits).to_string(),
        48 => {
            let bytes = bits.low_u64().to_be_bytes();
            bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
        }
        1..=32 => bits.value().to_string(),
        _ => bits.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::interpreter::Machine;
    use crate::stf::Runner;

    #[test]
    fn every_step_is_shown() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = crate::compile(&home.join("pipeline.p4")).expect("the contract is accepted");
        let mut machine = Machine::new(&program).expect("the contract can be loaded");
        let entries = home.join("tests/stf/common.entries");
        Runner::new(&mut machine).file(&entries).expect("the entries fit");
        let packet = testbed::notation::packet(
            "eth(src=02:00:00:00:00:01, dst=02:00:00:00:00:11)/ipv4(src=10.0.0.1, dst=10.0.9.1)\
             /udp(sport=1, dport=2)",
        )
        .expect("a packet");
        let outcome = machine.trace(0, 1, &packet).expect("no fault");
        let shown = show(1, &packet, &outcome);
        let order = [
            "packet",
            "start → ethernet → ip",
            "ports",
            "interface_of_port(interface=1)",
            "addresses",
            "address=10.0.0.1",
            "connections.lookup",
            "egress_rules",
            "route_table=1 destination=10.0.9.1",
            "→ blackhole()",
            "drop",
            "blackhole_route",
        ];
        let mut rest = shown.as_str();
        for step in order {
            let at = rest.find(step).unwrap_or_else(|| panic!("`{step}` is not in\n{rest}"));
            rest = &rest[at..];
        }
        let outcome = machine.trace(0, 1, &packet[..30]).expect("no fault");
        assert!(show(1, &packet[..30], &outcome).contains("PacketTooShort"));
    }
}
