//! TLS 1.3 on which both sides trust one authority, the DPU's, and look at who the other says they are. Certificates are
//! replaced while it runs. Nothing is resumed: each connection proves all anew.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};
use thiserror::Error as ThisError;

use crate::clock::{Clock, Moment};
use crate::identity::{HostName, Identity, NodeName};
use crate::token::Digest;

const PROTOCOL: &[u8] = b"h2";

/// Why TLS cannot be set up.
#[derive(Debug, ThisError)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(String);

fn unusable(error: impl std::fmt::Display) -> TlsError {
    TlsError(error.to_string())
}

/// Somebody else than expected, with a good certificate.
#[derive(Debug, ThisError)]
#[error("{0} has no place at this end of the connection")]
struct Foreign(String);

fn foreign(who: impl std::fmt::Display) -> Error {
    let reason = OtherError(Arc::new(Foreign(who.to_string())));
    Error::InvalidCertificate(CertificateError::Other(reason))
}

/// One side's key and certificate, which can be replaced: connections that begin later show the new one.
#[derive(Debug)]
pub struct OwnKey(ArcSwap<CertifiedKey>);

impl OwnKey {
    /// With the first one.
    #[must_use]
    pub fn new(key: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(key)))
    }

    /// Shows another one from now on.
    pub fn replace(&self, key: Arc<CertifiedKey>) {
        self.0.store(key);
    }
}

impl ResolvesServerCert for OwnKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for OwnKey {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn only(authority: &CertificateDer<'static>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(unusable)?;
    Ok(roots)
}

/// Lets hosts of one DPU in, and those that have no certificate yet.
#[derive(Debug)]
struct HostVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    node: NodeName,
}

impl ClientCertVerifier for HostVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        match Identity::of(end_entity) {
            Ok(Identity::Host { dpu, .. }) if dpu == self.node => Ok(verified),
            Ok(identity) => Err(foreign(identity)),
            Err(error) => Err(foreign(error)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A DPU's side. Whoever has no certificate gets through, too: for the one call that needs none.
///
/// # Errors
/// When the authority's certificate cannot be used.
pub fn server_config(
    authority: &CertificateDer<'static>,
    node: NodeName,
    own: Arc<OwnKey>,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = Arc::new(only(authority)?);
    let inner =
        WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(unusable)?;
    let mut config = ServerConfig::builder_with_details(provider(), clock.provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(Arc::new(HostVerifier { inner, node }))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The DPU that a host expects.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Whoever has the authority that a token names.
    Authority(Digest),
    /// The one this host is enrolled at.
    Dpu {
        /// Its authority.
        authority: CertificateDer<'static>,
        /// Its node.
        node: NodeName,
    },
}

#[derive(Debug)]
struct DpuVerifier {
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for DpuVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = match &self.expected {
            Expected::Dpu { authority, .. } => authority.clone(),
            Expected::Authority(fingerprint) => {
                let named = intermediates.iter().find(|it| Digest::of(it) == *fingerprint);
                named.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned()
            }
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority)?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // The authority itself is among them and no link of the chain.
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, self.algorithms.all)?;
        match (Identity::of(end_entity), &self.expected) {
            (Ok(Identity::Dpu(_)), Expected::Authority(_)) => {}
            (Ok(Identity::Dpu(node)), Expected::Dpu { node: expected, .. })
                if node == *expected => {}
            (Ok(identity), _) => return Err(foreign(identity)),
            (Err(error), _) => return Err(foreign(error)),
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A host's side; `own` is none before it is enrolled.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client_config(
    expected: Expected,
    own: Option<Arc<OwnKey>>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let algorithms = provider().signature_verification_algorithms;
    let config = ClientConfig::builder_with_details(provider(), clock.provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(DpuVerifier { expected, algorithms }));
    let mut config = match own {
        Some(own) => config.with_client_cert_resolver(own),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A host that proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHost {
    /// Its name.
    pub host: HostName,
    /// Of which enrolment its certificate is.
    pub enrolment: crate::identity::Enrolment,
    /// Until when its certificate is good.
    pub valid_until: Moment,
}

impl PeerHost {
    /// Who sent a verified certificate.
    ///
    /// # Errors
    /// When it is of no host.
    pub fn of(certificate: &CertificateDer<'_>) -> io::Result<Self> {
        let refuse = |error: &dyn std::fmt::Display| io::Error::other(foreign(error));
        let identity = Identity::of(certificate).map_err(|error| refuse(&error))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| refuse(&error))?;
        let until = parsed.validity().not_after.timestamp();
        match identity {
            Identity::Host { host, enrolment, .. } => Ok(Self {
                host,
                enrolment,
                valid_until: Moment(u64::try_from(until).unwrap_or_default()),
            }),
            Identity::Dpu(_) => Err(refuse(&identity)),
        }
    }
}
