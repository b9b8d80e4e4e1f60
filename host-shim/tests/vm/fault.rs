//! The daemon dies at every point of an attachment and of its end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use host_shim::attachment::fault::FaultPoint;
use host_shim::attachment::step::Step;
use host_shim::device::PhysicalFunction;

use crate::guest::{
    Daemon, done, forget_leases, igb_with_vfs, inventory, is_free, is_given, leases, penstock,
    pf_of, wait_for,
};
use crate::{Check, check};

/// How often the daemon is killed at random, in the environment; the machine gets it from QEMU's command line.
const KILLS: &str = "kills";

pub fn checks() -> Vec<Check> {
    let points = FaultPoint::all().filter(|point| is_here(*point));
    let mut checks: Vec<Check> =
        points.map(|point| check(format!("dead at {point}"), move || dead_at(point))).collect();
    checks.push(check("killed at random during attaching and detaching", storm));
    checks
}

const MAC: &str = "02:00:00:00:00:01";

/// What an attachment by vfio has no part in: other back ends, VMs that run, a DPU.
const ELSEWHERE: [Step; 6] =
    [Step::Consent, Step::Withdraw, Step::CreateVdpa, Step::DeleteVdpa, Step::Plug, Step::Unplug];

fn is_here(point: FaultPoint) -> bool {
    match point {
        FaultPoint::Before(step) | FaultPoint::After(step) => !ELSEWHERE.contains(&step),
        FaultPoint::Store(..) => true,
    }
}

fn attach(vm: u32) -> bool {
    let (vm, mac) = (format!("vm-{vm}"), format!("02:00:00:00:00:{vm:02x}"));
    penstock(&["vm", "attach", &vm, "--mac", &mac]).code == Some(0)
}

fn detach(vm: u32) -> bool {
    penstock(&["vm", "detach", &format!("vm-{vm}")]).code == Some(0)
}

/// Every VF is either of one VM and as that needs it, or of nobody.
fn sound(pf: &PhysicalFunction) -> Result<(), String> {
    let leases = leases();
    let vfs: BTreeSet<&str> = leases.iter().filter_map(|lease| lease["vf"].as_str()).collect();
    if vfs.len() != leases.len() {
        return Err(format!("a VF belongs to two VMs: {leases:?}"));
    }
    for vf in &pf.vfs {
        let id = vf.id.as_ref().expect("an id").to_string();
        match leases.iter().find(|lease| lease["vf"] == *id) {
            Some(lease) if lease["state"] != "attached" => return Err(format!("{lease}")),
            Some(lease) => is_given(pf, vf, lease["mac"].as_str().expect("a MAC"))?,
            None => is_free(pf, vf)?,
        }
    }
    Ok(())
}

/// Waits until all is sound; what was not, when it stays so.
fn becomes_sound(pf: &PhysicalFunction, when: &str) {
    let mut last = String::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        match sound(pf) {
            Ok(()) => return,
            Err(problem) => last = problem,
        }
    }
    panic!("{when}: {last}");
}

/// A machine with two VFs, whoever was here before.
fn two_vfs() {
    let is_so = fs::read_dir("/sys/bus/pci/devices").unwrap().any(|entry| {
        let number = fs::read_to_string(entry.unwrap().path().join("sriov_numvfs"));
        number.is_ok_and(|number| number.trim() == "2")
    });
    if !is_so {
        let _daemon = Daemon::fresh("");
        igb_with_vfs(2);
    }
    forget_leases();
}

/// The daemon dies at `point`, and the next one has to find its way.
fn dead_at(point: FaultPoint) -> String {
    const SIGABRT: i32 = 6;
    two_vfs();
    let daemon = Daemon::start(&format!("[faults]\nabortAt = \"{point}\""));
    daemon.answers();
    let attached = attach(1);
    assert!(!(attached && detach(1)), "it is not reached");
    let status = daemon.ended();
    assert_eq!(status.signal(), Some(SIGABRT), "{status}");

    let daemon = Daemon::start("");
    daemon.answers();
    let pf = pf_of(&inventory(), "igb");
    becomes_sound(&pf, "reconciled");
    let kept = leases().len();
    // Who got no answer asks again.
    done(&["vm", "attach", "vm-1", "--mac", MAC]);
    assert_eq!(leases().len(), 1, "{:?}", leases());
    is_given(&pf, &pf.vfs[0], MAC).unwrap();
    done(&["vm", "detach", "vm-1"]);
    for vf in &pf.vfs {
        is_free(&pf, vf).unwrap();
    }
    assert_eq!(leases().len(), 0);
    let during = if attached { "detaching" } else { "attaching" };
    format!(
        "while {during}; reconciled to {kept} leases, then given and taken back, no VF leaked, no MAC kept"
    )
}

fn storm() -> String {
    let kills: u32 = std::env::var(KILLS).map_or(12, |kills| kills.parse().expect("a number"));
    let daemon = Daemon::fresh("");
    let pf = igb_with_vfs(3);
    drop(daemon);
    let start = Instant::now();
    let mut calls = 0;
    for kill in 0..kills {
        let mut daemon = Daemon::start("");
        daemon.answers();
        let deadline = Duration::from_millis(u64::from(kill * 637 % 2500));
        let killer = thread::spawn(move || {
            thread::sleep(deadline);
            assert!(daemon.runs(), "it died by itself");
        });
        let mut vm = kill;
        while !killer.is_finished() {
            vm += 1;
            // Whatever the answer is: what counts is the end.
            let _ = if vm % 3 == 0 { detach(vm / 3 % 4 + 1) } else { attach(vm % 4 + 1) };
            calls += 1;
        }
        killer.join().expect("the daemon, until it is killed");
    }
    let daemon = Daemon::start("");
    daemon.answers();
    becomes_sound(&pf, "after the last kill");
    for lease in leases() {
        done(&["vm", "detach", lease["vm"].as_str().unwrap()]);
    }
    // None has leaked: all can be had.
    assert!((1..=3).all(attach), "{:?}", leases());
    wait_for("soundness", || sound(&pf).is_ok().then_some(()));
    format!(
        "{kills} kills, {calls} calls, no leak, no double lease, no MAC missing, {:.0} s",
        start.elapsed().as_secs_f64()
    )
}
