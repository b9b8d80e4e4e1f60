//! Why something was refused: one list for handshakes, enrolment and calls, each counted, and logged at a limited rate.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustls::CertificateError;
use tonic::{Code, Status};
use tracing::warn;

use crate::clock::{Clock, Moment};

/// The metadata of a status that has a refusal's name.
pub const METADATA: &str = "penstock-refusal";

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $code:ident, $text:literal;)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Refusal {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// In metrics, logs and metadata.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a caller's status is then.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

refusals! {
    /// Signed by somebody else.
    WrongAuthority = "wrong_authority", Unauthenticated, "the certificate is by another authority";
    /// Too old.
    Expired = "expired", Unauthenticated, "the certificate has expired; enrol the host anew";
    /// Too new.
    NotYetValid = "not_yet_valid", Unauthenticated, "the certificate is not valid yet; do the clocks agree?";
    /// Ours, but of nobody who may be here.
    ForeignIdentity = "foreign_identity", Unauthenticated, "the certificate is of no host of this DPU";
    /// No certificate that could be looked at.
    BadCertificate = "bad_certificate", Unauthenticated, "the certificate cannot be used";
    /// None at all.
    NoCertificate = "no_certificate", Unauthenticated, "this needs the certificate of a host; enrol first";
    /// A host that was never enrolled here.
    UnknownHost = "unknown_host", PermissionDenied, "this host is not known; enrol it anew";
    /// A host that was revoked.
    Revoked = "revoked", PermissionDenied, "this host was revoked; enrol it anew";
    /// A certificate from before the host was enrolled anew.
    Superseded = "superseded", PermissionDenied, "the host was enrolled anew since; this certificate is of an earlier enrolment";
    /// No such token.
    TokenUnknown = "token_unknown", PermissionDenied, "there is no such enrolment token";
    /// Too late.
    TokenExpired = "token_expired", PermissionDenied, "the enrolment token has expired; create another";
    /// Twice.
    TokenUsed = "token_used", PermissionDenied, "the enrolment token was used already; create another, and find out by whom";
    /// A signing request that is none.
    BadRequest = "bad_request", InvalidArgument, "this is no signing request with a key of a known kind, signed with that key";
    /// A field that is not what it should be.
    Malformed = "malformed", InvalidArgument, "a field of the call is not what it should be";
    /// TLS was not begun, or ended, in time.
    HandshakeTimeout = "handshake_timeout", DeadlineExceeded, "the handshake took too long";
    /// No TLS, or none of ours.
    HandshakeFailed = "handshake_failed", Unauthenticated, "the handshake failed";
    /// As many as there may be.
    TooManyConnections = "too_many_connections", ResourceExhausted, "there are too many connections";
    /// As many as there may be from one address.
    TooManyOfAddress = "too_many_of_address", ResourceExhausted, "there are too many connections from this address";
    /// As many as there may be of one host.
    TooManyOfHost = "too_many_of_host", ResourceExhausted, "this host has too many connections";
    /// No VF that the DPU has.
    UnknownVf = "unknown_vf", NotFound, "this DPU has no such VF; compare its [[host.functions]]";
    /// Another host's.
    NotYourVf = "not_your_vf", PermissionDenied, "this VF belongs to another host";
    /// Nothing in intent.
    NoInterface = "no_interface", FailedPrecondition, "intent has no Interface for this VF";
    /// Not the one in intent.
    WrongMac = "wrong_mac", FailedPrecondition, "intent has another MAC for this VF";
    /// Another VM has it.
    VfTaken = "vf_taken", AlreadyExists, "another VM has this VF";
    /// Later changes are known already.
    StaleVersion = "stale_version", Aborted, "a later version of the host's desired state is known already";
    /// More changes than a host may make in a time.
    TooManyChanges = "too_many_changes", ResourceExhausted, "this host changes too much in a short time; try again in a second";
}

impl Refusal {
    /// As a caller is told; `detail` says more.
    #[must_use]
    pub fn status(self, detail: &str) -> Status {
        let text = if detail.is_empty() {
            self.text().to_owned()
        } else {
            format!("{}: {detail}", self.text())
        };
        let mut status = Status::new(self.code(), text);
        if let Ok(name) = self.name().parse() {
            status.metadata_mut().insert(METADATA, name);
        }
        status
    }

    /// What a status was refused for.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let name = status.metadata().get(METADATA)?.to_str().ok()?;
        Self::ALL.iter().copied().find(|refusal| refusal.name() == name)
    }

    /// Why a handshake failed.
    #[must_use]
    pub fn of_handshake(error: &std::io::Error) -> Self {
        let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match error {
            Some(rustls::Error::InvalidCertificate(error)) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::WrongAuthority
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::Other(_) => Self::ForeignIdentity,
                _ => Self::BadCertificate,
            },
            Some(rustls::Error::NoCertificatesPresented) => Self::NoCertificate,
            _ => Self::HandshakeFailed,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// When a refusal was logged last, and how many were not since.
#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    at: Option<Moment>,
    silent: u64,
}

/// Counts and logs refusals. A hostile host fills no log: each reason has a line a second.
#[derive(Debug)]
pub struct Refusals {
    clock: Clock,
    counts: Vec<AtomicU64>,
    logged: Mutex<Vec<Logged>>,
}

impl Refusals {
    /// Nothing was refused yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            counts: Refusal::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            logged: Mutex::new(vec![Logged::default(); Refusal::ALL.len()]),
        }
    }

    /// Counts one, and logs it unless one like it was logged in this second.
    pub fn note(&self, refusal: Refusal, who: &dyn fmt::Display) {
        self.counts[refusal as usize].fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let silent = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            let logged = &mut logged[refusal as usize];
            if logged.at == Some(now) {
                logged.silent += 1;
                return;
            }
            logged.at = Some(now);
            std::mem::take(&mut logged.silent)
        };
        warn!(reason = refusal.name(), %who, not_logged = silent, "refused: {refusal}");
    }

    /// How often.
    #[must_use]
    pub fn count(&self, refusal: Refusal) -> u64 {
        self.counts[refusal as usize].load(Ordering::Relaxed)
    }

    /// How often, of each that ever was.
    pub fn counts(&self) -> impl Iterator<Item = (Refusal, u64)> {
        let all = Refusal::ALL.iter().map(|refusal| (*refusal, self.count(*refusal)));
        all.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_travel() {
        let names: std::collections::BTreeSet<_> =
            Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(&refusal.status("it")), Some(*refusal));
        }
        assert_eq!(Refusal::of(&Status::internal("it")), None);
    }

    #[test]
    fn all_are_counted() {
        let (clock, _) = Clock::manual(Moment(7));
        let refusals = Refusals::new(clock);
        for _ in 0..3 {
            refusals.note(Refusal::Expired, &"somebody");
        }
        assert_eq!(refusals.counts().collect::<Vec<_>>(), [(Refusal::Expired, 3)]);
        let logged = refusals.logged.lock().unwrap();
        assert_eq!(logged[Refusal::Expired as usize].silent, 2);
    }
}
