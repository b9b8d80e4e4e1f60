//! What devices there are, and what can be done to them.

pub mod config_space;
mod driver;
mod function;
mod identity;
mod inventory;
mod net;
mod physical_function;
mod sriov;
#[cfg(test)]
pub(crate) mod testing;
pub mod vpd;

pub use driver::{DriverError, Drivers, VFIO_PCI};
pub use function::{FunctionKind, PciFunction};
pub use identity::{InterfaceName, InterfaceNameError};
pub use inventory::{Inventory, Sources};
pub use net::{NetDevice, Representor};
pub use physical_function::{PfDevice, PhysicalFunction, SoftwareCard, VirtualFunction};
pub use sriov::{SriovError, set_vfs};
pub use trust::vf::{CardSerial, VfId, VfIdError, VfNumber};
