//! A host's way to its DPU.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::api::MESSAGE_LIMIT;
use crate::api::v1::host_access_client::HostAccessClient;

/// How a DPU is called.
pub type DpuClient = HostAccessClient<Channel>;

/// Why there is no connection.
#[derive(Debug, Error)]
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

/// What an error comes from: those around it say that there is one.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// What a failed call comes from, for a person. A DPU says what it thinks of a certificate by ending the connection with
/// an alert.
#[must_use]
pub fn explain(status: &Status) -> String {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(this) = error {
        let alert = this
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = alert {
            let what = match alert {
                AlertDescription::CertificateExpired => "has expired, or is not valid yet there",
                AlertDescription::UnknownCA => "is by another authority",
                _ => "is of no use there",
            };
            return format!(
                "the DPU refuses this host's certificate: it {what} ({alert:?}); enrol this host anew"
            );
        }
        error = this.source();
    }
    if status.message().is_empty() { innermost(status) } else { status.message().to_owned() }
}
