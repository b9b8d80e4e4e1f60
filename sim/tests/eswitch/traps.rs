//! Where a card accepts a pattern and understands it otherwise than `rte_flow` says.

use rte_flow::{
    Action, Conntrack, ENOTSUP, Eth, EthdevPort, Geneve, GeneveOption, Ipv4, Ipv6FragExt, Item,
    Match, PacketState, PortId, Rule, Vlan,
};
use sim::eswitch::{Eswitch, Ingress, Time, Trace, Verdict};

use crate::rig::{
    UPLINK, VF0, VF1, add, eth, from_entity, from_software, ipv4, profile, rule, send_at,
    switch_of, tagged, udp, udp_datagram, udp4, v4, v6,
};

const SWS: &str = "bluefield3-sws-22.11";
const UNLIMITED: &str = "unlimited";

fn forward(pattern: &[Item]) -> Rule {
    rule(0, 0, pattern, &[Action::RepresentedPort(VF1)])
}

/// When the card has done what it was told at the start.
const LATER: Time = Time(1_000_000_000);

fn is_forwarded(switch: &mut Eswitch, from: Ingress, frame: &[u8]) -> bool {
    send_at(switch, LATER, from, frame, &mut Trace::default()).0 == Verdict::Represented(VF1)
}

/// Whether a rule with this pattern, made through VF 0, takes a frame.
fn hits_from(name: &str, pattern: &[Item], from: Ingress, frame: &[u8]) -> bool {
    let mut switch = switch_of(profile(name));
    add(&mut switch, VF0, &forward(pattern));
    is_forwarded(&mut switch, from, frame)
}

fn hits(name: &str, pattern: &[Item], frame: &[u8]) -> bool {
    hits_from(name, pattern, Ingress::Represented(VF0), frame)
}

#[test]
fn a_pattern_with_a_tag_takes_frames_with_just_that_tag() {
    let plain = udp4(1, 2, b"");
    let one = tagged(&plain, 5);
    let two = tagged(&one, 6);
    let has_vlan = || Item::Eth(Match::<Eth>::default().has_vlan(true));
    let tpid = |tpid: u16| Item::Eth(Match::<Eth>::default().ether_type(tpid));
    let vlan = || Item::Vlan(Match::default());
    let more = || Item::Vlan(Match::<Vlan>::default().has_more_vlan(true));
    for (pattern, card, model) in [
        (vec![eth(), ipv4()], [true, true, true], [true, true, true]),
        (vec![eth(), vlan()], [false, true, false], [false, true, true]),
        (vec![has_vlan()], [false, true, false], [false, true, true]),
        (vec![tpid(0x8100)], [false, true, false], [false, true, true]),
        (vec![tpid(0x88a8)], [false, false, true], [false, true, true]),
        (vec![eth(), more()], [false, false, true], [false, false, true]),
        (vec![has_vlan(), more()], [false, false, true], [false, false, true]),
    ] {
        for (name, expected) in [(SWS, card), ("bluefield3-hws-24.11", card), (UNLIMITED, model)] {
            let pattern = [&[from_entity(VF0)], &pattern[..]].concat();
            let mut switch = switch_of(profile(name));
            add(&mut switch, UPLINK, &forward(&pattern));
            let from = Ingress::Represented(VF0);
            let found = [&plain, &one, &two].map(|frame| is_forwarded(&mut switch, from, frame));
            assert_eq!(found, expected, "{name}: {pattern:?}");
        }
    }
}

#[test]
fn one_flag_tells_fragments_from_whole_packets() {
    let whole = udp4(1, 2, b"12345678");
    let fragment = |bits: u16| {
        let mut frame = v4(17, &udp_datagram(1, 2, b"12345678"));
        frame[20..22].copy_from_slice(&bits.to_be_bytes());
        frame
    };
    let (first, last) = (fragment(0x2000), fragment(1));
    let header = |fragment_offset| Ipv4 { fragment_offset, ..Ipv4::default() };
    // Asks that "more fragments" is clear; to the card, that the packet is whole.
    let no_more = [eth(), Item::Ipv4(Match::masked(header(0), header(0x2000)))];
    assert!(hits(UNLIMITED, &no_more, &last) && !hits(SWS, &no_more, &last));
    assert!(hits(SWS, &no_more, &whole) && !hits(SWS, &no_more, &first));
    let any =
        Match { spec: Some(header(1)), last: Some(header(0x3fff)), mask: Some(header(0x3fff)) };
    let any = [eth(), Item::Ipv4(any)];
    for name in [SWS, UNLIMITED] {
        assert!(hits(name, &any, &first) && hits(name, &any, &last) && !hits(name, &any, &whole));
        // Nor is there a transport header in any of them.
        assert!(!hits(name, &[eth(), ipv4(), udp()], &first));
    }
    let later = v6(44, &[&[17, 0, 0, 8, 0, 0, 0, 1][..], &[0; 8]].concat());
    let atomic = Ipv6FragExt::default();
    let mask = Ipv6FragExt { fragment_data: 0xfff9, ..Ipv6FragExt::default() };
    let item = Item::Ipv6FragExt(Match::masked(atomic, mask));
    let atomic = [eth(), Item::Ipv6(Match::default()), item];
    assert!(hits(SWS, &atomic, &later) && !hits(UNLIMITED, &atomic, &later));
}

#[test]
fn a_range_of_ipv4_is_its_lower_end() {
    let ttl = |ttl| Ipv4 { ttl, ..Ipv4::default() };
    let asked = Match { spec: Some(ttl(64)), last: Some(ttl(70)), mask: Some(ttl(255)) };
    let pattern = [eth(), Item::Ipv4(asked)];
    let mut higher = udp4(1, 2, b"");
    higher[22] = 65;
    assert!(hits(SWS, &pattern, &udp4(1, 2, b"")) && !hits(SWS, &pattern, &higher));
    assert!(hits(UNLIMITED, &pattern, &higher));
}

#[test]
fn all_that_software_sends_comes_from_one_virtual_port() {
    let frame = udp4(1, 2, b"");
    let from = Ingress::Representor(UPLINK);
    let named = [from_software(VF0), eth()];
    assert!(hits_from(SWS, &named, from, &frame));
    assert!(!hits_from(UNLIMITED, &named, from, &frame));
    let unnamed = [Item::RepresentedPort(Match::<EthdevPort>::default()), eth()];
    assert!(hits_from(SWS, &unnamed, from, &frame));
    assert!(!hits_from(UNLIMITED, &unnamed, from, &frame));
    let own = [Item::PortId(Match::<PortId>::default()), eth()];
    let wire = Ingress::Represented(UPLINK);
    assert!(hits(SWS, &own, &frame) && !hits_from(SWS, &own, wire, &frame));
    assert!(hits_from(UNLIMITED, &own, wire, &frame));
}

#[test]
fn what_nobody_tracked_is_valid() {
    let valid = Conntrack { flags: PacketState::VALID };
    let pattern = [eth(), Item::Conntrack(Match::masked(valid, valid))];
    assert!(hits(SWS, &pattern, &udp4(1, 2, b"")));
    assert!(!hits(UNLIMITED, &pattern, &udp4(1, 2, b"")));
    let not_valid = Match::masked(Conntrack { flags: PacketState::empty() }, valid);
    let pattern = [eth(), Item::Conntrack(not_valid)];
    assert!(
        hits(SWS, &pattern, &udp4(1, 2, b"")),
        "0 is valid: the flag cannot be asked to be clear"
    );
}

fn with_option(option_type: u8) -> Rule {
    let mut data = [0; GeneveOption::MAX_DATA];
    data[0] = 9;
    let spec = GeneveOption { class: 0x0102, option_type, length: 1, data };
    data[..4].fill(0xff);
    let mask = GeneveOption { class: 0xffff, option_type: 0xff, length: 0x1f, data };
    let option = Item::GeneveOpt(Box::new(Match::masked(spec, mask)));
    forward(&[eth(), ipv4(), udp(), Item::Geneve(Match::<Geneve>::default()), option])
}

#[test]
fn a_card_knows_one_option_at_a_time() {
    let mut switch = switch_of(profile(SWS));
    let first = add(&mut switch, VF0, &with_option(3));
    let again = add(&mut switch, VF0, &with_option(3));
    let refused = |switch: &mut Eswitch| {
        let error = switch.create(VF0, &with_option(4), Time::ZERO).expect_err("another option");
        assert_eq!((error.errno, error.cause), (ENOTSUP, rte_flow::Cause::Item(4)), "{error}");
        assert!(switch.validate(VF0, &with_option(4)).is_err());
    };
    refused(&mut switch);
    switch.destroy(VF0, first, Time::ZERO).expect("it is there");
    refused(&mut switch);
    switch.destroy(VF0, again, Time::ZERO).expect("it is there");
    switch.create(VF0, &with_option(4), LATER).expect("nobody uses the other one any more");
}

#[test]
fn an_option_is_matched_as_the_only_one() {
    let option = |kind: u8| [0x01, 0x02, kind, 1, 9, 0, 0, 0];
    let frame = |options: &[u8]| {
        let header = [&[(options.len() / 4) as u8, 0, 0x65, 0x58, 0, 0, 1, 0], options].concat();
        v4(17, &udp_datagram(50_000, 6081, &header))
    };
    let pattern = with_option(3).pattern;
    let (alone, among) = (frame(&option(3)), frame(&[option(5), option(3)].concat()));
    assert!(hits(SWS, &pattern, &alone) && !hits(SWS, &pattern, &among));
    assert!(hits(UNLIMITED, &pattern, &alone) && hits(UNLIMITED, &pattern, &among));
}
