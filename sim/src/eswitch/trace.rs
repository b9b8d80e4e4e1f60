//! The way of one packet through the rules.

use arrayvec::ArrayVec;
use rte_flow::Domain;

use super::rule::RuleId;

/// The most lookups that a trace keeps.
pub const VISITS: usize = 32;

/// One lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visit {
    /// Where it was looked up.
    pub domain: Domain,
    /// In which group.
    pub group: u32,
    /// The rule that took the packet; `None` for a miss.
    pub rule: Option<RuleId>,
}

/// The lookups of one packet, in order.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    visits: ArrayVec<Visit, VISITS>,
    truncated: bool,
}

impl Trace {
    /// The lookups.
    #[must_use]
    pub fn visits(&self) -> &[Visit] {
        &self.visits
    }

    /// The rules that were hit.
    pub fn rules(&self) -> impl Iterator<Item = RuleId> {
        self.visits.iter().filter_map(|visit| visit.rule)
    }

    /// Whether there were more lookups than a trace keeps.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }

    pub(super) fn clear(&mut self) {
        self.visits.clear();
        self.truncated = false;
    }

    pub(super) fn push(&mut self, visit: Visit) {
        self.truncated |= self.visits.try_push(visit).is_err();
    }
}
