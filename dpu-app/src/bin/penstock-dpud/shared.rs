//! What the threads of the daemon share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use dpu_app::datapath::Time;
use model::snapshot::Snapshot;

use crate::clock::Clock;
use crate::health::Health;
use crate::nic_status::NicStatus;
use crate::refusals::Refusals;
use crate::rule_listing::RuleListing;

/// How long the datapath's loop may take before the daemon counts as dead. Idle, it moves at least once a millisecond.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Shared {
    /// The clock.
    pub clock: Clock,
    /// What the datapath works by; none before intent was applied for the first time.
    pub snapshot: ArcSwapOption<Snapshot>,
    /// What was last heard of ports and offload.
    pub nic: ArcSwap<NicStatus>,
    /// What the last packet that asked whether the datapath works met with.
    pub health: ArcSwap<Health>,
    /// What the NIC said of connections it refused.
    pub refusals: Refusals,
    /// Who asks for the NIC's rules.
    pub rules: RuleListing,
    /// Whether the NIC is gone: from its removal or reset until its ports can be started again.
    pub nic_gone: AtomicBool,
    stop: AtomicBool,
    heartbeat: AtomicU64,
    rounds: AtomicU64,
}

impl Shared {
    /// For a daemon with this snapshot, whose NIC is yet to be heard of.
    pub fn new(clock: Clock, snapshot: Option<Arc<Snapshot>>) -> Self {
        Self {
            clock,
            snapshot: ArcSwapOption::new(snapshot),
            nic: ArcSwap::default(),
            health: ArcSwap::default(),
            refusals: Refusals::default(),
            rules: RuleListing::default(),
            nic_gone: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            heartbeat: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        }
    }

    /// Asks all threads to come to an end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether they should.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether the NIC is gone.
    pub fn is_nic_gone(&self) -> bool {
        self.nic_gone.load(Ordering::Acquire)
    }

    /// The datapath's loop begins another round.
    pub fn beat(&self, now: Time) {
        self.heartbeat.store(now.0, Ordering::Relaxed);
        // One writer: no need for an atomic addition.
        let rounds = self.rounds.load(Ordering::Relaxed).wrapping_add(1);
        self.rounds.store(rounds, Ordering::Release);
    }

    /// How many rounds the loop has begun.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// How long ago the loop began its last round.
    pub fn heartbeat_age(&self) -> Duration {
        self.clock.now() - Time(self.heartbeat.load(Ordering::Relaxed))
    }

    /// Whether the loop moves.
    pub fn is_alive(&self) -> bool {
        self.rounds() > 0 && self.heartbeat_age() < HEARTBEAT_LIMIT
    }
}
