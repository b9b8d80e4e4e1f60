//! What `rte_flow_configure` gives a port: flow queues, and the counters, ages, meters and tracked connections that are
//! reserved for its rules where the card wants that.

use std::collections::VecDeque;
use std::time::Duration;

use rte_flow::{
    ActionKind, ActionsTemplate, EINVAL, ENOMEM, ErrorKind, FlowError, PoolRules, Profile,
    TemplateAction,
};

use super::actions::{Plan, Planned};
use super::counter::cycle;
use super::program::Step;
use super::rule::{Other, Owned};
use super::time::Time;

/// errno: no such device, which the driver says where a shared action finds no object.
const ENODEV: i32 = 19;

/// How a port is set up (`struct rte_flow_port_attr` and its queues).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowConfig {
    /// For each flow queue, how many operations may be in flight.
    pub queues: Vec<u32>,
    /// Counters.
    pub counters: u32,
    /// Objects that watch idleness; each rule with AGE takes a counter besides.
    pub ages: u32,
    /// Meters.
    pub meters: u32,
    /// Tracked connections.
    pub connections: u32,
    /// What has aged is asked for at the queue through which it was made.
    pub strict_queues: bool,
}

/// What a rule takes out of its port's pools.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    counters: u32,
    ages: u32,
    meters: u32,
}

impl Needs {
    /// What a rule that is planned so needs. COUNT and AGE of a rule have one counter.
    pub fn of_plan(plan: &Plan) -> Self {
        let mut needs = Self::default();
        for step in &plan.steps {
            match step {
                Planned::Count => needs.counters = 1,
                Planned::Age(_) => (needs.counters, needs.ages) = (1, 1),
                Planned::Meter(_) => needs.meters += 1,
                Planned::Step(_) | Planned::Sample(..) => {}
            }
        }
        needs
    }

    /// What a rule with these objects took.
    pub fn of_owned(owned: Owned, others: &[Other]) -> Self {
        let meters = others.iter().filter(|other| matches!(other, Other::Meter(_)));
        Self {
            counters: (owned.counter.is_some() || owned.ageing.is_some()).into(),
            ages: owned.ageing.is_some().into(),
            meters: u32::try_from(meters.count()).unwrap_or(u32::MAX),
        }
    }
}

/// The shared AGE whose counter a rule uses: one that has no counter of its own.
pub fn counted_by_shared_age(plan: &Plan) -> Option<&Step> {
    let counts = |step: &Planned| matches!(step, Planned::Count | Planned::Step(Step::Count(_)));
    if plan.steps.iter().any(counts) {
        return None;
    }
    plan.steps.iter().find_map(|step| match step {
        Planned::Step(step @ Step::Age(_)) => Some(step),
        _ => None,
    })
}

/// Objects of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Pool {
    size: u64,
    used: u64,
}

impl Pool {
    fn of(size: u64) -> Self {
        Self { size, used: 0 }
    }

    fn has(&self, wanted: u32) -> bool {
        self.size - self.used.min(self.size) >= wanted.into()
    }

    fn give_back(&mut self, count: u32) {
        self.used = self.used.saturating_sub(count.into());
    }
}

/// Counters: one that is given back counts on from where it was until the card has read it once more.
#[derive(Clone, Debug, Default)]
struct Counters {
    pool: Pool,
    interval: Duration,
    /// Those given back, by the cycle in which they were.
    stale: VecDeque<(u64, u64)>,
}

/// What is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lack {
    /// All are in use.
    Counter,
    /// Some were given back in this cycle.
    FreshCounter,
    Age,
    Meter,
}

impl Counters {
    fn refresh(&mut self, now: Time) {
        let current = cycle(self.interval, now);
        while let Some((given, count)) = self.stale.front().copied() {
            if given >= current && !self.interval.is_zero() {
                break;
            }
            self.stale.pop_front();
            self.pool.used = self.pool.used.saturating_sub(count);
        }
    }

    fn check(&mut self, wanted: u32, now: Time) -> Result<(), Lack> {
        self.refresh(now);
        if self.pool.has(wanted) {
            return Ok(());
        }
        Err(if self.stale.is_empty() { Lack::Counter } else { Lack::FreshCounter })
    }

    fn give_back(&mut self, count: u32, at: Time) {
        let current = cycle(self.interval, at);
        match self.stale.back_mut() {
            Some((given, waiting)) if *given >= current => *waiting += u64::from(count),
            _ if count > 0 => self.stale.push_back((current, count.into())),
            _ => {}
        }
    }
}

/// What is reserved for a port.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    counters: Counters,
    ages: Pool,
    meters: Pool,
    connections: Pool,
}

/// A power of two, the next one; 0 stays.
fn rounded(count: u64) -> u64 {
    if count == 0 { 0 } else { count.checked_next_power_of_two().unwrap_or(u64::MAX) }
}

impl Pools {
    /// What a card with this profile reserves for a port that asks so.
    ///
    /// # Errors
    /// `EINVAL` for ages without counters.
    pub fn new(config: &FlowConfig, profile: &Profile) -> Result<Self, FlowError> {
        if config.ages > 0 && config.counters == 0 {
            let message = "ages need a counter each; reserve counters too";
            return Err(FlowError::other(ErrorKind::Unspecified, EINVAL, message));
        }
        let asked = u64::from(config.counters);
        let with_spare = asked + asked * u64::from(profile.pools.spare_counters_percent) / 100;
        let counters = with_spare.min(profile.limits.counters.unwrap_or(u64::MAX)).max(asked);
        // Beside those asked for, as many as the lists of what has aged hold: a hundredth of the counters.
        let lists = if config.strict_queues { (config.queues.len() as u64).max(1) } else { 1 };
        let listed = rounded(counters / 100 / lists) * lists;
        let ages = if config.ages == 0 { 0 } else { rounded(u64::from(config.ages) + listed) };
        let interval = Duration::from_millis(profile.timing.counter_refresh_ms);
        Ok(Self {
            counters: Counters { pool: Pool::of(counters), interval, stale: VecDeque::new() },
            ages: Pool::of(ages),
            meters: Pool::of(config.meters.into()),
            connections: Pool::of(rounded(config.connections.into())),
        })
    }

    /// Reserves what a shared action of this kind needs, as many as the card has, where there is nothing of that.
    pub fn reserve(&mut self, kind: ActionKind) {
        let pools = match kind {
            ActionKind::Count => vec![&mut self.counters.pool],
            ActionKind::Age => vec![&mut self.counters.pool, &mut self.ages],
            ActionKind::MeterMark => vec![&mut self.meters],
            ActionKind::Conntrack => vec![&mut self.connections],
            _ => vec![],
        };
        for pool in pools.into_iter().filter(|pool| pool.size == 0) {
            *pool = Pool::of(u64::MAX);
        }
    }

    /// The same for a rule.
    pub fn reserve_for(&mut self, needs: Needs) {
        let Needs { counters, ages, meters } = needs;
        let kinds = [
            (counters, ActionKind::Count),
            (ages, ActionKind::Age),
            (meters, ActionKind::MeterMark),
        ];
        for (_, kind) in kinds.into_iter().filter(|(needed, _)| *needed > 0) {
            self.reserve(kind);
        }
    }

    /// Takes what a rule needs. `at`: which of its actions counts.
    ///
    /// # Errors
    /// When there is not enough; then nothing was taken.
    pub fn take(
        &mut self,
        needs: Needs,
        at: Option<usize>,
        rules: &PoolRules,
        now: Time,
    ) -> Result<(), FlowError> {
        let Needs { counters, ages, meters } = needs;
        let missing = if !self.ages.has(ages) {
            Err(Lack::Age)
        } else if !self.meters.has(meters) {
            Err(Lack::Meter)
        } else if counters > 0 {
            self.counters.check(counters, now)
        } else {
            Ok(())
        };
        missing.map_err(|lack| self.refuse_rule(lack, at, rules))?;
        self.counters.pool.used += u64::from(counters);
        self.ages.used += u64::from(ages);
        self.meters.used += u64::from(meters);
        Ok(())
    }

    /// Takes back what a rule had.
    pub fn give_back(&mut self, needs: Needs, at: Time) {
        self.counters.give_back(needs.counters, at);
        self.ages.give_back(needs.ages);
        self.meters.give_back(needs.meters);
    }

    fn refuse_rule(&self, lack: Lack, at: Option<usize>, rules: &PoolRules) -> FlowError {
        let of_action = |errno, message| match at {
            Some(at) => FlowError::action(at, ErrorKind::Action, errno, message),
            None => FlowError::other(ErrorKind::Action, errno, message),
        };
        match lack {
            Lack::Counter => {
                let size = self.counters.pool.size;
                let message = format!(
                    "all {size} counters of the port are in use; reserve more, or destroy rules that count"
                );
                of_action(rules.no_counter, message)
            }
            Lack::FreshCounter => {
                let interval = self.counters.interval.as_millis();
                let message = format!(
                    "the counters that are free are not reset yet; try again after the next cycle of {interval} ms"
                );
                of_action(rules.stale_counter, message)
            }
            Lack::Age => exhausted("ages", self.ages.size, EINVAL),
            Lack::Meter => exhausted("meters", self.meters.size, EINVAL),
        }
    }

    /// Takes what a shared action of this kind needs.
    ///
    /// # Errors
    /// When there is none: `EINVAL` where nothing was reserved.
    pub fn take_shared(&mut self, kind: ActionKind, now: Time) -> Result<(), FlowError> {
        let of_action = |errno, message| FlowError::other(ErrorKind::Action, errno, message);
        if kind == ActionKind::Count {
            self.admit(kind).map_err(|message| of_action(EINVAL, message))?;
            self.counters.check(1, now).map_err(|lack| {
                let size = self.counters.pool.size;
                let message = match lack {
                    Lack::FreshCounter => {
                        "the counters that are free are not reset yet; try again".to_owned()
                    }
                    _ => format!("all {size} counters of the port are in use; reserve more"),
                };
                of_action(ENODEV, message)
            })?;
            self.counters.pool.used += 1;
            return Ok(());
        }
        let (name, errno) = match kind {
            ActionKind::Age => ("ages", ENODEV),
            ActionKind::MeterMark => ("meters", ENOMEM),
            ActionKind::Conntrack => ("connections", ENOMEM),
            _ => return Ok(()),
        };
        self.admit(kind).map_err(|message| of_action(EINVAL, message))?;
        let Some(pool) = self.pool_mut(kind) else { return Ok(()) };
        if !pool.has(1) {
            let error = exhausted(name, pool.size, errno);
            return Err(FlowError { kind: ErrorKind::Action, ..error });
        }
        pool.used += 1;
        Ok(())
    }

    /// Takes back what a shared action of this kind had.
    pub fn give_back_shared(&mut self, kind: ActionKind, at: Time) {
        match (kind, self.pool_mut(kind)) {
            (ActionKind::Count, _) => self.counters.give_back(1, at),
            (_, Some(pool)) => pool.give_back(1),
            (_, None) => {}
        }
    }

    /// Takes the counter of a shared AGE.
    ///
    /// # Errors
    /// `EINVAL` when there is none.
    pub fn take_counter_of_age(&mut self, now: Time) -> Result<(), FlowError> {
        let taken = self.counters.check(1, now);
        taken.map_err(|_| exhausted("counters", self.counters.pool.size, EINVAL))?;
        self.counters.pool.used += 1;
        Ok(())
    }

    /// Checks that there are objects for the actions of a template.
    ///
    /// # Errors
    /// `EINVAL` for actions of which the port reserved no objects.
    pub fn admit_template(&self, template: &ActionsTemplate) -> Result<(), FlowError> {
        for (index, action) in template.actions.iter().enumerate() {
            let kind = match action {
                // Connections are asked for when the shared action is made.
                TemplateAction::Indirect { kind: Some(ActionKind::Conntrack), .. } => continue,
                TemplateAction::Indirect { kind: Some(kind), .. } => *kind,
                other => other.kind(),
            };
            if let Err(message) = self.admit(kind) {
                return Err(match kind {
                    ActionKind::Age => FlowError::other(ErrorKind::Action, EINVAL, message),
                    _ => FlowError::action(index, ErrorKind::Action, EINVAL, message),
                });
            }
        }
        Ok(())
    }

    /// Whether there are objects for actions of this kind at all.
    fn admit(&self, kind: ActionKind) -> Result<(), String> {
        let (size, key) = match kind {
            ActionKind::Count => (self.counters.pool.size, "nb_counters"),
            ActionKind::Age => (self.ages.size, "nb_aging_objects"),
            ActionKind::MeterMark => (self.meters.size, "nb_meters"),
            ActionKind::Conntrack => (self.connections.size, "nb_conn_tracks"),
            _ => return Ok(()),
        };
        if size > 0 {
            return Ok(());
        }
        Err(format!("the port reserved nothing for {kind}; give rte_flow_configure {key}"))
    }

    fn pool_mut(&mut self, kind: ActionKind) -> Option<&mut Pool> {
        match kind {
            ActionKind::Age => Some(&mut self.ages),
            ActionKind::MeterMark => Some(&mut self.meters),
            ActionKind::Conntrack => Some(&mut self.connections),
            _ => None,
        }
    }
}

fn exhausted(name: &str, size: u64, errno: i32) -> FlowError {
    let message = format!("all {size} {name} of the port are in use; reserve more");
    FlowError::other(ErrorKind::Unspecified, errno, message)
}
