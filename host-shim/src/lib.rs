//! The host daemon: what devices a host has, which VF belongs to which VM, and how it gets there.
//!
//! It is thin: policy is the DPU's.

pub mod device;
pub mod sysfs;
pub mod topology;
