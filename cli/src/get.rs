//! `penstock get`: the objects of a kind, with what the daemon knows of them.

use clap::Args;
use dpu_app::api::v1::GetRequest;
use serde_json::Value;

use crate::daemon::{Daemon, DaemonError, Output};
use crate::table;

/// Arguments of `penstock get`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Kind of objects: node, vpc, subnet, interface, securitygroup, routetable
    kind: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    daemon: Daemon,
}

/// A column: its heading, and where its content is in the object (RFC 6901).
type Column = (&'static str, &'static str);

const NAME: Column = ("name", "/metadata/name");

/// The columns of a kind.
fn columns(kind: &str) -> &'static [Column] {
    match kind {
        "Node" => &[
            NAME,
            ("vtep", "/spec/vtep"),
            ("mac", "/spec/mac"),
            ("underlay", "/spec/underlay/prefix"),
            ("mtu", "/spec/underlay/mtu"),
            ("link", "/status/uplink/link"),
            ("flows", "/status/flows"),
        ],
        "Vpc" => &[NAME, ("vni", "/spec/vni"), ("cidrs", "/spec/cidrs"), ("mtu", "/spec/mtu")],
        "Subnet" => &[
            NAME,
            ("vpc", "/spec/vpc"),
            ("cidrs", "/spec/cidrs"),
            ("route table", "/spec/routeTable"),
        ],
        "Interface" => &[
            NAME,
            ("subnet", "/spec/subnet"),
            ("node", "/spec/node"),
            ("vf", "/spec/vf"),
            ("mac", "/spec/mac"),
            ("addresses", "/spec/addresses"),
            ("groups", "/spec/securityGroups"),
            ("link", "/status/port/link"),
            ("from vm", "/status/fromVm/packets"),
            ("delivered", "/status/delivered/packets"),
            ("dropped", "/status/fromVm/drops"),
            ("dropped inbound", "/status/fromNetwork/drops"),
        ],
        "SecurityGroup" => &[
            NAME,
            ("vpc", "/spec/vpc"),
            ("ingress rules", "/spec/ingress"),
            ("egress rules", "/spec/egress"),
        ],
        "RouteTable" => &[NAME, ("vpc", "/spec/vpc"), ("routes", "/spec/routes")],
        _ => &[NAME],
    }
}

/// Asks for the objects, and shows them.
///
/// # Errors
/// [`DaemonError`].
pub fn run(arguments: &Arguments) -> Result<String, DaemonError> {
    let request = GetRequest { kind: arguments.kind.clone() };
    let response =
        arguments.daemon.call(async |mut client| Ok(client.get(request).await?.into_inner()))?;
    let objects = response
        .objects
        .iter()
        .map(|object| serde_json::from_str(object))
        .collect::<Result<Vec<Value>, _>>()
        .map_err(|error| DaemonError::Nonsense(error.to_string()))?;
    Ok(match arguments.output {
        Output::Json => format!("{:#}", Value::Array(objects)),
        Output::Table => show(&response.kind, &objects),
    })
}

fn show(kind: &str, objects: &[Value]) -> String {
    let columns = columns(kind);
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut table = table::table(&headings);
    for object in objects {
        table.add_row(columns.iter().map(|(_, place)| cell(object.pointer(place))));
    }
    table::text(&table)
}

/// What a person wants to see of a value.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) if list.iter().any(Value::is_object) => list.len().to_string(),
        Some(Value::Array(list)) if list.is_empty() => "-".into(),
        Some(Value::Array(list)) => {
            list.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(",")
        }
        Some(Value::Object(counts)) if counts.is_empty() => "0".into(),
        Some(Value::Object(counts)) => counts
            .iter()
            .map(|(name, value)| format!("{name}={}", cell(Some(value))))
            .collect::<Vec<_>>()
            .join(","),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn interfaces_as_a_table() {
        let object = json!({
            "metadata": {"name": "vm0"},
            "spec": {"subnet": "s", "node": "a", "vf": 0, "mac": "m", "addresses": ["10.0.0.2", "fd00::2"],
                     "securityGroups": []},
            "status": {"port": {"link": "up"}, "fromVm": {"packets": 7, "drops": {"no_route": 2}}},
        });
        let text = show("Interface", &[object]);
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0][..4], ["NAME", "SUBNET", "NODE", "VF"]);
        assert_eq!(
            rows[1],
            ["vm0", "s", "a", "0", "m", "10.0.0.2,fd00::2", "-", "up", "7", "-", "no_route=2", "-"]
        );
    }
}
