//! How many VFs a PF has.

use thiserror::Error;

use super::{PfDevice, PhysicalFunction};
use crate::sysfs::{Sysfs, SysfsError};

/// Why a PF does not get the wanted number of VFs.
#[derive(Debug, Error)]
pub enum SriovError {
    /// It has no such number.
    #[error(
        "{device}: {wanted} VFs are wanted, {total} are what it can have; raise the number in the card's firmware, or ask for fewer"
    )]
    TooMany {
        /// The PF.
        device: String,
        /// How many are wanted.
        wanted: u16,
        /// How many it can have.
        total: u16,
    },
    /// All VFs would go, and VMs have some.
    #[error("{device}: the number of VFs changes only over 0, and VMs have some of them; detach first: {}", holders.join(", "))]
    Leased {
        /// The PF.
        device: String,
        /// Who has them.
        holders: Vec<String>,
    },
    /// A NIC in software.
    #[error("{0} is software: its VFs are its sockets in the configuration")]
    Software(String),
    /// The kernel does not want to.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
}

/// Gives a PF a number of VFs. The kernel changes a number that is not 0 to none but 0 (EBUSY), so that every change of a number takes
/// away all VFs; `holders` are who has one.
///
/// # Errors
/// [`SriovError`].
pub fn set_vfs(
    sysfs: &Sysfs,
    physical: &PhysicalFunction,
    wanted: u16,
    holders: Vec<String>,
) -> Result<(), SriovError> {
    let device = physical.device.to_string();
    let directory = match &physical.device {
        PfDevice::Pci(address) => {
            if wanted > physical.total_vfs {
                return Err(SriovError::TooMany { device, wanted, total: physical.total_vfs });
            }
            format!("bus/pci/devices/{address}")
        }
        PfDevice::Netdevsim(name) => format!("bus/netdevsim/devices/{name}"),
        PfDevice::Software(name) => return Err(SriovError::Software(name.clone())),
    };
    let attribute = format!("{directory}/sriov_numvfs");
    let now: u16 = sysfs.number(&attribute)?.unwrap_or(0);
    if now == wanted {
        return Ok(());
    }
    if now != 0 {
        if !holders.is_empty() {
            return Err(SriovError::Leased { device, holders });
        }
        sysfs.write(&attribute, 0)?;
    }
    if wanted != 0 {
        sysfs.write(&attribute, wanted)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::Tree;
    use crate::device::{Inventory, Sources};

    #[test]
    fn a_number_changes_over_zero_and_never_under_a_vm() {
        let tree = Tree::igb();
        let sysfs = tree.sysfs();
        let pf =
            || Inventory::read(&sysfs, &Sources::default()).unwrap().physical_functions[0].clone();
        assert_eq!(pf().vfs.len(), 0);
        set_vfs(&sysfs, &pf(), 4, Vec::new()).unwrap();
        assert_eq!(pf().vfs.len(), 4);
        assert_eq!(pf().vfs[3].id.as_ref().unwrap().to_string(), "IGB0001/52:54:00:00:00:01/vf3");
        let error = set_vfs(&sysfs, &pf(), 3, vec!["vm-1".into()]).unwrap_err().to_string();
        assert!(error.contains("detach first: vm-1"), "{error}");
        assert_eq!(pf().vfs.len(), 4);
        // The tree refuses it in one step, as kernels do.
        sysfs.write("bus/pci/devices/0000:01:00.0/sriov_numvfs", 3).unwrap_err();
        set_vfs(&sysfs, &pf(), 3, Vec::new()).unwrap();
        assert_eq!(pf().vfs.len(), 3);
        set_vfs(&sysfs, &pf(), 3, vec!["vm-1".into()]).unwrap();
        let error = set_vfs(&sysfs, &pf(), 9, Vec::new()).unwrap_err().to_string();
        assert!(error.contains("9 VFs are wanted, 7 are"), "{error}");
    }
}
