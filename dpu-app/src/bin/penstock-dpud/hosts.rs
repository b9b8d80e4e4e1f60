//! The DPU's side towards its hosts: a thread of its own, behind all others, so that hosts keep neither the datapath nor the
//! operator waiting.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use dpu_app::datapath::Port;
use model::snapshot::VfIndex;
use packet::Mac;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use thiserror::Error;
use tokio::runtime::Builder;
use tracing::{error, info, warn};
use trust::functions::{Functions, FunctionsError};
use trust::identity::IdentityError;
use trust::listener::Limits;
use trust::server::{DpuServer, DpuView, ServerError};
use trust::{Clock, NodeName};

use crate::config::Config;
use crate::shared::Shared;

/// How much hosts stand back when there is not enough processor time (0: not at all, 19: most).
const NICE: i32 = 10;

/// Why there is nothing for hosts.
#[derive(Debug, Error)]
pub enum HostsError {
    /// The address cannot be listened at.
    #[error("[host] listen = \"{listen}\": {error}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The node has no name that certificates could have.
    #[error("node: {0}")]
    Node(#[from] IdentityError),
    /// Functions contradict each other.
    #[error("[[host.functions]]: {0}")]
    Functions(#[from] FunctionsError),
    /// What is kept about hosts.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// What the daemon knows by itself.
struct Daemon(Arc<Shared>);

impl DpuView for Daemon {
    fn interface(&self, vf: u16) -> Option<(String, Mac)> {
        let snapshot = self.0.snapshot.load();
        let interface = snapshot.as_ref()?.interface_of_vf(VfIndex(vf))?;
        Some((interface.name.clone(), interface.mac))
    }

    fn problem(&self) -> Option<String> {
        if !self.0.is_alive() {
            return Some("the datapath's loop does not move".to_owned());
        }
        if self.0.nic.load().ports.get(&Port::Uplink).is_some_and(|uplink| !uplink.link_up) {
            return Some("the uplink has no link, or its NIC is gone".to_owned());
        }
        self.0.health.load().problem().map(ToOwned::to_owned)
    }

    fn intent_epoch(&self) -> u64 {
        self.0.snapshot.load().as_ref().map_or(0, |snapshot| snapshot.epoch)
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Begins to be there for hosts, where the configuration says so.
///
/// # Errors
/// When that cannot be.
pub fn start(config: &Config, shared: &Arc<Shared>) -> Result<Option<Arc<DpuServer>>, HostsError> {
    let Some(listen) = config.host.listen else { return Ok(None) };
    let failed = |error| HostsError::Listen { listen, error };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let node: NodeName = config.node.parse()?;
    let lifetime = Duration::from_hours(config.host.certificate_hours.into());
    let server = Arc::new(DpuServer::open(
        &config.state_directory().join("trust"),
        node,
        Functions::new(&config.host.functions)?,
        Arc::new(Daemon(shared.clone())),
        Clock::system(),
        lifetime,
    )?);
    let shown = server.clone();
    let body = move || {
        if let Err(error) = setpriority_process(Some(gettid()), NICE) {
            warn!("hosts have the same priority as all others: {error}");
        }
        let result = Builder::new_current_thread().enable_all().build().map(|runtime| {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener);
                let serve = server.serve(
                    listener.map_err(|error| error.to_string())?,
                    Limits::default(),
                    std::future::pending(),
                );
                serve.await.map_err(|error| error.to_string())
            })
        });
        // Forwarding goes on without hosts.
        match result {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => error!("hosts get no answer any more: {problem}"),
            Err(problem) => error!("hosts get no answer: {problem}"),
        }
    };
    std::thread::Builder::new().name("hosts".into()).spawn(body).map_err(HostsError::Thread)?;
    info!(%address, "hosts can connect");
    Ok(Some(shown))
}
