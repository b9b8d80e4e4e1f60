//! What an attachment needs of the machine.

use std::path::PathBuf;

use thiserror::Error;

use super::step::{Seen, Step};
use crate::device::{DriverError, VfId};
use crate::lease::Lease;
use crate::netlink::NetlinkError;
use crate::output::qmp::QmpError;
use crate::sysfs::SysfsError;

/// Why a step failed, or nothing can be seen.
#[derive(Debug, Error)]
pub enum HostError {
    /// A file of the kernel's.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// A driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A message to the kernel.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The running VM.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The VF is gone in the middle of a step.
    #[error("{0} is gone; when its card is back, it is attached again")]
    Gone(VfId),
    /// The VF is not of a kind that can do this.
    #[error("{vf}: {what}")]
    Unsuitable {
        /// Which.
        vf: VfId,
        /// What it lacks, and what to do.
        what: String,
    },
    /// The DPU does not want it.
    #[error(transparent)]
    Consent(#[from] super::consent::ConsentError),
    /// A device node cannot be looked at.
    #[error("{}: {error}", path.display())]
    Device {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// The machine: sees and does. Steps can be done again.
pub trait Host {
    /// What there is to see of a lease.
    ///
    /// # Errors
    /// When it cannot be seen.
    fn see(&self, lease: &Lease) -> Result<Seen, HostError>;

    /// Does a step.
    ///
    /// # Errors
    /// When it was not done.
    fn perform(&self, step: Step, lease: &Lease) -> Result<(), HostError>;
}
