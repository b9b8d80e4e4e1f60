//! What one NIC accepts and how it behaves, as data: hardware x steering x driver version.
//!
//! The files in `profiles/` are built in; `docs/reference/nic-profiles.md` describes their fields. [`crate::check`] says
//! what a profile accepts; the simulated NIC also obeys timing, table sizes and the behaviour on duplicates.

mod actions;
mod file;
mod objects;
mod queues;
mod receive;

use serde::Deserialize;
use thiserror::Error;

use crate::action::ActionKind;
use crate::attribute::Domain;
use crate::header::GeneveOptionId;
use crate::item::ItemKind;
use crate::modify::FieldId;

pub(crate) use actions::{ActionClass, ActionRule, ActionSet};
pub use objects::{
    AgeRules, ConntrackRules, IndirectRules, MeterRules, ModifyRules, RssRules, SampleRules,
};
pub use queues::{PoolRules, QueueRules, Reconfiguration, TableRules};
pub use receive::{Multicast, ReceiveRules, VlanFilter};

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// No built-in profile has this name.
    #[error("there is no profile `{name}`; use one of {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Not a profile's TOML.
    #[error("profile {origin}: {message}")]
    Syntax {
        /// The file or built-in name.
        origin: String,
        /// What is wrong, in one line.
        message: String,
    },
    /// A name that stands for nothing.
    #[error("profile {origin}: {table} names `{name}`, which does not exist; correct or remove it")]
    Name {
        /// The file or built-in name.
        origin: String,
        /// Where the name stands.
        table: String,
        /// The name.
        name: String,
    },
}

/// Who executes rules in the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Steering {
    /// No card: the model without limits.
    None,
    /// Software steering (mlx5 `dv_flow_en=1`).
    Software,
    /// Hardware steering (mlx5 `dv_flow_en=2`).
    Hardware,
}

/// What happens to a rule whose pattern is there already, at the same group and priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Accepted; the older rule keeps the packets until it leaves.
    FirstWins,
    /// Accepted; the newer rule takes the packets.
    NewestWins,
    /// Refused with EEXIST.
    Refused,
}

/// What spec bits outside the mask do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecOutsideMask {
    /// Nothing.
    Ignored,
    /// The rule is accepted and never hit.
    NeverHits,
}

/// On which ports transfer rules may be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferPorts {
    /// On any port of the switch.
    Any,
    /// On the transfer proxy alone.
    Proxy,
}

/// How many actions of a rule may decide where the packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fates {
    /// One.
    ExactlyOne,
    /// One or none.
    AtMostOne,
}

/// Which interfaces there are and how they behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// `rte_flow_create` and `rte_flow_destroy`.
    pub synchronous: bool,
    /// `rte_flow_configure`, templates, tables and queues.
    pub templates: bool,
    /// Where transfer rules are created.
    pub transfer_ports: TransferPorts,
    /// What a duplicate does.
    pub duplicates: Duplicates,
    /// What spec bits outside the mask do.
    pub spec_outside_mask: SpecOutsideMask,
    /// Egress rules of representors.
    #[serde(default = "yes")]
    pub egress_on_representors: bool,
}

/// What an item that asks for a VLAN tag says of further tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VlanTags {
    /// Nothing.
    AtLeast,
    /// That there is none, unless the pattern asks for one.
    Exactly,
}

/// How fragments are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fragments {
    /// By the header's bits.
    Bits,
    /// By one flag: fragments from whole packets. A mask over some of the bits asks for the flag too.
    Flag,
}

/// What port items stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortItems {
    /// What `rte_flow` says.
    Ports,
    /// Virtual ports of the switch: all that software sends comes from one, whatever port `PORT_REPRESENTOR` names;
    /// `REPRESENTED_PORT` without spec asks for nothing, and `PORT_ID` without spec for the rule's own port.
    VirtualPorts,
}

/// What the item CONNTRACK compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConntrackItem {
    /// Each flag by itself.
    Flags,
    /// A register in which "valid" is 0, as it is for packets that nobody tracked.
    Syndrome,
}

/// When a second IP item is the packet inside the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpInIp {
    /// Never.
    Never,
    /// When the first asks for the second's protocol number.
    ByProtocol,
    /// Unless the first asks for another protocol.
    Always,
}

/// Which headers INTEGRITY is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntegrityDepth {
    /// By its level: of 0 and 1 the outer ones, of 2 the inner ones.
    #[default]
    Level,
    /// Those among which it stands: behind a tunnel's item the inner ones.
    Place,
    /// The inner ones where the mask of its level is not 0.
    LevelMask,
}

/// How items are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// How many items VLAN a stack of headers has, 1 or 2.
    pub vlan_items: u8,
    /// What an item that asks for a tag says of further tags.
    pub vlan_tags: VlanTags,
    /// How fragments are told apart.
    pub fragments: Fragments,
    /// What port items stand for.
    pub ports: PortItems,
    /// What CONNTRACK compares.
    pub conntrack: ConntrackItem,
    /// When IP follows IP.
    pub ip_in_ip: IpInIp,
    /// INTEGRITY asks only for checks of layers that the pattern names.
    pub integrity_needs_layers: bool,
    /// Which headers INTEGRITY is about.
    #[serde(default)]
    pub integrity_depth: IntegrityDepth,
    /// A `GENEVE_OPT` also asks that it is the packet's only option, unless the pattern asks for GENEVE's `optlen`.
    pub geneve_option_alone: bool,
}

/// How fast the card is; absent: at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Insertions a second.
    pub insertions_per_second: Option<u64>,
    /// Deletions a second.
    pub deletions_per_second: Option<u64>,
    /// The age in milliseconds that a counter's reading may have.
    #[serde(default)]
    pub counter_refresh_ms: u64,
}

/// Sizes; absent: without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Rules in root groups together.
    pub root_rules: Option<u64>,
    /// Rules of the device.
    pub rules: Option<u64>,
    /// Counters of the device.
    pub counters: Option<u64>,
    /// Tracked connections of the device.
    pub conntracks: Option<u64>,
    /// Meters of the device.
    pub meters: Option<u64>,
    /// Meter profiles of a port; their identifiers are below.
    pub meter_profiles: Option<u32>,
    /// Meter policies of a port; their identifiers are below.
    pub meter_policies: Option<u32>,
    /// The highest value of MARK.
    pub highest_mark: Option<u32>,
    /// The highest group.
    pub highest_group: Option<u32>,
    /// The lowest priority of root groups (its largest number).
    pub lowest_root_priority: Option<u32>,
    /// The lowest priority of other groups.
    pub lowest_priority: Option<u32>,
    /// Items of a pattern.
    pub items: Option<usize>,
    /// Width of a pattern in words of 32 bits, each item's matched fields rounded up.
    pub match_words: Option<u32>,
    /// Registers of the item TAG and the action `SET_TAG`.
    pub tags: Option<u32>,
    /// Different `GENEVE_OPT` (class, type and length) of the device.
    pub geneve_options: Option<u64>,
    /// Words of 32 bits of their data together.
    pub geneve_option_words: Option<u64>,
    /// Modify-header commands of a rule.
    pub modify_commands: Option<u32>,
    /// Modify-header commands of a rule in a root group.
    pub root_modify_commands: Option<u32>,
}

impl Limits {
    /// Whether a device of this size knows all these options of GENEVE, which differ from each other.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn admit_options(&self, options: &[GeneveOptionId]) -> Result<(), String> {
        if let Some(most) = self.geneve_options.filter(|most| options.len() as u64 > *most) {
            return Err(format!(
                "the device knows {most} different options of GENEVE at a time; remove the rules with the others"
            ));
        }
        let words: u64 = options.iter().map(|option| u64::from(option.length)).sum();
        if let Some(most) = self.geneve_option_words.filter(|most| words > *most) {
            return Err(format!(
                "the data of the device's options has {most} words of 32 bits together; match shorter ones"
            ));
        }
        Ok(())
    }
}

/// Encapsulation and decapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file by itself")]
pub struct Encap {
    /// The longest header in bytes; absent: without limit.
    pub max_bytes: Option<usize>,
    /// The outer UDP checksum must be 0.
    pub zero_udp_checksum: bool,
    /// `VXLAN_DECAP` needs the item VXLAN in the same pattern.
    pub decap_needs_item: bool,
    /// Allowed in ingress and egress rules of representors too.
    pub on_representors: bool,
    /// Buffers of `RAW_ENCAP` and `RAW_DECAP` must be headers; else they are taken as they are.
    #[serde(default = "yes")]
    pub checks_buffers: bool,
    /// The bits that `RAW_ENCAP` preserves stay as they are; else the mask is not looked at.
    #[serde(default = "yes")]
    pub preserves: bool,
}

const fn yes() -> bool {
    true
}

/// What is accepted of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemRule {
    /// Matchable fields; bit `i` is the item's field `i`.
    pub fields: u64,
    /// Fields that are matched in full or not at all.
    pub whole: u64,
    /// Fields with ranges.
    pub ranges: u64,
    /// Fields whose `last` is accepted and not looked at.
    pub ranges_ignored: u64,
    /// Fields that must be matched.
    pub required: u64,
    /// Fields whose value must not be 0.
    pub nonzero: u64,
    /// Fields of bits that are asked to be set, never to be clear.
    pub positive: u64,
    /// The bits of fields of which not all can be matched.
    pub bits: Vec<(usize, u128)>,
    /// Values that fields cannot be matched against.
    pub excluded: Vec<(usize, Vec<u64>)>,
    /// The largest values that fields can be matched against.
    pub highest: Vec<(usize, u64)>,
    /// A pattern has the item once for each stack of headers.
    pub once: bool,
    /// The item must have a spec.
    pub spec: bool,
    /// Where.
    pub place: Place,
}

/// In which domains and groups an item or action is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub domains: Vec<Domain>,
    pub root: bool,
}

/// What one NIC accepts and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name, `hardware-steering-version`.
    pub name: String,
    /// Who executes rules.
    pub steering: Steering,
    /// Interfaces.
    pub interface: Interface,
    /// Speed.
    pub timing: Timing,
    /// Sizes.
    pub limits: Limits,
    /// How items are understood.
    pub matching: Matching,
    /// Flow queues.
    pub queues: QueueRules,
    /// Template tables.
    pub tables: TableRules,
    /// What `rte_flow_configure` reserves.
    pub pools: PoolRules,
    /// Encapsulation.
    pub encap: Encap,
    /// How many fate actions a rule has.
    pub fates: Fates,
    /// The domains whose rules may be without one all the same.
    pub(crate) optional_fate: Vec<Domain>,
    /// The domains whose group 0 is the root table, with its tighter limits.
    pub(crate) root_domains: Vec<Domain>,
    /// Whether a rule may jump to a root group.
    pub(crate) jump_to_root: bool,
    /// Indexed by `ItemKind`.
    pub(crate) items: Vec<Option<ItemRule>>,
    /// Indexed by `ActionKind`.
    pub(crate) actions: Vec<Option<ActionRule>>,
    /// Classes in the order they must have.
    pub(crate) order: Vec<Vec<ActionClass>>,
    /// Classes of which a rule has at most one.
    pub(crate) at_most_one: Vec<ActionClass>,
    /// Pairs of classes: an action of the first stands before those of the second.
    pub(crate) precedes: Vec<[ActionClass; 2]>,
    /// Sets of classes: a rule has actions of one class of each set at most.
    pub(crate) exclusive: Vec<Vec<ActionClass>>,
    /// For each action those that may be out of place before it: with all others, order and company need no look.
    pub(crate) quarrels: Vec<ActionSet>,
    /// Destinations of `MODIFY_FIELD`; bit `i` is the field with index `i`.
    pub(crate) modify_destinations: u64,
    /// The rest about `MODIFY_FIELD`.
    pub modify: ModifyRules,
    /// Shared actions.
    pub indirect: IndirectRules,
    /// AGE.
    pub age: AgeRules,
    /// CONNTRACK.
    pub conntrack: ConntrackRules,
    /// Meters.
    pub meter: MeterRules,
    /// RSS.
    pub rss: RssRules,
    /// SAMPLE.
    pub sample: SampleRules,
    /// What ports take that are not promiscuous.
    pub receive: ReceiveRules,
}

const BUILT_IN: &[(&str, &str)] = &[
    ("unlimited", include_str!("../profiles/unlimited.toml")),
    ("bluefield3-sws-22.11", include_str!("../profiles/bluefield3-sws-22.11.toml")),
    ("bluefield3-hws-22.11", include_str!("../profiles/bluefield3-hws-22.11.toml")),
    ("bluefield3-hws-24.11", include_str!("../profiles/bluefield3-hws-24.11.toml")),
    ("bluefield2-sws-22.11", include_str!("../profiles/bluefield2-sws-22.11.toml")),
];

/// A shorter name and the profile it stands for.
const ALIASES: &[(&str, &str)] = &[("bluefield3-sws", "bluefield3-sws-22.11")];

impl Profile {
    /// The names of the built-in profiles, without their aliases.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in profile of this name.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`] when there is none.
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        let full = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, full)| full);
        let (full, text) =
            BUILT_IN.iter().find(|(built_in, _)| *built_in == full).ok_or_else(|| {
                let known = BUILT_IN.iter().chain(ALIASES).map(|(name, _)| *name);
                let known = known.collect::<Vec<_>>().join(", ");
                ProfileError::Unknown { name: name.to_owned(), known }
            })?;
        Self::from_toml(full, text)
    }

    /// The profile that a TOML text describes; `origin` names it in errors.
    ///
    /// # Errors
    /// What is wrong with the text, in one line.
    pub fn from_toml(origin: &str, text: &str) -> Result<Self, ProfileError> {
        file::read(origin, text)
    }

    /// What is accepted of an item.
    pub(crate) fn item(&self, kind: ItemKind) -> Option<&ItemRule> {
        self.items.get(kind as usize)?.as_ref()
    }

    /// Whether the card has an action at all.
    #[must_use]
    pub fn knows(&self, kind: ActionKind) -> bool {
        self.action(kind).is_some()
    }

    /// Where an action is accepted.
    pub(crate) fn action(&self, kind: ActionKind) -> Option<&ActionRule> {
        self.actions.get(kind as usize)?.as_ref()
    }

    /// The actions that may be out of place before this one.
    pub(crate) fn quarrels(&self, kind: ActionKind) -> ActionSet {
        self.quarrels.get(kind as usize).copied().unwrap_or_default()
    }

    /// Whether something is said of an action with another one before it.
    fn may_quarrel(&self, before: ActionKind, kind: ActionKind) -> bool {
        let has_both = |class: &ActionClass| class.contains(kind) && class.contains(before);
        let rank = |kind: ActionKind| {
            let has_kind = |classes: &Vec<ActionClass>| classes.iter().any(|c| c.contains(kind));
            self.order.iter().position(has_kind)
        };
        let stands_alone = |kind, other: &ActionKind| {
            let accepted = self.action(kind).and_then(|rule| rule.with.as_ref());
            accepted.is_some_and(|accepted| !accepted.contains(other))
        };
        let is_in = |kind: ActionKind, classes: &Vec<ActionClass>| {
            classes.iter().any(|class| class.contains(kind))
        };
        self.at_most_one.iter().any(has_both)
            || self.precedes.iter().any(|[a, b]| a.contains(kind) && b.contains(before))
            || rank(before).zip(rank(kind)).is_some_and(|(before, mine)| before > mine)
            || self.exclusive.iter().any(|all| is_in(kind, all) && is_in(before, all))
            || (kind == ActionKind::Count || kind == ActionKind::Age) && !self.age.with_shared_count
            || stands_alone(kind, &before)
            || stands_alone(before, &kind)
    }

    /// Fills in what follows from the rest.
    pub(crate) fn complete(&mut self) {
        let kinds = || ActionKind::ALL.iter().copied();
        let quarrels = |kind| kinds().filter(|before| self.may_quarrel(*before, kind)).collect();
        self.quarrels = kinds().map(quarrels).collect();
    }

    /// Whether a group is the root table of its domain.
    #[must_use]
    pub fn is_root(&self, domain: Domain, group: u32) -> bool {
        group == 0 && self.root_domains.contains(&domain)
    }

    /// Whether rules may match this field of this item, by the field's Rust name.
    #[must_use]
    pub fn can_match(&self, kind: ItemKind, field: &str) -> bool {
        self.field_bit(kind, field, |rule| rule.fields)
    }

    /// Whether rules may match this field of this item against a range.
    #[must_use]
    pub fn can_match_range(&self, kind: ItemKind, field: &str) -> bool {
        self.field_bit(kind, field, |rule| rule.fields & rule.ranges)
    }

    /// Whether the card takes a range over the field with this index in the item, and matches its lower end alone.
    #[must_use]
    pub fn ignores_range(&self, kind: ItemKind, field: usize) -> bool {
        self.item(kind).is_some_and(|rule| rule.ranges_ignored >> field & 1 == 1)
    }

    fn field_bit(&self, kind: ItemKind, field: &str, set: impl Fn(&ItemRule) -> u64) -> bool {
        let index = kind.fields().iter().position(|info| info.name == field);
        let bit = index.map_or(0, |index| 1 << index);
        self.item(kind).is_some_and(|rule| set(rule) & bit != 0)
    }

    /// Whether rules can tell frames that exceed an MTU: ranges over the length fields of IPv4 and IPv6.
    #[must_use]
    pub fn can_match_length(&self) -> bool {
        self.can_match_range(ItemKind::Ipv4, "total_length")
            && self.can_match_range(ItemKind::Ipv6, "payload_length")
    }

    /// Whether rules may use this action in this domain and group.
    #[must_use]
    pub fn can_do(&self, kind: ActionKind, domain: Domain, group: u32) -> bool {
        let is_root = self.is_root(domain, group);
        self.action(kind)
            .map(|rule| &rule.place)
            .is_some_and(|place| place.domains.contains(&domain) && (place.root || !is_root))
    }

    /// Where an action stands among those of a rule, where the profile has an order for it: after those with a smaller number.
    #[must_use]
    pub fn order_of(&self, kind: ActionKind) -> Option<usize> {
        self.order.iter().position(|classes| classes.iter().any(|class| class.contains(kind)))
    }

    /// Whether `MODIFY_FIELD` may change this field.
    #[must_use]
    pub fn can_modify(&self, field: FieldId) -> bool {
        self.modify_destinations >> field as usize & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_loads_under_its_own_name() {
        for name in Profile::names() {
            let profile = Profile::named(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(profile.name, name);
        }
        for (alias, name) in ALIASES {
            assert_eq!(
                Profile::named(alias).map(|profile| profile.name).ok().as_deref(),
                Some(*name)
            );
        }
        let error = Profile::named("connectx-9000").expect_err("no such card");
        assert!(error.to_string().contains("bluefield3-sws-22.11"), "{error}");
    }

    #[test]
    fn only_the_unlimited_profile_matches_lengths() {
        let can = |name| Profile::named(name).is_ok_and(|profile| profile.can_match_length());
        assert!(can("unlimited"));
        for card in Profile::names().filter(|name| *name != "unlimited") {
            assert!(!can(card), "{card}");
        }
    }

    #[test]
    fn a_wrong_name_or_key_is_named() {
        let text = include_str!("../profiles/bluefield3-sws-22.11.toml");
        let error = |from: &str, to: &str| {
            let text = text.replacen(from, to, 1);
            Profile::from_toml("mine", &text).map(|profile| profile.name).unwrap_err().to_string()
        };
        assert!(error("\"has_vlan\"", "\"has_flan\"").contains("`has_flan`"));
        assert!(error("[items.eth]", "[items.ether]").contains("`ether`"));
        assert!(error("steering =", "colour = 1\nsteering =").contains("colour"));
    }
}
