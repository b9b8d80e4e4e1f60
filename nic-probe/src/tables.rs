//! What was found, as tables of a profile.

use rte_flow::{ActionKind, Domain};
use toml::{Table, Value};

use crate::actions::{FoundAction, Samples};
use crate::items::{FoundField, FoundItem};
use crate::limits::Limits;
use crate::meters::Meters;
use crate::trial::DOMAINS;

/// `[limits]`.
pub fn limits_table(limits: &Limits) -> Value {
    keys(
        [
            ("root_rules", limits.root_rules),
            ("highest_mark", limits.highest_mark),
            ("highest_group", limits.highest_group),
            ("lowest_root_priority", limits.lowest_root_priority),
            ("lowest_priority", limits.lowest_priority),
            ("items", limits.items),
            ("match_words", limits.match_words),
            ("tags", limits.tags),
            ("geneve_options", limits.geneve_options),
            ("geneve_option_words", limits.geneve_option_words),
            ("modify_commands", limits.modify_commands),
            ("root_modify_commands", limits.root_modify_commands),
        ]
        .map(|(key, limit)| (key, limit.map(number))),
    )
}

/// `[sample]`.
pub fn sample_table(samples: Samples) -> Value {
    let by_domain = samples.sub_actions.into_iter();
    let mut table: Table =
        by_domain.map(|(domain, sub)| (domain.name().to_owned(), kinds(sub))).collect();
    table.insert("needs_destination".to_owned(), samples.needs_destination.into());
    table.insert("bare_in_transfer".to_owned(), samples.bare_in_transfer.into());
    Value::Table(table)
}

/// `[meter]`.
pub fn meter_table(meters: &Meters, policy_actions: Vec<ActionKind>) -> Value {
    let statistics = meters.statistics.map(|statistics| {
        let names = statistics.iter_names().map(|(name, _)| name.to_lowercase().into());
        Value::Array(names.collect())
    });
    keys([
        ("highest_rate", meters.highest_rate.map(number)),
        ("largest_burst", meters.largest_burst.map(number)),
        ("statistics", statistics),
        ("color_tables", Some(meters.color_tables.into())),
        ("policy_actions", Some(kinds(policy_actions))),
        ("red_drops", Some(meters.red_drops.into())),
        ("default_policy", Some(meters.default_policy.into())),
    ])
}

/// `[items.NAME]`, and the name.
pub fn item_table(item: &FoundItem) -> (String, Value) {
    let fields = |which: &dyn Fn(&FoundField) -> bool| {
        let names: Vec<_> =
            item.fields.iter().filter(|field| which(field)).map(|field| field.name).collect();
        (!names.is_empty()).then(|| texts(names))
    };
    let by_field = |value: &dyn Fn(&FoundField) -> Option<Value>| {
        let values = item.fields.iter();
        let values: Table =
            values.filter_map(|field| Some((field.name.to_owned(), value(field)?))).collect();
        (!values.is_empty()).then_some(Value::Table(values))
    };
    let all = item.fields.len() == item.kind.fields().len();
    let matchable = texts(item.fields.iter().map(|field| field.name));
    let table = keys([
        ("fields", (!all).then_some(matchable)),
        ("whole", fields(&|field| field.whole)),
        ("ranges", fields(&|field| field.range)),
        ("ranges_ignored", fields(&|field| field.range_ignored)),
        ("required", fields(&|field| field.required)),
        ("nonzero", fields(&|field| field.nonzero)),
        ("positive", fields(&|field| field.positive)),
        ("bits", by_field(&|field| (field.bits != field.all).then(|| number(field.bits as u64)))),
        (
            "excluded",
            by_field(&|field| {
                let values = field.excluded.iter().map(|value| number(*value));
                (!field.excluded.is_empty()).then(|| Value::Array(values.collect()))
            }),
        ),
        ("highest", by_field(&|field| field.highest.map(number))),
        ("once", item.once.then_some(true.into())),
        ("spec", item.spec.then_some(true.into())),
        ("domains", some_domains(&item.domains)),
        ("root", (!item.root).then_some(false.into())),
    ]);
    (item.kind.name().to_owned(), table)
}

/// `[actions.NAME]`, and the name.
pub fn action_table(action: &FoundAction) -> (String, Value) {
    let needs = action.needs.iter().map(|kind| kind.name());
    let without = action.without.iter().map(|kind| kind.name());
    let table = keys([
        ("needs", (!action.needs.is_empty()).then(|| texts(needs))),
        ("without", (!action.without.is_empty()).then(|| texts(without))),
        ("after", (!action.after.is_empty()).then(|| kinds(action.after.iter().copied()))),
        ("domains", some_domains(&action.domains())),
        ("root", (!action.root).then_some(false.into())),
    ]);
    (action.kind.name().to_owned(), table)
}

fn some_domains(domains: &[Domain]) -> Option<Value> {
    (domains != DOMAINS).then(|| names(domains))
}

/// Names of domains.
pub fn names(domains: &[Domain]) -> Value {
    texts(domains.iter().map(|domain| domain.name()))
}

/// Names of actions.
pub fn kinds(kinds: impl IntoIterator<Item = ActionKind>) -> Value {
    texts(kinds.into_iter().map(ActionKind::name))
}

/// A list of texts.
pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(texts.into_iter().map(Value::from).collect())
}

/// A number as TOML has it.
pub fn number(number: impl Into<u64>) -> Value {
    Value::Integer(i64::try_from(number.into()).unwrap_or(i64::MAX))
}

/// A table of the keys that have a value.
pub fn keys<const COUNT: usize>(pairs: [(&str, Option<Value>); COUNT]) -> Value {
    let present = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Table(present.collect())
}
