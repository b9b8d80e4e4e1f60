//! The simulated NIC: how fast it takes rules, and what a packet costs in it.

mod forwarding;
mod insertion;

use std::path::PathBuf;
use std::process::Command;

use miette::{IntoDiagnostic, Result, bail};

use crate::Case;

/// All cases of this room.
///
/// # Errors
/// When the driver is not built.
pub fn cases() -> Result<Vec<Box<dyn Case>>> {
    let driver = driver()?;
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for rules in insertion::CASES {
        for figure in insertion::FIGURES {
            cases.push(Box::new(insertion::Insertion { driver: driver.clone(), rules, figure }));
        }
    }
    for rules in forwarding::CASES {
        for flows in forwarding::FLOWS {
            cases.push(Box::new(forwarding::Forwarding { driver: driver.clone(), rules, flows }));
        }
    }
    Ok(cases)
}

/// The driver that was built with this program, and lies beside it.
fn driver() -> Result<PathBuf> {
    let driver =
        std::env::current_exe().into_diagnostic()?.with_file_name("libpenstock_eswitch.so");
    if !driver.is_file() {
        bail!("{} is missing; run `cargo xtask bench`, which builds it", driver.display());
    }
    Ok(driver)
}

/// A program of DPDK's with a simulated NIC, on both of the first two cores: the main thread, and one that works.
fn dpdk(program: &str, driver: &PathBuf, device: &str, runtime: &tempfile::TempDir) -> Command {
    let mut command = Command::new("stdbuf");
    command
        .args(["-oL", program, "-l", "0,1", "--no-pci", "--no-huge", "-m", "512", "-d"])
        .arg(driver)
        .args(["--no-telemetry", "--vdev", device, "--"])
        // Several of these programs on one machine do not meet.
        .env("RUNTIME_DIRECTORY", runtime.path());
    command
}
