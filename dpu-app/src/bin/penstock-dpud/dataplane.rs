//! The data plane: DPDK, ports, the datapath's loop and the NIC's thread, from start to end.

use std::collections::{BTreeMap, VecDeque};

use dpu_app::datapath::Port as PortName;
use thiserror::Error;
use tracing::{info, warn};

use crate::config::Config;
use crate::dpdk::{DpdkError, Eal, PacketPool, Port, PortSettings, StoppedPort, devices};
use crate::eal_arguments::{Machine, eal_arguments};
use crate::nic_thread::{self, Offload};
use crate::offload_link::OffloadLink;
use crate::offload_plan::OffloadPlan;
use crate::port_map::{PortMapError, port_map};
use crate::question::Question;
use crate::shared::Shared;
use crate::worker::Worker;

/// Bytes of a frame around its IP packet: Ethernet header and a VLAN tag.
const FRAME_OVERHEAD: u16 = 14 + 4;
/// The room for a frame that DPDK's drivers expect at least.
const FRAME_ROOM: u16 = 2048;
/// Buffers for packets on their way through, beside those that wait in queues.
const PACKETS_IN_FLIGHT: u32 = 4096;

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
    let mut stopped = Vec::new();
    for (name, device) in map {
        stopped.push((name, StoppedPort::set_up(device, settings, &pool)?));
    }
    // In the order of their numbers: a NIC's own port starts before its representors, and stops after them.
    stopped.sort_unstable_by_key(|(_, port)| port.device().id);
    let plan = OffloadPlan::new(&config.offload, &stopped);
    let mut ports = VecDeque::new();
    for (name, port) in stopped {
        let device = port.device();
        info!(port = %name, device = device.name, driver = device.driver, "port starts");
        // Dropped from the front.
        ports.push_front((name, port.start()?));
    }
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
    let mut settings = config.datapath;
    let link = match &offload {
        Ok(Offload { nic, settings: timing, .. }) => {
            info!(profile = nic.profile().name, "offload is on");
            settings.timeouts.counter_delay = timing.counter_delay(nic.profile());
            Some(link)
        }
        Err(reason) => {
            warn!("offload is off: {reason}");
            None
        }
    };
    let queues =
        by_name.iter().filter_map(|(name, port)| Some((*name, (port.device().id, port.queues()?))));
    let worker = Worker::new(shared, &pool, queues.collect(), settings, link, questions);
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("nic".into())
            .spawn_scoped(scope, || nic_thread::run(shared, &by_name, offload))
            .map_err(StartError::Thread)?;
        started();
        worker.run();
        Ok(())
    })
}

/// Buffers that are enough for full queues everywhere.
fn packets(settings: PortSettings, ports: usize) -> u32 {
    let queued = u32::from(settings.rx_descriptors) + u32::from(settings.tx_descriptors);
    let ports = u32::try_from(ports).unwrap_or(dpdk_sys::RTE_MAX_ETHPORTS);
    queued.saturating_mul(ports).saturating_add(PACKETS_IN_FLIGHT)
}
