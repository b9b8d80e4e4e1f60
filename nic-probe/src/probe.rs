//! Finds a profile: one trial after the other, each with what those before it found.

use rte_flow::{Action, ActionKind, Domain, FieldId, Item, ItemKind, Steering};
use toml::{Table, Value};

use crate::actions::{self, FoundAction, Modify};
use crate::behaviour;
use crate::company;
use crate::items::{self, FoundItem, full};
use crate::limits::{self, Limits};
use crate::meters;
use crate::nic::{Nic, NicError};
use crate::objects::Objects;
use crate::rules::Interface;
use crate::shown::{Shown, observe};
use crate::tables::{
    action_table, item_table, keys, kinds, limits_table, meter_table, names, number, sample_table,
    texts,
};
use crate::trial::{Place, Trial, bare};

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
    ("matching.integrity_depth", "shows in packets that are broken inside a tunnel only"),
    ("encap.preserves", "shows in encapsulated packets only, which leave the card"),
    ("modify.root_per_rule", "a matter of templates in use"),
    ("age.destruction_is_hit", "shows after seconds only"),
    ("conntrack", "shows in whole connections only"),
    ("meter.rounded", "shows in streams of packets only"),
    ("meter.excess_takes_overflow", "as above"),
    ("meter.mark_ignores_policy", "as above"),
    ("receive", "shows in frames from the wire only"),
    ("queues", "places are not counted"),
    ("tables", "as above"),
    ("actions.NAME.anywhere", "shows in few rules that decapsulate"),
    ("pools", "they are reserved before the first trial"),
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
    let meters = meters::examine(port);
    let mut objects = Objects::make(port);
    let shared = actions::share(port, &mut objects);
    trial.shared.clone_from(&objects.shared);
    let actions = actions::examine(trial, &root, &objects);
    let company = company::examine(trial, &actions);
    let limits = more_limits(trial, domain, &root, &items, &actions, &limits);
    let shown = observe(trial, &mut items);
    let refresh = behaviour::counter_refresh(trial);
    let is_proxy_only = trial.nic.representor().is_some_and(|port| {
        let actions = trial.ended(Domain::Transfer, &[]);
        let rule = Place::scratch(Domain::Transfer).rule(bare(&[ItemKind::Eth]), actions);
        trial.on(port, &rule).is_err()
    });
    let steering = match (shown.own_port_only, is_proxy_only) {
        (true, _) => Steering::Software,
        (false, true) => Steering::Hardware,
        (false, false) => Steering::None,
    };
    let egress_on_representors = trial.nic.representor().is_none_or(|port| {
        let actions = trial.ended(Domain::Egress, &[]);
        let rule = Place::scratch(Domain::Egress).rule(bare(&[ItemKind::Eth]), actions);
        trial.on(port, &rule).is_ok()
    });
    let domains = trial.domains();
    let without_fate: Vec<Domain> =
        domains.iter().copied().filter(|domain| limits::needs_no_fate(trial, *domain)).collect();
    let is_optional = without_fate.len() == domains.len();
    let fates = if is_optional { "at_most_one" } else { "exactly_one" };

    let mut table = Table::new();
    let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
    put("fates", fates.into());
    if !is_optional {
        put("optional_fate", names(&without_fate));
    }
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
            ("egress_on_representors", Some(egress_on_representors.into())),
        ]),
    );
    put("timing", keys([("counter_refresh_ms", refresh.map(number))]));
    put("limits", limits_table(&limits));
    put("matching", matching(trial, &items, &shown));
    put("encap", encap_table(trial, &actions));
    put("modify", modify_table(trial, &actions, &shown));
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
    if let Some(meters) = meters {
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
        highest_mark: limits::highest_mark(trial, actions),
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

fn modify_table(trial: &mut Trial<'_, '_>, actions: &[FoundAction], shown: &Shown) -> Value {
    let action = actions.iter().find(|action| action.kind == ActionKind::ModifyField);
    let accepted = action.and_then(|action| action.accepted.last());
    let found =
        accepted.map_or_else(Modify::default, |accepted| actions::modify(trial, accepted.domain));
    keys([
        ("destinations", Some(texts(found.destinations.into_iter().map(FieldId::name)))),
        ("inner", Some(found.inner.into())),
        ("sub", Some(found.sub.into())),
        ("within_field", Some(found.within_field.into())),
        ("field_arithmetic_copies", shown.arithmetic_copies.map(Value::from)),
    ])
}
