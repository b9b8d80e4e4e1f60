use std::sync::LazyLock;

use packet::wire::arp::{Arp, REQUEST};
use packet::{Frame, parse};
use proptest::prelude::*;

use super::*;
use crate::datapath::responder::advertise;
use crate::datapath::test_frames::written;
use crate::datapath::{compose, too_big};

static WORLD: LazyLock<Snapshot> = LazyLock::new(snapshot);

/// One of each kind of question.
static QUESTIONS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let v4 = |to| envelope(A, "10.0.1.10", to, 64);
    let v6 = |to| envelope(A, "fe80::a", to, 255);
    let arp = Arp::new(REQUEST, (A, [10, 0, 1, 10].into()), (Mac::default(), [10, 0, 1, 1].into()));
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0x80];
    solicitation.resize(23, 0);
    solicitation.extend([1, 1, 1, 2, 0, 0, 0, 0, 0x0a]);
    let mut dhcpv4 = vec![1, 1, 6, 0, 9, 9, 9, 9];
    dhcpv4.resize(28, 0);
    dhcpv4.extend(A.0);
    dhcpv4.resize(236, 0);
    dhcpv4.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 3, 50, 4, 10, 0, 1, 10, 61, 2, 7, 7, 255]);
    let mut dhcpv6 = vec![3, 1, 2, 3, 0, 1, 0, 4, 0, 9, 9, 9, 0, 2, 0, 10, 0, 3, 0, 1];
    dhcpv6.extend(GATEWAY.0);
    dhcpv6.extend([0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    vec![
        written(|frame| compose::arp(frame, A, Mac::BROADCAST, &arp).unwrap()),
        icmp(&v4("10.0.1.1"), &[8, 0, 0, 0, 0, 1, 0, 1, 5, 5, 5]),
        icmp(&v6("ff02::1:ff00:1"), &solicitation),
        icmp(&v6("ff02::2"), &[133, 0, 0, 0, 0, 0, 0, 0]),
        udp(&v4("255.255.255.255"), (68, 67), &dhcpv4),
        udp(&v6("ff02::1:2"), (546, 547), &dhcpv6),
    ]
});

#[test]
fn each_question_is_answered() {
    for question in QUESTIONS.iter() {
        ask(&WORLD, "a", question);
    }
}

#[test]
fn a_buffer_without_room_leaves_them_unanswered() {
    let interface = interface(&WORLD, "a");
    for question in QUESTIONS.iter() {
        let mut bytes = question.clone();
        let end = bytes.len();
        let mut frame = Frame::new(&mut bytes, 0, end).unwrap();
        let response = respond(&WORLD, &interface, &parsed(question), &mut frame);
        match response {
            Response::Answered => assert!(parse(frame.bytes()).is_ok()),
            other => assert_eq!(other, UNANSWERED),
        }
    }
    let mut small = [0; 60];
    let mut frame = Frame::new(&mut small, 0, 0).unwrap();
    assert!(!advertise(&WORLD, &interface, &mut frame));
}

/// What a changed byte would spoil is made right again, so that changes reach the code behind the checks.
fn with_right_checksums(frame: &mut [u8]) {
    use packet::checksum::Sum;
    if frame.get(12..14) == Some(&[8, 0]) && frame.len() >= 34 {
        frame[24..26].fill(0);
        let sum = Sum::ZERO.bytes(&frame[14..34]).checksum();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let Ok(parsed) = parse(frame) else { return };
    let Network::Ip(packet) = parsed.network else { return };
    let (start, end) = (usize::from(packet.transport_offset), usize::from(packet.end));
    let (at, pseudo) = match packet.tuple.protocol() {
        1 => (start + 2, false),
        17 => (start + 6, true),
        58 => (start + 2, true),
        _ => return,
    };
    if at + 2 > end {
        return;
    }
    let end = match packet.tuple.protocol() {
        17 => start + usize::from(u16::from_be_bytes([frame[start + 4], frame[start + 5]])),
        _ => end,
    };
    if end > frame.len() {
        return;
    }
    frame[at..at + 2].fill(0);
    let mut sum = Sum::ZERO.bytes(&frame[start..end]);
    if pseudo {
        sum = sum.pseudo_header(&packet.tuple, (end - start) as u32);
    }
    frame[at..at + 2].copy_from_slice(&sum.udp_checksum().to_be_bytes());
}

proptest! {
    #[test]
    fn no_frame_does_harm(
        question in 0..6_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        mended in any::<bool>(),
        name in prop::sample::select(vec!["a", "c", "router"]),
        mtu in any::<u16>(),
    ) {
        let mut frame = QUESTIONS[question].clone();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        if mended {
            with_right_checksums(&mut frame);
        }
        if parse(&frame).is_ok() {
            // Checks the answer, too.
            send(&WORLD, name, &frame);
            let interface = interface(&WORLD, name);
            if let Network::Ip(packet) = parsed(&frame).network {
                let subnet = WORLD.subnet(interface.subnet).unwrap();
                let (answered, after) = with_frame(&frame, |frame| {
                    too_big::answer(&interface, subnet, &packet, mtu, || true, frame)
                });
                if answered { ip(&after); } else { prop_assert_eq!(after, frame); }
            }
        }
    }
}
