//! What rules make of packets: rewrites, encapsulation, decapsulation.

use std::net::{Ipv4Addr, Ipv6Addr};

use packet::{Mac, Network, vxlan_source_port};
use rte_flow::{
    Action, FieldId, FieldRef, Item, Match, ModifyField, ModifyOperation, RawEncap, SetTag, U24,
    Udp, Vxlan,
};
use sim::eswitch::{DropCause, Ingress, Verdict};

use crate::rig::{
    MACS, SOURCE, UPLINK, VF0, add, eth, from_entity, in_vxlan, ipv4, rule, send, switch,
    tcp_segment, tcp4, udp, udp_datagram, udp4, v4, v6, vxlan, with_checksum,
};

/// What the actions make of a frame on its way from VF 0 to the wire.
fn rewritten(actions: &[Action], frame: &[u8]) -> Vec<u8> {
    let mut switch = switch();
    let actions = [actions, &[Action::RepresentedPort(UPLINK)]].concat();
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &actions));
    let (verdict, after) = send(&mut switch, Ingress::Represented(VF0), frame);
    assert_eq!(verdict, Verdict::Represented(UPLINK));
    after
}

/// The frame with other bytes at `at`, and all checksums right again.
fn patched(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    if frame[12] == 0x08 {
        frame[24..26].fill(0);
        let sum = packet::checksum::Sum::ZERO.bytes(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    with_checksum(frame)
}

#[test]
fn every_rewrite_leaves_correct_checksums() {
    let mac = Mac([2, 9, 9, 9, 9, 9]);
    let ip = Ipv4Addr::new(192, 0, 2, 77);
    let ip6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);
    let port = 0x1234_u16.to_be_bytes();
    let modify = |field, number: u128| Action::ModifyField(ModifyField::set(field, number));
    let bits = u128::from(ip.to_bits());
    let cases = [
        (Action::SetMacDst(mac), [Some((0, &mac.0[..])); 2]),
        (Action::SetMacSrc(mac), [Some((6, &mac.0[..])); 2]),
        (modify(FieldId::MacSrc, 0x0209_0909_0909), [Some((6, &mac.0[..])); 2]),
        (Action::SetIpv4Src(ip), [Some((26, &ip.octets()[..])), None]),
        (modify(FieldId::Ipv4Dst, bits), [Some((30, &ip.octets()[..])), None]),
        (Action::SetIpv6Dst(ip6), [None, Some((38, &ip6.octets()[..]))]),
        (modify(FieldId::Ipv6Src, ip6.to_bits()), [None, Some((22, &ip6.octets()[..]))]),
        (Action::SetTpSrc(0x1234), [Some((34, &port[..])), Some((54, &port[..]))]),
        (Action::SetTpDst(0x1234), [Some((36, &port[..])), Some((56, &port[..]))]),
        (Action::SetTtl(3), [Some((22, &[3][..])), Some((21, &[3][..]))]),
        (Action::DecTtl, [Some((22, &[63][..])), Some((21, &[63][..]))]),
        (modify(FieldId::Ipv4Dscp, 0x2e), [Some((15, &[0xb8][..])), None]),
        (modify(FieldId::Ipv6Dscp, 0x2e), [None, Some((14, &[0x6b, 0x80][..]))]),
        (modify(FieldId::Ipv6Ecn, 3), [None, Some((15, &[0x30][..]))]),
    ];
    for payload in [&b"even"[..], b"odd"] {
        let (tcp, udp) = (tcp_segment(7, 8, 2, payload), udp_datagram(7, 8, payload));
        for (v4_frame, v6_frame) in [(v4(6, &tcp), v6(6, &tcp)), (v4(17, &udp), v6(17, &udp))] {
            let frames = [with_checksum(v4_frame), with_checksum(v6_frame)];
            for (action, expected) in &cases {
                for (frame, change) in frames.iter().zip(expected) {
                    let wanted = change
                        .map_or_else(|| frame.clone(), |(at, bytes)| patched(frame, at, bytes));
                    let after = rewritten(std::slice::from_ref(action), frame);
                    assert_eq!(after, wanted, "{action:?} of {frame:?}");
                }
            }
        }
    }
}

#[test]
fn a_ttl_wraps_and_a_missing_udp_checksum_stays_missing() {
    let mut frame = udp4(1, 2, b"");
    frame = patched(&frame, 22, &[0]);
    assert_eq!(rewritten(&[Action::DecTtl], &frame), patched(&frame, 22, &[0xff]));
    let bare = v4(17, &udp_datagram(1, 2, b""));
    let after = rewritten(&[Action::SetTpDst(9), Action::SetIpv4Src(Ipv4Addr::LOCALHOST)], &bare);
    assert_eq!(after[40..42], [0, 0]);
}

#[test]
fn registers_and_fields_copy_and_add() {
    let tag = FieldRef { field: FieldId::Tag, level: 3, offset: 8 };
    let set = Action::SetTag(SetTag { data: 0x0012_3400, mask: u32::MAX, index: 3 });
    let port = FieldRef::outermost(FieldId::UdpPortDst);
    let copy = Action::ModifyField(ModifyField::copy(port, tag, 16));
    let frame = udp4(1, 2, b"abc");
    let after = rewritten(&[set, copy], &frame);
    assert_eq!(after, patched(&frame, 36, &[0x12, 0x34]));
    let add = Action::ModifyField(ModifyField::add(FieldId::UdpPortSrc, 0xffff));
    assert_eq!(rewritten(&[add], &frame), patched(&frame, 34, &[0, 0]));
    // Offsets in packet fields count from the first bit.
    let low_byte = FieldRef { field: FieldId::Ipv4Src, level: 0, offset: 24 };
    let sub = ModifyField::immediate(ModifyOperation::Sub, low_byte, 8, 2);
    let after = rewritten(&[Action::ModifyField(sub)], &frame);
    assert_eq!(after, patched(&frame, 29, &[SOURCE.octets()[3].wrapping_sub(2)]));
}

/// A VXLAN encapsulation by items; the fields that follow from the stack are left 0.
fn vxlan_encap(vni: u32, v6: bool) -> Action {
    let eth_spec = rte_flow::Eth { dst: [2; 6], src: [4; 6], ..rte_flow::Eth::default() };
    let network = if v6 {
        Item::Ipv6(Match::of(rte_flow::Ipv6 { src: 1, dst: 2, ..rte_flow::Ipv6::default() }))
    } else {
        let spec = rte_flow::Ipv4 {
            src: 0xc000_0201,
            dst: 0xc000_0202,
            ttl: 64,
            fragment_offset: 0x4000,
            ..rte_flow::Ipv4::default()
        };
        Item::Ipv4(Match::of(spec))
    };
    let udp = Item::Udp(Match::of(Udp { dst: 4789, ..Udp::default() }));
    let spec = Vxlan { flags: 8, vni: U24::truncate(vni), ..Vxlan::default() };
    let vxlan = Item::Vxlan(Match::of(spec));
    Action::VxlanEncap(vec![Item::Eth(Match::of(eth_spec)), network, udp, vxlan])
}

#[test]
fn encapsulation_fills_lengths_checksum_and_source_port() {
    let inner = tcp4(1000, 80, 2, b"hello");
    let Ok(Network::Ip(ip)) = packet::parse(&inner).map(|parsed| parsed.network) else {
        panic!("it is IP");
    };
    for v6 in [false, true] {
        let outer = rewritten(&[vxlan_encap(0x1234, v6)], &inner);
        let tunnel = packet::parse_vxlan(&outer).expect("a whole VXLAN packet");
        assert_eq!(tunnel.vni, 0x1234);
        assert_eq!(&outer[tunnel.inner()], inner);
        let udp = if v6 { 54 } else { 34 };
        assert_eq!(outer[udp..udp + 2], vxlan_source_port(&ip).to_be_bytes());
        assert_eq!(outer[udp + 6..udp + 8], [0, 0], "no UDP checksum");
        // The same headers as bytes give the same frame.
        let mut header = outer[..udp + 16].to_vec();
        header[udp..udp + 2].fill(0);
        header[udp + 4..udp + 6].fill(0);
        let raw = Action::RawEncap(RawEncap { data: header, preserve: None });
        assert_eq!(rewritten(&[raw], &inner), outer);
    }
}

#[test]
fn decapsulation_restores_the_inner_frame_and_a_miss_keeps_it_so() {
    let inner = udp4(5, 6, b"payload");
    let outer = in_vxlan(42, &inner);
    let mut switch = switch();
    let pattern = [from_entity(UPLINK), eth(), ipv4(), udp(), vxlan()];
    add(&mut switch, UPLINK, &rule(0, 0, &pattern, &[Action::VxlanDecap, Action::Jump(1)]));
    let (verdict, after) = send(&mut switch, Ingress::Represented(UPLINK), &outer);
    assert!(matches!(verdict, Verdict::Representor { port: UPLINK, .. }), "{verdict:?}");
    assert_eq!(after, inner, "the miss in group 1 delivers the modified packet");
    let id = add(
        &mut switch,
        VF0,
        &rule(0, 0, &[from_entity(VF0)], &[Action::VxlanDecap, Action::RepresentedPort(UPLINK)]),
    );
    let (verdict, after) = send(&mut switch, Ingress::Represented(VF0), &inner);
    assert_eq!(verdict, Verdict::Dropped(DropCause::NotATunnel(id)));
    assert_eq!(after, inner);
}

#[test]
fn actions_that_cannot_be_are_refused_with_a_way_out() {
    let switch = switch();
    let raw = |data: &[u8]| Action::RawEncap(RawEncap { data: data.to_vec(), preserve: None });
    let ethernet = [&MACS[..], &[8, 0]].concat();
    let checksummed = {
        let mut header = in_vxlan(1, b"");
        header[40] = 1;
        header
    };
    let wide = ModifyField { width: 33, ..ModifyField::set(FieldId::Ipv4Src, 1) };
    let untouchable = Action::ModifyField(ModifyField::set(FieldId::VlanType, 1));
    let tag = Action::SetTag(SetTag { data: 1, mask: 1, index: 9 });
    for bad in [
        raw(&ethernet),
        raw(&[0; 133]),
        raw(&checksummed),
        Action::RawDecap(ethernet.clone()),
        Action::ModifyField(wide),
        untouchable,
        tag,
        Action::Queue(1),
        Action::RepresentedPort(40),
        Action::Jump(0),
        Action::Indirect(rte_flow::IndirectHandle(77)),
        Action::VxlanEncap(vec![Item::Icmp(Match::default())]),
    ] {
        let refused = rule(0, 0, &[from_entity(VF0)], std::slice::from_ref(&bad));
        let error = switch.validate(VF0, &refused).expect_err("impossible");
        assert_eq!(error.cause, rte_flow::Cause::Action(0), "{bad:?}: {error}");
        assert!(error.message.contains("; "), "{error} says what to do");
    }
    let two_fates = rule(0, 0, &[from_entity(VF0)], &[Action::Drop, Action::Jump(2)]);
    assert!(switch.validate(VF0, &two_fates).is_err());
}
