//! `penstock`, the operator's command.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli::daemon::DaemonError;
use cli::{
    apply, explain, firmware, flows, get, host, nic, replay, status, upgrade, validate, verify, vm,
};

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
    /// Put intent in force
    Apply(apply::Arguments),
    /// Show the objects of a kind
    Get(get::Arguments),
    /// Show connections, where they are carried, and why not in hardware
    Flows(flows::Arguments),
    /// Show how a connection becomes rules of a NIC, or why it does not
    ExplainOffload(explain::Arguments),
    /// Show how a daemon is
    Status(status::Arguments),
    /// Prove what holds of the rules in a NIC, or show a packet for which it does not
    Verify(verify::Arguments),
    /// See and trouble a simulated NIC, and find out what a NIC can do
    Nic(nic::Arguments),
    /// Give VFs of a host to its VMs, and take them back
    Vm(vm::Arguments),
    /// See a host's devices, and what is wrong with them
    Host(host::Arguments),
    /// Plan and set settings of a card that need a power cycle
    Firmware(firmware::Arguments),
    /// Give the DPU's daemon another program, which stays only when it is well
    Upgrade(upgrade::Arguments),
    /// Enrol this host at its DPU
    Enroll(host::EnrollArguments),
    /// Run captured packets through a node's datapath in virtual time
    Replay(replay::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Validate(arguments) => finish(validate::run(&arguments)),
        Command::Apply(arguments) => finish(apply::run(&arguments)),
        Command::Get(arguments) => finish(get::run(&arguments)),
        Command::Flows(arguments) => show_flows(&arguments),
        Command::ExplainOffload(arguments) => finish(explain::run(&arguments)),
        Command::Status(arguments) => finish(status::run(&arguments)),
        Command::Verify(arguments) => finish(verify::run(&arguments)),
        Command::Nic(arguments) => finish(nic::run(&arguments)),
        Command::Vm(arguments) => finish(vm::run(&arguments)),
        Command::Host(arguments) => finish(host::run(&arguments)),
        Command::Firmware(arguments) => finish(firmware::run(&arguments)),
        Command::Upgrade(arguments) => finish(upgrade::run(&arguments)),
        Command::Enroll(arguments) => finish(host::enroll(&arguments)),
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

/// Flows are too many to be held: they are written as they come.
fn show_flows(arguments: &flows::Arguments) -> ExitCode {
    match flows::run(arguments, &mut io::stdout().lock()) {
        // Whoever reads has seen enough.
        Err(DaemonError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => finish::<DaemonError>(Err(error)),
    }
}
