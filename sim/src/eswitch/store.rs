//! Rules into the hardware and out again: what both APIs have in common.

use rte_flow::{
    Api, Attributes, Context, Duplicates, EEXIST, ENOENT, ENOSPC, ErrorKind, FlowError,
    GeneveOptionId,
};

use super::actions::{self, ActionRules, Draft, Wanted};
use super::arena::Id;
use super::counter::{Ageing, Counter};
use super::faults::InsertionFault;
use super::matcher::Matcher;
use super::pattern::{self, PatternRules};
use super::port::PortRole;
use super::rule::{Owned, Program, Rule, RuleId, Stage, Step};
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
        rte_flow::check(rule, &self.profile, Context { api, is_proxy })?;
        let rules = PatternRules { ports: &self.ports, profile: &self.profile, port, relaxed };
        self.ports.check_queues(port, &rule.actions)?;
        let attributes = rule.attributes;
        let matcher = pattern::lower(&attributes, &rule.pattern, &rules)?;
        let options = self.options.of(&rule.pattern, &self.profile.limits)?;
        let rules = ActionRules { ports: &self.ports, indirects: &self.indirects };
        let draft = actions::lower(&attributes, &rule.actions, &rules)?;
        Ok(Prepared { port, attributes, matcher, options, draft })
    }

    /// Whether a port manages the transfer rules of all.
    pub(super) fn is_proxy(&self, port: u16) -> Result<bool, FlowError> {
        Ok(self.ports.known(port)?.config.role == PortRole::Uplink)
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
            let twin = self.groups.get(&key).is_some_and(|table| {
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

    /// Puts the rule in, in force from `from` on; `Time::NEVER` until [`Self::activate`].
    pub(super) fn insert(
        &mut self,
        prepared: Prepared,
        table: Option<Id<TemplateTable>>,
        stage: Stage,
        from: Time,
        now: Time,
    ) -> Result<RuleId, FlowError> {
        let Prepared { port, attributes, matcher, options, draft } = prepared;
        let Attributes { domain, group, priority } = attributes;
        let Draft { steps, counter, ageing, fate, shared } = draft;
        let mut owned = Owned::default();
        let counter = match counter {
            None => None,
            Some(Wanted::Shared(id)) => Some(id),
            Some(Wanted::New(())) => {
                owned.counter = Some(self.new_counter(now)?);
                owned.counter
            }
        };
        let ageing = match ageing {
            None => None,
            Some(Wanted::Shared(id)) => Some(id),
            Some(Wanted::New(config)) => {
                let ageing = Ageing::new(config.timeout, config.context, now);
                owned.ageing = Some(self.ageings.insert(ageing));
                owned.ageing
            }
        };
        let marks = counter.map(Step::Count).into_iter().chain(ageing.map(Step::Age));
        let program = Program { steps: marks.chain(steps).collect(), fate };
        for handle in &shared {
            self.indirects.acquire(*handle);
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
        let id = self.rules.insert(Rule {
            port,
            group: key,
            rank,
            place: Place::Nowhere,
            program,
            owned,
            counter,
            ageing,
            table,
            from,
            until: Time::NEVER,
            shared,
            options,
            stage,
        });
        if let Some(table) = table.and_then(|table| self.tables.get_mut(table)) {
            table.rules += 1;
        }
        let place = self.groups.entry(key).or_default().insert(matcher, rank, id);
        if let Some(rule) = self.rules.get_mut(id) {
            rule.place = place;
        }
        Ok(id)
    }

    /// Lets a rule leave the hardware at `at`, which is not before that of any rule that leaves already.
    pub(super) fn leave(&mut self, rule: RuleId, at: Time) {
        if let Some(found) = self.rules.get_mut(rule) {
            found.until = at;
            self.leaving.push_back((at, rule));
        }
    }

    /// Forgets the rules whose time has come.
    pub(super) fn settle(&mut self, now: Time) {
        while let Some((at, rule)) = self.leaving.front().copied() {
            if at > now {
                break;
            }
            self.leaving.pop_front();
            self.remove(rule);
        }
    }

    /// Takes a rule out at once, with all that it owns.
    pub(super) fn remove(&mut self, id: RuleId) {
        let Some(rule) = self.rules.remove(id) else { return };
        if let Some(table) = self.groups.get_mut(&rule.group) {
            table.remove(&rule.place, rule.rank);
            if table.is_empty() {
                self.groups.remove(&rule.group);
            }
        }
        if self.profile.is_root(rule.group.domain, rule.group.group) {
            self.root_rules = self.root_rules.saturating_sub(1);
        }
        if let Some(counter) = rule.owned.counter {
            self.counters.remove(counter);
        }
        if let Some(ageing) = rule.owned.ageing {
            self.ageings.remove(ageing);
        }
        for handle in &rule.shared {
            self.indirects.release(*handle);
        }
        self.options.release(&rule.options);
        if let Some(table) = rule.table.and_then(|table| self.tables.get_mut(table)) {
            table.rules = table.rules.saturating_sub(1);
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
