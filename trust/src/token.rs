//! Tokens: what an operator carries from a DPU to a host, once, so that each can prove to the other who it is.
//!
//! `penstock1:HOST:AUTHORITY:SECRET`. The authority's fingerprint lets the host know the DPU; the secret lets the DPU know
//! the host. The DPU keeps the secret's hash only.

use std::fmt::{self, Write};
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::HostName;

const KIND: &str = "penstock1";

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not of its form.
    // The text is not shown: it may be a token with a typing error in it.
    #[error(
        "this is no enrolment token; copy the whole line that `penstock host token create` printed"
    )]
    Form,
    /// The machine has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// 32 bytes, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA-256 of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(sum)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 64 || !text.bytes().all(plain) {
            return Err(TokenError::Form);
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| TokenError::Form)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// What only the operator and the host know. It has no `Debug`, and no place in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Random)?;
        Ok(Self(bytes))
    }

    /// As it travels; none when it has not the length of one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As it travels.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the DPU keeps.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&self.0)
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The host it is for.
    pub host: HostName,
    /// SHA-256 of the authority's certificate.
    pub authority: Digest,
    /// What proves that it was given.
    pub secret: Secret,
}

impl Token {
    /// As an operator carries it. A method and no `Display`: it has no place in messages.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut text = format!("{KIND}:{}:{}:", self.host, self.authority);
        for byte in self.secret.0 {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.host)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [KIND, host, authority, secret] = parts[..] else { return Err(TokenError::Form) };
        Ok(Self {
            host: host.parse().map_err(|_| TokenError::Form)?,
            authority: authority.parse()?,
            secret: Secret(secret.parse::<Digest>()?.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_carried_as_text() {
        let token = Token {
            host: "gpu-17".parse().unwrap(),
            authority: Digest::of(b"authority"),
            secret: Secret::random().unwrap(),
        };
        assert!(token.reveal().parse::<Token>().unwrap() == token);
        assert!(format!(" {}\n", token.reveal()).parse::<Token>().unwrap() == token);
        assert_eq!(format!("{token:?}"), "Token(gpu-17)");
        for bad in ["", "penstock1:gpu-17", &token.reveal()[1..], &(token.reveal() + "00")] {
            let error = bad.parse::<Token>().unwrap_err();
            assert!(bad.is_empty() || !error.to_string().contains(bad));
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,80}|penstock1:[a-z]{1,4}:[0-9a-fA-F]{64}:[0-9a-fA-Fé]{64}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.reveal(), text.trim());
            }
        }
    }
}
