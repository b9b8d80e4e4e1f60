//! The probe, on the simulated NIC with each built-in profile, finds that profile; without a device it says so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rte_flow::{ActionKind, FieldInfo, ItemKind, Profile};
use toml::{Table, Value};

/// What the probe says that it cannot find.
const NOT_FOUND: &[&str] = &[
    "limits.rules",
    "limits.counters",
    "limits.conntracks",
    "limits.meters",
    "limits.meter_profiles",
    "limits.meter_policies",
    "timing.insertions_per_second",
    "timing.deletions_per_second",
    "receive",
    "queues",
    "tables",
    "actions.NAME.anywhere",
    "pools",
    "matching.integrity_depth",
    "encap.preserves",
    "modify.root_per_rule",
    "age.destruction_is_hit",
    "conntrack",
    "meter.rounded",
    "meter.excess_takes_overflow",
    "meter.mark_ignores_policy",
];

/// What an absent key stands for.
const DEFAULTS: &str = r#"
precedes = []
optional_fate = []
exclusive = []
timing = { counter_refresh_ms = 0 }
interface = { egress_on_representors = true }
encap = { checks_buffers = true }
modify = { within_field = true, field_arithmetic_copies = false }
rss = { functions = ["default", "simple_xor", "symmetric_toeplitz", "toeplitz"] }
indirect = { only = [] }
age = { zero_timeout = true, with_shared_count = true }
meter = { color_tables = true, red_drops = false, default_policy = true, statistics = [
    "bytes_dropped", "bytes_green", "bytes_red", "bytes_yellow", "packets_dropped", "packets_green", "packets_red",
    "packets_yellow",
] }
sample = { needs_destination = false, bare_in_transfer = false }
"#;

/// The driver as it was built with this test.
fn driver() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let driver = test.with_file_name("libpenstock_eswitch.so");
    assert!(driver.is_file(), "{} was not built", driver.display());
    driver
}

fn probe(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-nic-probe"));
    command.args(arguments).output().expect("the probe runs")
}

/// Takes keys out: those that the other table has, with the same value if that counts.
fn remove(profile: &mut Table, keys: &[&str]) {
    for key in keys {
        match key.split_once('.') {
            Some((table, key)) => {
                if let Some(Value::Table(table)) = profile.get_mut(table) {
                    table.remove(key);
                }
            }
            None => drop(profile.remove(*key)),
        }
    }
}

/// Takes out what has the value that an absent key stands for.
fn remove_defaults(profile: &mut Table, defaults: &Table) {
    for (key, default) in defaults {
        match (profile.get_mut(key), default) {
            (Some(Value::Table(table)), Value::Table(default)) => remove_defaults(table, default),
            (Some(value), default) if value == default => drop(profile.remove(key)),
            _ => {}
        }
    }
}

/// A profile in one of the forms in which it can be written: what says nothing is left out.
fn canonical(text: &str) -> Table {
    let mut profile: Table = text.parse().expect("TOML");
    remove(&mut profile, NOT_FOUND);
    // Neither is what it stands for.
    remove(&mut profile, &["name"]);
    if let Some(Value::Table(limits)) = profile.get_mut("limits") {
        // An option has a word at least.
        if let Some(words) = limits.get("geneve_option_words").and_then(Value::as_integer) {
            let options = limits.get("geneve_options").and_then(Value::as_integer);
            let options = options.unwrap_or(words).min(words);
            limits.insert("geneve_options".to_owned(), options.into());
        }
    }
    if let Some(Value::Table(items)) = profile.get_mut("items") {
        for (name, item) in items.iter_mut() {
            let Value::Table(item) = item else { panic!("items.{name} is no table") };
            canonical_item(name, item);
        }
    }
    if let Some(Value::Table(actions)) = profile.get_mut("actions") {
        for action in actions.iter_mut().filter_map(|(_, action)| action.as_table_mut()) {
            action.remove("anywhere");
        }
    }
    sub_actions(&mut profile);
    policy_actions(&mut profile);
    let company = company(&profile);
    remove(&mut profile, &["order", "precedes", "exclusive"]);
    profile.extend(company);
    sort_lists(&mut profile);
    remove_defaults(&mut profile, &DEFAULTS.parse().expect("TOML"));
    profile.retain(|_, value| value.as_table().is_none_or(|table| !table.is_empty()));
    profile
}

/// Writes out the sub-actions of SAMPLE where all are accepted: all that there are in the domain but those that no copy has.
fn sub_actions(profile: &mut Table) {
    const NEVER: [&str; 5] = ["void", "jump", "passthru", "sample", "conntrack"];
    let actions = profile.get("actions").and_then(Value::as_table).expect("actions").clone();
    let Some(sample) = actions.get("sample") else { return };
    let samples = profile.entry("sample").or_insert_with(|| Table::new().into());
    let samples = samples.as_table_mut().expect("a table");
    for domain in domains(sample) {
        let there = actions.iter().filter(|(_, action)| domains(action).contains(&domain));
        let names = there.map(|(name, _)| name.as_str()).filter(|name| !NEVER.contains(name));
        let all: Vec<Value> = names.map(Value::from).collect();
        samples.entry(domain).or_insert(all.into());
    }
}

/// Writes out the actions of meters' policies where all are accepted: all but those that have objects of their own.
fn policy_actions(profile: &mut Table) {
    const NEVER: [&str; 6] = ["void", "count", "age", "sample", "meter_mark", "conntrack"];
    let actions = profile.get("actions").and_then(Value::as_table).expect("actions");
    let has_meters = actions.contains_key("meter");
    let all = ActionKind::ALL.iter().map(|kind| kind.name());
    let all = all.filter(|name| !NEVER.contains(name) && (has_meters || *name != "meter"));
    let all: Vec<Value> = all.map(Value::from).collect();
    let meter = profile.entry("meter").or_insert_with(|| Table::new().into());
    meter.as_table_mut().expect("a table").entry("policy_actions").or_insert(all.into());
}

/// Whether a name in a profile stands for this action: its own, or its class's.
fn is_of(kind: ActionKind, name: &str) -> bool {
    match name {
        "decap" => kind.is_decap(),
        "encap" => kind.is_encap(),
        "modify" => kind.is_modify(),
        "fate" => kind.is_fate(),
        name => kind.name() == name,
    }
}

fn names(value: Option<&Value>) -> Vec<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Where a profile accepts an action.
fn domains(action: &Value) -> Vec<&str> {
    match names(action.get("domains")) {
        none if none.is_empty() => vec!["ingress", "egress", "transfer"],
        some => some,
    }
}

/// What a profile says of pairs of actions, whether by their order, in pairs or sets, by themselves or by classes: those that
/// stand before others, and those that never stand in one rule. Pairs of which there is no rule are left out.
fn company(profile: &Table) -> Table {
    let actions = profile.get("actions").and_then(Value::as_table).expect("actions");
    let kinds: Vec<ActionKind> =
        ActionKind::ALL.iter().copied().filter(|kind| actions.contains_key(kind.name())).collect();
    let lists = |key: &str| -> Vec<Vec<&str>> {
        let lists = profile.get(key).and_then(Value::as_array).into_iter().flatten();
        lists.map(|list| names(Some(list))).collect()
    };
    let (order, precedes, exclusive) = (lists("order"), lists("precedes"), lists("exclusive"));
    let at_most_one = names(profile.get("at_most_one"));
    let rank = |kind: ActionKind| {
        order.iter().position(|names| names.iter().any(|name| is_of(kind, name)))
    };
    let of = |kind: ActionKind, key: &str| names(actions.get(kind.name()).and_then(|a| a.get(key)));
    let is_testable = |one: ActionKind, other: ActionKind| {
        let [one_domains, other_domains] =
            [one, other].map(|kind| actions.get(kind.name()).map_or(Vec::new(), domains));
        let meet = one_domains.iter().any(|domain| other_domains.contains(domain));
        let needs = |one: ActionKind, other: ActionKind| of(one, "after").contains(&other.name());
        // Behind a decapsulation it is the inner headers that count, and there is one TCP at most.
        let no_pattern = |one: ActionKind, other: ActionKind| {
            one.is_decap() && of(other, "needs").contains(&"tcp")
        };
        let is_single = at_most_one.iter().any(|name| is_of(one, name) && is_of(other, name));
        let is_shared = one == ActionKind::Indirect || other == ActionKind::Indirect;
        let both_ways =
            |test: &dyn Fn(ActionKind, ActionKind) -> bool| test(one, other) || test(other, one);
        let is_one_place = one == other || is_single || one.is_fate() && other.is_fate();
        let is_untold = is_shared || both_ways(&needs) || both_ways(&no_pattern);
        meet && !is_one_place && !is_untold
    };
    let is_exclusive = |one: ActionKind, other: ActionKind| {
        exclusive.iter().any(|names| {
            let of_one = names.iter().position(|name| is_of(one, name));
            let of_other = names.iter().position(|name| is_of(other, name));
            of_one.zip(of_other).is_some_and(|(one, other)| one != other)
        })
    };
    // What an action cannot do without may be what the other cannot stand.
    let needs_exclusive = |one: ActionKind, other: ActionKind| {
        let after = of(one, "after");
        let mut before = kinds.iter().filter(|kind| after.contains(&kind.name()));
        !after.is_empty()
            && of(one, "needs").is_empty()
            && before.all(|kind| is_exclusive(*kind, other))
    };
    let (mut before, mut apart) = (Vec::new(), Vec::new());
    for one in kinds.iter().copied() {
        for other in kinds.iter().copied().filter(|other| is_testable(one, *other)) {
            let is_pair = |first: &str, second: &str| is_of(one, first) && is_of(other, second);
            let is_apart = is_exclusive(one, other)
                || needs_exclusive(one, other)
                || needs_exclusive(other, one);
            let pair = format!("{one}, {other}");
            if is_apart {
                apart.push(pair);
            } else if precedes.iter().any(|pair| is_pair(pair[0], pair[1]))
                || rank(one).zip(rank(other)).is_some_and(|(one, other)| one < other)
            {
                before.push(pair);
            }
        }
    }
    let texts = |list: Vec<String>| Value::try_from(list).expect("texts");
    [("one before another".to_owned(), texts(before)), ("never together".to_owned(), texts(apart))]
        .into_iter()
        .collect()
}

fn canonical_item(name: &str, item: &mut Table) {
    let kind = ItemKind::ALL.iter().find(|kind| kind.name() == name).expect("an item");
    let all: BTreeSet<&str> = kind.fields().iter().map(|field: &FieldInfo| field.name).collect();
    let fields = item.get("fields").and_then(Value::as_array);
    let is_all = fields.is_some_and(|fields| {
        fields.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>() == all
    });
    if is_all {
        item.remove("fields");
    }
    // Where a field is required, a spec is too.
    if item.contains_key("required") {
        item.remove("spec");
    }
}

fn sort_lists(table: &mut Table) {
    for (_, value) in table.iter_mut() {
        match value {
            Value::Array(list) => list.sort_by_key(ToString::to_string),
            Value::Table(table) => sort_lists(table),
            _ => {}
        }
    }
}

/// What differs between two tables, a line each.
fn differences(path: &str, loaded: &Table, found: &Table, into: &mut Vec<String>) {
    let keys: BTreeSet<&String> = loaded.keys().chain(found.keys()).collect();
    for key in keys {
        let path = format!("{path}{key}");
        match (loaded.get(key), found.get(key)) {
            (Some(Value::Table(loaded)), Some(Value::Table(found))) => {
                differences(&format!("{path}."), loaded, found, into);
            }
            (loaded, found) if loaded == found => {}
            (Some(Value::Array(loaded)), Some(Value::Array(found))) => {
                let missing = loaded.iter().filter(|value| !found.contains(value));
                into.extend(missing.map(|value| format!("{path}: {value} was not found")));
                let extra = found.iter().filter(|value| !loaded.contains(value));
                into.extend(extra.map(|value| format!("{path}: {value} was not loaded")));
            }
            (loaded, found) => {
                let show = |value: Option<&Value>| value.map_or("-".to_owned(), Value::to_string);
                into.push(format!("{path}: loaded {}, found {}", show(loaded), show(found)));
            }
        }
    }
}

/// Probes the simulated NIC with a profile; returns what was found otherwise.
fn wrongly_found(profile: &str) -> Vec<String> {
    let driver = driver();
    let output = probe(&["--simulated", profile, "--driver", &driver.to_string_lossy()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let found = String::from_utf8(output.stdout).expect("text");
    Profile::from_toml("found", &found).unwrap_or_else(|error| panic!("{error}\n{found}"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rte-flow/profiles");
    let loaded = std::fs::read_to_string(folder.join(format!("{profile}.toml"))).expect("a file");
    let mut different = Vec::new();
    let path = format!("{profile}: ");
    differences(&path, &canonical(&loaded), &canonical(&found), &mut different);
    for key in NOT_FOUND {
        assert!(found.contains(&format!("#   {key} (")), "{key} is not said to be missing");
    }
    different
}

#[test]
fn every_profile_is_found() {
    let names: Vec<&str> = Profile::names().collect();
    assert!(names.len() >= 5, "{names:?}");
    // One after the other: each counts time.
    let wrong: Vec<String> = names.into_iter().flat_map(wrongly_found).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_device_it_says_so_in_a_line() {
    let card = Path::new("/sys/class/infiniband");
    if card.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        eprintln!("skipped: this machine has RDMA devices");
        return;
    }
    for arguments in [&[][..], &["--pci", "0000:03:00.0"]] {
        let output = probe(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains("--simulated PROFILE"), "{error}");
    }
}

#[test]
fn a_wrong_profile_or_driver_is_named() {
    let output = probe(&["--simulated", "unlimited", "--driver", "/nowhere/driver.so"]);
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && error.contains("/nowhere/driver.so"), "{error}");
    let driver = driver();
    let output = probe(&["--simulated", "bluefield9", "--driver", &driver.to_string_lossy()]);
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && error.contains("bluefield9"), "{error}");
    assert!(error.contains("bluefield3-sws-22.11"), "{error}");
}
