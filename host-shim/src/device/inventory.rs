//! All of a host's devices that have to do with VMs' networks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    FunctionKind, PciFunction, PhysicalFunction, Representor, SoftwareCard, VfId, VirtualFunction,
};
use crate::sysfs::{PciAddress, Sysfs, SysfsError};

/// What the configuration adds to what can be found out.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Functions that are GPUs although their class does not say so.
    pub gpus: BTreeSet<PciAddress>,
    /// NICs in software.
    pub cards: Vec<SoftwareCard>,
}

/// A host's devices at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inventory {
    /// GPUs, network functions, the ports above them, and whatever shares an IOMMU group with them; by address.
    pub functions: Vec<PciFunction>,
    /// PFs of NICs, with their VFs.
    pub physical_functions: Vec<PhysicalFunction>,
    /// Interfaces that stand for VFs.
    pub representors: Vec<Representor>,
    /// What could not be read or believed.
    pub notes: Vec<String>,
}

impl Inventory {
    /// Reads it.
    ///
    /// # Errors
    /// When sysfs itself cannot be read. What is wrong with one device is a note.
    pub fn read(sysfs: &Sysfs, sources: &Sources) -> Result<Self, SysfsError> {
        let mut inventory = Self::default();
        let mut all = Vec::new();
        for address in PciFunction::addresses(sysfs)? {
            match PciFunction::read(sysfs, address) {
                Ok(Some(mut function)) => {
                    if sources.gpus.contains(&address) {
                        function.kind = FunctionKind::Gpu;
                    }
                    all.push(function);
                }
                Ok(None) => {}
                Err(error) => inventory.notes.push(error.to_string()),
            }
        }
        for gpu in &sources.gpus {
            if !all.iter().any(|function| function.address == *gpu) {
                inventory
                    .notes
                    .push(format!("{gpu}: named as a GPU in the configuration, and not there"));
            }
        }
        inventory.physical_functions =
            Self::physical_functions(sysfs, &all, sources, &mut inventory.notes)?;
        inventory.representors = Representor::all(sysfs)?;
        inventory.functions = relevant(all);
        Ok(inventory)
    }

    fn physical_functions(
        sysfs: &Sysfs,
        all: &[PciFunction],
        sources: &Sources,
        notes: &mut Vec<String>,
    ) -> Result<Vec<PhysicalFunction>, SysfsError> {
        let mut found = Vec::new();
        let physical = |f: &&PciFunction| f.kind == FunctionKind::Network && f.physical.is_none();
        for function in all.iter().filter(physical) {
            match PhysicalFunction::on_pci(sysfs, function, notes) {
                Ok(physical) => found.push(physical),
                Err(error) => notes.push(error.to_string()),
            }
        }
        for name in sysfs.names("bus/netdevsim/devices")? {
            match PhysicalFunction::simulated(sysfs, &name) {
                Ok(physical) => found.push(physical),
                Err(error) => notes.push(error.to_string()),
            }
        }
        found.extend(sources.cards.iter().map(|card| PhysicalFunction::software(card, notes)));
        Ok(found)
    }

    /// The function at an address.
    #[must_use]
    pub fn function(&self, address: PciAddress) -> Option<&PciFunction> {
        self.functions.iter().find(|function| function.address == address)
    }

    /// All GPUs.
    pub fn gpus(&self) -> impl Iterator<Item = &PciFunction> {
        self.functions.iter().filter(|function| function.kind == FunctionKind::Gpu)
    }

    /// All VFs, with their PFs.
    pub fn vfs(&self) -> impl Iterator<Item = (&PhysicalFunction, &VirtualFunction)> {
        self.physical_functions.iter().flat_map(|pf| pf.vfs.iter().map(move |vf| (pf, vf)))
    }

    /// A VF and its PF.
    #[must_use]
    pub fn vf(&self, id: &VfId) -> Option<(&PhysicalFunction, &VirtualFunction)> {
        self.vfs().find(|(_, vf)| vf.id.as_ref() == Some(id))
    }

    /// The functions of an IOMMU group.
    pub fn group(&self, group: u32) -> impl Iterator<Item = &PciFunction> {
        self.functions.iter().filter(move |function| function.iommu_group == Some(group))
    }
}

/// Without what has nothing to do with networks of VMs: a host has hundreds of functions of its own.
fn relevant(all: Vec<PciFunction>) -> Vec<PciFunction> {
    let ours = |f: &PciFunction| matches!(f.kind, FunctionKind::Gpu | FunctionKind::Network);
    let groups: BTreeSet<u32> =
        all.iter().filter(|f| ours(f)).filter_map(|f| f.iommu_group).collect();
    let shares = |f: &PciFunction| f.iommu_group.is_some_and(|group| groups.contains(&group));
    let ports: BTreeSet<PciAddress> =
        all.iter().filter(|f| ours(f)).flat_map(|f| f.path.iter().copied()).collect();
    all.into_iter().filter(|f| ours(f) || shares(f) || ports.contains(&f.address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::Tree;
    use crate::device::{PfDevice, VfNumber};
    use std::fs;

    #[test]
    fn a_host_with_a_nic() {
        let tree = Tree::igb();
        let sysfs = tree.sysfs();
        sysfs.write("bus/pci/devices/0000:01:00.0/sriov_numvfs", 2).unwrap();
        let inventory = Inventory::read(&sysfs, &Sources::default()).unwrap();
        assert_eq!(inventory.notes, Vec::<String>::new());
        assert_eq!(inventory.functions.len(), 4);
        let vf = inventory.function("0000:01:10.1".parse().unwrap()).unwrap();
        assert_eq!(vf.root, "pci0000:00");
        assert_eq!(vf.path, ["0000:00:02.0".parse().unwrap()]);
        assert_eq!(
            (vf.driver.as_deref(), vf.iommu_group, vf.numa_node),
            (Some("igbvf"), Some(21), Some(0))
        );
        assert_eq!(vf.physical, Some("0000:01:00.0".parse().unwrap()));
        let id = "IGB0001/52:54:00:00:00:01/vf1".parse().unwrap();
        let (physical, vf) = inventory.vf(&id).unwrap();
        assert_eq!(physical.device, PfDevice::Pci("0000:01:00.0".parse().unwrap()));
        assert_eq!(physical.net.as_ref().unwrap().name.as_str(), "eth1");
        assert_eq!((physical.total_vfs, vf.number), (7, VfNumber(1)));
        let text = serde_json::to_string(&inventory).unwrap();
        assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), inventory);
    }

    #[test]
    fn what_is_damaged_is_a_note_and_hides_nothing_else() {
        let tree = Tree::igb();
        let device = tree.root().join("devices/pci0000:00/0000:00:02.0/0000:01:00.0");
        fs::write(device.join("vpd"), [0x82, 0xff, 0xff]).unwrap();
        fs::write(tree.root().join("devices/pci0000:00/0000:00:02.0/class"), "bridge").unwrap();
        let inventory = Inventory::read(&tree.sysfs(), &Sources::default()).unwrap();
        assert_eq!(inventory.notes.len(), 2, "{:?}", inventory.notes);
        assert!(
            inventory.notes[0].contains("`bridge` is not a hexadecimal number"),
            "{:?}",
            inventory.notes
        );
        assert!(inventory.notes[1].contains("VPD ends at byte 3"), "{:?}", inventory.notes);
        // The capability says who it is, then.
        assert_eq!(
            inventory.physical_functions[0].card.as_ref().unwrap().as_str(),
            "b8-3f-d2-03-00-12-34-56"
        );
    }

    #[test]
    fn devices_without_functions() {
        let tree = Tree::empty();
        let device = tree.root().join("bus/netdevsim/devices/netdevsim1");
        fs::create_dir_all(device.join("net/eni1np1")).unwrap();
        fs::write(device.join("sriov_numvfs"), "3\n").unwrap();
        for (name, port) in [("eni1np1", "p1"), ("eth7", "pf0vf2")] {
            let net = tree.root().join("class/net").join(name);
            fs::create_dir_all(&net).unwrap();
            fs::write(net.join("flags"), "0x1003\n").unwrap();
            fs::write(net.join("address"), "02:00:00:00:00:07\n").unwrap();
            fs::write(net.join("phys_port_name"), port).unwrap();
            fs::write(net.join("phys_switch_id"), "abcd\n").unwrap();
        }
        let sources = Sources {
            gpus: ["0000:41:00.0".parse().unwrap()].into(),
            cards: vec![SoftwareCard {
                name: "sim".into(),
                serial: "SIM1".parse().unwrap(),
                pf_mac: "02:00:00:00:01:00".parse().unwrap(),
                sockets: [("vf0".into(), "/run/vf0.sock".into()), ("vf01".into(), "/x".into())]
                    .into(),
            }],
        };
        let inventory = Inventory::read(&tree.sysfs(), &sources).unwrap();
        assert_eq!(inventory.physical_functions[0].vfs.len(), 3);
        assert!(inventory.vf(&"-/02:00:00:00:00:07/vf2".parse().unwrap()).is_some());
        let (_, vf) = inventory.vf(&"SIM1/02:00:00:00:01:00/vf0".parse().unwrap()).unwrap();
        assert_eq!(vf.vhost_user.as_deref(), Some("/run/vf0.sock".as_ref()));
        assert_eq!((inventory.representors[0].pf, inventory.representors[0].vf), (0, VfNumber(2)));
        assert_eq!(inventory.notes.len(), 2, "{:?}", inventory.notes);
    }
}
