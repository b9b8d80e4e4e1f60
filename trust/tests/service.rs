//! What a DPU offers its hosts, called over TLS as hosts call it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packet::Mac;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{Code, Status};
use trust::api::v1::{
    EnrollRequest, HeartbeatRequest, HeartbeatResponse, ReleaseLeaseRequest, RenewRequest,
    RequestLeaseRequest,
};
use trust::client::{DpuClient, connect, explain};
use trust::clock::Hands;
use trust::functions::{Functions, HostFunction};
use trust::listener::Limits;
use trust::server::{DpuServer, DpuView};
use trust::tls::{Expected, OwnKey, client_config};
use trust::{Clock, Credentials, Moment, NewKey, Refusal, Token};

const NOW: Moment = Moment(1_800_000_000);
const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
const PATIENCE: Duration = Duration::from_secs(30);
const MAC: &str = "02:00:00:00:01:10";

/// Intent: VF 0 has an Interface.
struct View {
    mac: Mutex<Option<Mac>>,
    broken: AtomicBool,
}

impl DpuView for View {
    fn interface(&self, vf: u16) -> Option<(String, Mac)> {
        let mac = *self.mac.lock().unwrap();
        mac.filter(|_| vf == 0).map(|mac| ("vm0".to_owned(), mac))
    }

    fn problem(&self) -> Option<String> {
        self.broken.load(Ordering::Relaxed).then(|| "it stands still".to_owned())
    }

    fn intent_epoch(&self) -> u64 {
        7
    }

    fn version(&self) -> &'static str {
        "0"
    }
}

struct Dpu {
    server: Arc<DpuServer>,
    view: Arc<View>,
    address: SocketAddr,
    clock: Clock,
    hands: Hands,
    directory: Arc<TempDir>,
}

fn function(host: &str, pf: u8, first_vf: u16) -> HostFunction {
    HostFunction {
        host: host.parse().unwrap(),
        serial: Some("S1".parse().unwrap()),
        pf_mac: Mac([2, 0, 0, 0, 2, pf]),
        vfs: 2,
        first_vf,
    }
}

fn open(directory: &TempDir, view: &Arc<View>, clock: &Clock) -> Arc<DpuServer> {
    let functions = Functions::new(&[function("one", 1, 0), function("two", 2, 2)]).unwrap();
    let node = "dpu-a".parse().unwrap();
    let server =
        DpuServer::open(directory.path(), node, functions, view.clone(), clock.clone(), DAY);
    Arc::new(server.unwrap())
}

async fn start() -> Dpu {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (clock, hands) = Clock::manual(NOW);
    let view = Arc::new(View {
        mac: Mutex::new(Some(MAC.parse().unwrap())),
        broken: AtomicBool::new(false),
    });
    serve(directory, view, clock, hands).await
}

async fn serve(directory: Arc<TempDir>, view: Arc<View>, clock: Clock, hands: Hands) -> Dpu {
    let server = open(&directory, &view, &clock);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(server.clone().serve(tcp, Limits::default(), std::future::pending()));
    Dpu { server, view, address, clock, hands, directory }
}

impl Dpu {
    fn token(&self, host: &str) -> Token {
        let token = self.server.create_token(&host.parse().unwrap(), HOUR).unwrap();
        token.reveal().parse().unwrap()
    }

    /// As a host that has a token.
    async fn stranger(&self, token: &Token) -> DpuClient {
        let expected = Expected::Authority(token.authority);
        let config = client_config(expected, None, &self.clock).unwrap();
        connect(self.address, config, PATIENCE).await.unwrap()
    }

    async fn try_enroll(&self, token: &Token) -> Result<Credentials, Status> {
        let key = NewKey::generate().unwrap();
        let request = EnrollRequest {
            secret: token.secret.as_bytes().to_vec(),
            request: key.request().unwrap(),
        };
        let answer = self.stranger(token).await.enroll(request).await?.into_inner();
        Ok(key.certified(answer.certificate.into(), answer.authority.into()).unwrap())
    }

    async fn enroll(&self, host: &str) -> Credentials {
        self.try_enroll(&self.token(host)).await.unwrap()
    }

    async fn connect(&self, credentials: &Credentials) -> DpuClient {
        let own = OwnKey::new(credentials.certified_key().unwrap());
        let expected = Expected::Dpu {
            authority: credentials.authority().clone(),
            node: "dpu-a".parse().unwrap(),
        };
        let config = client_config(expected, Some(own), &self.clock).unwrap();
        connect(self.address, config, PATIENCE).await.unwrap()
    }
}

async fn heartbeat(client: &mut DpuClient, version: u64) -> Result<HeartbeatResponse, Status> {
    Ok(client.heartbeat(HeartbeatRequest { version }).await?.into_inner())
}

fn lease(version: u64, vf: &str) -> RequestLeaseRequest {
    RequestLeaseRequest {
        version,
        vf: vf.into(),
        vm: "vm-1".into(),
        vm_interface: "net0".into(),
        mac: MAC.into(),
    }
}

const OWN: &str = "S1/02:00:00:00:02:01/vf0";

fn refused<T: std::fmt::Debug>(result: Result<T, Status>, refusal: Refusal) -> String {
    let status = result.unwrap_err();
    assert_eq!(Refusal::of(&status), Some(refusal), "{status}");
    assert_eq!(status.code(), refusal.code());
    status.message().to_owned()
}

#[tokio::test]
async fn a_host_is_enrolled_once_by_a_token() {
    let dpu = start().await;
    let token = dpu.token("one");
    let credentials = dpu.try_enroll(&token).await.unwrap();
    assert_eq!(credentials.identity().to_string(), "spiffe://dpu-a/host/one/1");
    refused(dpu.try_enroll(&token).await, Refusal::TokenUsed);

    let late = dpu.token("one");
    dpu.hands.advance(HOUR);
    refused(dpu.try_enroll(&late).await, Refusal::TokenExpired);
    let guess = Token { secret: trust::token::Secret::random().unwrap(), ..late };
    refused(dpu.try_enroll(&guess).await, Refusal::TokenUnknown);

    // What is no request does not use a token up.
    let token = dpu.token("one");
    let request = EnrollRequest { secret: token.secret.as_bytes().to_vec(), request: vec![0; 9] };
    refused(dpu.stranger(&token).await.enroll(request).await, Refusal::BadRequest);
    dpu.try_enroll(&token).await.unwrap();
    let request = EnrollRequest { secret: vec![0; 31], request: vec![] };
    refused(dpu.stranger(&token).await.enroll(request).await, Refusal::TokenUnknown);
    assert_eq!(dpu.server.refusals().count(Refusal::TokenUnknown), 2);
}

#[tokio::test]
async fn without_a_certificate_there_is_nothing_but_enrolment() {
    let dpu = start().await;
    let mut client = dpu.stranger(&dpu.token("one")).await;
    refused(heartbeat(&mut client, 0).await, Refusal::NoCertificate);
    refused(client.renew(RenewRequest::default()).await, Refusal::NoCertificate);
    refused(client.request_lease(lease(1, OWN)).await, Refusal::NoCertificate);
    let release = ReleaseLeaseRequest { version: 1, vf: OWN.into() };
    refused(client.release_lease(release).await, Refusal::NoCertificate);
    assert_eq!(dpu.server.refusals().count(Refusal::NoCertificate), 4);
}

type Spoil = fn(&mut RequestLeaseRequest);

#[tokio::test]
async fn a_host_leases_its_own_vfs_and_no_others() {
    let dpu = start().await;
    let mut client = dpu.connect(&dpu.enroll("one").await).await;
    let given = client.request_lease(lease(1, OWN)).await.unwrap().into_inner();
    assert_eq!((given.version, given.interface.as_str()), (1, "vm0"));
    // The same again.
    client.request_lease(lease(2, OWN)).await.unwrap();
    let seen = heartbeat(&mut client, 2).await.unwrap();
    assert_eq!((seen.node.as_str(), seen.version, seen.intent_epoch), ("dpu-a", 2, 7));
    assert_eq!(seen.datapath_problem, "");
    assert_eq!((seen.leases.len(), seen.leases[0].vf.as_str()), (1, OWN));
    assert_eq!(seen.leases[0].objection, "");

    let wrong = |spoil: Spoil| {
        let mut request = lease(3, OWN);
        spoil(&mut request);
        request
    };
    let cases: [(Spoil, Refusal); 11] = [
        (|it| it.vf = "S1/02:00:00:00:02:02/vf0".into(), Refusal::NotYourVf),
        (|it| it.vf = "S1/02:00:00:00:02:01/vf2".into(), Refusal::UnknownVf),
        (|it| it.vf = "S2/02:00:00:00:02:01/vf0".into(), Refusal::UnknownVf),
        (|it| it.vf = "S1/02:00:00:00:02:01/vf1".into(), Refusal::NoInterface),
        (|it| it.mac = "02:00:00:00:01:11".into(), Refusal::WrongMac),
        (|it| it.vm = "vm-2".into(), Refusal::VfTaken),
        (|it| it.version = 2, Refusal::StaleVersion),
        (|it| it.vf = "vf0".into(), Refusal::Malformed),
        (|it| it.mac = "x".into(), Refusal::Malformed),
        (|it| it.vm = "../x".into(), Refusal::Malformed),
        (|it| it.vm_interface = String::new(), Refusal::Malformed),
    ];
    for (spoil, refusal) in cases {
        refused(client.request_lease(wrong(spoil)).await, refusal);
    }
    let mut other = dpu.connect(&dpu.enroll("two").await).await;
    refused(other.request_lease(lease(9, OWN)).await, Refusal::NotYourVf);
    let release = |version| ReleaseLeaseRequest { version, vf: OWN.into() };
    refused(other.release_lease(release(9)).await, Refusal::NotYourVf);
    assert!(heartbeat(&mut other, 0).await.unwrap().leases.is_empty());
    assert_eq!(heartbeat(&mut client, 2).await.unwrap().leases, seen.leases);
    assert_eq!(dpu.server.refusals().count(Refusal::NotYourVf), 3);

    // A late call has no effect once the host has said that it is late.
    heartbeat(&mut client, 5).await.unwrap();
    refused(client.release_lease(release(5)).await, Refusal::StaleVersion);
    client.release_lease(release(6)).await.unwrap();
    client.release_lease(release(7)).await.unwrap();
    assert!(heartbeat(&mut client, 7).await.unwrap().leases.is_empty());
}

#[tokio::test]
async fn leases_outlive_the_daemon_and_objections_come_with_intent() {
    let dpu = start().await;
    let credentials = dpu.enroll("one").await;
    dpu.connect(&credentials).await.request_lease(lease(4, OWN)).await.unwrap();
    let Dpu { directory, view, clock, hands, .. } = dpu;
    let dpu = serve(directory, view, clock, hands).await;
    let mut client = dpu.connect(&credentials).await;
    let seen = heartbeat(&mut client, 0).await.unwrap();
    assert_eq!((seen.version, seen.leases.len()), (4, 1));
    assert_eq!(dpu.server.hosts()[0].leases[0], (OWN.into(), "vm-1/net0".into()));
    assert!(dpu.server.hosts()[0].heard.is_some());

    *dpu.view.mac.lock().unwrap() = None;
    dpu.view.broken.store(true, Ordering::Relaxed);
    let seen = heartbeat(&mut client, 0).await.unwrap();
    assert!(seen.leases[0].objection.contains("no Interface"), "{:?}", seen.leases);
    assert_eq!(seen.datapath_problem, "it stands still");
}

#[tokio::test]
async fn certificates_end_are_renewed_superseded_and_revoked() {
    let dpu = start().await;
    let first = dpu.enroll("one").await;
    let mut client = dpu.connect(&first).await;
    heartbeat(&mut client, 0).await.unwrap();
    let key = NewKey::generate().unwrap();
    let request = || RenewRequest { request: key.request().unwrap() };
    dpu.hands.set(first.renew_at());
    let renewed = client.renew(request()).await.unwrap().into_inner();
    let renewed = key.certified(renewed.certificate.into(), first.authority().clone()).unwrap();
    assert_eq!(renewed.identity(), first.identity());
    assert!(renewed.valid_until() > first.valid_until());
    refused(client.renew(RenewRequest { request: vec![1] }).await, Refusal::BadRequest);

    // The connection is older than its certificate's end.
    dpu.hands.set(first.valid_until() + Duration::from_secs(1));
    refused(heartbeat(&mut client, 0).await, Refusal::Expired);
    dpu.hands.set(first.renew_at());
    let mut client = dpu.connect(&renewed).await;
    heartbeat(&mut client, 0).await.unwrap();
    client.request_lease(lease(1, OWN)).await.unwrap();

    // Whoever enrols as the host takes its place, and begins with nothing.
    let second = dpu.enroll("one").await;
    refused(heartbeat(&mut client, 0).await, Refusal::Superseded);
    let mut client = dpu.connect(&second).await;
    let seen = heartbeat(&mut client, 0).await.unwrap();
    assert_eq!((seen.version, seen.leases.len()), (0, 0));

    client.request_lease(lease(1, OWN)).await.unwrap();
    dpu.server.revoke(&"one".parse().unwrap()).unwrap();
    refused(heartbeat(&mut client, 0).await, Refusal::Revoked);
    refused(client.request_lease(lease(2, OWN)).await, Refusal::Revoked);
    assert!(dpu.server.hosts()[0].leases.is_empty());
    assert!(dpu.server.hosts()[0].revoked.is_some());
}

#[tokio::test]
async fn what_is_too_large_or_too_much_is_refused() {
    let dpu = start().await;
    let mut client = dpu.connect(&dpu.enroll("one").await).await;
    let large = RequestLeaseRequest { vm: "x".repeat(70 << 10), ..lease(1, OWN) };
    let status = client.clone().max_encoding_message_size(1 << 20).request_lease(large).await;
    assert_eq!(status.unwrap_err().code(), Code::OutOfRange);
    let mut refusals = 0;
    for version in (1..400).step_by(2) {
        let lease = client.request_lease(lease(version, OWN)).await;
        let release = ReleaseLeaseRequest { version: version + 1, vf: OWN.into() };
        let released = client.release_lease(release).await;
        for status in [lease.err(), released.err()].into_iter().flatten() {
            assert_eq!(Refusal::of(&status), Some(Refusal::TooManyChanges), "{status}");
            refusals += 1;
        }
    }
    assert!(refusals > 0);
}

#[tokio::test]
async fn a_host_learns_that_its_certificate_is_of_no_use() {
    let (dpu, other) = (start().await, start().await);
    let (mine, stranger) = (dpu.enroll("one").await, other.enroll("one").await);
    let own = OwnKey::new(stranger.certified_key().unwrap());
    let expected =
        Expected::Dpu { authority: mine.authority().clone(), node: "dpu-a".parse().unwrap() };
    let config = client_config(expected, Some(own), &dpu.clock).unwrap();
    // The DPU's word comes after the handshake: with the connection, or with the first call.
    let said = match connect(dpu.address, config, PATIENCE).await {
        Err(error) => error.to_string(),
        Ok(mut client) => explain(&heartbeat(&mut client, 0).await.unwrap_err()),
    };
    assert!(said.contains("the DPU refuses this host's certificate"), "{said}");
}
