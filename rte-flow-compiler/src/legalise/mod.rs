//! From the rule that the contract has for an entry to rules that a NIC takes: passes one after the other, each for one limit.
//!
//! What a pass does depends on the shape of an entry alone, never on its values: see [`Nic`](crate::Nic), which legalises
//! each shape once.

mod encapsulation;
#[expect(clippy::unnecessary_wraps, reason = "passes have one form")]
mod optional;
mod order;
#[expect(clippy::unnecessary_wraps, reason = "passes have one form")]
mod ports;
#[expect(clippy::unnecessary_wraps, reason = "passes have one form")]
mod root;
mod split;

use rte_flow::{Api, Attributes, Context, Domain, FlowError, NoObjects, Profile, Rule};
use thiserror::Error;

use crate::actions::actions;
use crate::draft::Draft;
use crate::entry::Entry;
use crate::layout::Field;
use crate::pattern::pattern;

/// Most rules that the match of one entry may take, one after the other.
pub const MAX_PARTS: usize = 5;

/// Why there are no rules for an entry that the NIC takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The headers of the tunnel are longer than the card can write.
    #[error("the tunnel's headers have {bytes} bytes, the card writes {most}")]
    Encapsulation {
        /// Their length.
        bytes: usize,
        /// The most.
        most: usize,
    },
    /// The card wants actions in an order in which they would do something else.
    #[error("the card wants {first} before {second}, which does something else")]
    Order {
        /// What it wants first.
        first: &'static str,
        /// What would have to come before that.
        second: &'static str,
    },
    /// A field of the match is too wide by itself.
    #[error("to match {field:?} takes {words} words of 32 bits, the card matches {most} at once")]
    TooWide {
        /// The field.
        field: Field,
        /// What matching it takes, with what must be matched beside it.
        words: u32,
        /// The most.
        most: u32,
    },
    /// The match does not fit into as many rules as there may be.
    #[error(
        "the match takes more than {MAX_PARTS} rules one after the other; the card matches {most} words of 32 bits at once"
    )]
    TooManyParts {
        /// The most words.
        most: u32,
    },
    /// The profile refuses a rule after all.
    #[error("{0}")]
    Rule(FlowError),
}

/// What rules are made for: an entry of a shape, on a NIC.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// What the NIC accepts.
    pub profile: &'a Profile,
    /// Through which interface.
    pub api: Api,
}

/// One pass.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Its name, as `penstock explain-offload` shows it.
    pub name: &'static str,
    /// Drafts in, drafts out that mean the same.
    pub run: fn(Vec<Draft>, Subject<'_>) -> Result<Vec<Draft>, Refusal>,
}

/// All passes, in their order.
pub const PASSES: &[Pass] = &[
    Pass { name: "optional-fields", run: optional::pass },
    Pass { name: "encapsulation-size", run: encapsulation::pass },
    Pass { name: "action-order", run: order::pass },
    Pass { name: "root-group", run: root::pass },
    Pass { name: "match-width", run: split::pass },
    Pass { name: "port-item", run: ports::pass },
];

impl Subject<'_> {
    /// The drafts that the NIC takes instead of the contract's.
    ///
    /// # Errors
    /// The first pass's that finds none, and what the profile refuses of the outcome.
    pub fn legalise(self) -> Result<Vec<Draft>, Refusal> {
        let first = vec![Draft::of(self.entry)];
        let drafts = PASSES.iter().try_fold(first, |drafts, pass| (pass.run)(drafts, self))?;
        for rule in self.rules(&drafts) {
            self.check(&rule).map_err(Refusal::Rule)?;
        }
        Ok(drafts)
    }

    /// Whether the profile takes a rule.
    ///
    /// # Errors
    /// The refusal that the NIC would answer with.
    pub fn check(self, rule: &Rule) -> Result<(), FlowError> {
        let context = Context { api: self.api, is_proxy: true, objects: &NoObjects };
        rte_flow::check(rule, self.profile, context)
    }

    /// What drafts are in `rte_flow`, with the entry's values. Rules know each other by numbers from 1 on.
    #[must_use]
    pub fn rules(self, drafts: &[Draft]) -> Vec<Rule> {
        (0..)
            .zip(drafts)
            .map(|(number, draft)| rule(draft, self.entry, number, number + 1))
            .collect()
    }
}

/// What a draft is in `rte_flow`, with an entry's values: the rule before it notes `found`, it itself `number`.
pub(crate) fn rule(draft: &Draft, entry: &Entry, found: u32, number: u32) -> Rule {
    Rule {
        attributes: attributes(draft.group),
        pattern: pattern(draft, |field| entry.value(field), found),
        actions: actions(draft, entry, number),
    }
}

/// The attributes of rules in a group.
pub(crate) const fn attributes(group: u32) -> Attributes {
    Attributes { group, priority: 0, domain: Domain::Transfer }
}

impl From<FlowError> for Refusal {
    fn from(refusal: FlowError) -> Self {
        Self::Rule(refusal)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A built-in profile with one line of its text changed.
    pub fn changed(name: &str, from: &str, to: &str) -> Profile {
        let path = format!("{}/../rte-flow/profiles/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the profile's text");
        assert!(text.contains(from), "{name} has {from}");
        Profile::from_toml(name, &text.replacen(from, to, 1)).expect("a profile")
    }

    pub fn named(name: &str) -> Profile {
        Profile::named(name).expect("a profile of this name")
    }

    pub fn subject<'a>(entry: &'a Entry, profile: &'a Profile) -> Subject<'a> {
        let api = if profile.interface.synchronous { Api::Synchronous } else { Api::Template };
        Subject { entry, profile, api }
    }
}
