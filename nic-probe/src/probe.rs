//! Finds a profile: one trial after the other, each with what those before it found.

use rte_flow::{Action, ActionKind, AskedField, Domain, EEXIST, FieldId, Item, ItemKind, Steering};
use toml::{Table, Value};

use crate::actions::{self, FoundAction, Modify, Samples};
use crate::behaviour::{self, Experiments, Outcome};
use crate::company;
use crate::items::{self, FoundItem, full};
use crate::limits::{self, Limits};
use crate::meters::{self, Meters};
use crate::nic::{Nic, NicError};
use crate::objects::Objects;
use crate::rules::Interface;
use crate::trial::{DOMAINS, Place, Trial, bare};

/// What trials do not tell, and why.
pub const NOT_FOUND: &[(&str, &str)] = &[
    ("limits.rules", "to fill the card takes too long"),
    ("limits.counters", "to use up the counters takes too long"),
    ("limits.conntracks", "as above"),
    ("limits.meters", "as above"),
    ("limits.meter_profiles", "as above"),
    ("limits.meter_policies", "as above"),
    (
        "timing.insertions_per_second",
        "a matter of load and machine: measure it with dpdk-test-flow-perf",
    ),
    ("timing.deletions_per_second", "as above"),
    ("encap.preserves", "shows in encapsulated packets only, which leave the card"),
    ("modify.root_per_rule", "a matter of templates in use"),
    ("modify.field_arithmetic_copies", "shows in changed packets only, which leave the card"),
    ("age.destruction_is_hit", "shows after seconds only"),
    ("conntrack", "shows in whole connections only"),
    ("meter.rounded", "shows in streams of packets only"),
    ("meter.excess_takes_overflow", "as above"),
    ("meter.mark_ignores_policy", "as above"),
];

/// A profile as it was found.
pub struct Found {
    /// Who executes rules.
    pub steering: Steering,
    /// The rest, as the file has it.
    pub table: Table,
}

/// Finds the profile of a NIC.
///
/// # Errors
/// When it takes no rule at all.
pub fn probe(nic: &mut Nic<'_>) -> Result<Found, NicError> {
    let templates = nic.has_templates() && Trial::through(Interface::Templates, nic).is_some();
    let synchronous = Trial::through(Interface::Synchronous, nic).is_some();
    // One call for a rule is quicker than six.
    let interface = if synchronous { Interface::Synchronous } else { Interface::Templates };
    let mut trial = Trial::through(interface, nic).ok_or(NicError::NoRules)?;
    let trial = &mut trial;
    let domain = *trial.domains().last().ok_or(NicError::NoRules)?;

    let (root, jump_to_root, limits) = roots(trial);
    let mut items: Vec<FoundItem> =
        ItemKind::ALL.iter().filter_map(|kind| items::examine(trial, *kind, &root)).collect();
    let port = trial.nic.proxy();
    let mut objects = Objects::make(port);
    let shared = actions::share(port, &mut objects);
    trial.shared.clone_from(&objects.shared);
    let actions = actions::examine(trial, &root, &objects);
    let company = company::examine(trial, &actions);
    let limits = more_limits(trial, domain, &root, &items, &actions, &limits);
    let shown = observe(trial, &mut items);
    let refresh = behaviour::counter_refresh(trial);
    let steering = match (shown.own_port_only, refresh) {
        (true, _) => Steering::Software,
        (false, Some((_, true))) => Steering::Hardware,
        (false, _) => Steering::None,
    };
    let is_proxy_only = trial.nic.representor().is_some_and(|port| {
        let actions = trial.ended(Domain::Transfer, &[]);
        let rule = Place::scratch(Domain::Transfer).rule(bare(&[ItemKind::Eth]), actions);
        trial.on(port, &rule).is_err()
    });
    let fates = if limits::needs_no_fate(trial, domain) { "at_most_one" } else { "exactly_one" };

    let mut table = Table::new();
    let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
    put("fates", fates.into());
    put("root_domains", names(&root));
    put("jump_to_root", jump_to_root.into());
    put("order", Value::Array(company.order.into_iter().map(texts).collect()));
    put("precedes", Value::Array(company.precedes.into_iter().map(texts).collect()));
    put("exclusive", Value::Array(company.exclusive.into_iter().map(texts).collect()));
    put("at_most_one", texts(company.at_most_one));
    put(
        "interface",
        keys([
            ("synchronous", Some(synchronous.into())),
            ("templates", Some(templates.into())),
            ("transfer_ports", Some(if is_proxy_only { "proxy" } else { "any" }.into())),
            ("duplicates", Some(shown.duplicates.into())),
            ("spec_outside_mask", Some(shown.spec_outside_mask.into())),
        ]),
    );
    put("timing", keys([("counter_refresh_ms", refresh.map(|(refresh, _)| number(refresh)))]));
    put("limits", limits_table(&limits));
    put("matching", matching(trial, &items, &shown));
    put("encap", encap_table(trial, &actions));
    put("modify", modify_table(trial, &actions));
    put("items", Value::Table(items.iter().map(item_table).collect()));
    put("actions", Value::Table(actions.iter().map(action_table).collect()));
    let functions = actions::rss_functions(trial);
    put(
        "rss",
        keys([("functions", Some(texts(functions.iter().map(|function| function.name()))))]),
    );
    let only = actions.iter().filter(|action| action.only_shared).map(|action| action.kind);
    put(
        "indirect",
        keys([
            ("kinds", Some(kinds(shared.kinds))),
            ("only", Some(kinds(only))),
            ("updates", Some(kinds(shared.updates))),
        ]),
    );
    let (zero_timeout, with_shared_count) = actions::ageing(trial, &objects);
    put(
        "age",
        keys([
            ("zero_timeout", Some(zero_timeout.into())),
            ("with_shared_count", Some(with_shared_count.into())),
        ]),
    );
    if let Some(meters) = meters::examine(port) {
        put("meter", meter_table(&meters, actions::policy_actions(port, &objects)));
    }
    if let Some(samples) = actions::sampling(trial, &actions, &objects) {
        put("sample", sample_table(samples));
    }
    Ok(Found { steering, table })
}

/// The domains whose first group is a root table, whether rules jump there, and how groups and priorities end.
fn roots(trial: &mut Trial<'_, '_>) -> (Vec<Domain>, bool, Limits) {
    let (mut root, mut jump_to_root, mut all) = (Vec::new(), true, Limits::default());
    for domain in trial.domains() {
        let limits = limits::place_limits(trial, domain);
        let can_jump = trial.accepts_actions(Place::scratch(domain), &[Action::Jump(0)]);
        if !can_jump || limits.lowest_root_priority != limits.lowest_priority {
            root.push(domain);
            jump_to_root &= can_jump;
            all.lowest_root_priority = limits.lowest_root_priority;
        }
        all.highest_group = limits.highest_group;
        all.lowest_priority = limits.lowest_priority;
    }
    (root, jump_to_root, all)
}

fn more_limits(
    trial: &mut Trial<'_, '_>,
    domain: Domain,
    root: &[Domain],
    items: &[FoundItem],
    actions: &[FoundAction],
    limits: &Limits,
) -> Limits {
    let (geneve_options, geneve_option_words) = limits::geneve_options(trial, items);
    let in_root = root.first().copied();
    Limits {
        root_rules: in_root.and_then(|domain| limits::root_rules(trial, domain)),
        items: limits::items(trial, domain),
        match_words: limits::match_words(trial, domain, items),
        tags: limits::tags(trial, items),
        geneve_options,
        geneve_option_words,
        modify_commands: limits::modify_commands(trial, Place::scratch(domain), actions),
        root_modify_commands: in_root
            .and_then(|domain| limits::modify_commands(trial, Place::first(domain), actions)),
        ..limits.clone()
    }
}

/// What packets show.
struct Shown {
    duplicates: &'static str,
    spec_outside_mask: &'static str,
    vlan_tags: &'static str,
    ports: &'static str,
    geneve_option_alone: bool,
    /// Transfer rules without a port item are about the port through which they are made.
    own_port_only: bool,
}

fn observe(trial: &mut Trial<'_, '_>, items: &mut [FoundItem]) -> Shown {
    let ip = [ItemKind::Ipv4, ItemKind::Udp];
    let udp = behaviour::plain(&[&[ItemKind::Eth][..], &ip].concat());
    let mut experiments = Experiments::new();
    let witness = experiments.add(Domain::Egress, &[], &[vec![]], udp.clone());
    let twice = experiments.add(Domain::Egress, &[], &[vec![], vec![]], udp.clone());
    // A destination that no mask asks for.
    let outside = experiments.add(Domain::Egress, &[full(0, 1, 0)], &[vec![]], udp.clone());
    let tags = experiments.add(
        Domain::Egress,
        &[],
        &[bare(&[ItemKind::Vlan])],
        behaviour::plain(&[
            ItemKind::Eth,
            ItemKind::Vlan,
            ItemKind::Vlan,
            ItemKind::Ipv4,
            ItemKind::Udp,
        ]),
    );
    let own = experiments.add(Domain::Transfer, &[], &[vec![]], udp.clone());
    let other = u128::from(trial.nic.representor().unwrap_or(0));
    let of_port = |kind: ItemKind, fields: &[AskedField]| vec![Item::asking(kind, fields)];
    let by_name = of_port(ItemKind::PortRepresentor, &[full(0, other, u16::MAX.into())]);
    let any = of_port(ItemKind::RepresentedPort, &[]);
    let ports = [by_name, any]
        .map(|pattern| experiments.add(Domain::Transfer, &[], &[pattern], udp.clone()));
    let option = items.iter().find(|item| item.kind == ItemKind::GeneveOpt);
    let option = option.map(|option| {
        let tunnel = [&ip[..], &[ItemKind::Geneve]].concat();
        let mut pattern = bare(&tunnel);
        pattern.push(Item::asking(ItemKind::GeneveOpt, &option.least));
        let frame = behaviour::plain(&[&[ItemKind::Eth][..], &tunnel].concat());
        experiments.add(Domain::Egress, &[], &[pattern], frame)
    });
    let ranges = behaviour::add_ranges(&mut experiments, items);
    let outcomes = experiments.run(trial, witness);
    behaviour::note_ranges(&ranges, &outcomes, items);
    let hit = |number: usize| outcomes.get(number).is_some_and(|outcome| outcome.hit(0));
    Shown {
        duplicates: match outcomes.get(twice) {
            Some(Outcome::Refused(error)) if error.errno == EEXIST => "refused",
            Some(outcome) if outcome.hit(1) => "newest_wins",
            _ => "first_wins",
        },
        spec_outside_mask: if hit(outside) { "ignored" } else { "never_hits" },
        vlan_tags: if hit(tags) { "at_least" } else { "exactly" },
        ports: if ports.into_iter().any(hit) { "virtual_ports" } else { "ports" },
        geneve_option_alone: option.is_some_and(|option| !hit(option)),
        own_port_only: !hit(own),
    }
}

/// How items are understood.
fn matching(trial: &mut Trial<'_, '_>, items: &[FoundItem], shown: &Shown) -> Value {
    use ItemKind::{Conntrack, Eth, Integrity, Ipv4, Vlan};
    let domain = trial.domains().last().copied().unwrap_or(Domain::Transfer);
    let mut accepts = |pattern: &[Item]| trial.accepts_pattern(Place::scratch(domain), pattern);
    let field = |kind: ItemKind, name: &str| {
        kind.fields().iter().position(|field| field.name == name).unwrap_or(0)
    };
    let asking = |kind: ItemKind, name: &str, spec: u128, mask: u128| {
        Item::asking(kind, &[full(field(kind, name), spec, mask)])
    };
    let two_tags = accepts(&bare(&[Eth, Vlan, Vlan]));
    // The first fragment of several.
    let more = asking(Ipv4, "fragment_offset", 0x2000, 0x2000);
    let by_bits = accepts(&[bare(&[Eth]), vec![more]].concat());
    // Valid and invalid at once.
    let has_conntrack = items.iter().any(|item| item.kind == Conntrack);
    let by_flags = accepts(&[bare(&[Eth, Ipv4]), vec![asking(Conntrack, "flags", 5, 5)]].concat());
    let outer = asking(Ipv4, "protocol", 4, 0xff);
    let ip_in_ip = if accepts(&bare(&[Eth, Ipv4, Ipv4])) {
        "always"
    } else if accepts(&[bare(&[Eth]), vec![outer], bare(&[Ipv4])].concat()) {
        "by_protocol"
    } else {
        "never"
    };
    let has_integrity = items.iter().any(|item| item.kind == Integrity);
    let without_layers = accepts(&[bare(&[Eth]), vec![asking(Integrity, "checks", 4, 4)]].concat());
    keys([
        ("vlan_items", Some(number(if two_tags { 2_u64 } else { 1 }))),
        ("vlan_tags", Some(shown.vlan_tags.into())),
        ("fragments", Some(if by_bits { "bits" } else { "flag" }.into())),
        ("ports", Some(shown.ports.into())),
        ("conntrack", Some(if has_conntrack && !by_flags { "syndrome" } else { "flags" }.into())),
        ("ip_in_ip", Some(ip_in_ip.into())),
        ("integrity_needs_layers", Some((has_integrity && !without_layers).into())),
        ("geneve_option_alone", Some(shown.geneve_option_alone.into())),
    ])
}

fn limits_table(limits: &Limits) -> Value {
    keys(
        [
            ("root_rules", limits.root_rules),
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

fn meter_table(meters: &Meters, policy_actions: Vec<ActionKind>) -> Value {
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

fn sample_table(samples: Samples) -> Value {
    let by_domain = samples.sub_actions.into_iter();
    let mut table: Table =
        by_domain.map(|(domain, sub)| (domain.name().to_owned(), kinds(sub))).collect();
    table.insert("needs_destination".to_owned(), samples.needs_destination.into());
    table.insert("bare_in_transfer".to_owned(), samples.bare_in_transfer.into());
    Value::Table(table)
}

fn kinds(kinds: impl IntoIterator<Item = ActionKind>) -> Value {
    texts(kinds.into_iter().map(ActionKind::name))
}

fn encap_table(trial: &mut Trial<'_, '_>, actions: &[FoundAction]) -> Value {
    let tunnels = actions::tunnels(trial, actions);
    keys([
        ("max_bytes", tunnels.max_bytes.map(number)),
        ("zero_udp_checksum", Some(tunnels.zero_udp_checksum.into())),
        ("decap_needs_item", Some(tunnels.decap_needs_item.into())),
        ("on_representors", Some(tunnels.on_representors.into())),
        ("checks_buffers", Some(tunnels.checks_buffers.into())),
    ])
}

fn modify_table(trial: &mut Trial<'_, '_>, actions: &[FoundAction]) -> Value {
    let action = actions.iter().find(|action| action.kind == ActionKind::ModifyField);
    let accepted = action.and_then(|action| action.accepted.last());
    let found =
        accepted.map_or_else(Modify::default, |accepted| actions::modify(trial, accepted.domain));
    keys([
        ("destinations", Some(texts(found.destinations.into_iter().map(FieldId::name)))),
        ("inner", Some(found.inner.into())),
        ("sub", Some(found.sub.into())),
        ("within_field", Some(found.within_field.into())),
    ])
}

fn item_table(item: &FoundItem) -> (String, Value) {
    let fields = |which: &dyn Fn(&items::FoundField) -> bool| {
        let names: Vec<_> =
            item.fields.iter().filter(|field| which(field)).map(|field| field.name).collect();
        (!names.is_empty()).then(|| texts(names))
    };
    let by_field = |value: &dyn Fn(&items::FoundField) -> Option<Value>| {
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

fn action_table(action: &FoundAction) -> (String, Value) {
    let needs = action.needs.iter().map(|kind| kind.name());
    let table = keys([
        ("needs", (!action.needs.is_empty()).then(|| texts(needs))),
        ("after", (!action.after.is_empty()).then(|| kinds(action.after.iter().copied()))),
        ("domains", some_domains(&action.domains())),
        ("root", (!action.root).then_some(false.into())),
    ]);
    (action.kind.name().to_owned(), table)
}

fn some_domains(domains: &[Domain]) -> Option<Value> {
    (domains != DOMAINS).then(|| names(domains))
}

fn names(domains: &[Domain]) -> Value {
    texts(domains.iter().map(|domain| domain.name()))
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(texts.into_iter().map(Value::from).collect())
}

/// A number as TOML has it.
fn number(number: impl Into<u64>) -> Value {
    Value::Integer(i64::try_from(number.into()).unwrap_or(i64::MAX))
}

/// A table of the keys that have a value.
fn keys<const COUNT: usize>(pairs: [(&str, Option<Value>); COUNT]) -> Value {
    let present = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Table(present.collect())
}
