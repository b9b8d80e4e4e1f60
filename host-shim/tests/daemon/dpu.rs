//! A host's daemon and a DPU that agrees, refuses, goes and returns. The DPU's side is the real one, on an intent of this
//! test's.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use host_shim::api::v1::{DpuStatus, check};
use packet::Mac;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tonic::Code;
use trust::Clock;
use trust::functions::{Functions, HostFunction};
use trust::listener::Limits;
use trust::server::{DpuServer, DpuView};

use crate::support::{Daemon, Host, wait_for};
use crate::{names, request};

/// Intent: VF n has the address that [`request`] asks for VM n + 1, unless it is changed.
#[derive(Default)]
struct View {
    without: Mutex<Vec<u16>>,
    broken: Mutex<bool>,
}

impl DpuView for View {
    fn interface(&self, vf: u16) -> Option<(String, Mac)> {
        let gone = self.without.lock().unwrap().contains(&vf);
        let mac = Mac([2, 0, 0, 0, 0, vf as u8 + 1]);
        (!gone).then(|| (format!("interface-{vf}"), mac))
    }

    fn problem(&self) -> Option<String> {
        self.broken.lock().unwrap().then(|| "it answers no packet".to_owned())
    }

    fn intent_epoch(&self) -> u64 {
        3
    }

    fn version(&self) -> &'static str {
        "test"
    }
}

/// A DPU that runs; its memory outlives it.
struct Dpu {
    server: Arc<DpuServer>,
    view: Arc<View>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Dpu {
    /// Starts one, at an address where one was before, or at a free one.
    fn start(directory: &Path, address: Option<SocketAddr>, lifetime: Duration) -> Self {
        let function = |host: &str, pf: u8, vfs: u16, first_vf: u16| HostFunction {
            host: host.parse().unwrap(),
            serial: Some("SIM1".parse().unwrap()),
            pf_mac: Mac([2, 0, 0, 0, pf, 0]),
            vfs,
            first_vf,
        };
        let functions = [function("gpu-17", 1, 3, 0), function("other", 2, 3, 3)];
        let view = Arc::new(View::default());
        let server = DpuServer::open(
            directory,
            "dpu-a".parse().unwrap(),
            Functions::new(&functions).unwrap(),
            view.clone(),
            Clock::system(),
            lifetime,
        );
        let server = Arc::new(server.unwrap());
        let address = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = wait_for("address", || TcpListener::bind(address).ok());
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shown = server.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let until = async {
                    let _ = stopped.await;
                };
                server.serve(listener, Limits::default(), until).await.unwrap();
            });
        });
        Self { server: shown, view, address, stop: Some(stop), thread: Some(thread) }
    }

    fn token(&self) -> String {
        let host = "gpu-17".parse().unwrap();
        self.server.create_token(&host, Duration::from_hours(1)).unwrap().reveal()
    }

    /// The VFs that it knows leases of, with their VMs.
    fn leases(&self) -> Vec<(String, String)> {
        self.server.hosts().into_iter().flat_map(|host| host.leases).collect()
    }
}

impl Drop for Dpu {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const DAY: Duration = Duration::from_hours(24);

fn configured(address: SocketAddr) -> String {
    format!(
        "[reconcile]\nintervalMs = 200\n[dpu]\naddress = \"{address}\"\nheartbeatMs = 100\ndeadlineMs = 1000\n"
    )
}

fn vf(number: u16) -> String {
    format!("SIM1/02:00:00:00:01:00/vf{number}")
}

fn wait_until(daemon: &Daemon, presence: &str) -> DpuStatus {
    wait_for(presence, || daemon.dpu().filter(|dpu| dpu.presence == presence))
}

#[test]
fn a_host_is_enrolled_and_asks_for_what_it_gives() {
    let memory = tempfile::tempdir().unwrap();
    let dpu = Dpu::start(memory.path(), None, DAY);
    let host = Host::new(3, &configured(dpu.address));
    let daemon = Daemon::start(&host);
    assert_eq!(daemon.dpu().unwrap().presence, "not enrolled");
    let status = daemon.attach(request(1, Some(0))).unwrap_err();
    assert!(status.message().contains("this host is not enrolled at its DPU"), "{status}");
    assert_eq!(names(&daemon.list()), []);
    let ill = |daemon: &Daemon| -> Vec<_> {
        let checks = daemon.doctor().into_iter().filter(|it| it.name == "dpu");
        checks.map(|check| check.result()).collect()
    };
    assert_eq!(ill(&daemon), [check::Result::Bad]);

    assert_eq!(daemon.enroll("nonsense").unwrap_err().code(), Code::InvalidArgument);
    let token = dpu.token();
    let enrolled = daemon.enroll(&token).unwrap();
    assert_eq!((enrolled.host.as_str(), enrolled.node.as_str()), ("gpu-17", "dpu-a"));
    let replayed = daemon.enroll(&token).unwrap_err();
    assert_eq!(replayed.code(), Code::PermissionDenied);
    assert!(replayed.message().contains("was used already"), "{replayed}");
    let present = wait_until(&daemon, "present");
    assert_eq!((present.node.as_str(), present.intent_epoch), ("dpu-a", 3));
    assert!(present.certificate_until > 0);
    assert_eq!(ill(&daemon), [check::Result::Good]);
    // A DPU that answers while its datapath does not is not well.
    *dpu.view.broken.lock().unwrap() = true;
    wait_for("the DPU's problem", || (ill(&daemon) == [check::Result::Bad]).then_some(()));
    assert_eq!(daemon.dpu().unwrap().datapath_problem, "it answers no packet");
    *dpu.view.broken.lock().unwrap() = false;

    let lease = daemon.attach(request(1, Some(0))).unwrap().lease.unwrap();
    assert_eq!((lease.state.as_str(), lease.consent.as_str()), ("attached", "given"));
    assert_eq!(dpu.leases(), [(vf(0), "vm-1/net0".into())]);
    let now = daemon.dpu().unwrap();
    assert_eq!(now.applied, now.desired);
    // The DPU's intent has another address for VF 1.
    let status = daemon.attach(request(3, Some(1))).unwrap_err();
    assert!(status.message().contains("intent has another MAC"), "{status}");
    assert_eq!(names(&daemon.list()).len(), 1, "nothing is left of it");
    assert_eq!(daemon.dpu().unwrap().applied, now.applied);
    daemon.detach("vm-1").unwrap();
    assert_eq!(dpu.leases(), []);

    // Key and certificate outlive the daemon.
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&host);
    daemon.attach(request(2, Some(1))).unwrap();
    assert_eq!(dpu.leases(), [(vf(1), "vm-2/net0".into())]);
    dpu.server.revoke(&"gpu-17".parse().unwrap()).unwrap();
    let refused = wait_until(&daemon, "refused");
    assert!(refused.trouble.contains("revoked"), "{}", refused.trouble);
    let status = daemon.attach(request(3, Some(2))).unwrap_err();
    assert!(status.message().contains("this host was revoked"), "{status}");
    daemon.enroll(&dpu.token()).unwrap();
    wait_for("the lease to be said again", || (dpu.leases().len() == 1).then_some(()));
}

#[test]
fn a_dpu_goes_and_returns() {
    let memory = tempfile::tempdir().unwrap();
    let dpu = Dpu::start(memory.path(), None, DAY);
    let address = dpu.address;
    let host = Host::new(3, &configured(address));
    let daemon = Daemon::start(&host);
    daemon.enroll(&dpu.token()).unwrap();
    wait_until(&daemon, "present");
    daemon.attach(request(1, Some(0))).unwrap();
    daemon.attach(request(2, Some(1))).unwrap();
    drop(dpu);
    let gone = wait_until(&daemon, "gone");
    assert_ne!(gone.trouble, "");
    // What was agreed to stays; what is new is refused at once, and what goes back stays reserved.
    let leases = daemon.list();
    assert!(leases.iter().all(|lease| lease.state == "attached" && lease.trouble.is_empty()));
    assert!(leases.iter().all(|lease| lease.consent == "unknown"));
    let status = daemon.attach(request(3, Some(2))).unwrap_err();
    assert!(status.message().contains("the DPU does not answer"), "{status}");
    let status = daemon.detach("vm-2").unwrap_err();
    assert!(status.message().contains("the DPU does not answer"), "{status}");
    let leases = daemon.list();
    let vfs = [vf(0), vf(1)];
    let expected = [("vm-1", &*vfs[0], "attached"), ("vm-2", &*vfs[1], "detaching")];
    assert_eq!(names(&leases), expected);

    // It returns, and has forgotten everything but who its hosts are: what is wanted is said again.
    std::fs::remove_file(memory.path().join("host-leases.json")).unwrap();
    let dpu = Dpu::start(memory.path(), Some(address), DAY);
    wait_until(&daemon, "present");
    wait_for("the lease to be said again", || {
        (dpu.leases() == [(vf(0), "vm-1/net0".into())]).then_some(())
    });
    wait_for("what goes back to be gone", || (names(&daemon.list()).len() == 1).then_some(()));
    daemon.attach(request(3, Some(2))).unwrap();

    // Intent takes an interface away: the VM keeps what it has, and the operator is told.
    dpu.view.without.lock().unwrap().push(2);
    wait_for("the DPU's objection", || {
        let leases = daemon.list();
        let lease = leases.iter().find(|lease| lease.vm == "vm-3").unwrap();
        assert_eq!(lease.state, "attached");
        lease.trouble.contains("intent has no Interface").then_some(())
    });
    dpu.view.without.lock().unwrap().clear();
    wait_for("all to be well", || {
        daemon.list().iter().all(|lease| lease.trouble.is_empty()).then_some(())
    });
    // The host has lost its memory: what the DPU has for nobody is given back.
    assert!(daemon.terminate().success());
    host.forget_leases();
    let daemon = Daemon::start(&host);
    wait_for("what is nobody's to be given back", || dpu.leases().is_empty().then_some(()));
    assert_eq!(names(&daemon.list()), []);
}

/// A DPU that takes connections and says nothing.
#[test]
fn nobody_waits_longer_than_the_deadline() {
    let memory = tempfile::tempdir().unwrap();
    let dpu = Dpu::start(memory.path(), None, DAY);
    let address = dpu.address;
    let host = Host::new(3, &configured(address));
    let daemon = Daemon::start(&host);
    daemon.enroll(&dpu.token()).unwrap();
    wait_until(&daemon, "present");
    daemon.attach(request(1, Some(0))).unwrap();
    drop(dpu);
    let _silent = wait_for("address", || TcpListener::bind(address).ok());
    let start = Instant::now();
    let mut calls = 0;
    while daemon.dpu().unwrap().presence != "gone" {
        let status = daemon.attach(request(3, Some(2))).unwrap_err();
        assert!(status.message().contains("does not answer"), "{status}");
        daemon.list();
        calls += 1;
        assert!(start.elapsed() < Duration::from_mins(1), "not gone after {calls} calls");
    }
    // A daemon that starts without its DPU serves its callers, too.
    assert!(daemon.terminate().success());
    let daemon = Daemon::start(&host);
    // Of what a call without an answer did nobody knows: it stays reserved.
    let leases = daemon.list();
    let attached = names(&leases).into_iter().filter(|(_, _, state)| *state == "attached");
    assert_eq!(attached.collect::<Vec<_>>(), [("vm-1", vf(0).as_str(), "attached")]);
    assert_eq!(daemon.dpu().unwrap().presence, "gone");
}

#[test]
fn certificates_are_renewed_without_a_restart() {
    let memory = tempfile::tempdir().unwrap();
    // Valid from five minutes before: two thirds are over at once.
    let dpu = Dpu::start(memory.path(), None, Duration::from_mins(1));
    let host = Host::new(1, &configured(dpu.address));
    let daemon = Daemon::start(&host);
    daemon.enroll(&dpu.token()).unwrap();
    let first = wait_until(&daemon, "present").certificate_until;
    wait_for("another certificate", || {
        (daemon.dpu().unwrap().certificate_until > first).then_some(())
    });
    wait_until(&daemon, "present");
    daemon.attach(request(1, Some(0))).unwrap();
    assert_eq!(dpu.leases().len(), 1);
}

/// `PENSTOCK_HOSTD_KILLS` makes it longer. Host and DPU agree whatever happened.
#[test]
fn killed_at_random_with_a_dpu() {
    let kills: u64 =
        std::env::var("PENSTOCK_HOSTD_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let memory = tempfile::tempdir().unwrap();
    let mut dpu = Dpu::start(memory.path(), None, DAY);
    let address = dpu.address;
    let host = Host::new(3, &configured(address));
    let daemon = Daemon::start(&host);
    daemon.enroll(&dpu.token()).unwrap();
    assert!(daemon.terminate().success());
    for kill in 0..kills {
        let daemon = Daemon::start(&host);
        wait_until(&daemon, "present");
        let answered = Arc::new(AtomicU32::new(0));
        let storm = daemon.storm(kill, answered.clone(), |random| {
            let vm = random % 3 + 1;
            request(vm, Some(vm - 1))
        });
        wait_for("answer", || (answered.load(Ordering::Relaxed) > 0).then_some(()));
        std::thread::sleep(Duration::from_millis(kill * 37 % 80));
        if kill % 3 == 2 {
            // The DPU dies in the middle, too.
            drop(dpu);
            dpu = Dpu::start(memory.path(), Some(address), DAY);
        }
        daemon.kill();
        storm.join().unwrap();
    }
    let daemon = Daemon::start(&host);
    wait_for("host and DPU to agree", || {
        let leases = daemon.list();
        let well = leases.iter().all(|it| it.state == "attached" && it.trouble.is_empty());
        let here: Vec<_> = leases
            .iter()
            .map(|it| (it.vf.clone(), format!("{}/{}", it.vm, it.interface)))
            .collect();
        let mut here = here;
        here.sort();
        (well && here == dpu.leases()).then_some(())
    });
    for lease in daemon.list() {
        daemon.detach(&lease.vm).unwrap();
    }
    assert_eq!(dpu.leases(), []);
}
