//! The rules as a person wants to see them: by group, and one by one with what they counted.

use std::collections::BTreeMap;
use std::fmt;

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

impl fmt::Display for RuleSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, port, group, priority, count } = self;
        let (domain, group) = (group.domain.name(), group.group);
        write!(f, "{:#x} port {port} {domain} group {group} priority {priority}", id.to_bits())?;
        match count {
            Some(count) => write!(f, ": {} packets, {} bytes", count.packets, count.bytes),
            None => Ok(()),
        }
    }
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
        let rules: Vec<RuleId> =
            self.rules.iter().skip(skipped).take(most).map(|(id, _)| id).collect();
        rules.into_iter().filter_map(|id| self.summary(id, now)).collect()
    }

    fn summary(&mut self, id: RuleId, now: Time) -> Option<RuleSummary> {
        let rule = self.rules.get(id)?;
        let counter = rule.counter.and_then(|counter| self.counters.get_mut(counter));
        Some(RuleSummary {
            id,
            port: rule.port,
            group: group_of(rule.group),
            priority: rule.rank.priority,
            count: counter.map(|counter| counter.query(false, now)),
        })
    }

    /// A line for each rule that was made through a port, or for one of them: where it is, what it counted, what it does. Not
    /// for the packet path.
    pub fn dump(&mut self, port: u16, wanted: Option<RuleId>, now: Time) -> String {
        let mine = self.rules.iter().filter(|(_, rule)| rule.port == port);
        let rules: Vec<RuleId> =
            mine.map(|(id, _)| id).filter(|id| wanted.is_none_or(|wanted| wanted == *id)).collect();
        let lines = rules.into_iter().filter_map(|id| {
            let summary = self.summary(id, now)?;
            Some(format!("{summary} {}\n", self.rules.get(id)?.program))
        });
        lines.collect()
    }
}

const fn group_of(key: super::rule::GroupKey) -> Group {
    Group { domain: key.domain, port: key.port, group: key.group }
}
