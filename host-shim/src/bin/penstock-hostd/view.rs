//! What there is to read without waiting for an attachment that is under way.

use std::sync::{Mutex, PoisonError};

use host_shim::attachment::{Attachments, Condition, Host};
use host_shim::lease::Lease;

/// The leases as they were last.
#[derive(Debug, Default)]
pub struct View(Mutex<Vec<(Lease, Condition)>>);

impl View {
    /// Shows what is now.
    pub fn publish<H: Host>(&self, attachments: &Attachments<H>) {
        let leases = attachments.leases().iter();
        let now =
            leases.map(|lease| (lease.clone(), attachments.condition(lease.number))).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// What was shown last.
    pub fn leases(&self) -> Vec<(Lease, Condition)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
