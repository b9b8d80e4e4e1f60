//! The way to a daemon: its socket, its API, what goes wrong on the way.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use dpu_app::api::v1::dpu_client::DpuClient;
use dpu_app::api::{DEFAULT_SOCKET, MESSAGE_LIMIT};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

use crate::intent_files::IntentError;

/// Which daemon.
#[derive(Debug, Args)]
pub struct Daemon {
    /// Socket of the daemon
    #[arg(long, value_name = "PATH", env = "PENSTOCK_SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

/// The form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Nobody answers.
    #[error("no daemon answers at {}: {reason}; is {program} running, and is this its [api] socket? ({option}, {variable})", socket.display())]
    Unreachable {
        /// Who should.
        program: &'static str,
        /// The option that says where.
        option: &'static str,
        /// The variable of the environment that says where.
        variable: &'static str,
        /// Where.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// The daemon could not do it.
    #[error("{}", .0.message())]
    Failed(Box<tonic::Status>),
    /// The daemon does not want intent as it is: everything that is wrong with it.
    #[error("{}\nrefused; nothing was changed", .0.join("\n"))]
    Refused(Vec<String>),
    /// The daemon says something that this program does not understand.
    #[error("the daemon's answer makes no sense ({0}); are both of the same version?")]
    Nonsense(String),
    /// There is no intent to apply.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// The datapath stands still.
    #[error("the datapath has not moved for {0} ms; see the daemon's log")]
    Stalled(u64),
    /// The datapath does not answer.
    #[error("the datapath moves, and does not work: {0}; see the daemon's log")]
    Unanswered(String),
    /// The system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<tonic::Status> for DaemonError {
    fn from(status: tonic::Status) -> Self {
        Self::Failed(Box::new(status))
    }
}

impl Daemon {
    /// Calls the daemon: `call` gets the client.
    ///
    /// # Errors
    /// When nobody answers, or what `call` returns.
    pub fn call<T>(
        &self,
        call: impl AsyncFnOnce(DpuClient<Channel>) -> Result<T, DaemonError>,
    ) -> Result<T, DaemonError> {
        let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { call(connect(&self.socket).await?).await })
    }
}

async fn connect(socket: &Path) -> Result<DpuClient<Channel>, DaemonError> {
    Ok(DpuClient::new(channel(socket, "penstock-dpud", "PENSTOCK_SOCKET").await?)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT))
}

/// The way to a daemon; `program` and `variable` say in messages which, and how to name its socket.
///
/// # Errors
/// When nobody answers.
pub async fn channel(
    socket: &Path,
    program: &'static str,
    variable: &'static str,
) -> Result<Channel, DaemonError> {
    let unreachable = |reason: String| DaemonError::Unreachable {
        program,
        option: "--socket",
        variable,
        socket: socket.to_owned(),
        reason,
    };
    let absolute = std::path::absolute(socket)?;
    // What the transport says of a failure hides the system's reason.
    tokio::net::UnixStream::connect(&absolute)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    Endpoint::try_from(format!("unix://{}", absolute.display()))
        .map_err(|error| unreachable(error.to_string()))?
        .connect()
        .await
        .map_err(|error| unreachable(error.to_string()))
}
