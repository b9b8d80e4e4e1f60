use packet::wire::arp::{Arp, REPLY, REQUEST};
use zerocopy::FromBytes;

use super::*;
use crate::datapath::compose;
use crate::datapath::test_frames::written;

fn message(operation: u16, mac: Mac, sender: &str, target: &str) -> Vec<u8> {
    let target = (Mac::default(), target.parse().unwrap());
    let message = Arp::new(operation, (mac, sender.parse().unwrap()), target);
    written(|frame| compose::arp(frame, mac, Mac::BROADCAST, &message).unwrap())
}

#[test]
fn known_interfaces_of_the_subnet_and_gateways_are_answered() {
    let world = snapshot();
    for (name, mac, sender, target, expected) in [
        ("a", A, "10.0.1.10", "10.0.1.20", B),
        ("a", A, "10.0.1.11", "10.0.1.20", B),
        ("a", A, "10.0.1.10", "10.0.1.1", GATEWAY),
        ("a", A, "0.0.0.0", "10.0.1.20", B),
        ("c", C, "10.0.2.30", "10.0.2.1", Mac([2, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa])),
    ] {
        let answer = ask(&world, name, &message(REQUEST, mac, sender, target));
        let (reply, rest) = Arp::ref_from_prefix(&answer[14..]).unwrap();
        assert!(rest.is_empty());
        assert_eq!(reply.operation.get(), REPLY);
        assert_eq!((reply.sender_mac, reply.sender_ip().to_string().as_str()), (expected, target));
        assert_eq!((reply.target_mac, reply.target_ip().to_string().as_str()), (mac, sender));
        assert_eq!(parsed(&answer).source_mac, expected);
    }
}

#[test]
fn the_answer_to_the_byte() {
    let request = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x0a, 8, 6, // Ethernet
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x0a, 10, 0, 1, 10, 0, 0, 0, 0, 0, 0, 10, 0, 1, 1,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // padding
    ];
    let reply = [
        2, 0, 0, 0, 0, 0x0a, 2, 0x50, 0x4e, 0x53, 0, 1, 8, 6, //
        0, 1, 8, 0, 6, 4, 0, 2, 2, 0x50, 0x4e, 0x53, 0, 1, 10, 0, 1, 1, 2, 0, 0, 0, 0, 0x0a, 10, 0,
        1, 10,
    ];
    assert_eq!(ask(&snapshot(), "a", &request), reply);
}

#[test]
fn all_else_ends() {
    let world = snapshot();
    for (what, frame) in [
        ("own", message(REQUEST, A, "10.0.1.10", "10.0.1.10")),
        ("probe of the own", message(REQUEST, A, "0.0.0.0", "10.0.1.11")),
        ("nobody", message(REQUEST, A, "10.0.1.10", "10.0.1.99")),
        ("another subnet", message(REQUEST, A, "10.0.1.10", "10.0.2.30")),
        ("another subnet's gateway", message(REQUEST, A, "10.0.1.10", "10.0.2.1")),
        ("reply", message(REPLY, A, "10.0.1.10", "10.0.1.20")),
    ] {
        assert_eq!(send(&world, "a", &frame).0, UNANSWERED, "{what}");
    }
}
