//! What the suite stands on: rights, programs, a network namespace of its own, the driver.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Why the suite cannot run on the simulated NIC here; `None` when it can.
#[must_use]
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root (a network namespace, TAP interfaces)".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("it needs /dev/net/tun".to_owned());
    }
    ["ip", "stdbuf", "dpdk-testpmd"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_err())
        .map(|program| format!("it needs {program}; run `cargo xtask setup`"))
}

/// Moves this thread, and the threads and programs it starts, into a network namespace of their own, in which the kernel
/// sends nothing by itself. It goes with the last of them.
///
/// # Errors
/// What does not work.
pub fn enter_namespace() -> Result<(), String> {
    let name = format!("penstock-suite-{}", std::process::id());
    let ip = |action: &str| {
        let output = Command::new("ip").args(["netns", action, &name]).output();
        let output = output.map_err(|e| format!("ip: {e}"))?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("ip netns {action}: {words}")) }
    };
    ip("add")?;
    let enter = || {
        let file = File::open(Path::new("/run/netns").join(&name))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        // Interfaces that are made from now on.
        fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
    };
    let entered = enter().map_err(|e: std::io::Error| format!("network namespace: {e}"));
    // Only the name goes.
    ip("del")?;
    entered
}

/// The driver as it was built with this program.
///
/// # Errors
/// Where it should be.
pub fn driver() -> Result<PathBuf, String> {
    const LIBRARY: &str = "libpenstock_eswitch.so";
    let program = std::env::current_exe().map_err(|e| format!("the program's own path: {e}"))?;
    // Tests lie beside the libraries, programs above them.
    let candidates =
        [program.with_file_name(LIBRARY), program.with_file_name("deps").join(LIBRARY)];
    let found = candidates.iter().rev().find(|path| path.is_file());
    found.cloned().ok_or_else(|| format!("{} was not built", candidates[0].display()))
}
