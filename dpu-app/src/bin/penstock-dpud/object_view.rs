//! Objects of intent as the control API shows them: as they are written, with what the daemon knows of them.

use dpu_app::api::v1;
use dpu_app::datapath::Port;
use dpu_app::datapath::counters::PacketCounters;
use model::decision::DropReason;
use model::intent::{
    Intent, InterfaceSpec, NodeSpec, Object, Objects, RouteTableSpec, SecurityGroupSpec, Spec,
    SubnetSpec, VpcSpec,
};
use model::snapshot::Snapshot;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::nic_status::NicStatus;
use crate::question::Report;

/// No such kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "there is no kind `{0}`; kinds are node, vpc, subnet, interface, securitygroup, routetable"
)]
pub struct UnknownKind(String);

/// A kind as objects have it; asked for in any case, in the singular or the plural.
///
/// # Errors
/// When there is none.
pub fn known_kind(asked: &str) -> Result<&'static str, UnknownKind> {
    let plain: String =
        asked.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_lowercase();
    let kinds = [
        NodeSpec::KIND,
        VpcSpec::KIND,
        SubnetSpec::KIND,
        InterfaceSpec::KIND,
        SecurityGroupSpec::KIND,
        RouteTableSpec::KIND,
    ];
    let is_it = |kind: &&str| kind.eq_ignore_ascii_case(plain.strip_suffix('s').unwrap_or(&plain));
    kinds.into_iter().find(is_it).ok_or_else(|| UnknownKind(asked.to_owned()))
}

/// Everything that is shown.
pub struct ObjectView<'a> {
    /// The intent in force.
    pub intent: &'a Intent,
    /// The name of this node.
    pub node: &'a str,
    /// What the datapath works by.
    pub snapshot: Option<&'a Snapshot>,
    /// What the datapath counted.
    pub report: &'a Report,
    /// The NIC.
    pub nic: &'a NicStatus,
}

impl ObjectView<'_> {
    /// All objects of a kind.
    ///
    /// # Errors
    /// When there is no such kind.
    pub fn get(&self, kind: &str) -> Result<v1::GetResponse, UnknownKind> {
        let intent = self.intent;
        match known_kind(kind)? {
            NodeSpec::KIND => {
                Ok(list(intent.nodes(), |node| self.node_status(node.name().as_str())))
            }
            VpcSpec::KIND => Ok(list(intent.vpcs(), |_| None)),
            SubnetSpec::KIND => Ok(list(intent.subnets(), |_| None)),
            InterfaceSpec::KIND => {
                Ok(list(intent.interfaces(), |i| self.interface_status(i.name().as_str())))
            }
            SecurityGroupSpec::KIND => Ok(list(intent.security_groups(), |_| None)),
            RouteTableSpec::KIND => Ok(list(intent.route_tables(), |_| None)),
            _ => Err(UnknownKind(kind.to_owned())),
        }
    }

    fn node_status(&self, name: &str) -> Option<Value> {
        (name == self.node).then(|| {
            let wire = self.report.sent_to_wire;
            let mut status = json!({
                "uplink": self.port_status(Port::Uplink),
                "flows": self.report.connections,
                "fromWireForNobody": packets(&self.report.wire),
                "toWire": {"packets": wire.packets, "bytes": wire.bytes},
            });
            if self.nic.ports.contains_key(&Port::Kernel)
                && let Some(status) = status.as_object_mut()
            {
                status.insert("kernel".into(), self.port_status(Port::Kernel));
                status.insert("fromKernel".into(), packets(&self.report.kernel));
            }
            status
        })
    }

    fn interface_status(&self, name: &str) -> Option<Value> {
        let interface = self.snapshot?.interfaces.values().find(|i| i.name == name)?;
        let mut status = json!({"port": self.port_status(Port::Vf(interface.vf))});
        let counters = self.report.interfaces.iter().find(|(id, _)| *id == interface.id);
        if let (Some((_, counters)), Some(status)) = (counters, status.as_object_mut()) {
            let delivered = counters.delivered;
            status.insert("fromVm".into(), packets(&counters.from_vm));
            status.insert("fromNetwork".into(), packets(&counters.from_network));
            status.insert(
                "delivered".into(),
                json!({"packets": delivered.packets, "bytes": delivered.bytes}),
            );
        }
        Some(status)
    }

    fn port_status(&self, port: Port) -> Value {
        match self.nic.ports.get(&port) {
            Some(status) => json!({
                "name": port.to_string(),
                "device": status.device,
                "link": if status.link_up { "up" } else { "down" },
            }),
            None => json!({"name": port.to_string(), "link": "absent"}),
        }
    }
}

fn packets(counters: &PacketCounters) -> Value {
    let drops: Map<String, Value> = DropReason::ALL
        .iter()
        .map(|reason| (reason.name().to_owned(), counters.dropped(*reason)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name, count.into()))
        .collect();
    json!({
        "packets": counters.received.packets,
        "bytes": counters.received.bytes,
        "forwarded": counters.forwarded,
        "dropped": counters.all_dropped(),
        "drops": drops,
    })
}

fn list<S: Spec>(
    objects: &Objects<S>,
    status: impl Fn(&Object<S>) -> Option<Value>,
) -> v1::GetResponse {
    let show = |object: &Object<S>| {
        let mut value = serde_json::to_value(object).unwrap_or_default();
        if let (Some(map), Some(status)) = (value.as_object_mut(), status(object)) {
            map.insert("status".into(), status);
        }
        value.to_string()
    };
    v1::GetResponse {
        kind: S::KIND.into(),
        objects: objects.sorted().into_iter().map(show).collect(),
    }
}
