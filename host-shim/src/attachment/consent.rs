//! The DPU's say in leases: it is the authority on policy. This is where it is asked.

use thiserror::Error;

use super::step::ConsentState;
use crate::lease::Lease;

/// Why the DPU's consent was not to be had.
#[derive(Debug, Error)]
pub enum ConsentError {
    /// It said no.
    #[error("the DPU refuses {lease}: {reason}")]
    Refused {
        /// The interface of which VM.
        lease: String,
        /// In the DPU's words.
        reason: String,
    },
    /// It does not answer.
    #[error("the DPU does not answer: {0}")]
    Unreachable(String),
}

/// Asks the DPU about leases. Every call can be made again, and ends by itself in seconds.
pub trait Consent: Send + Sync {
    /// What the DPU says of a lease now.
    fn state(&self, lease: &Lease) -> ConsentState;

    /// Asks for a lease.
    ///
    /// # Errors
    /// When the DPU refuses, or does not answer.
    fn ask(&self, lease: &Lease) -> Result<(), ConsentError>;

    /// Says that a lease is over.
    ///
    /// # Errors
    /// When the DPU does not answer.
    fn withdraw(&self, lease: &Lease) -> Result<(), ConsentError>;
}

/// A host without a DPU (no `[dpu]` in its configuration): there is nobody to be asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandAlone;

impl Consent for StandAlone {
    fn state(&self, _: &Lease) -> ConsentState {
        ConsentState::NotNeeded
    }

    fn ask(&self, _: &Lease) -> Result<(), ConsentError> {
        Ok(())
    }

    fn withdraw(&self, _: &Lease) -> Result<(), ConsentError> {
        Ok(())
    }
}
