//! `cargo xtask test`: everything that must hold before a change is good.

use std::io::{BufRead, BufReader, Write};
use std::ops::AddAssign;
use std::process::{ExitCode, Stdio};

use miette::{IntoDiagnostic, Result, WrapErr};

use crate::{guest_kernel, packages, process, setup, workspace};

/// How many tests had which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs all suites, also when one of them fails.
pub fn run() -> Result<ExitCode> {
    setup::run()?;
    packages::install(packages::TEST)?;
    guest_kernel::CLOUD.fetch(&workspace().join("target/guest-kernel"))?;
    let mut tally = Tally::default();
    let checks: [&[&str]; 2] =
        [&["fmt", "--check"], &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]];
    for check in checks {
        // A check is no test: it counts only when it fails.
        if !process::succeeds(&mut process::cargo(check))? {
            tally.failed += 1;
        }
    }
    tally += rust_tests()?;
    // Counts of instructions, which are the same on a busy machine.
    let count = ["run", "--quiet", "--release", "-p", "bench", "--bin", "instructions"];
    if process::succeeds(&mut process::cargo(&count))? {
        tally.passed += 1;
    } else {
        tally.failed += 1;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tests of all crates, their output shown as it comes.
fn rust_tests() -> Result<Tally> {
    let mut command = process::cargo(&["test", "--workspace", "--no-fail-fast"]);
    let line = process::show(&command);
    eprintln!("$ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .into_diagnostic()
        .wrap_err_with(|| process::cannot_start(&line))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        let mut terminal = std::io::stdout().lock();
        // Bytes, not lines of text: a test may print anything.
        for line in BufReader::new(output).split(b'\n') {
            let line = line.into_diagnostic()?;
            terminal.write_all(&line).and_then(|()| terminal.write_all(b"\n")).into_diagnostic()?;
            if let Some(result) = std::str::from_utf8(&line).ok().and_then(result_line) {
                tally += result;
            }
        }
    }
    let status = child.wait().into_diagnostic()?;
    // It did not compile, or a test program died before it could say how many failed.
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Reads `test result: ok. 12 passed; 0 failed; ...`, the last line of every test program.
fn result_line(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |name: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(name)?.trim_end().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_from_the_result_line_alone() {
        let ok = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(result_line(ok), Some(Tally { passed: 12, failed: 0 }));
        let failed =
            "test result: FAILED. 1 passed; 20 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(result_line(failed), Some(Tally { passed: 1, failed: 20 }));
        assert_eq!(result_line("test model::result: ok. 1 passed; 2 failed"), None);
        assert_eq!(result_line("running 3 tests"), None);
    }
}
