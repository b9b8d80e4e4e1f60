//! The daemon itself: a process with a socket, that can be killed at any moment.
//!
//! Its VFs are those of a NIC in software: their attachment is leases only, which is what a killed daemon must not lose. Steps on devices
//! are tried at every fault point beside the code.

mod dpu;
mod support;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use host_shim::api::v1::{AttachRequest, Lease, SetVfsRequest, check};
use host_shim::attachment::fault::FaultPoint;
use tonic::Code;

use support::{Daemon, Host};

fn request(vm: u32, vf: Option<u32>) -> AttachRequest {
    AttachRequest {
        vm: format!("vm-{vm}"),
        vf: vf.map(|vf| format!("SIM1/02:00:00:00:01:00/vf{vf}")).unwrap_or_default(),
        backend: "vhost-user".into(),
        mac: format!("02:00:00:00:00:{vm:02x}"),
        ..AttachRequest::default()
    }
}

fn names(leases: &[Lease]) -> Vec<(&str, &str, &str)> {
    leases.iter().map(|lease| (&*lease.vm, &*lease.vf, &*lease.state)).collect()
}

#[test]
fn leases_outlive_the_daemon() {
    let host = Host::new(2, "");
    let daemon = Daemon::start(&host);
    let response = daemon.attach(request(1, None)).unwrap();
    let lease = response.lease.unwrap();
    assert_eq!((lease.vf.as_str(), lease.can_migrate), ("SIM1/02:00:00:00:01:00/vf0", true));
    assert!(
        lease.libvirt_xml.contains("<mac address='02:00:00:00:00:01'/>"),
        "{}",
        lease.libvirt_xml
    );
    assert_eq!(lease.qemu_arguments[0], "-chardev");
    // Who asks again gets the same; who wants it otherwise does not.
    assert_eq!(daemon.attach(request(1, None)).unwrap().lease.unwrap(), lease);
    assert_eq!(daemon.attach(request(1, Some(1))).unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(daemon.attach(request(2, Some(0))).unwrap_err().code(), Code::AlreadyExists);
    daemon.attach(request(2, None)).unwrap();
    let status = daemon.attach(request(3, None)).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status.message().starts_with("no VF is free for vhost-user: 2 there are, 2 belong"),
        "{status}"
    );

    assert!(daemon.terminate().success(), "SIGTERM ends it well");
    assert!(!host.socket().exists());
    let daemon = Daemon::start(&host);
    let vfs = ["SIM1/02:00:00:00:01:00/vf0", "SIM1/02:00:00:00:01:00/vf1"];
    let expected = [("vm-1", vfs[0], "attached"), ("vm-2", vfs[1], "attached")];
    assert_eq!(names(&daemon.list()), expected);
    daemon.detach("vm-1").unwrap();
    assert_eq!(daemon.detach("vm-1").unwrap_err().code(), Code::NotFound);
    assert_eq!(names(&daemon.list()), expected[1..]);
}

#[test]
fn one_daemon_has_the_leases() {
    let host = Host::new(1, "");
    let _daemon = Daemon::start(&host);
    let other = host.run_to_end();
    assert!(other.contains("another penstock-hostd keeps its leases here"), "{other}");
}

#[test]
fn what_is_wrong_is_found() {
    let host = Host::new(1, "");
    let daemon = Daemon::start(&host);
    let checks = daemon.doctor();
    let bad: Vec<_> = checks.iter().filter(|check| check.result() == check::Result::Bad).collect();
    // Nobody serves the NIC's socket in this test.
    assert_eq!(bad.len(), 1, "{checks:?}");
    assert!(bad[0].finding.starts_with("sim's vf0: no socket at "), "{}", bad[0].finding);
    let status = daemon.set_vfs(SetVfsRequest { pf: "sim".into(), vfs: 3 }).unwrap_err();
    assert_eq!(status.message(), "sim is software: its VFs are its sockets in the configuration");
    let bundle = daemon.support_bundle();
    let mut archive = tar::Archive::new(bundle.as_slice());
    let files: BTreeSet<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    for file in ["inventory.json", "leases.json", "doctor.txt", "hostd.toml", "log.txt"] {
        assert!(files.contains(&format!("penstock-host/{file}")), "{files:?}");
    }
}

/// At every point at which leases are written: what was promised is kept, what was not is gone or can be asked for again.
#[test]
fn dies_while_leases_are_written() {
    for point in FaultPoint::all().filter(|point| matches!(point, FaultPoint::Store(..))) {
        let host = Host::new(1, &format!("[faults]\nabortAt = \"{point}\"\n"));
        let daemon = Daemon::start(&host);
        let attached = daemon.attach(request(1, None)).is_ok();
        let detached = attached && daemon.detach("vm-1").is_ok();
        assert!(!(attached && detached), "{point} is not reached");
        let status = daemon.wait();
        assert_eq!(status.signal(), Some(6), "{point}: {status}");

        host.configure("");
        let daemon = Daemon::start(&host);
        daemon.attach(request(1, None)).unwrap();
        let leases = daemon.list();
        assert_eq!(names(&leases), [("vm-1", "SIM1/02:00:00:00:01:00/vf0", "attached")], "{point}");
        assert_eq!(leases[0].trouble, "");
        daemon.detach("vm-1").unwrap();
        assert_eq!(names(&daemon.list()), []);
    }
}

/// `PENSTOCK_HOSTD_KILLS` makes it longer.
#[test]
fn killed_at_random() {
    let kills: u64 =
        std::env::var("PENSTOCK_HOSTD_KILLS").map_or(25, |kills| kills.parse().unwrap());
    let host = Host::new(3, "");
    for kill in 0..kills {
        let daemon = Daemon::start(&host);
        let answered = Arc::new(AtomicU32::new(0));
        let storm = daemon
            .storm(kill, answered.clone(), |random| request(random % 4 + 1, Some(random / 4 % 3)));
        support::wait_for("answer", || (answered.load(Ordering::Relaxed) > 0).then_some(()));
        std::thread::sleep(Duration::from_millis(kill * 37 % 80));
        daemon.kill();
        storm.join().unwrap();
    }
    let daemon = Daemon::start(&host);
    support::wait_for("all leases to be well", || {
        let leases = daemon.list();
        leases
            .iter()
            .all(|lease| lease.state == "attached" && lease.trouble.is_empty())
            .then_some(())
    });
    let leases = daemon.list();
    let vfs: BTreeSet<&String> = leases.iter().map(|lease| &lease.vf).collect();
    assert_eq!(vfs.len(), leases.len(), "a VF belongs to two VMs: {leases:?}");
    for lease in &leases {
        daemon.detach(&lease.vm).unwrap();
    }
    // No VF has leaked: all can be had.
    for vm in 1..=3 {
        daemon.attach(request(vm, None)).unwrap();
    }
}
