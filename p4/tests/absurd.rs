//! Absurd packets: the contract says what happens to them, too. It never does what P4 leaves undefined, and every drop
//! has a reason.

use std::path::Path;
use std::sync::OnceLock;

use p4::interpreter::{Machine, Verdict};
use p4::program::Program;
use p4::stf::Runner;
use proptest::prelude::*;

/// Packets of all kinds, to be broken.
const PACKETS: &[&str] = &[
    "eth(src=02:00:00:00:00:01, dst=02:00:00:00:00:02)/ipv4(src=10.0.0.1, dst=10.0.0.2)/udp(sport=1, dport=2)/\"x\"",
    "eth(src=02:00:00:00:00:01, dst=02:00:00:00:00:11)/ipv4(src=10.0.0.1, dst=10.0.0.11)/tcp(sport=1, dport=2, flags=S)",
    "eth(src=02:00:00:00:00:01, dst=02:00:00:00:00:02)/ipv4(src=10.0.0.1, dst=10.0.0.2, options=0x94040000)/echo(id=1)",
    "eth(src=02:00:00:00:00:01, dst=02:00:00:00:00:02)/ipv4(src=10.0.0.1, dst=10.0.0.2)/icmp(type=3, code=3)\
     /ipv4(src=10.0.0.2, dst=10.0.0.1)/udp(sport=1, dport=2)",
    "eth(src=02:00:00:00:00:01, dst=02:00:00:00:00:02)/ipv6(src=fd00:1::a, dst=fd00:1::b)/hopopts/fragment(id=7, mf)\
     /bytes(..16)/udp(sport=1, dport=2)/zeros(40)",
    "eth(src=02:00:00:00:00:01, dst=33:33:ff:00:00:0b)/ipv6(src=fe80::1, dst=ff02::1:ff00:b, hops=255)\
     /ns(target=fd00:1::b)",
    "eth(src=02:00:00:00:00:01, dst=02:00:00:00:00:02)/ipv6(src=fd00:1::a, dst=fd00:1::b)/icmpv6(type=1, code=4)\
     /ipv6(src=fd00:1::b, dst=fd00:1::a)/ah/udp(sport=1, dport=2)",
    "eth(src=02:00:00:00:00:01, dst=ff:ff:ff:ff:ff:ff)/arp(op=request, sha=02:00:00:00:00:01, spa=10.0.0.1, tpa=10.0.0.2)",
    "eth(src=06:00:00:00:00:02, dst=06:00:00:00:00:01)/ipv4(src=192.0.2.2, dst=192.0.2.1)\
     /udp(sport=1, dport=4789, checksum=0)/vxlan(vni=100)/eth(src=02:00:00:00:00:11, dst=02:00:00:00:00:02)\
     /ipv4(src=10.0.0.11, dst=10.0.0.2)/udp(sport=1, dport=2)",
    "eth(src=06:00:00:00:00:03, dst=06:00:00:00:00:01)/ipv6(src=2001:db8::3, dst=2001:db8::1)\
     /udp(sport=1, dport=4789, checksum=0)/vxlan(vni=100)/eth(src=02:00:00:00:00:13, dst=02:00:00:00:00:02)\
     /ipv6(src=fd00:1::11, dst=fd00:1::b)/destopts/tcp(sport=1, dport=2, flags=S)",
];

fn contract() -> &'static Program {
    static CONTRACT: OnceLock<Program> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.p4");
        p4::compile(&path).expect("the contract is accepted")
    })
}

fn machine() -> Machine<'static> {
    let mut machine = Machine::new(contract()).expect("the contract can be loaded");
    let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stf/common.entries");
    Runner::new(&mut machine).file(&entries).expect("the entries fit");
    machine
}

/// A packet of some kind, with some bytes replaced and its end cut off or lengthened.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let broken = (
        proptest::sample::select(PACKETS),
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        proptest::option::of(0_usize..200),
    )
        .prop_map(|(text, changes, length)| {
            let mut bytes = testbed::notation::packet(text).expect("a packet");
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes.resize(length.unwrap_or(bytes.len()), 0);
            bytes
        });
    prop_oneof![9 => broken, 1 => proptest::collection::vec(any::<u8>(), 0..100)]
}

proptest! {
    #[test]
    fn every_packet_has_an_end_and_every_drop_a_reason(
        packets in proptest::collection::vec((0_u16..6, 0_u64..40, packet()), 1..20),
    ) {
        let mut machine = machine();
        let mut now = 0;
        for (port, seconds, packet) in packets {
            now += seconds * 1_000_000_000;
            match machine.process(now, port, &packet) {
                Ok(outcome) => match outcome.verdict {
                    Verdict::Drop { reason } => prop_assert_ne!(reason, "none"),
                    Verdict::Reply { responder } => prop_assert_ne!(responder, "none"),
                    // Only the wire has neighbours.
                    Verdict::Consume => prop_assert_eq!(port, 0),
                    // What came from the wire never goes back to it.
                    Verdict::Forward { port: out, .. } => prop_assert!(port != 0 || out != 0),
                },
                Err(fault) => prop_assert!(false, "{}: {}", testbed::notation::show(&packet), fault),
            }
        }
    }
}
