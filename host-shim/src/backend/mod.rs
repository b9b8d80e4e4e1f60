//! The ways of giving a VF to a VM, and which of them a VM can take along to another host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::device::{Inventory, PciFunction, VirtualFunction};

/// A way of giving a VF to a VM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// The function itself, by SR-IOV and vfio-pci.
    Vfio,
    /// A socket of a NIC or switch in software, which shares the VM's memory.
    VhostUser,
    /// A virtio device whose rings the card serves.
    Vdpa,
}

/// A text that names no back end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no back end; they are vfio, vhost-user and vdpa")]
pub struct BackendError(String);

impl BackendKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Vfio, Self::VhostUser, Self::Vdpa];

    /// As it is written everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vfio => "vfio",
            Self::VhostUser => "vhost-user",
            Self::Vdpa => "vdpa",
        }
    }

    /// Whether a VF can be given this way.
    #[must_use]
    pub const fn suits(self, vf: &VirtualFunction) -> bool {
        match self {
            Self::Vfio | Self::Vdpa => vf.address.is_some(),
            Self::VhostUser => vf.vhost_user.is_some(),
        }
    }

    /// Whether a VM with a VF of this kind can move to another host while it runs.
    #[must_use]
    pub fn migration(
        self,
        inventory: &Inventory,
        vf: &VirtualFunction,
        kernel: Option<Kernel>,
    ) -> Migration {
        match self {
            Self::VhostUser => Migration::Possible(
                "the state of a virtio device is in the VM's memory; the other host needs a vhost-user socket, too",
            ),
            Self::Vdpa => Migration::No(
                "QEMU migrates vDPA devices only with shadow virtqueues (x-svq), which is still an experiment; use vhost-user",
            ),
            Self::Vfio => vfio(vf.address.and_then(|address| inventory.function(address)), kernel),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            BackendError(text.chars().take(40).flat_map(char::escape_debug).collect())
        })
    }
}

/// Whether a VM can move while it runs, with the reason or the condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Migration {
    /// It can, where this holds.
    Possible(&'static str),
    /// It cannot.
    No(&'static str),
}

/// A kernel's version, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kernel {
    major: u32,
    minor: u32,
}

impl Kernel {
    /// The first with migration of mlx5 VFs as it is known to work.
    const MIGRATES: Self = Self { major: 6, minor: 7 };

    /// From a release, as in `6.12.9+deb13-amd64`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

const MELLANOX: u32 = 0x15b3;

/// A card must keep the state of a VF for its driver; few do.
fn vfio(function: Option<&PciFunction>, kernel: Option<Kernel>) -> Migration {
    let Some(function) = function else {
        return Migration::No("the VF is gone");
    };
    if function.vendor != MELLANOX {
        return Migration::No("this card cannot hand over a VF's state; use vhost-user");
    }
    if kernel.is_none_or(|kernel| kernel < Kernel::MIGRATES) {
        return Migration::No("the kernel is older than 6.7; use a newer one, or vhost-user");
    }
    if function.driver.as_deref() != Some("mlx5_vfio_pci") {
        return Migration::No(
            "the VF is bound to vfio-pci, which keeps no state of a device (mlx5_vfio_pci of ConnectX-7 and BlueField-3 does); use vhost-user",
        );
    }
    Migration::Possible("both cards need the same firmware, and VF migration switched on in it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Sources;
    use crate::device::testing::Tree;

    #[test]
    fn why_not() {
        let tree = Tree::igb();
        let sysfs = tree.sysfs();
        sysfs.write("bus/pci/devices/0000:01:00.0/sriov_numvfs", 1).unwrap();
        let mut inventory = Inventory::read(&sysfs, &Sources::default()).unwrap();
        let vf = inventory.vfs().next().unwrap().1.clone();
        let kernel = Kernel::parse("6.12.9+deb13-amd64");
        let says = |inventory: &Inventory, kernel| match BackendKind::Vfio
            .migration(inventory, &vf, kernel)
        {
            Migration::Possible(text) => format!("yes: {text}"),
            Migration::No(text) => text.to_owned(),
        };
        assert!(says(&inventory, kernel).starts_with("this card cannot"));
        let at = inventory.functions.iter().position(|f| Some(f.address) == vf.address).unwrap();
        inventory.functions[at].vendor = MELLANOX;
        assert!(
            says(&inventory, Kernel::parse("6.1.0-40-amd64")).starts_with("the kernel is older")
        );
        assert!(says(&inventory, None).starts_with("the kernel is older"));
        assert!(says(&inventory, kernel).contains("vfio-pci, which keeps no state"));
        inventory.functions[at].driver = Some("mlx5_vfio_pci".into());
        assert!(says(&inventory, kernel).starts_with("yes: both cards need"));
        assert!(matches!(
            BackendKind::VhostUser.migration(&inventory, &vf, kernel),
            Migration::Possible(_)
        ));
        assert!(matches!(BackendKind::Vdpa.migration(&inventory, &vf, kernel), Migration::No(_)));
    }
}
