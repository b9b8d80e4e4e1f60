//! Whatever the bytes are: no panic, the same answer twice, and offsets inside the frame.

use packet::wire::{dhcpv4, dhcpv6, nd};
use packet::{
    Ecn, Fragment, Network, ParseError, Parsed, TcpFlags, Transport, address_words, parse,
    parse_quoted, parse_usual, parse_usual_vxlan, parse_vxlan, set_ecn, vxlan_source_port,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::frames::{Ip4, Ip6, checksum, ethernet, extension, fragment_header, icmp, tcp, udp};

fn check(frame: &[u8]) {
    let parsed = parse(frame);
    assert_eq!(parsed, parse(frame));
    check_usual(frame);
    if let Ok(parsed) = parsed {
        assert!(frame.len() >= 14);
        match parsed.network {
            Network::Arp => assert!(frame.len() >= 42),
            Network::Ip(packet) => {
                let (network, transport, end) =
                    (packet.network_offset, packet.transport_offset, packet.end);
                assert!(network == 14 && network < transport && transport <= end);
                assert!(usize::from(end) <= frame.len());
                let carried = end - transport;
                let least = match packet.transport {
                    Transport::Tcp(_) => 20,
                    Transport::Udp | Transport::IcmpError { .. } => 8,
                    Transport::Icmp { .. } => 4,
                    Transport::Other | Transport::LaterFragment => 0,
                };
                assert!(carried >= least);
                let later = matches!(packet.fragment, Fragment::Later(_));
                assert_eq!(later, packet.transport == Transport::LaterFragment);
                assert!(vxlan_source_port(&packet) >= 0xc000);
                let mut copy = (frame.to_vec(), packet);
                set_ecn(&mut copy.0, &mut copy.1, Ecn::Ce);
                assert_eq!(parse(&copy.0).map(|p| p.network), Ok(Network::Ip(copy.1)));
                if let Transport::IcmpError { .. } = packet.transport {
                    let quote = &frame[usize::from(transport) + 8..usize::from(end)];
                    check_quoted(quote);
                }
            }
        }
    }
    if let Ok(vxlan) = parse_vxlan(frame) {
        assert_eq!(parse_vxlan(frame), Ok(vxlan));
        assert!(frame.get(vxlan.inner()).is_some());
        assert!(vxlan.vni <= 0x00ff_ffff);
        check(&frame[vxlan.inner()]);
    }
}

/// The short ways take exactly the frames that they say they take, and tell the same of them.
fn check_usual(frame: &[u8]) {
    let packet = match parse(frame) {
        Ok(Parsed { network: Network::Ip(packet), .. }) => Some(packet),
        _ => None,
    };
    let is_usual = packet.is_some_and(|packet| {
        packet.plain
            && packet.fragment == Fragment::None
            && matches!(packet.transport, Transport::Tcp(_) | Transport::Udp)
    });
    let usual = parse_usual(frame);
    assert_eq!(usual.is_some(), is_usual);
    if let Some(usual) = usual {
        assert_eq!(usual.parsed(frame), parse(frame).ok());
    }
    let usual = parse_usual_vxlan(frame);
    let is_usual = is_usual
        && parse_vxlan(frame).is_ok_and(|outer| {
            let checksum = usize::from(outer.inner_start) - 10;
            outer.ecn == Ecn::NotEct && frame[checksum..][..2] == [0, 0]
        });
    assert_eq!(usual.is_some(), is_usual);
    if let Some(usual) = usual {
        let packet = usual.packet(frame);
        assert_eq!(packet, parse_vxlan(frame).ok());
        let destination = packet.map(|packet| address_words(packet.destination));
        assert_eq!(destination, Some(usual.destination));
    }
}

fn check_quoted(bytes: &[u8]) {
    if let Some(quoted) = parse_quoted(bytes) {
        assert!(quoted.transport_offset >= 20 && quoted.transport_offset <= quoted.end);
        assert!(usize::from(quoted.end) <= bytes.len());
    }
}

/// Well-formed frames of every kind the parser tells apart.
fn seeds() -> Vec<Vec<u8>> {
    let v4 = |protocol| Ip4 { protocol: Some(protocol), ..Ip4::default() };
    let v6 = |next_header| Ip6 { next_header, ..Ip6::default() };
    let segment = tcp(80, 90, TcpFlags::SYN, &[2, 4, 5, 0xb4]);
    let quote4 = [&[0; 4], &v4(6).packet(&segment)[..]].concat();
    let quote6 = [&[0; 4], &v6(6).packet(&segment)[..]].concat();
    let chain = |first: &[u8], last: &[u8]| [first, last].concat();
    let inner = v4(6).frame(&segment);
    let vxlan = udp(50_000, 4789, &[&[8, 0, 0, 0, 0, 0, 9, 0], &inner[..]].concat());
    vec![
        ethernet(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat()),
        v4(6).frame(&segment),
        v4(17).frame(&udp(1, 2, b"data")),
        v4(1).frame(&icmp(8, 0, &[0, 1, 0, 2])),
        v4(1).frame(&icmp(3, 4, &quote4)),
        v4(47).frame(&[0; 8]),
        Ip4 { options: vec![7, 7, 4, 0, 0, 0, 0, 0], ..Ip4::default() }.frame(&udp(1, 2, b"x")),
        Ip4 { flags_offset: 0x2000, identification: 5, ..Ip4::default() }
            .frame(&udp(1, 2, &[0; 16])),
        Ip4 { flags_offset: 3, identification: 5, ..Ip4::default() }.frame(&[0; 16]),
        v6(6).frame(&segment),
        v6(58).frame(&icmp(128, 0, &[0, 1, 0, 2])),
        v6(58).frame(&icmp(2, 0, &quote6)),
        v6(0).frame(&chain(
            &chain(&extension(0, 60), &extension(60, 43)),
            &chain(&extension(43, 51), &chain(&extension(51, 6), &segment)),
        )),
        v6(44).frame(&chain(&fragment_header(17, 0, true, 9), &udp(1, 2, &[0; 16]))),
        v6(44).frame(&chain(&fragment_header(17, 16, false, 9), &[0; 16])),
        v4(17).frame(&vxlan),
        v6(17).frame(&vxlan),
    ]
}

/// Makes a changed IPv4 header pass its checksum, so that the changes are looked at.
fn mend_checksum(frame: &mut [u8]) {
    if frame.len() >= 34 && frame[12..14] == [8, 0] {
        let end = 14 + usize::from(frame[14] & 15) * 4;
        if (34..=frame.len()).contains(&end) {
            frame[24..26].fill(0);
            let sum = checksum(&frame[14..end]).to_be_bytes();
            frame[24..26].copy_from_slice(&sum);
        }
    }
}

#[test]
fn seeds_are_well_formed() {
    for seed in seeds() {
        assert!(parse(&seed).is_ok(), "{seed:02x?}");
        check(&seed);
    }
}

#[test]
fn cut_anywhere() {
    for seed in seeds() {
        for length in 0..seed.len() {
            check(&seed[..length]);
            check_quoted(seed.get(14..length).unwrap_or_default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_usize..4) {
        check(&bytes);
        check_quoted(&bytes);
        let start = [[8, 0, 0x45], [8, 0, 0x48], [0x86, 0xdd, 0x60], [8, 6, 0]][kind];
        if let Some(place) = bytes.get_mut(12..15) {
            place.copy_from_slice(&start);
        }
        mend_checksum(&mut bytes);
        check(&bytes);
    }

    #[test]
    fn changed_frames(
        mut frame in select(seeds()),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..5),
        cut: Option<Index>,
        mend: bool,
    ) {
        for (place, value) in changes {
            let place = place.index(frame.len());
            frame[place] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(cut.index(frame.len()));
        }
        if mend {
            mend_checksum(&mut frame);
        }
        check(&frame);
        check_quoted(frame.get(14..).unwrap_or_default());
    }

    #[test]
    fn options_end_whatever_the_bytes_are(
        bytes in proptest::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..200),
    ) {
        let lengths = [
            dhcpv4::Options::new(&bytes).map(|o| o.map(|(_, data)| data.len())).collect::<Vec<_>>(),
            dhcpv6::Options::new(&bytes).map(|o| o.map(|(_, data)| data.len())).collect(),
            nd::Options::new(&bytes).map(|o| o.map(|(_, data)| data.len())).collect(),
        ];
        for found in lengths {
            let total: usize = found.iter().flatten().map(|length| length + 2).sum();
            prop_assert!(total <= bytes.len());
            let errors = found.iter().filter(|option| option.is_err()).count();
            let last = found.last() == Some(&Err(ParseError::Malformed));
            prop_assert_eq!(errors, usize::from(last), "nothing comes after an error");
        }
    }
}
