//! The rules as a person wants to see them: by group, and one by one with what they counted.

use std::collections::BTreeMap;

use rte_flow::Domain;

use super::counter::Count;
use super::rule::RuleId;
use super::switch::Eswitch;
use super::time::Time;

/// A group of rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Group {
    /// Which domain.
    pub domain: Domain,
    /// The ethdev port whose domain it is; `None` for the switch's own.
    pub port: Option<u16>,
    /// Its number.
    pub group: u32,
}

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleSummary {
    /// Its handle.
    pub id: RuleId,
    /// The ethdev port through which it was made.
    pub port: u16,
    /// Where it is.
    pub group: Group,
    /// Its priority.
    pub priority: u32,
    /// What it counted; `None` without COUNT, and while the card has not reported yet.
    pub count: Option<Count>,
}

impl Eswitch {
    /// How many rules each group has. Walks over all rules: not for the packet path.
    #[must_use]
    pub fn group_sizes(&self) -> BTreeMap<Group, usize> {
        let mut sizes = BTreeMap::new();
        for (_, rule) in self.rules.iter() {
            *sizes.entry(group_of(rule.group)).or_default() += 1;
        }
        sizes
    }

    /// At most `most` rules after the first `skipped`, in the order in which they are stored. Not for the packet path.
    pub fn summaries(&mut self, skipped: usize, most: usize, now: Time) -> Vec<RuleSummary> {
        let rules = self.rules.iter().skip(skipped).take(most);
        let mut summaries: Vec<(RuleSummary, _)> = rules
            .map(|(id, rule)| {
                let group = group_of(rule.group);
                let priority = rule.rank.priority;
                let summary = RuleSummary { id, port: rule.port, group, priority, count: None };
                (summary, rule.counter)
            })
            .collect();
        for (summary, counter) in &mut summaries {
            let counter = counter.and_then(|counter| self.counters.get_mut(counter));
            summary.count = counter.map(|counter| counter.query(false, now));
        }
        summaries.into_iter().map(|(summary, _)| summary).collect()
    }
}

const fn group_of(key: super::rule::GroupKey) -> Group {
    Group { domain: key.domain, port: key.port, group: key.group }
}
