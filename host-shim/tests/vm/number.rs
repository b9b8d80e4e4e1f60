//! A PF and the number of its VFs.

use std::fs;

use host_shim::topology::{Topology, Warning};

use crate::guest::{Daemon, directory, done, function, igb_with_vfs, inventory, pf_of, refused};

pub const CHECKS: &[(&str, fn() -> String)] = &[
    ("a PF is in the inventory, with its identity", identity),
    ("VFs come, up to as many as there can be", enable),
    ("from 4 to 3 VFs: the kernel says EBUSY, penstock goes over 0", over_zero),
    ("each VF behind a root port is alone in its IOMMU group", alone),
    ("the doctor finds nothing broken", doctor),
];

fn identity() -> String {
    let _daemon = Daemon::fresh("");
    let inventory = inventory();
    let pf = pf_of(&inventory, "igb");
    assert_eq!(pf.mac.expect("a MAC").to_string(), "52:54:00:00:00:01");
    assert_eq!((pf.total_vfs, pf.vfs.len()), (7, 0));
    let table = done(&["host", "inventory"]);
    assert!(table.contains("52:54:00:00:00:01") && table.contains("0/7"), "{table}");
    // QEMU's card has no serial number, neither as VPD nor as a capability: its VFs are known by the PF's MAC alone.
    assert_eq!(pf.card, None);
    format!("PF {} of driver igb, up to 7 VFs", pf.device)
}

fn enable() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(7);
    assert_eq!(pf.vfs.len(), 7);
    let name = pf.net.as_ref().unwrap().name.as_str();
    refused(&["host", "vfs", name, "8"], "8 VFs are wanted, 7 are what it can have");
    let ids: Vec<String> = pf.vfs.iter().map(|vf| vf.id.as_ref().unwrap().to_string()).collect();
    assert!(ids[6].ends_with("/52:54:00:00:00:01/vf6"), "{ids:?}");
    format!("7, the last {}", ids[6])
}

fn over_zero() -> String {
    const EBUSY: i32 = 16;
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(4);
    let device = pf.device.to_string();
    let attribute = format!("{}/sriov_numvfs", directory(device.parse().unwrap()));
    let error = fs::write(&attribute, "3").expect_err("the kernel refuses");
    assert_eq!(error.raw_os_error(), Some(EBUSY), "{error}");
    done(&["host", "vfs", &device, "3"]);
    assert_eq!(fs::read_to_string(&attribute).unwrap().trim(), "3");
    "EBUSY, then 3".into()
}

fn alone() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(4);
    let inventory = inventory();
    let groups: Vec<u32> =
        pf.vfs.iter().map(|vf| function(&inventory, vf).iommu_group.expect("a group")).collect();
    for group in &groups {
        assert_eq!(inventory.group(*group).count(), 1, "group {group}");
    }
    let text = done(&["host", "topology", "-o", "json"]);
    let topology: Topology = serde_json::from_str(&text).unwrap();
    let shared = |warning: &&Warning| matches!(warning, Warning::SharedGroup { .. });
    assert_eq!(topology.warnings.iter().find(shared), None);
    format!("groups {groups:?}")
}

fn doctor() -> String {
    let _daemon = Daemon::fresh("");
    igb_with_vfs(2);
    let text = done(&["host", "doctor"]);
    let good = text.lines().filter(|line| line.starts_with("good")).count();
    done(&["host", "support-bundle", "--file", "/tmp/bundle.tar"]);
    let size = fs::metadata("/tmp/bundle.tar").unwrap().len();
    assert!(size > 1024, "{size}");
    assert!(good >= 5, "{text}");
    format!("{good} good, a support bundle of {size} bytes")
}
