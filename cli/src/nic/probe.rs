//! `penstock nic probe`: what is a NIC's profile? A program of its own finds out, because that one needs DPDK.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use thiserror::Error;

/// The program that probes.
const PROGRAM: &str = "penstock-nic-probe";

/// Arguments of `penstock nic probe`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The card: its PCI address, which DPDK's device arguments may follow; the only one if absent
    #[arg(long, value_name = "ADDR[,ARGUMENTS]", conflicts_with = "simulated")]
    pci: Option<String>,
    /// The simulated NIC with this profile
    #[arg(long, value_name = "PROFILE")]
    simulated: Option<String>,
    /// The simulated NIC's driver, if it is not beside penstock-nic-probe
    #[arg(long, value_name = "LIBRARY", requires = "simulated")]
    driver: Option<PathBuf>,
    /// More arguments for DPDK
    #[arg(last = true, value_name = "EAL")]
    eal: Vec<String>,
}

/// Why no NIC could be probed.
#[derive(Debug, Error)]
#[error(
    "{} cannot be started: {reason}; build it with `cargo build -p nic-probe` and put it beside penstock",
    .program.display()
)]
pub struct ProbeError {
    program: PathBuf,
    reason: io::Error,
}

/// Becomes the program that probes; returns only where that fails.
pub(super) fn run(arguments: &Arguments) -> ProbeError {
    let beside = std::env::current_exe().unwrap_or_default().with_file_name(PROGRAM);
    let program = if beside.is_file() { beside } else { Path::new(PROGRAM).to_owned() };
    let Arguments { pci, simulated, driver, eal } = arguments;
    let mut command = Command::new(&program);
    let mut option = |name: &str, value: &Path| {
        command.arg(name).arg(value);
    };
    if let Some(address) = pci {
        option("--pci", Path::new(address));
    }
    if let Some(profile) = simulated {
        option("--simulated", Path::new(profile));
    }
    if let Some(driver) = driver {
        option("--driver", driver);
    }
    if !eal.is_empty() {
        command.arg("--").args(eal);
    }
    ProbeError { reason: command.exec(), program }
}
