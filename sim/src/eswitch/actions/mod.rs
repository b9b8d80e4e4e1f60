//! Actions to programs.

mod encapsulation;
mod fate;
mod fields;

use std::borrow::Cow;
use std::time::Duration;

use packet::wire::ethernet;
use rte_flow::{
    Action, Attributes, Domain, EINVAL, ENOTSUP, ErrorKind, FlowError, IndirectHandle, MeterMark,
    Profile,
};

use super::arena::Id;
use super::indirect::{Indirects, Shared};
use super::meter::{Meter, Meters};
use super::port::Ports;
use super::program::{Fate, Step};
use super::vlan;

pub use encapsulation::encapsulation;
pub use fate::spread;

/// Where actions stand, and what they refer to.
pub struct ActionRules<'a> {
    /// Where the rule sits.
    pub attributes: &'a Attributes,
    /// The ethdev port through which it is made.
    pub port: u16,
    /// What the card accepts, and how it behaves.
    pub profile: &'a Profile,
    /// The ports there are.
    pub ports: &'a Ports,
    /// The shared actions there are.
    pub indirects: &'a Indirects,
    /// The meters there are.
    pub meters: &'a Meters,
}

/// What a new ageing is made with.
#[derive(Clone, Copy, Debug)]
pub struct AgeingConfig {
    /// Idle time; zero for no ageing.
    pub timeout: Duration,
    /// What its report carries.
    pub context: usize,
}

impl AgeingConfig {
    /// As the action says.
    pub fn of(age: &rte_flow::Age) -> Self {
        let timeout = Duration::from_secs(u64::from(age.timeout.get()));
        Self { timeout, context: age.context }
    }
}

/// A step whose objects are perhaps not made yet.
#[derive(Clone, Debug)]
pub enum Planned {
    /// Ready.
    Step(Step),
    /// Count with a counter of the rule's own.
    Count,
    /// Age with an ageing of the rule's own.
    Age(AgeingConfig),
    /// Meter with a meter of the rule's own.
    Meter(MeterMark),
    /// Copy every so-many-th packet.
    Sample(u32, Plan),
}

/// A program in the making.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Planned>,
    /// How many of them come before all others.
    first: usize,
    /// Where the packet goes.
    pub fate: Fate,
}

impl Plan {
    /// Does nothing yet; so many actions follow.
    fn new(actions: usize) -> Self {
        Self { steps: Vec::with_capacity(actions), first: 0, fate: Fate::Default }
    }

    /// Adds a step.
    pub fn push(&mut self, step: Step) {
        self.add(Planned::Step(step));
    }

    /// Adds a step, ready or not. Counting and ageing come first: they are about all packets that the rule takes, as they come.
    fn add(&mut self, planned: Planned) {
        match planned {
            Planned::Count | Planned::Age(_) | Planned::Step(Step::Count(_) | Step::Age(_)) => {
                self.steps.insert(self.first, planned);
                self.first += 1;
            }
            later => self.steps.push(later),
        }
    }
}

/// What a rule does, before it is in the card.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its program.
    pub plan: Plan,
    /// The shared actions it uses.
    pub shared: Vec<IndirectHandle>,
    /// The named meters it uses.
    pub meters: Vec<Id<Meter>>,
}

fn refuse(index: usize, message: impl Into<Cow<'static, str>>) -> FlowError {
    FlowError::action(index, ErrorKind::Action, ENOTSUP, message)
}

fn wrong(index: usize, message: impl Into<Cow<'static, str>>) -> FlowError {
    FlowError::action(index, ErrorKind::ActionConf, EINVAL, message)
}

/// What a list of actions, each at its position, does.
pub fn lower<'a>(
    mut actions: impl ExactSizeIterator<Item = (usize, &'a Action)>,
    rules: &ActionRules<'_>,
) -> Result<Draft, FlowError> {
    let mut lowering = Lowering {
        rules,
        has_count: false,
        has_age: false,
        shared: Vec::new(),
        meters: Vec::new(),
    };
    let plan = lowering.plan(actions.len(), &mut actions)?;
    Ok(Draft { plan, shared: lowering.shared, meters: lowering.meters })
}

struct Lowering<'a> {
    rules: &'a ActionRules<'a>,
    has_count: bool,
    has_age: bool,
    shared: Vec<IndirectHandle>,
    meters: Vec<Id<Meter>>,
}

/// Notes that something is there that a rule has once.
fn once(there: &mut bool, index: usize, name: &str) -> Result<(), FlowError> {
    if std::mem::replace(there, true) {
        return Err(refuse(index, format!("a rule has {name} only once; remove one")));
    }
    Ok(())
}

impl Lowering<'_> {
    fn plan(
        &mut self,
        count: usize,
        actions: &mut dyn Iterator<Item = (usize, &Action)>,
    ) -> Result<Plan, FlowError> {
        let mut plan = Plan::new(count);
        let mut has_fate = false;
        let mut actions = actions.filter(|(_, action)| **action != Action::Void).peekable();
        while let Some((index, action)) = actions.next() {
            if let Some(fate) = fate::fate(index, action, self.rules)? {
                once(&mut has_fate, index, "a fate action")?;
                plan.fate = fate;
                continue;
            }
            match action {
                Action::Count(_) => {
                    once(&mut self.has_count, index, "COUNT")?;
                    plan.add(Planned::Count);
                }
                Action::Age(age) => {
                    once(&mut self.has_age, index, "AGE")?;
                    plan.add(Planned::Age(AgeingConfig::of(age)));
                }
                Action::MeterMark(mark) => {
                    self.rules
                        .meters
                        .check_mark(mark, self.rules.port)
                        .map_err(|text| wrong(index, text))?;
                    plan.add(Planned::Meter(*mark));
                }
                Action::Meter(id) => {
                    let meter = self.rules.meters.find(self.rules.port, *id).ok_or_else(|| {
                        wrong(index, format!("there is no meter {id}; create it first"))
                    })?;
                    let domain = self.rules.attributes.domain;
                    self.rules.meters.admit(meter, domain).map_err(|text| wrong(index, text))?;
                    self.meters.push(meter);
                    plan.push(Step::Meter(meter));
                }
                Action::Sample(sample) => {
                    let mut inner = sample.actions.iter().map(|action| (index, action));
                    let copy = self.plan(inner.len(), &mut inner)?;
                    if matches!(copy.fate, Fate::Jump(_) | Fate::Passthru) {
                        let text = "a copy cannot go on to other rules; send it to a port or queue";
                        return Err(wrong(index, text));
                    }
                    plan.add(Planned::Sample(sample.ratio, copy));
                }
                Action::Indirect(handle) => {
                    self.indirect(index, *handle, &mut plan, &mut has_fate)?;
                }
                Action::RawDecap(header) => {
                    let next = actions.next_if(|(_, next)| matches!(next, Action::RawEncap(_)));
                    encapsulation::raw_decap(index, header, next, self.rules, &mut plan)?;
                }
                _ => self.steps(index, action, &mut plan)?,
            }
        }
        Ok(plan)
    }

    /// A shared action of the switch.
    fn indirect(
        &mut self,
        index: usize,
        handle: IndirectHandle,
        plan: &mut Plan,
        has_fate: &mut bool,
    ) -> Result<(), FlowError> {
        let domains = |allowed: &[Domain]| domain(self.rules.attributes, index, allowed);
        let step = match self.rules.indirects.get(handle) {
            None => return Err(wrong(index, "no such indirect action; create it first")),
            Some(Shared::Counter(id)) => {
                once(&mut self.has_count, index, "COUNT")?;
                Step::Count(*id)
            }
            Some(Shared::Ageing(id)) => {
                once(&mut self.has_age, index, "AGE")?;
                Step::Age(*id)
            }
            Some(Shared::Encapsulation(header)) => {
                domains(&[Domain::Transfer, Domain::Egress])?;
                Step::Encapsulate(header.clone())
            }
            Some(Shared::Meter(id)) => Step::Meter(*id),
            Some(Shared::Connection { tracker, direction, owner, peer }) => {
                if ![*owner, *peer].contains(&self.rules.port) {
                    let text = format!(
                        "the connection belongs to ports {owner} and {peer}; make the rule through one of them"
                    );
                    return Err(wrong(index, text));
                }
                Step::Track(*tracker, *direction)
            }
            Some(Shared::Queues(id)) => {
                domains(&[Domain::Ingress])?;
                once(has_fate, index, "a fate action")?;
                plan.fate = Fate::SharedQueues(*id);
                self.shared.push(handle);
                return Ok(());
            }
        };
        plan.push(step);
        self.shared.push(handle);
        Ok(())
    }

    /// Adds the steps of an action that needs nothing but itself.
    fn steps(&self, index: usize, action: &Action, plan: &mut Plan) -> Result<(), FlowError> {
        let domains = |allowed: &[Domain]| domain(self.rules.attributes, index, allowed);
        plan.push(match action {
            Action::Mark(mark) => Step::Mark(*mark),
            Action::Flag => Step::Flag,
            Action::MeterColor(color) => Step::Color(*color),
            Action::VxlanEncap(_) | Action::NvgreEncap(_) | Action::RawEncap(_) => {
                domains(&[Domain::Transfer, Domain::Egress])?;
                Step::Encapsulate(encapsulation(index, action, self.rules.profile)?)
            }
            Action::VxlanDecap | Action::NvgreDecap => {
                domains(&[Domain::Transfer, Domain::Ingress])?;
                Step::Decapsulate
            }
            Action::OfPopVlan => Step::PopVlan,
            Action::OfPushVlan(tpid) => {
                if ![ethernet::VLAN, ethernet::SERVICE_VLAN].contains(tpid) {
                    let text = format!("{tpid:#06x} cannot be pushed; use 0x8100 or 0x88a8");
                    return Err(FlowError::action(index, ErrorKind::Action, EINVAL, text));
                }
                Step::PushVlan(*tpid)
            }
            Action::OfSetVlanVid(vid) => {
                if *vid > 0xffe {
                    let text = format!("there is no VLAN {vid}; use 0 to 4094");
                    return Err(FlowError::action(index, ErrorKind::Action, EINVAL, text));
                }
                Step::SetVlan { value: *vid, mask: vlan::VID }
            }
            Action::OfSetVlanPcp(pcp) => {
                if *pcp > 7 {
                    let text = format!("there is no priority {pcp}; use 0 to 7");
                    return Err(FlowError::action(index, ErrorKind::Action, EINVAL, text));
                }
                Step::SetVlan { value: u16::from(*pcp) << 13, mask: vlan::PCP }
            }
            Action::Conntrack(_) => {
                let text =
                    "a connection is shared by its two directions; create an indirect action";
                return Err(refuse(index, text));
            }
            _ => return fields::rewrites(index, action, self.rules.profile, plan),
        });
        Ok(())
    }
}

fn domain(attributes: &Attributes, index: usize, allowed: &[Domain]) -> Result<(), FlowError> {
    if allowed.contains(&attributes.domain) {
        return Ok(());
    }
    let name = attributes.domain.name();
    Err(refuse(index, format!("the action does not exist in {name} rules; change the domain")))
}
