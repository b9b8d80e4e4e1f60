//! What is known of the NIC: its ports, and what is offloaded to it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use dpu_app::datapath::Port;
use dpu_app::offload::{InDoubt, RuleCounters, RuleTally};
use packet::Mac;
use rte_flow_compiler::Nic;

use crate::dpdk::PortStats;

/// The NIC, a moment ago.
#[derive(Debug, Clone, Default)]
pub struct NicStatus {
    /// Its ports.
    pub ports: BTreeMap<Port, PortStatus>,
    /// What is offloaded.
    pub offload: OffloadStatus,
}

/// A port.
#[derive(Debug, Clone)]
pub struct PortStatus {
    /// DPDK's name.
    pub device: String,
    /// Its driver's name.
    pub driver: String,
    /// Whether its link is up.
    pub link_up: bool,
    /// What it counted.
    pub stats: PortStats,
}

/// What rules are made for and from, besides intent.
#[derive(Debug, Clone)]
pub struct Target {
    /// The NIC.
    pub nic: Arc<Nic>,
    /// The neighbours on the underlay that were learned.
    pub neighbors: Arc<HashMap<IpAddr, Mac>>,
}

/// What is offloaded.
#[derive(Debug, Clone, Default)]
pub struct OffloadStatus {
    /// What rules are made for; none where nothing is offloaded.
    pub target: Option<Target>,
    /// Why nothing is, if so.
    pub disabled: Option<String>,
    /// The profile that rules are made for.
    pub profile: String,
    /// How many rules there are.
    pub rules: RuleTally,
    /// What rules of connections carried.
    pub carried: RuleCounters,
    /// Refusals by their reason's name.
    pub failures: BTreeMap<&'static str, u64>,
    /// Wishes and notices that wait in the queues between datapath and offload.
    pub queued: QueueDepths,
}

/// Rules in doubt, by what is amiss, as metrics and the control API name it.
pub fn doubts(in_doubt: InDoubt) -> [(&'static str, u64); 3] {
    let InDoubt { inserting, removing, stranded } = in_doubt;
    [
        ("insertion_unanswered", inserting as u64),
        ("removal_unanswered", removing as u64),
        ("removal_failed", stranded as u64),
    ]
}

/// How much waits between datapath and offload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepths {
    /// From the datapath.
    pub wishes: u64,
    /// To the datapath.
    pub notices: u64,
}
