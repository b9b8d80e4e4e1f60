//! The thread that deals with the NIC where that takes time: rules in and out, counters, the state of ports.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dpu_app::datapath::{Port as PortName, Time};
use dpu_app::offload::{
    InDoubt, Manager, News, Notice, OffloadSettings, Reply, Request, RuleCounters, RuleTally, Wish,
    dumped_node, tunnel_header,
};
use model::snapshot::Snapshot;
use packet::Mac;
use rte_flow::FlowError;
use rte_flow_compiler::{Nic, NotOffloaded, Refusal};
use rtrb::{Consumer, Producer};
use tracing::{debug, error, info, trace, warn};

use crate::dpdk::{Port, RuleHandle, Rules};
use crate::nic_status::{NicStatus, OffloadStatus, PortStatus, QueueDepths, Target};
use crate::shared::Shared;

/// Wishes between datapath and offload that may wait.
pub const WISHES: usize = 4096;
/// Notices that may wait.
pub const NOTICES: usize = 4096;
/// Wishes that are seen to at a time, and requests to the NIC.
const BATCH: usize = 256;
/// How long the NIC may keep the thread in a round, in which nobody else is listened to.
const ROUND: Duration = Duration::from_millis(5);
/// How often ports are looked at.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How long to rest when there is nothing to do.
const REST: Duration = Duration::from_micros(500);

/// What the datapath's loop tells this thread.
#[derive(Debug)]
pub enum ToNic {
    /// What to do about a connection.
    Wish(Wish),
    /// Another set of neighbours on the underlay.
    Neighbors(HashMap<IpAddr, Mac>),
}

/// Everything that offload takes.
pub struct Offload<'p> {
    /// The NIC's rules.
    pub rules: Rules<'p>,
    /// What they are made for.
    pub nic: Arc<Nic>,
    /// How the manager deals with it.
    pub settings: OffloadSettings,
    /// From the datapath's loop.
    pub wishes: Consumer<ToNic>,
    /// To it.
    pub notices: Producer<Notice>,
}

/// See the module. `disabled` says why there is no offload. Runs until the daemon stops or the NIC is gone.
pub fn run<'p>(
    shared: &Shared,
    ports: &BTreeMap<PortName, &'p Port<'p>>,
    offload: Result<Offload<'p>, String>,
) {
    let before = shared.nic.load().offload.clone();
    let (mut offloader, disabled) = match offload {
        Ok(offload) => (Some(Offloader::new(offload, before)), None),
        Err(reason) => (None, Some(reason)),
    };
    let mut next_status = Time::ZERO;
    while !shared.is_stopping() && !shared.is_nic_gone() {
        let now = shared.clock.now();
        let worked = offloader.as_mut().is_some_and(|offloader| offloader.round(now, shared));
        if now >= next_status {
            next_status = now + STATUS_INTERVAL;
            // Not every driver tells by itself.
            if ports.values().any(|port| port.is_gone()) {
                shared.nic_gone.store(true, Ordering::Release);
            }
            let offload = match &offloader {
                Some(offloader) => offloader.status(),
                None => OffloadStatus { disabled: disabled.clone(), ..OffloadStatus::default() },
            };
            note_doubt(shared.nic.load().offload.rules.in_doubt, offload.rules.in_doubt);
            shared.nic.store(Arc::new(NicStatus { ports: status_of(ports), offload }));
        }
        if !worked {
            std::thread::sleep(REST);
        }
    }
}

/// Says what is left of the NIC while it is gone.
pub fn note_absence(shared: &Shared) {
    let before = NicStatus::clone(&shared.nic.load());
    let down = |(name, port): (_, PortStatus)| (name, PortStatus { link_up: false, ..port });
    let offload = OffloadStatus {
        disabled: Some(
            "the NIC was reset or removed; its ports start again when it is back".into(),
        ),
        target: None,
        rules: RuleTally::default(),
        queued: QueueDepths::default(),
        ..before.offload
    };
    let ports = before.ports.into_iter().map(down).collect();
    shared.nic.store(Arc::new(NicStatus { ports, offload }));
    shared.refusals.forget_all();
}

fn status_of(ports: &BTreeMap<PortName, &Port<'_>>) -> BTreeMap<PortName, PortStatus> {
    let status = |port: &Port<'_>| PortStatus {
        device: port.device().name.clone(),
        driver: port.device().driver.clone(),
        link_up: port.link_is_up(),
        stats: port.stats(),
    };
    ports.iter().map(|(name, port)| (*name, status(port))).collect()
}

struct Offloader<'p> {
    rules: Rules<'p>,
    nic: Arc<Nic>,
    settings: OffloadSettings,
    wishes: Consumer<ToNic>,
    notices: Producer<Notice>,
    stage: Stage,
    neighbors: Arc<HashMap<IpAddr, Mac>>,
    batch: Vec<Wish>,
    carried: RuleCounters,
    failures: BTreeMap<&'static str, u64>,
}

/// Whether there is something to offload by.
enum Stage {
    /// No intent yet.
    Waiting,
    Running {
        manager: Box<Manager<RuleHandle>>,
        snapshot: Arc<Snapshot>,
    },
}

impl<'p> Offloader<'p> {
    /// `before` is what was done before the NIC's ports were started again.
    fn new(offload: Offload<'p>, before: OffloadStatus) -> Self {
        let Offload { rules, nic, settings, wishes, notices } = offload;
        Self {
            rules,
            nic,
            settings,
            wishes,
            notices,
            stage: Stage::Waiting,
            neighbors: Arc::default(),
            batch: Vec::with_capacity(BATCH),
            carried: before.carried,
            failures: before.failures,
        }
    }

    /// Does what there is to do now; whether there was anything.
    fn round(&mut self, now: Time, shared: &Shared) -> bool {
        let mut neighbors_changed = false;
        while self.batch.len() < BATCH {
            match self.wishes.pop() {
                Ok(ToNic::Wish(wish)) => self.batch.push(wish),
                Ok(ToNic::Neighbors(neighbors)) => {
                    self.neighbors = Arc::new(neighbors);
                    neighbors_changed = true;
                }
                Err(_) => break,
            }
        }
        // Read after the wishes were taken, so that it is at least as new as what they were made by.
        let Some(snapshot) = shared.snapshot.load_full() else {
            // There is nothing to list, either.
            return shared.rules.answer(|portion| portion.is_last = true);
        };
        self.follow(snapshot, neighbors_changed);
        let Stage::Running { manager, .. } = &mut self.stage else {
            return false;
        };
        let mut worked = !self.batch.is_empty();
        for wish in self.batch.drain(..) {
            if let Wish::Withdraw(connection, direction) = wish {
                shared.refusals.forget(connection, direction);
            }
            wish.tell(manager);
        }
        manager.advance(now);
        for _ in 0..BATCH {
            let begun = shared.clock.now();
            if !self.rules.has_room() || begun - now > ROUND {
                break;
            }
            let Some((ticket, request)) = manager.next_request(begun) else { break };
            worked = true;
            if let Request::Insert(rule) = &request {
                trace!("{rule}");
            }
            self.rules.execute(ticket, request);
        }
        self.rules.push();
        let now = shared.clock.now();
        while let Some((ticket, reply)) = self.rules.next_reply() {
            worked = true;
            note_failure(&reply, &mut self.failures);
            manager.complete(now, ticket, reply);
        }
        worked | self.pass_on(shared) | self.list(shared)
    }

    /// Tells a portion of the rules to whoever asks.
    fn list(&self, shared: &Shared) -> bool {
        let Stage::Running { manager, snapshot } = &self.stage else {
            return false;
        };
        shared.rules.answer(|portion| {
            if portion.node.is_none() {
                portion.node = Some(dumped_node(snapshot, manager.nic(), &self.neighbors));
            }
            let places = portion.places(manager.places());
            portion.rules.extend(manager.rules_in_nic(places));
        })
    }

    /// Follows the snapshot and the neighbours.
    fn follow(&mut self, snapshot: Arc<Snapshot>, neighbors_changed: bool) {
        let is_new = match &mut self.stage {
            Stage::Waiting => {
                let nic = self.nic.clone();
                let manager = Box::new(Manager::new(nic, self.settings, snapshot.clone()));
                self.stage = Stage::Running { manager, snapshot: snapshot.clone() };
                true
            }
            Stage::Running { snapshot: current, .. } => current.epoch != snapshot.epoch,
        };
        if !is_new && !neighbors_changed {
            return;
        }
        if let Stage::Running { manager, snapshot: current } = &mut self.stage {
            let header = |tunnel| tunnel_header(&snapshot, &self.neighbors, tunnel);
            manager.set_snapshot(snapshot.clone(), header);
            *current = snapshot;
        }
    }

    /// Passes notices on to the datapath as long as there is room; the rest waits with the manager.
    fn pass_on(&mut self, shared: &Shared) -> bool {
        let Stage::Running { manager, .. } = &mut self.stage else {
            return false;
        };
        let mut worked = false;
        while self.notices.slots() > 0 {
            let Some(mut notice) = manager.next_notice() else { break };
            worked = true;
            let (connection, direction) = (notice.connection, notice.direction);
            match &mut notice.news {
                News::InHardware => shared.refusals.forget(connection, direction),
                News::Carried(carried) => {
                    self.carried.packets = self.carried.packets.wrapping_add(carried.packets);
                    self.carried.bytes = self.carried.bytes.wrapping_add(carried.bytes);
                }
                News::InSoftware(reason) => {
                    shared.refusals.note(connection, direction, reason);
                    debug!(?connection, ?direction, %reason, "not in hardware");
                    if matches!(reason, NotOffloaded::NoEffect) {
                        note_no_effect(&mut self.failures);
                    }
                    strip(reason);
                }
                News::Watched => {}
            }
            // There is room, as nobody else fills the ring.
            let _ = self.notices.push(notice);
        }
        worked
    }

    fn status(&self) -> OffloadStatus {
        let rules = match &self.stage {
            Stage::Waiting => RuleTally::default(),
            Stage::Running { manager, .. } => manager.rules(),
        };
        let Self { nic, neighbors, .. } = self;
        OffloadStatus {
            target: Some(Target { nic: nic.clone(), neighbors: neighbors.clone() }),
            disabled: None,
            profile: nic.profile().name.clone(),
            rules,
            carried: self.carried,
            failures: self.failures.clone(),
            queued: QueueDepths {
                wishes: self.wishes.slots() as u64,
                notices: NOTICES.saturating_sub(self.notices.slots()) as u64,
            },
        }
    }
}

/// Takes the texts out of a reason: the datapath has no use for them, and must not free memory.
fn strip(reason: &mut NotOffloaded) {
    match reason {
        NotOffloaded::Refused(error) | NotOffloaded::Illegal(Refusal::Rule(error)) => {
            error.message = "".into();
        }
        NotOffloaded::StaticPart(text) => *text = None,
        _ => {}
    }
}

/// Tells the operator that rules are in doubt, and when they no longer are.
fn note_doubt(before: InDoubt, now: InDoubt) {
    let nothing = InDoubt::default();
    let InDoubt { inserting, removing, stranded } = now;
    if before == nothing && now != nothing {
        error!(
            inserting,
            removing,
            stranded,
            "the NIC does not say what became of rules, which may go on forwarding; restart the daemon to remove them"
        );
    } else if before != nothing && now == nothing {
        info!("the NIC has said what became of all rules");
    }
}

/// Counts a refusal.
fn note_failure(reply: &Reply<RuleHandle>, failures: &mut BTreeMap<&'static str, u64>) {
    let (operation, error) = match reply {
        Reply::Inserted(Err(error)) => ("insert", error),
        Reply::Removed(Err(error)) => ("remove", error),
        // A counter that cannot be read now is read another time; a stranded rule is seen among those in doubt.
        Reply::Inserted(Ok(_)) | Reply::Removed(Ok(_)) | Reply::Stranded(_) | Reply::Counted(_) => {
            return;
        }
    };
    let count = failures.entry(failure_name(error)).or_default();
    *count = count.wrapping_add(1);
    // The first one of a kind is news to the operator; thousands are not.
    if *count == 1 {
        info!(operation, errno = error.errno, kind = ?error.kind, "the NIC refused: {error}");
    }
}

/// Counts a rule without effect.
fn note_no_effect(failures: &mut BTreeMap<&'static str, u64>) {
    let count = failures.entry(NotOffloaded::NoEffect.name()).or_default();
    *count = count.wrapping_add(1);
    if *count == 1 {
        warn!(
            "{}: such connections stay in software, `penstock flows` calls them no_effect",
            NotOffloaded::NoEffect
        );
    }
}

/// What a refusal is called in metrics.
fn failure_name(error: &FlowError) -> &'static str {
    match error.errno {
        rte_flow::ENOSPC | rte_flow::ENOMEM => "no_space",
        rte_flow::ENOTSUP => "not_supported",
        rte_flow::EINVAL => "invalid",
        rte_flow::EEXIST => "exists",
        rte_flow::EBUSY => "busy",
        rte_flow::EAGAIN => "again",
        _ => "other",
    }
}
