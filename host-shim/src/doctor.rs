//! What is wrong with a host, and how to mend it.

use crate::device::{FunctionKind, Inventory, PfDevice, VFIO_PCI};
use crate::netlink::devlink::Card;
use crate::sysfs::Sysfs;
use crate::topology::Topology;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// All is well.
    Good,
    /// It works, and an operator should know.
    Warning,
    /// Something does not work.
    Bad,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// How it ended.
    pub verdict: Verdict,
    /// What was looked at.
    pub name: String,
    /// What was found.
    pub finding: String,
    /// How to mend it; empty when there is nothing to mend.
    pub mending: String,
}

fn good(name: &str, finding: impl Into<String>) -> Check {
    Check {
        verdict: Verdict::Good,
        name: name.into(),
        finding: finding.into(),
        mending: String::new(),
    }
}

fn not_good(verdict: Verdict, name: &str, finding: impl Into<String>, mending: &str) -> Check {
    Check { verdict, name: name.into(), finding: finding.into(), mending: mending.into() }
}

/// Looks at everything. `cards` is what devlink says, `troubles` what keeps leases from being as they should.
#[must_use]
pub fn examine(
    sysfs: &Sysfs,
    inventory: &Inventory,
    cards: &Result<Vec<Card>, String>,
    troubles: &[(String, String)],
) -> Vec<Check> {
    let mut checks = vec![nics(inventory), iommu(inventory), vfio(sysfs, inventory)];
    checks.extend(physical_functions(inventory));
    checks.extend(sockets(inventory));
    checks.extend(health(cards));
    let topology = Topology::of(inventory);
    checks.extend(topology.warnings.iter().map(|warning| {
        let text = warning.to_string();
        let (finding, mending) = text.split_once(": ").unwrap_or((&text, ""));
        not_good(Verdict::Warning, "isolation", finding, mending)
    }));
    checks.extend(inventory.notes.iter().map(|note| {
        not_good(Verdict::Warning, "devices", note, "see the message; dmesg may know more")
    }));
    checks.extend(troubles.iter().map(|(lease, trouble)| {
        not_good(
            Verdict::Bad,
            "attachment",
            format!("{lease}: {trouble}"),
            "it is tried again by itself; penstock vm detach gives it up",
        )
    }));
    if troubles.is_empty() {
        checks.push(good("attachment", "every VF is as its VM needs it"));
    }
    checks
}

fn nics(inventory: &Inventory) -> Check {
    let (pfs, vfs) = (inventory.physical_functions.len(), inventory.vfs().count());
    if pfs == 0 {
        let mending = "is the card in its slot (lspci), and its driver loaded?";
        return not_good(Verdict::Bad, "NICs", "there is none", mending);
    }
    if vfs == 0 {
        let finding = format!("{pfs} PFs, and no VF");
        return not_good(
            Verdict::Warning,
            "NICs",
            finding,
            "make some: penstock host vfs PF NUMBER",
        );
    }
    good("NICs", format!("{pfs} PFs, {vfs} VFs"))
}

fn iommu(inventory: &Inventory) -> Check {
    let given = |f: &&crate::device::PciFunction| {
        f.physical.is_some() || f.kind == FunctionKind::Gpu || f.kind == FunctionKind::Network
    };
    let of = inventory.functions.iter().filter(given).count();
    let without =
        inventory.functions.iter().filter(given).filter(|f| f.iommu_group.is_none()).count();
    if of == 0 {
        return good("IOMMU", "not needed: there is nothing on the PCI buses to give to VMs");
    }
    if without > 0 {
        return not_good(
            Verdict::Bad,
            "IOMMU",
            format!("{without} of {of} functions are in no IOMMU group"),
            "switch it on in the firmware, and boot with intel_iommu=on or amd_iommu=on",
        );
    }
    good("IOMMU", format!("{of} functions are in IOMMU groups"))
}

fn vfio(sysfs: &Sysfs, inventory: &Inventory) -> Check {
    if sysfs.exists(&format!("bus/pci/drivers/{VFIO_PCI}")) {
        good(VFIO_PCI, "loaded")
    } else if inventory.vfs().any(|(_, vf)| vf.address.is_some()) {
        not_good(
            Verdict::Bad,
            VFIO_PCI,
            "not loaded",
            "modprobe vfio-pci, and name it in /etc/modules-load.d",
        )
    } else {
        good(VFIO_PCI, "not loaded, and not needed")
    }
}

fn physical_functions(inventory: &Inventory) -> Vec<Check> {
    let mut checks = Vec::new();
    for pf in &inventory.physical_functions {
        if pf.mac.is_none() {
            checks.push(not_good(
                Verdict::Bad,
                "identity",
                format!(
                    "PF {} has no interface, so its VFs have no name on which host and DPU agree",
                    pf.device
                ),
                "bind it to its network driver",
            ));
        } else if pf.card.is_none() && matches!(pf.device, PfDevice::Pci(_)) {
            checks.push(not_good(
                Verdict::Warning,
                "identity",
                format!("PF {}: the card says no serial number", pf.device),
                "run as root; else its VFs are known by the PF's address alone",
            ));
        }
    }
    checks
}

fn sockets(inventory: &Inventory) -> Vec<Check> {
    let gone = inventory.vfs().filter_map(|(pf, vf)| {
        let socket = vf.vhost_user.as_ref().filter(|socket| !socket.exists())?;
        Some(not_good(
            Verdict::Bad,
            "vhost-user",
            format!("{}'s {}: no socket at {}", pf.device, vf.number, socket.display()),
            "start the NIC in software that serves it; VMs wait for it",
        ))
    });
    gone.collect()
}

fn health(cards: &Result<Vec<Card>, String>) -> Vec<Check> {
    let cards = match cards {
        Ok(cards) => cards,
        Err(why) => return vec![good("card health", format!("not known: {why}"))],
    };
    let ill = cards.iter().flat_map(|card| {
        card.health.iter().filter(|part| !part.healthy).map(move |part| {
            not_good(
                Verdict::Bad,
                "card health",
                format!("{}: {} is in error ({} errors)", card.handle, part.name, part.errors),
                "devlink health diagnose, then recover; if it returns, the card needs its maker",
            )
        })
    });
    let ill: Vec<Check> = ill.collect();
    if ill.is_empty() {
        return vec![good("card health", format!("{} cards, no part in error", cards.len()))];
    }
    ill
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Sources;
    use crate::device::testing::Tree;
    use crate::netlink::devlink::{Handle, HealthReporter};

    #[test]
    fn a_good_host_and_a_bad_one() {
        let tree = Tree::igb();
        let sysfs = tree.sysfs();
        sysfs.write("bus/pci/devices/0000:01:00.0/sriov_numvfs", 1).unwrap();
        let mut inventory = Inventory::read(&sysfs, &Sources::default()).unwrap();
        let checks = examine(&sysfs, &inventory, &Ok(Vec::new()), &[]);
        assert!(checks.iter().all(|check| check.verdict == Verdict::Good), "{checks:?}");

        std::fs::remove_dir(tree.root().join("bus/pci/drivers/vfio-pci")).unwrap();
        inventory.functions.iter_mut().for_each(|function| function.iommu_group = None);
        inventory.physical_functions[0].mac = None;
        let part = HealthReporter { name: "fw".into(), healthy: false, errors: 2 };
        let handle = Handle { bus: "pci".into(), name: "0000:01:00.0".into() };
        let cards =
            vec![Card { handle, eswitch: None, ports: vec![], rates: vec![], health: vec![part] }];
        let troubles = [("vm-1/net0".to_owned(), "the VF is gone".to_owned())];
        let checks = examine(&sysfs, &inventory, &Ok(cards), &troubles);
        let bad: Vec<&str> =
            checks.iter().filter(|c| c.verdict == Verdict::Bad).map(|c| c.name.as_str()).collect();
        assert_eq!(bad, ["IOMMU", "vfio-pci", "identity", "card health", "attachment"]);
        let unmended = checks.iter().find(|c| c.verdict != Verdict::Good && c.mending.is_empty());
        assert_eq!(unmended, None);
    }
}
