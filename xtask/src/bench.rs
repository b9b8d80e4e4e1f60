//! `cargo xtask bench`: everything that the measuring program needs, then that program.

use std::process::ExitCode;

use clap::Args;
use miette::Result;

use crate::{process, setup};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What the measuring program takes; `--help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Sets up, builds and measures.
///
/// # Errors
/// When something does not build or cannot be measured.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run()?;
    // The daemon as it is delivered, and the drivers that it and others load.
    let packages = ["penstock-eswitch", "penstock-traffic", "dpu-app", "bench"];
    let build = packages.iter().flat_map(|package| ["-p", package]);
    let build: Vec<&str> = ["build", "--release"].into_iter().chain(build).collect();
    process::run(&mut process::cargo(&build))?;
    let mut measure =
        process::cargo(&["run", "--quiet", "--release", "-p", "bench", "--bin", "bench", "--"]);
    let is_good = process::succeeds(measure.args(&arguments.arguments))?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
