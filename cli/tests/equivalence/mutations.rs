//! The comparison finds what is wrong: mistakes planted in the contract's text and in its timeouts, one at a time, are found by
//! the scenarios that it has in CI.

use std::cell::RefCell;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use cli::replay::{Input, Output};
use dpu_app::datapath::settings::{Seconds, Settings, Timeouts};
use p4::program::Program;

use crate::contract::{self, Lives, Story};
use crate::scenario::Scenario;
use crate::{CASES, check, sequences, settings, world};

/// A file of the contract, what stands there once, and what is written instead.
const MISTAKES: &[(&str, &str, &str)] = &[
    // A wrong mask, value or bound.
    ("pipeline/rewrite.p4", "0xc000 | entropy", "0x8000 | entropy"),
    (
        "pipeline/connection.p4",
        "(metadata.tcp_flags & 0x17) != 0x02",
        "(metadata.tcp_flags & 0x02) != 0x02",
    ),
    ("pipeline/parser.p4", "0x08 &&& 0x08 : inner_ethernet", "0x08 &&& 0xff : inner_ethernet"),
    (
        "pipeline.p4",
        "metadata.ip.length > metadata.interface.mtu",
        "metadata.ip.length >= metadata.interface.mtu",
    ),
    ("pipeline/rewrite.p4", "4, 5, dscp, NOT_ECT", "4, 5, 0, NOT_ECT"),
    ("pipeline/rewrite.p4", "0, 0, 1, 0, 0, 64, PROTOCOL_UDP", "0, 0, 0, 0, 0, 64, PROTOCOL_UDP"),
    ("pipeline/admission.p4", "(ECT_0, CE) : mark(CE);", "(ECT_0, CE) : keep();"),
    // A swapped key.
    (
        "pipeline/rewrite.p4",
        "has_ports ? metadata.destination_port : 0,\n            has_ports ? metadata.source_port : 0",
        "has_ports ? metadata.source_port : 0,\n            has_ports ? metadata.destination_port : 0",
    ),
    ("pipeline/connection.p4", "!connection.from_network && !way.local }", "false }"),
    (
        "pipeline.p4",
        "routing.apply(other, metadata.connection.source,",
        "routing.apply(first, metadata.connection.source,",
    ),
    (
        "pipeline/policy.p4",
        "metadata.connection.source : ternary",
        "metadata.connection.destination : ternary",
    ),
    (
        "pipeline.p4",
        "metadata.way.subnet == metadata.interface.subnet",
        "metadata.way.subnet != metadata.interface.subnet",
    ),
    // A forgotten check or step.
    ("pipeline/admission.p4", "headers.ethernet.source != metadata.interface.mac || ", ""),
    ("pipeline/admission.p4", "metadata.interface.anti_spoof && !metadata.own_address", "false"),
    ("pipeline/admission.p4", "} else if (sources.apply().hit) {", "} else {"),
    ("pipeline/admission.p4", "            broadcasts.apply();", ""),
    ("pipeline/parser.p4", "verify(quoted || whole, error.WrongChecksum);", ""),
    ("pipeline/parser.p4", "verify(metadata.outer_transport.intact, error.WrongChecksum);", ""),
    ("pipeline.p4", "metadata.reason == drop_reason_t.none && metadata.way.local", "false"),
    ("pipeline.p4", "follow_connection.apply(metadata);", ""),
    ("pipeline.p4", "forget_connection.apply(metadata, !first.exists || !other.exists);", ""),
    ("pipeline/connection.p4", "connections.update(metadata.key, metadata.tcp_flags);", ""),
    ("pipeline/connection.p4", "metadata.reason = drop_reason_t.interface_quota;", ""),
    ("pipeline/connection.p4", "metadata.ip.first_fragment) {", "false) {"),
    (
        "pipeline/responders.p4",
        "found && owner != metadata.zone.interface) {\n                respond(responder_t.arp)",
        "found) {\n                respond(responder_t.arp)",
    ),
    ("pipeline/underlay.p4", "hear.apply(metadata, heard, ours);", ""),
];

/// The contract with a mistake in it.
fn mistaken((file, right, wrong): (&str, &str, &str)) -> Program {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4");
    let copy = tempfile::tempdir().expect("a directory");
    for directory in ["", "pipeline", "arch"] {
        let to = copy.path().join(directory);
        fs::create_dir_all(&to).expect("a directory");
        for entry in fs::read_dir(home.join(directory)).expect("the contract") {
            let from = entry.expect("an entry").path();
            if let (true, Some(name)) = (from.is_file(), from.file_name()) {
                fs::copy(&from, to.join(name)).expect("a copy");
            }
        }
    }
    let path = copy.path().join(file);
    let text = fs::read_to_string(&path).expect("a file of the contract");
    assert_eq!(text.matches(right).count(), 1, "in {file} stands once: {right}");
    fs::write(&path, text.replace(right, wrong)).expect("a file");
    p4::compile(&copy.path().join("pipeline.p4"))
        .unwrap_or_else(|error| panic!("{wrong}: {:?}", miette::Report::new(error)))
}

/// Scenarios with what the datapath did.
fn scenarios() -> Vec<(Scenario, Vec<u8>, Output)> {
    let all = RefCell::new(Vec::new());
    let strategy = (world::world(), sequences::steps(), settings());
    check(CASES, &strategy, |(world, steps, settings)| {
        let Some(scenario) = Scenario::new(&world, &steps, settings) else { return Ok(()) };
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        all.borrow_mut().push((scenario, file, off));
        Ok(())
    });
    all.into_inner()
}

/// After how many scenarios the comparison finds that the datapath does not do what `program` says with settings that are
/// `changed`.
fn found(
    scenarios: &[(Scenario, Vec<u8>, Output)],
    program: &Program,
    changed: impl Fn(&mut Settings),
) -> Option<usize> {
    scenarios.iter().position(|(scenario, file, off)| {
        let input = Input::read(file, &Settings::default()).expect("the capture is good");
        let story = scenario.story();
        let mut settings = *story.settings;
        changed(&mut settings);
        let story = Story { settings: &settings, ..story };
        contract::compare(program, &story, &input, off, Lives::Compared).is_err()
    })
}

#[test]
fn mistakes_in_the_contract_are_found() {
    let scenarios = scenarios();
    let mut missed = Vec::new();
    for mistake in MISTAKES {
        match found(&scenarios, &mistaken(*mistake), |_| {}) {
            Some(number) => eprintln!("after {number:3}: {} -> {}", mistake.1, mistake.2),
            None => missed.push(mistake),
        }
    }
    assert!(missed.is_empty(), "not found in {} scenarios: {missed:#?}", scenarios.len());
}

#[test]
fn timeouts_that_are_a_second_off_are_found() {
    type Timeout = fn(&mut Timeouts) -> &mut Seconds;
    let timeouts: [(&str, Timeout); 10] = [
        ("tcp_half_open", |t| &mut t.tcp_half_open),
        ("tcp_established", |t| &mut t.tcp_established),
        ("tcp_closing", |t| &mut t.tcp_closing),
        ("tcp_time_wait", |t| &mut t.tcp_time_wait),
        ("tcp_reset", |t| &mut t.tcp_reset),
        ("udp_one_way", |t| &mut t.udp_one_way),
        ("udp_both_ways", |t| &mut t.udp_both_ways),
        ("icmp_echo", |t| &mut t.icmp_echo),
        ("other", |t| &mut t.other),
        ("fragments", |t| &mut t.fragments),
    ];
    let (scenarios, program) = (scenarios(), contract::program());
    let mut missed = Vec::new();
    for (name, timeout) in timeouts {
        let longer = |settings: &mut Settings| {
            let timeout = timeout(&mut settings.timeouts);
            let seconds = timeout.duration().as_secs() as u32 + 1;
            *timeout = NonZeroU32::new(seconds).expect("more than 0").into();
        };
        match found(&scenarios, &program, longer) {
            Some(number) => eprintln!("after {number:3}: {name}"),
            None => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "not found in {} scenarios: {missed:?}", scenarios.len());
}
