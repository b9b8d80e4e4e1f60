use super::*;

fn request(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0x12, 0x34, 0, 7], data].concat()
}

#[test]
fn the_gateway_answers() {
    let world = snapshot();
    for (source, gateway, kind, reply) in [
        ("10.0.1.10", "10.0.1.1", 8, 0),
        ("2001:db8:0:1::a", "2001:db8:0:1::1", 128, 129),
        ("2001:db8:0:1::aa", "fe80::1", 128, 129),
    ] {
        for length in [0, 1, 56, 1200] {
            let data = vec![0x5a; length];
            let mut frame = icmp(&envelope(A, source, gateway, 1), &request(kind, &data));
            frame.extend([0; 18]); // padding
            let answer = ask(&world, "a", &frame);
            let (packet, message) = ip(&answer);
            assert_eq!(message[..2], [reply, 0]);
            assert_eq!(message[4..8], [0x12, 0x34, 0, 7]);
            assert_eq!(message[8..], data);
            assert_eq!((packet.ttl, parsed(&answer).source_mac), (64, GATEWAY));
            assert_eq!(packet.tuple.source().to_string(), gateway);
            assert_eq!(packet.tuple.destination().to_string(), source);
        }
    }
}

#[test]
fn the_checksum_to_the_byte() {
    let frame = icmp(&envelope(A, "10.0.1.10", "10.0.1.1", 64), &[8, 0, 0, 0, 0, 1, 0, 1]);
    assert_eq!(frame[36..38], [0xf7, 0xfd]);
    assert_eq!(ask(&snapshot(), "a", &frame)[36..38], [0xff, 0xfd]);
}

#[test]
fn options_are_not_carried_back() {
    let plain = icmp(&envelope(A, "10.0.1.10", "10.0.1.1", 64), &request(8, b"data"));
    let mut frame = [&plain[..34], &[1, 1, 1, 0], &plain[34..]].concat();
    // Header length 6 words, total length 4 more; two bytes of ones in the header sum change.
    frame[14] = 0x46;
    frame[17] += 4;
    let sum = u32::from(!u16::from_be_bytes([frame[24], frame[25]])) + 0x0100 + 4 + 0x0101 + 0x0100;
    frame[24..26].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    let world = snapshot();
    assert_eq!(ask(&world, "a", &frame), ask(&world, "a", &plain));
}

#[test]
fn others_are_not_pinged_here() {
    let world = snapshot();
    for (source, destination, kind) in [
        ("10.0.1.10", "10.0.1.20", 8),
        ("10.0.1.10", "10.0.2.1", 8),
        ("10.0.1.10", "10.0.1.1", 0),
        ("10.0.1.10", "10.0.1.1", 13),
        ("2001:db8:0:1::a", "2001:db8:0:1::b", 128),
        ("2001:db8:0:1::a", "fe80::2", 128),
        ("2001:db8:0:1::a", "fe80::1", 129),
    ] {
        let frame = icmp(&envelope(A, source, destination, 64), &request(kind, b""));
        assert_eq!(send(&world, "a", &frame).0, Response::NotForUs, "{destination} {kind}");
    }
    let to_all = icmp(&envelope(A, "10.0.1.10", "10.0.1.255", 64), &request(8, b""));
    assert_eq!(send(&world, "a", &to_all).0, UNANSWERED);
    let without_v6 = icmp(&envelope(C, "10.0.2.30", "10.0.1.1", 64), &request(8, b""));
    assert_eq!(send(&world, "c", &without_v6).0, Response::NotForUs);
}

#[test]
fn damaged_and_fragmented_requests_are_not_answered() {
    let world = snapshot();
    let good = icmp(&envelope(A, "10.0.1.10", "10.0.1.1", 64), &request(8, b"datadata"));
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(send(&world, "a", &damaged).0, MALFORMED);
    let mut fragment = good;
    // From "don't fragment" to "more fragments".
    fragment[20] = 0x20;
    let sum = u16::from_be_bytes([fragment[24], fragment[25]]) + 0x2000;
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(send(&world, "a", &fragment).0, Response::NotForUs);
}

#[test]
fn whoever_may_spoof_is_answered_but_not_made_to_flood() {
    let world = snapshot();
    let frame = icmp(&envelope(ROUTER, "2001:db8:7::7", "fe80::1", 64), &request(128, b""));
    assert_eq!(
        ip(&ask(&world, "router", &frame)).0.tuple.destination().to_string(),
        "2001:db8:7::7"
    );
    for source in ["ff02::1", "::"] {
        let frame = icmp(&envelope(ROUTER, source, "fe80::1", 64), &request(128, b""));
        assert_eq!(send(&world, "router", &frame).0, Response::NotForUs, "{source}");
    }
}
