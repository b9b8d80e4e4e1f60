//! `p4`: checks programs of the contract's subset of P4-16.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The contract in P4: checks it, and will run it.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a program and says what is wrong with it.
    Check {
        /// The program.
        program: PathBuf,
    },
}

fn main() -> miette::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Check { program } => {
            p4::compile(&program)?;
            println!("{}: accepted", program.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}
