//! `p4`: checks, runs and tests programs of the contract's subset of P4-16.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use miette::{IntoDiagnostic, Result, miette};
use p4::interpreter::Machine;
use p4::stf::{self, Runner};
use p4::trace;

/// The contract in P4: check it, run it, test it.
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
    /// Follows packets through a program, table by table.
    Run {
        /// The program.
        program: PathBuf,
        /// Entries of its tables, as STF writes them.
        #[arg(long)]
        entries: Option<PathBuf>,
        /// A packet: the port, and hexadecimal digits or packet notation. May be given several times.
        #[arg(long = "packet", value_name = "PORT:HEX", required = true)]
        packets: Vec<PacketArgument>,
    },
    /// Prints the tables of a program as JSON: keys, actions, sizes, stages.
    Schema {
        /// The program.
        program: PathBuf,
    },
    /// Runs tests.
    Stf {
        /// The tests.
        #[arg(required = true)]
        tests: Vec<PathBuf>,
        /// The program, if it is not NAME.p4 beside NAME.stf or the pipeline.p4 above it.
        #[arg(long)]
        program: Option<PathBuf>,
    },
}

#[derive(Clone)]
struct PacketArgument {
    port: u16,
    bytes: Vec<u8>,
}

impl std::str::FromStr for PacketArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, packet) = text.split_once(':').ok_or("PORT:HEX expected")?;
        let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
        Ok(Self { port, bytes: stf::packet(packet)? })
    }
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Check { program } => {
            p4::compile(&program)?;
            println!("{}: accepted", program.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { program, entries, packets } => run(&program, entries.as_deref(), &packets),
        Command::Schema { program } => {
            let schema = p4::schema::of(&p4::compile(&program)?);
            println!("{}", serde_json::to_string_pretty(&schema).into_diagnostic()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Stf { tests, program } => test(&tests, program.as_deref()),
    }
}

fn run(program: &Path, entries: Option<&Path>, packets: &[PacketArgument]) -> Result<ExitCode> {
    let program = p4::compile(program)?;
    let mut machine = Machine::new(&program).into_diagnostic()?;
    if let Some(entries) = entries {
        Runner::new(&mut machine).file(entries).into_diagnostic()?;
    }
    for packet in packets {
        let outcome = machine.trace(0, packet.port, &packet.bytes).into_diagnostic()?;
        println!("{}", trace::show(packet.port, &packet.bytes, &outcome));
    }
    Ok(ExitCode::SUCCESS)
}

fn test(tests: &[PathBuf], program: Option<&Path>) -> Result<ExitCode> {
    let mut failed = false;
    for test in tests {
        let path = match program {
            Some(program) => program.to_owned(),
            None => stf::program_of(test)
                .ok_or_else(|| miette!("{}: which program is it for?", test.display()))?,
        };
        let program = p4::compile(&path)?;
        let mut machine = Machine::new(&program).into_diagnostic()?;
        match Runner::new(&mut machine).test(test) {
            Ok(done) => println!(
                "{}: {} packets, {} expectations met",
                test.display(),
                done.packets,
                done.expectations
            ),
            Err(error) => {
                println!("{error}");
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
