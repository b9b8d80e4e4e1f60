//! `penstock firmware` with a card that is files: what counts now, what counts next, and whether it takes what it is given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use cli::firmware::{Card, FirmwareError, Memory, Tool, Value, apply};

/// Prints and sets as mstconfig does; counts what is set in `calls`.
const TOOL: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
*" q")
    echo "Device #1:"
    printf '%-16s%36s%16s%18s\n' Configurations: Default Current "Next Boot"
    for name in $(ls next); do
        printf '         %-36s%-20s%-20s%-20s\n' "$name" 0 "$(cat "now/$name")" "$(cat "next/$name")"
    done ;;
*" set "*)
    echo "$*" >> calls
    [ -e refuse ] && { echo "-E- Failed to set: the firmware says no"; exit 1; }
    shift 4
    for setting; do printf '%s' "${setting#*=}" > "next/${setting%%=*}"; done
    echo "-I- Please power cycle machine to load new configurations." ;;
*) exit 2 ;;
esac
"#;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        for folder in ["now", "next"] {
            fs::create_dir(bench.path(folder)).unwrap();
            fs::write(bench.path(folder).join("NUM_OF_VFS"), "8").unwrap();
            fs::write(bench.path(folder).join("SRIOV_EN"), "True(1)").unwrap();
        }
        fs::write(bench.path("mstconfig"), TOOL).unwrap();
        fs::set_permissions(bench.path("mstconfig"), PermissionsExt::from_mode(0o755)).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.path("calls")).map_or(0, |calls| calls.lines().count())
    }

    /// Takes the power away, and gives it back.
    fn power_cycle(&self) {
        for name in ["NUM_OF_VFS", "SRIOV_EN"] {
            fs::copy(self.path("next").join(name), self.path("now").join(name)).unwrap();
        }
    }

    fn apply(&self, vfs: i64, boot: &str, again: bool) -> Result<String, FirmwareError> {
        let settings = [
            ("NUM_OF_VFS".to_owned(), Value::Number(vfs)),
            ("SRIOV_EN".to_owned(), Value::Bool(true)),
        ];
        let card = Card { device: "0000:03:00.0".into(), settings: settings.into() };
        let mut memory = Memory::open(&self.path("state/firmware.json"))?;
        apply(&[card], &Tool::at(&self.path("mstconfig")), &mut memory, boot, again)
    }
}

#[test]
fn what_is_set_once_waits_for_a_power_cycle() {
    let bench = Bench::new();
    let said = bench.apply(16, "boot-1", false).unwrap();
    assert!(said.contains("a power cycle is needed for NUM_OF_VFS:"), "{said}");
    assert_eq!(bench.calls(), 1);
    // However often it is asked for.
    bench.apply(16, "boot-1", false).unwrap();
    assert_eq!(bench.calls(), 1);
    bench.power_cycle();
    let said = bench.apply(16, "boot-2", false).unwrap();
    assert!(!said.contains("power cycle") && said.contains("in force"), "{said}");
    assert_eq!(bench.calls(), 1);
}

#[test]
fn what_does_not_help_is_named_and_not_done_again() {
    let bench = Bench::new();
    bench.apply(16, "boot-1", false).unwrap();
    // The machine has restarted, and the card kept its power.
    let error = bench.apply(16, "boot-2", false).unwrap_err().to_string();
    assert!(error.contains("not taken: the machine has restarted since"), "{error}");
    // Somebody puts it back.
    fs::write(bench.path("next/NUM_OF_VFS"), "8").unwrap();
    for boot in ["boot-2", "boot-3", "boot-4"] {
        let error = bench.apply(16, boot, false).unwrap_err().to_string();
        assert!(error.contains("lost: it was set"), "{error}");
    }
    assert_eq!(bench.calls(), 1);
    bench.apply(16, "boot-4", true).unwrap();
    assert_eq!(bench.calls(), 2);
    // Another value is another wish.
    bench.apply(32, "boot-4", false).unwrap();
    assert_eq!(bench.calls(), 3);
}

#[test]
fn what_the_card_refuses_is_said_in_its_words() {
    let bench = Bench::new();
    fs::write(bench.path("refuse"), "").unwrap();
    let error = bench.apply(16, "boot-1", false).unwrap_err().to_string();
    assert_eq!(error, "0000:03:00.0: the tool says: -E- Failed to set: the firmware says no");
    let error = bench.apply(16, "boot-1", false).unwrap_err().to_string();
    assert!(error.contains("lost"), "{error}");
    assert_eq!(bench.calls(), 1, "a refusal is no reason to ask again and again");
}

#[test]
fn a_plan_changes_nothing() {
    let bench = Bench::new();
    let wanted = "[[cards]]\ndevice = \"0000:03:00.0\"\n[cards.settings]\nNUM_OF_VFS = 16\nSRIOV_EN = true\n";
    fs::write(bench.path("firmware.toml"), wanted).unwrap();
    let plan = |tool: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_penstock"))
            .args(["firmware", "plan", "-f", "firmware.toml", "--memory", "memory.json", "--tool"])
            .arg(tool)
            .current_dir(bench.0.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, _) = plan("./mstconfig");
    let words: Vec<Vec<&str>> = out.lines().map(|it| it.split_whitespace().collect()).collect();
    assert_eq!(code, 0);
    assert_eq!(words[1], ["0000:03:00.0", "NUM_OF_VFS", "16", "8", "8", "to", "be", "set"]);
    assert_eq!(words[2][5..], ["in", "force"]);
    assert_eq!(bench.calls(), 0);
    fs::write(bench.path("firmware.toml"), wanted.replace("NUM_OF", "SUM_OF")).unwrap();
    let (code, _, errors) = plan("./mstconfig");
    assert_eq!(code, 1);
    assert!(errors.contains("the card has no such setting"), "{errors}");
    let (code, _, errors) = plan("./no-such-tool");
    assert_eq!(code, 1);
    assert!(errors.contains("install mstflint, or name the tool (--tool)"), "{errors}");
}
