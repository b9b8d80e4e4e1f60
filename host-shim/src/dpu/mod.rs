//! The DPU that a host belongs to: a connection, a certificate, and what the DPU said of leases.
//!
//! The DPU may be away at any time; no call waits for it longer than its deadline. What a call without an answer did is not
//! known until the next heartbeat, whose answer is final.

mod certificate;
mod known;
mod link;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use certificate::EnrollError;
pub use known::{Held, Known};
pub use link::{DpuLink, LinkError};

use crate::attachment::consent::{Consent, ConsentError};
use crate::attachment::step::ConsentState;
use crate::lease::Lease;

/// A DPU counts as gone after so many heartbeats without an answer.
const GONE_AFTER: u32 = 5;

/// Which DPU, and how patient to be with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub address: SocketAddr,
    /// How long a call may take.
    pub deadline: Duration,
    /// How often to ask whether it is there.
    pub heartbeat: Duration,
    /// Where key and certificate are kept.
    pub credentials: PathBuf,
}

impl Settings {
    /// After how long without an answer it counts as gone.
    #[must_use]
    pub fn gone_after(&self) -> Duration {
        self.heartbeat * GONE_AFTER
    }
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// This host has no certificate yet.
    NotEnrolled,
    /// It was not heard of since the daemon's start.
    Connecting,
    /// It answers.
    Present,
    /// It has not answered for a while.
    Silent,
    /// It has not answered for so long that nobody waits for it.
    Gone,
    /// It answers that it does not want this host.
    Refused,
}

impl Presence {
    /// In messages and APIs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotEnrolled => "not enrolled",
            Self::Connecting => "connecting",
            Self::Present => "present",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Refused => "refused",
        }
    }
}

/// What there is to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpuStatus {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is.
    pub presence: Presence,
    /// What the last attempt to reach it ended with; empty when it succeeded.
    pub trouble: String,
    /// Its Node; empty before it was heard of.
    pub node: String,
    /// How long ago it was heard of.
    pub heard: Option<Duration>,
    /// Why its datapath does not work, as it said last; empty: it works.
    pub datapath_problem: String,
    /// Its intent; 0: none.
    pub intent_epoch: u64,
    /// The version of what this host wants.
    pub desired: u64,
    /// The last version that the DPU said it applied.
    pub applied: u64,
    /// Until when the certificate is good, in seconds since 1970.
    pub certificate_until: Option<u64>,
}

impl Consent for DpuLink {
    fn state(&self, lease: &Lease) -> ConsentState {
        self.consent_state(lease)
    }

    fn ask(&self, lease: &Lease) -> Result<(), ConsentError> {
        self.request(lease)
    }

    fn withdraw(&self, lease: &Lease) -> Result<(), ConsentError> {
        self.release(&lease.vf)
    }
}
