//! Checks that need a kernel with SR-IOV, an IOMMU and netdevsim: `cargo xtask test-vm` builds this program, boots a virtual
//! machine and runs it there as root, with `penstock-hostd` and `penstock` in `/usr/bin`.
//!
//! Arguments: the groups of checks to run. A line for each check goes to standard output, its fields separated by tabs:
//! `ok` or `FAILED`, its name, milliseconds, and what was seen.

mod attachment;
mod fault;
mod guest;
mod number;
mod placement;
mod simulated;

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

/// A check: what must hold, and how that is found out. It answers what was seen, in a few words.
struct Check {
    name: String,
    run: Box<dyn Fn() -> String>,
}

fn check(name: impl Into<String>, run: impl Fn() -> String + 'static) -> Check {
    Check { name: name.into(), run: Box::new(run) }
}

fn group(name: &str) -> Option<Vec<Check>> {
    let named = |checks: &[(&str, fn() -> String)]| {
        checks.iter().map(|(name, run)| check(*name, *run)).collect()
    };
    match name {
        "number" => Some(named(number::CHECKS)),
        "attachment" => Some(named(attachment::CHECKS)),
        "fault" => Some(fault::checks()),
        "placement" => Some(named(placement::CHECKS)),
        "simulated" => Some(named(simulated::CHECKS)),
        _ => None,
    }
}

fn main() -> ExitCode {
    let groups: Vec<String> = std::env::args().skip(1).collect();
    if groups.is_empty() {
        eprintln!("usage: vm GROUP ...; `cargo xtask test-vm` runs it in a virtual machine");
        return ExitCode::from(2);
    }
    // What went wrong is in the check's line; the console has it too, among the daemon's own lines.
    let mut code = ExitCode::SUCCESS;
    for name in &groups {
        let Some(checks) = group(name) else {
            eprintln!("there is no group `{name}`");
            return ExitCode::from(2);
        };
        for Check { name: check, run } in checks {
            let start = Instant::now();
            let (verdict, seen) = match panic::catch_unwind(AssertUnwindSafe(run)) {
                Ok(seen) => ("ok", seen),
                Err(payload) => {
                    code = ExitCode::FAILURE;
                    ("FAILED", words(&*payload))
                }
            };
            let seen = seen.replace(['\n', '\t'], " ");
            println!("{verdict}\t{name}: {check}\t{}\t{seen}", start.elapsed().as_millis());
        }
    }
    code
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
