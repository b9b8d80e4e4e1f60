//! Rules into the hardware and out again: what both APIs have in common.

use rte_flow::{
    Action, ActionKind, ActionsTemplate, Api, Attributes, Context, Domain, Duplicates, EEXIST,
    ENOENT, ENOSPC, ErrorKind, FlowError, GeneveOptionId, IndirectHandle, Item, Objects,
    TemplateAction,
};

use super::actions::{self, ActionRules, Draft, Plan, Planned};
use super::arena::Id;
use super::counter::{AgeOwner, Ageing, Counter};
use super::faults::InsertionFault;
use super::matcher::Matcher;
use super::pattern::{self, PatternRules};
use super::pool::{self, Needs, Pools};
use super::port::PortRole;
use super::program::{Fate, Program, Step};
use super::rule::{GroupKey, Other, Owned, Rare, Rule, RuleId, Stage};
use super::sample::Sampler;
use super::switch::Eswitch;
use super::table::{Place, Rank};
use super::template::TemplateTable;
use super::time::Time;

/// A rule that has passed all checks of its own.
#[derive(Debug)]
pub struct Prepared {
    /// The ethdev port through which it is made.
    pub port: u16,
    /// Where it goes.
    pub attributes: Attributes,
    /// What it matches.
    pub matcher: Matcher,
    /// The options of GENEVE among that.
    pub options: Box<[GeneveOptionId]>,
    /// What it does.
    pub draft: Draft,
    /// Which of its actions takes a counter.
    pub counts: Option<usize>,
}

/// The objects that rules made through a port can name.
struct PortObjects<'a> {
    switch: &'a Eswitch,
    port: u16,
}

impl Objects for PortObjects<'_> {
    fn shared(&self, handle: IndirectHandle) -> Option<ActionKind> {
        self.switch.indirects.kind(handle)
    }

    fn meter_decides(&self, meter: u32, domain: Domain) -> Option<bool> {
        self.switch.meters.decides(self.port, meter, domain)
    }
}

/// What was made for a rule.
#[derive(Default)]
struct Made {
    owned: Owned,
    others: Vec<Other>,
    /// The counter, own or shared.
    counter: Option<Id<Counter>>,
    /// The ageing, own or shared.
    ageing: Option<Id<Ageing>>,
}

impl Eswitch {
    /// Checks a rule against the profile and the model, and compiles it.
    pub(super) fn prepare(
        &self,
        port: u16,
        rule: &rte_flow::Rule,
        api: Api,
        relaxed: bool,
    ) -> Result<Prepared, FlowError> {
        let is_proxy = self.is_proxy(port)?;
        let objects = &PortObjects { switch: self, port };
        rte_flow::check(rule, &self.profile, Context { api, is_proxy, objects })?;
        let rte_flow::Rule { attributes, pattern, actions } = rule;
        let rules = PatternRules { ports: &self.ports, profile: &self.profile, port, relaxed };
        let matcher = pattern::lower(attributes, pattern, &rules)?;
        let options = self.options.of(pattern, &self.profile.limits)?;
        let rules = self.action_rules(port, attributes);
        let draft = actions::lower(actions.iter().enumerate(), &rules)?;
        let takes_counter = |action: &Action| matches!(action, Action::Count(_) | Action::Age(_));
        let counts = actions.iter().position(takes_counter);
        Ok(Prepared { port, attributes: *attributes, matcher, options, draft, counts })
    }

    /// Whether a port manages the transfer rules of all.
    pub(super) fn is_proxy(&self, port: u16) -> Result<bool, FlowError> {
        Ok(self.ports.known(port)?.config.role == PortRole::Uplink)
    }

    /// Checks an actions template as far as it is known without table.
    pub(super) fn check_actions_template(
        &self,
        port: u16,
        template: &ActionsTemplate,
    ) -> Result<(), FlowError> {
        let is_proxy = self.is_proxy(port)?;
        let objects = &PortObjects { switch: self, port };
        let context = Context { api: Api::Template, is_proxy, objects };
        rte_flow::check_actions_template(template, &self.profile, context)?;
        if !self.profile.pools.reserved {
            return Ok(());
        }
        match self.engines.get(&port) {
            Some(engine) => engine.pools.admit_template(template),
            None => Pools::default().admit_template(template),
        }
    }

    /// Checks templates at their place: nothing but a rule's own values is left to refuse.
    pub(super) fn check_templates(
        &self,
        port: u16,
        attributes: &Attributes,
        pattern: &[Item],
        actions: &[TemplateAction],
        relaxed: bool,
    ) -> Result<(), FlowError> {
        let is_proxy = self.is_proxy(port)?;
        let objects = &PortObjects { switch: self, port };
        let context = Context { api: Api::Template, is_proxy, objects };
        rte_flow::check_table(attributes, pattern, actions, &self.profile, context)?;
        let rules = PatternRules { ports: &self.ports, profile: &self.profile, port, relaxed };
        pattern::lower(attributes, pattern, &rules)?;
        let known: Vec<(usize, Action)> = actions
            .iter()
            .enumerate()
            .filter_map(|(index, action)| match action {
                TemplateAction::Fixed(action) | TemplateAction::Shaped(action) => {
                    Some((index, action.clone()))
                }
                TemplateAction::Indirect { handle: Some(handle), .. } => {
                    Some((index, Action::Indirect(*handle)))
                }
                TemplateAction::PerRule(_) | TemplateAction::Indirect { .. } => None,
            })
            .collect();
        let known = known.iter().map(|(index, action)| (*index, action));
        actions::lower(known, &self.action_rules(port, attributes)).map(|_| ())
    }

    fn action_rules<'a>(&'a self, port: u16, attributes: &'a Attributes) -> ActionRules<'a> {
        ActionRules {
            attributes,
            port,
            profile: &self.profile,
            ports: &self.ports,
            indirects: &self.indirects,
            meters: &self.meters,
        }
    }

    /// Whether there is room for the rule, and whether its pattern may be there twice.
    pub(super) fn admit(&self, prepared: &Prepared) -> Result<(), FlowError> {
        let Attributes { domain, group, priority } = prepared.attributes;
        let full = |what: &str, limit: u64| {
            let message = format!("{what} holds {limit} rules and is full; destroy some first");
            Err(FlowError::other(ErrorKind::Unspecified, ENOSPC, message))
        };
        let limits = &self.profile.limits;
        if let Some(limit) = limits.rules.filter(|limit| self.rules.len() as u64 >= *limit) {
            return full("the card", limit);
        }
        if let Some(limit) = self.faults.full_at.filter(|limit| self.rules.len() >= *limit) {
            return full("the card", limit as u64);
        }
        if let (true, Some(limit)) = (self.profile.is_root(domain, group), limits.root_rules)
            && self.root_rules as u64 >= limit
        {
            return full("the root table", limit);
        }
        if self.profile.interface.duplicates == Duplicates::Refused {
            let key = Self::group_key(prepared.port, domain, group);
            let table = self.groups.find(key).and_then(|number| self.groups.table(number));
            let twin = table.is_some_and(|table| {
                table.same_pattern(&prepared.matcher).any(|(rank, rule)| {
                    rank.priority == priority
                        && self.rules.get(rule).is_some_and(Rule::counts_as_duplicate)
                })
            });
            if twin {
                return Err(FlowError::other(
                    ErrorKind::Unspecified,
                    EEXIST,
                    "a rule with this pattern and priority is there already; destroy it first",
                ));
            }
        }
        Ok(())
    }

    /// Puts the rule in, in force from `from` on, through a flow queue or none.
    pub(super) fn insert(
        &mut self,
        prepared: Prepared,
        table: Option<Id<TemplateTable>>,
        stage: Stage,
        (from, queue): (Time, Option<u32>),
        now: Time,
    ) -> Result<RuleId, FlowError> {
        let Prepared { port, attributes, matcher, options, draft, counts } = prepared;
        let Attributes { domain, group, priority } = attributes;
        let Draft { plan, shared, meters } = draft;
        let needs = Needs::of_plan(&plan);
        self.draw(port, &plan, counts, table.is_none(), now)?;
        let mut made = Made::default();
        let program = match self.realize(plan, &mut made, now) {
            Ok(program) => program,
            Err(refusal) => {
                self.discard(made.owned, &made.others);
                self.give_back(port, needs, now);
                return Err(refusal);
            }
        };
        let Made { owned, others, counter, ageing } = made;
        for handle in &shared {
            self.indirects.acquire(*handle);
        }
        for meter in &meters {
            self.meters.acquire(*meter);
        }
        self.options.acquire(&options);
        let order = match self.profile.interface.duplicates {
            Duplicates::NewestWins => u64::MAX - self.order,
            Duplicates::FirstWins | Duplicates::Refused => self.order,
        };
        self.order += 1;
        let key = Self::group_key(port, domain, group);
        let rank = Rank { priority, order };
        let in_root = self.profile.is_root(domain, group);
        self.root_rules += usize::from(in_root);
        let own_ageing = owned.ageing;
        let number = self.groups.hold(key);
        let next = match program.fate {
            Fate::Jump(group) => Some(self.groups.hold(GroupKey { group, ..key })),
            _ => None,
        };
        let id = self.rules.insert(Rule {
            port,
            group: key,
            number,
            next,
            rank,
            place: Place::Nowhere,
            program,
            owned,
            counter,
            ageing,
            table,
            from,
            until: Time::NEVER,
            stage,
            rare: Rare { shared, options, meters, owned: others }.kept(),
        });
        if let Some(ageing) = own_ageing.and_then(|ageing| self.ageings.get_mut(ageing)) {
            ageing.owner = Some(AgeOwner { port, rule: Some(id), queue });
        }
        if let Some(table) = table.and_then(|table| self.tables.get_mut(table)) {
            table.rules += 1;
        }
        let table = self.groups.table_mut(number);
        let place = table.map(|table| table.insert(matcher, rank, id));
        if let (Some(rule), Some(place)) = (self.rules.get_mut(id), place) {
            rule.place = place;
        }
        Ok(id)
    }

    /// Lets a rule leave the hardware at `at`, which is not before that of any rule that leaves already.
    pub(super) fn leave(&mut self, rule: RuleId, at: Time) {
        let Some(found) = self.rules.get_mut(rule) else { return };
        found.until = at;
        self.leaving.push_back((at, rule));
        let shared = found.ageing.filter(|_| found.owned.ageing.is_none());
        let shared = shared.filter(|_| self.profile.age.destruction_is_hit);
        if let Some(ageing) = shared.and_then(|ageing| self.ageings.get_mut(ageing)) {
            ageing.hit(at);
        }
    }

    /// Forgets the rules whose time has come.
    pub(super) fn settle(&mut self, now: Time) {
        while let Some((at, rule)) = self.leaving.front().copied() {
            if at > now {
                break;
            }
            self.leaving.pop_front();
            self.remove(rule, at);
        }
    }

    /// Takes a rule out at once, with all that it owns; it left at `at`.
    pub(super) fn remove(&mut self, id: RuleId, at: Time) {
        let Some(rule) = self.rules.remove(id) else { return };
        if let Some(table) = self.groups.table_mut(rule.number) {
            table.remove(rule.place, rule.rank);
        }
        self.groups.release(rule.number);
        if let Some(next) = rule.next {
            self.groups.release(next);
        }
        if self.profile.is_root(rule.group.domain, rule.group.group) {
            self.root_rules = self.root_rules.saturating_sub(1);
        }
        let rare = rule.rare.as_deref();
        self.discard(rule.owned, rare.map_or(&[], |rare| &rare.owned));
        let needs = Needs::of_owned(rule.owned, rare.map_or(&[], |rare| &rare.owned));
        if let Some(Rare { shared, options, meters, .. }) = rare {
            for meter in meters {
                self.meters.release(*meter);
            }
            for handle in shared {
                self.indirects.release(*handle);
            }
            self.options.release(options);
        }
        self.give_back(rule.port, needs, at);
        if let Some(table) = rule.table.and_then(|table| self.tables.get_mut(table)) {
            table.rules = table.rules.saturating_sub(1);
        }
    }

    /// Makes what a plan needs, and the program that uses it.
    fn realize(&mut self, plan: Plan, made: &mut Made, now: Time) -> Result<Program, FlowError> {
        let mut steps = Vec::with_capacity(plan.steps.len());
        for planned in plan.steps {
            let step = match planned {
                Planned::Step(step) => step,
                Planned::Count => {
                    let counter = self.new_counter(now)?;
                    made.owned.counter = Some(counter);
                    Step::Count(counter)
                }
                Planned::Age(config) => {
                    let ageing = Ageing::new(config.timeout, config.context, now);
                    let ageing = self.ageings.insert(ageing);
                    made.owned.ageing = Some(ageing);
                    Step::Age(ageing)
                }
                Planned::Meter(mark) => {
                    let meter = self.new_meter(&mark, now)?;
                    made.others.push(Other::Meter(meter));
                    Step::Meter(meter)
                }
                Planned::Sample(ratio, plan) => {
                    let program = self.realize(plan, made, now)?;
                    self.copies.prepare();
                    let sampler = self.samplers.insert(Sampler::new(ratio, program));
                    made.others.push(Other::Sampler(sampler));
                    Step::Sample(sampler)
                }
            };
            match step {
                Step::Count(counter) => made.counter = Some(counter),
                Step::Age(ageing) => made.ageing = Some(ageing),
                _ => {}
            }
            steps.push(step);
        }
        Ok(Program { steps: steps.into(), fate: plan.fate })
    }

    /// The pools of a port, where the card wants objects reserved.
    pub(super) fn pools_mut(&mut self, port: u16) -> Option<&mut Pools> {
        let reserved = self.profile.pools.reserved;
        reserved.then(|| &mut self.engines.entry(port).or_default().pools)
    }

    /// Takes what a rule needs out of its port's pools.
    fn draw(
        &mut self,
        port: u16,
        plan: &Plan,
        counts: Option<usize>,
        is_synchronous: bool,
        now: Time,
    ) -> Result<(), FlowError> {
        let needs = Needs::of_plan(plan);
        let rules = self.profile.pools;
        let of_shared = match pool::counted_by_shared_age(plan) {
            Some(Step::Age(ageing)) => self.ageings.get_mut(*ageing),
            _ => None,
        };
        let counting = of_shared.filter(|ageing| rules.reserved && !ageing.counted);
        if !rules.reserved || (needs == Needs::default() && counting.is_none()) {
            return Ok(());
        }
        let pools = &mut self.engines.entry(port).or_default().pools;
        if is_synchronous && rules.on_demand {
            pools.reserve_for(needs);
        }
        if let Some(ageing) = counting {
            pools.take_counter_of_age(now)?;
            ageing.counted = true;
        }
        pools.take(needs, counts, &rules, now)
    }

    fn give_back(&mut self, port: u16, needs: Needs, at: Time) {
        if needs != Needs::default()
            && let Some(pools) = self.pools_mut(port)
        {
            pools.give_back(needs, at);
        }
    }

    /// Destroys what a rule owns.
    fn discard(&mut self, owned: Owned, others: &[Other]) {
        if let Some(counter) = owned.counter {
            self.counters.remove(counter);
        }
        if let Some(ageing) = owned.ageing {
            self.ageings.remove(ageing);
        }
        for other in others {
            match other {
                Other::Meter(meter) => self.meters.remove(*meter),
                Other::Sampler(sampler) => drop(self.samplers.remove(*sampler)),
            }
        }
    }

    pub(super) fn new_counter(&mut self, now: Time) -> Result<Id<Counter>, FlowError> {
        let limit = self.profile.limits.counters;
        if let Some(limit) = limit.filter(|limit| self.counters.len() as u64 >= *limit) {
            let message = format!("all {limit} counters are in use; destroy rules with COUNT");
            return Err(FlowError::other(ErrorKind::Action, ENOENT, message));
        }
        let refresh = std::time::Duration::from_millis(self.profile.timing.counter_refresh_ms);
        Ok(self.counters.insert(Counter::new(refresh, now)))
    }

    /// The fault that hits this insertion, if one does; every call counts one.
    pub(super) fn insertion_fault(&mut self) -> Option<InsertionFault> {
        let number = self.insertions;
        self.insertions += 1;
        self.faults.of_insertion(number)
    }

    /// The errno of the fault that hits this removal, if one does; every call counts one.
    pub(super) fn removal_fault(&mut self) -> Option<i32> {
        let number = self.removals;
        self.removals += 1;
        self.faults.refused_removal.filter(|fault| fault.number == number).map(|fault| fault.errno)
    }
}
