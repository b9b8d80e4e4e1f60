use std::net::Ipv6Addr;

use packet::wire::nd::{
    ALL_NODES, LinkLayer, MTU, Neighbor, Options, PREFIX_INFORMATION, PrefixInformation, RDNSS,
    RouterAdvertisement, SOURCE_LINK_LAYER, TARGET_LINK_LAYER, solicited_node,
};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::datapath::responder::advertise;
use crate::datapath::test_frames::written;

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn neighbor(kind: u8, source: &str, target: &str, option: bool) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(v6(target).octets());
    if option {
        message.extend(LinkLayer::new(SOURCE_LINK_LAYER, A).as_bytes());
    }
    icmp(&envelope(A, source, &solicited_node(v6(target)).to_string(), 255), &message)
}

fn solicitation(source: &str, target: &str) -> Vec<u8> {
    neighbor(135, source, target, source != "::")
}

#[test]
fn neighbors_and_gateways_are_answered() {
    let world = snapshot();
    let router = Neighbor::ROUTER | Neighbor::SOLICITED;
    for (source, target, mac, flags) in [
        ("2001:db8:0:1::a", "2001:db8:0:1::b", B, Neighbor::SOLICITED),
        ("fe80::a", "2001:db8:0:1::b", B, Neighbor::SOLICITED),
        ("::", "2001:db8:0:1::b", B, 0),
        ("2001:db8:0:1::a", "2001:db8:0:1::1", GATEWAY, router),
        ("fe80::a", "fe80::1", GATEWAY, router),
        ("::", "fe80::1", GATEWAY, Neighbor::ROUTER),
    ] {
        let answer = ask(&world, "a", &solicitation(source, target));
        let (packet, message) = ip(&answer);
        assert_eq!((packet.ttl, parsed(&answer).source_mac), (255, mac));
        assert_eq!(packet.tuple.source(), v6(target));
        let to = if source == "::" { ALL_NODES } else { v6(source) };
        assert_eq!(packet.tuple.destination(), to);
        let (head, options) = Neighbor::ref_from_prefix(message).unwrap();
        assert_eq!((head.icmp.kind, head.icmp.code), (136, 0));
        assert_eq!((head.flags, head.target()), (flags | Neighbor::OVERRIDE, v6(target)));
        assert_eq!(Options::new(options).link_layer(TARGET_LINK_LAYER), Ok(Some(mac)));
    }
}

#[test]
fn all_else_ends() {
    let world = snapshot();
    for (what, frame) in [
        ("duplicate address detection", solicitation("::", "2001:db8:0:1::a")),
        ("own", solicitation("2001:db8:0:1::a", "2001:db8:0:1::aa")),
        ("own link-local", solicitation("::", "fe80::a")),
        ("another VM's link-local", solicitation("2001:db8:0:1::a", "fe80::b")),
        ("nobody", solicitation("2001:db8:0:1::a", "2001:db8:0:1::99")),
        ("advertisement", neighbor(136, "2001:db8:0:1::a", "2001:db8:0:1::a", false)),
        ("router advertisement", neighbor(134, "2001:db8:0:1::a", "2001:db8:0:1::a", false)),
        ("redirect", neighbor(137, "2001:db8:0:1::a", "2001:db8:0:1::a", false)),
    ] {
        assert_eq!(send(&world, "a", &frame).0, UNANSWERED, "{what}");
    }
}

#[test]
fn bad_messages_are_malformed() {
    let world = snapshot();
    let good = solicitation("2001:db8:0:1::a", "2001:db8:0:1::b");
    ask(&world, "a", &good);
    // Hop limit, code, checksum, option of length 0 (with the checksum mended).
    for changes in [
        &[(21, 254)][..],
        &[(55, 1), (57, good[57].wrapping_sub(1))],
        &[(57, good[57] ^ 1)],
        &[(79, 0), (57, good[57].wrapping_add(1))],
    ] {
        let mut bad = good.clone();
        for (at, value) in changes {
            bad[*at] = *value;
        }
        assert_eq!(send(&world, "a", &bad).0, MALFORMED, "{changes:?}");
    }
    let source = envelope(A, "2001:db8:0:1::a", "2001:db8:0:1::b", 255);
    let mut group = vec![135, 0, 0, 0, 0, 0, 0, 0];
    group.extend(v6("ff02::1").octets());
    assert_eq!(send(&world, "a", &icmp(&source, &group)).0, MALFORMED);
    assert_eq!(send(&world, "a", &icmp(&source, &group[..20])).0, MALFORMED);
    assert_eq!(send(&world, "a", &icmp(&source, &[133, 0, 0, 0, 0, 0])).0, MALFORMED);
    // A probe must not tell a MAC, and goes to the group of its target.
    assert_eq!(send(&world, "a", &neighbor(135, "::", "2001:db8:0:1::b", true)).0, MALFORMED);
    let mut probe = vec![135, 0, 0, 0, 0, 0, 0, 0];
    probe.extend(v6("2001:db8:0:1::b").octets());
    let to_all = envelope(A, "::", "ff02::1", 255);
    assert_eq!(send(&world, "a", &icmp(&to_all, &probe)).0, MALFORMED);
}

/// Checks a router advertisement of subnet `front`.
fn check_advertisement(frame: &[u8], to: Ipv6Addr) {
    let (packet, message) = ip(frame);
    assert_eq!((packet.ttl, parsed(frame).source_mac), (255, GATEWAY));
    assert_eq!(
        (packet.tuple.source(), packet.tuple.destination()),
        (v6("fe80::1").into(), to.into())
    );
    let (head, options) = RouterAdvertisement::ref_from_prefix(message).unwrap();
    assert_eq!((head.icmp.kind, head.icmp.code, head.hop_limit), (134, 0, 64));
    assert_eq!(head.flags, RouterAdvertisement::MANAGED | RouterAdvertisement::OTHER);
    assert_eq!(head.router_lifetime.get(), 65535);
    let all: Vec<_> = Options::new(options).map(Result::unwrap).collect();
    let kinds: Vec<u8> = all.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [SOURCE_LINK_LAYER, MTU, PREFIX_INFORMATION, RDNSS]);
    assert_eq!(all[0].1, GATEWAY.0);
    assert_eq!(all[1].1, [0, 0, 0, 0, 5, 120]);
    let prefix = PrefixInformation::ref_from_bytes(&options[16..48]).unwrap();
    assert_eq!((prefix.prefix_length, prefix.flags), (64, PrefixInformation::ON_LINK));
    assert_eq!(prefix.prefix, v6("2001:db8:0:1::").octets());
    assert!(prefix.preferred_lifetime <= prefix.valid_lifetime);
    assert_eq!(all[3].1[6..], v6("2001:db8:0:9::53").octets());
}

#[test]
fn router_solicitations_are_answered() {
    let world = snapshot();
    let mut message = vec![133, 0, 0, 0, 0, 0, 0, 0];
    let from_nowhere = icmp(&envelope(A, "::", "ff02::2", 255), &message);
    check_advertisement(&ask(&world, "a", &from_nowhere), ALL_NODES);
    message.extend(LinkLayer::new(SOURCE_LINK_LAYER, A).as_bytes());
    let solicitation = icmp(&envelope(A, "fe80::a", "ff02::2", 255), &message);
    check_advertisement(&ask(&world, "a", &solicitation), v6("fe80::a"));
    let wrong = icmp(&envelope(A, "::", "ff02::2", 255), &message);
    assert_eq!(send(&world, "a", &wrong).0, MALFORMED);
    let without_v6 = icmp(&envelope(C, "fe80::c", "ff02::2", 255), &[133, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(send(&world, "c", &without_v6).0, UNANSWERED);
}

#[test]
fn advertisements_nobody_asked_for() {
    let world = snapshot();
    let frame = written(|frame| assert!(advertise(&world, &interface(&world, "a"), frame)));
    assert_eq!(parsed(&frame).destination_mac, A);
    check_advertisement(&frame, ALL_NODES);
    written(|frame| assert!(!advertise(&world, &interface(&world, "c"), frame)));
}
