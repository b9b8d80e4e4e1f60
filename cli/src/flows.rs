//! `penstock flows`: connections, where they are carried, and why not in hardware.

use std::io::{self, Write};

use clap::Args;
use dpu_app::api::v1::flow_direction::Path;
use dpu_app::api::v1::{Flow, FlowDirection, FlowsRequest};
use serde_json::{Value, json};

use crate::daemon::{Daemon, DaemonError, Output};
use crate::table;

/// Arguments of `penstock flows`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only flows from or to this interface
    #[arg(long, value_name = "NAME", default_value = "")]
    interface: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    daemon: Daemon,
}

const HEADINGS: &[&str] = &[
    "interface",
    "protocol",
    "source",
    "destination",
    "state",
    "idle",
    "path out",
    "path back",
    "hardware packets",
    "software packets",
    "why in software",
];

/// Writes all flows to `out` as they come.
///
/// # Errors
/// [`DaemonError`].
pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), DaemonError> {
    let request = FlowsRequest { interface: arguments.interface.clone() };
    arguments.daemon.call(async |mut client| {
        let mut batches = client.flows(request).await?.into_inner();
        let mut writer = Writer::new(arguments.output, out);
        while let Some(batch) = batches.message().await? {
            batch.flows.iter().try_for_each(|flow| writer.flow(flow))?;
        }
        Ok(writer.finish()?)
    })
}

/// Writes flows one after the other.
enum Writer<'a, W> {
    Table(Box<comfy_table::Table>, &'a mut W),
    Json { is_first: bool, out: &'a mut W },
}

impl<'a, W: Write> Writer<'a, W> {
    fn new(output: Output, out: &'a mut W) -> Self {
        match output {
            Output::Table => Self::Table(Box::new(table::table(HEADINGS)), out),
            Output::Json => Self::Json { is_first: true, out },
        }
    }

    fn flow(&mut self, flow: &Flow) -> io::Result<()> {
        match self {
            Self::Table(table, _) => {
                table.add_row(row(flow));
                Ok(())
            }
            Self::Json { is_first, out } => {
                let before = if std::mem::take(is_first) { "[\n" } else { ",\n" };
                write!(out, "{before}{}", json(flow))
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Table(table, out) => writeln!(out, "{}", table::text(&table)),
            Self::Json { is_first: true, out } => writeln!(out, "[]"),
            Self::Json { is_first: false, out } => writeln!(out, "\n]"),
        }
    }
}

fn protocol(number: u32) -> String {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        other => other.to_string(),
    }
}

const fn path(direction: &FlowDirection) -> &'static str {
    match direction.path {
        number if number == Path::Hardware as i32 => "hardware",
        number if number == Path::Pending as i32 => "pending",
        _ => "software",
    }
}

fn row(flow: &Flow) -> Vec<String> {
    let directions = [&flow.forward, &flow.reverse].map(|d| d.clone().unwrap_or_default());
    let [forward, reverse] = &directions;
    let has_ports = matches!(flow.protocol, 6 | 17);
    let end = |address: &str, port: u32| match (has_ports, address.contains(':')) {
        (false, _) => address.to_owned(),
        (true, false) => format!("{address}:{port}"),
        (true, true) => format!("[{address}]:{port}"),
    };
    let mut why: Vec<&str> = directions
        .iter()
        .map(|d| if d.message.is_empty() { d.reason.as_str() } else { d.message.as_str() })
        .filter(|why| !why.is_empty())
        .collect();
    why.dedup();
    vec![
        flow.interface.clone(),
        protocol(flow.protocol),
        end(&flow.source, flow.source_port),
        end(&flow.destination, flow.destination_port),
        flow.state.clone(),
        format!("{}.{}s", flow.idle_ms / 1000, flow.idle_ms % 1000 / 100),
        path(forward).into(),
        path(reverse).into(),
        (forward.hardware_packets.saturating_add(reverse.hardware_packets)).to_string(),
        (forward.software_packets.saturating_add(reverse.software_packets)).to_string(),
        if why.is_empty() { "-".into() } else { why.join("; ") },
    ]
}

fn json(flow: &Flow) -> Value {
    let direction = |direction: &Option<FlowDirection>| {
        let direction = direction.clone().unwrap_or_default();
        json!({
            "path": path(&direction),
            "reason": direction.reason,
            "message": direction.message,
            "output": direction.output,
            "software": {"packets": direction.software_packets, "bytes": direction.software_bytes},
            "hardware": {"packets": direction.hardware_packets, "bytes": direction.hardware_bytes},
        })
    };
    json!({
        "interface": flow.interface,
        "fromNetwork": flow.from_network,
        "protocol": protocol(flow.protocol),
        "source": flow.source,
        "destination": flow.destination,
        "sourcePort": flow.source_port,
        "destinationPort": flow.destination_port,
        "state": flow.state,
        "ageMs": flow.age_ms,
        "idleMs": flow.idle_ms,
        "expiresInMs": flow.expires_in_ms,
        "forward": direction(&flow.forward),
        "reverse": direction(&flow.reverse),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let direction = |path: Path, reason: &str| FlowDirection {
            path: path.into(),
            reason: reason.into(),
            hardware_packets: 5,
            software_packets: 2,
            ..FlowDirection::default()
        };
        Flow {
            interface: "vm0".into(),
            protocol: 6,
            source: "fd00::1".into(),
            destination: "fd00::2".into(),
            source_port: 1000,
            destination_port: 80,
            state: "established".into(),
            idle_ms: 1250,
            forward: Some(direction(Path::Hardware, "")),
            reverse: Some(direction(Path::Software, "table_full")),
            ..Flow::default()
        }
    }

    fn written(output: Output, flows: &[Flow]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(output, &mut out);
        flows.iter().try_for_each(|flow| writer.flow(flow)).unwrap();
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_for_people() {
        let text = written(Output::Table, &[flow()]);
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            [
                "vm0",
                "tcp",
                "[fd00::1]:1000",
                "[fd00::2]:80",
                "established",
                "1.2s",
                "hardware",
                "software",
                "10",
                "4",
                "table_full"
            ]
        );
    }

    #[test]
    fn json_for_programs() {
        assert_eq!(written(Output::Json, &[]).trim(), "[]");
        let value: Value = serde_json::from_str(&written(Output::Json, &[flow(), flow()])).unwrap();
        assert_eq!(value.as_array().unwrap().len(), 2);
        assert_eq!(value[1]["forward"]["hardware"]["packets"], 5);
        assert_eq!(value[0]["reverse"]["reason"], "table_full");
    }
}
