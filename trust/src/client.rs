//! A host's way to its DPU.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::api::MESSAGE_LIMIT;
use crate::api::v1::host_access_client::HostAccessClient;

/// How a DPU is called.
pub type DpuClient = HostAccessClient<Channel>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct ConnectError {
    address: SocketAddr,
    reason: String,
}

/// Connects, and proves who both are.
///
/// # Errors
/// When nobody answers within `deadline`, or it is somebody else.
pub async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    deadline: Duration,
) -> Result<DpuClient, ConnectError> {
    let connector = tower::service_fn(move |_: Uri| {
        let tls = TlsConnector::from(config.clone());
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::IpAddress(address.ip().into());
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, tcp).await?))
        }
    });
    let failed = |reason: String| ConnectError { address, reason };
    // The address and TLS are the connector's; this is a name for messages.
    let endpoint = Endpoint::from_static("http://dpu");
    let connecting = endpoint.connect_with_connector(connector);
    let channel = tokio::time::timeout(deadline, connecting)
        .await
        .map_err(|_| failed(format!("no answer within {} ms", deadline.as_millis())))?
        .map_err(|error| failed(innermost(&error)))?;
    Ok(HostAccessClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT))
}

/// What an error comes from, for a person: those around it say that there is one. A DPU says what it thinks of a certificate
/// by ending the connection with an alert.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    // What HTTP passes on of the alert is its text.
    match text.strip_prefix("received fatal alert: ") {
        Some(alert) => format!(
            "the DPU refuses this host's certificate ({alert}); see its log, and enrol this host anew"
        ),
        None => text,
    }
}

/// What a failed call comes from, for a person.
#[must_use]
pub fn explain(status: &Status) -> String {
    if status.source().is_none() { status.message().to_owned() } else { innermost(status) }
}
