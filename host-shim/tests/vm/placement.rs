//! Switches without ACS, GPUs near and far.

use host_shim::topology::{Distance, Topology, Warning};
use serde_json::Value;

use crate::guest::{Daemon, directory, done, inventory};

pub const CHECKS: &[(&str, fn() -> String)] = &[
    ("the VF nearest to a VM's GPU is taken", nearest),
    ("functions behind a switch without ACS share a group: an attachment warns", shared),
];

/// PCI devices that stand in for GPUs: those that QEMU has for tests of PCI, by their NUMA node.
fn gpus() -> Vec<(String, i32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/bus/pci/devices").unwrap() {
        let path = entry.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        if (read("vendor").trim(), read("device").trim()) == ("0x1b36", "0x0005") {
            let address = path.file_name().unwrap().to_string_lossy().into_owned();
            found.push((address, read("numa_node").trim().parse().unwrap()));
        }
    }
    found.sort_by_key(|(_, node)| *node);
    found
}

fn start() -> (Daemon, Vec<(String, i32)>) {
    let gpus = gpus();
    assert_eq!(gpus.len(), 2, "{gpus:?}");
    let list: Vec<String> = gpus.iter().map(|(address, _)| format!("\"{address}\"")).collect();
    let daemon = Daemon::fresh(&format!("[devices]\ngpus = [{}]", list.join(", ")));
    for pf in inventory().physical_functions {
        done(&["host", "vfs", &pf.device.to_string(), "0"]);
        done(&["host", "vfs", &pf.device.to_string(), "2"]);
    }
    (daemon, gpus)
}

fn topology() -> Topology {
    serde_json::from_str(&done(&["host", "topology", "-o", "json"])).unwrap()
}

fn attach(vm: &str, mac: &str, gpu: &str) -> Value {
    serde_json::from_str(&done(&["vm", "attach", vm, "--mac", mac, "--gpu", gpu, "-o", "json"]))
        .unwrap()
}

fn nearest() -> String {
    let (_daemon, gpus) = start();
    let (near, far) = (&gpus[0], &gpus[1]);
    assert_eq!(far.1, 1, "{gpus:?}");
    let topology = topology();
    let distances = |gpu: &str| {
        let pairs = topology.pairs.iter().filter(|pair| pair.gpu.to_string() == gpu);
        pairs.map(|pair| pair.distance).collect::<Vec<_>>()
    };
    use Distance::{Across, SameRootComplex, SameSwitch};
    assert_eq!(distances(&near.0), [SameSwitch, SameSwitch, SameRootComplex, SameRootComplex]);
    assert_eq!(distances(&far.0), [Across; 4]);
    let lease = attach("vm-1", "02:00:00:00:00:01", &near.0);
    let taken = &topology.pairs.iter().find(|pair| pair.gpu.to_string() == near.0).unwrap();
    assert_eq!(lease["address"], taken.vf_address.to_string());
    let tree = done(&["host", "topology"]);
    assert!(tree.contains(&near.0) && tree.contains("same switch"), "{tree}");
    format!("{} for GPU {}: {}", taken.vf_address, near.0, taken.reason)
}

fn shared() -> String {
    let (_daemon, gpus) = start();
    let groups: Vec<(u32, usize)> = topology()
        .warnings
        .iter()
        .filter_map(|warning| match warning {
            Warning::SharedGroup { group, members } => Some((*group, members.len())),
            _ => None,
        })
        .collect();
    // The PF and its two VFs behind the switch, with their port; the other card's VFs have groups of their own.
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0].1, 3, "{groups:?}");
    let lease = attach("vm-1", "02:00:00:00:00:01", &gpus[0].0);
    let warnings: Vec<&str> =
        lease["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let group = format!("IOMMU group {} is shared by", groups[0].0);
    let about_group = warnings.iter().find(|warning| warning.starts_with(&group));
    let ports = warnings.iter().filter(|warning| warning.contains("has no ACS")).count();
    assert!(ports > 0, "{warnings:?}");
    // It reports, and goes on: what the kernel says of the group is the same.
    let address = lease["address"].as_str().unwrap().parse().unwrap();
    let members = std::fs::read_dir(format!("{}/iommu_group/devices", directory(address))).unwrap();
    assert!(members.count() >= 4);
    let doctor = done(&["host", "doctor"]);
    assert!(doctor.contains(&group), "{doctor}");
    about_group.unwrap_or_else(|| panic!("{warnings:?}")).to_string()
}
