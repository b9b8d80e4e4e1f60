use dpu_app::datapath::Time;
use dpu_app::datapath::effects::Effect;
use dpu_app::datapath::effects::RemovalReason::{InterfaceRemoved, Policy};
use model::decision::DropReason;

use super::frames::{Ip, ip, mac};
use super::world::{INTENT, World};

fn udp(source: [u8; 2], destination: [u8; 2]) -> Vec<u8> {
    ip(source, destination).udp((5000, 53), 10)
}

#[test]
fn reasons_in_their_order() {
    let mut world = World::new();
    let to = |destination: [u8; 4]| Ip { destination: destination.into(), ..ip([1, 10], [1, 20]) };
    for (destination, reason) in [
        ([10, 1, 7, 7], DropReason::NoMapping),
        ([10, 1, 9, 9], DropReason::BlackholeRoute),
        ([192, 0, 2, 77], DropReason::NoRoute),
        ([10, 1, 1, 40], DropReason::SecurityGroupIngress),
        ([10, 1, 1, 50], DropReason::InterfaceDown),
        ([10, 1, 1, 255], DropReason::Broadcast),
    ] {
        let end = world.vm(1, 0, &to(destination).udp((1, 2), 0));
        assert_eq!(end.reason(), Some(reason), "{destination:?}");
    }
    let spoofed = Ip { source_mac: mac(0xa), ..ip([1, 20], [7, 7]) };
    assert_eq!(world.vm(1, 0, &spoofed.udp((1, 2), 0)).reason(), Some(DropReason::SpoofedSource));
    // Egress comes before the route.
    let end = world.vm(2, 1, &ip([2, 80], [7, 7]).tcp((1, 2), "S"));
    assert_eq!(end.reason(), Some(DropReason::SecurityGroupEgress));
    let end = world.vm(1, 4, &udp([1, 50], [1, 10]));
    assert_eq!(end.reason(), Some(DropReason::InterfaceDown));
    let end = world.vm(1, 31, &udp([1, 10], [1, 20]));
    assert_eq!(end.reason(), Some(DropReason::InterfaceDown));
    assert_eq!(world.shard(1).connection_count(), 0);
}

#[test]
fn both_ends_are_asked_and_answers_pass() {
    let mut world = World::new();
    let (a, web) = ([1, 10], [2, 80]);
    assert_eq!(world.vm(1, 0, &ip(a, web).tcp((1000, 80), "S")).at(), Some((2, 1)));
    assert_eq!(world.vm(2, 1, &ip(web, a).tcp((80, 1000), "SA")).at(), Some((1, 0)));
    let end = world.vm(1, 0, &ip(a, web).tcp((1000, 81), "S"));
    assert_eq!(
        end,
        super::world::End::Dropped { node: 2, reason: DropReason::SecurityGroupIngress }
    );
    // No groups: nothing in, all out.
    assert_eq!(world.vm(1, 2, &udp([1, 40], [1, 20])).at(), Some((2, 0)));
    assert_eq!(world.vm(2, 0, &ip([1, 20], [1, 40]).udp((53, 5000), 0)).at(), Some((1, 2)));
}

#[test]
fn tenants_with_the_same_addresses_do_not_meet() {
    let mut world = World::new();
    let frame = udp([1, 10], [1, 20]);
    assert_eq!(world.vm(1, 0, &frame).at(), Some((2, 0)));
    assert_eq!(world.vm(1, 5, &frame).at(), Some((2, 5)));
    assert_eq!(world.vm(2, 5, &ip([1, 20], [1, 10]).udp((53, 5000), 0)).at(), Some((1, 5)));
    assert_eq!(world.shard(1).connection_count(), 2);
}

#[test]
fn macs_within_and_across_subnets() {
    let mut world = World::new();
    let macs = |frame: &[u8]| (frame[..6].to_vec(), frame[6..12].to_vec());
    for ((node, vf), source, destination, expected) in [
        ((1, 0), [1, 10], [1, 20], (mac(0x0b), mac(0x0a))),
        ((1, 0), [1, 10], [2, 10], (mac(0x0c), mac(0xfe))),
        ((1, 0), [1, 10], [2, 80], (mac(0x80), mac(0xfe))),
    ] {
        let end = world.vm(node, vf, &ip(source, destination).tcp((1000, 80), "S"));
        let (to, from) = expected;
        assert_eq!(macs(end.frame()), (to.0.to_vec(), from.0.to_vec()), "{destination:?}");
    }
    // The answer crosses into the subnet of the default gateway MAC.
    let end = world.vm(1, 1, &ip([2, 10], [1, 10]).tcp((80, 1000), "SA"));
    let gateway = [0x02, 0x50, 0x4e, 0x53, 0x00, 0x01];
    assert_eq!(macs(end.frame()), (mac(0x0a).0.to_vec(), gateway.to_vec()));
}

#[test]
fn an_appliance_gets_packets_with_untouched_addresses() {
    let mut world = World::new();
    let to = |destination: [u8; 4]| {
        Ip { destination: destination.into(), ..ip([1, 10], [1, 20]) }.udp((5000, 53), 10)
    };
    let here = world.vm(1, 0, &to([198, 51, 100, 1]));
    assert_eq!(here.at(), Some((1, 3)));
    assert_eq!(here.frame()[..6], mac(0xf1).0);
    assert_eq!(here.frame()[14..], to([198, 51, 100, 1])[14..]);
    let far = world.vm(1, 0, &to([203, 0, 113, 1]));
    assert_eq!(far.at(), Some((2, 2)));
    assert_eq!(far.frame()[..6], mac(0xf2).0);
    // It answers in the server's name.
    let answer = |source: [u8; 4], last| {
        Ip { source: source.into(), source_mac: mac(last), ..ip([1, 20], [1, 10]) }
            .udp((53, 5000), 10)
    };
    assert_eq!(world.vm(1, 3, &answer([198, 51, 100, 1], 0xf1)).at(), Some((1, 0)));
    assert_eq!(world.vm(2, 2, &answer([203, 0, 113, 1], 0xf2)).at(), Some((1, 0)));
    assert_eq!(world.shard(1).connection_count(), 2);
}

/// `web` no longer lets port 80 in.
fn without_port_80() -> String {
    INTENT.replace("ports: 80,", "ports: 81,")
}

#[test]
fn a_change_ends_what_is_no_longer_allowed_and_spares_the_rest() {
    for by_sweep in [true, false] {
        let mut world = World::new();
        let (a, web) = ([1, 10], [2, 80]);
        world.vm(1, 0, &ip(a, web).tcp((1000, 80), "S"));
        world.vm(2, 1, &ip(web, a).tcp((80, 1000), "SA"));
        world.vm(1, 0, &ip(a, web).tcp((1000, 80), "A"));
        world.handshake((2000, 80));
        world.at(5);
        world.apply(&without_port_80());
        if by_sweep {
            world.sweep();
            assert_eq!(world.removed(2), [(Policy, 5)]);
        }
        let end = world.vm(1, 0, &ip(a, web).tcp((1000, 80), "A"));
        assert_eq!(
            end,
            super::world::End::Dropped { node: 2, reason: DropReason::SecurityGroupIngress }
        );
        if !by_sweep {
            assert_eq!(world.removed(2), [(Policy, 5)]);
        }
        assert_eq!(world.vm(1, 0, &ip(a, [1, 20]).tcp((2000, 80), "A")).at(), Some((2, 0)));
        assert!(world.removed(1).is_empty() && world.removed(2).is_empty());
    }
}

#[test]
fn what_does_not_concern_a_connection_does_not_touch_it() {
    let mut world = World::new();
    world.handshake((2000, 80));
    world.apply(&without_port_80());
    world.sweep();
    let effects = &world.nodes[&1].effects;
    assert!(!effects.iter().any(|e| matches!(e, Effect::DecisionChanged { .. })));
    assert_eq!(world.vm(2, 0, &ip([1, 20], [1, 10]).tcp((80, 2000), "A")).at(), Some((1, 0)));
}

#[test]
fn a_removed_interface_takes_its_connections_along() {
    let mut world = World::new();
    world.vm(1, 0, &udp([1, 10], [2, 10]));
    world.vm(1, 0, &udp([1, 10], [1, 20]));
    world.at(3);
    let documents = INTENT.split("---\n").filter(|d| !d.contains("name: c}"));
    world.apply(&documents.collect::<Vec<_>>().join("---\n"));
    let end = world.vm(1, 0, &udp([1, 10], [2, 10]));
    assert_eq!(end.reason(), Some(DropReason::NoMapping));
    assert_eq!(world.removed(1), [(InterfaceRemoved, 3)]);
    let documents = INTENT.split("---\n").filter(|d| !d.contains("name: a}"));
    world.apply(&documents.collect::<Vec<_>>().join("---\n"));
    world.sweep();
    assert_eq!(world.removed(1), [(InterfaceRemoved, 3)]);
    assert_eq!(world.shard(1).connection_count(), 0);
}

#[test]
fn a_moved_interface_keeps_its_connections() {
    let mut world = World::new();
    world.vm(1, 0, &udp([1, 10], [1, 20]));
    // `b` moves to a node that does not take part here.
    world.apply(&INTENT.replace("node: dpu2, vf: 0", "node: dpu3, vf: 7").replace(
        "neighbors: {192.0.2.2: 02:00:00:00:02:00}",
        "neighbors: {192.0.2.2: 02:00:00:00:02:00, 192.0.2.3: 02:00:00:00:03:00}",
    ));
    let end = world.vm(1, 0, &udp([1, 10], [1, 20]));
    let outer = packet::parse_vxlan(end.frame()).unwrap();
    assert_eq!(outer.destination.to_string(), "192.0.2.3");
    let changed = world.nodes[&1].effects.iter();
    assert_eq!(changed.filter(|e| matches!(e, Effect::DecisionChanged { .. })).count(), 1);
    assert!(world.removed(1).is_empty());
}

#[test]
fn a_connection_between_local_interfaces_is_one() {
    let mut world = World::new();
    world.vm(1, 0, &udp([1, 10], [2, 10]));
    assert_eq!(world.vm(1, 1, &ip([2, 10], [1, 10]).udp((53, 5000), 0)).at(), Some((1, 0)));
    assert_eq!(world.shard(1).connection_count(), 1);
    world.at(1);
    world.apply(
        &INTENT.replace("addresses: [10.1.2.10], securityGroups: [open]", "addresses: [10.1.2.10]"),
    );
    let end = world.vm(1, 1, &ip([2, 10], [1, 10]).udp((53, 5000), 0));
    assert_eq!(end.reason(), Some(DropReason::SecurityGroupIngress));
    assert_eq!(world.removed(1), [(Policy, 1)]);
}

#[test]
fn a_disabled_interface_receives_nothing() {
    let mut world = World::new();
    world.vm(1, 0, &udp([1, 10], [2, 10]));
    world.apply(
        &INTENT.replace("addresses: [10.1.2.10],", "addresses: [10.1.2.10], enabled: false,"),
    );
    let end = world.vm(1, 0, &udp([1, 10], [2, 10]));
    assert_eq!(end.reason(), Some(DropReason::InterfaceDown));
    let end = world.vm(1, 1, &ip([2, 10], [1, 10]).udp((53, 5000), 0));
    assert_eq!(end.reason(), Some(DropReason::InterfaceDown));
    assert_eq!(world.now, Time::ZERO);
}

#[test]
fn a_packet_to_oneself_comes_back() {
    let mut world = World::new();
    let own = ip([1, 10], [1, 10]).carry(47, &[0; 4]);
    assert_eq!(world.vm(1, 0, &own).at(), Some((1, 0)));
    assert_eq!(world.vm(1, 0, &own).at(), Some((1, 0)));
    assert_eq!(world.shard(1).connection_count(), 1);
}
