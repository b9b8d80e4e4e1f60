//! Random sequences of what may happen to a node.

use proptest::prelude::*;

use crate::traffic::{Asked, End, Flow, Kind, Packet, Quoted, Step, Timed, Twist};
use crate::world::{Change, INTERFACES, change};

pub fn flow() -> BoxedStrategy<Flow> {
    let to = prop_oneof![8 => (0..INTERFACES).prop_map(Some), 1 => Just(None)];
    (0..2usize, 0..INTERFACES, to, any::<bool>(), any::<bool>(), 1000..1002u16)
        .prop_map(|(vpc, from, to, v6, tcp, port)| Flow { vpc, from, to, v6, tcp, port })
        .boxed()
}

fn kind() -> BoxedStrategy<Kind> {
    let flags = prop_oneof![
        12 => Just("A"), 4 => Just("PA"), 2 => Just("FA"), 1 => Just("R"), 1 => Just("RA"),
        2 => Just("S"), 1 => Just("SA"), 1 => Just("E"),
    ];
    let length = prop_oneof![
        12 => 0..64u16,
        1 => 1380..1480u16,
    ];
    prop_oneof![
        16 => (flags, length).prop_map(|(flags, length)| Kind::Data { flags, length }),
        1 => (0..2u16).prop_map(|more| Kind::Full { more }),
        2 => (prop::sample::select(vec![0u16, 48, 96]), any::<bool>())
            .prop_map(|(offset, more)| Kind::Fragment { offset, more }),
        1 => any::<bool>().prop_map(|reply| Kind::Echo { reply }),
        1 => any::<bool>().prop_map(|other| Kind::Message { other }),
        1 => (0..5u8).prop_map(|code| Kind::Error { code }),
        1 => prop::sample::select(vec![47u8, 132, 6, 17, 1, 58, 0]).prop_map(Kind::Protocol),
        1 => prop::sample::select(vec![
            Quoted::Echo, Quoted::LaterFragment, Quoted::Error, Quoted::Unknown,
        ]).prop_map(Kind::Quote),
        1 => Just(Kind::Dhcp),
        2 => prop::sample::select(vec![
            Asked::Neighbor, Asked::Gateway, Asked::Probe, Asked::Router, Asked::Ping, Asked::Broadcast,
        ]).prop_map(Kind::Ask),
    ]
    .boxed()
}

fn twist() -> BoxedStrategy<Twist> {
    prop_oneof![
        1 => any::<bool>().prop_map(|inner| Twist::Vlan { inner }),
        4 => (0..4u8, 0..4u8).prop_map(|(inner, outer)| Twist::Ecn { inner, outer }),
        1 => (0..3u8).prop_map(Twist::Ttl),
        1 => Just(Twist::Options),
        2 => prop::sample::select(vec![
            "hopopts()", "destopts()", "routing()", "fragment(id=3)", "ah(data=0x000000000000000000000000)",
        ]).prop_map(Twist::Extension),
        2 => prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))]
            .prop_map(|(source, destination)| Twist::Mapped { source, destination }),
        1 => Just(Twist::SourceMac),
        1 => prop::sample::select(vec![
            "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:98", "02:00:00:00:00:00",
        ]).prop_map(Twist::DestinationMac),
        2 => (0..3usize).prop_map(Twist::Vtep),
        2 => prop::sample::select(vec![100u32, 200, 300, 0]).prop_map(Twist::Vni),
        1 => prop::sample::select(vec![0u8, 0x0c, 0x88, 0xff]).prop_map(Twist::VxlanFlags),
        1 => any::<u16>().prop_map(Twist::OuterChecksum),
        1 => Just(Twist::OuterFragment),
        1 => Just(Twist::OuterDestination),
        1 => Just(Twist::OuterOptions),
        1 => prop::sample::select(vec![60u16, 128, 1600]).prop_map(Twist::Pad),
        1 => (0..120u16).prop_map(Twist::Cut),
        8 => (0..960u16, any::<bool>()).prop_map(|(bit, mend)| Twist::Flip { bit, mend }),
    ]
    .boxed()
}

/// The notation takes each argument once.
fn without_repeats(mut twists: Vec<Twist>) -> Vec<Twist> {
    twists.dedup_by_key(|twist| std::mem::discriminant(twist));
    twists
}

fn gap() -> BoxedStrategy<u64> {
    const SECOND: u64 = 1_000_000_000;
    let timeout = prop::sample::select(vec![10, 30, 60, 120, 180, 7440]);
    prop_oneof![
        6 => Just(0),
        8 => Just(1_000_000),
        3 => Just(SECOND),
        1 => timeout.clone().prop_map(|t| t * SECOND),
        1 => timeout.prop_map(|t| t * SECOND - 1),
    ]
    .boxed()
}

/// Steps over a few flows, so that packets meet connections that are there.
pub fn steps() -> BoxedStrategy<Vec<Timed>> {
    prop::collection::vec(flow(), 2..4)
        .prop_flat_map(|flows| {
            let flow = prop::sample::select(flows);
            let other = || prop_oneof![8 => Just(None), 1 => (0..INTERFACES).prop_map(Some)];
            let twists = prop_oneof![
                3 => Just(Vec::new()),
                2 => prop::collection::vec(twist(), 1..3).prop_map(without_repeats),
            ];
            let stale = prop_oneof![4 => Just(false), 1 => Just(true)];
            let one = (flow.clone(), any::<bool>(), other(), other(), stale, kind(), twists)
                .prop_map(|(flow, reverse, by, at, stale, kind, twists)| {
                    Step::Packet(Packet { flow, reverse, by, at, stale, kind, twists })
                });
            let step = prop_oneof![
                4 => flow.clone().prop_map(Step::Open),
                2 => (flow.clone(), prop::sample::select(vec![End::Fins, End::Reset, End::Silence]))
                    .prop_map(|(flow, end)| Step::Close { flow, end }),
                1 => flow.clone().prop_map(Step::Fragments),
                1 => flow.prop_map(Step::Messages),
                16 => one,
                1 => (1..3usize).prop_map(Step::Neighbor),
                1 => (1..3usize).prop_map(Step::Question),
                2 => change().prop_map(Step::Change),
            ];
            let timed = (gap(), step).prop_map(|(gap, step)| Timed { gap, step });
            prop::collection::vec(timed, 4..40)
        })
        .boxed()
}

/// Connections with nothing odd about them, sooner or later packet upon packet, never silent for long.
pub fn calm_steps() -> BoxedStrategy<Vec<Timed>> {
    let flow = (any::<bool>(), any::<bool>(), 0..INTERFACES, 0..INTERFACES, 1000..1004u16);
    let flow = flow.prop_map(|(v6, tcp, from, to, port)| Flow {
        vpc: 0,
        from,
        to: Some(to),
        v6,
        tcp,
        port: port + if tcp { 0 } else { 100 },
    });
    let flow = flow.prop_filter("at least one end is on a", |f| f.from < 2 || f.to < Some(2));
    let gap = || prop::sample::select(vec![0, 1_000, 10_000, 1_000_000, 1_000_000_000]);
    let one = (any::<prop::sample::Index>(), any::<bool>(), gap());
    (prop::collection::vec(flow, 1..4), prop::collection::vec(one, 1..40))
        .prop_map(|(flows, packets)| {
            let open = flows.iter().map(|flow| Timed { gap: 0, step: Step::Open(*flow) });
            let packets = packets.into_iter().map(|(flow, reverse, gap)| {
                let packet = Packet::plain(*flow.get(&flows), reverse, "A");
                Timed { gap, step: Step::Packet(packet) }
            });
            open.chain(packets).collect()
        })
        .boxed()
}

/// Few TCP connections, and anything that may be in the way of control bits, up to timeouts and past them.
pub fn tcp_lives() -> BoxedStrategy<Vec<Timed>> {
    let flow = (flow(), 0..INTERFACES).prop_map(|(flow, to)| Flow {
        to: Some(to),
        tcp: true,
        port: 1000,
        ..flow
    });
    let flags = prop::sample::select(vec![
        "S", "S", "SA", "SA", "A", "A", "A", "A", "PA", "FA", "FA", "R", "RA", "F", "SF", "FSA",
        "SR", "P",
    ]);
    let packet = (any::<prop::sample::Index>(), any::<bool>(), flags, gap());
    (prop::collection::vec(flow, 1..3), prop::collection::vec(packet, 4..40))
        .prop_map(|(flows, packets)| {
            // One that nobody has answered yet, and one that is established.
            let open = flows.iter().enumerate().map(|(number, flow)| {
                let step = match number {
                    0 => Step::Packet(Packet::plain(*flow, false, "S")),
                    _ => Step::Open(*flow),
                };
                Timed { gap: 0, step }
            });
            let packets = packets.into_iter().map(|(flow, reverse, flags, gap)| {
                let packet = Packet::plain(*flow.get(&flows), reverse, flags);
                Timed { gap, step: Step::Packet(packet) }
            });
            open.chain(packets).collect()
        })
        .boxed()
}

/// The same steps after other times, up to timeouts and past them.
pub fn with_silences(steps: BoxedStrategy<Vec<Timed>>) -> BoxedStrategy<Vec<Timed>> {
    (steps, prop::collection::vec(gap(), 1..40))
        .prop_map(|(mut steps, gaps)| {
            steps.iter_mut().zip(gaps).for_each(|(timed, gap)| timed.gap = gap);
            steps
        })
        .boxed()
}

/// The same steps outside the windows in which NICs of other profiles differ (`docs/reference/offload-differences.md`): nothing
/// comes while rules are on their way or a connection may linger in hardware, and nothing differs by what rules cannot match.
pub fn patient(steps: Vec<Timed>) -> Vec<Timed> {
    const MILLISECOND: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MILLISECOND;
    steps
        .into_iter()
        // Between pieces of a packet lie 30 s, which are a timeout.
        .filter(|timed| !matches!(timed.step, Step::Fragments(_)))
        .map(|Timed { gap, mut step }| {
            let gap = match gap {
                0..SECOND => MILLISECOND,
                SECOND => SECOND,
                // The sums of these are no timeout, nor a few seconds more than one.
                gap if gap < 200 * SECOND => 200 * SECOND,
                _ => 8000 * SECOND,
            };
            if let Step::Packet(packet) = &mut step {
                match &mut packet.kind {
                    Kind::Data { length, .. } => *length %= 1000,
                    kind @ Kind::Full { .. } => *kind = Kind::Data { flags: "A", length: 8 },
                    _ => {}
                }
                packet.twists.retain(|twist| match twist {
                    Twist::VxlanFlags(flags) => flags & 8 != 0,
                    Twist::Flip { bit, .. } => bit % 8 != 4,
                    Twist::Pad(length) => *length < 1280,
                    _ => true,
                });
            }
            Timed { gap, step }
        })
        .collect()
}

/// Connections that are in hardware, then changes, and packets of them, all within moments.
pub fn steps_amid_changes() -> BoxedStrategy<Vec<Timed>> {
    let flows = prop::collection::vec((flow(), any::<bool>(), any::<bool>()), 1..12);
    let changes = prop::collection::vec((change(), any::<prop::sample::Index>()), 1..4);
    (flows, changes, 1..400u64)
        .prop_map(|(flows, changes, gap)| {
            let flows = flows.into_iter().zip(2000..);
            let flows =
                flows.map(|((flow, reverse, stale), port)| (Flow { port, ..flow }, reverse, stale));
            let flows: Vec<_> = flows.collect();
            let open =
                flows.iter().map(|(flow, ..)| Timed { gap: 1_000_000, step: Step::Open(*flow) });
            let packets = flows.iter().map(|(flow, reverse, stale)| {
                let packet = Packet { stale: *stale, ..Packet::plain(*flow, *reverse, "A") };
                Timed { gap, step: Step::Packet(packet) }
            });
            let mut amid: Vec<Timed> = packets.collect();
            for (change, at) in changes {
                amid.insert(at.index(amid.len()), Timed { gap, step: Step::Change(change) });
            }
            amid[0].gap = 1_000_000;
            open.chain(amid).collect()
        })
        .boxed()
}

/// Connections each of which has a packet in every round, and changes between the rounds that forbid none of them. No
/// silence is as long as a timeout.
pub fn rounds() -> BoxedStrategy<Vec<Timed>> {
    const MILLISECOND: u64 = 1_000_000;
    let flow = (any::<bool>(), any::<bool>(), 0..2usize, 1..INTERFACES);
    let flow = flow.prop_map(|(v6, tcp, from, distance)| Flow {
        vpc: 0,
        from,
        to: Some((from + distance) % INTERFACES),
        v6,
        tcp,
        port: 0,
    });
    let change = prop_oneof![
        (0..3u8).prop_map(|dscp| Change::Dscp(0, dscp)),
        (0..INTERFACES).prop_map(|i| Change::Mac(0, i)),
        (2..INTERFACES, 1..3usize).prop_map(|(i, node)| Change::Move(0, i, node)),
        (0..2usize, 4..6u8).prop_map(|(n, last)| Change::Vtep(n, last)),
        (0..2usize, 1..3u8).prop_map(|(n, mac)| Change::Neighbor(n, Some(mac))),
        Just(Change::SwapVteps),
    ];
    let gap = || prop::sample::select(vec![1, 50, 900, 1_050, 2_100, 89_900]);
    let round = (gap(), gap(), prop::option::of(change), any::<u8>());
    (prop::collection::vec(flow, 1..4), prop::collection::vec(round, 1..8))
        .prop_map(|(mut flows, rounds)| {
            for (flow, port) in flows.iter_mut().zip(1000..) {
                flow.port = port;
            }
            let now = |step| Timed { gap: MILLISECOND, step };
            let mut steps: Vec<Timed> = flows.iter().map(|flow| now(Step::Open(*flow))).collect();
            for (before, after, change, reverse) in rounds {
                if let Some(change) = change {
                    steps.push(Timed { gap: before * MILLISECOND, step: Step::Change(change) });
                }
                let packets = flows.iter().enumerate().map(|(number, flow)| {
                    now(Step::Packet(Packet::plain(*flow, reverse >> number & 1 == 1, "A")))
                });
                let first = steps.len();
                steps.extend(packets);
                steps[first].gap = after * MILLISECOND;
            }
            steps
        })
        .boxed()
}
