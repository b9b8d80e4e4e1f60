//! What a VM has to be told to get its VF: XML for libvirt, arguments for QEMU, commands for a running one.

mod device;
pub mod qmp;

pub use device::{DeviceIds, OutputError, VmDevice};
