//! Most packets take a short way, as one before them was asked everything: it must make no difference to anything.

use std::collections::BTreeSet;
use std::time::Duration;

use dpu_app::datapath::conntrack::{Offload, WhySoftware};
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{FlowDirection, Outcome, Port};
use model::snapshot::VfIndex;
use packet::checksum::Sum;
use proptest::prelude::*;

use super::frames::{Ip, ip, mac};
use super::world::{INTENT, Node, World};

/// Hosts, and where they are: node and VF.
const HOSTS: [([u8; 2], usize, u16); 6] = [
    ([1, 10], 1, 0),
    ([1, 20], 2, 0),
    ([2, 10], 1, 1),
    ([2, 80], 2, 1),
    ([1, 30], 1, 3),
    ([2, 30], 2, 2),
];

fn intents() -> [String; 5] {
    [
        INTENT.to_owned(),
        INTENT.replace("cidrs: [10.1.0.0/16], dscp: 10", "cidrs: [10.1.0.0/16], mtu: 1340"),
        INTENT.replace("addresses: [10.1.2.10]", "addresses: [10.1.2.12]"),
        INTENT.replace("addresses: [10.1.1.30], antiSpoof: false", "addresses: [10.1.1.30]"),
        INTENT.replace(
            "vf: 1, mac: 02:00:00:00:00:0c",
            "enabled: false, vf: 1, mac: 02:00:00:00:00:0c",
        ),
    ]
}

/// What happens to a frame before a node gets it.
#[derive(Clone, Debug)]
enum Change {
    /// Nothing: often.
    None,
    /// Another Ethernet source.
    Mac,
    /// A byte of the frame on the wire is another.
    Wire(prop::sample::Index, u8),
    /// Another outer source, with the right checksum.
    Vtep(u8),
    /// Another outer ECN field, with the right checksum.
    Ecn(u8),
}

#[derive(Clone, Debug)]
enum Action {
    Send {
        from: usize,
        to: usize,
        port: u16,
        tcp: Option<&'static str>,
        data: usize,
        change: Change,
    },
    Wait(u64),
    Apply(usize),
    Sweep,
    Offload(usize, prop::sample::Index, FlowDirection, Offload),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        20 => Just(Change::None),
        1 => Just(Change::Mac),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(i, v)| Change::Wire(i, v)),
        1 => (1_u8..5).prop_map(Change::Vtep),
        1 => (1_u8..4).prop_map(Change::Ecn),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let tcp = prop_oneof![
        6 => Just(None),
        6 => Just(Some("A")),
        2 => Just(Some("S")),
        2 => Just(Some("SA")),
        1 => Just(Some("FA")),
        1 => Just(Some("R")),
    ];
    // Mostly the same few connections.
    let hosts = prop_oneof![
        6 => prop::sample::select(vec![(0, 1), (1, 0), (0, 2), (2, 0)]),
        1 => (0_usize..6, 0_usize..6),
    ];
    let data = prop_oneof![8 => 0_usize..40, 1 => 1300_usize..1480];
    let offload = prop::sample::select(vec![
        Offload::Pending,
        Offload::Hardware,
        Offload::Software(WhySoftware::TableFull),
    ]);
    let direction = prop::sample::select(FlowDirection::ALL.to_vec());
    prop_oneof![
        30 => (hosts, 80_u16..82, tcp, data, change()).prop_map(
            |((from, to), port, tcp, data, change)| Action::Send { from, to, port, tcp, data, change }
        ),
        2 => (0_u64..12_000).prop_map(Action::Wait),
        1 => (0_usize..5).prop_map(Action::Apply),
        1 => Just(Action::Sweep),
        2 => (1_usize..3, any::<prop::sample::Index>(), direction, offload)
            .prop_map(|(node, which, direction, to)| Action::Offload(node, which, direction, to)),
    ]
}

fn frame(
    from: [u8; 2],
    to: [u8; 2],
    port: u16,
    tcp: Option<&str>,
    data: usize,
    change: &Change,
) -> Vec<u8> {
    let mut there = ip(from, to);
    if matches!(change, Change::Mac) {
        there = Ip { source_mac: mac(0x77), ..there };
    }
    // Answers of one port to the other: both sides send from and to the same.
    match tcp {
        Some(flags) => there.tcp((port, port), flags),
        None => there.udp((port, port), data),
    }
}

/// Changes a frame on the wire.
fn tamper(wire: &mut [u8], change: &Change) {
    match change {
        Change::None | Change::Mac => return,
        Change::Wire(index, value) => {
            *index.get_mut(wire) = *value;
            return;
        }
        Change::Vtep(last) => wire[29] = *last,
        Change::Ecn(bits) => wire[15] |= bits,
    }
    wire[24..26].fill(0);
    let sum = Sum::ZERO.bytes(&wire[14..34]).checksum().to_be_bytes();
    wire[24..26].copy_from_slice(&sum);
}

/// Has the next packet of every connection asked everything, where that is no news in itself.
fn unsettle(world: &mut World) {
    for node in world.nodes.values_mut() {
        let known: Vec<_> = node.shard.connections().collect();
        for (handle, connection) in known {
            for direction in FlowDirection::ALL {
                if *connection.offload().get(direction) != Offload::Hardware {
                    node.shard.watch(handle, direction);
                }
            }
        }
    }
}

/// All that can be seen of a node.
fn seen(node: &Node) -> String {
    let connections: Vec<_> = node.shard.connections().collect();
    let counters = node.shard.counters();
    let ids: BTreeSet<_> = node.snapshot.interfaces.keys().collect();
    let interfaces: Vec<_> = ids.into_iter().map(|id| counters.interface(*id)).collect();
    format!(
        "{connections:?} {interfaces:?} {:?} {:?} {:?} {:?} {:?}",
        counters.wire(),
        counters.unassigned(),
        counters.sent_to_wire(),
        node.effects,
        node.solicitations,
    )
}

fn act(world: &mut World, action: &Action, intents: &[String]) -> Vec<(Outcome, Vec<u8>)> {
    match action {
        Action::Send { from, to, port, tcp, data, change } => {
            let ((from, node, vf), (to, ..)) = (HOSTS[*from], HOSTS[*to]);
            let frame = frame(from, to, *port, *tcp, *data, change);
            let mut seen = vec![world.process(node, Port::Vf(VfIndex(vf)), &frame)];
            let (outcome, mut wire) = seen[0].clone();
            if outcome == (Outcome::Forward { port: Port::Uplink }) {
                tamper(&mut wire, change);
                seen.push(world.process(3 - node, Port::Uplink, &wire));
            }
            return seen;
        }
        Action::Wait(milliseconds) => world.wait(Duration::from_millis(*milliseconds)),
        Action::Apply(number) => world.apply(&intents[*number]),
        Action::Sweep => world.sweep(),
        Action::Offload(node, which, direction, to) => {
            let now = world.now;
            let known: Vec<_> = world.shard(*node).connections().map(|(id, _)| id).collect();
            if !known.is_empty() {
                world.shard(*node).set_offload(*which.get(&known), *direction, *to, now);
            }
        }
    }
    Vec::new()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_lead_to_the_same(
        actions in prop::collection::vec(action(), 1..120),
        after_packets in prop::sample::select(vec![0_u32, 3]),
        counter_delay in prop::sample::select(vec![0_u64, 5]),
    ) {
        let mut settings = Settings::default();
        settings.offload.after_packets = after_packets;
        settings.timeouts.counter_delay = Duration::from_secs(counter_delay);
        let (mut short, mut long) = (World::with(settings), World::with(settings));
        let intents = intents();
        for action in &actions {
            unsettle(&mut long);
            prop_assert_eq!(act(&mut short, action, &intents), act(&mut long, action, &intents));
            for (short, long) in short.nodes.values().zip(long.nodes.values()) {
                prop_assert_eq!(seen(short), seen(long));
            }
        }
    }
}
