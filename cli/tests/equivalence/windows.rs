//! NICs of other profiles differ within the windows of `docs/reference/offload-differences.md` and nowhere else.

use std::cell::Cell;
use std::time::Duration;

use cli::replay::{Card, Departure, Event, EventKind, Input, Output};
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{Port, Time};
use model::decision::DropReason;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rte_flow::Profile;
use sim::eswitch::Faults;

use crate::contract::{self, Lives};
use crate::scenario::{Scenario, carried, compare};
use crate::traffic::{Flow, Packet, Step, Timed};
use crate::world::Change;
use crate::{CASES, check, keep, sequences, settings, world};
use testbed::notation;

/// The profiles that have limits.
fn others() -> Vec<&'static str> {
    Profile::names().filter(|name| *name != "unlimited").collect()
}

/// Outside the windows every packet is treated as without offload.
#[test]
fn nothing_differs_outside_the_windows() {
    let program = contract::program();
    let hardware = Cell::new(0);
    let steps = sequences::steps().prop_map(sequences::patient);
    let strategy = (prop::sample::select(others()), world::world(), steps, settings());
    check(CASES / 2, &strategy, |(name, world, steps, settings)| {
        let Some(scenario) = Scenario::new(&world, &steps, settings) else { return Ok(()) };
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let profile = Profile::named(name).expect("there is such a profile");
        let on = scenario.play(&input, Some(profile.into()));
        hardware.set(hardware.get() + carried(&on).0);
        // Connections end later where hardware carried them: only the ends of packets are compared.
        contract::compare(&program, &scenario.story(), &input, &on, Lives::Open)
            .and_then(|()| compare(&without_ends(off.clone()), &without_ends(on)))
            .map_err(|error| {
                let kept = keep("nothing_differs_outside_the_windows", &scenario, &off);
                TestCaseError::fail(format!("{name}: {kept}: {error}"))
            })
    });
    assert!(hardware.get() > 0);
}

/// Without the ends of connections, which are later where hardware carried them.
fn without_ends(mut output: Output) -> Output {
    output.events.retain(|event| !matches!(event.kind, EventKind::FlowRemoved { .. }));
    output
}

/// What hardware carries keeps connections alive, also when its counters are late or rules leave with what they counted.
#[test]
fn no_connection_in_hardware_ends_early() {
    let program = contract::program();
    let hardware = Cell::new(0);
    let strategy = (prop::sample::select(others()), any::<bool>(), sequences::rounds());
    check(CASES / 2, &strategy, |(name, underlay_v6, steps)| {
        let world = world::plain_world(underlay_v6);
        let scenario =
            Scenario::new(&world, &steps, Settings::default()).expect("the world is good");
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off = scenario.play(&input, None);
        let profile = Profile::named(name).expect("there is such a profile");
        let on = scenario.play(&input, Some(profile.into()));
        hardware.set(hardware.get() + carried(&on).0);
        contract::compare(&program, &scenario.story(), &input, &on, Lives::Compared)
            .and_then(|()| compare(&off, &on))
            .map_err(|error| {
                let kept = keep("no_connection_in_hardware_ends_early", &scenario, &off);
                TestCaseError::fail(format!("{name}: {kept}: {error}"))
            })
    });
    assert!(hardware.get() > 0);
}

/// While rules are on their way, each packet is treated as before the change or as after it.
#[test]
fn during_a_change_packets_are_treated_as_before_or_as_after() {
    let (hardware, old) = (Cell::new(0), Cell::new(0));
    let delays = prop::sample::select(vec![0u64, 300, 3_000_000]);
    let strategy =
        (prop::sample::select(others()), delays, world::world(), sequences::steps_amid_changes());
    check(CASES / 2, &strategy, |(name, delay, world, steps)| {
        let Some(scenario) = Scenario::new(&world, &steps, Settings::default()) else {
            return Ok(());
        };
        let file = scenario.capture();
        let input = Input::read(&file, &Settings::default()).expect("the capture is good");
        let off: Vec<Output> = scenario.by_changes().map(|s| s.play(&input, None)).collect();
        let profile = Profile::named(name).expect("there is such a profile");
        let faults = Faults { completion_delay: Duration::from_nanos(delay), ..Faults::default() };
        let on = scenario.play(&input, Some(Card { profile, faults }));
        hardware.set(hardware.get() + carried(&on).0);
        for number in 0..input.packets.len() {
            let time = input.packets[number].time;
            let seen = treatment(&on, number, time);
            let known: Vec<_> = off.iter().map(|off| treatment(off, number, time)).collect();
            old.set(old.get() + u32::from(known.last() != Some(&seen)));
            if !known.contains(&seen) {
                let known: Vec<String> = known.iter().map(show).collect();
                return Err(TestCaseError::fail(format!(
                    "{name}, completions {delay} ns late: packet {number}\n  with so many changes {known:#?}\n  seen {}\n\n{}",
                    show(&seen),
                    scenario.case(&on)
                )));
            }
        }
        scenario.check_isolation(&on).map_err(|error| {
            TestCaseError::fail(format!("{name}: {error}\n\n{}", scenario.case(&on)))
        })
    });
    eprintln!("{} packets in hardware, {} as before", hardware.get(), old.get());
    assert!(old.get() > 0, "no packet met a rule that was on its way");
}

/// What became of a packet: whether it was dropped, and what left because of it, questions to the underlay's neighbours aside.
fn treatment(output: &Output, number: usize, time: Time) -> (Option<DropReason>, Vec<Departure>) {
    let dropped = output.events.iter().find_map(|event| match event.kind {
        EventKind::Drop { packet, reason, .. } if packet == number => Some(reason),
        _ => None,
    });
    let is_tunnelled =
        |d: &&Departure| d.port != Port::Uplink || packet::parse_vxlan(&d.frame).is_ok();
    let left = output.departures.iter().filter(|d| d.time == time).filter(is_tunnelled);
    (dropped, left.cloned().collect())
}

fn show((dropped, left): &(Option<DropReason>, Vec<Departure>)) -> String {
    let frames: Vec<String> =
        left.iter().map(|d| format!("{}: {}", d.port, notation::show(&d.frame))).collect();
    format!("{dropped:?} {frames:?}")
}

/// However many connections a change ends, they leave at the NIC's rate.
#[test]
fn a_change_ends_many_connections_at_the_nics_rate() {
    const MILLISECOND: u64 = 1_000_000;
    const CONNECTIONS: u16 = 1500;
    let world = world::plain_world(false);
    let flow = |port| Flow { vpc: 0, from: 0, to: Some(1), v6: false, tcp: false, port };
    let flows = || (1000..1000 + CONNECTIONS).map(flow);
    let timed = |gap, step| Timed { gap, step };
    let mut steps: Vec<Timed> = flows().map(|flow| timed(0, Step::Open(flow))).collect();
    steps.push(timed(MILLISECOND, Step::Change(Change::Groups(0, 1, 0))));
    // The rules of both directions, at a million a second.
    steps.push(timed(2 * u64::from(CONNECTIONS) * 1000, Step::Neighbor(1)));
    steps.extend(flows().map(|flow| timed(0, Step::Packet(Packet::plain(flow, false, "")))));
    let settings = toml::from_str("connections.tableSize = 8192").expect("good settings");
    let scenario = Scenario::new(&world, &steps, settings).expect("the world is good");
    let file = scenario.capture();
    let input = Input::read(&file, &Settings::default()).expect("the capture is good");
    let off = scenario.play(&input, None);
    for name in others() {
        let profile = Profile::named(name).expect("there is such a profile");
        let on = scenario.play(&input, Some(profile.into()));
        compare(&off, &on).unwrap_or_else(|error| panic!("{name}: {error}"));
        let offloaded = |e: &&Event| matches!(e.kind, EventKind::FlowOffloaded(_));
        assert_eq!(on.events.iter().filter(offloaded).count(), usize::from(CONNECTIONS), "{name}");
    }
}
