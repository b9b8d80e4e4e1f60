//! Functions on the PCI buses.

use serde::{Deserialize, Serialize};

use super::config_space::{Acs, ConfigSpace, ExpressKind};
use crate::sysfs::{PciAddress, Sysfs, SysfsError};

const DEVICES: &str = "bus/pci/devices";

/// What a function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FunctionKind {
    /// Display controllers and processing accelerators.
    Gpu,
    /// Network controllers.
    Network,
    /// Bridges between buses: ports of root complexes and switches.
    Bridge,
    /// All others.
    Other,
}

impl FunctionKind {
    /// By class: base class, subclass, programming interface.
    #[must_use]
    pub const fn of_class(class: u32) -> Self {
        match class >> 8 {
            // VGA, 3D controllers, processing accelerators.
            0x0300 | 0x0302 | 0x1200 => Self::Gpu,
            0x0604 => Self::Bridge,
            other if other >> 8 == 0x02 => Self::Network,
            _ => Self::Other,
        }
    }
}

/// A function on the PCI buses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PciFunction {
    /// Where it is.
    pub address: PciAddress,
    /// What it is for.
    pub kind: FunctionKind,
    /// Its class, as its configuration space has it.
    pub class: u32,
    /// Who made it.
    pub vendor: u32,
    /// What it is, by its vendor's numbers.
    pub device: u32,
    /// The driver it is bound to.
    pub driver: Option<String>,
    /// The only driver that may bind it.
    pub driver_override: Option<String>,
    /// The NUMA node it is at, where the firmware says so.
    pub numa_node: Option<u32>,
    /// The smallest set of functions that can be given to a VM, where there is an IOMMU.
    pub iommu_group: Option<u32>,
    /// The root complex it is behind, as in `pci0000:00`.
    pub root: String,
    /// The ports between the root complex and it, from the root.
    pub path: Vec<PciAddress>,
    /// Its place in PCI Express.
    pub express: Option<ExpressKind>,
    /// Its Access Control Services; of ports only.
    pub acs: Option<Acs>,
    /// The PF, when it is a VF.
    pub physical: Option<PciAddress>,
}

impl PciFunction {
    /// The directory of a function.
    pub(super) fn directory(address: PciAddress) -> String {
        format!("{DEVICES}/{address}")
    }

    /// Where all functions are.
    pub(super) fn addresses(sysfs: &Sysfs) -> Result<Vec<PciAddress>, SysfsError> {
        Ok(sysfs.names(DEVICES)?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Reads what there is to know of a function; none when there is no such function (any more).
    ///
    /// # Errors
    /// When sysfs has what no kernel writes, or cannot be read.
    pub fn read(sysfs: &Sysfs, address: PciAddress) -> Result<Option<Self>, SysfsError> {
        let directory = Self::directory(address);
        let at = |name: &str| format!("{directory}/{name}");
        let Some(parts) = sysfs.resolved(&directory)? else { return Ok(None) };
        let Some(class) = sysfs.hexadecimal(&at("class"))? else { return Ok(None) };
        let kind = FunctionKind::of_class(class);
        let config = sysfs.bytes(&at("config"))?.unwrap_or_default();
        let space = ConfigSpace::new(&config);
        let mut path: Vec<PciAddress> = parts.iter().filter_map(|part| part.parse().ok()).collect();
        path.pop();
        Ok(Some(Self {
            address,
            kind,
            class,
            vendor: sysfs.hexadecimal(&at("vendor"))?.unwrap_or_default(),
            device: sysfs.hexadecimal(&at("device"))?.unwrap_or_default(),
            driver: sysfs.link_name(&at("driver"))?,
            driver_override: sysfs
                .text(&at("driver_override"))?
                .filter(|text| !text.is_empty() && text != "(null)"),
            numa_node: sysfs
                .number::<i32>(&at("numa_node"))?
                .and_then(|node| u32::try_from(node).ok()),
            iommu_group: match sysfs.link_name(&at("iommu_group"))? {
                Some(name) => name.parse().ok(),
                None => None,
            },
            root: parts.iter().find(|part| part.starts_with("pci")).cloned().unwrap_or_default(),
            path,
            express: space.express_kind(),
            acs: (kind == FunctionKind::Bridge).then(|| space.acs()),
            physical: sysfs.link_name(&at("physfn"))?.and_then(|name| name.parse().ok()),
        }))
    }
}
