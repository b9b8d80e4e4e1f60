use packet::Mac;

use super::*;
use crate::datapath::compose;
use crate::datapath::test_frames::{envelope, icmp, interface, parsed, snapshot, udp, written};

const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);

fn passes(name: &str, frame: &[u8]) -> bool {
    match check(&interface(&snapshot(), name), &parsed(frame), frame) {
        Ok(()) => true,
        Err(reason) => {
            assert_eq!(reason, DropReason::SpoofedSource);
            false
        }
    }
}

fn datagram(mac: Mac, source: &str, destination: &str, ports: (u16, u16)) -> Vec<u8> {
    udp(&envelope(mac, source, destination, 64), ports, b"data")
}

fn nd(kind: u8, source: &str, hop_limit: u8) -> Vec<u8> {
    let mut message = vec![kind, 0];
    message.resize(24, 0);
    icmp(&envelope(A, source, "ff02::1", hop_limit), &message)
}

fn arp(frame_mac: Mac, mac: Mac, sender: [u8; 4]) -> Vec<u8> {
    let message = Arp::new(1, (mac, sender.into()), (Mac::default(), [10, 0, 1, 1].into()));
    written(|frame| compose::arp(frame, frame_mac, Mac::BROADCAST, &message).unwrap())
}

#[test]
fn a_vm_sends_as_itself() {
    for own in ["10.0.1.10", "10.0.1.11"] {
        assert!(passes("a", &datagram(A, own, "10.0.1.20", (1, 2))));
        assert!(!passes("a", &datagram(B, own, "10.0.1.20", (1, 2))), "another MAC");
    }
    assert!(passes("a", &datagram(A, "2001:db8:0:1::aa", "2001:db8::1", (1, 2))));
    for other in ["10.0.1.20", "10.0.1.1", "10.0.1.255", "127.0.0.1", "0.0.0.0", "224.0.0.1"] {
        assert!(!passes("a", &datagram(A, other, "10.0.1.20", (1, 2))), "{other}");
    }
    for other in ["2001:db8:0:1::b", "fe80::1", "fe80::a", "::", "::1", "::ffff:10.0.1.10"] {
        assert!(!passes("a", &datagram(A, other, "2001:db8:0:1::b", (1, 2))), "{other}");
    }
}

#[test]
fn arp_is_sent_as_itself() {
    assert!(passes("a", &arp(A, A, [10, 0, 1, 11])));
    assert!(passes("a", &arp(A, A, [0, 0, 0, 0])), "probe");
    assert!(!passes("a", &arp(A, B, [10, 0, 1, 10])));
    assert!(!passes("a", &arp(B, A, [10, 0, 1, 10])));
    assert!(!passes("a", &arp(A, A, [10, 0, 1, 1])));
}

#[test]
fn getting_an_address_needs_none() {
    assert!(passes("a", &datagram(A, "0.0.0.0", "255.255.255.255", (68, 67))));
    for (destination, ports) in
        [("255.255.255.255", (68, 68)), ("255.255.255.255", (67, 67)), ("10.0.1.20", (68, 67))]
    {
        assert!(!passes("a", &datagram(A, "0.0.0.0", destination, ports)), "{destination}");
    }
    for destination in ["ff02::1:2", "fe80::1"] {
        assert!(passes("a", &datagram(A, "fe80::a", destination, (546, 547))));
    }
    for (source, destination, ports) in [
        ("fe80::a", "ff02::1:2", (547, 546)),
        ("fe80::a", "2001:db8:0:1::b", (546, 547)),
        ("::", "ff02::1:2", (546, 547)),
    ] {
        assert!(!passes("a", &datagram(A, source, destination, ports)), "{source} {destination}");
    }
}

#[test]
fn neighbor_discovery_needs_no_address() {
    for kind in [133, 135] {
        assert!(passes("a", &nd(kind, "::", 255)));
        assert!(!passes("a", &nd(kind, "::", 64)), "routed");
    }
    for kind in [133, 135, 136] {
        assert!(passes("a", &nd(kind, "fe80::a", 255)));
        assert!(!passes("a", &nd(kind, "2001:db8:0:1::b", 255)));
    }
    assert!(!passes("a", &nd(136, "::", 255)));
    for kind in [128, 134, 137, 143] {
        assert!(!passes("a", &nd(kind, "fe80::a", 255)), "type {kind}");
    }
}

#[test]
fn fragments_need_an_address() {
    let mut first = datagram(A, "0.0.0.0", "255.255.255.255", (68, 67));
    first.extend([0; 4]);
    first[17] += 4;
    // Total length 4 more; from "don't fragment" to "more fragments".
    first[20] = 0x20;
    let sum = u16::from_be_bytes([first[24], first[25]]) + 0x2000 - 4;
    first[24..26].copy_from_slice(&sum.to_be_bytes());
    assert!(!passes("a", &first));
}

#[test]
fn whoever_may_spoof_may() {
    assert!(passes("router", &datagram(B, "10.9.9.9", "10.0.1.20", (1, 2))));
    assert!(passes("router", &arp(B, A, [10, 9, 9, 9])));
}
