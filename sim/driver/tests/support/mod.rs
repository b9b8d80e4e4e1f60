//! What the tests of the driver share: whether they can run, network namespaces, and a `dpdk-testpmd` to talk to.

pub mod namespace;
pub mod testpmd;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why the tests of this file cannot run here.
fn obstacle() -> Option<String> {
    // SAFETY: asks the kernel for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Some("they need root (network namespaces, TAP interfaces)".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("they need /dev/net/tun".to_owned());
    }
    ["ip", "stdbuf", "dpdk-testpmd", "dpdk-test-flow-perf"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_err())
        .map(|program| format!("they need {program}; run `cargo xtask setup`"))
}

/// Permission to run one test with real interfaces; the tests take turns, as each keeps a core busy.
pub fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Some(obstacle) = obstacle() {
        assert!(std::env::var_os("CI").is_none(), "the driver's tests cannot run: {obstacle}");
        eprintln!("skipped: {obstacle}");
        return None;
    }
    // A failed test says so itself; the next one may still run.
    Some(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Where `cargo xtask test` puts the kernel of virtual machines; `None` where nobody ran it.
#[allow(dead_code, reason = "most tests need no machine")]
pub fn guest_kernel() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest-kernel");
    let is_there = directory.join("vmlinuz").is_file();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "there is no kernel for virtual machines; run `cargo xtask test`"
    );
    if !is_there {
        eprintln!("skipped: there is no kernel for virtual machines; run `cargo xtask test`");
    }
    is_there.then_some(directory)
}

/// The driver as it was built with these tests.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let library = test.with_file_name("libpenstock_eswitch.so");
    assert!(library.is_file(), "{} was not built", library.display());
    library
}
