//! `penstock-hostd`, the host's daemon.
//!
//! One thread answers the control API; what takes time (steps of attachments, looking at devices) runs beside it. Who
//! waits for another attachment waits for a limited time only.

mod config;
mod control;
mod dpu_view;
mod log;
mod reconcile;
mod request;
mod socket;
mod view;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use host_shim::api::MESSAGE_LIMIT;
use host_shim::api::v1::host_server::HostServer;
use host_shim::attachment::consent::{Consent, StandAlone};
use host_shim::attachment::fault::{AbortAt, Faults, NoFaults};
use host_shim::attachment::{Attachments, Machine, SystemHost};
use host_shim::dpu::{DpuLink, LinkError, Settings};
use host_shim::lease::{LeaseStore, StoreError};
use host_shim::netlink::Rtnetlink;
use host_shim::sysfs::{Sysfs, SysfsError};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify};
use tokio_stream::wrappers::UnixListenerStream;
use tracing::info;
use trust::Clock;

use crate::config::{Config, ConfigError};
use crate::control::Control;
use crate::log::{LogError, RecentLog};
use crate::reconcile::Reconciler;
use crate::socket::{Socket, SocketError};
use crate::view::View;

#[derive(Parser)]
#[command(name = "penstock-hostd", version, about = "Hand VFs of a host to its VMs")]
struct Arguments {
    /// Configuration (TOML); see docs/reference/hostd-config.md
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Why the daemon does not run.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("[log] filter: {0}")]
    Log(#[from] LogError),
    #[error("[api] socket: {0}")]
    Socket(#[from] SocketError),
    #[error("[devices] sysfs: {0}")]
    Sysfs(#[from] SysfsError),
    #[error("stateDirectory: {0}")]
    Store(#[from] StoreError),
    #[error("[dpu]: {0}")]
    Dpu(#[from] LinkError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
    #[error("the control API has failed: {0}")]
    Api(#[from] tonic::transport::Error),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("penstock-hostd: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path) -> Result<(), Failure> {
    let config = Config::read(file)?;
    let log = RecentLog::start(&config.log.filter)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("hostd")
        .build()
        .map_err(Failure::Thread)?;
    let result = runtime.block_on(serve(config, log));
    // A step that waits for a VM's process must not keep the daemon from ending: it can be done again.
    runtime.shutdown_background();
    result
}

/// The daemon's life.
async fn serve(config: Config, log: RecentLog) -> Result<(), Failure> {
    // The leases first: only one daemon has them.
    let store = LeaseStore::open(&config.state_directory)?;
    let (_socket, listener) = Socket::bind(&config.api.socket)?;
    let machine = Machine {
        sysfs: Sysfs::at(&config.devices.sysfs)?,
        sources: config.sources(),
        dev: config.devices.dev.clone(),
    };
    let faults: Arc<dyn Faults> = match config.faults.abort_at {
        Some(point) => Arc::new(AbortAt(point)),
        None => Arc::new(NoFaults),
    };
    let news = Arc::new(Notify::new());
    let dpu = match config.dpu_settings() {
        Some(settings) => Some(reach(settings, news.clone()).await?),
        None => None,
    };
    // Without a DPU, leases are the host's own business.
    let consent: Arc<dyn Consent> = match &dpu {
        Some(dpu) => dpu.clone(),
        None => Arc::new(StandAlone),
    };
    let host = SystemHost::new(machine.clone(), Arc::new(Rtnetlink), consent.clone());
    let attachments = Arc::new(Mutex::new(Attachments::new(host, store, faults)));
    let view = Arc::new(View::default());
    view.publish(&*attachments.lock().await);

    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Signals)?;
    reconcile::listen(news.clone());
    let reconciler = Reconciler {
        attachments: attachments.clone(),
        view: view.clone(),
        dpu: dpu.clone(),
        news,
        interval: config.reconcile_interval(),
    };
    tokio::spawn(reconciler.keep_up());
    info!(socket = %config.api.socket.display(), "running");

    let config = Arc::new(config);
    let control = Control { attachments, view, machine, log, config, dpu, consent };
    let service = HostServer::new(control)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let server = tonic::transport::Server::builder().add_service(service);
    // Calls that are under way when it is time to stop end with their connection.
    tokio::select! {
        result = server.serve_with_incoming(UnixListenerStream::new(listener)) => result?,
        _ = terminate.recv() => info!("stopping"),
        _ = interrupt.recv() => info!("stopping"),
    }
    Ok(())
}

/// The DPU, if it answers at once: those who call early need not be told that it does not.
async fn reach(settings: Settings, news: Arc<Notify>) -> Result<Arc<DpuLink>, LinkError> {
    let link = DpuLink::new(settings, Clock::system(), Handle::current(), news)?;
    let link = Arc::new(link);
    if link.is_enrolled() {
        // What is wrong is logged with the next one.
        let _ = link.heartbeat().await;
    }
    tokio::spawn(link.clone().keep_up());
    Ok(link)
}
