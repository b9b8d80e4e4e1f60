//! The data plane: DPDK, ports, the datapath's loop and the NIC's thread, from start to end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dpu_app::datapath::Port as PortName;
use thiserror::Error;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::dpdk::{DpdkError, Eal, PacketPool, Port, PortSettings, StoppedPort, devices};
use crate::eal_arguments::{Machine, eal_arguments};
use crate::nic_thread::{self, Offload};
use crate::offload_link::OffloadLink;
use crate::offload_plan::OffloadPlan;
use crate::port_map::{PortMapError, port_map};
use crate::question::Question;
use crate::shared::Shared;
use crate::worker::{Datapath, Worker};

/// Bytes of a frame around its IP packet: Ethernet header and a VLAN tag.
const FRAME_OVERHEAD: u16 = 14 + 4;
/// The room for a frame that DPDK's drivers expect at least.
const FRAME_ROOM: u16 = 2048;
/// Buffers for packets on their way through, beside those that wait in queues.
const PACKETS_IN_FLIGHT: u32 = 4096;

/// How long to wait before the ports of a NIC that is gone are first started again; doubled each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why the data plane does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// DPDK does not start, or a port does not.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// It cannot be said which port is which.
    #[error(transparent)]
    Ports(#[from] PortMapError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Runs the data plane on this thread, which becomes DPDK's main lcore, until the daemon stops. `started` is called when
/// packets begin to flow.
///
/// # Errors
/// Why it does not start.
pub fn run(
    config: &Config,
    shared: &Shared,
    questions: rtrb::Consumer<Question>,
    started: impl FnOnce(),
) -> Result<(), StartError> {
    let arguments = eal_arguments(config, &Machine::read());
    info!(arguments = arguments.join(" "), "DPDK starts");
    let eal = Eal::init(&arguments)?;
    let map = port_map(&devices(&eal)?, &config.ports.names)?;
    let settings = PortSettings {
        mtu: config.ports.mtu,
        rx_descriptors: config.ports.rx_descriptors,
        tx_descriptors: config.ports.tx_descriptors,
    };
    let pool = PacketPool::new(
        &eal,
        packets(settings, map.len()),
        settings.mtu.saturating_add(FRAME_OVERHEAD).max(FRAME_ROOM),
    )?;
    let mut ports = Vec::new();
    for (name, device) in map {
        ports.push((name, StoppedPort::set_up(device, settings, &pool, &shared.nic_gone)?));
    }
    // In the order of their numbers: a NIC's own port starts before its representors, and stops after them.
    ports.sort_unstable_by_key(|(_, port)| port.device().id);
    let mut plan = OffloadPlan::new(&config.offload, &ports);
    let mut settings = config.datapath;
    if let Ok(plan) = &plan {
        settings.timeouts.counter_delay = config.offload.timing.counter_delay(plan.profile());
    }
    let mut datapath = Datapath::new(shared.clock.now(), settings, questions);
    let mut running = start(ports).map_err(|(_, error)| error)?;
    started();
    loop {
        datapath = forward(config, shared, &pool, &running, plan, datapath)?;
        ports = stop(running);
        if shared.is_stopping() {
            break;
        }
        warn!("the NIC is gone, and all rules with it; no packet moves until it is back");
        datapath.lose_nic(shared.clock.now());
        nic_thread::note_absence(shared);
        let mut pause = SHORTEST_PAUSE;
        running = loop {
            datapath = wait(shared, &pool, pause, datapath);
            if shared.is_stopping() {
                close(ports);
                return Ok(());
            }
            shared.nic_gone.store(false, Ordering::Release);
            plan = OffloadPlan::new(&config.offload, &ports);
            match start(ports) {
                Ok(running) => break running,
                Err((stopped, error)) => {
                    debug!("the NIC is not back: {error}");
                    ports = stopped;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        };
        info!("the NIC is back; its rules are made anew");
        datapath.regain_nic();
    }
    close(ports);
    Ok(())
}

/// Ports by name, in the order in which they start.
type Stopped<'p> = Vec<(PortName, StoppedPort<'p>)>;
/// Ports by name, in the order in which they stop.
type Running<'p> = VecDeque<(PortName, Port<'p>)>;

/// Starts all ports, or none.
fn start(ports: Stopped<'_>) -> Result<Running<'_>, (Stopped<'_>, DpdkError)> {
    let mut running = VecDeque::new();
    let mut ports = ports.into_iter();
    while let Some((name, port)) = ports.next() {
        match port.start() {
            Ok(port) => {
                let device = port.device();
                info!(port = %name, device = device.name, driver = device.driver, "port has started");
                running.push_front((name, port));
            }
            Err((port, error)) => {
                let mut stopped = stop(running);
                stopped.push((name, port));
                stopped.extend(ports);
                return Err((stopped, error));
            }
        }
    }
    Ok(running)
}

fn stop(ports: Running<'_>) -> Stopped<'_> {
    let mut stopped: Vec<_> = ports.into_iter().map(|(name, port)| (name, port.stop())).collect();
    stopped.reverse();
    stopped
}

/// Closes ports, representors before the port of their NIC.
fn close(mut ports: Stopped<'_>) {
    while ports.pop().is_some() {}
}

/// Forwards, until the daemon stops or the NIC is gone.
fn forward<'p>(
    config: &Config,
    shared: &'p Shared,
    pool: &'p PacketPool<'_>,
    ports: &'p Running<'_>,
    plan: Result<OffloadPlan, String>,
    datapath: Datapath,
) -> Result<Datapath, StartError> {
    let by_name: BTreeMap<PortName, &Port<'_>> = ports.iter().map(|(n, p)| (*n, p)).collect();
    let (link, far_end) = OffloadLink::new();
    let offload = plan.and_then(|plan| plan.carry_out(by_name.values().copied()));
    let offload = offload.map(|(rules, nic)| Offload {
        rules,
        nic,
        settings: config.offload.timing,
        wishes: far_end.wishes,
        notices: far_end.notices,
    });
    let link = match &offload {
        Ok(Offload { nic, .. }) => {
            info!(profile = nic.profile().name, "offload is on");
            Some(link)
        }
        Err(reason) => {
            warn!("offload is off: {reason}");
            None
        }
    };
    let queues =
        by_name.iter().filter_map(|(name, port)| Some((*name, (port.device().id, port.queues()?))));
    let worker = Worker::new(shared, pool, queues.collect(), datapath, link);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("nic".into())
            .spawn_scoped(scope, || nic_thread::run(shared, &by_name, offload))
            .map_err(StartError::Thread)?;
        Ok(worker.run(|| shared.is_stopping() || shared.is_nic_gone()))
    })
}

/// Keeps connections and answers questions about them for a while without ports.
fn wait(shared: &Shared, pool: &PacketPool<'_>, pause: Duration, datapath: Datapath) -> Datapath {
    let end = shared.clock.now() + pause;
    let worker = Worker::new(shared, pool, BTreeMap::new(), datapath, None);
    worker.run(|| shared.is_stopping() || shared.clock.now() >= end)
}

/// Buffers that are enough for full queues everywhere.
fn packets(settings: PortSettings, ports: usize) -> u32 {
    let queued = u32::from(settings.rx_descriptors) + u32::from(settings.tx_descriptors);
    let ports = u32::try_from(ports).unwrap_or(dpdk_sys::RTE_MAX_ETHPORTS);
    queued.saturating_mul(ports).saturating_add(PACKETS_IN_FLIGHT)
}
