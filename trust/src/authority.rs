//! A DPU's certificate authority: made at the DPU's first start, for this DPU and its hosts alone.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use time::OffsetDateTime;

use crate::clock::Moment;
use crate::credentials::{Credentials, CredentialsError, NewKey};
use crate::file::{self, FileError};
use crate::identity::{Identity, NodeName};
use crate::token::Digest;

const FILE: &str = "authority.pem";
const MENDING: &str = "restore it, or remove it and enrol all hosts anew";
/// How long an authority lives: longer than the card it is on.
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(20 * 365 * 24);
/// Certificates are valid from so long before they are signed: clocks differ.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);
/// The longest request that is looked at.
const REQUEST_LIMIT: usize = 4096;

/// Why there is no authority, or it signs nothing.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A request that cannot be granted.
    #[error("this is no signing request with a key of a known kind, signed with that key")]
    Request,
    /// It cannot be made.
    #[error("no certificate can be made: {0}")]
    Make(String),
    /// The DPU's own.
    #[error(transparent)]
    Own(#[from] CredentialsError),
}

/// See the module.
pub struct Authority {
    node: NodeName,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn make(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Make(error.to_string())
}

fn date(moment: Moment) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(moment.0).map_err(make)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(make)
}

fn name(text: String) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

impl Authority {
    /// The authority of a DPU, whose key is kept in `directory`; made there when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read or made. One that is damaged is never replaced: its hosts would be locked out silently.
    pub fn open(directory: &Path, node: NodeName, now: Moment) -> Result<Self, AuthorityError> {
        let path = directory.join(FILE);
        let content = |message| {
            let path = path.clone();
            AuthorityError::File(FileError::Content { path, message, mending: MENDING })
        };
        if let Some(bytes) = file::read(&path)? {
            return Self::parse(&bytes, node).map_err(content);
        }
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(format!("Penstock DPU {node}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        params.not_before = date(now.before(CLOCK_TOLERANCE))?;
        params.not_after = date(now + AUTHORITY_LIFETIME)?;
        let certificate = params.self_signed(&key).map_err(make)?;
        let pem = key.serialize_pem() + &certificate.pem();
        file::replace(&path, pem.as_bytes())?;
        // As the next start will have it.
        Self::parse(pem.as_bytes(), node).map_err(content)
    }

    fn parse(pem: &[u8], node: NodeName) -> Result<Self, String> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|e| format!("no key: {e}"))?;
        let key = KeyPair::try_from(&key).map_err(|e| format!("no key: {e}"))?;
        let certificate =
            CertificateDer::from_pem_slice(pem).map_err(|e| format!("no certificate: {e}"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|e| format!("no certificate: {e}"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|e| format!("no certificate: {e}"))?;
        if parsed.public_key().raw != issuer.key().subject_public_key_info() {
            return Err("key and certificate do not belong together".to_owned());
        }
        let expected = format!("CN=Penstock DPU {node}");
        if parsed.subject().to_string() != expected {
            return Err(format!("it is of {}, not of node {node}", parsed.subject()));
        }
        Ok(Self { node, issuer, certificate })
    }

    /// Whose authority it is.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What tokens call it by.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    /// Whether a request can be granted: it is one, and whoever made it has the key.
    ///
    /// # Errors
    /// When not.
    pub fn check(request: &[u8]) -> Result<(), AuthorityError> {
        public_key(request).map(|_| ())
    }

    /// Signs the key of a request. Nothing else of a request counts: whoever it is for is known otherwise.
    ///
    /// # Errors
    /// When the request is none, or the certificate cannot be made.
    pub fn sign(
        &self,
        request: &[u8],
        identity: &Identity,
        now: Moment,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let key = public_key(request)?;
        let usage = match identity {
            Identity::Dpu(_) => ExtendedKeyUsagePurpose::ServerAuth,
            Identity::Host { .. } => ExtendedKeyUsagePurpose::ClientAuth,
        };
        let uri = identity.to_string().try_into().map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.serial_number = Some(serial()?);
        params.not_before = date(now.before(CLOCK_TOLERANCE))?;
        params.not_after = date(now + lifetime)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(certificate.der().clone())
    }

    /// A new key with a certificate for the DPU itself.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn own_credentials(
        &self,
        now: Moment,
        lifetime: Duration,
    ) -> Result<Credentials, AuthorityError> {
        let key = NewKey::generate()?;
        let identity = Identity::Dpu(self.node.clone());
        let certificate = self.sign(&key.request()?, &identity, now, lifetime)?;
        Ok(key.certified(certificate, self.certificate.clone())?)
    }
}

fn public_key(request: &[u8]) -> Result<rcgen::PublicKey, AuthorityError> {
    if request.len() > REQUEST_LIMIT {
        return Err(AuthorityError::Request);
    }
    let request = CertificateSigningRequestDer::from(request.to_vec());
    let request = CertificateSigningRequestParams::from_der(&request);
    Ok(request.map_err(|_| AuthorityError::Request)?.public_key)
}

/// Random, and positive.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| make("the system gives no random numbers"))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment(1_800_000_000);

    fn node() -> NodeName {
        "dpu-a".parse().unwrap()
    }

    #[test]
    fn it_is_made_once_and_only_its_owner_reads_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let first = Authority::open(directory.path(), node(), NOW).unwrap();
        let again = Authority::open(directory.path(), node(), Moment(NOW.0 + 86_400)).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        let file = directory.path().join(FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let other = Authority::open(directory.path(), "dpu-b".parse().unwrap(), NOW);
        let error = other.err().unwrap().to_string();
        assert!(error.contains("it is of CN=Penstock DPU dpu-a, not of node dpu-b"), "{error}");
        for spoilt in ["", "nonsense"] {
            fs::write(&file, spoilt).unwrap();
            assert!(matches!(
                Authority::open(directory.path(), node(), NOW),
                Err(AuthorityError::File(FileError::Content { .. }))
            ));
            assert_eq!(fs::read_to_string(&file).unwrap(), spoilt);
        }
    }

    #[test]
    fn what_a_request_says_of_its_owner_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), node(), NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut greedy = CertificateParams::default();
        greedy.subject_alt_names = vec![SanType::URI("spiffe://dpu-a/dpu".try_into().unwrap())];
        greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let request = greedy.serialize_request(&key).unwrap();
        let identity: Identity = "spiffe://dpu-a/host/gpu-17/1".parse().unwrap();
        let signed = authority.sign(request.der(), &identity, NOW, Duration::from_mins(1)).unwrap();
        assert_eq!(Identity::of(&signed).unwrap(), identity);
        let (_, parsed) = x509_parser::parse_x509_certificate(&signed).unwrap();
        assert!(!parsed.is_ca());
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert_eq!(parsed.validity().not_after.timestamp(), 1_800_000_060);
    }

    #[test]
    fn a_request_must_be_signed_with_its_key() {
        let key = NewKey::generate().unwrap();
        let mut request = key.request().unwrap();
        Authority::check(&request).unwrap();
        let last = request.len() - 1;
        request[last] ^= 1;
        assert!(matches!(Authority::check(&request), Err(AuthorityError::Request)));
        assert!(Authority::check(&vec![0x30; REQUEST_LIMIT + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_request(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Authority::check(&bytes).is_err());
        }

        #[test]
        fn no_change_of_a_request_makes_it_one_for_another_key(at in 0usize..400, to in any::<u8>()) {
            let key = NewKey::generate().unwrap();
            let mut request = key.request().unwrap();
            let before = public_key(&request).unwrap();
            let at = at % request.len();
            request[at] = to;
            if let Ok(after) = public_key(&request) {
                prop_assert_eq!(after, before);
            }
        }
    }
}
