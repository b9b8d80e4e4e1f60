//! `cargo xtask`: all set-up lives here. Each command does what it needs first, so that a fresh machine with a Rust
//! toolchain needs nothing else.

mod bench;
mod debian;
mod demo;
mod driver_headers;
mod guest_kernel;
mod package;
mod packages;
mod process;
mod setup;
mod test;
mod vm_rig;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Set-up and tests of Penstock")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building needs (as root or with sudo); does nothing when all is there
    Setup,
    /// Set up, then show two DPUs with real tenants on this machine's kernel, step by step
    Demo(demo::Arguments),
    /// Set up, build, then measure what things cost and print one table
    Bench(bench::Arguments),
    /// Set up, then check formatting and lints and run every test; the last line is `N passed, N failed`
    Test,
    /// Set up, build, then make the host's Debian package in `target/package`
    Package,
    /// Set up, build, then check the host daemon in virtual machines with SR-IOV; the last line is `N passed, N failed`
    TestVm(vm_rig::Arguments),
}

/// The workspace's directory.
fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

fn main() -> miette::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Test => test::run(),
        Command::Package => package::run().map(|()| ExitCode::SUCCESS),
        Command::TestVm(arguments) => vm_rig::run(&arguments),
    }
}
