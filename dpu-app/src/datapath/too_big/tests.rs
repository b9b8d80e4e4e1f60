use packet::{Mac, Network, parse_quoted};

use super::*;
use crate::datapath::test_frames::{
    envelope, icmp, interface, ip, parsed, snapshot, udp, with_frame,
};

const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const GATEWAY: Mac = Mac([2, 0x50, 0x4e, 0x53, 0, 1]);

/// The answer to a frame of interface `name`, if there is one.
fn answer_to(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let world = snapshot();
    let interface = interface(&world, name);
    let subnet = world.subnet(interface.subnet).unwrap();
    let Network::Ip(packet) = parsed(bytes).network else { panic!("not IP") };
    let (answered, after) =
        with_frame(bytes, |frame| answer(&interface, subnet, &packet, 1400, || true, frame));
    assert!(answered || after == bytes, "changed without an answer");
    answered.then_some(after)
}

#[test]
fn senders_are_told_the_mtu_with_their_packet() {
    for (source, destination, gateway, head, limit) in [
        ("10.0.1.10", "10.0.2.30", "10.0.1.1", [3, 4, 0, 0, 5, 120], 576),
        ("2001:db8:0:1::a", "2001:db8::9", "2001:db8:0:1::1", [2, 0, 0, 0, 5, 120], 1280),
    ] {
        for length in [1500, 1401, 100] {
            let data: Vec<u8> = (0..length).map(|n: u16| n as u8).collect();
            let mut sent = udp(&envelope(A, source, destination, 64), (1000, 2000), &data);
            let whole = sent.len();
            sent.extend([0; 4]); // padding
            let told = answer_to("a", &sent).unwrap();
            let (packet, message) = ip(&told);
            assert_eq!((parsed(&told).source_mac, parsed(&told).destination_mac), (GATEWAY, A));
            assert_eq!(packet.tuple.source().to_string(), gateway);
            assert_eq!(packet.tuple.destination().to_string(), source);
            assert_eq!([&message[..2], &message[4..8]].concat(), head);
            assert!(matches!(packet.transport, Transport::IcmpError { .. }));
            // As much of the packet as fits, and nothing else.
            let quoted = &message[8..];
            assert_eq!(quoted, &sent[14..14 + quoted.len()]);
            let full = whole - 14 + usize::from(packet.transport_offset) - 14 + 8;
            assert_eq!(usize::from(packet.length()), full.min(limit));
            let Network::Ip(original) = parsed(&sent).network else { panic!("not IP") };
            assert_eq!(parse_quoted(quoted).unwrap().tuple, original.tuple);
        }
    }
}

#[test]
fn some_must_not_be_answered() {
    let long = [0; 1500];
    let error = [&[3, 1, 0, 0, 0, 0, 0, 0], &long[..]].concat();
    assert_eq!(answer_to("a", &icmp(&envelope(A, "10.0.1.10", "10.0.1.20", 64), &error)), None);
    let error = [&[1, 4, 0, 0, 0, 0, 0, 0], &long[..]].concat();
    let v6 = envelope(A, "2001:db8:0:1::a", "2001:db8:0:1::b", 64);
    assert_eq!(answer_to("a", &icmp(&v6, &error)), None);
    for source in ["255.255.255.255", "10.0.1.255", "224.0.0.1", "0.0.0.0", "127.0.0.1"] {
        let sent = udp(&envelope(A, source, "10.0.1.20", 64), (1, 2), &long);
        assert_eq!(answer_to("a", &sent), None, "{source}");
    }
    for source in ["::", "ff02::1", "::1"] {
        let sent = udp(&envelope(A, source, "2001:db8:0:1::b", 64), (1, 2), &long);
        assert_eq!(answer_to("a", &sent), None, "{source}");
    }
    // No gateway of the family.
    let sent = udp(&envelope(A, "2001:db8::a", "2001:db8::b", 64), (1, 2), &long);
    assert_eq!(answer_to("c", &sent), None);
}

#[test]
fn only_first_fragments_are_answered() {
    let mut sent = udp(&envelope(A, "10.0.1.10", "10.0.1.20", 64), (1, 2), &[0; 1408]);
    let mut fragment = |flags: u16| {
        let old = u16::from_be_bytes([sent[20], sent[21]]);
        let sum = u32::from(!u16::from_be_bytes([sent[24], sent[25]]));
        let sum = sum + u32::from(!old) + u32::from(flags);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sent[20..22].copy_from_slice(&flags.to_be_bytes());
        sent[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        answer_to("a", &sent)
    };
    assert!(fragment(0x2000).is_some());
    assert_eq!(fragment(0x2010), None);
}

#[test]
fn a_buffer_without_headroom_is_left_alone() {
    let world = snapshot();
    let interface = interface(&world, "a");
    let subnet = world.subnet(interface.subnet).unwrap();
    let mut bytes = udp(&envelope(A, "10.0.1.10", "10.0.1.20", 64), (1, 2), &[0; 1500]);
    let before = bytes.clone();
    let Network::Ip(packet) = parsed(&bytes).network else { panic!("not IP") };
    let end = bytes.len();
    let mut frame = Frame::new(&mut bytes, 0, end).unwrap();
    assert!(!answer(&interface, subnet, &packet, 1400, || true, &mut frame));
    assert_eq!(frame.bytes(), before);
}
