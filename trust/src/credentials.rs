//! A key with its certificate, and the authority that both belong to: in one file, so that they always fit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::clock::Moment;
use crate::file::{self, FileError};
use crate::identity::{Identity, IdentityError};

const MENDING: &str = "remove it and enrol this host anew";

/// Why there are no credentials.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// Their file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No key, or no request for it.
    #[error("no key can be made: {0}")]
    Key(String),
    /// The certificate is not for the key.
    #[error("the certificate is not for this key")]
    OtherKey,
    /// The certificate is not by the authority.
    #[error("the certificate is not signed by the authority it came with")]
    OtherAuthority,
    /// The certificate says nothing of its owner.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// A key that has no certificate yet. It never leaves the machine.
pub struct NewKey(KeyPair);

impl NewKey {
    /// Makes one (ECDSA, P-256).
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, CredentialsError> {
        KeyPair::generate().map(Self).map_err(|error| CredentialsError::Key(error.to_string()))
    }

    /// A request to sign it (PKCS #10, DER).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn request(&self) -> Result<Vec<u8>, CredentialsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0);
        let request = request.map_err(|error| CredentialsError::Key(error.to_string()))?;
        Ok(request.der().to_vec())
    }

    /// The key with the certificate that was made for it.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn certified(
        self,
        certificate: CertificateDer<'static>,
        authority: CertificateDer<'static>,
    ) -> Result<Credentials, CredentialsError> {
        Credentials::assemble(self.0, certificate, authority)
    }
}

/// See the module.
pub struct Credentials {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    identity: Identity,
    valid_from: Moment,
    valid_until: Moment,
}

fn moment(seconds: i64) -> Moment {
    Moment(u64::try_from(seconds).unwrap_or_default())
}

impl Credentials {
    fn assemble(
        key: KeyPair,
        certificate: CertificateDer<'static>,
        authority: CertificateDer<'static>,
    ) -> Result<Self, CredentialsError> {
        let parse = |der| x509_parser::parse_x509_certificate(der).map(|(_, parsed)| parsed);
        let parsed = parse(&certificate).map_err(|_| IdentityError::Certificate)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(CredentialsError::OtherKey);
        }
        let signer = parse(&authority).map_err(|_| CredentialsError::OtherAuthority)?;
        parsed
            .verify_signature(Some(signer.public_key()))
            .map_err(|_| CredentialsError::OtherAuthority)?;
        let identity = Identity::of(&certificate)?;
        let valid_from = moment(parsed.validity().not_before.timestamp());
        let valid_until = moment(parsed.validity().not_after.timestamp());
        drop((parsed, signer));
        Ok(Self { key, certificate, authority, identity, valid_from, valid_until })
    }

    /// Reads what [`Self::save`] wrote; none when there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub fn load(path: &Path) -> Result<Option<Self>, CredentialsError> {
        let Some(bytes) = file::read(path)? else { return Ok(None) };
        let content = |message: String| {
            let path = path.to_owned();
            CredentialsError::File(FileError::Content { path, message, mending: MENDING })
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&bytes)
            .map_err(|error| content(format!("no key: {error}")))?;
        let key = KeyPair::try_from(&key).map_err(|error| content(format!("no key: {error}")))?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| content(format!("no certificate: {error}")))?;
        let [certificate, authority] = <[_; 2]>::try_from(certificates)
            .map_err(|_| content("expected two certificates".to_owned()))?;
        Self::assemble(key, certificate, authority)
            .map(Some)
            .map_err(|error| content(error.to_string()))
    }

    /// Writes all into a file that only its owner can read, in place of the one that is there.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn save(&self, path: &Path) -> Result<(), CredentialsError> {
        let certificate =
            |der: &CertificateDer<'_>| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec()));
        let content = self.key.serialize_pem()
            + &certificate(&self.certificate)
            + &certificate(&self.authority);
        Ok(file::replace(path, content.as_bytes())?)
    }

    /// Whose they are.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The authority that signed the certificate, and all that it trusts.
    #[must_use]
    pub const fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// When the certificate ends.
    #[must_use]
    pub const fn valid_until(&self) -> Moment {
        self.valid_until
    }

    /// When to have another: after two thirds of its life.
    #[must_use]
    pub fn renew_at(&self) -> Moment {
        let life = self.valid_until.since(self.valid_from).as_secs();
        self.valid_from + Duration::from_secs(life - life / 3)
    }

    /// As TLS takes them.
    ///
    /// # Errors
    /// When the key is of no kind that TLS knows.
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, CredentialsError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|error| CredentialsError::Key(error.to_string()))?;
        // The authority goes along: a host that enrols knows its fingerprint only.
        let chain = vec![self.certificate.clone(), self.authority.clone()];
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.identity)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::authority::Authority;

    const NOW: Moment = Moment(1_800_000_000);

    #[test]
    fn they_are_kept_and_renewed_after_two_thirds() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "dpu-a".parse().unwrap(), NOW).unwrap();
        let own = authority.own_credentials(NOW, Duration::from_hours(24)).unwrap();
        // Valid from five minutes before: 86700 s in all.
        assert_eq!(own.renew_at(), Moment(NOW.0 - 300 + 57_800));
        assert_eq!(own.valid_until(), Moment(NOW.0 + 86_400));
        let path = directory.path().join("identity.pem");
        assert!(Credentials::load(&path).unwrap().is_none());
        own.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let loaded = Credentials::load(&path).unwrap().unwrap();
        assert_eq!(loaded.identity().to_string(), "spiffe://dpu-a/dpu");
        loaded.certified_key().unwrap();

        fs::write(&path, "nonsense").unwrap();
        let error = Credentials::load(&path).unwrap_err().to_string();
        assert!(error.contains("identity.pem: no key"), "{error}");
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let [one, two] = ["one", "two"].map(|name| {
            let directory = tempfile::tempdir().unwrap();
            Authority::open(directory.path(), name.parse().unwrap(), NOW).unwrap()
        });
        let identity: Identity = "spiffe://one/host/gpu-17/1".parse().unwrap();
        let hour = Duration::from_hours(1);
        let key = NewKey::generate().unwrap();
        let signed = one.sign(&key.request().unwrap(), &identity, NOW, hour).unwrap();
        let other = NewKey::generate().unwrap();
        let result = other.certified(signed.clone(), one.certificate().clone());
        assert!(matches!(result, Err(CredentialsError::OtherKey)));
        let result = key.certified(signed, two.certificate().clone());
        assert!(matches!(result, Err(CredentialsError::OtherAuthority)));
    }
}
