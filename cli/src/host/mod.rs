//! `penstock host`: a host's devices, and the hosts a DPU knows.

mod access;
mod client;
mod dpu;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use host_shim::api::v1::{
    DoctorRequest, InventoryRequest, SetVfsRequest, SupportBundleRequest, TopologyRequest, check,
};
use host_shim::device::Inventory;
use host_shim::topology::Topology;
use serde_json::{Value, json};
use thiserror::Error;

pub use client::HostDaemon;
pub use dpu::below;

use crate::daemon::{DaemonError, Output};

/// Arguments of `penstock host`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    daemon: HostDaemon,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show NICs, VFs and GPUs
    Inventory {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show how near VFs and GPUs are to each other
    Topology {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Change how many VFs a PF has
    Vfs {
        /// The PF: its interface, PCI address or name
        pf: String,
        /// How many
        number: u16,
    },
    /// Find what is wrong, and how to mend it; exit code 1 when something is
    Doctor {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show how this host's DPU is
    Dpu {
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Let a host in: tokens with which hosts are enrolled at a DPU
    Token {
        #[command(subcommand)]
        command: Token,
    },
    /// Show the hosts that a DPU knows
    List {
        #[command(flatten)]
        dpu: access::Dpu,
        /// Form of the output
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Make a host's certificates and tokens useless at a DPU
    Revoke {
        /// The host
        host: String,
        #[command(flatten)]
        dpu: access::Dpu,
    },
    /// Write all that whoever helps would ask for into one file
    SupportBundle {
        /// The file
        #[arg(long, value_name = "FILE", default_value = "penstock-host.tar")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Print a token with which a host can be enrolled, once: `penstock enroll TOKEN` there
    Create {
        /// What the DPU's [[host.functions]] call the host
        #[arg(long)]
        host: String,
        /// How long the token is good
        #[arg(long, value_name = "MINUTES", default_value_t = 60)]
        minutes: u32,
        #[command(flatten)]
        dpu: access::Dpu,
    },
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum HostError {
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Something is wrong with the host; what the checks found.
    #[error("{0}")]
    Ill(String),
    /// The file cannot be written.
    #[error("{}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Arguments of `penstock enroll`.
#[derive(Debug, Args)]
pub struct EnrollArguments {
    /// What `penstock host token create` printed on the DPU; `-` reads it from standard input
    token: String,
    #[command(flatten)]
    daemon: HostDaemon,
}

/// Enrols this host at its DPU.
///
/// # Errors
/// [`DaemonError`].
pub fn enroll(arguments: &EnrollArguments) -> Result<String, DaemonError> {
    dpu::enroll(&arguments.daemon, &arguments.token)
}

/// Does what is asked.
///
/// # Errors
/// [`HostError`].
pub fn run(arguments: &Arguments) -> Result<String, HostError> {
    let daemon = &arguments.daemon;
    match &arguments.command {
        Command::Inventory { output } => Ok(inventory(daemon, *output)?),
        Command::Topology { output } => Ok(topology(daemon, *output)?),
        Command::Vfs { pf, number } => {
            let request = SetVfsRequest { pf: pf.clone(), vfs: (*number).into() };
            daemon.call(async |mut client| Ok(client.set_vfs(request).await?))?;
            Ok(format!("{pf} has {number} VFs"))
        }
        Command::Doctor { output } => doctor(daemon, *output),
        Command::Dpu { output } => Ok(dpu::show(daemon, *output)?),
        Command::Token { command: Token::Create { host, minutes, dpu } } => {
            Ok(access::create_token(dpu, host, *minutes)?)
        }
        Command::List { dpu, output } => Ok(access::list(dpu, *output)?),
        Command::Revoke { host, dpu } => Ok(access::revoke(dpu, host)?),
        Command::SupportBundle { file } => {
            let bundle = daemon.call(async |mut client| {
                Ok(client.support_bundle(SupportBundleRequest {}).await?.into_inner())
            })?;
            std::fs::write(file, bundle.archive)
                .map_err(|error| HostError::File { file: file.clone(), error })?;
            Ok(format!("{} is written", file.display()))
        }
    }
}

/// JSON that a daemon sent.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, DaemonError> {
    serde_json::from_str(text).map_err(|error| DaemonError::Nonsense(error.to_string()))
}

fn inventory(daemon: &HostDaemon, output: Output) -> Result<String, DaemonError> {
    let response = daemon
        .call(async |mut client| Ok(client.inventory(InventoryRequest {}).await?.into_inner()))?;
    Ok(match output {
        Output::Json => format!("{:#}", parse::<Value>(&response.inventory)?),
        Output::Table => {
            let inventory = show::inventory(&parse::<Inventory>(&response.inventory)?);
            below(inventory, response.dpu.as_ref())
        }
    })
}

fn topology(daemon: &HostDaemon, output: Output) -> Result<String, DaemonError> {
    let response = daemon
        .call(async |mut client| Ok(client.topology(TopologyRequest {}).await?.into_inner()))?;
    Ok(match output {
        Output::Json => format!("{:#}", parse::<Value>(&response.topology)?),
        Output::Table => {
            let topology: Topology = parse(&response.topology)?;
            show::topology(&response.tree, &topology, &response.warnings)
        }
    })
}

fn doctor(daemon: &HostDaemon, output: Output) -> Result<String, HostError> {
    let response =
        daemon.call(async |mut client| Ok(client.doctor(DoctorRequest {}).await?.into_inner()))?;
    let text = match output {
        Output::Table => show::checks(&response.checks),
        Output::Json => {
            let checks = response.checks.iter().map(|check| {
                json!({
                    "result": show::result(check.result()),
                    "name": check.name,
                    "finding": check.finding,
                    "mending": check.mending,
                })
            });
            format!("{:#}", Value::Array(checks.collect()))
        }
    };
    let ill = response.checks.iter().any(|check| check.result() == check::Result::Bad);
    if ill { Err(HostError::Ill(text)) } else { Ok(text) }
}
