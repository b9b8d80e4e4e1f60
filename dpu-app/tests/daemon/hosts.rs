//! A host that has a good certificate and bad intentions: what it can change is its own leases, and the datapath does not
//! notice.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dpu_app::api::v1::dpu_client::DpuClient as OperatorClient;
use dpu_app::api::v1::{
    ApplyRequest, CreateHostTokenRequest, ExplainOffloadRequest, FlowsRequest, GetRequest,
    HostsRequest, HostsResponse, PatchRequest, RevokeHostRequest, RulesRequest, StatusRequest,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use trust::api::v1::{
    EnrollRequest, HeartbeatRequest, ReleaseLeaseRequest, RenewRequest, RequestLeaseRequest,
};
use trust::client::{DpuClient, connect};
use trust::tls::{Expected, OwnKey, client_config};
use trust::{Clock, Credentials, NewKey, Refusal, Token};

use crate::raw_calls;
use crate::support::{Daemon, Echo, Namespace};
use crate::{MAC_0, MAC_1, can_run, files, intent, switch};

const PATIENCE: Duration = Duration::from_mins(1);
const VF_0: &str = "SIM1/02:00:00:00:0a:00/vf0";
const VF_1: &str = "SIM1/02:00:00:00:0a:01/vf0";

/// How many connections a host opens at a time.
fn storm() -> usize {
    let wanted = std::env::var("PENSTOCK_HOST_CONNECTIONS").ok();
    wanted.map_or(400, |text| text.parse().expect("PENSTOCK_HOST_CONNECTIONS is a number"))
}

/// The daemon's side: the address is one that was free a moment ago.
fn listening(directory: &Path) -> (SocketAddr, String) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let function = |host: &str, pf: u8| {
        format!(
            "[[host.functions]]\nhost = \"{host}\"\nserial = \"SIM1\"\npfMac = \"02:00:00:00:0a:0{pf}\"\nvfs = 1\nfirstVf = {pf}\n"
        )
    };
    let (one, two) = (function("one", 0), function("two", 1));
    let text = format!("{}[host]\nlisten = \"{free}\"\n{one}{two}", switch("bluefield3-sws"));
    fs::create_dir_all(directory).unwrap();
    (free, text)
}

fn token(daemon: &Daemon, host: &str) -> Token {
    let request = CreateHostTokenRequest { host: host.into(), valid_seconds: 600 };
    let answer = daemon.call(async |mut client| client.create_host_token(request).await);
    answer.expect("the daemon listens").expect("a token").into_inner().token.parse().unwrap()
}

fn known(daemon: &Daemon) -> HostsResponse {
    let answer = daemon.call(async |mut client| client.hosts(HostsRequest {}).await);
    answer.expect("the daemon listens").expect("hosts").into_inner()
}

fn expected(credentials: &Credentials) -> Expected {
    Expected::Dpu { authority: credentials.authority().clone(), node: "dpu".parse().unwrap() }
}

async fn enroll(address: SocketAddr, token: &Token) -> Credentials {
    let expected = Expected::Authority(token.authority);
    let config = client_config(expected, None, &Clock::system()).unwrap();
    let mut client = connect(address, config, PATIENCE).await.unwrap();
    let key = NewKey::generate().unwrap();
    let (secret, request) = (token.secret.as_bytes().to_vec(), key.request().unwrap());
    let answer = client.enroll(EnrollRequest { secret, request }).await.unwrap().into_inner();
    key.certified(answer.certificate.into(), answer.authority.into()).unwrap()
}

fn config(credentials: &Credentials) -> Arc<rustls::ClientConfig> {
    let own = OwnKey::new(credentials.certified_key().unwrap());
    client_config(expected(credentials), Some(own), &Clock::system()).unwrap()
}

fn lease(version: u64, vf: &str, mac: &str) -> RequestLeaseRequest {
    RequestLeaseRequest {
        version,
        vf: vf.into(),
        vm: "vm-1".into(),
        vm_interface: "net0".into(),
        mac: mac.into(),
    }
}

/// All that hosts may call, with what does not belong to this one.
async fn try_the_hosts_service(client: &mut DpuClient) {
    let refusal = |status: tonic::Status| Refusal::of(&status);
    let enroll = EnrollRequest {
        secret: vec![7; 32],
        request: NewKey::generate().unwrap().request().unwrap(),
    };
    assert_eq!(refusal(client.enroll(enroll).await.unwrap_err()), Some(Refusal::TokenUnknown));
    let renew = RenewRequest { request: vec![0xff; 4000] };
    assert_eq!(refusal(client.renew(renew).await.unwrap_err()), Some(Refusal::BadRequest));
    let release = ReleaseLeaseRequest { version: 100, vf: VF_1.into() };
    let refused = client.release_lease(release).await.unwrap_err();
    assert_eq!(refusal(refused), Some(Refusal::NotYourVf));
    for (vf, mac, reason) in [
        (VF_1, MAC_1, Refusal::NotYourVf),
        (VF_0, MAC_1, Refusal::WrongMac),
        ("SIM1/02:00:00:00:0a:00/vf1", MAC_1, Refusal::UnknownVf),
        ("-/02:00:00:00:0a:00/vf0", MAC_0, Refusal::UnknownVf),
        ("vf0", MAC_0, Refusal::Malformed),
    ] {
        let refused = client.request_lease(lease(100, vf, mac)).await.unwrap_err();
        assert_eq!(refusal(refused), Some(reason), "{vf}");
    }
    let long = RequestLeaseRequest { vm: "x".repeat(1 << 20), ..lease(100, VF_0, MAC_0) };
    let mut careless = client.clone().max_encoding_message_size(4 << 20);
    assert_eq!(careless.request_lease(long).await.unwrap_err().code(), Code::OutOfRange);
}

/// The operator's service is not there.
async fn try_the_operators_service(channel: Channel) {
    let mut client = OperatorClient::new(channel);
    let mut codes = vec![
        client.apply(ApplyRequest::default()).await.unwrap_err().code(),
        client.patch(PatchRequest::default()).await.unwrap_err().code(),
        client.get(GetRequest { kind: "Interface".into() }).await.unwrap_err().code(),
        client.flows(FlowsRequest::default()).await.unwrap_err().code(),
        client.rules(RulesRequest {}).await.unwrap_err().code(),
        client.status(StatusRequest {}).await.unwrap_err().code(),
        client.hosts(HostsRequest {}).await.unwrap_err().code(),
        client.explain_offload(ExplainOffloadRequest::default()).await.unwrap_err().code(),
        client.create_host_token(CreateHostTokenRequest::default()).await.unwrap_err().code(),
        client.revoke_host(RevokeHostRequest { host: "two".into() }).await.unwrap_err().code(),
    ];
    codes.dedup();
    assert_eq!(codes, [Code::Unimplemented]);
}

/// Any bytes as messages. Only a heartbeat needs to say nothing.
async fn try_any_message(channel: &Channel) {
    const PATHS: [&str; 5] = [
        "/penstock.v1.HostAccess/Enroll",
        "/penstock.v1.HostAccess/Renew",
        "/penstock.v1.HostAccess/RequestLease",
        "/penstock.v1.HostAccess/ReleaseLease",
        "/penstock.v1.HostAccess/Heartbeat",
    ];
    for message in raw_calls::messages(60) {
        for path in PATHS {
            let result = raw_calls::call(channel, path, message.clone()).await;
            assert!(result.is_err() || path.ends_with("Heartbeat"), "{path}: {message:02x?}");
        }
    }
}

async fn channel(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> Channel {
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let tls = TlsConnector::from(config.clone());
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(tls.connect(name, tcp).await?))
        }
    });
    Endpoint::from_static("http://dpu").connect_with_connector(connector).await.unwrap()
}

/// Frames that are none, and frames that are, but in no order that makes sense.
async fn malformed(address: SocketAddr, config: &Arc<rustls::ClientConfig>) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frame = |kind: u8, flags: u8, stream: u32, length: u32, body: &[u8]| {
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(body);
        frame
    };
    let settings = frame(4, 0, 0, 0, &[]);
    let begun = [PREFACE, &settings].concat();
    let resets: Vec<u8> = (0..2000u32)
        .flat_map(|n| {
            // HEADERS of `:method: POST` and no more, then RST_STREAM.
            let mut two = frame(1, 4, 2 * n + 1, 1, &[0x83]);
            two.extend(frame(3, 0, 2 * n + 1, 4, &[0, 0, 0, 8]));
            two
        })
        .collect();
    let attempts: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: dpu\r\n\r\n".to_vec(),
        vec![0; 10_000],
        vec![0xff; 10_000],
        PREFACE[..10].to_vec(),
        [&begun[..], &frame(0, 0, 1, 0x00ff_ffff, &[0; 100])].concat(),
        [&begun[..], &frame(9, 0, 1, 4, &[0x82; 4])].concat(),
        [&begun[..], &frame(1, 0, 1, 1, &[0x83]), &frame(9, 0, 1, 1, &[0x84]).repeat(5000)]
            .concat(),
        [&begun[..], &frame(6, 0, 0, 8, &[0; 8]).repeat(5000)].concat(),
        [&begun[..], &settings.repeat(5000)].concat(),
        [&begun[..], &frame(8, 0, 0, 4, &[0x7f, 0xff, 0xff, 0xff]).repeat(2)].concat(),
        [&begun[..], &resets].concat(),
        (0..20_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
    ];
    for bytes in attempts {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::IpAddress(address.ip().into());
        let Ok(mut stream) = TlsConnector::from(config.clone()).connect(name, tcp).await else {
            continue;
        };
        // It may hang up at any time.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut sink = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut sink)).await;
    }
}

/// As many connections as can be had: some with a certificate, some that say nothing, some that say nonsense.
async fn many(address: SocketAddr, config: &Arc<rustls::ClientConfig>) {
    let mut held = Vec::new();
    for number in 0..storm() {
        let Ok(mut tcp) = TcpStream::connect(address).await else { continue };
        match number % 3 {
            0 => held.push((Some(tcp), None)),
            1 => {
                let _ = tcp.write_all(&[0x16, 3, 1, 0xff, 0xff]).await;
                held.push((Some(tcp), None));
            }
            _ => {
                let name = ServerName::IpAddress(address.ip().into());
                let tls = TlsConnector::from(config.clone()).connect(name, tcp).await;
                held.push((None, tls.ok()));
            }
        }
    }
    assert_eq!(held.len(), storm());
}

#[test]
fn a_hostile_host_changes_its_own_leases_alone() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (address, ports) = listening(directory.path());
    let files = files(directory.path(), &ports);
    let [dpu, vm0, vm1] = ["hdpu", "hvm0", "hvm1"].map(Namespace::new);
    dpu.add_uplink();
    let daemon = Daemon::start(&dpu, &files.config, &files.socket);
    let open = intent("{protocol: any}");
    assert_eq!(daemon.apply(&open), Ok(6));
    vm0.become_static_vm(&dpu, "vf0", MAC_0, ["10.0.1.10/24", "2001:db8:0:1::10/64"]);
    vm1.become_static_vm(&dpu, "vf1", MAC_1, ["10.0.1.11/24", "2001:db8:0:1::11/64"]);
    let (one, two) = (token(&daemon, "one"), token(&daemon, "two"));
    let epoch = daemon.status().unwrap().epoch;

    // Packets go to and fro all the time; each must come back.
    let stop = Arc::new(AtomicBool::new(false));
    let exchanged = Arc::new(AtomicU64::new(0));
    let [mut flow] =
        <[Echo; 1]>::try_from(Echo::open(&vm0, &vm1, "10.0.1.11:0".parse().unwrap(), 1))
            .unwrap_or_else(|_| panic!("one flow"));
    let (ended, count) = (stop.clone(), exchanged.clone());
    let traffic = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            flow.exchange(10);
            count.fetch_add(10, Ordering::Relaxed);
        }
    });

    dpu.enter_runtime(async move {
        let one = enroll(address, &one).await;
        let two = enroll(address, &two).await;
        let mut victim = connect(address, config(&two), PATIENCE).await.unwrap();
        victim.request_lease(lease(1, VF_1, MAC_1)).await.unwrap();
        let hostile = config(&one);
        {
            let mut client = connect(address, hostile.clone(), PATIENCE).await.unwrap();
            client.request_lease(lease(1, VF_0, MAC_0)).await.unwrap();
            try_the_hosts_service(&mut client).await;
        }
        let wire = channel(address, hostile.clone()).await;
        try_the_operators_service(wire.clone()).await;
        try_any_message(&wire).await;
        malformed(address, &hostile).await;
        many(address, &hostile).await;

        // Whoever was connected still is, and has what it had.
        let seen = victim.heartbeat(HeartbeatRequest { version: 1 }).await.unwrap().into_inner();
        let held: Vec<_> = seen.leases.iter().map(|lease| lease.vf.as_str()).collect();
        assert_eq!(held, [VF_1]);
        // So has the hostile one, once there is room for it again.
        let again = async {
            loop {
                if let Ok(mut client) = connect(address, hostile.clone(), PATIENCE).await
                    && let Ok(seen) = client.heartbeat(HeartbeatRequest { version: 1 }).await
                {
                    return seen.into_inner();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, again).await.unwrap();
        assert_eq!(seen.leases.len(), 1);
        assert_eq!((seen.leases[0].vf.as_str(), seen.leases[0].mac.as_str()), (VF_0, MAC_0));
    });

    let before = exchanged.load(Ordering::Relaxed);
    crate::support::wait_for("packets", PATIENCE, || {
        (exchanged.load(Ordering::Relaxed) > before).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    traffic.join().expect("every packet came back");
    let status = daemon.status().unwrap();
    assert_eq!((status.epoch, status.alive), (epoch, true));
    let known = known(&daemon);
    let leases: Vec<_> = known.hosts.iter().map(|host| host.leases.len()).collect();
    assert_eq!(leases, [1, 1]);
    for reason in ["not_your_vf", "too_many_of_address", "handshake_failed", "malformed"] {
        assert!(known.refusals.contains_key(reason), "{reason}: {:?}", known.refusals);
    }
    // A line for each would be thousands.
    let lines = daemon.log().lines().filter(|line| line.contains("refused: ")).count();
    assert!(lines < 300, "{lines}");

    // After a death all is as before: hosts, leases, and the DPU's own authority.
    assert!(!daemon.end(libc::SIGKILL).success());
    let daemon = Daemon::start(&dpu, &files.config, &files.socket);
    let again = crate::hosts::known(&daemon);
    let names = |response: &HostsResponse| -> Vec<_> {
        let hosts = response.hosts.iter();
        hosts.map(|host| (host.name.clone(), host.enrolment, host.leases.clone())).collect()
    };
    assert_eq!(names(&again), names(&known));
}
