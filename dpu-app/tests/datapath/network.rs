use std::time::Duration;

use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{Outcome, Port};
use model::decision::DropReason;
use packet::{Frame, Mac, VxlanHeader, VxlanTunnel};

use super::frames::{Ip, ip, mac};
use super::world::{End, World};

/// What dpu1 gets from the VTEP of `from` for `vni`.
fn encapsulated(from: &str, vni: u64, inner: &[u8]) -> Vec<u8> {
    let header = VxlanHeader::new(&VxlanTunnel {
        source_mac: mac(0x22),
        destination_mac: Mac([2, 0, 0, 0, 1, 0]),
        source: from.parse().unwrap(),
        destination: "192.0.2.1".parse().unwrap(),
        vni: vni.try_into().unwrap(),
        dscp: 0,
    })
    .unwrap();
    let mut buffer = vec![0; 70 + inner.len()];
    buffer[70..].copy_from_slice(inner);
    let mut frame = Frame::new(&mut buffer, 70, 70 + inner.len()).unwrap();
    header.push(&mut frame, 50_000).unwrap();
    frame.bytes().to_vec()
}

/// From `b` to `a`, as b's node puts it onto the wire.
fn inner() -> Ip {
    Ip { destination_mac: mac(0x0a), ..ip([1, 20], [1, 10]) }
}

fn reason(frame: &[u8]) -> Option<DropReason> {
    World::new().wire(1, frame).reason()
}

#[test]
fn what_may_come_in() {
    let udp = inner().udp((1, 2), 0);
    assert_eq!(World::new().wire(1, &encapsulated("192.0.2.2", 100, &udp)).at(), Some((1, 0)));
    assert_eq!(World::new().wire(1, &encapsulated("192.0.2.2", 200, &udp)).at(), Some((1, 5)));
    let end = World::new().wire(1, &encapsulated("192.0.2.2", 100, &udp));
    assert_eq!(end.frame(), udp, "as it came");
}

#[test]
fn what_may_not() {
    let udp = |ip: Ip| ip.udp((1, 2), 0);
    let from = |vtep, vni, inner: &[u8]| reason(&encapsulated(vtep, vni, inner));
    let good = udp(inner());
    assert_eq!(from("192.0.2.2", 300, &good), Some(DropReason::UnknownVni));
    assert_eq!(from("192.0.2.3", 100, &good), Some(DropReason::OverlaySourceMismatch));
    assert_eq!(from("192.0.2.1", 100, &good), Some(DropReason::OverlaySourceMismatch));
    let to = |last| Ip { destination_mac: mac(last), ..inner() };
    assert_eq!(from("192.0.2.2", 100, &udp(to(0x99))), Some(DropReason::UnknownDestination));
    // On another node; disabled.
    assert_eq!(from("192.0.2.2", 100, &udp(to(0x0b))), Some(DropReason::UnknownDestination));
    assert_eq!(from("192.0.2.2", 100, &udp(to(0x0f))), Some(DropReason::InterfaceDown));
    let group = Ip { destination_mac: Mac::BROADCAST, ..inner() };
    assert_eq!(from("192.0.2.2", 100, &udp(group)), Some(DropReason::Broadcast));
    // The right MAC, another's address; an appliance takes it.
    let other = Ip { destination: [10, 1, 1, 40].into(), ..inner() };
    assert_eq!(from("192.0.2.2", 100, &udp(other)), Some(DropReason::UnknownDestination));
    let appliance =
        Ip { destination: [198, 51, 100, 1].into(), destination_mac: mac(0xf1), ..inner() };
    assert_eq!(from("192.0.2.2", 100, &udp(appliance.clone())), None);
    let multicast = Ip { destination: [224, 0, 0, 1].into(), ..appliance };
    assert_eq!(from("192.0.2.2", 100, &udp(multicast)), Some(DropReason::Broadcast));
    let lonely = Ip { destination: [10, 1, 1, 40].into(), destination_mac: mac(0x40), ..inner() };
    assert_eq!(from("192.0.2.2", 100, &udp(lonely)), Some(DropReason::SecurityGroupIngress));
    // An open VTEP may send for anybody: dpu2 has an appliance.
    let stranger = Ip { source: [8, 8, 8, 8].into(), ..inner() };
    assert_eq!(from("192.0.2.2", 100, &udp(stranger)), None);
    let mut vlan = good.clone();
    vlan[12..14].copy_from_slice(&[0x81, 0]);
    assert_eq!(from("192.0.2.2", 100, &vlan), Some(DropReason::UnsupportedEtherType));
    assert_eq!(from("192.0.2.2", 100, &good[..20]), Some(DropReason::Malformed));
    let mut arp = good.clone();
    arp[12..14].copy_from_slice(&[8, 6]);
    arp[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    assert_eq!(from("192.0.2.2", 100, &arp), Some(DropReason::UnsupportedEtherType));
}

#[test]
fn what_is_not_for_us() {
    let mut other = encapsulated("192.0.2.2", 100, &inner().udp((1, 2), 0));
    // Another VTEP's: destination address and header checksum.
    other[33] = 9;
    let sum = u16::from_be_bytes([other[24], other[25]]).wrapping_sub(8);
    other[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(reason(&other), Some(DropReason::NotOurVtep));
    assert_eq!(reason(&inner().udp((1, 2), 0)), Some(DropReason::NotOurVtep));
    assert_eq!(reason(&other[..30]), Some(DropReason::Malformed));
}

#[test]
fn what_is_not_for_us_is_the_kernels_where_it_has_a_port() {
    let settings: Settings =
        serde_json::from_str(r#"{"kernelPort": {"packetsPerSecond": 2, "burst": 1}}"#).unwrap();
    let mut world = World::with(settings);
    let other = inner().udp((1, 2), 0);
    assert_eq!(world.wire(1, &other), End::Kernel(other.clone()), "untouched");
    assert_eq!(world.wire(1, &other).reason(), Some(DropReason::RateLimited));
    assert_eq!(world.wire(2, &other), End::Kernel(other.clone()), "a limit of its own");
    let ours = encapsulated("192.0.2.2", 100, &inner().udp((1, 2), 0));
    assert_eq!(world.wire(1, &ours).at(), Some((1, 0)), "not limited");
    world.wait(Duration::from_millis(500));
    assert_eq!(world.wire(1, &other), End::Kernel(other.clone()));
    for frame in [&other[..], &[], &ours] {
        let (outcome, sent) = world.process(1, Port::Kernel, frame);
        assert_eq!((outcome, &sent[..]), (Outcome::Forward { port: Port::Uplink }, frame));
    }
    let counters = world.nodes[&1].shard.counters();
    assert_eq!((counters.kernel().forwarded, counters.wire().forwarded), (3, 2));
    assert_eq!(counters.wire().dropped(DropReason::RateLimited), 1);
}

#[test]
fn an_established_connection_is_no_excuse_for_a_wrong_vtep() {
    let mut world = World::new();
    world.handshake((1000, 80));
    let answer = inner().tcp((80, 1000), "A");
    assert_eq!(world.wire(1, &encapsulated("192.0.2.2", 100, &answer)).at(), Some((1, 0)));
    let end = world.wire(1, &encapsulated("192.0.2.3", 100, &answer));
    assert_eq!(end.reason(), Some(DropReason::OverlaySourceMismatch));
}

#[test]
fn congestion_marks_survive_the_tunnel() {
    let mark = |mut frame: Vec<u8>, ecn: u8| {
        let before = u16::from_be_bytes([frame[14], frame[15]]);
        frame[15] |= ecn;
        let after = u16::from_be_bytes([frame[14], frame[15]]);
        let sum = packet::checksum::Delta::NONE
            .u16(before, after)
            .apply(u16::from_be_bytes([frame[24], frame[25]]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    for (inside, outside, expected) in [
        (0, 0, Some(0)),
        (0, 1, Some(0)),
        (0, 3, None),
        (2, 1, Some(1)),
        (2, 3, Some(3)),
        (1, 3, Some(3)),
    ] {
        let udp = Ip { ecn: inside, ..inner() }.udp((1, 2), 0);
        let end = World::new().wire(1, &mark(encapsulated("192.0.2.2", 100, &udp), outside));
        match expected {
            Some(ecn) => {
                assert_eq!(end.frame(), Ip { ecn, ..inner() }.udp((1, 2), 0), "{inside} {outside}");
            }
            None => assert_eq!(end.reason(), Some(DropReason::EcnNotCapable)),
        }
    }
}

#[test]
fn the_outer_headers() {
    let mut world = World::new();
    let frame = ip([1, 10], [1, 20]).udp((1000, 53), 10);
    let (outcome, wire) = world.process(1, Port::Vf(model::snapshot::VfIndex(0)), &frame);
    assert_eq!(outcome, Outcome::Forward { port: Port::Uplink });
    let outer = packet::parse_vxlan(&wire).unwrap();
    assert_eq!((outer.vni, outer.source.to_string()), (100, "192.0.2.1".to_owned()));
    assert_eq!(wire[..12], [2, 0, 0, 0, 2, 0, 2, 0, 0, 0, 1, 0]);
    assert_eq!(wire[15], 10 << 2, "the VPC's DSCP, not-ECT");
    assert_eq!(wire[18..23], [0, 0, 0x40, 0, 64], "identification 0, DF, TTL 64");
    assert_eq!(wire[40..42], [0, 0], "no UDP checksum");
    assert!(u16::from_be_bytes([wire[34], wire[35]]) >= 49_152);
    assert_eq!(wire[64..], frame[14..]);
}

#[test]
fn an_unknown_neighbour_is_asked_once_a_second_and_nothing_is_remembered() {
    let mut world = World::new();
    let frame = ip([1, 10], [1, 33]).udp((1000, 53), 10);
    for second in [0, 0, 0, 1, 1] {
        world.at(second);
        assert_eq!(world.vm(1, 0, &frame).reason(), Some(DropReason::UnresolvedNeighbor));
    }
    assert_eq!(world.shard(1).connection_count(), 0);
    let asked = &world.nodes[&1].solicitations;
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0][38..42], [192, 0, 2, 3]);
    // The answer.
    let mut answer = asked[0].clone();
    answer[..6].copy_from_slice(&[2, 0, 0, 0, 1, 0]);
    answer[6..12].copy_from_slice(&[2, 0, 0, 0, 3, 0]);
    answer[21] = 2;
    answer[22..28].copy_from_slice(&[2, 0, 0, 0, 3, 0]);
    answer[28..32].copy_from_slice(&[192, 0, 2, 3]);
    answer[32..38].copy_from_slice(&[2, 0, 0, 0, 1, 0]);
    answer[38..42].copy_from_slice(&[192, 0, 2, 1]);
    assert_eq!(world.wire(1, &answer), End::Consumed);
    let End::Wire(wire) = world.vm(1, 0, &frame) else { panic!("not sent") };
    assert_eq!(wire[..6], [2, 0, 0, 0, 3, 0]);
}
