//! A VF goes to a VM and comes back, on a real driver.

use std::fs;

use host_shim::device::PhysicalFunction;

use crate::guest::{
    Daemon, directory, done, igb_with_vfs, ip, is_free, is_given, kept, leases, mac, penstock,
    refused, wait_for,
};

pub const CHECKS: &[(&str, fn() -> String)] = &[
    ("a VF goes to vfio-pci with the VM's MAC, and comes back", there_and_back),
    ("what else a PF keeps is set, and undone", settings),
    ("a setting that the driver does not know leaves nothing behind", unknown_setting),
    ("a setting that the driver does not take now leaves nothing behind", refused_setting),
    ("VFs, MACs and the number of VFs belong to who has them", no_two_owners),
    ("a VF that a program has open is not taken away", in_use),
    ("a MAC that the PF forgets is set again", forgotten_mac),
    ("VFs that vanish and return are attached again", vanished),
    ("who has a VF survives kill -9", killed),
];

const MAC: &str = "02:00:00:00:00:01";

fn attach(vm: &str, mac: &str, more: &[&str]) -> String {
    done(&[&["vm", "attach", vm, "--mac", mac], more].concat())
}

fn given(pf: &PhysicalFunction, vf: usize, mac: &str) {
    is_given(pf, &pf.vfs[vf], mac).unwrap();
}

fn free(pf: &PhysicalFunction, vf: usize) {
    is_free(pf, &pf.vfs[vf]).unwrap();
}

fn there_and_back() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(2);
    let qemu = attach("vm-1", MAC, &["-o", "qemu"]);
    let address = pf.vfs[0].address.unwrap();
    assert!(qemu.contains(&format!("vfio-pci,host={address}")), "{qemu}");
    given(&pf, 0, MAC);
    free(&pf, 1);
    // Who asks again gets the same.
    let libvirt = attach("vm-1", MAC, &["-o", "libvirt"]);
    assert!(libvirt.contains("<hostdev"), "{libvirt}");
    let list = leases();
    assert_eq!(list.len(), 1);
    assert_eq!((&list[0]["state"], &list[0]["canMigrate"]), (&"attached".into(), &false.into()));
    done(&["vm", "detach", "vm-1"]);
    free(&pf, 0);
    assert_eq!(leases().len(), 0);
    format!("{address}: igbvf, vfio-pci, igbvf")
}

fn settings() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(1);
    let before = kept(&pf, 0);
    attach("vm-1", MAC, &["--vlan", "7", "--trust", "true", "--spoof-check", "false"]);
    let set = kept(&pf, 0);
    assert_eq!(
        (&set["vlan_list"][0]["vlan"], &set["trust"], &set["spoofchk"]),
        (&7.into(), &true.into(), &false.into()),
        "{set}"
    );
    done(&["vm", "detach", "vm-1"]);
    assert_eq!(kept(&pf, 0), before);
    "VLAN 7, trusted, sources not checked; then as before".into()
}

/// igb keeps no link state of its VFs.
fn unknown_setting() -> String {
    refused_with(&["--link", "enable"], "link state of")
}

/// igb wants a link before it limits a rate.
fn refused_setting() -> String {
    refused_with(&["--max-rate", "100"], "rate of")
}

fn refused_with(more: &[&str], words: &str) -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(1);
    let said = penstock(&[&["vm", "attach", "vm-1", "--mac", MAC], more].concat());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.errors.contains(words), "{said:?}");
    free(&pf, 0);
    assert_eq!(leases().len(), 0);
    said.errors.trim().to_owned()
}

fn no_two_owners() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(2);
    let vf = pf.vfs[0].id.as_ref().unwrap().to_string();
    attach("vm-1", MAC, &["--vf", &vf]);
    refused(
        &["vm", "attach", "vm-2", "--mac", "02:00:00:00:00:02", "--vf", &vf],
        "belongs to vm-1/net0",
    );
    refused(&["vm", "attach", "vm-2", "--mac", MAC], "is the address of vm-1/net0");
    let device = pf.device.to_string();
    refused(&["host", "vfs", &device, "1"], "detach first: vm-1");
    attach("vm-2", "02:00:00:00:00:02", &[]);
    refused(
        &["vm", "attach", "vm-3", "--mac", "02:00:00:00:00:03"],
        "no VF is free for vfio: 2 there are, 2 belong",
    );
    given(&pf, 0, MAC);
    given(&pf, 1, "02:00:00:00:00:02");
    "4 refusals, each with its reason".into()
}

/// The kernel lets one program at a time have a group, as a VM's QEMU would.
fn in_use() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(1);
    attach("vm-1", MAC, &[]);
    let address = pf.vfs[0].address.unwrap();
    let group = fs::read_link(format!("{}/iommu_group", directory(address))).unwrap();
    let node = format!("/dev/vfio/{}", group.file_name().unwrap().to_string_lossy());
    let open = fs::File::options().read(true).write(true).open(&node).unwrap();
    refused(&["vm", "detach", "vm-1"], "a program has the VF open");
    given(&pf, 0, MAC);
    drop(open);
    done(&["vm", "detach", "vm-1"]);
    free(&pf, 0);
    node
}

fn forgotten_mac() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(1);
    attach("vm-1", MAC, &[]);
    let name = pf.net.as_ref().unwrap().name.as_str();
    ip(&["link", "set", name, "vf", "0", "mac", "02:00:00:00:00:99"]);
    wait_for("MAC", || (mac(&pf, 0) == MAC).then_some(()));
    wait_for("good state", || (leases()[0]["trouble"] == "").then_some(()));
    format!("{MAC} again")
}

fn vanished() -> String {
    let _daemon = Daemon::fresh("");
    let pf = igb_with_vfs(2);
    attach("vm-1", MAC, &[]);
    let attribute = format!("{}/sriov_numvfs", directory(pf.device.to_string().parse().unwrap()));
    fs::write(&attribute, "0").unwrap();
    let trouble = wait_for("trouble", || {
        let trouble = leases()[0]["trouble"].as_str().unwrap().to_owned();
        (!trouble.is_empty()).then_some(trouble)
    });
    assert!(trouble.contains("the VF is gone"), "{trouble}");
    fs::write(&attribute, "2").unwrap();
    wait_for("VF of the VM", || is_given(&pf, &pf.vfs[0], MAC).is_ok().then_some(()));
    wait_for("good state", || (leases()[0]["trouble"] == "").then_some(()));
    trouble
}

fn killed() -> String {
    let daemon = Daemon::fresh("");
    let pf = igb_with_vfs(2);
    attach("vm-1", MAC, &[]);
    drop(daemon);
    // Somebody takes the VF away while nobody looks.
    let address = pf.vfs[0].address.unwrap();
    fs::write("/sys/bus/pci/drivers/vfio-pci/unbind", address.to_string()).unwrap();
    let name = pf.net.as_ref().unwrap().name.as_str();
    ip(&["link", "set", name, "vf", "0", "mac", "02:00:00:00:00:99"]);
    let daemon = Daemon::start("");
    daemon.answers();
    wait_for("VF of the VM", || is_given(&pf, &pf.vfs[0], MAC).is_ok().then_some(()));
    done(&["vm", "detach", "vm-1"]);
    free(&pf, 0);
    "taken away meanwhile, given again at the start".into()
}
