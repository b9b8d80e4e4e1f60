//! Namespaces that act as VMs, and a daemon with a simulated NIC between them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dpu_app::api::v1::dpu_client::DpuClient;
use dpu_app::api::v1::{
    ApplyRequest, ExplainOffloadRequest, Flow, FlowsRequest, RulesRequest, Source, StatusRequest,
    StatusResponse, apply_response,
};
use dpu_app::offload::Explanation;
use rte_flow::Profile;
use sim::control::{Answer, Request, RuleFaults};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use verify::{Dump, verify};

/// Why the tests of this file cannot run here.
pub fn obstacle() -> Option<String> {
    // SAFETY: asks the kernel for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Some("they need root (network namespaces, TAP interfaces)".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("they need /dev/net/tun".to_owned());
    }
    ["ip", "busybox"]
        .into_iter()
        .find(|program| Command::new(program).arg("--help").output().is_err())
        .map(|program| format!("they need {program}; run `cargo xtask setup`"))
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {}: {}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Asks again and again until the answer is there.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "no {what} within {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A network namespace that is removed with this value.
pub struct Namespace(String);

impl Namespace {
    pub fn new(purpose: &str) -> Self {
        let name = format!("penstock-{purpose}-{}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self(name);
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        namespace
    }

    /// Runs a program in the namespace.
    pub fn run(&self, command: &[&str]) {
        run("ip", &[&["netns", "exec", &self.0], command].concat());
    }

    /// Moves an interface here.
    pub fn take(&self, from: &Self, interface: &str) {
        from.run(&["ip", "link", "set", interface, "netns", &self.0]);
    }

    /// Gives a DPU's namespace the interface `up0`, with a neighbour that says nothing.
    pub fn add_uplink(&self) {
        self.run(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        self.run(&["ip", "link", "set", "up0", "up"]);
        self.run(&["ip", "link", "set", "up1", "up"]);
    }

    /// Makes the namespace the VM behind a VF: its interface, with these addresses.
    pub fn become_static_vm(&self, dpu: &Self, interface: &str, mac: &str, addresses: [&str; 2]) {
        self.take(dpu, interface);
        self.run(&["ip", "link", "set", interface, "address", mac, "up"]);
        for address in addresses {
            // An IPv6 address without duplicate detection can be used at once; IPv4 knows no such thing.
            let detection: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            let add = ["ip", "addr", "add", address, "dev", interface];
            self.run(&[&add[..], detection].concat());
        }
    }

    /// Makes the namespace the VM behind a VF: its interface, addressed by DHCP.
    pub fn become_vm(&self, dpu: &Self, interface: &str, mac: &str, script: &Path) {
        self.take(dpu, interface);
        self.run(&["ip", "link", "set", interface, "address", mac, "up"]);
        let script = script.to_str().unwrap();
        let dhcp = ["busybox", "udhcpc", "-i", interface, "-n", "-q", "-t", "10", "-T", "1"];
        self.run(&[&dhcp[..], &["-s", script]].concat());
    }

    /// Runs `work` on a thread in the namespace.
    fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).expect("open the namespace");
        let inside = thread::spawn(move || {
            // SAFETY: moves this thread alone, which ends with the work.
            let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
            work()
        });
        inside.join().expect("the work in the namespace")
    }
}

impl Namespace {
    /// Does something that waits, on a thread in the namespace.
    pub fn enter_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.enter(|| Builder::new_current_thread().enable_all().build().unwrap().block_on(work))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A TCP connection between two namespaces; the other end sends back what comes.
pub struct Connection(TcpStream);

impl Connection {
    pub fn open(from: &Namespace, to: &Namespace, address: SocketAddr) -> Self {
        const PATIENCE: Duration = Duration::from_secs(2);
        let listener = to.enter(move || TcpListener::bind(address).expect("listen"));
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
        });
        let stream = from.enter(move || {
            TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("connect")
        });
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Whether a message comes back.
    pub fn echoes(&mut self) -> bool {
        let mut back = [0; 5];
        self.0.write_all(b"hello").is_ok() && self.0.read_exact(&mut back).is_ok()
    }
}

/// A UDP flow between two namespaces; the other end sends back what comes.
pub struct Echo {
    socket: UdpSocket,
    sent: u64,
}

impl Echo {
    /// Flows to one socket, which answers as long as the test runs.
    pub fn open(from: &Namespace, to: &Namespace, address: SocketAddr, count: u16) -> Vec<Self> {
        const PATIENCE: Duration = Duration::from_secs(2);
        let server = to.enter(move || UdpSocket::bind((address.ip(), 0)).expect("bind"));
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                // A namespace that is gone ends the flow.
                let _ = server.send_to(&buffer[..length], from);
            }
        });
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = move || {
            let socket = UdpSocket::bind(any).expect("bind");
            socket.connect(address).expect("connect");
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            Self { socket, sent: 0 }
        };
        from.enter(move || (0..count).map(|_| socket()).collect())
    }

    /// The port of its initiator.
    pub fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// How many packets were sent in each direction.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends packets, a few at a time; every one must come back.
    pub fn exchange(&mut self, count: u64) {
        const AT_A_TIME: u64 = 5;
        let end = self.sent + count;
        while self.sent < end {
            let some = self.sent..end.min(self.sent + AT_A_TIME);
            for number in some.clone() {
                self.socket.send(&number.to_be_bytes()).expect("send");
            }
            let mut missing: BTreeSet<u64> = some.clone().collect();
            while !missing.is_empty() {
                let mut back = [0; 8];
                let received = self.socket.recv(&mut back);
                assert!(received.is_ok(), "port {}: {missing:?} of {some:?} is lost", self.port());
                assert!(missing.remove(&u64::from_be_bytes(back)), "nothing comes twice");
            }
            self.sent = some.end;
        }
    }
}

/// The simulated NIC's control socket.
pub struct Nic(BufReader<UnixStream>);

impl Nic {
    pub fn connect(path: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(path).expect("the NIC listens")))
    }

    fn ask(&mut self, request: &Request) -> sim::control::Status {
        let line = serde_json::to_string(request).unwrap();
        writeln!(self.0.get_mut(), "{line}").expect("the NIC listens");
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("the NIC answers");
        match serde_json::from_str(&answer).unwrap() {
            Answer::Ok(status) => status,
            Answer::Error(problem) => panic!("{problem}"),
        }
    }

    /// How many rules there are.
    pub fn rules(&mut self) -> u64 {
        self.ask(&Request::Status).rules
    }

    /// Resets the card, which is away for so long.
    pub fn reset(&mut self, outage_ms: u32) {
        self.ask(&Request::Reset { outage_ms });
    }

    /// Lets these things, and no others, go wrong from now on.
    pub fn set(&mut self, faults: RuleFaults) {
        self.ask(&Request::Rules(faults));
    }
}

/// A daemon in a namespace, ended with this value.
pub struct Daemon {
    process: Child,
    log: PathBuf,
    socket: PathBuf,
    runtime: Runtime,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    pub fn start(namespace: &Namespace, config: &Path, socket: &Path) -> Self {
        let log = config.with_extension("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let process = Command::new("ip")
            .args(["netns", "exec", &namespace.0, env!("CARGO_BIN_EXE_penstock-dpud"), "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("start the daemon");
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut daemon = Self { process, log, socket: socket.to_owned(), runtime };
        wait_for("answer of the daemon", Duration::from_secs(30), || {
            assert!(daemon.process.try_wait().unwrap().is_none(), "it ended: {}", daemon.log());
            daemon.status().filter(|status| status.alive)
        });
        daemon
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Calls the daemon; nothing when it does not listen.
    pub fn call<T>(&self, call: impl AsyncFnOnce(DpuClient<Channel>) -> T) -> Option<T> {
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket.display())).unwrap();
        self.runtime
            .block_on(async { Some(call(DpuClient::new(endpoint.connect().await.ok()?)).await) })
    }

    pub fn status(&self) -> Option<StatusResponse> {
        self.call(async |mut client| {
            Some(client.status(StatusRequest {}).await.ok()?.into_inner())
        })?
    }

    /// Applies intent; returns how many objects changed, or what is wrong with it.
    pub fn apply(&self, intent: &str) -> Result<usize, Vec<String>> {
        let source = Source { name: "test.yaml".into(), content: intent.as_bytes().to_vec() };
        let response = self
            .call(async |mut client| client.apply(ApplyRequest { sources: vec![source] }).await)
            .expect("the daemon listens")
            .expect("the daemon answers");
        match response.into_inner().result.expect("a result") {
            apply_response::Result::Applied(applied) => Ok(applied.changes.len()),
            apply_response::Result::Refused(refused) => Err(refused.diagnostics),
        }
    }

    /// How a TCP connection becomes rules, or what is wrong with the question.
    pub fn explain(
        &self,
        interface: &str,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Explanation, String> {
        let request = ExplainOffloadRequest {
            interface: interface.into(),
            protocol: 6,
            source: source.ip().to_string(),
            destination: destination.ip().to_string(),
            source_port: source.port().into(),
            destination_port: destination.port().into(),
        };
        let answer = self
            .call(async |mut client| client.explain_offload(request).await)
            .expect("the daemon listens")
            .map_err(|status| status.message().to_owned())?;
        Ok(serde_json::from_str(&answer.into_inner().explanation).expect("an explanation"))
    }

    /// The TCP flows.
    pub fn tcp_flows(&self) -> Vec<Flow> {
        self.flows(6)
    }

    /// The flows of a protocol.
    pub fn flows(&self, protocol: u32) -> Vec<Flow> {
        let all = self.call(async |mut client| {
            let mut batches =
                client.flows(FlowsRequest::default()).await.expect("flows").into_inner();
            let mut flows = Vec::new();
            while let Some(batch) = batches.message().await.expect("a batch") {
                flows.extend(batch.flows);
            }
            flows
        });
        let mut flows = all.expect("the daemon listens");
        flows.retain(|flow| flow.protocol == protocol);
        flows
    }

    /// The rules in the NIC, which must be proven; once they are at rest there are so many of connections.
    pub fn prove(&self, connections: usize) -> Dump {
        wait_for("proof", Duration::from_secs(10), || {
            let lines = self.call(async |mut client| {
                let mut batches = client.rules(RulesRequest {}).await.expect("rules").into_inner();
                let mut lines = String::new();
                while let Some(batch) = batches.message().await.expect("a batch") {
                    lines += &batch.lines;
                }
                lines
            });
            let dump = Dump::read(lines.expect("the daemon listens").as_bytes()).expect("a dump");
            let profile = Profile::named(&dump.node.profile).expect("a profile");
            let report = verify(&dump, &profile);
            let is_done = report.holds() && report.counts.decisions == connections;
            is_done.then_some(dump)
        })
    }

    fn signal(&self, signal: libc::c_int) {
        let id = libc::pid_t::try_from(self.process.id()).unwrap();
        // SAFETY: a signal to our own child, which was not waited for.
        unsafe { libc::kill(id, signal) };
    }

    /// Ends the daemon by a signal; how it ended.
    pub fn end(mut self, signal: libc::c_int) -> ExitStatus {
        self.signal(signal);
        wait_for("end of the daemon", Duration::from_secs(10), || self.process.try_wait().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
