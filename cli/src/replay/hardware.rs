//! The hardware path of replay: offload manager and simulated NIC, between the ports and the datapath.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use dpu_app::datapath::{Port, Shard, Time};
use dpu_app::offload::{
    Manager, Notice, OffloadSettings, RuleOwner, Wish, dumped_node, tunnel_header,
};
use model::snapshot::{Snapshot, VfIndex};
use packet::Frame;
use rte_flow::{FlowError, Profile};
use rte_flow_compiler::{EthdevPort, Nic, Ports};
use sim::eswitch::{DropCause, Eswitch, Faults, PortConfig, PortError, PortRole, RuleId, Verdict};
use thiserror::Error;
use verify::Dump;

use super::nic::SimulatedNic;

/// The simulated NIC cannot be set up.
#[derive(Debug, Error)]
pub enum HardwareError {
    /// Its ports.
    #[error(transparent)]
    Ports(#[from] PortError),
    /// Its tables.
    #[error("the profile does not take the NIC's tables: {0}")]
    Tables(#[from] FlowError),
    /// More VFs than there are port identifiers.
    #[error("the intent uses vf{0}; a simulated NIC has VFs 0 to 65533")]
    TooManyVfs(u16),
}

/// The NIC that connections move into.
#[derive(Debug, Clone)]
pub struct Card {
    /// What it accepts, and how fast it is.
    pub profile: Profile,
    /// What goes wrong in it.
    pub faults: Faults,
}

impl From<Profile> for Card {
    fn from(profile: Profile) -> Self {
        Self { profile, faults: Faults::default() }
    }
}

/// What became of a frame in the NIC.
pub enum Carried {
    /// It left by a port.
    Forwarded(Port),
    /// It is software's, as if it came in at this port.
    Missed(Port),
    /// It was longer than the port it was to leave by takes.
    Oversize,
    /// The NIC lost it. No rule of ours does that.
    Lost,
}

/// See the module.
pub struct Hardware {
    manager: Manager<RuleId>,
    nic: SimulatedNic,
    snapshot: Arc<Snapshot>,
    /// The version of the learned neighbours that the tunnels' rules were made with.
    neighbors: u64,
    settings: OffloadSettings,
    /// How late counters tell of a packet. Zero: they show it at once, and are read whenever one moved.
    counter_delay: Duration,
    /// Until when a counter may tell something new.
    news_until: Time,
    notices: Vec<Notice>,
}

const UPLINK: EthdevPort = EthdevPort(0);

fn vf_port(vf: VfIndex) -> EthdevPort {
    EthdevPort(vf.0.saturating_add(1))
}

/// The ports of a simulated NIC with these VFs.
#[must_use]
pub fn simulated_ports(vfs: impl IntoIterator<Item = VfIndex>) -> Ports {
    let vfs = vfs.into_iter().map(|vf| (vf, vf_port(vf))).collect();
    Ports { uplink: UPLINK, vfs }
}

fn port_of(ethdev: u16) -> Port {
    ethdev.checked_sub(1).map_or(Port::Uplink, |vf| Port::Vf(VfIndex(vf)))
}

impl Hardware {
    /// A NIC with a port for each VF in any of the snapshots.
    ///
    /// # Errors
    /// [`HardwareError`].
    pub fn new<'a>(
        card: Card,
        first: Arc<Snapshot>,
        all: impl Iterator<Item = &'a Snapshot>,
    ) -> Result<Self, HardwareError> {
        let vfs: BTreeSet<VfIndex> =
            all.flat_map(|s| s.interfaces.values()).map(|interface| interface.vf).collect();
        if let Some(vf) = vfs.iter().find(|vf| vf.0 > u16::MAX - 2) {
            return Err(HardwareError::TooManyVfs(vf.0));
        }
        let Card { profile, faults } = card;
        let settings = OffloadSettings::default();
        let counter_delay = settings.counter_delay(&profile);
        // Where rules look at lengths, no port needs to.
        let uplink_mtu =
            if profile.can_match_length() { u16::MAX } else { first.node.underlay_mtu };
        let port = |id: EthdevPort, role, mtu| PortConfig { id: id.0, role, mtu };
        let mut configs = vec![port(UPLINK, PortRole::Uplink, uplink_mtu)];
        configs.extend(vfs.iter().map(|vf| port(vf_port(*vf), PortRole::Vf(vf.0), u16::MAX)));
        let mut switch = Eswitch::new(profile.clone(), &configs)?;
        switch.set_faults(faults);
        let nic = Arc::new(Nic::new(Arc::new(profile), simulated_ports(vfs)));
        let simulated = SimulatedNic::new(switch, &nic)?;
        let mut hardware = Self {
            manager: Manager::new(nic, settings, Arc::clone(&first)),
            nic: simulated,
            snapshot: first,
            neighbors: 0,
            settings,
            counter_delay,
            news_until: Time::ZERO,
            notices: Vec::new(),
        };
        hardware.program(&HashMap::new());
        Ok(hardware)
    }

    fn program(&mut self, learned: &HashMap<std::net::IpAddr, packet::Mac>) {
        let snapshot = Arc::clone(&self.snapshot);
        self.manager.set_snapshot(Arc::clone(&snapshot), |tunnel| {
            tunnel_header(&snapshot, learned, tunnel)
        });
    }

    /// Another snapshot holds.
    pub fn change(&mut self, snapshot: Arc<Snapshot>, shard: &Shard) {
        self.snapshot = snapshot;
        self.program(&shard.underlay().known().collect());
    }

    /// Tells the manager what the datapath wishes.
    pub fn wish(&mut self, wish: &Wish) {
        wish.tell(&mut self.manager);
    }

    /// Lets manager and NIC do what is due, and tells the shard.
    pub fn run(&mut self, now: Time, shard: &mut Shard) {
        let neighbors = shard.underlay().version();
        if neighbors != self.neighbors {
            self.neighbors = neighbors;
            self.program(&shard.underlay().known().collect());
        }
        if !self.counter_delay.is_zero() || self.nic.owes_since().is_some() {
            self.manager.advance(now);
        }
        loop {
            self.manager.retry(now);
            if self.nic.is_free(now)
                && let Some((ticket, request)) = self.manager.next_request(now)
            {
                self.nic.execute(now, ticket, request);
            } else if let Some((ticket, reply)) = self.nic.answer(now) {
                self.manager.complete(now, ticket, reply);
            } else {
                break;
            }
        }
        while let Some(notice) = self.manager.next_notice() {
            notice.tell(now, shard);
            self.notices.push(notice);
        }
    }

    /// What the manager said since this was last asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// When something is due next. Counters are not read while no packet moves them, and a NIC that does not answer in time is
    /// looked after no longer: a capture may be silent for years.
    pub fn next_time(&self) -> Option<Time> {
        let poll = Duration::from_millis(self.settings.poll_interval_ms);
        let patience = Duration::from_millis(self.settings.answer_within_ms) + 2 * poll;
        let answers_until = self.nic.owes_since().map_or(Time::ZERO, |asked| asked + patience);
        let looks_until = self.news_until.max(answers_until);
        let poll = Some(self.manager.next_time()).filter(|time| *time < looks_until);
        let manager = self.manager.next_retry();
        [poll, manager, self.nic.next_time()].into_iter().flatten().min()
    }

    /// The rules in the NIC, with what the shard holds of their connections.
    pub fn dump(&self, shard: &Shard) -> Dump {
        let learned: HashMap<_, _> = shard.underlay().known().collect();
        let rules = self.manager.rules_in_nic(0..self.manager.places());
        let rules = rules.map(|rule| {
            let connection = match rule.owner {
                RuleOwner::Connection(connection, _) => shard.connection(connection),
                _ => None,
            };
            rule.dumped(&self.snapshot, connection.as_ref())
        });
        Dump {
            node: dumped_node(&self.snapshot, self.manager.nic(), &learned),
            rules: rules.collect(),
        }
    }

    /// A frame arrives at a port.
    pub fn packet(&mut self, now: Time, port: Port, frame: &mut Frame<'_>) -> Carried {
        let ethdev = match port {
            Port::Uplink => UPLINK,
            Port::Vf(vf) => match self.manager.nic().port_of(vf) {
                Some(ethdev) => ethdev,
                None => return Carried::Missed(port),
            },
            // No port of the NIC: it is software that passes its frames on.
            Port::Kernel => return Carried::Missed(port),
        };
        let verdict = self.nic.process(now, ethdev.0, frame);
        if self.counter_delay.is_zero() {
            for ticket in self.nic.hits().collect::<Vec<_>>() {
                self.manager.count(ticket);
            }
        } else if self.nic.hits().next().is_some() {
            self.news_until = now + self.counter_delay;
        }
        match verdict {
            Verdict::Represented(port) => Carried::Forwarded(port_of(port)),
            Verdict::Dropped(DropCause::Oversize(_)) => Carried::Oversize,
            Verdict::Representor { port, .. } => Carried::Missed(port_of(port)),
            Verdict::Dropped(_) => Carried::Lost,
        }
    }
}
