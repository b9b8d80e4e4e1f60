use std::time::Duration;

use dpu_app::datapath::{Outcome, Port};
use model::snapshot::VfIndex;
use proptest::prelude::*;

use super::frames::{Ip, datagram, ip};
use super::world::{INTENT, World};

/// Intents that differ in everything that connections depend on.
fn intents() -> [String; 5] {
    [
        INTENT.to_owned(),
        INTENT.replace("ports: 80,", "ports: 81,"),
        INTENT.replace("securityGroups: [open]", "securityGroups: []"),
        INTENT.replace("via: {interface: firewall}", "via: {blackhole: {}}"),
        INTENT
            .split("---\n")
            .filter(|document| !document.contains("name: c}"))
            .collect::<Vec<_>>()
            .join("---\n"),
    ]
}

#[derive(Clone, Debug)]
enum Action {
    Vm(usize, u16, Vec<u8>),
    Wire(usize, Vec<u8>),
    /// What a VM sends, through the tunnel, with some bytes changed on the way.
    Tampered(Vec<u8>, Vec<(prop::sample::Index, u8)>),
    Wait(u64),
    Apply(usize),
    Sweep,
}

fn sensible() -> impl Strategy<Value = Vec<u8>> {
    let host = prop::sample::select(vec![[1, 10], [1, 20], [2, 10], [2, 80], [1, 40], [1, 30]]);
    let ports = (1_u16..4, 1_u16..4);
    let flags = prop::sample::select(vec!["S", "SA", "A", "FA", "R", "SF", "PA"]);
    (host.clone(), host, ports, flags, 0_u8..7, any::<u8>()).prop_map(
        |(source, destination, ports, flags, kind, last)| {
            let there = ip(source, destination);
            match kind {
                0 | 1 => there.tcp(ports, flags),
                2 => there.udp(ports, usize::from(last)),
                3 => there.echo(if last % 2 == 0 { 8 } else { 0 }, ports.0),
                4 => there.error(3, &ip(destination, source).udp((ports.1, ports.0), 0)),
                5 => Ip { fragment: (u16::from(last) % 4, 0, true), ..there }
                    .carry(17, &datagram(ports, 8)),
                _ => Ip { fragment: (u16::from(last) % 4, 16, last % 2 == 0), ..there }
                    .carry(17, &[0; 8]),
            }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let junk = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        6 => (1_usize..3, 0_u16..6, sensible()).prop_map(|(n, vf, f)| Action::Vm(n, vf, f)),
        1 => (1_usize..3, 0_u16..6, junk.clone()).prop_map(|(n, vf, f)| Action::Vm(n, vf, f)),
        1 => (1_usize..3, junk).prop_map(|(n, f)| Action::Wire(n, f)),
        2 => (sensible(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3))
            .prop_map(|(f, changes)| Action::Tampered(f, changes)),
        1 => (0_u64..40_000).prop_map(Action::Wait),
        1 => (0_usize..5).prop_map(Action::Apply),
        1 => Just(Action::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_every_packet_is_accounted_for(
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let settings = serde_json::from_str(
            r#"{"connections": {"tableSize": 12, "perInterface": 5},
                "fragments": {"tableSize": 3, "perInterface": 2}}"#,
        ).unwrap();
        let mut world = World::with(settings);
        let intents = intents();
        let mut entered = 0_u64;
        for action in actions {
            match action {
                Action::Vm(node, vf, frame) => {
                    entered += 1;
                    let (outcome, wire) = world.process(node, Port::Vf(VfIndex(vf)), &frame);
                    if outcome == (Outcome::Forward { port: Port::Uplink }) {
                        entered += 1;
                        world.process(3 - node, Port::Uplink, &wire);
                    }
                }
                Action::Wire(node, frame) => {
                    entered += 1;
                    world.process(node, Port::Uplink, &frame);
                }
                Action::Tampered(frame, changes) => {
                    entered += 1;
                    let (outcome, mut wire) = world.process(1, Port::Vf(VfIndex(0)), &frame);
                    if outcome == (Outcome::Forward { port: Port::Uplink }) {
                        for (index, value) in changes {
                            *index.get_mut(&mut wire) = value;
                        }
                        entered += 1;
                        world.process(2, Port::Uplink, &wire);
                    }
                }
                Action::Wait(milliseconds) => world.wait(Duration::from_millis(milliseconds)),
                Action::Apply(number) => world.apply(&intents[number]),
                Action::Sweep => world.sweep(),
            }
            for node in world.nodes.values() {
                prop_assert!(node.shard.connection_count() <= 12);
                for (handle, connection) in node.shard.connections() {
                    prop_assert!(connection.deadline() > world.now);
                    prop_assert_eq!(node.shard.connection(handle).map(|known| known.created()),
                        Some(connection.created()));
                }
            }
        }
        // Interfaces that left intent have left the counters as well: count with those that stay.
        let mut counted = 0;
        let mut gone = false;
        for node in world.nodes.values() {
            let counters = node.shard.counters();
            let all = node.snapshot.interfaces.keys().filter_map(|id| counters.interface(*id));
            let all = all.flat_map(|interface| [&interface.from_vm, &interface.from_network]);
            for counters in all.chain([counters.wire(), counters.unassigned()]) {
                let ended = counters.forwarded + counters.replied + counters.consumed
                    + counters.all_dropped();
                prop_assert_eq!(counters.received.packets, ended);
                counted += ended;
            }
            gone |= node.snapshot.epoch > 1;
        }
        prop_assert!(counted == entered || gone && counted <= entered);
    }

    /// However many packets are taken at a time, the same becomes of each.
    #[test]
    fn a_burst_is_its_packets_one_after_the_other(
        sent in prop::collection::vec((1_usize..3, 0_u16..6, sensible()), 1..60),
        others in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..80)), 0..4),
        cuts in prop::collection::vec(1_usize..40, 60),
        afresh in any::<bool>(),
    ) {
        let settings = serde_json::from_str(
            r#"{"connections": {"tableSize": 12, "perInterface": 5},
                "fragments": {"tableSize": 3, "perInterface": 2}, "kernelPort": {"burst": 2}}"#,
        ).unwrap();
        // What comes to the first node: from its VMs, and from the second node's.
        let mut second = World::with(settings);
        let mut frames = Vec::new();
        for (node, vf, frame) in sent {
            let port = Port::Vf(VfIndex(vf));
            if node == 1 {
                frames.push((port, frame));
                continue;
            }
            let (outcome, wire) = second.process(2, port, &frame);
            if outcome == (Outcome::Forward { port: Port::Uplink }) {
                frames.push((Port::Uplink, wire));
            }
        }
        for (index, bytes) in others {
            frames.insert(index.index(frames.len() + 1), (Port::Uplink, bytes));
        }
        let (mut single, mut bursts) = (World::with(settings), World::with(settings));
        if afresh {
            // Connections that were decided under another intent.
            for world in [&mut single, &mut bursts] {
                for (port, frame) in &frames {
                    world.process(1, *port, frame);
                }
                world.apply(&intents()[2]);
            }
        }
        let one_by_one: Vec<_> =
            frames.iter().map(|(port, frame)| single.process(1, *port, frame)).collect();
        let mut together = Vec::new();
        let mut rest = &frames[..];
        for cut in cuts {
            let (burst, after) = rest.split_at(cut.min(rest.len()));
            together.extend(bursts.burst(1, burst));
            rest = after;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(one_by_one, together);
        let (single, bursts) = (&single.nodes[&1], &bursts.nodes[&1]);
        prop_assert_eq!(&single.effects, &bursts.effects);
        prop_assert_eq!(&single.solicitations, &bursts.solicitations);
        for id in single.snapshot.interfaces.keys() {
            prop_assert_eq!(
                single.shard.counters().interface(*id),
                bursts.shard.counters().interface(*id)
            );
        }
        let known = |world: &super::world::Node| -> Vec<String> {
            world.shard.connections().map(|known| format!("{known:?}")).collect()
        };
        prop_assert_eq!(known(single), known(bursts));
    }

    /// VF 5 is the blue tenant's on both nodes.
    #[test]
    fn no_packet_crosses_tenants(
        frames in prop::collection::vec((1_usize..3, 0_u16..6, sensible()), 1..40),
    ) {
        let mut world = World::new();
        for (node, vf, frame) in frames {
            if let Some((_, at)) = world.vm(node, vf, &frame).at() {
                prop_assert_eq!(at == 5, vf == 5);
            }
        }
    }
}
