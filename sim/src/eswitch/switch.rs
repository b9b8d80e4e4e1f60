//! The switch itself: ports, rules and what they refer to.

use std::collections::VecDeque;

use hashbrown::HashMap;
use rte_flow::{Domain, EINVAL, ErrorKind, FlowError, Profile};

use super::arena::{Arena, Id};
use super::asynchronous::Queue;
use super::conntrack::Tracker;
use super::counter::{Ageing, Counter};
use super::faults::Faults;
use super::group::Groups;
use super::indirect::Indirects;
use super::meter::Meters;
use super::options::Options;
use super::pace::Pace;
use super::pool::{FlowConfig, Pools};
use super::port::{Port, PortConfig, PortCounters, PortError, Ports};
use super::program::Spread;
use super::rule::{GroupKey, Rule, RuleId, Stage};
use super::sample::{Copies, Sampler};
use super::template::{ActionsEntry, PatternEntry, TemplateTable};
use super::time::Time;

/// errno: no such device, which drivers also say of a port that is not started.
const ENODEV: i32 = 19;

/// The flow engine of a port.
#[derive(Debug, Default)]
pub struct Engine {
    /// As the application configured it; `None` where it configured itself.
    pub config: Option<FlowConfig>,
    /// What is reserved.
    pub pools: Pools,
}

/// A switchdev eswitch: an uplink and VFs, each with an ethdev that represents it, and the rules between them.
///
/// Nothing here reads a clock; times passed to one eswitch must not decrease. An eswitch begins with all ethdevs stopped.
#[derive(Debug)]
pub struct Eswitch {
    pub(super) profile: Profile,
    pub(super) ports: Ports,
    pub(super) rules: Arena<Rule>,
    /// How many of them are in root groups.
    pub(super) root_rules: usize,
    pub(super) groups: Groups,
    pub(super) counters: Arena<Counter>,
    pub(super) ageings: Arena<Ageing>,
    pub(super) indirects: Indirects,
    pub(super) options: Options,
    pub(super) trackers: Arena<Tracker>,
    pub(super) meters: Meters,
    pub(super) samplers: Arena<Sampler>,
    pub(super) spreads: Arena<Spread>,
    pub(super) copies: Copies,
    pub(super) pace: Pace,
    pub(super) faults: Faults,
    /// The number of the queues from which the card takes nothing.
    pub(super) frozen_queue: Option<u32>,
    /// Insertions since the faults were set.
    pub(super) insertions: u64,
    /// Removals since then.
    pub(super) removals: u64,
    /// Insertions ever.
    pub(super) order: u64,
    /// Rules that leave the hardware, by time.
    pub(super) leaving: VecDeque<(Time, RuleId)>,
    pub(super) pattern_templates: Arena<PatternEntry>,
    pub(super) actions_templates: Arena<ActionsEntry>,
    pub(super) tables: Arena<TemplateTable>,
    pub(super) queues: HashMap<(u16, u32), Queue>,
    /// How the flow engine of a port was configured, and what was reserved for it.
    pub(super) engines: HashMap<u16, Engine>,
}

impl Eswitch {
    /// A switch with these ports that behaves as the profile says.
    ///
    /// # Errors
    /// [`PortError`] unless there is one uplink and all identifiers and VFs differ.
    pub fn new(profile: Profile, ports: &[PortConfig]) -> Result<Self, PortError> {
        let timing = profile.timing;
        let pace = Pace::new(timing.insertions_per_second, timing.deletions_per_second);
        Ok(Self {
            ports: Ports::new(ports)?,
            pace,
            profile,
            rules: Arena::default(),
            root_rules: 0,
            groups: Groups::default(),
            counters: Arena::default(),
            ageings: Arena::default(),
            indirects: Indirects::default(),
            options: Options::default(),
            trackers: Arena::default(),
            meters: Meters::default(),
            samplers: Arena::default(),
            spreads: Arena::default(),
            copies: Copies::default(),
            faults: Faults::default(),
            frozen_queue: None,
            insertions: 0,
            removals: 0,
            order: 0,
            leaving: VecDeque::new(),
            pattern_templates: Arena::default(),
            actions_templates: Arena::default(),
            tables: Arena::default(),
            queues: HashMap::default(),
            engines: HashMap::default(),
        })
    }

    /// How the switch behaves.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Switches faults on or, with the default, off. The counts of insertions and removals begin anew.
    pub fn set_faults(&mut self, faults: Faults) {
        (self.faults, self.insertions, self.removals) = (faults, 0, 0);
    }

    /// The faults that are switched on.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Adds a port, stopped.
    ///
    /// # Errors
    /// [`PortError`] for a second uplink, and for an identifier or a VF that is there already.
    pub fn add_port(&mut self, config: PortConfig) -> Result<(), PortError> {
        self.ports.add(config)
    }

    /// The ports.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter()
    }

    /// What happened at a port; `None` for an unknown one.
    #[must_use]
    pub fn port_counters(&self, port: u16) -> Option<PortCounters> {
        self.ports.get(port).map(|port| port.counters)
    }

    /// Sets the longest packet that passes a port towards what is behind it, in bytes without the Ethernet header.
    ///
    /// # Errors
    /// An unknown port.
    pub fn set_mtu(&mut self, port: u16, mtu: u16) -> Result<(), FlowError> {
        self.known_mut(port)?.config.mtu = mtu;
        Ok(())
    }

    /// Says how many receive queues a port's ethdev has: from then on rules may name no others.
    ///
    /// # Errors
    /// An unknown port.
    pub fn set_receive_queues(&mut self, port: u16, queues: u16) -> Result<(), FlowError> {
        self.known_mut(port)?.receive_queues = Some(queues);
        Ok(())
    }

    /// Starts a port's ethdev: only then it receives packets and takes rules.
    ///
    /// # Errors
    /// An unknown port; with hardware steering, what [`super::turns`] says.
    pub fn start(&mut self, port: u16) -> Result<(), FlowError> {
        self.may_start(port)?;
        let configures = self.configures_at_start();
        let port = self.known_mut(port)?;
        port.started = true;
        port.configured |= configures;
        Ok(())
    }

    /// Stops a port's ethdev. All rules made through it are gone at once, whatever API they came from.
    ///
    /// # Errors
    /// An unknown port; with hardware steering, what [`super::turns`] says.
    pub fn stop(&mut self, port: u16) -> Result<(), FlowError> {
        self.may_stop(port)?;
        self.known_mut(port)?.started = false;
        let rules: Vec<RuleId> = self.rules_of(port);
        for rule in rules {
            self.remove(rule, Time::ZERO);
        }
        for ((owner, _), queue) in &mut self.queues {
            if *owner == port {
                queue.clear();
            }
        }
        Ok(())
    }

    /// Resets the device: all ethdevs are stopped; rules, templates, tables, queues and shared actions are gone.
    pub fn reset(&mut self) {
        let ports: Vec<u16> = self.ports.iter().map(|port| port.config.id).collect();
        for port in ports {
            if let Some(port) = self.ports.get_mut(port) {
                port.started = false;
                port.configured = false;
            }
        }
        self.rules = Arena::default();
        self.root_rules = 0;
        self.groups = Groups::default();
        self.counters = Arena::default();
        self.ageings = Arena::default();
        self.indirects = Indirects::default();
        self.options = Options::default();
        self.trackers = Arena::default();
        self.meters = Meters::default();
        self.samplers = Arena::default();
        self.spreads = Arena::default();
        self.leaving.clear();
        self.pattern_templates = Arena::default();
        self.actions_templates = Arena::default();
        self.tables = Arena::default();
        self.queues.clear();
        self.engines.clear();
    }

    /// How many rules there are, in the hardware or on their way in or out.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn known_mut(&mut self, port: u16) -> Result<&mut Port, FlowError> {
        self.ports.known(port)?;
        self.ports.get_mut(port).ok_or_else(|| {
            FlowError::other(ErrorKind::Unspecified, EINVAL, "the port is not there; name another")
        })
    }

    pub(super) fn started(&self, port: u16) -> Result<(), FlowError> {
        if self.ports.known(port)?.started {
            return Ok(());
        }
        Err(FlowError::other(
            ErrorKind::Unspecified,
            ENODEV,
            format!("port {port} is not started; start it before making rules"),
        ))
    }

    pub(super) fn rules_of(&self, port: u16) -> Vec<RuleId> {
        self.rules.iter().filter(|(_, rule)| rule.port == port).map(|(id, _)| id).collect()
    }

    /// The set of rules that a rule of these attributes belongs to.
    pub(super) fn group_key(port: u16, domain: Domain, group: u32) -> GroupKey {
        GroupKey { domain, port: (domain != Domain::Transfer).then_some(port), group }
    }

    pub(super) fn rule_of(&self, port: u16, rule: RuleId) -> Result<&Rule, FlowError> {
        let known = |found: &&Rule| found.port == port && found.stage != Stage::Stranded;
        self.rules.get(rule).filter(known).ok_or_else(|| {
            FlowError::other(
                ErrorKind::Handle,
                rte_flow::ENOENT,
                format!(
                    "port {port} has no such rule; it was destroyed, or lost when the port stopped"
                ),
            )
        })
    }

    pub(super) fn counter_id(&self, port: u16, rule: RuleId) -> Result<Id<Counter>, FlowError> {
        self.rule_of(port, rule)?.counter.ok_or_else(|| {
            FlowError::other(ErrorKind::Action, EINVAL, "the rule has no COUNT; make it with one")
        })
    }

    pub(super) fn ageing_id(&self, port: u16, rule: RuleId) -> Result<Id<Ageing>, FlowError> {
        self.rule_of(port, rule)?.ageing.ok_or_else(|| {
            FlowError::other(ErrorKind::Action, EINVAL, "the rule has no AGE; make it with one")
        })
    }
}
