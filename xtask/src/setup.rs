//! `cargo xtask setup`: makes a machine with a Rust toolchain one that can build Penstock.

use miette::{Result, bail};

use crate::{driver_headers, packages, process, workspace};

/// Does what is missing; quick and without the network when nothing is.
pub fn run() -> Result<()> {
    toolchain_components()?;
    packages::install(packages::BUILD)?;
    driver_headers::fetch(&workspace().join("target/dpdk-driver-headers"))
}

/// A toolchain installed with the minimal profile has neither.
fn toolchain_components() -> Result<()> {
    let missing: Vec<&str> = [("rustfmt", "fmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(_, command)| process::output("cargo", &[command, "--version"]).is_none())
        .map(|(component, _)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    if process::output("rustup", &["--version"]).is_none() {
        bail!("the Rust toolchain lacks {names}, and there is no rustup to add them; install them");
    }
    eprintln!("The Rust toolchain lacks {names}, which the tests use; rustup adds them now.");
    let mut command = std::process::Command::new("rustup");
    process::run(command.args(["component", "add"]).args(missing))
}
