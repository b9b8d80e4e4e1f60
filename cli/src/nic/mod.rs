//! `penstock nic`: NICs themselves, simulated and real.

mod control;
mod fault;
mod probe;
mod status;

use clap::{Args, Subcommand};
use thiserror::Error;

pub use control::ControlError;
pub use probe::ProbeError;

/// Arguments of `penstock nic`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how a simulated NIC is: its ports, links and faults
    Status(status::Arguments),
    /// Let things go wrong in a simulated NIC
    Fault(fault::Arguments),
    /// Find a NIC's profile by trial, and print it
    Probe(probe::Arguments),
}

/// Why it was not done.
#[derive(Debug, Error)]
pub enum NicError {
    /// A simulated NIC could not be asked.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No NIC could be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

/// Does what the arguments say; returns what to print.
///
/// # Errors
/// [`NicError`].
pub fn run(arguments: &Arguments) -> Result<String, NicError> {
    match &arguments.command {
        Command::Status(arguments) => Ok(status::run(arguments)?),
        Command::Fault(arguments) => Ok(fault::run(arguments)?),
        Command::Probe(arguments) => Err(probe::run(arguments).into()),
    }
}
