//! Which driver has a function.

use thiserror::Error;

use super::function::PciFunction;
use crate::sysfs::{PciAddress, Sysfs, SysfsError};

/// The driver that gives functions to user space.
pub const VFIO_PCI: &str = "vfio-pci";

/// Why a function does not get the wanted driver.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The kernel does not want to.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// There is no such driver.
    #[error("the kernel has no driver {0} now; load it: modprobe {0}")]
    NoDriver(String),
    /// It was probed, and no driver took it.
    #[error("{address}: {wanted} did not take it; see dmesg{hint}")]
    NotTaken {
        /// The function.
        address: PciAddress,
        /// The driver that should have.
        wanted: String,
        /// What is often the reason.
        hint: &'static str,
    },
}

/// Binds functions to drivers. Every call can be made again.
#[derive(Clone, Copy, Debug)]
pub struct Drivers<'a>(pub &'a Sysfs);

impl Drivers<'_> {
    /// Takes a function away from its driver.
    ///
    /// # Errors
    /// When the kernel does not want to.
    pub fn unbind(self, address: PciAddress) -> Result<(), DriverError> {
        let directory = PciFunction::directory(address);
        if self.0.link_name(&format!("{directory}/driver"))?.is_some() {
            self.0.write(&format!("{directory}/driver/unbind"), address)?;
        }
        Ok(())
    }

    /// Says which driver alone may have a function; none: any that knows it.
    ///
    /// # Errors
    /// When the kernel does not want to.
    pub fn set_override(
        self,
        address: PciAddress,
        driver: Option<&str>,
    ) -> Result<(), DriverError> {
        // Written with an end of line: the kernel cuts that off, and an empty write would not reach it at all.
        let text = format!("{}\n", driver.unwrap_or_default());
        Ok(self.0.write(&format!("{}/driver_override", PciFunction::directory(address)), text)?)
    }

    /// Lets drivers see a function that has none.
    ///
    /// # Errors
    /// When the kernel does not want to.
    pub fn probe(self, address: PciAddress) -> Result<(), DriverError> {
        Ok(self.0.write("bus/pci/drivers_probe", address)?)
    }

    /// Lets a driver have a function that has none and whose override says so.
    ///
    /// # Errors
    /// When there is no such driver, or it does not take the function.
    pub fn probe_for(self, address: PciAddress, wanted: &str) -> Result<(), DriverError> {
        if !self.0.exists(&format!("bus/pci/drivers/{wanted}")) {
            return Err(DriverError::NoDriver(wanted.to_owned()));
        }
        self.probe(address)?;
        let now = self.0.link_name(&format!("{}/driver", PciFunction::directory(address)))?;
        if now.as_deref() == Some(wanted) {
            return Ok(());
        }
        let hint = if wanted == VFIO_PCI {
            " (is the IOMMU on? intel_iommu=on or amd_iommu=on)"
        } else {
            ""
        };
        Err(DriverError::NotTaken { address, wanted: wanted.to_owned(), hint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::Tree;

    #[test]
    fn to_vfio_and_back() {
        let tree = Tree::igb();
        let sysfs = tree.sysfs();
        sysfs.write("bus/pci/devices/0000:01:00.0/sriov_numvfs", 2).unwrap();
        let vf: PciAddress = "0000:01:10.0".parse().unwrap();
        let driver = || PciFunction::read(&sysfs, vf).unwrap().unwrap().driver;
        let drivers = Drivers(&sysfs);
        assert_eq!(driver().as_deref(), Some("igbvf"));
        for _ in 0..2 {
            drivers.unbind(vf).unwrap();
            assert_eq!(driver(), None);
        }
        drivers.set_override(vf, Some(VFIO_PCI)).unwrap();
        drivers.probe_for(vf, VFIO_PCI).unwrap();
        assert_eq!(driver().as_deref(), Some(VFIO_PCI));
        drivers.unbind(vf).unwrap();
        drivers.set_override(vf, None).unwrap();
        drivers.probe(vf).unwrap();
        assert_eq!(driver().as_deref(), Some("igbvf"));
        let error = drivers.probe_for(vf, "absent").unwrap_err().to_string();
        assert_eq!(error, "the kernel has no driver absent now; load it: modprobe absent");
    }
}
