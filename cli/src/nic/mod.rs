//! `penstock nic`: NICs themselves, simulated and real.

mod control;
mod fault;
mod status;

use clap::{Args, Subcommand};

pub use control::ControlError;

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
}

/// Does what the arguments say; returns what to print.
///
/// # Errors
/// [`ControlError`].
pub fn run(arguments: &Arguments) -> Result<String, ControlError> {
    match &arguments.command {
        Command::Status(arguments) => status::run(arguments),
        Command::Fault(arguments) => fault::run(arguments),
    }
}
