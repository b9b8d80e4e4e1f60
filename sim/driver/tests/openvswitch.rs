//! Open vSwitch with DPDK and hardware offload, unmodified, on the simulated NIC.

#[expect(dead_code, reason = "no testpmd is needed here")]
mod support;
#[path = "support/telemetry.rs"]
mod telemetry;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::namespace::{Namespace, echo, run};
use support::{library, turn};
use telemetry::Telemetry;

const SWITCH: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A process that ends with this value.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a process"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A database and a switch of a directory's own.
struct OpenVSwitch {
    directory: tempfile::TempDir,
    _switch: Process,
    _database: Process,
}

impl OpenVSwitch {
    /// Starts both; the switch, in the namespace `card`, has one device of the driver.
    fn start(card: &Namespace, device: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let environment =
            ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"].map(|name| (name, directory.path()));
        run("ovsdb-tool", &["create", &path("conf.db"), SCHEMA]);
        let database = Process::start(
            Command::new("ovsdb-server")
                .envs(environment)
                .arg(path("conf.db"))
                .arg(format!("--remote=punix:{}", path("db.sock")))
                .arg(format!("--unixctl={}", path("database.ctl"))),
        );
        until(|| Path::new(&path("db.sock")).exists());
        let extra = format!(
            "--no-huge --legacy-mem -m 512 --no-pci -d {} --vdev {device}",
            library().display()
        );
        let settings = [
            "dpdk-init=true",
            "hw-offload=true",
            // A pool for all ports would be larger than the memory without hugepages.
            "per-port-memory=true",
            "dpdk-lcore-mask=0x1",
            "pmd-cpu-mask=0x2",
            &format!("dpdk-extra=\"{extra}\""),
        ];
        let settings = settings.map(|setting| format!("other_config:{setting}"));
        let mut order = vec!["--no-wait", "--", "init", "--", "set", "Open_vSwitch", "."];
        order.extend(settings.iter().map(String::as_str));
        let database_of = |order: &[&str]| {
            let socket = format!("--db=unix:{}", path("db.sock"));
            run("ovs-vsctl", &[&[socket.as_str(), "--timeout=20"], order].concat());
        };
        database_of(&order);
        let switch = Process::start(
            Command::new("ip")
                .args(["netns", "exec", &card.name, SWITCH])
                .envs(environment)
                .env("RUNTIME_DIRECTORY", card.runtime.path())
                .arg(format!("unix:{}", path("db.sock")))
                .arg(format!("--unixctl={}", path("switch.ctl")))
                .arg(format!("--log-file={}", path("switch.log"))),
        );
        let this = Self { directory, _switch: switch, _database: database };
        this.order(&["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"]);
        this
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Runs `ovs-vsctl`, which waits until the switch did what it says.
    fn order(&self, order: &[&str]) {
        let socket = format!("--db=unix:{}", self.path("db.sock"));
        run("ovs-vsctl", &[&[socket.as_str(), "--timeout=20"], order].concat());
    }

    /// The rules that the switch has in hardware.
    fn offloaded(&self) -> String {
        let control = self.path("switch.ctl");
        let output = Command::new("ovs-appctl")
            .args(["-t", &control, "dpctl/dump-flows", "type=offloaded"])
            .output()
            .expect("ovs-appctl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A number of the answer to a question, by its name.
fn number(telemetry: &mut Telemetry, question: &str, name: &str) -> u64 {
    let answer = telemetry.ask(question);
    let value = answer.split(&format!("\"{name}\":")).nth(1).map(str::trim_start);
    value
        .and_then(|text| text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {answer}"))
}

/// Waits for something that must come.
fn until(mut there: impl FnMut() -> bool) {
    let came = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        there()
    });
    assert!(came, "it did not come within 10 s");
}

/// Two kernels behind TAP VFs talk; the switch's rules carry it past the switch.
#[test]
fn offloaded_flows_carry_traffic_between_two_kernels() {
    let Some(_turn) = turn() else { return };
    if !Path::new(SWITCH).exists() {
        assert!(std::env::var_os("CI").is_none(), "{SWITCH} is missing; run `cargo xtask setup`");
        eprintln!("skipped: {SWITCH} is missing; run `cargo xtask setup`");
        return;
    }
    let (card, a, b) = (Namespace::new("card"), Namespace::new("a"), Namespace::new("b"));
    let device = "net_eswitch0,vfs=2,representor=vf[0-1],vf0=tap:vf0,vf1=tap:vf1";
    let switch = OpenVSwitch::start(&card, device);
    for port in ["vf0", "vf1"] {
        let argument = format!("options:dpdk-devargs=net_eswitch0,representor={port}");
        let add = ["add-port", "br0", port, "--", "set", "Interface", port, "type=dpdk", &argument];
        switch.order(&add);
    }
    a.take(&card, "vf0", "10.0.0.1/24");
    b.take(&card, "vf1", "10.0.0.2/24");
    let mut telemetry = Telemetry::connect(card.runtime.path(), "rte").expect("telemetry");
    // The first packets go through the switch, which then makes rules for them.
    until(|| {
        assert_eq!(echo(&a, &b, "10.0.0.2", 10, 64), 10);
        switch.offloaded().matches("ipv4").count() >= 2
    });
    let ports = ["/ethdev/xstats,1", "/ethdev/xstats,2"];
    let before = ports.map(|port| number(&mut telemetry, port, "hw_forwarded_packets"));
    assert_eq!(echo(&a, &b, "10.0.0.2", 200, 1000), 200);
    let after = ports.map(|port| number(&mut telemetry, port, "hw_forwarded_packets"));
    for (before, after) in before.into_iter().zip(after) {
        assert!(after - before >= 200, "{before} -> {after}\n{}", switch.offloaded());
    }
}
