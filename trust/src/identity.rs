//! Who a certificate says its owner is: one URI among its alternative names, formed like a SPIFFE ID.
//!
//! `spiffe://NODE/dpu` is a DPU, `spiffe://NODE/host/NAME/N` a host since its N-th enrolment. A DPU has an authority of its
//! own, so its node is the trust domain. A URI cannot be taken for a DNS name, and has parts, which a common name has not.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::name::{name, shortened};

/// A text or certificate that says of nobody who they are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not a name.
    #[error(
        "`{0}` is not a name; use 1 to 63 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends"
    )]
    Name(String),
    /// Not an identity.
    #[error(
        "`{0}` is no identity; expected spiffe://NODE/dpu or spiffe://NODE/host/NAME/ENROLMENT"
    )]
    Uri(String),
    /// No certificate, or one without exactly one URI.
    #[error("a certificate without exactly one URI among its alternative names")]
    Certificate,
}

/// As names of intent's objects are.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 63 && text.split('.').all(is_label)
}

name! {
    /// The name of a host, as its DPU's operator calls it.
    HostName, is_name, IdentityError::Name as IdentityError
}

name! {
    /// The Node of intent that a DPU is.
    NodeName, is_name, IdentityError::Name as IdentityError
}

/// The how-manieth enrolment of a host: a new one makes all certificates of those before useless.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Enrolment(pub u64);

/// See the module.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// A DPU.
    Dpu(NodeName),
    /// A host of a DPU.
    Host {
        /// Whose host.
        dpu: NodeName,
        /// Which.
        host: HostName,
        /// Since when.
        enrolment: Enrolment,
    },
}

impl Identity {
    /// Who a certificate belongs to. Says nothing of whether it can be trusted.
    ///
    /// # Errors
    /// When it does not say.
    pub fn of(certificate: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::Certificate)?;
        let names = certificate.subject_alternative_name();
        let names = names.ok().flatten().ok_or(IdentityError::Certificate)?;
        match names.value.general_names.as_slice() {
            [GeneralName::URI(uri)] => uri.parse(),
            _ => Err(IdentityError::Certificate),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dpu(node) => write!(f, "spiffe://{node}/dpu"),
            Self::Host { dpu, host, enrolment } => {
                write!(f, "spiffe://{dpu}/host/{host}/{}", enrolment.0)
            }
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.strip_prefix("spiffe://")?.split('/');
            let node = parts.next()?.parse().ok()?;
            let identity = match parts.next()? {
                "dpu" => Self::Dpu(node),
                "host" => Self::Host {
                    dpu: node,
                    host: parts.next()?.parse().ok()?,
                    enrolment: Enrolment(parts.next()?.parse().ok()?),
                },
                _ => return None,
            };
            // One form only: no `+1`, no `01`, nothing behind.
            (identity.to_string() == text).then_some(identity)
        };
        parse().ok_or_else(|| IdentityError::Uri(shortened(text)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_form_of_each() {
        for good in ["spiffe://dpu-a/dpu", "spiffe://dpu-a.rack1/host/gpu-17/3"] {
            assert_eq!(good.parse::<Identity>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "spiffe://",
            "spiffe://dpu-a",
            "spiffe://dpu-a/dpu/",
            "spiffe://DPU/dpu",
            "spiffe://dpu-a/host/gpu-17",
            "spiffe://dpu-a/host/gpu-17/03",
            "spiffe://dpu-a/host/gpu-17/+3",
            "spiffe://dpu-a/host/gpu-17/3/more",
            "spiffe://dpu-a/host/../3",
            "https://dpu-a/dpu",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Identity::of(&bytes).is_err());
        }

        #[test]
        fn any_text(text in "\\PC{0,60}|spiffe://[a-z.-]{0,8}/(dpu|host/[a-z.-]{0,8}/[0-9+]{0,4})") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }
    }
}
