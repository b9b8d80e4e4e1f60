//! Profiles as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    ActionClass, ActionRule, AgeRules, ConntrackRules, Encap, Fates, IndirectRules, Interface,
    ItemRule, Limits, Matching, MeterRules, ModifyRules, Place, PoolRules, Profile, ProfileError,
    QueueRules, ReceiveRules, RssRules, SampleRules, Steering, TableRules, Timing, yes,
};
use crate::action::ActionKind;
use crate::attribute::Domain;
use crate::item::ItemKind;
use crate::modify::FieldId;

/// The profile that a TOML text describes; `origin` names it in errors.
pub(super) fn read(origin: &str, text: &str) -> Result<Profile, ProfileError> {
    let file: File = toml::from_str(text).map_err(|error| ProfileError::Syntax {
        origin: origin.to_owned(),
        message: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    })?;
    file.resolve(&Names { origin })
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    steering: Steering,
    fates: Fates,
    #[serde(default)]
    optional_fate: Vec<Domain>,
    root_domains: Vec<Domain>,
    jump_to_root: bool,
    interface: Interface,
    #[serde(default)]
    timing: Timing,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    queues: QueueRules,
    #[serde(default)]
    tables: TableRules,
    #[serde(default)]
    pools: PoolRules,
    matching: Matching,
    encap: Encap,
    #[serde(default)]
    order: Vec<Vec<String>>,
    #[serde(default)]
    precedes: Vec<[String; 2]>,
    #[serde(default)]
    exclusive: Vec<Vec<String>>,
    #[serde(default)]
    at_most_one: Vec<String>,
    modify: ModifyFile,
    items: BTreeMap<String, ItemFile>,
    actions: BTreeMap<String, ActionFile>,
    #[serde(default)]
    indirect: IndirectRules,
    #[serde(default)]
    age: AgeRules,
    #[serde(default)]
    conntrack: ConntrackRules,
    #[serde(default)]
    meter: MeterRules,
    #[serde(default)]
    rss: RssRules,
    #[serde(default)]
    sample: SampleRules,
    #[serde(default)]
    receive: ReceiveRules,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file by itself")]
struct ModifyFile {
    destinations: Vec<String>,
    inner: bool,
    sub: bool,
    #[serde(default = "yes")]
    within_field: bool,
    #[serde(default = "yes")]
    root_per_rule: bool,
    #[serde(default)]
    field_arithmetic_copies: bool,
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
    ranges_ignored: Vec<String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    nonzero: Vec<String>,
    #[serde(default)]
    positive: Vec<String>,
    #[serde(default)]
    bits: BTreeMap<String, u64>,
    #[serde(default)]
    excluded: BTreeMap<String, Vec<u64>>,
    #[serde(default)]
    highest: BTreeMap<String, u64>,
    #[serde(default)]
    once: bool,
    #[serde(default)]
    spec: bool,
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
    #[serde(default)]
    needs: Vec<ItemKind>,
    #[serde(default)]
    anywhere: bool,
    #[serde(default)]
    without: Vec<ItemKind>,
    #[serde(default)]
    after: Vec<String>,
    with: Option<Vec<ActionKind>>,
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

    fn field(&self, kind: ItemKind, name: &str) -> Result<usize, ProfileError> {
        let index = kind.fields().iter().position(|info| info.name == name);
        index.ok_or_else(|| self.wrong(&format!("items.{kind}"), name))
    }

    fn fields(&self, kind: ItemKind, names: &[String]) -> Result<u64, ProfileError> {
        names.iter().try_fold(0, |bits, name| Ok(bits | 1 << self.field(kind, name)?))
    }

    fn by_field<V, W>(
        &self,
        kind: ItemKind,
        values: BTreeMap<String, V>,
        convert: impl Fn(V) -> W,
    ) -> Result<Vec<(usize, W)>, ProfileError> {
        let values = values.into_iter();
        values.map(|(name, value)| Ok((self.field(kind, &name)?, convert(value)))).collect()
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
            ranges_ignored: self.fields(kind, &file.ranges_ignored)?,
            required: self.fields(kind, &file.required)?,
            nonzero: self.fields(kind, &file.nonzero)?,
            positive: self.fields(kind, &file.positive)?,
            bits: self.by_field(kind, file.bits, u128::from)?,
            excluded: self.by_field(kind, file.excluded, |values| values)?,
            highest: self.by_field(kind, file.highest, |value| value)?,
            once: file.once,
            spec: file.spec,
            place: place(file.domains, file.root),
        })
    }

    fn items(
        &self,
        files: BTreeMap<String, ItemFile>,
    ) -> Result<Vec<Option<ItemRule>>, ProfileError> {
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
        files: BTreeMap<String, ActionFile>,
    ) -> Result<Vec<Option<ActionRule>>, ProfileError> {
        let mut actions = vec![None; ActionKind::ALL.len()];
        for (name, file) in files {
            let kind = ActionKind::ALL.iter().copied().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| self.wrong("actions", &name))?;
            if let Some(slot) = actions.get_mut(kind as usize) {
                *slot = Some(ActionRule {
                    place: place(file.domains, file.root),
                    needs: file.needs,
                    anywhere: file.anywhere,
                    without: file.without,
                    after: self.classes(&format!("actions.{name}.after"), &file.after)?,
                    with: file.with,
                });
            }
        }
        Ok(actions)
    }

    fn destinations(&self, names: &[String]) -> Result<u64, ProfileError> {
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
        let mut profile = Profile {
            quarrels: Vec::new(),
            items: names.items(self.items)?,
            actions: names.actions(self.actions)?,
            order: self
                .order
                .iter()
                .map(|classes| names.classes("order", classes))
                .collect::<Result<_, _>>()?,
            at_most_one: names.classes("at_most_one", &self.at_most_one)?,
            modify_destinations: names.destinations(&self.modify.destinations)?,
            precedes: self
                .precedes
                .iter()
                .map(|[first, second]| {
                    let class = |name: &String| {
                        let found = ActionClass::named(name);
                        found.ok_or_else(|| names.wrong("precedes", name))
                    };
                    Ok([class(first)?, class(second)?])
                })
                .collect::<Result<_, _>>()?,
            exclusive: self
                .exclusive
                .iter()
                .map(|classes| names.classes("exclusive", classes))
                .collect::<Result<_, _>>()?,
            modify: ModifyRules {
                inner: self.modify.inner,
                sub: self.modify.sub,
                within_field: self.modify.within_field,
                root_per_rule: self.modify.root_per_rule,
                field_arithmetic_copies: self.modify.field_arithmetic_copies,
            },
            name: self.name,
            steering: self.steering,
            interface: self.interface,
            timing: self.timing,
            limits: self.limits,
            queues: self.queues,
            tables: self.tables,
            pools: self.pools,
            matching: self.matching,
            encap: self.encap,
            fates: self.fates,
            optional_fate: self.optional_fate,
            root_domains: self.root_domains,
            jump_to_root: self.jump_to_root,
            indirect: self.indirect,
            age: self.age,
            conntrack: self.conntrack,
            meter: self.meter,
            rss: self.rss,
            sample: self.sample,
            receive: self.receive,
        };
        profile.complete();
        Ok(profile)
    }
}
