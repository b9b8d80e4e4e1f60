//! A host's devices for people.

use host_shim::api::v1::{Check, check};
use host_shim::device::{Inventory, NetDevice};
use host_shim::topology::Topology;

use crate::table;

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

fn link(net: Option<&NetDevice>) -> String {
    match net {
        None => "-".into(),
        Some(net) if !net.up => "off".into(),
        Some(NetDevice { carrier: Some(true), speed, .. }) => match speed {
            Some(speed) => format!("{speed} Mbit/s"),
            None => "up".into(),
        },
        Some(_) => "no carrier".into(),
    }
}

/// PFs, VFs and GPUs, and what could not be read.
pub fn inventory(inventory: &Inventory) -> String {
    let mut pfs =
        table::table(&["pf", "interface", "mac", "serial", "link", "vfs", "node", "driver"]);
    for pf in &inventory.physical_functions {
        let function =
            inventory.functions.iter().find(|f| f.address.to_string() == pf.device.to_string());
        pfs.add_row([
            pf.device.to_string(),
            or_dash(pf.net.as_ref().map(|net| &net.name)),
            or_dash(pf.mac),
            or_dash(pf.card.as_ref()),
            link(pf.net.as_ref()),
            format!("{}/{}", pf.vfs.len(), pf.total_vfs),
            or_dash(function.and_then(|f| f.numa_node)),
            or_dash(function.and_then(|f| f.driver.as_ref())),
        ]);
    }
    let mut vfs = table::table(&["vf", "address", "interface", "group", "driver", "socket"]);
    for (_, vf) in inventory.vfs() {
        let function = vf.address.and_then(|address| inventory.function(address));
        vfs.add_row([
            or_dash(vf.id.as_ref()),
            or_dash(vf.address),
            or_dash(vf.net.as_ref().map(|net| &net.name)),
            or_dash(function.and_then(|f| f.iommu_group)),
            or_dash(function.and_then(|f| f.driver.as_ref())),
            or_dash(vf.vhost_user.as_ref().map(|socket| socket.display())),
        ]);
    }
    let mut gpus = table::table(&["gpu", "device", "group", "node", "driver"]);
    for gpu in inventory.gpus() {
        gpus.add_row([
            gpu.address.to_string(),
            format!("{:04x}:{:04x}", gpu.vendor, gpu.device),
            or_dash(gpu.iommu_group),
            or_dash(gpu.numa_node),
            or_dash(gpu.driver.as_ref()),
        ]);
    }
    let mut parts = vec![table::text(&pfs), table::text(&vfs), table::text(&gpus)];
    parts.extend(inventory.notes.iter().map(|note| format!("note: {note}")));
    parts.join("\n\n")
}

/// The tree, the pairs of VFs and GPUs, the warnings.
pub fn topology(tree: &str, topology: &Topology, warnings: &[String]) -> String {
    let mut pairs = table::table(&["gpu", "vf", "address", "distance", "reason"]);
    for pair in &topology.pairs {
        pairs.add_row([
            pair.gpu.to_string(),
            pair.vf.to_string(),
            pair.vf_address.to_string(),
            pair.distance.words().to_owned(),
            pair.reason.clone(),
        ]);
    }
    let mut parts = vec![tree.trim_end().to_owned(), table::text(&pairs)];
    parts.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    parts.join("\n\n")
}

/// How a check ended.
pub fn result(result: check::Result) -> &'static str {
    match result {
        check::Result::Good => "good",
        check::Result::Warning => "warning",
        check::Result::Bad => "bad",
        check::Result::Unspecified => "unknown",
    }
}

/// A line for each check, and below it how to mend it.
pub fn checks(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        lines.push(format!("{:<8} {}: {}", result(check.result()), check.name, check.finding));
        if !check.mending.is_empty() {
            lines.push(format!("{:<8} -> {}", "", check.mending));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_say_how_to_mend() {
        let check = |result: check::Result, mending: &str| Check {
            result: result.into(),
            name: "IOMMU".into(),
            finding: "off".into(),
            mending: mending.into(),
        };
        assert_eq!(
            checks(&[check(check::Result::Good, ""), check(check::Result::Bad, "switch it on")]),
            "good     IOMMU: off\nbad      IOMMU: off\n         -> switch it on"
        );
    }

    #[test]
    fn devices_as_tables() {
        let text = r#"{
            "functions": [], "representors": [], "notes": ["x: damaged"],
            "physicalFunctions": [{"device": {"software": "sim"}, "card": "SIM1", "mac": "02:00:00:00:01:00", "net": null,
                "totalVfs": 1, "vfs": [{"id": "SIM1/02:00:00:00:01:00/vf0", "number": 0, "address": null, "net": null,
                "vhostUser": "/run/vf0.sock"}]}]}"#;
        let text = inventory(&serde_json::from_str(text).unwrap());
        assert!(text.contains("sim  -          02:00:00:00:01:00  SIM1    -     1/1"), "{text}");
        assert!(text.contains("/run/vf0.sock") && text.ends_with("note: x: damaged"), "{text}");
    }
}
