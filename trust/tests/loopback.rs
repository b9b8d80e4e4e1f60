//! A DPU and its hosts over a loopback socket: who gets through, who does not, and why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;
use tonic::transport::server::Connected;
use trust::clock::Hands;
use trust::listener::{Limits, Peer, listen};
use trust::tls::{Expected, OwnKey, client_config, server_config};
use trust::{Authority, Clock, Credentials, Identity, Moment, NewKey, Refusal, Refusals};

const NOW: Moment = Moment(1_800_000_000);
const DAY: Duration = Duration::from_hours(24);
/// For what comes at once, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn authority(node: &str) -> Authority {
    let directory = tempfile::tempdir().unwrap();
    Authority::open(directory.path(), node.parse().unwrap(), NOW).unwrap()
}

fn credentials(authority: &Authority, identity: &str) -> Credentials {
    let key = NewKey::generate().unwrap();
    let identity: Identity = identity.parse().unwrap();
    let signed = authority.sign(&key.request().unwrap(), &identity, NOW, DAY).unwrap();
    key.certified(signed, authority.certificate().clone()).unwrap()
}

fn own(credentials: &Credentials) -> Arc<OwnKey> {
    OwnKey::new(credentials.certified_key().unwrap())
}

/// A DPU that says to each connection who it is of, and keeps it until the other end goes.
struct Dpu {
    address: SocketAddr,
    authority: Authority,
    own: Arc<OwnKey>,
    refusals: Arc<Refusals>,
    clock: Clock,
    hands: Hands,
}

async fn dpu(limits: Limits) -> Dpu {
    let (clock, hands) = Clock::manual(NOW);
    let authority = authority("dpu-a");
    let own = own(&authority.own_credentials(NOW, DAY).unwrap());
    let node = authority.node().clone();
    let config = server_config(authority.certificate(), node, own.clone(), &clock).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let refusals = Arc::new(Refusals::new(clock.clone()));
    let mut incoming = listen(tcp, config, limits, refusals.clone());
    tokio::spawn(async move {
        while let Some(Ok(mut stream)) = incoming.next().await {
            tokio::spawn(async move {
                let Peer { host, .. } = stream.connect_info();
                let name = host.map_or("nobody".to_owned(), |peer| peer.host.to_string());
                let _ = stream.write_all(name.as_bytes()).await;
                let _ = stream.write_all(b"\n").await;
                let _ = stream.read(&mut [0; 16]).await;
            });
        }
    });
    Dpu { address, authority, own, refusals, clock, hands }
}

impl Dpu {
    fn expected(&self) -> Expected {
        Expected::Dpu {
            authority: self.authority.certificate().clone(),
            node: self.authority.node().clone(),
        }
    }

    fn client(&self, own: Option<Arc<OwnKey>>) -> Arc<ClientConfig> {
        client_config(self.expected(), own, &self.clock).unwrap()
    }

    async fn connect(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::IpAddress(self.address.ip().into());
        TlsConnector::from(config).connect(name, tcp).await
    }

    /// Who the DPU says the other end is.
    async fn greeting(&self, config: Arc<ClientConfig>) -> std::io::Result<String> {
        greeting(&mut self.connect(config).await?).await
    }

    async fn refused(&self, refusal: Refusal, times: u64) {
        let wait = async {
            while self.refusals.count(refusal) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counts = || self.refusals.counts().collect::<Vec<_>>();
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("no {refusal:?}: {:?}", counts()));
        assert_eq!(self.refusals.count(refusal), times);
    }
}

async fn greeting(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(text),
            byte => text.push(byte.into()),
        }
    }
}

#[tokio::test]
async fn each_knows_the_other() {
    let dpu = dpu(Limits::default()).await;
    let host = credentials(&dpu.authority, "spiffe://dpu-a/host/gpu-17/1");
    let known = dpu.greeting(dpu.client(Some(own(&host)))).await.unwrap();
    assert_eq!(known, "gpu-17");
    assert_eq!(dpu.greeting(dpu.client(None)).await.unwrap(), "nobody");
    // As a host that has nothing but a token.
    let named = Expected::Authority(dpu.authority.fingerprint());
    let config = client_config(named, None, &dpu.clock).unwrap();
    assert_eq!(dpu.greeting(config).await.unwrap(), "nobody");
    assert_eq!(dpu.refusals.counts().count(), 0);
}

#[tokio::test]
async fn a_host_refuses_a_dpu_that_is_not_its_own() {
    let dpu = dpu(Limits::default()).await;
    let other = authority("dpu-a");
    let other_authority = |error: std::io::Error| {
        assert_eq!(Refusal::of_handshake(&error), Refusal::WrongAuthority, "{error}");
    };
    for expected in [
        Expected::Authority(other.fingerprint()),
        Expected::Dpu { authority: other.certificate().clone(), node: other.node().clone() },
    ] {
        let config = client_config(expected, None, &dpu.clock).unwrap();
        other_authority(dpu.greeting(config).await.unwrap_err());
    }
    let authority = dpu.authority.certificate().clone();
    let expected = Expected::Dpu { authority, node: "dpu-b".parse().unwrap() };
    let config = client_config(expected, None, &dpu.clock).unwrap();
    let error = dpu.greeting(config).await.unwrap_err();
    assert_eq!(Refusal::of_handshake(&error), Refusal::ForeignIdentity, "{error}");

    // A host's certificate makes no DPU, though the authority is right.
    let host = credentials(&dpu.authority, "spiffe://dpu-a/host/gpu-17/1");
    dpu.own.replace(host.certified_key().unwrap());
    for expected in [dpu.expected(), Expected::Authority(dpu.authority.fingerprint())] {
        let config = client_config(expected, None, &dpu.clock).unwrap();
        let error = dpu.greeting(config).await.unwrap_err();
        assert_eq!(Refusal::of_handshake(&error), Refusal::BadCertificate, "{error}");
    }
}

#[tokio::test]
async fn a_dpu_refuses_whoever_is_not_its_host_and_says_why() {
    let dpu = dpu(Limits::default()).await;
    // Of another authority, and of another one that has the same name.
    for (times, node) in [(1, "dpu-b"), (2, "dpu-a")] {
        let stranger = credentials(&authority(node), "spiffe://dpu-a/host/gpu-17/1");
        dpu.greeting(dpu.client(Some(own(&stranger)))).await.unwrap_err();
        dpu.refused(Refusal::WrongAuthority, times).await;
    }

    let elsewhere = credentials(&dpu.authority, "spiffe://dpu-b/host/gpu-17/1");
    dpu.greeting(dpu.client(Some(own(&elsewhere)))).await.unwrap_err();
    dpu.refused(Refusal::ForeignIdentity, 1).await;

    // Good to prove a DPU, and nothing else.
    let itself = credentials(&dpu.authority, "spiffe://dpu-a/dpu");
    dpu.greeting(dpu.client(Some(own(&itself)))).await.unwrap_err();
    dpu.refused(Refusal::BadCertificate, 1).await;

    let mut plain = TcpStream::connect(dpu.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    dpu.refused(Refusal::HandshakeFailed, 1).await;
}

/// Takes any DPU: as a host whose clock is wrong, or that does not care.
#[derive(Debug)]
struct Anyone;

mod anyone {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::UnixTime;
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    use super::{Anyone, CertificateDer, ServerName};

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
}

fn careless(own: Arc<OwnKey>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_cert_resolver(own);
    Arc::new(config)
}

#[tokio::test]
async fn certificates_have_their_time_and_are_renewed_while_all_runs() {
    let dpu = dpu(Limits::default()).await;
    let host = credentials(&dpu.authority, "spiffe://dpu-a/host/gpu-17/1");
    let (key, config) = (own(&host), dpu.client(None));
    // Five minutes are granted to clocks that differ.
    dpu.hands.set(NOW.before(Duration::from_secs(299)));
    assert_eq!(dpu.greeting(careless(key.clone())).await.unwrap(), "gpu-17");
    dpu.hands.set(NOW.before(Duration::from_secs(301)));
    dpu.greeting(careless(key.clone())).await.unwrap_err();
    dpu.refused(Refusal::NotYetValid, 1).await;
    let error = dpu.greeting(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("not valid yet"), "{error}");

    dpu.hands.set(NOW + DAY + Duration::from_secs(1));
    dpu.greeting(careless(key.clone())).await.unwrap_err();
    dpu.refused(Refusal::Expired, 1).await;
    let error = dpu.greeting(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");

    // Both have new ones, without a restart of anything.
    let now = dpu.clock.now();
    dpu.own.replace(dpu.authority.own_credentials(now, DAY).unwrap().certified_key().unwrap());
    let next = NewKey::generate().unwrap();
    let request = next.request().unwrap();
    let signed = dpu.authority.sign(&request, host.identity(), now, DAY).unwrap();
    let next = next.certified(signed, dpu.authority.certificate().clone()).unwrap();
    let both = dpu.client(Some(key.clone()));
    key.replace(next.certified_key().unwrap());
    assert_eq!(dpu.greeting(both).await.unwrap(), "gpu-17");
}

#[tokio::test]
async fn there_are_no_more_connections_than_there_may_be() {
    let limits = Limits { connections: 6, of_address: 5, of_host: 2, ..Limits::default() };
    let dpu = dpu(limits).await;
    let host = credentials(&dpu.authority, "spiffe://dpu-a/host/gpu-17/1");
    let config = dpu.client(Some(own(&host)));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = dpu.connect(config.clone()).await.unwrap();
        greeting(&mut stream).await.unwrap();
        open.push(stream);
    }
    dpu.greeting(config.clone()).await.unwrap_err();
    dpu.refused(Refusal::TooManyOfHost, 1).await;
    // Three more that say nothing: as many as the address may have.
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(dpu.address).await.unwrap());
    }
    dpu.refused(Refusal::TooManyOfAddress, 1).await;

    // What goes makes room.
    drop(open.pop());
    drop(silent);
    let again = async {
        while dpu.greeting(config.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn who_is_silent_or_nobody_has_to_go() {
    let short = Duration::from_millis(200);
    let limits = Limits { handshake: short, anonymous: short, ..Limits::default() };
    let dpu = dpu(limits).await;
    let mut silent = TcpStream::connect(dpu.address).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
    dpu.refused(Refusal::HandshakeTimeout, 1).await;

    let mut nobody = dpu.connect(dpu.client(None)).await.unwrap();
    assert_eq!(greeting(&mut nobody).await.unwrap(), "nobody");
    let ended = tokio::time::timeout(PATIENCE, nobody.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
}
