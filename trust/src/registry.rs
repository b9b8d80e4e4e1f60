//! The hosts that a DPU knows, and the tokens it gave out. On disk before anything follows from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Moment;
use crate::file::FileError;
use crate::identity::{Enrolment, HostName};
use crate::kept::Kept;
use crate::refusal::Refusal;
use crate::token::{Digest, Secret, TokenError};

const FILE: &str = "hosts.json";
const MENDING: &str = "restore it, or remove it and enrol all hosts anew";
/// Tokens that may be open, or remembered, at a time.
const MOST_TOKENS: usize = 1000;
/// How long it is remembered that a token existed, after its time.
const MEMORY: Duration = Duration::from_hours(7 * 24);

/// Why hosts cannot be read or kept.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Their file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Too many.
    #[error(
        "there are {MOST_TOKENS} enrolment tokens already; use some, or wait until they expire"
    )]
    TooManyTokens,
    /// Nobody.
    #[error("there is no host {0}; see penstock host list")]
    Unknown(HostName),
    /// The machine has no random numbers.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What is known of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostRecord {
    /// The enrolment that counts; 0: it never was.
    pub enrolment: Enrolment,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<Moment>,
    /// When it was revoked, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Moment>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenRecord {
    hash: Digest,
    host: HostName,
    expires: Moment,
    used: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    hosts: BTreeMap<HostName, HostRecord>,
    tokens: Vec<TokenRecord>,
}

/// See the module.
#[derive(Debug)]
pub struct Registry(Kept<Record>);

impl Registry {
    /// Those that are kept in a directory.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(directory: &Path) -> Result<Self, RegistryError> {
        Ok(Self(Kept::open(directory.join(FILE), MENDING)?))
    }

    /// All hosts that were ever enrolled, or may.
    #[must_use]
    pub const fn hosts(&self) -> &BTreeMap<HostName, HostRecord> {
        &self.0.record.hosts
    }

    /// Until when the last open token of a host is good.
    #[must_use]
    pub fn token_until(&self, host: &HostName, now: Moment) -> Option<Moment> {
        let open = |token: &&TokenRecord| token.host == *host && !token.used && now < token.expires;
        self.0.record.tokens.iter().filter(open).map(|token| token.expires).max()
    }

    /// A token's secret for a host.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn create_token(
        &mut self,
        host: &HostName,
        now: Moment,
        lifetime: Duration,
    ) -> Result<Secret, RegistryError> {
        let mut record = self.0.record.clone();
        record.tokens.retain(|token| now < token.expires + MEMORY);
        if record.tokens.len() >= MOST_TOKENS {
            return Err(RegistryError::TooManyTokens);
        }
        let secret = Secret::random()?;
        record.tokens.push(TokenRecord {
            hash: secret.hash(),
            host: host.clone(),
            expires: now + lifetime,
            used: false,
        });
        record.hosts.entry(host.clone()).or_default();
        self.0.replace(record)?;
        Ok(secret)
    }

    /// Takes a token: the host it is for is enrolled anew, and whatever it had before is useless. A token is good once, also
    /// when the machine dies right after.
    ///
    /// # Errors
    /// When it cannot be kept, and then the token is still good; inside, why the token is none.
    pub fn redeem(
        &mut self,
        secret: &Secret,
        now: Moment,
    ) -> Result<Result<(HostName, Enrolment), Refusal>, RegistryError> {
        let hash = secret.hash();
        let mut record = self.0.record.clone();
        let Some(token) = record.tokens.iter_mut().find(|token| token.hash == hash) else {
            return Ok(Err(Refusal::TokenUnknown));
        };
        if token.used {
            return Ok(Err(Refusal::TokenUsed));
        }
        if now >= token.expires {
            return Ok(Err(Refusal::TokenExpired));
        }
        token.used = true;
        let host = token.host.clone();
        let known = record.hosts.entry(host.clone()).or_default();
        let enrolment = Enrolment(known.enrolment.0 + 1);
        *known = HostRecord { enrolment, enrolled: Some(now), revoked: None };
        self.0.replace(record)?;
        Ok(Ok((host, enrolment)))
    }

    /// Whether a certificate of a host still counts.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, host: &HostName, enrolment: Enrolment) -> Result<(), Refusal> {
        let record = self.0.record.hosts.get(host).ok_or(Refusal::UnknownHost)?;
        if record.revoked.is_some() {
            return Err(Refusal::Revoked);
        }
        match enrolment.cmp(&record.enrolment) {
            std::cmp::Ordering::Less => Err(Refusal::Superseded),
            std::cmp::Ordering::Equal => Ok(()),
            // As when an old state was restored: nobody knows who that is.
            std::cmp::Ordering::Greater => Err(Refusal::UnknownHost),
        }
    }

    /// Makes a host's certificates and open tokens useless.
    ///
    /// # Errors
    /// When there is no such host, or it cannot be kept.
    pub fn revoke(&mut self, host: &HostName, now: Moment) -> Result<(), RegistryError> {
        let mut record = self.0.record.clone();
        let known = record.hosts.get_mut(host);
        let known = known.ok_or_else(|| RegistryError::Unknown(host.clone()))?;
        known.revoked.get_or_insert(now);
        record.tokens.retain(|token| token.host != *host || token.used);
        Ok(self.0.replace(record)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: Moment = Moment(1_800_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    fn host() -> HostName {
        "gpu-17".parse().unwrap()
    }

    #[test]
    fn a_token_is_good_once_also_over_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(directory.path()).unwrap();
        let secret = registry.create_token(&host(), NOW, HOUR).unwrap();
        assert_eq!(registry.admit(&host(), Enrolment(0)), Ok(()), "no certificate says 0");
        let stranger = Secret::random().unwrap();
        assert_eq!(registry.redeem(&stranger, NOW).unwrap(), Err(Refusal::TokenUnknown));

        // The secret itself is nowhere on the disk.
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(text.contains(&secret.hash().to_string()));
        assert!(!text.contains(&Digest(secret.as_bytes().try_into().unwrap()).to_string()));

        let mut registry = Registry::open(directory.path()).unwrap();
        let redeemed = registry.redeem(&secret, NOW).unwrap();
        assert_eq!(redeemed, Ok((host(), Enrolment(1))));
        assert_eq!(registry.redeem(&secret, NOW).unwrap(), Err(Refusal::TokenUsed));
        let mut registry = Registry::open(directory.path()).unwrap();
        assert_eq!(registry.redeem(&secret, NOW).unwrap(), Err(Refusal::TokenUsed));
        assert_eq!(registry.admit(&host(), Enrolment(1)), Ok(()));
        assert_eq!(registry.admit(&host(), Enrolment(2)), Err(Refusal::UnknownHost));
    }

    #[test]
    fn a_token_that_cannot_be_noted_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(directory.path()).unwrap();
        let secret = registry.create_token(&host(), NOW, HOUR).unwrap();
        registry.0.path = directory.path().join("missing\0");
        assert!(registry.redeem(&secret, NOW).is_err());
        registry.0.path = directory.path().join(FILE);
        assert!(registry.redeem(&secret, NOW).unwrap().is_ok());
    }

    #[test]
    fn tokens_expire_and_hosts_are_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(directory.path()).unwrap();
        let late = registry.create_token(&host(), NOW, HOUR).unwrap();
        assert_eq!(registry.token_until(&host(), NOW), Some(NOW + HOUR));
        assert_eq!(registry.redeem(&late, NOW + HOUR).unwrap(), Err(Refusal::TokenExpired));
        let first = registry.create_token(&host(), NOW, HOUR).unwrap();
        registry.redeem(&first, NOW).unwrap().unwrap();
        let open = registry.create_token(&host(), NOW, HOUR).unwrap();

        registry.revoke(&host(), NOW).unwrap();
        assert_eq!(registry.admit(&host(), Enrolment(1)), Err(Refusal::Revoked));
        assert_eq!(registry.redeem(&open, NOW).unwrap(), Err(Refusal::TokenUnknown));
        let again = registry.create_token(&host(), NOW, HOUR).unwrap();
        assert_eq!(registry.redeem(&again, NOW).unwrap(), Ok((host(), Enrolment(2))));
        assert_eq!(registry.admit(&host(), Enrolment(1)), Err(Refusal::Superseded));
        assert_eq!(registry.admit(&host(), Enrolment(2)), Ok(()));
        let nobody: HostName = "nobody".parse().unwrap();
        assert!(matches!(registry.revoke(&nobody, NOW), Err(RegistryError::Unknown(_))));
        assert_eq!(registry.admit(&nobody, Enrolment(1)), Err(Refusal::UnknownHost));
    }

    #[test]
    fn tokens_are_not_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(directory.path()).unwrap();
        let record = TokenRecord { hash: Digest::of(b"x"), host: host(), expires: NOW, used: true };
        registry.0.record.tokens = vec![record; MOST_TOKENS];
        let full = registry.create_token(&host(), NOW, HOUR);
        assert!(matches!(full, Err(RegistryError::TooManyTokens)));
        assert!(registry.create_token(&host(), NOW + MEMORY, HOUR).is_ok());
        assert_eq!(registry.0.record.tokens.len(), 1);
    }
}
