//! Which packets rules take.

use rte_flow::{
    Action, Any, Eth, Integrity, IntegrityBits, Ipv4, Ipv6, Ipv6Extensions, Item, Match, Tcp, U24,
    Udp, Vlan, Vxlan,
};
use sim::eswitch::{Ingress, Time, Verdict};

use crate::rig::{
    DESTINATION, UPLINK, VF0, add, eth, frame, from_entity, in_vxlan, ipv4, profile, rule, send,
    switch, switch_of, tagged, tcp, tcp_segment, tcp4, udp, udp_datagram, udp4, v4, v6, vxlan,
    with_checksum,
};

/// Whether a rule with this pattern takes the frame.
fn hits(pattern: &[Item], frame: &[u8]) -> bool {
    let mut switch = switch();
    let pattern = [&[from_entity(VF0)], pattern].concat();
    add(&mut switch, VF0, &rule(0, 0, &pattern, &[Action::RepresentedPort(UPLINK)]));
    match send(&mut switch, Ingress::Represented(VF0), frame).0 {
        Verdict::Represented(UPLINK) => true,
        Verdict::Representor { port: VF0, .. } => false,
        other => panic!("{other:?}"),
    }
}

fn integrity(level: u32, checks: IntegrityBits) -> Item {
    let spec = Integrity { level, checks };
    Item::Integrity(Match::masked(spec, Integrity { level: 0, checks }))
}

fn ipv6_with(extensions: Ipv6Extensions) -> Item {
    let mask = Ipv6 { extensions: Ipv6Extensions::all(), ..Ipv6::default() };
    Item::Ipv6(Match::masked(Ipv6 { extensions, ..Ipv6::default() }, mask))
}

#[test]
fn tags_are_stepped_over_unless_asked_for() {
    let plain = tcp4(1, 2, 2, b"");
    let one = tagged(&plain, 0x2005);
    let two = tagged(&one, 0x0007);
    let untagged = Item::Eth(Match::<Eth>::default().has_vlan(false));
    let typed = Item::Eth(Match::<Eth>::default().ether_type(0x0800_u16));
    let tpid = Item::Eth(Match::<Eth>::default().ether_type(0x8100_u16));
    let vlan = Item::Vlan(Match::of(Vlan { tci: 5, ..Vlan::default() }));
    let single = Item::Vlan(Match::<Vlan>::default().has_more_vlan(false));
    let any_vlan = Item::Vlan(Match::default());
    for (pattern, expected) in [
        (vec![eth(), ipv4()], [true, true, true]),
        (vec![untagged, ipv4()], [true, false, false]),
        (vec![typed], [true, true, true]),
        (vec![tpid], [false, true, true]),
        (vec![eth(), any_vlan, ipv4()], [false, true, true]),
        (vec![eth(), vlan], [false, true, false]),
        (vec![eth(), single], [false, true, false]),
    ] {
        let found = [&plain, &one, &two].map(|frame| hits(&pattern, frame));
        assert_eq!(found, expected, "{pattern:?}");
    }
}

#[test]
fn fragments_have_no_transport_header() {
    let mut first = tcp4(1, 2, 2, &[0; 8]);
    first[20] = 0x20;
    let mut later = tcp4(1, 2, 2, &[0; 8]);
    later[21] = 1;
    let whole = tcp4(1, 2, 2, &[0; 8]);
    let spec = Ipv4 { fragment_offset: 0, ..Ipv4::default() };
    let mask = Ipv4 { fragment_offset: 0x3fff, ..Ipv4::default() };
    let unfragmented = Item::Ipv4(Match::masked(spec, mask));
    let any_fragment = Item::Ipv4(Match {
        spec: Some(Ipv4 { fragment_offset: 1, ..spec }),
        last: Some(Ipv4 { fragment_offset: 0x3fff, ..spec }),
        mask: Some(mask),
    });
    for (pattern, expected) in [
        (vec![eth(), ipv4()], [true, true, true]),
        (vec![eth(), ipv4(), tcp()], [true, false, false]),
        (vec![eth(), unfragmented], [true, false, false]),
        (vec![eth(), any_fragment], [false, true, true]),
    ] {
        assert_eq!([&whole, &first, &later].map(|f| hits(&pattern, f)), expected, "{pattern:?}");
    }
}

#[test]
fn options_and_extension_headers_are_stepped_over_unless_asked_for() {
    let mut options = v4(6, &[&[1, 1, 1, 0][..], &tcp_segment(1, 2, 2, b"")].concat());
    options[14] = 0x46;
    let port = || Item::Tcp(Match::<Tcp>::default().dst(2_u16));
    let plain = Item::Ipv4(Match::<Ipv4>::default().version_ihl(0x45_u8));
    assert!(hits(&[eth(), ipv4(), port()], &options));
    assert!(!hits(&[eth(), plain, port()], &options));
    let hop_by_hop = v6(0, &[&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp_segment(1, 2, 2, b"")].concat());
    let none = || ipv6_with(Ipv6Extensions::empty());
    assert!(hits(&[eth(), ipv6_with(Ipv6Extensions::HOP_BY_HOP), port()], &hop_by_hop));
    assert!(!hits(&[eth(), none(), port()], &hop_by_hop));
    assert!(hits(&[eth(), none(), port()], &v6(6, &tcp_segment(1, 2, 2, b""))));
    let atomic = v6(44, &[&[6, 0, 0, 0, 0, 0, 0, 1][..], &tcp_segment(1, 2, 2, b"")].concat());
    assert!(hits(&[eth(), ipv6_with(Ipv6Extensions::FRAGMENT)], &atomic));
    assert!(!hits(&[eth(), Item::Ipv6(Match::default()), port()], &atomic));
}

#[test]
fn integrity_tells_whole_packets_from_broken_ones() {
    let ok = IntegrityBits::L3_OK | IntegrityBits::L4_OK;
    let l3 = IntegrityBits::L3_OK;
    let broken = |at: usize, value: u8| {
        let mut frame = udp4(1, 2, b"hello");
        frame[at] ^= value;
        frame
    };
    let too_long = {
        let mut frame = v4(17, &udp_datagram(1, 2, b"hello"));
        frame.truncate(frame.len() - 1);
        frame
    };
    for (name, frame, l3_ok, all_ok) in [
        ("intact", udp4(1, 2, b"hello"), true, true),
        ("intact TCP", tcp4(1, 2, 2, b"x"), true, true),
        ("padded", [udp4(1, 2, b""), vec![0; 18]].concat(), true, true),
        ("no UDP checksum", v4(17, &udp_datagram(1, 2, b"hello")), true, true),
        ("v6", with_checksum(v6(17, &udp_datagram(1, 2, b"hello"))), true, true),
        ("payload changed", broken(44, 1), true, false),
        ("header checksum", broken(24, 1), false, false),
        ("cut short", too_long, false, false),
        ("UDP length", broken(39, 0x40), true, false),
        ("ARP", frame(0x0806, &[0; 28]), false, false),
    ] {
        assert_eq!(hits(&[integrity(0, l3), eth()], &frame), l3_ok, "{name}: L3");
        assert_eq!(hits(&[integrity(1, ok), eth()], &frame), all_ok, "{name}: L3 and L4");
        let inner = [integrity(2, ok), eth(), ipv4(), udp(), vxlan()];
        assert_eq!(hits(&inner, &in_vxlan(7, &frame)), all_ok, "{name}: inner");
        assert!(!hits(&[integrity(2, l3), eth()], &frame), "{name}: nothing inside");
    }
}

#[test]
fn tunnels_are_seen_through() {
    let inner = tcp4(7, 80, 2, b"");
    let outer = in_vxlan(42, &inner);
    let vni =
        |vni: u32| Item::Vxlan(Match::of(Vxlan { vni: U24::truncate(vni), ..Vxlan::default() }));
    let port = |port: u16| Item::Tcp(Match::<Tcp>::default().dst(port));
    let to = || Item::Ipv4(Match::<Ipv4>::default().dst(DESTINATION.to_bits()));
    let tunnel = [eth(), ipv4(), udp()];
    for (rest, expected) in [
        (vec![vni(42)], true),
        (vec![vni(43)], false),
        (vec![vni(42), eth(), to(), port(80)], true),
        (vec![vni(42), eth(), to(), port(81)], false),
        (vec![vni(42), eth(), ipv4(), udp()], false),
    ] {
        assert_eq!(hits(&[&tunnel[..], &rest].concat(), &outer), expected, "{rest:?}");
    }
    assert!(!hits(&[eth(), ipv4(), tcp()], &outer));
    let other_port = Item::Udp(Match::<Udp>::default().dst(4789_u16));
    assert!(hits(&[eth(), ipv4(), other_port], &outer));
    assert!(!hits(&[eth(), ipv4(), udp(), vxlan()], &udp4(4789, 53, b"12345678")));
}

#[test]
fn bits_outside_the_mask_are_ignored_or_fatal_as_the_profile_says() {
    let pattern = [
        from_entity(VF0),
        eth(),
        Item::Ipv4(Match::masked(
            Ipv4 { ttl: 1, dst: DESTINATION.to_bits(), ..Ipv4::default() },
            Ipv4 { dst: u32::MAX, ..Ipv4::default() },
        )),
    ];
    let forward = rule(0, 0, &pattern, &[Action::RepresentedPort(UPLINK)]);
    for (setting, expected) in [("ignored", true), ("never_hits", false)] {
        let text = include_str!("../../../rte-flow/profiles/unlimited.toml");
        let line = "spec_outside_mask = \"ignored\"";
        let text = text.replace(line, &format!("spec_outside_mask = \"{setting}\""));
        let mut switch = switch_of(rte_flow::Profile::from_toml("test", &text).expect("valid"));
        let id = add(&mut switch, VF0, &forward);
        let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &tcp4(1, 2, 2, b""));
        assert_eq!(verdict == Verdict::Represented(UPLINK), expected, "{setting}");
        switch.destroy(VF0, id, Time::ZERO).expect("it is there");
    }
}

#[test]
fn what_is_not_supported_is_refused_with_a_way_out() {
    let switch = switch();
    let tag = || Item::Vlan(Match::default());
    let third_tag = [eth(), tag(), tag(), tag()];
    let unknown_port = [from_entity(40)];
    let two_origins = [from_entity(VF0), from_entity(UPLINK)];
    let any = [Item::Any(Match::<Any>::default().num(4_u32))];
    let register = [Item::Tag(Match::of(rte_flow::Tag { data: 1, index: 200 }))];
    let nested = [eth(), ipv4(), udp(), vxlan(), eth(), ipv4(), udp(), vxlan()];
    let level = [integrity(3, IntegrityBits::L3_OK)];
    let range = [
        eth(),
        Item::Ipv4(Match {
            spec: Some(Ipv4 { ttl: 9, ..Ipv4::default() }),
            last: Some(Ipv4 { ttl: 3, ..Ipv4::default() }),
            mask: Some(Ipv4 { ttl: 0xff, ..Ipv4::default() }),
        }),
    ];
    for (pattern, index) in [
        (&third_tag[..], 3),
        (&unknown_port, 0),
        (&two_origins, 1),
        (&any, 0),
        (&register, 0),
        (&nested, 7),
        (&level, 0),
        (&range, 1),
    ] {
        let refused = rule(0, 0, pattern, &[Action::Drop]);
        let error = switch.validate(VF0, &refused).expect_err("unsupported");
        assert_eq!(error.cause, rte_flow::Cause::Item(index), "{error}");
        assert!(error.message.contains("; "), "{error} says what to do");
    }
    let ingress = rte_flow::Domain::Ingress;
    let port_item =
        crate::rig::in_domain(ingress, rule(0, 0, &[from_entity(VF0)], &[Action::Drop]));
    assert!(switch.validate(VF0, &port_item).is_err());
}

#[test]
fn many_rules_are_found_in_time() {
    let mut switch = switch_of(profile("unlimited"));
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &[Action::Jump(1)]));
    let to = |destination: u32, port: u16| {
        let ip = Item::Ipv4(Match::<Ipv4>::default().dst(destination));
        [eth(), ip, Item::Udp(Match::<Udp>::default().dst(port))]
    };
    for index in 0..100_000_u32 {
        let pattern = to(DESTINATION.to_bits(), index as u16);
        let pattern = if index < 60_000 { pattern } else { to(index, 1) };
        add(&mut switch, VF0, &rule(1, 0, &pattern, &[Action::RepresentedPort(UPLINK)]));
    }
    for port in (0..60_000).step_by(7) {
        let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &udp4(9, port, b""));
        assert_eq!(verdict, Verdict::Represented(UPLINK));
    }
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &udp4(9, 60_001, b""));
    assert!(matches!(verdict, Verdict::Representor { .. }));
    assert_eq!(switch.rule_count(), 100_001);
}
