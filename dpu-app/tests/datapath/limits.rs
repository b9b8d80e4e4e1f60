use dpu_app::datapath::effects::Effect;
use dpu_app::datapath::effects::RemovalReason::Evicted;
use dpu_app::datapath::settings::Settings;
use model::decision::DropReason;

use super::frames::ip;
use super::world::{End, World};

fn world(table_size: u32, per_interface: u32) -> World {
    let json = format!(
        r#"{{"connections": {{"tableSize": {table_size}, "perInterface": {per_interface}}}}}"#
    );
    let settings: Settings = serde_json::from_str(&json).unwrap();
    World::with(settings)
}

/// From `a` to `c`, both on dpu1.
fn send(world: &mut World, port: u16) -> Option<DropReason> {
    world.vm(1, 0, &ip([1, 10], [2, 10]).udp((port, 53), 0)).reason()
}

fn answer(world: &mut World, port: u16) -> Option<DropReason> {
    world.vm(1, 1, &ip([2, 10], [1, 10]).udp((53, port), 0)).reason()
}

#[test]
fn the_oldest_half_open_connection_of_the_interface_gives_way() {
    let mut world = world(100, 3);
    for port in [1, 2, 3] {
        assert_eq!(send(&mut world, port), None);
    }
    assert_eq!(answer(&mut world, 1), None);
    assert_eq!(send(&mut world, 4), None);
    assert_eq!(world.removed(1), [(Evicted, 0)]);
    assert_eq!(answer(&mut world, 2), None, "begins a connection of its own");
    assert_eq!(answer(&mut world, 3), None);
    assert_eq!(answer(&mut world, 4), None);
    assert_eq!(send(&mut world, 5), Some(DropReason::InterfaceQuota));
    assert!(world.removed(1).is_empty());
    assert_eq!(send(&mut world, 1), None, "established ones go on");
}

#[test]
fn a_full_table_evicts_nothing_of_others() {
    let mut world = world(3, 100);
    assert_eq!(world.vm(1, 2, &ip([1, 40], [2, 10]).udp((1, 1), 0)).reason(), None);
    for port in [1, 2, 3, 4] {
        assert_eq!(send(&mut world, port), None);
    }
    assert_eq!(world.removed(1), [(Evicted, 0), (Evicted, 0)]);
    let other = ip([2, 10], [1, 20]).udp((1, 1), 0);
    assert_eq!(world.vm(1, 1, &other).reason(), Some(DropReason::InterfaceQuota));
    world.at(30);
    assert_eq!(world.shard(1).connection_count(), 0);
    assert_eq!(world.vm(1, 1, &other).reason(), None);
}

#[test]
fn too_big_for_the_vpc() {
    let mut world = World::new();
    let there = ip([1, 10], [1, 20]);
    let end = world.vm(1, 0, &there.udp((1000, 53), 1450 - 28));
    assert_eq!(end.at(), Some((2, 0)));
    let end = world.vm(1, 0, &there.udp((1001, 53), 1451 - 28));
    let End::Refused { reason, frame } = end else { panic!("{end:?}") };
    assert_eq!(reason, DropReason::TooBig);
    assert_eq!(frame[34..36], [3, 4]);
    assert_eq!(frame[40..42], 1450_u16.to_be_bytes());
    // Between VMs of one node too, and on a connection that exists.
    let end = world.vm(1, 0, &ip([1, 10], [2, 10]).udp((1000, 53), 1451 - 28));
    assert!(matches!(end, End::Refused { reason: DropReason::TooBig, .. }), "{end:?}");
    let end = world.vm(1, 0, &there.udp((1000, 53), 1451 - 28));
    assert!(matches!(end, End::Refused { reason: DropReason::TooBig, .. }), "{end:?}");
    assert_eq!(world.shard(1).connection_count(), 1);
    let created = world.nodes[&1].effects.iter();
    assert_eq!(created.filter(|e| matches!(e, Effect::FlowCreated { .. })).count(), 1);
}

#[test]
fn counters_add_up() {
    let mut world = World::new();
    send(&mut world, 1);
    answer(&mut world, 1);
    world.vm(1, 0, &ip([1, 10], [7, 7]).udp((1, 1), 0));
    world.vm(1, 0, &ip([1, 10], [1, 20]).udp((1, 1), 0));
    let a = world.interface(1, "a").id;
    let counters = world.shard(1).counters();
    let of_a = counters.interface(a).unwrap();
    assert_eq!(of_a.from_vm.received.packets, 3);
    assert_eq!(of_a.from_vm.forwarded, 2);
    assert_eq!(of_a.from_vm.dropped(DropReason::NoMapping), 1);
    assert_eq!(of_a.delivered.packets, 1);
    assert_eq!(counters.sent_to_wire().packets, 1);
    let b = world.interface(2, "b").id;
    assert_eq!(world.shard(2).counters().interface(b).unwrap().from_network.forwarded, 1);
}
