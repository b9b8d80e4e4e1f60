//! The way to a host's daemon.

use std::path::PathBuf;

use clap::Args;
use host_shim::api::v1::host_client::HostClient;
use host_shim::api::{DEFAULT_SOCKET, MESSAGE_LIMIT};
use tokio::runtime::Builder;
use tonic::transport::Channel;

use crate::daemon::{DaemonError, channel};

const VARIABLE: &str = "PENSTOCK_HOST_SOCKET";

/// Which daemon.
#[derive(Debug, Args)]
pub struct HostDaemon {
    /// Socket of the host's daemon
    #[arg(long, global = true, value_name = "PATH", env = VARIABLE, default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

impl HostDaemon {
    /// Calls the daemon: `call` gets the client.
    ///
    /// # Errors
    /// When nobody answers, or what `call` returns.
    pub fn call<T>(
        &self,
        call: impl AsyncFnOnce(HostClient<Channel>) -> Result<T, DaemonError>,
    ) -> Result<T, DaemonError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let channel = channel(&self.socket, "penstock-hostd", VARIABLE).await?;
            let client = HostClient::new(channel)
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT);
            call(client).await
        })
    }
}
