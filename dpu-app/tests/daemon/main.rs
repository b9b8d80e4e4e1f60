//! A daemon on a simulated NIC between kernels: from DHCP to connections in hardware, policy, and death.
//!
//! Needs root and TAP interfaces; without them it is skipped, and fails under CI.

mod faults;
mod hosts;
mod raw_calls;
mod support;
mod templates;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dpu_app::api::v1::flow_direction::Path as FlowPath;
use dpu_app::api::v1::{ProbeStatus, probe_status};
use support::{Connection, Daemon, Namespace, obstacle, wait_for};

const MAC_0: &str = "02:00:00:00:01:10";
const MAC_1: &str = "02:00:00:00:01:11";

/// Two VMs in a subnet, with addresses of both families; `ingress` is what their security group lets in.
fn intent(ingress: &str) -> String {
    format!(
        r#"
apiVersion: penstock.dev/v1alpha1
kind: Node
metadata: {{name: dpu}}
spec: {{vtep: 192.0.2.1, mac: "02:00:00:00:00:01", underlay: {{prefix: 192.0.2.0/24}}}}
---
apiVersion: penstock.dev/v1alpha1
kind: Vpc
metadata: {{name: red}}
spec: {{cidrs: [10.0.0.0/16, "2001:db8::/48"]}}
---
apiVersion: penstock.dev/v1alpha1
kind: Subnet
metadata: {{name: red-a}}
spec: {{vpc: red, cidrs: [10.0.1.0/24, "2001:db8:0:1::/64"]}}
---
apiVersion: penstock.dev/v1alpha1
kind: SecurityGroup
metadata: {{name: group}}
spec: {{vpc: red, ingress: [{ingress}], egress: [{{protocol: any}}]}}
---
apiVersion: penstock.dev/v1alpha1
kind: Interface
metadata: {{name: vm0}}
spec:
  subnet: red-a
  node: dpu
  vf: 0
  mac: "{MAC_0}"
  addresses: [10.0.1.10, "2001:db8:0:1::10"]
  securityGroups: [group]
---
apiVersion: penstock.dev/v1alpha1
kind: Interface
metadata: {{name: vm1}}
spec:
  subnet: red-a
  node: dpu
  vf: 1
  mac: "{MAC_1}"
  addresses: [10.0.1.11, "2001:db8:0:1::11"]
  securityGroups: [group]
"#
    )
}

/// The files of a test.
struct Files {
    config: PathBuf,
    socket: PathBuf,
    dhcp_script: PathBuf,
}

/// `ports` is the configuration from `[ports]` on.
fn files(directory: &Path, ports: &str) -> Files {
    let test = std::env::current_exe().expect("the test's own path");
    let driver = test.with_file_name("libpenstock_eswitch.so");
    let files = Files {
        config: directory.join("dpud.toml"),
        socket: directory.join("dpud.sock"),
        dhcp_script: directory.join("dhcp"),
    };
    let config = format!(
        r#"node = "dpu"
[intent]
stateDirectory = "{directory}/state"
[api]
socket = "{socket}"
[eal]
drivers = ["{driver}"]
{ports}"#,
        directory = directory.display(),
        socket = files.socket.display(),
        driver = driver.display(),
    );
    fs::write(&files.config, config).unwrap();
    let script =
        "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add \"$ip/$mask\" dev \"$interface\"\n";
    fs::write(&files.dhcp_script, script).unwrap();
    fs::set_permissions(&files.dhcp_script, PermissionsExt::from_mode(0o755)).unwrap();
    files
}

/// The configuration of a NIC with two VFs, from `[ports]` on.
fn switch(profile: &str) -> String {
    format!(
        r#"[ports]
devices = ["net_eswitch0,vfs=2,representor=vf[0-1],uplink=packet:up0,vf0=tap:vf0,vf1=tap:vf1,profile={profile}"]
[offload]
profile = "{profile}"
[offload.timing]
pollIntervalMs = 200
"#
    )
}

/// Whether tests that need more than a user's rights can run; under CI they must.
fn can_run() -> bool {
    let obstacle = obstacle();
    if let Some(obstacle) = &obstacle {
        assert!(std::env::var_os("CI").is_none(), "the daemon's tests cannot run: {obstacle}");
        eprintln!("skipped: {obstacle}");
    }
    obstacle.is_none()
}

/// What the daemon's last packet to itself met with.
fn probe(daemon: &Daemon) -> ProbeStatus {
    let sent = |probe: &ProbeStatus| probe.result() != probe_status::Result::Unspecified;
    wait_for("probe", Duration::from_secs(30), || daemon.status()?.probe.filter(sent))
}

#[test]
fn a_daemon_from_start_to_end() {
    if !can_run() {
        return;
    }
    let open = intent("{protocol: any}");
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path(), &switch("bluefield3-sws"));
    let [dpu, vm0, vm1] = ["dpu", "vm0", "vm1"].map(Namespace::new);
    dpu.add_uplink();

    // Without intent it runs, and takes intent whole or not at all.
    let daemon = Daemon::start(&dpu, &files.config, &files.socket);
    assert_eq!(daemon.status().unwrap().epoch, 0);
    let refusal =
        daemon.apply(&open.replace("red-a\n  node: dpu\n  vf: 1", "blue\n  node: dpu\n  vf: 1"));
    assert!(refusal.unwrap_err().iter().any(|text| text.contains("test.yaml")));
    assert_eq!(daemon.status().unwrap().epoch, 0);
    assert_eq!(probe(&daemon).result(), probe_status::Result::NoIntent);
    assert_eq!(daemon.apply(&open), Ok(6));
    // A packet of its own is answered now.
    wait_for("answer to a probe", Duration::from_secs(30), || {
        let probe = probe(&daemon);
        assert_eq!(probe.problem, "");
        (probe.result() == probe_status::Result::Answered).then_some(())
    });

    // VMs with nothing but a DHCP client.
    vm0.become_vm(&dpu, "vf0", MAC_0, &files.dhcp_script);
    vm1.become_vm(&dpu, "vf1", MAC_1, &files.dhcp_script);
    vm0.run(&["busybox", "ping", "-c", "2", "-W", "2", "10.0.1.11"]);

    // A connection moves into the NIC, which then carries it alone.
    let mut connection = Connection::open(&vm0, &vm1, "10.0.1.11:5000".parse().unwrap());
    assert!(connection.echoes());
    let before = wait_for("flow in hardware", Duration::from_secs(10), || {
        assert!(connection.echoes());
        daemon.tcp_flows().into_iter().find(|flow| {
            [&flow.forward, &flow.reverse].into_iter().flatten().all(|direction| {
                direction.path() == FlowPath::Hardware && direction.hardware_packets > 10
            })
        })
    });
    assert_eq!((before.interface.as_str(), before.state.as_str()), ("vm0", "established"));
    for _ in 0..20 {
        assert!(connection.echoes());
    }
    let flows = daemon.tcp_flows();
    let in_software = |flow: &dpu_app::api::v1::Flow| {
        [&flow.forward, &flow.reverse]
            .into_iter()
            .flatten()
            .map(|d| d.software_packets)
            .sum::<u64>()
    };
    assert_eq!(in_software(&flows[0]), in_software(&before));

    // What is in the NIC is what was decided.
    let dump = daemon.prove(2);
    assert_eq!((dump.node.name.as_str(), dump.node.interfaces.len()), ("dpu", 2));

    // Policy reaches the hardware.
    assert_eq!(daemon.apply(&intent("")), Ok(1));
    wait_for("end of the forbidden connection", Duration::from_secs(10), || {
        daemon.tcp_flows().is_empty().then_some(())
    });
    assert!(!connection.echoes());
    assert_eq!(daemon.apply(&open), Ok(1));

    // Killed, it leaves nothing that keeps the next one from starting with the same intent.
    assert_eq!(daemon.end(libc::SIGKILL).signal(), Some(libc::SIGKILL));
    let daemon = Daemon::start(&dpu, &files.config, &files.socket);
    assert_eq!(daemon.status().unwrap().epoch, 1);
    vm0.become_vm(&dpu, "vf0", MAC_0, &files.dhcp_script);
    vm1.become_vm(&dpu, "vf1", MAC_1, &files.dhcp_script);
    let mut connection = Connection::open(&vm1, &vm0, "10.0.1.10:5001".parse().unwrap());
    assert!(connection.echoes());

    assert_eq!(daemon.end(libc::SIGTERM).code(), Some(0));
    assert!(!files.socket.exists());
}

#[test]
fn the_kernel_shares_the_uplink() {
    const PORTS: &str = r#"[ports]
devices = ["net_eswitch0,vfs=1,representor=vf[0-0],uplink=packet:up0", "net_tap0,iface=kernel0"]
[ports.names]
kernel = "net_tap0"
[datapath.kernelPort]
packetsPerSecond = 100
"#;
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path(), PORTS);
    let [dpu, peer] = ["kernel", "peer"].map(Namespace::new);
    dpu.run(&["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
    peer.take(&dpu, "up1");
    peer.run(&["ip", "link", "set", "up1", "up"]);
    peer.run(&["ip", "address", "add", "192.0.2.2/24", "dev", "up1"]);
    // This end stands for the wire: the kernel, which sees it here, must not answer there.
    dpu.run(&["ip", "link", "set", "up0", "arp", "off", "up"]);
    let daemon = Daemon::start(&dpu, &files.config, &files.socket);
    assert_eq!(daemon.apply(&intent("{protocol: any}")), Ok(6));
    dpu.run(&["ip", "link", "set", "kernel0", "address", "02:00:00:00:00:01", "up"]);
    dpu.run(&["ip", "address", "add", "192.0.2.1/24", "dev", "kernel0"]);
    dpu.run(&["ip", "address", "add", "192.0.2.7/24", "dev", "kernel0"]);

    // The VTEP's address, for which the datapath answers ARP; one that is the kernel's alone; and a peer's.
    peer.run(&["busybox", "ping", "-c", "2", "-W", "2", "192.0.2.1"]);
    peer.run(&["busybox", "ping", "-c", "2", "-W", "2", "192.0.2.7"]);
    peer.run(&["ip", "address", "add", "192.0.2.3/24", "dev", "up1"]);
    dpu.run(&["busybox", "ping", "-c", "2", "-W", "2", "192.0.2.3"]);
    let ports = daemon.status().unwrap().ports;
    let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["uplink", "vf0", "kernel"]);
}

#[test]
fn what_cannot_work_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("dpud.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let own = |more: &str| {
        format!(
            "node = \"dpu\"\n[intent]\nstateDirectory = \"{0}\"\n[api]\nsocket = \"{0}/dpud.sock\"\n[ports]\ndevices = [\"net_null0\"]\n{more}",
            directory.path().display()
        )
    };
    for (text, expected) in [
        (own("mtus = 1\n"), "dpud.toml:8: unknown field `mtus`".to_owned()),
        // Said before DPDK starts.
        (
            own(&format!("[host]\nlisten = \"{address}\"\n")),
            format!("[host] listen = \"{address}\": Address already in use"),
        ),
    ] {
        fs::write(&config, text).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_penstock-dpud"))
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(&expected), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
