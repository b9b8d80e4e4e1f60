//! Offload changes nothing that can be seen: random intent and traffic, replayed with and without it.
//!
//!     cargo test -p cli --test equivalence
//!     PENSTOCK_EQUIVALENCE_CASES=100000 PENSTOCK_EQUIVALENCE_SEED=7 cargo test --release -p cli --test equivalence
//!
//! A failure is shrunk and printed as a conformance case (`tests/cases/README.md`).

mod bits;
mod contract;
#[path = "../support/event.rs"]
mod event;
#[path = "../support/intent.rs"]
mod intent;
mod scenario;
mod traffic;
mod windows;
mod world;

use std::cell::Cell;
use std::time::Duration;

use cli::replay::{Card, EventKind, Input};
use dpu_app::datapath::settings::Settings;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use rte_flow::{EAGAIN, EEXIST, EINVAL, ENOSPC, Profile};
use sim::eswitch::{Faults, RefusedUpdate};

use scenario::{Scenario, carried, compare};
use traffic::Step;
use world::Change;

/// Enough for a minute without optimisation; nightly runs ask for more.
const CASES: u32 = 400;

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
    check(CASES, &(world::world(), traffic::steps(), settings()), |arguments| {
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

/// The contract says of each packet what the datapath and a NIC that carries its connections do: on random intent and changes of it, connections with nothing odd
/// about their packets.
#[test]
fn the_datapath_keeps_the_contract() {
    let program = contract::program();
    let (hardware, forwarded, all) = (Cell::new(0), Cell::new(0), Cell::new(0));
    // The contract's tables are as large as a node's: they do not fill here.
    let settings = prop::sample::select(vec!["", "tcp.pickUp = \"always\""])
        .prop_map(|text| toml::from_str(text).expect("good settings"));
    // Packets upon packets, silences as long as timeouts, and changes of intent.
    let steps = prop_oneof![
        traffic::calm_steps(),
        traffic::with_silences(traffic::calm_steps()),
        traffic::rounds()
    ];
    check(CASES / 4, &(contract::world(), steps, settings), |(world, mut steps, settings)| {
        // A connection in the contract stays where it was first taken in.
        steps.retain(|timed| {
            !matches!(timed.step, Step::Change(Change::Mac(..) | Change::Move(..)))
        });
        let Some(scenario) = Scenario::new(&world, &steps, settings) else { return Ok(()) };
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let on = scenario.play(&input, Some(unlimited()));
        let (by_hardware, all_forwarded) = carried(&on);
        hardware.set(hardware.get() + by_hardware);
        forwarded.set(forwarded.get() + all_forwarded);
        all.set(all.get() + scenario.packets().len() as u64);
        contract::compare(&program, &scenario, &off)
            .and_then(|()| contract::compare(&program, &scenario, &on))
            .map_err(TestCaseError::fail)
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
    let strategy = (world::world(), traffic::steps(), settings(), refusals());
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
    let strategy = (any::<bool>(), traffic::calm_steps(), cards);
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
