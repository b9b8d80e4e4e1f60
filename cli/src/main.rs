//! `penstock`, the operator's command.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli::{replay, validate};

#[derive(Parser)]
#[command(name = "penstock", version, about = "Operate the network of a multi-tenant GPU cloud")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check intent without applying it
    Validate(validate::Arguments),
    /// Run captured packets through a node's datapath in virtual time
    Replay(replay::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Validate(arguments) => finish(validate::run(&arguments)),
        Command::Replay(arguments) => finish(replay::run(&arguments)),
    }
}

/// Exit codes: 0 done, 1 refused or failed; 2, wrong usage, is clap's own.
fn finish<E: Display>(result: Result<String, E>) -> ExitCode {
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
