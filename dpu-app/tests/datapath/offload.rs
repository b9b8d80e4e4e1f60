use dpu_app::datapath::conntrack::{Offload, WhySoftware};
use dpu_app::datapath::effects::Effect;
use dpu_app::datapath::effects::RemovalReason::{Expired, Reset};
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{ConnectionHandle, FlowDirection, Time};
use dpu_app::offload::{News, Notice};

use super::frames::{Ip, ip};
use super::world::{INTENT, World, seconds};

/// Directions that became eligible, and withdrawals, at dpu1 since the last call.
fn news(world: &mut World) -> (Vec<FlowDirection>, usize) {
    let effects = std::mem::take(&mut world.nodes.get_mut(&1).unwrap().effects);
    let is_withdrawal =
        |e: &&Effect| matches!(e, Effect::Withdraw { .. } | Effect::WithdrawDirection { .. });
    let withdrawn = effects.iter().filter(is_withdrawal).count();
    let eligible = effects.into_iter().filter_map(|effect| match effect {
        Effect::EligibleForOffload { direction, .. } => Some(direction),
        _ => None,
    });
    (eligible.collect(), withdrawn)
}

fn only(world: &mut World) -> ConnectionHandle {
    world.shard(1).connections().next().unwrap().0
}

fn into_hardware(world: &mut World) -> ConnectionHandle {
    let handle = only(world);
    for direction in FlowDirection::ALL {
        assert!(world.shard(1).set_offload(handle, direction, Offload::Hardware, Time::ZERO));
    }
    handle
}

const BOTH: [FlowDirection; 2] = FlowDirection::ALL;

#[test]
fn tcp_when_established() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    world.vm(1, 0, &there.tcp((1, 2), "S"));
    world.vm(2, 0, &back.tcp((2, 1), "SA"));
    assert_eq!(news(&mut world), (vec![], 0));
    world.vm(1, 0, &there.tcp((1, 2), "A"));
    assert_eq!(news(&mut world), (BOTH.to_vec(), 0));
    world.vm(1, 0, &there.tcp((1, 2), "PA"));
    assert_eq!(news(&mut world), (vec![], 0), "said once");
    let handle = into_hardware(&mut world);
    world.vm(1, 0, &there.tcp((1, 2), "R"));
    assert_eq!(news(&mut world), (vec![], 1));
    let connection = world.shard(1).connection(handle).unwrap();
    assert_eq!(connection.offload().forward, Offload::Software(WhySoftware::Ending));
    world.vm(1, 0, &there.tcp((1, 2), "A"));
    world.vm(2, 0, &back.tcp((2, 1), "A"));
    assert_eq!(news(&mut world), (BOTH.to_vec(), 0), "restored");
    world.vm(2, 0, &back.tcp((2, 1), "FA"));
    world.vm(1, 0, &there.tcp((1, 2), "FA"));
    assert_eq!(news(&mut world), (vec![], 1));
}

#[test]
fn late_news_of_a_withdrawn_direction_is_old_news() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    world.vm(1, 0, &there.tcp((1, 2), "S"));
    world.vm(2, 0, &back.tcp((2, 1), "SA"));
    world.vm(1, 0, &there.tcp((1, 2), "A"));
    let connection = only(&mut world);
    let direction = FlowDirection::Forward;
    let notice = Notice { connection, direction, news: News::InHardware };
    let place = |world: &mut World| {
        *world.shard(1).connection(connection).unwrap().offload().get(direction)
    };
    notice.tell(Time::ZERO, world.shard(1));
    assert_eq!(place(&mut world), Offload::Hardware);
    world.vm(1, 0, &there.tcp((1, 2), "FA"));
    notice.tell(Time::ZERO, world.shard(1));
    assert_eq!(place(&mut world), Offload::Software(WhySoftware::Ending));
}

#[test]
fn udp_when_answered_or_after_some_packets() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    for _ in 0..5 {
        world.vm(1, 0, &there.udp((1, 2), 0));
    }
    assert_eq!(news(&mut world), (vec![], 0));
    world.vm(2, 0, &back.udp((2, 1), 0));
    assert_eq!(news(&mut world), (BOTH.to_vec(), 0));

    let settings: Settings = serde_json::from_str(r#"{"offload": {"afterPackets": 3}}"#).unwrap();
    let mut world = World::with(settings);
    for expected in [vec![], vec![], vec![FlowDirection::Forward], vec![]] {
        world.vm(1, 0, &there.udp((1, 2), 0));
        assert_eq!(news(&mut world), (expected, 0));
    }
    world.vm(2, 0, &back.udp((2, 1), 0));
    assert_eq!(news(&mut world), (vec![FlowDirection::Reverse], 0));
}

#[test]
fn nothing_else_ever() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    world.vm(1, 0, &there.echo(8, 1));
    world.vm(2, 0, &back.echo(0, 1));
    world.vm(1, 0, &there.carry(47, &[0; 8]));
    world.vm(2, 0, &back.carry(47, &[0; 8]));
    assert_eq!(news(&mut world), (vec![], 0));
}

#[test]
fn hardware_traffic_is_as_good_as_software_traffic() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    world.vm(1, 0, &there.udp((1, 2), 0));
    let handle = into_hardware(&mut world);
    world.at(29);
    let at = Time::ZERO + seconds(25);
    assert!(world.shard(1).hardware_activity(handle, FlowDirection::Forward, 2, 200, at));
    world.at(54);
    // The answer came in hardware: both ways from now on.
    let at = Time::ZERO + seconds(50);
    assert!(world.shard(1).hardware_activity(handle, FlowDirection::Reverse, 1, 90, at));
    assert!(world.shard(1).hardware_activity(handle, FlowDirection::Forward, 0, 0, world_now(54)));
    world.at(229);
    assert!(world.removed(1).is_empty());
    let connection = world.shard(1).connection(handle).unwrap();
    assert_eq!(
        (connection.hardware().forward.packets, connection.hardware().reverse.bytes),
        (2, 90)
    );
    world.at(230);
    assert_eq!(world.removed(1), [(Expired, 230)]);
    assert!(!world.shard(1).hardware_activity(
        handle,
        FlowDirection::Forward,
        1,
        1,
        world_now(231)
    ));
    world.vm(1, 0, &there.udp((1, 2), 0));
    assert_ne!(only(&mut world), handle, "the place is used again, the handle is not");
    assert_eq!(only(&mut world).index(), handle.index());
    assert_eq!(world.vm(2, 0, &back.udp((2, 1), 0)).at(), Some((1, 0)));
}

#[test]
fn what_hardware_carried_before_a_reset_does_not_undo_it() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    world.vm(1, 0, &there.tcp((1, 2), "S"));
    world.vm(2, 0, &back.tcp((2, 1), "SA"));
    world.vm(1, 0, &there.tcp((1, 2), "A"));
    let handle = into_hardware(&mut world);
    world.vm(1, 0, &there.tcp((1, 2), "R"));
    // The rules' counters are read when they are removed.
    for direction in FlowDirection::ALL {
        assert!(world.shard(1).hardware_activity(handle, direction, 5, 500, world_now(0)));
    }
    assert_eq!(world.shard(1).connection(handle).unwrap().hardware().reverse.packets, 5);
    world.at(10);
    assert_eq!(world.removed(1), [(Reset, 10)]);
}

fn world_now(second: u64) -> Time {
    Time::ZERO + seconds(second)
}

#[test]
fn a_moved_sender_ends_what_the_nic_admits_from_its_old_node() {
    let mut world = World::new();
    let (there, back) = (ip([1, 10], [1, 20]), ip([1, 20], [1, 10]));
    world.vm(1, 0, &there.udp((1, 2), 0));
    world.vm(2, 0, &back.udp((2, 1), 0));
    let handle = into_hardware(&mut world);
    news(&mut world);
    let appliance_gone = INTENT.replace("antiSpoof: false", "antiSpoof: true");
    world.apply(&appliance_gone.replace("node: dpu2, vf: 0", "node: dpu3, vf: 7"));
    world.sweep();
    assert_eq!(news(&mut world), (vec![], 1));
    let connection = world.shard(1).connection(handle).unwrap();
    assert_eq!(connection.vtep(), None);
    assert_eq!(connection.offload().reverse, Offload::Software(WhySoftware::NoOuterSource));
    // What goes there is another rule, in time; until then it goes to the old node.
    assert_eq!(connection.offload().forward, Offload::Hardware);
}

#[test]
fn answers_that_are_dropped_are_not_offloaded() {
    // The answers' route is a black hole, in one direction only.
    let yaml = INTENT.replace(
        "spec: {vpc: red, cidrs: [10.1.2.0/24], gatewayMac",
        "spec: {vpc: red, cidrs: [10.1.2.0/24], routeTable: hole, gatewayMac",
    ) + "---\napiVersion: penstock.dev/v1alpha1\nkind: RouteTable\nmetadata: {name: hole}\nspec: {vpc: red, routes: [{destination: 10.1.1.0/24, via: {blackhole: {}}}]}\n";
    let settings: Settings = serde_json::from_str(r#"{"offload": {"afterPackets": 1}}"#).unwrap();
    let mut world = World::with(settings);
    world.apply(&yaml);
    assert_eq!(world.vm(1, 0, &ip([1, 10], [2, 10]).udp((1, 2), 0)).at(), Some((1, 1)));
    let end = world.vm(1, 1, &Ip { ..ip([2, 10], [1, 10]) }.udp((2, 1), 0));
    assert_eq!(end.reason(), Some(model::decision::DropReason::BlackholeRoute));
    assert_eq!(news(&mut world), (vec![FlowDirection::Forward], 0));
    let (_, connection) = world.shard(1).connections().next().unwrap();
    assert!(connection.state().is_half_open(), "a dropped answer is none");
}
