use std::net::IpAddr;
use std::time::Duration;

use model::snapshot::Node;
use packet::wire::arp::{self, Arp};
use packet::wire::nd::{Neighbor, Options, TARGET_LINK_LAYER};
use packet::{Mac, Network, parse};
use proptest::prelude::*;
use zerocopy::FromBytes;

use super::*;
use crate::datapath::compose;
use crate::datapath::test_frames::{ip, parsed, with_frame, written};

const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 3]);

fn node(vtep: &str, prefix: &str, mac: Mac) -> Node {
    Node {
        name: "dpu".to_owned(),
        vtep: vtep.parse().unwrap(),
        mac,
        underlay_prefix: prefix.parse().unwrap(),
        underlay_mtu: 1500,
        gateway: None,
        neighbors: [].into(),
    }
}

fn v4() -> Node {
    Node { gateway: Some(address("192.0.2.254")), ..node("192.0.2.1", "192.0.2.0/24", OURS) }
}

fn v6() -> Node {
    Node { gateway: Some(address("fe80::ff")), ..node("2001:db8::1", "2001:db8::/64", OURS) }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn hear(
    underlay: &mut Underlay,
    now: Time,
    node: &Node,
    bytes: &[u8],
) -> (UplinkResponse, Vec<u8>) {
    let parsed = parsed(bytes);
    let (response, after) = with_frame(bytes, |frame| underlay.handle(now, node, &parsed, frame));
    if response != UplinkResponse::Answered {
        assert_eq!(after, bytes, "changed without an answer");
    }
    (response, after)
}

fn arp_frame(operation: u16, sender: (Mac, &str), target: (Mac, &str), to: Mac) -> Vec<u8> {
    let message = Arp::new(
        operation,
        (sender.0, sender.1.parse().unwrap()),
        (target.0, target.1.parse().unwrap()),
    );
    written(|frame| compose::arp(frame, sender.0, to, &message).unwrap())
}

fn arp_reply(sender: Mac, ip: &str) -> Vec<u8> {
    arp_frame(arp::REPLY, (sender, ip), (OURS, "192.0.2.1"), OURS)
}

#[test]
fn the_next_hop_is_on_the_link_or_the_gateway() {
    assert_eq!(next_hop(&v4(), address("192.0.2.9")), Some(address("192.0.2.9")));
    assert_eq!(next_hop(&v4(), address("198.51.100.9")), Some(address("192.0.2.254")));
    let isolated = Node { gateway: None, ..v4() };
    assert_eq!(next_hop(&isolated, address("198.51.100.9")), None);
    let resolution = Underlay::new().resolve(at(0), &isolated, address("198.51.100.9"));
    assert_eq!(resolution, Resolution::Unresolved);
}

#[test]
fn two_nodes_find_each_other() {
    let pairs = [
        (node("192.0.2.1", "192.0.2.0/24", OURS), node("192.0.2.2", "192.0.2.0/24", PEER)),
        (node("2001:db8::1", "2001:db8::/64", OURS), node("2001:db8::2", "2001:db8::/64", PEER)),
    ];
    for (us, peer) in pairs {
        let (mut ours, mut theirs) = (Underlay::new(), Underlay::new());
        let target = peer.vtep.ip();
        assert_eq!(ours.resolve(at(0), &us, target), Resolution::Solicit(target));
        let question = written(|frame| assert!(solicitation(&us, target, frame)));
        assert!(parsed(&question).destination_mac.is_group());
        let (response, answer) = hear(&mut theirs, at(0), &peer, &question);
        assert_eq!(response, UplinkResponse::Answered);
        assert_eq!((parsed(&answer).source_mac, parsed(&answer).destination_mac), (PEER, OURS));
        assert_eq!(hear(&mut ours, at(0), &us, &answer).0, UplinkResponse::Learned);
        assert_eq!(ours.resolve(at(0), &us, target), Resolution::Known(PEER));
        // The one that was asked knows the one that asked.
        assert_eq!(theirs.resolve(at(0), &peer, us.vtep.ip()), Resolution::Known(OURS));
        assert_eq!(ours.known().collect::<Vec<_>>(), [(target, PEER)]);
    }
}

#[test]
fn one_solicitation_a_second() {
    let (node, target) = (v4(), address("192.0.2.2"));
    let mut underlay = Underlay::new();
    assert_eq!(underlay.resolve(at(5), &node, target), Resolution::Solicit(target));
    let soon = at(5) + Duration::from_millis(999);
    assert_eq!(underlay.resolve(soon, &node, target), Resolution::Unresolved);
    assert_eq!(underlay.resolve(at(6), &node, target), Resolution::Solicit(target));
    assert_eq!(underlay.version(), 0);
}

#[test]
fn a_learned_neighbor_is_doubted_by_maintenance_alone() {
    let (node, target) = (v4(), address("192.0.2.2"));
    let mut underlay = Underlay::new();
    underlay.resolve(at(0), &node, target);
    hear(&mut underlay, at(0), &node, &arp_reply(PEER, "192.0.2.2"));
    let version = underlay.version();
    assert_eq!(underlay.resolve(at(59), &node, target), Resolution::Known(PEER));
    assert_eq!(underlay.resolve(at(1_000_000), &node, target), Resolution::Known(PEER));
    assert_eq!(underlay.version(), version, "nothing new");
    underlay.maintain(at(1_000_000), |_| ());
    assert_eq!(underlay.resolve(at(1_000_000), &node, target), Resolution::Solicit(target));
    assert_ne!(underlay.version(), version);
    assert_eq!(underlay.known().count(), 0);
}

#[test]
fn neighbors_of_offloaded_traffic_are_maintained() {
    let (node, target) = (v4(), address("192.0.2.2"));
    let mut underlay = Underlay::new();
    underlay.resolve(at(0), &node, target);
    hear(&mut underlay, at(0), &node, &arp_reply(PEER, "192.0.2.2"));
    // A stranger that asked for us is not worth a question of ours.
    let stranger =
        arp_frame(arp::REQUEST, (OTHER, "192.0.2.3"), (Mac::default(), "192.0.2.1"), OURS);
    hear(&mut underlay, at(0), &node, &stranger);
    let due = |underlay: &mut Underlay, now| {
        let mut asked: Vec<IpAddr> = Vec::new();
        underlay.maintain(at(now), |ip| asked.push(ip));
        asked
    };
    assert!(due(&mut underlay, 59).is_empty());
    assert_eq!(due(&mut underlay, 60), [target]);
    assert!(due(&mut underlay, 60).is_empty());
    assert!(due(&mut underlay, 1200).is_empty());
    assert_eq!(underlay.known().count(), 0);
}

#[test]
fn a_changed_mac_is_followed_and_seen() {
    let (node, target) = (v4(), address("192.0.2.254"));
    let mut underlay = Underlay::new();
    underlay.resolve(at(0), &node, address("198.51.100.1"));
    hear(&mut underlay, at(0), &node, &arp_reply(PEER, "192.0.2.254"));
    let version = underlay.version();
    let announcement = arp_frame(
        arp::REQUEST,
        (OTHER, "192.0.2.254"),
        (Mac::default(), "192.0.2.254"),
        Mac::BROADCAST,
    );
    assert_eq!(hear(&mut underlay, at(1), &node, &announcement).0, UplinkResponse::Learned);
    assert_ne!(underlay.version(), version);
    assert_eq!(underlay.resolve(at(1), &node, target), Resolution::Known(OTHER));
}

#[test]
fn nonsense_is_not_learned() {
    let node = v4();
    let mut underlay = Underlay::new();
    for ip in ["192.0.2.2", "192.0.2.254"] {
        underlay.resolve(at(0), &node, address(ip));
    }
    let frames = [
        ("nobody asked", arp_reply(PEER, "192.0.2.7")),
        ("group", arp_reply(Mac([3, 0, 0, 0, 0, 1]), "192.0.2.2")),
        ("no station", arp_reply(Mac::default(), "192.0.2.2")),
        ("our MAC", arp_reply(OURS, "192.0.2.2")),
        ("our address", arp_reply(PEER, "192.0.2.1")),
        ("for another", arp_frame(arp::REPLY, (PEER, "192.0.2.2"), (OTHER, "192.0.2.9"), OTHER)),
        ("reverse ARP", arp_frame(3, (PEER, "192.0.2.2"), (OURS, "192.0.2.1"), OURS)),
    ];
    for (what, frame) in frames {
        assert_eq!(hear(&mut underlay, at(0), &node, &frame).0, UplinkResponse::NotForUs, "{what}");
    }
    // Somebody off the link, and a probe for our address: answered, but nothing is learned from them.
    for sender in ["198.51.100.7", "0.0.0.0"] {
        let frame = arp_frame(arp::REQUEST, (PEER, sender), (Mac::default(), "192.0.2.1"), OURS);
        assert_eq!(hear(&mut underlay, at(0), &node, &frame).0, UplinkResponse::Answered);
    }
    assert_eq!((underlay.known().count(), underlay.version()), (0, 0));
}

#[test]
fn static_neighbors_stay() {
    let target = address("192.0.2.2");
    let node = Node { neighbors: [(target, PEER)].into(), ..v4() };
    let mut underlay = Underlay::new();
    assert_eq!(underlay.resolve(at(0), &node, target), Resolution::Known(PEER));
    let request =
        arp_frame(arp::REQUEST, (OTHER, "192.0.2.2"), (Mac::default(), "192.0.2.1"), OURS);
    let (response, answer) = hear(&mut underlay, at(0), &node, &request);
    assert_eq!(response, UplinkResponse::Answered);
    assert_eq!(parsed(&answer).network, Network::Arp);
    let (reply, _) = Arp::ref_from_prefix(&answer[14..]).unwrap();
    assert_eq!((reply.operation.get(), reply.sender_mac, reply.target_mac), (2, OURS, OTHER));
    assert_eq!(
        (reply.sender_ip(), reply.target_ip()),
        ("192.0.2.1".parse().unwrap(), target.to_string().parse().unwrap())
    );
    assert_eq!(underlay.resolve(at(9), &node, target), Resolution::Known(PEER));
    assert_eq!(underlay.known().count(), 0);
}

/// An advertisement of `target` by its neighbour `mac`, made from the answer of that neighbour.
fn advertisement(mac: Mac, target: &str) -> Vec<u8> {
    let peer = node(target, "2001:db8::/64", mac);
    let us = v6();
    let question = written(|frame| assert!(solicitation(&us, peer.vtep.ip(), frame)));
    hear(&mut Underlay::new(), at(0), &peer, &question).1
}

/// Changes flags of an advertisement and mends its checksum.
fn with_flags(frame: &[u8], flags: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let (old, new) = (u16::from(frame[58]) << 8, u16::from(flags) << 8);
    let sum =
        u32::from(!u16::from_be_bytes([frame[56], frame[57]])) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[56..58].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame[58] = flags;
    frame
}

#[test]
fn advertisements_override_only_when_they_say_so() {
    let (node, target) = (v6(), address("2001:db8::2"));
    let mut underlay = Underlay::new();
    underlay.resolve(at(0), &node, target);
    assert_eq!(
        hear(&mut underlay, at(0), &node, &advertisement(PEER, "2001:db8::2")).0,
        UplinkResponse::Learned
    );
    let other = advertisement(OTHER, "2001:db8::2");
    let (_, message) = ip(&other);
    let (head, options) = Neighbor::ref_from_prefix(message).unwrap();
    assert_eq!(head.flags, Neighbor::SOLICITED | Neighbor::OVERRIDE);
    assert_eq!(Options::new(options).link_layer(TARGET_LINK_LAYER), Ok(Some(OTHER)));
    let gentle = with_flags(&other, Neighbor::SOLICITED);
    assert_eq!(hear(&mut underlay, at(1), &node, &gentle).0, UplinkResponse::NotForUs);
    assert_eq!(underlay.resolve(at(1), &node, target), Resolution::Known(PEER));
    assert_eq!(hear(&mut underlay, at(1), &node, &other).0, UplinkResponse::Learned);
    assert_eq!(underlay.resolve(at(1), &node, target), Resolution::Known(OTHER));
}

#[test]
fn neighbor_discovery_that_may_have_been_routed_or_damaged_is_ignored() {
    let (node, target) = (v6(), address("2001:db8::2"));
    let mut underlay = Underlay::new();
    underlay.resolve(at(0), &node, target);
    let good = advertisement(PEER, "2001:db8::2");
    for (offset, value) in [(21, 254), (57, good[57] ^ 1), (85, good[85] ^ 1), (55, 1)] {
        let mut bad = good.clone();
        bad[offset] = value;
        assert_eq!(hear(&mut underlay, at(0), &node, &bad).0, UplinkResponse::NotForUs);
    }
    assert_eq!(hear(&mut underlay, at(0), &node, &good).0, UplinkResponse::Learned);
}

#[test]
fn link_local_gateways_are_asked_and_learned() {
    let (node, gateway) = (v6(), address("fe80::ff"));
    let mut underlay = Underlay::new();
    let vtep = address("2001:db8:1::9");
    assert_eq!(underlay.resolve(at(0), &node, vtep), Resolution::Solicit(gateway));
    let reply = advertisement(PEER, "fe80::ff");
    assert_eq!(hear(&mut underlay, at(0), &node, &reply).0, UplinkResponse::Learned);
    assert_eq!(underlay.resolve(at(0), &node, vtep), Resolution::Known(PEER));
}

#[test]
fn nothing_can_be_asked_across_families() {
    let asked = with_frame(&[], |frame| solicitation(&v4(), address("2001:db8::2"), frame)).0;
    assert!(!asked);
}

#[test]
fn a_full_table_forgets_the_least_needed() {
    let node = Node { ..self::node("10.0.0.1", "10.0.0.0/8", OURS) };
    let mut underlay = Underlay::new();
    let nth = |n: u32| IpAddr::V4((0x0a01_0000 + n).into());
    for n in 0..20_000 {
        let now = Time(u64::from(n));
        assert_eq!(underlay.resolve(now, &node, nth(n)), Resolution::Solicit(nth(n)));
    }
    // The last one asked for is still there, and strangers cannot push it out.
    let last = nth(19_999);
    for n in 0..10_000_u32 {
        let ip = std::net::Ipv4Addr::from(0x0a20_0000 + n).to_string();
        let frame = arp_frame(arp::REQUEST, (OTHER, &ip), (Mac::default(), "10.0.0.1"), OURS);
        assert_eq!(hear(&mut underlay, at(0), &node, &frame).0, UplinkResponse::Answered);
    }
    assert_eq!(underlay.resolve(Time(20_000), &node, last), Resolution::Unresolved);
    assert_eq!(underlay.known().count(), 0);
}

proptest! {
    #[test]
    fn no_frame_does_harm(
        seed in 0..4_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let (us, target) = if seed < 2 { (v4(), "192.0.2.2") } else { (v6(), "2001:db8::2") };
        let peer = node(target, &us.underlay_prefix.to_string(), PEER);
        let mut frame = if seed % 2 == 0 {
            written(|frame| assert!(solicitation(&peer, us.vtep.ip(), frame)))
        } else if seed < 2 {
            arp_reply(PEER, target)
        } else {
            advertisement(PEER, target)
        };
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if !whole {
            frame.truncate(cut.index(frame.len()));
        }
        if let Ok(parsed) = parse(&frame) {
            let mut underlay = Underlay::new();
            underlay.resolve(at(0), &us, address(target));
            let (response, after) =
                with_frame(&frame, |frame| underlay.handle(at(0), &us, &parsed, frame));
            if response == UplinkResponse::Answered {
                prop_assert!(parse(&after).is_ok());
            }
            prop_assert!(underlay.known().all(|(_, mac)| mac.unicast().is_ok() && mac != OURS));
        }
    }
}
