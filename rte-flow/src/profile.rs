//! What one NIC accepts and how it behaves, as data: hardware x steering x driver version.
//!
//! The files in `profiles/` are built in; `docs/reference/nic-profiles.md` describes their fields. [`crate::check`] says
//! what a profile accepts; the simulated NIC also obeys timing, table sizes and the behaviour on duplicates.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::action::ActionKind;
use crate::attribute::Domain;
use crate::item::ItemKind;
use crate::modify::FieldId;

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
    /// Modify-header commands of a rule.
    pub modify_commands: Option<u32>,
    /// Modify-header commands of a rule in a root group.
    pub root_modify_commands: Option<u32>,
}

/// Encapsulation and decapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encap {
    /// The longest header in bytes; absent: without limit.
    pub max_bytes: Option<usize>,
    /// The outer UDP checksum must be 0.
    pub zero_udp_checksum: bool,
    /// `VXLAN_DECAP` needs the item VXLAN in the same pattern.
    pub decap_needs_item: bool,
    /// Allowed in ingress and egress rules of representors too.
    pub on_representors: bool,
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
    /// Fields that must be matched.
    pub required: u64,
    /// Fields whose value must not be 0.
    pub nonzero: u64,
    /// Where.
    pub place: Place,
}

/// In which domains and groups an item or action is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub domains: Vec<Domain>,
    pub root: bool,
}

/// Actions that stand together in order and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionClass {
    /// `VXLAN_DECAP`, `RAW_DECAP`.
    Decap,
    /// `VXLAN_ENCAP`, `RAW_ENCAP`.
    Encap,
    /// Everything that the modify-header engine does.
    Modify,
    /// Everything that decides where the packet goes.
    Fate,
    /// One action.
    One(ActionKind),
}

impl ActionClass {
    pub(crate) const fn contains(self, kind: ActionKind) -> bool {
        match self {
            Self::Decap => matches!(kind, ActionKind::VxlanDecap | ActionKind::RawDecap),
            Self::Encap => matches!(kind, ActionKind::VxlanEncap | ActionKind::RawEncap),
            Self::Modify => kind.is_modify(),
            Self::Fate => kind.is_fate(),
            Self::One(one) => one as usize == kind as usize,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Decap => "decap",
            Self::Encap => "encap",
            Self::Modify => "modify",
            Self::Fate => "fate",
            Self::One(kind) => kind.name(),
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            "decap" => Some(Self::Decap),
            "encap" => Some(Self::Encap),
            "modify" => Some(Self::Modify),
            "fate" => Some(Self::Fate),
            _ => {
                ActionKind::ALL.iter().find(|kind| kind.name() == name).map(|kind| Self::One(*kind))
            }
        }
    }
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
    /// Encapsulation.
    pub encap: Encap,
    /// How many fate actions a rule has.
    pub fates: Fates,
    /// The domains whose group 0 is the root table, with its tighter limits.
    pub(crate) root_domains: Vec<Domain>,
    /// Whether a rule may jump to a root group.
    pub(crate) jump_to_root: bool,
    /// Indexed by `ItemKind`.
    pub(crate) items: Vec<Option<ItemRule>>,
    /// Indexed by `ActionKind`.
    pub(crate) actions: Vec<Option<Place>>,
    /// Classes in the order they must have.
    pub(crate) order: Vec<Vec<ActionClass>>,
    /// Classes of which a rule has at most one.
    pub(crate) at_most_one: Vec<ActionClass>,
    /// Destinations of `MODIFY_FIELD`; bit `i` is the field with index `i`.
    pub(crate) modify_destinations: u64,
    /// Whether `MODIFY_FIELD` reaches inner headers.
    pub(crate) modify_inner: bool,
    /// Whether `MODIFY_FIELD` subtracts.
    pub(crate) modify_sub: bool,
}

const BUILT_IN: &[(&str, &str)] = &[
    ("unlimited", include_str!("../profiles/unlimited.toml")),
    ("bluefield3-sws-22.11", include_str!("../profiles/bluefield3-sws-22.11.toml")),
    ("bluefield3-hws-22.11", include_str!("../profiles/bluefield3-hws-22.11.toml")),
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
        let file: File = toml::from_str(text).map_err(|error| ProfileError::Syntax {
            origin: origin.to_owned(),
            message: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        })?;
        file.resolve(&Names { origin })
    }

    /// What is accepted of an item.
    pub(crate) fn item(&self, kind: ItemKind) -> Option<&ItemRule> {
        self.items.get(kind as usize)?.as_ref()
    }

    /// Where an action is accepted.
    pub(crate) fn action(&self, kind: ActionKind) -> Option<&Place> {
        self.actions.get(kind as usize)?.as_ref()
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
        self.action(kind).is_some_and(|p| p.domains.contains(&domain) && (p.root || !is_root))
    }

    /// Whether `MODIFY_FIELD` may change this field.
    #[must_use]
    pub fn can_modify(&self, field: FieldId) -> bool {
        self.modify_destinations >> field as usize & 1 == 1
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    steering: Steering,
    fates: Fates,
    root_domains: Vec<Domain>,
    jump_to_root: bool,
    interface: Interface,
    #[serde(default)]
    timing: Timing,
    #[serde(default)]
    limits: Limits,
    encap: Encap,
    #[serde(default)]
    order: Vec<Vec<String>>,
    #[serde(default)]
    at_most_one: Vec<String>,
    modify: ModifyFile,
    items: Option<BTreeMap<String, ItemFile>>,
    actions: Option<BTreeMap<String, ActionFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModifyFile {
    destinations: Option<Vec<String>>,
    inner: bool,
    sub: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemFile {
    fields: Option<Vec<String>>,
    #[serde(default)]
    whole: Vec<String>,
    #[serde(default)]
    ranges: Vec<String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    nonzero: Vec<String>,
    domains: Option<Vec<Domain>>,
    #[serde(default = "yes")]
    root: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionFile {
    domains: Option<Vec<Domain>>,
    #[serde(default = "yes")]
    root: bool,
}

const fn yes() -> bool {
    true
}

const EVERYWHERE: [Domain; 3] = [Domain::Ingress, Domain::Egress, Domain::Transfer];

/// Turns names into what they stand for.
struct Names<'a> {
    origin: &'a str,
}

impl Names<'_> {
    fn wrong(&self, table: &str, name: &str) -> ProfileError {
        ProfileError::Name {
            origin: self.origin.to_owned(),
            table: table.to_owned(),
            name: name.to_owned(),
        }
    }

    fn fields(&self, kind: ItemKind, names: &[String]) -> Result<u64, ProfileError> {
        names.iter().try_fold(0, |bits, name| {
            let index = kind.fields().iter().position(|info| info.name == name);
            index
                .map(|index| bits | 1 << index)
                .ok_or_else(|| self.wrong(&format!("items.{kind}"), name))
        })
    }

    fn classes(&self, table: &str, names: &[String]) -> Result<Vec<ActionClass>, ProfileError> {
        let class = |name: &String| ActionClass::named(name).ok_or_else(|| self.wrong(table, name));
        names.iter().map(class).collect()
    }

    fn item(&self, kind: ItemKind, file: ItemFile) -> Result<ItemRule, ProfileError> {
        Ok(ItemRule {
            fields: match &file.fields {
                Some(names) => self.fields(kind, names)?,
                None => u64::MAX,
            },
            whole: self.fields(kind, &file.whole)?,
            ranges: self.fields(kind, &file.ranges)?,
            required: self.fields(kind, &file.required)?,
            nonzero: self.fields(kind, &file.nonzero)?,
            place: place(file.domains, file.root),
        })
    }

    fn items(
        &self,
        files: Option<BTreeMap<String, ItemFile>>,
    ) -> Result<Vec<Option<ItemRule>>, ProfileError> {
        let Some(files) = files else {
            let all = ItemRule {
                fields: u64::MAX,
                whole: 0,
                ranges: u64::MAX,
                required: 0,
                nonzero: 0,
                place: place(None, true),
            };
            return Ok(vec![Some(all); ItemKind::ALL.len()]);
        };
        let mut items = vec![None; ItemKind::ALL.len()];
        for (name, file) in files {
            let kind = ItemKind::ALL.iter().copied().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| self.wrong("items", &name))?;
            if let Some(slot) = items.get_mut(kind as usize) {
                *slot = Some(self.item(kind, file)?);
            }
        }
        Ok(items)
    }

    fn actions(
        &self,
        files: Option<BTreeMap<String, ActionFile>>,
    ) -> Result<Vec<Option<Place>>, ProfileError> {
        let Some(files) = files else {
            return Ok(vec![Some(place(None, true)); ActionKind::ALL.len()]);
        };
        let mut actions = vec![None; ActionKind::ALL.len()];
        for (name, file) in files {
            let kind = ActionKind::ALL.iter().copied().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| self.wrong("actions", &name))?;
            if let Some(slot) = actions.get_mut(kind as usize) {
                *slot = Some(place(file.domains, file.root));
            }
        }
        Ok(actions)
    }

    fn destinations(&self, names: Option<&Vec<String>>) -> Result<u64, ProfileError> {
        let Some(names) = names else {
            // Where a packet starts is no field that can change.
            return Ok(!(1 << FieldId::Start as usize));
        };
        names.iter().try_fold(0, |bits, name| {
            let field = FieldId::ALL.iter().find(|field| field.name() == name);
            let field = field.ok_or_else(|| self.wrong("modify.destinations", name))?;
            Ok(bits | 1 << *field as usize)
        })
    }
}

fn place(domains: Option<Vec<Domain>>, root: bool) -> Place {
    Place { domains: domains.unwrap_or_else(|| EVERYWHERE.to_vec()), root }
}

impl File {
    fn resolve(self, names: &Names<'_>) -> Result<Profile, ProfileError> {
        Ok(Profile {
            items: names.items(self.items)?,
            actions: names.actions(self.actions)?,
            order: self
                .order
                .iter()
                .map(|classes| names.classes("order", classes))
                .collect::<Result<_, _>>()?,
            at_most_one: names.classes("at_most_one", &self.at_most_one)?,
            modify_destinations: names.destinations(self.modify.destinations.as_ref())?,
            modify_inner: self.modify.inner,
            modify_sub: self.modify.sub,
            name: self.name,
            steering: self.steering,
            interface: self.interface,
            timing: self.timing,
            limits: self.limits,
            encap: self.encap,
            fates: self.fates,
            root_domains: self.root_domains,
            jump_to_root: self.jump_to_root,
        })
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
        assert!(!can("bluefield3-sws-22.11"));
        assert!(!can("bluefield3-hws-22.11"));
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
