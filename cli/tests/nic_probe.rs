//! `penstock nic probe` runs the program that probes, which stands beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: a program that another test starts meanwhile would hold open for writing what is copied here, and what is
/// open for writing does not run.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a copy of `penstock` in a folder.
fn probe(folder: &Path, arguments: &[&str]) -> Output {
    let penstock = folder.join("penstock");
    fs::copy(env!("CARGO_BIN_EXE_penstock"), &penstock).expect("copy the program");
    let mut command = Command::new(penstock);
    command.args(["nic", "probe"]).args(arguments).env("PATH", folder);
    command.output().expect("the program runs")
}

#[test]
fn the_program_beside_it_gets_the_arguments_and_its_answer_counts() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("penstock-nic-probe");
    fs::write(&program, "#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n").expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it may run");
    for arguments in [
        &[][..],
        &["--pci", "03:00.0,dv_flow_en=2"],
        &["--simulated", "unlimited", "--driver", "/lib/driver.so", "--", "-m", "512"],
    ] {
        let output = probe(folder.path(), arguments);
        let expected = format!("<{}>", arguments.join("><"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_eq!(output.status.code(), Some(7));
    }
}

#[test]
fn without_the_program_a_line_says_what_to_do() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder");
    let output = probe(folder.path(), &["--simulated", "unlimited"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("cargo build -p nic-probe"), "{error}");
}
