use dpu_app::datapath::effects::Effect;
use model::decision::DropReason;
use packet::wire::protocol;

use super::frames::{Ip, datagram, ip};
use super::world::{INTENT, World};

fn piece(number: u16, ports: (u16, u16)) -> Vec<u8> {
    let whole = datagram(ports, 40);
    let there = ip([1, 10], [1, 20]);
    match number {
        0 => Ip { fragment: (7, 0, true), ..there }.carry(protocol::UDP, &whole[..16]),
        1 => Ip { fragment: (7, 16, true), ..there }.carry(protocol::UDP, &whole[16..32]),
        _ => Ip { fragment: (7, 32, false), ..there }.carry(protocol::UDP, &whole[32..]),
    }
}

#[test]
fn later_fragments_follow_the_first() {
    let mut world = World::new();
    let end = world.vm(1, 0, &piece(1, (1000, 53)));
    assert_eq!(end.reason(), Some(DropReason::FragmentWithoutFirst));
    for number in [0, 2, 1] {
        assert_eq!(world.vm(1, 0, &piece(number, (1000, 53))).at(), Some((2, 0)), "{number}");
    }
    assert_eq!(world.shard(1).connection_count(), 1);
    let (_, connection) = world.shard(1).connections().next().unwrap();
    assert_eq!(connection.software().forward.packets, 3);
}

#[test]
fn for_30_seconds() {
    let mut world = World::new();
    world.vm(1, 0, &piece(0, (1000, 53)));
    world.at(29);
    assert_eq!(world.vm(1, 0, &piece(1, (1000, 53))).at(), Some((2, 0)));
    world.at(30);
    let end = world.vm(1, 0, &piece(2, (1000, 53)));
    assert_eq!(end.reason(), Some(DropReason::FragmentWithoutFirst));
}

#[test]
fn a_first_fragment_that_is_dropped_leaves_nothing() {
    let mut world = World::new();
    let to = |frame: Ip| Ip { destination: [10, 1, 1, 40].into(), ..frame };
    let there = ip([1, 10], [1, 20]);
    let first = to(Ip { fragment: (7, 0, true), ..there.clone() });
    let later = to(Ip { fragment: (7, 16, false), ..there });
    let end = world.vm(1, 0, &first.carry(protocol::UDP, &datagram((1, 2), 8)));
    assert_eq!(end.reason(), Some(DropReason::SecurityGroupIngress));
    let end = world.vm(1, 0, &later.carry(protocol::UDP, &[0; 8]));
    assert_eq!(end.reason(), Some(DropReason::FragmentWithoutFirst));
}

#[test]
fn later_fragments_obey_policy_changes() {
    let mut world = World::new();
    world.vm(1, 0, &piece(0, (1000, 53)));
    world.apply(
        &INTENT.replace("addresses: [10.1.1.20], securityGroups: [open]", "addresses: [10.1.1.20]"),
    );
    let end = world.vm(1, 0, &piece(1, (1000, 53)));
    assert_eq!(end.reason(), Some(DropReason::SecurityGroupIngress));
    let end = world.vm(1, 0, &piece(2, (1000, 53)));
    assert_eq!(end.reason(), Some(DropReason::FragmentWithoutFirst));
}

#[test]
fn the_first_fragment_drives_the_state() {
    let mut world = World::new();
    world.vm(1, 0, &piece(0, (1000, 53)));
    let back = Ip { fragment: (9, 0, true), ..ip([1, 20], [1, 10]) };
    let end = world.vm(2, 0, &back.carry(protocol::UDP, &datagram((53, 1000), 8)));
    assert_eq!(end.at(), Some((1, 0)));
    let effects = world.nodes[&1].effects.iter();
    let eligible = effects.filter(|e| matches!(e, Effect::EligibleForOffload { .. }));
    assert_eq!(eligible.count(), 2);
}
