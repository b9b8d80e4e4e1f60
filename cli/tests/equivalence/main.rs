//! Offload changes nothing that can be seen: random intent and traffic, replayed with and without it.
//!
//!     cargo test -p cli --test equivalence
//!     PENSTOCK_EQUIVALENCE_CASES=100000 PENSTOCK_EQUIVALENCE_SEED=7 cargo test --release -p cli --test equivalence
//!
//! A failure is shrunk and printed as a conformance case (`tests/cases/README.md`).

mod bits;
#[path = "../support/contract.rs"]
mod contract;
#[path = "../support/event.rs"]
mod event;
#[path = "../support/intent.rs"]
mod intent;
mod mutations;
mod scenario;
mod sequences;
mod traffic;
mod windows;
mod world;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cli::replay::{Card, EventKind, Input, Output};
use dpu_app::datapath::settings::Settings;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use rte_flow::{EAGAIN, EEXIST, EINVAL, ENOSPC, Profile};
use sim::eswitch::{Faults, RefusedUpdate};

use contract::Lives;
use scenario::{Scenario, carried, compare};

/// Enough for a minute without optimisation; nightly runs ask for more.
const CASES: u32 = 400;

/// Keeps what a test has found, as a case that `tests/cases.rs` runs from now on: without offload, with every NIC, and against the
/// contract. While a failure is shrunk, the smaller one takes the place of the larger.
fn keep(test: &str, scenario: &Scenario, off: &Output) -> String {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/found");
    let file = home.join(format!("{test}.yaml"));
    let written = fs::create_dir_all(&home).and_then(|()| fs::write(&file, scenario.case(off)));
    match written {
        Ok(()) => format!("kept as {}", file.display()),
        Err(error) => format!("cannot be kept as {}: {error}", file.display()),
    }
}

/// Tries `test` on random values, `cases` of them unless the environment says otherwise.
fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> TestCaseResult) {
    testbed::random::check("EQUIVALENCE", cases, strategy, test);
}

fn settings() -> impl Strategy<Value = Settings> {
    let text = prop::sample::select(vec![
        "connections.tableSize = 256",
        "connections.tableSize = 256\noffload.afterPackets = 2",
        "connections.tableSize = 256\ntcp.pickUp = \"always\"",
        "connections.tableSize = 8\nconnections.perInterface = 2",
        "connections.tableSize = 256\ntcp.pickUp = {for = 60}",
        "connections.tableSize = 256\nkernelPort = {packetsPerSecond = 1, burst = 1}\n\
         tooBig = {packetsPerSecond = 1, burst = 1}\nfragments.perInterface = 1",
    ]);
    text.prop_map(|text| {
        let text = format!("fragments.tableSize = 16\n{text}");
        toml::from_str(&text).expect("good settings")
    })
}

fn unlimited() -> Card {
    Profile::named("unlimited").expect("there is such a profile").into()
}

#[test]
fn offload_changes_nothing_that_can_be_seen() {
    let (hardware, all, scenarios) = (Cell::new(0), Cell::new(0), Cell::new(0_u32));
    check(CASES, &(world::world(), sequences::steps(), settings()), |arguments| {
        let (world, steps, settings) = arguments;
        let Some(scenario) = Scenario::new(&world, &steps, settings) else { return Ok(()) };
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let on = scenario.play(&input, Some(unlimited()));
        let (by_hardware, forwarded) = carried(&on);
        hardware.set(hardware.get() + by_hardware);
        all.set(all.get() + forwarded);
        scenarios.set(scenarios.get() + 1);
        compare(&off, &on)
            .and_then(|()| scenario.check_isolation(&on))
            .map_err(|error| TestCaseError::fail(format!("{error}\n\n{}", scenario.case(&off))))?;
        if scenarios.get() % 8 == 0 && scenario.play(&input, Some(unlimited())) != on {
            return Err(TestCaseError::fail("another run gives another output"));
        }
        Ok(())
    });
    let (hardware, all) = (hardware.get(), all.get());
    eprintln!("{} scenarios, {hardware} of {all} packets carried by hardware", scenarios.get());
    assert!(hardware * 10 > all, "only {hardware} of {all} packets took the hardware path");
}

/// The contract says of each packet, and of each connection's life, what the datapath and a NIC that carries its connections do:
/// on random intent and changes of it, random connections, and all that may be odd about packets.
#[test]
fn the_datapath_keeps_the_contract() {
    let program = contract::program();
    let (hardware, forwarded, all) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let steps = prop_oneof![
        4 => sequences::steps(),
        1 => sequences::calm_steps(),
        1 => sequences::with_silences(sequences::calm_steps()),
        1 => sequences::rounds(),
        1 => sequences::tcp_lives(),
    ];
    let strategy = (world::world(), steps, settings());
    testbed::random::check_and_explore("EQUIVALENCE", CASES / 2, &strategy, |arguments| {
        let (world, steps, settings) = arguments;
        let Some(scenario) = Scenario::new(&world, &steps, settings) else { return Ok(()) };
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let on = scenario.play(&input, Some(unlimited()));
        let (by_hardware, all_forwarded) = carried(&on);
        hardware.set(hardware.get() + by_hardware);
        forwarded.set(forwarded.get() + all_forwarded);
        all.set(all.get() + scenario.packets().len() as u64);
        contract::compare(&program, &scenario.story(), &input, &off, Lives::Compared)
            .and_then(|()| {
                contract::compare(&program, &scenario.story(), &input, &on, Lives::Compared)
            })
            .map_err(|error| {
                let kept = keep("the_datapath_keeps_the_contract", &scenario, &off);
                TestCaseError::fail(format!("{kept}: {error}"))
            })
    });
    let (hardware, forwarded, all) = (hardware.get(), forwarded.get(), all.get());
    eprintln!("{forwarded} of {all} packets forwarded, {hardware} by hardware");
    assert!(hardware * 10 > forwarded, "only {hardware} of {forwarded} took the hardware path");
    assert!(forwarded * 10 > all, "only {forwarded} of {all} packets were forwarded");
}

fn refused_update() -> impl Strategy<Value = RefusedUpdate> {
    (0..60u64, prop::sample::select(vec![EAGAIN, ENOSPC, EINVAL, EEXIST]))
        .prop_map(|(number, errno)| RefusedUpdate { number, errno })
}

/// Insertions that fail, or a NIC that is full.
fn refusals() -> impl Strategy<Value = Faults> {
    let refused = refused_update()
        .prop_map(|update| Faults { refused_insertion: Some(update), ..Faults::default() });
    let full = (0..50usize).prop_map(|rules| Faults { full_at: Some(rules), ..Faults::default() });
    prop_oneof![refused, full]
}

/// Insertions that the NIC refuses, and a NIC that is full, change nothing but who carries a packet.
#[test]
fn a_nic_that_refuses_changes_nothing_that_can_be_seen() {
    let hardware = Cell::new(0);
    let strategy = (world::world(), sequences::steps(), settings(), refusals());
    check(CASES / 4, &strategy, |(world, steps, settings, faults)| {
        let Some(scenario) = Scenario::new(&world, &steps, settings) else { return Ok(()) };
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let on = scenario.play(&input, Some(Card { faults, ..unlimited() }));
        hardware.set(hardware.get() + carried(&on).0);
        compare(&off, &on).map_err(|error| {
            TestCaseError::fail(format!("{faults:?}: {error}\n\n{}", scenario.case(&off)))
        })
    });
    assert!(hardware.get() > 0, "no packet took the hardware path");
}

/// A NIC that answers hours late is in doubt meanwhile, and nobody waits for it: neither flows nor whoever replays.
#[test]
fn a_nic_that_does_not_answer_in_time_is_in_doubt() {
    const SECOND: u64 = 1_000_000_000;
    let world = world::plain_world(false);
    let flow = traffic::Flow { vpc: 0, from: 0, to: Some(1), v6: false, tcp: true, port: 1000 };
    let packet = || traffic::Step::Packet(traffic::Packet::plain(flow, false, "A"));
    let timed = |gap, step| traffic::Timed { gap, step };
    let mut steps = vec![timed(0, traffic::Step::Open(flow))];
    // After the static rules, and after the connection's.
    steps.extend([3605, 5, 3595, 5].map(|gap| timed(gap * SECOND, packet())));
    let scenario = Scenario::new(&world, &steps, Settings::default()).expect("the world is good");
    let file = scenario.capture();
    let input = Input::read(&file, &Settings::default()).expect("the capture is good");
    let off = scenario.play(&input, None);
    let profile = Profile::named("bluefield3-hws-22.11").expect("there is such a profile");
    let late = Duration::from_hours(1);
    let faults = Faults { completion_delay: late, ..Faults::default() };
    let on = scenario.play(&input, Some(Card { profile, faults }));
    assert_eq!(off.departures, on.departures);
    let mut said: Vec<_> = on
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::FlowOffloaded(_) => Some((event.time.0 / SECOND, "offloaded")),
            EventKind::FlowNotOffloaded { reason, .. } => Some((event.time.0 / SECOND, *reason)),
            _ => None,
        })
        .collect();
    // Of both directions.
    said.dedup();
    let waits = "static_rules";
    let expected =
        [(0, waits), (10, waits), (3600, waits), (3610, "unanswered"), (7200, "offloaded")];
    assert_eq!(said, expected);
}

/// No packet of ordinary traffic is lost, whatever the NIC's profile, however late it answers, and whatever fails in it.
#[test]
fn no_packet_is_lost_with_other_profiles() {
    const PROFILES: [&str; 3] = ["unlimited", "bluefield3-sws-22.11", "bluefield3-hws-22.11"];
    let hardware = [(); 3].map(|()| Cell::new(0));
    let delays = prop::sample::select(vec![0u64, 500, 3_000_000, 700_000_000]);
    let stays = refused_update()
        .prop_map(|update| Faults { refused_removal: Some(update), ..Faults::default() });
    let faults = prop_oneof![2 => Just(Faults::default()), 2 => refusals(), 1 => stays];
    let late = (delays, faults).prop_map(|(delay, faults)| Faults {
        completion_delay: Duration::from_nanos(delay),
        ..faults
    });
    let cards = (0..PROFILES.len(), late);
    let strategy = (any::<bool>(), sequences::calm_steps(), cards);
    check(CASES / 4, &strategy, |(underlay_v6, steps, (profile, faults))| {
        let world = world::plain_world(underlay_v6);
        let scenario =
            Scenario::new(&world, &steps, Settings::default()).expect("the world is good");
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let name = PROFILES[profile];
        let hardware = &hardware[profile];
        let profile = Profile::named(name).expect("there is such a profile");
        let on = scenario.play(&input, Some(Card { profile, faults }));
        hardware.set(hardware.get() + carried(&on).0);
        if off.departures != on.departures || carried(&off).1 != carried(&on).1 {
            let error = compare(&off, &on).err();
            let case = scenario.case(&off);
            return Err(TestCaseError::fail(format!("{name} {faults:?}: {error:?}\n\n{case}")));
        }
        Ok(())
    });
    assert!(hardware.iter().all(|packets| packets.get() > 0), "by profile: {hardware:?}");
}
