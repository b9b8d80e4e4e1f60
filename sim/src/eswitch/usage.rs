//! How much of the card is in use.

use std::fmt;

use super::switch::Eswitch;
use super::time::Time;

/// What the card holds, of all its ports together. All of it is 0 on a card that nobody has programmed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Rules in the hardware, or on their way in or out.
    pub rules: usize,
    /// Groups that have rules.
    pub groups: usize,
    /// Counters, the shared ones among them.
    pub counters: usize,
    /// Objects that watch idleness, the shared ones among them.
    pub ages: usize,
    /// Tracked connections.
    pub connections: usize,
    /// Meters.
    pub meters: usize,
    /// Shared actions.
    pub indirect_actions: usize,
    /// Pattern templates.
    pub pattern_templates: usize,
    /// Actions templates.
    pub actions_templates: usize,
    /// Template tables.
    pub template_tables: usize,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in use: {} rules, {} groups, {} counters, {} ages, {} connections, {} meters, {} indirect actions, \
             {} pattern templates, {} actions templates, {} template tables",
            self.rules,
            self.groups,
            self.counters,
            self.ages,
            self.connections,
            self.meters,
            self.indirect_actions,
            self.pattern_templates,
            self.actions_templates,
            self.template_tables
        )
    }
}

impl Eswitch {
    /// What is in use at this time.
    pub fn usage(&mut self, now: Time) -> Usage {
        self.settle(now);
        Usage {
            rules: self.rules.len(),
            groups: self.groups.len(),
            counters: self.counters.len(),
            ages: self.ageings.len(),
            connections: self.trackers.len(),
            meters: self.meters.len(),
            indirect_actions: self.indirects.len(),
            pattern_templates: self.pattern_templates.len(),
            actions_templates: self.actions_templates.len(),
            template_tables: self.tables.len(),
        }
    }
}
