//! What a profile says of the objects behind actions: shared actions, counters' ages, meters, connections, samples. An
//! absent table, and an absent key, stand for no restriction.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::action::ActionKind;
use crate::attribute::Domain;
use crate::item::ItemKind;
use crate::meter::MeterStatistics;
use crate::rss::{Rss, RssFunction};

/// Shared actions (`rte_flow_action_handle_create`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndirectRules {
    /// Which actions can be shared; absent: all that the model shares.
    pub kinds: Option<Vec<ActionKind>>,
    /// Which of them rules have as shared ones only.
    pub only: Vec<ActionKind>,
    /// Which of them can be updated; absent: all that have something to update.
    pub updates: Option<Vec<ActionKind>>,
}

impl IndirectRules {
    /// Whether this action can be shared.
    #[must_use]
    pub fn can_share(&self, kind: ActionKind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// Whether this action can be updated when it is shared.
    #[must_use]
    pub fn can_update(&self, kind: ActionKind) -> bool {
        self.updates.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}

/// AGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgeRules {
    /// A timeout of 0 is accepted and stands for no ageing.
    pub zero_timeout: bool,
    /// AGE and a shared COUNT stand in one rule.
    pub with_shared_count: bool,
    /// A rule with a shared AGE that goes away looks like a packet: its counter is missing in the sum that is watched.
    pub destruction_is_hit: bool,
}

impl Default for AgeRules {
    fn default() -> Self {
        Self { zero_timeout: true, with_shared_count: true, destruction_is_hit: false }
    }
}

/// `MODIFY_FIELD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file by itself")]
pub struct ModifyRules {
    /// It reaches headers inside a tunnel.
    pub inner: bool,
    /// It subtracts.
    pub sub: bool,
    /// It moves bits within a field.
    pub within_field: bool,
    /// In root groups, rules may have other values than their template.
    pub root_per_rule: bool,
    /// Adding or subtracting a field copies it instead.
    pub field_arithmetic_copies: bool,
}

/// CONNTRACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConntrackRules {
    /// Segments beyond `retransmission_limit` are invalid.
    pub limits_retransmissions: bool,
    /// Only the other end's FIN is the second one; else a repeated FIN is.
    pub checks_fin_direction: bool,
}

impl Default for ConntrackRules {
    fn default() -> Self {
        Self { limits_retransmissions: true, checks_fin_direction: true }
    }
}

/// Meters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file by itself")]
pub struct MeterRules {
    /// The highest committed or excess rate, in bytes a second; a packet counts 128. A peak rate may be twice as high.
    pub highest_rate: Option<u64>,
    /// The largest committed or excess burst, in bytes. A peak burst may be twice as large.
    pub largest_burst: Option<u64>,
    /// Rates and bursts are kept with eight significant bits.
    pub rounded: bool,
    /// With RFC 4115, what a full committed bucket cannot hold fills the excess bucket.
    pub excess_takes_overflow: bool,
    /// What meters count; absent: everything.
    #[serde(deserialize_with = "statistics")]
    pub statistics: Option<MeterStatistics>,
    /// The colour that a packet brings with it may come from its headers.
    pub color_tables: bool,
    /// A policy's actions for packets that are not red; absent: all.
    pub policy_actions: Option<Vec<ActionKind>>,
    /// A policy drops red packets, and can do nothing else with them.
    pub red_drops: bool,
    /// `METER_MARK`'s policy is accepted and has no effect.
    pub mark_ignores_policy: bool,
    /// A meter with policy 0, where the port has none of that number, lets all but red packets pass and drops those.
    pub default_policy: bool,
}

impl Default for MeterRules {
    fn default() -> Self {
        Self {
            highest_rate: None,
            largest_burst: None,
            rounded: false,
            excess_takes_overflow: false,
            statistics: None,
            color_tables: true,
            policy_actions: None,
            red_drops: false,
            mark_ignores_policy: false,
            default_policy: true,
        }
    }
}

/// RSS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RssRules {
    /// The hash functions; absent: all.
    pub functions: Option<Vec<RssFunction>>,
}

impl RssRules {
    /// Whether the card spreads packets so.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn admit(&self, rss: &Rss) -> Result<(), String> {
        match &self.functions {
            Some(functions) if !functions.contains(&rss.function) => {
                let known: Vec<_> = functions.iter().map(|function| function.name()).collect();
                Err(format!(
                    "RSS does not hash by {}; use {}",
                    rss.function.name(),
                    known.join(" or ")
                ))
            }
            _ => Ok(()),
        }
    }
}

/// SAMPLE.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SampleRules {
    /// Sub-actions of ingress rules; absent: all.
    pub ingress: Option<Vec<ActionKind>>,
    /// Sub-actions of egress rules; absent: all.
    pub egress: Option<Vec<ActionKind>>,
    /// Sub-actions of transfer rules; absent: all.
    pub transfer: Option<Vec<ActionKind>>,
    /// In ingress rules, the copy must go to a queue; in transfer rules with sub-actions, to a port.
    pub needs_destination: bool,
    /// A transfer rule that copies not every packet has no sub-actions: the copy goes to the switch's manager.
    pub bare_in_transfer: bool,
}

impl SampleRules {
    /// The sub-actions that rules of a domain may have; `None`: all.
    #[must_use]
    pub fn of(&self, domain: Domain) -> Option<&[ActionKind]> {
        match domain {
            Domain::Ingress => self.ingress.as_deref(),
            Domain::Egress => self.egress.as_deref(),
            Domain::Transfer => self.transfer.as_deref(),
        }
    }
}

fn statistics<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MeterStatistics>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    let bit = |name: &String| {
        let found = MeterStatistics::from_name(&name.to_uppercase());
        found.ok_or_else(|| D::Error::custom(format!("no meter counts `{name}`")))
    };
    names.iter().map(bit).collect::<Result<MeterStatistics, _>>().map(Some)
}

impl<'de> Deserialize<'de> for ActionKind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("there is no action `{name}`")))
    }
}

impl<'de> Deserialize<'de> for ItemKind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let found = Self::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| D::Error::custom(format!("there is no item `{name}`")))
    }
}
