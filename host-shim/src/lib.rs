//! The host daemon: what devices a host has, which VF belongs to which VM, and how it gets there.
//!
//! It is thin: policy is the DPU's. See `docs/reference/host.md`.

pub mod api;
pub mod attachment;
pub mod backend;
pub mod bundle;
pub mod device;
pub mod doctor;
pub mod dpu;
pub mod lease;
pub mod netlink;
pub mod output;
pub mod sysfs;
pub mod topology;
