//! `penstock-dpud`, the DPU's daemon.
//!
//! Three threads: the data plane's, on which the datapath's loop runs ([`worker`]); the NIC's, for what takes time there
//! ([`nic_thread`]); and this one, for everything else: intent, the control API, metrics, signals. Hosts, which nobody trusts, have a
//! fourth ([`hosts`]). They meet in
//! [`shared`], over queues ([`offload_link`], [`question`], [`rule_listing`]), and in no lock that the datapath's loop would have to take.

mod clock;
mod config;
mod control;
mod dataplane;
mod dpdk;
mod eal_arguments;
mod explain_view;
mod flow_view;
mod health;
mod host_view;
mod hosts;
mod intent_store;
mod kept_intent;
mod nic_status;
mod nic_thread;
mod object_view;
mod offload_link;
mod offload_plan;
mod port_map;
mod question;
mod refusals;
mod rule_listing;
mod shared;
mod socket;
mod telemetry;
mod worker;

use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use clap::Parser;
use dpu_app::api::MESSAGE_LIMIT;
use dpu_app::api::v1::dpu_server::DpuServer;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::control::Control;
use crate::dataplane::StartError;
use crate::hosts::HostsError;
use crate::intent_store::IntentStore;
use crate::question::questions;
use crate::shared::Shared;
use crate::socket::{Socket, SocketError};

#[derive(Parser)]
#[command(name = "penstock-dpud", version, about = "Run the network of a DPU")]
struct Arguments {
    /// Configuration (TOML); see docs/reference/dpud-config.md
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Why the daemon does not run.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("[log] filter: {0}")]
    LogFilter(#[from] tracing_subscriber::filter::ParseError),
    #[error("[api] socket: {0}")]
    Socket(#[from] SocketError),
    #[error("[metrics] listen: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error(transparent)]
    Hosts(#[from] HostsError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    DataPlane(#[from] StartError),
    #[error("the data plane has failed; its last words are above")]
    DataPlanePanicked,
    #[error("the control API has failed: {0}")]
    Api(#[from] tonic::transport::Error),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("penstock-dpud: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&config.log.filter)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("control")
        .build()
        .map_err(Failure::Thread)?
        .block_on(serve(config))
}

/// The daemon's life.
async fn serve(config: Config) -> Result<(), Failure> {
    // What can be refused is refused before DPDK starts.
    let (_socket, listener) = Socket::bind(&config.api.socket)?;
    if let Some(listen) = config.metrics.listen {
        telemetry::serve(listen)?;
    }
    let mut stopped = signals()?;

    let shared = Arc::new(Shared::new(Clock::start(), None));
    let hosts = hosts::start(&config, &shared)?;
    let mut store = IntentStore::new(&config.node, &config.state_directory());
    let intent_error = match store.load(&config.intent.files, &shared) {
        Ok(true) => None,
        Ok(false) => {
            info!("no intent was applied yet: nothing is forwarded");
            None
        }
        // Not a reason to stay away: then nobody could apply a better one.
        Err(problem) => {
            error!("nothing is forwarded until intent is applied: {problem}");
            Some(problem.to_string())
        }
    };

    let (asker, loop_end) = questions();
    let (started, starting) = oneshot::channel();
    let data_plane = start_data_plane(config.clone(), shared.clone(), loop_end, started)?;
    if starting.await.is_err() {
        return finish(data_plane).await;
    }
    info!(node = config.node, socket = %config.api.socket.display(), "running");

    let asker = Arc::new(asker);
    let control = Control {
        shared: shared.clone(),
        asker: asker.clone(),
        store: Arc::new(Mutex::new(store)),
        node: config.node.into(),
        intent_error: Arc::new(Mutex::new(intent_error)),
        hosts: hosts.clone(),
    };
    let figures = tokio::spawn(telemetry::keep_up(shared.clone(), asker.clone(), hosts));
    let probes = tokio::spawn(health::keep_up(shared.clone(), asker));
    let ended = data_plane.ended.clone();
    let until = async move {
        let mut ended = ended;
        tokio::select! {
            _ = stopped.changed() => info!("stopping"),
            _ = ended.changed() => {}
        }
    };
    let served = serve_api(control, listener, until).await;
    figures.abort();
    probes.abort();
    shared.stop();
    finish(data_plane).await?;
    Ok(served?)
}

/// Answers the control API until `until` is over.
async fn serve_api(
    control: Control,
    listener: UnixListener,
    until: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = DpuServer::new(control)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let server = tonic::transport::Server::builder().add_service(service);
    let incoming = UnixListenerStream::new(listener);
    // Calls that are under way when it is time to stop end with their connection.
    tokio::select! {
        result = server.serve_with_incoming(incoming) => result,
        () = until => Ok(()),
    }
}

/// Changes once the daemon should stop.
fn signals() -> Result<watch::Receiver<()>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Signals)?;
    let (stop, stopped) = watch::channel(());
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(());
    });
    Ok(stopped)
}

/// The data plane's thread.
struct DataPlane {
    thread: JoinHandle<Result<(), StartError>>,
    /// Changes, or is closed, when the thread ends.
    ended: watch::Receiver<()>,
}

fn start_data_plane(
    config: Config,
    shared: Arc<Shared>,
    questions: rtrb::Consumer<question::Question>,
    started: oneshot::Sender<()>,
) -> Result<DataPlane, Failure> {
    let (end, ended) = watch::channel(());
    let body = move || {
        // Dropped when the thread ends, whatever ends it.
        let _end = end;
        dataplane::run(&config, &shared, questions, || {
            // Nobody waits any more when the daemon is stopping already.
            let _ = started.send(());
        })
    };
    let thread =
        std::thread::Builder::new().name("datapath".into()).spawn(body).map_err(Failure::Thread)?;
    Ok(DataPlane { thread, ended })
}

/// Waits for the data plane to end.
async fn finish(data_plane: DataPlane) -> Result<(), Failure> {
    match tokio::task::spawn_blocking(|| data_plane.thread.join()).await {
        Ok(Ok(result)) => Ok(result?),
        Ok(Err(_)) | Err(_) => Err(Failure::DataPlanePanicked),
    }
}
