//! The queue of operations on rules, which a port must be given before it starts.

use ::rte_flow::{ActionKind, FlowError};
use dpdk_sys::{rte_flow_port_attr, rte_flow_port_info, rte_flow_queue_attr, rte_flow_queue_info};
use rte_flow_compiler::{Nic, TableTemplate, templates};

use super::refusal::Refusal;
use super::table::capacity;
use crate::dpdk::StoppedPort;

/// Operations that may be in flight, where the NIC allows as many: enough to keep a card busy between two looks at it.
const SIZE: u32 = 1024;

/// The one flow queue of a port.
pub struct FlowQueue {
    /// The port.
    pub(super) port: u16,
    /// How many operations it holds.
    pub(super) size: u32,
}

impl FlowQueue {
    /// The queue's number.
    pub(super) const NUMBER: u32 = 0;

    /// Gives a port that takes no rules a queue: with hardware steering none starts without, once its proxy has one.
    ///
    /// # Errors
    /// As for [`FlowQueue::configure`].
    pub fn configure_idle(port: &StoppedPort<'_>) -> Result<(), FlowError> {
        Self::with_counters(port, 0).map(drop)
    }

    /// Gives `port` a queue, and the counters that rules of `nic` need, or as many as there are.
    ///
    /// # Errors
    /// The NIC's refusal: it has no templates, or the port cannot have the queue.
    pub fn configure(port: &StoppedPort<'_>, nic: &Nic) -> Result<Self, FlowError> {
        Self::with_counters(port, counters(nic))
    }

    fn with_counters(port: &StoppedPort<'_>, counters: u32) -> Result<Self, FlowError> {
        let id = port.device().id;
        let (can, queue_can) = limits(id)?;
        let size = SIZE.min(queue_can.max_size);
        let attributes = rte_flow_port_attr {
            nb_counters: counters.min(can.max_nb_counters),
            nb_aging_objects: 0,
            nb_meters: 0,
            nb_conn_tracks: 0,
            flags: 0,
        };
        let queue = rte_flow_queue_attr { size };
        let mut queues = [&raw const queue];
        let mut refusal = Refusal::default();
        // SAFETY: the port is configured and stopped; attributes of as many queues live until the call is over.
        let result = unsafe {
            dpdk_sys::rte_flow_configure(
                id,
                &raw const attributes,
                1,
                queues.as_mut_ptr(),
                refusal.as_mut_ptr(),
            )
        };
        if result != 0 {
            return Err(refusal.read(-result, None));
        }
        Ok(Self { port: id, size })
    }
}

/// How many counters the rules of all tables can need.
fn counters(nic: &Nic) -> u32 {
    let counts = |template: &&TableTemplate| {
        template.actions.actions.iter().any(|action| action.kind() == ActionKind::Count)
    };
    let all: u64 = templates(nic).iter().filter(counts).map(|t| u64::from(capacity(nic, t))).sum();
    let most = nic.profile().limits.counters.unwrap_or(u64::MAX);
    u32::try_from(all.min(most)).unwrap_or(u32::MAX)
}

/// What the port can have.
fn limits(id: u16) -> Result<(rte_flow_port_info, rte_flow_queue_info), FlowError> {
    let mut port = rte_flow_port_info {
        max_nb_queues: 0,
        max_nb_counters: 0,
        max_nb_aging_objects: 0,
        max_nb_meters: 0,
        max_nb_conn_tracks: 0,
        supported_flags: 0,
    };
    let mut queue = rte_flow_queue_info { max_size: 0 };
    let mut refusal = Refusal::default();
    // SAFETY: there is room for what the port can do, and for the error.
    let result = unsafe {
        dpdk_sys::rte_flow_info_get(id, &raw mut port, &raw mut queue, refusal.as_mut_ptr())
    };
    if result == 0 { Ok((port, queue)) } else { Err(refusal.read(-result, None)) }
}
