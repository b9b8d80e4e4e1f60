//! `cargo xtask test-vm`: the host daemon on a kernel with SR-IOV and an IOMMU, in virtual machines without a processor's help.

mod image;
mod machine;
mod netdevsim;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use miette::{IntoDiagnostic, Result, miette};
use serde::Deserialize;

use crate::{guest_kernel, packages, process, setup, workspace};
use guest_kernel::GuestKernel;
use image::Programs;
use machine::{Boot, MACHINES, Tally};
use qemu::Qemu;

/// Arguments of `cargo xtask test-vm`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only machines whose name contains this
    #[arg(value_name = "MACHINE")]
    only: Option<String>,
    /// How often the daemon is killed at random
    #[arg(long, value_name = "N", default_value_t = 12)]
    kills: u32,
}

/// Debian 12's kernels of today; that for clouds has neither igb nor switches of cards.
const KERNEL: GuestKernel = GuestKernel {
    package: "linux-image-6.12-amd64",
    modules: &[
        "drivers/dca/dca.ko",
        "drivers/i2c/algos/i2c-algo-bit.ko",
        "drivers/net/ethernet/intel/igb/igb.ko",
        "drivers/net/ethernet/intel/igbvf/igbvf.ko",
        "virt/lib/irqbypass.ko",
        "drivers/vfio/vfio.ko",
        "drivers/vfio/vfio_iommu_type1.ko",
        "drivers/vfio/pci/vfio-pci-core.ko",
        "drivers/vfio/pci/vfio-pci.ko",
        "net/psample/psample.ko",
    ],
};

/// Builds what is tested, makes the machines and runs their checks; the last line is `N passed, N failed`.
///
/// # Errors
/// When something cannot be fetched, built or started.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run()?;
    packages::install(packages::VM_RIG)?;
    let directory = workspace().join("target/vm-rig");
    let kernel = directory.join("kernel");
    let modules = fetch_kernel(&directory, &kernel)?;
    let qemu = Qemu::fetch(&directory.join("qemu"))?;
    let programs = build()?;
    let image = directory.join("initial.cpio");
    image::write(&programs, &modules, &directory.join("root"), &image)?;

    let vmlinuz = kernel.join("vmlinuz");
    let boot = Boot { kernel: &vmlinuz, image: &image, kills: arguments.kills };
    let start = Instant::now();
    let mut tally = Tally::default();
    let chosen = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(&**only));
    for machine in MACHINES.iter().filter(|machine| chosen(machine.name)) {
        tally += machine.run(&qemu, &boot, &directory)?;
    }
    println!("\n{:.0} s in virtual machines", start.elapsed().as_secs_f64());
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fetches the kernel, and builds what it lacks; its modules, in the order in which they are loaded.
fn fetch_kernel(directory: &Path, kernel: &Path) -> Result<Vec<PathBuf>> {
    let simulated = |release: &str| directory.join(format!("netdevsim-{release}.ko"));
    let fetch = || -> Result<String> {
        KERNEL.fetch(kernel)?;
        let release = fs::read_to_string(kernel.join("release")).into_diagnostic()?;
        netdevsim::build(&release, &simulated(&release))?;
        Ok(release)
    };
    let release = fetch().or_else(|problem| {
        eprintln!("{problem:?}\nThe kernel may be another by now; all of it is fetched again.");
        packages::update()?;
        fs::remove_dir_all(kernel).into_diagnostic()?;
        fetch()
    })?;
    let own = (0..KERNEL.modules.len()).map(|index| kernel.join(format!("{index}.ko")));
    Ok(own.chain([simulated(&release)]).collect())
}

/// A line of cargo's messages.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the programs that go into the machines.
fn build() -> Result<Programs> {
    let mut command = process::cargo(&[
        "build",
        "--package=host-shim",
        "--package=cli",
        "--bins",
        "--test=vm",
        "--message-format=json-render-diagnostics",
    ]);
    let line = process::show(&command);
    eprintln!("$ {line}");
    let output = command.stderr(Stdio::inherit()).output().into_diagnostic()?;
    if !output.status.success() {
        return Err(miette!("`{line}` failed; see above"));
    }
    let messages: Vec<Message> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let find = |name: &str| {
        let named = messages.iter().filter(|m| m.target.as_ref().is_some_and(|t| t.name == name));
        let executable = named.filter_map(|message| message.executable.clone()).next_back();
        executable.ok_or_else(|| miette!("`{line}` has built no `{name}`"))
    };
    Ok(Programs {
        checks: find("vm")?,
        daemon: find("penstock-hostd")?,
        command: find("penstock")?,
    })
}
