//! What [`packet::parse`] accepts, refuses and reports, header by header.

use crate::frames::{Ip4, Ip6, ethernet, extension, fragment_header, icmp, tcp, udp, with_vlan};
use packet::{Ecn, Fragment, IpPacket, Network, ParseError, TcpFlags, Transport, Tuple, parse};

fn ip(frame: &[u8]) -> IpPacket {
    match parse(frame).expect("well-formed").network {
        Network::Ip(packet) => packet,
        Network::Arp => panic!("not IP"),
    }
}

fn malformed(frame: &[u8]) -> bool {
    parse(frame) == Err(ParseError::Malformed)
}

#[test]
fn ethernet_only() {
    assert!(malformed(&[]));
    assert!(malformed(&[0; 13]));
    assert_eq!(parse(&[0; 14]), Err(ParseError::UnsupportedEtherType));
    let frame = Ip4::default().frame(&udp(1, 2, b""));
    for ethertype in [0x8100, 0x88a8, 0x9100] {
        assert_eq!(parse(&with_vlan(&frame, ethertype)), Err(ParseError::UnsupportedEtherType));
    }
    let parsed = parse(&frame).expect("well-formed");
    assert_eq!(parsed.destination_mac, crate::frames::DESTINATION_MAC);
    assert_eq!(parsed.source_mac, crate::frames::SOURCE_MAC);
}

#[test]
fn arp() {
    let message = [0, 1, 8, 0, 6, 4, 0, 1];
    let mut payload = message.to_vec();
    payload.resize(28, 0);
    let frame = ethernet(0x0806, &payload);
    assert_eq!(parse(&frame).map(|p| p.network), Ok(Network::Arp));
    assert!(malformed(&frame[..frame.len() - 1]));
    for byte in 0..6 {
        let mut wrong = frame.clone();
        wrong[14 + byte] ^= 0x40;
        assert!(malformed(&wrong), "byte {byte}");
    }
}

#[test]
fn ipv4_udp() {
    let mut frame =
        Ip4 { traffic_class: 0xb9, ttl: 7, ..Ip4::default() }.frame(&udp(1000, 53, b"abc"));
    frame.extend([0; 20]);
    let packet = ip(&frame);
    assert_eq!(packet.tuple, Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 17, 1000, 53));
    assert_eq!(packet.transport, Transport::Udp);
    assert_eq!((packet.network_offset, packet.transport_offset, packet.end), (14, 34, 45));
    assert_eq!((packet.ttl, packet.ecn, packet.plain), (7, Ecn::Ect1, true));
    assert_eq!(packet.fragment, Fragment::None);
    assert_eq!(packet.length(), 31);
}

#[test]
fn ipv4_header_checks() {
    let frame = Ip4::default().frame(&udp(1, 2, b"x"));
    for (offset, byte) in [(14, 0x55), (14, 0x44), (14, 0x4f), (24, 0), (22, 9)] {
        let mut wrong = frame.clone();
        wrong[offset] = byte;
        assert!(malformed(&wrong), "{offset} {byte:#x}");
    }
    assert!(malformed(&frame[..frame.len() - 1]), "total length over what is there");
    let short = Ip4 { total_length: Some(19), ..Ip4::default() };
    assert!(malformed(&short.frame(&udp(1, 2, b"x"))));
}

#[test]
fn ipv4_options() {
    let with = |options: &[u8]| {
        Ip4 { options: options.to_vec(), ..Ip4::default() }.frame(&udp(1, 2, b"x"))
    };
    for good in [&[1, 1, 1, 0][..], &[0, 9, 9, 9], &[7, 4, 4, 0], &[1, 7, 3, 4], &[7; 7]] {
        let mut options = good.to_vec();
        options.resize(good.len().next_multiple_of(4), 0);
        let packet = ip(&with(&options));
        assert!(!packet.plain);
        assert_eq!(usize::from(packet.transport_offset), 34 + options.len());
    }
    for bad in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
        assert!(malformed(&with(&bad)), "{bad:?}");
    }
}

#[test]
fn ipv4_fragments() {
    let fragment = |offset: u16, more: bool, protocol: u8, payload: &[u8]| {
        let flags = (offset / 8) | if more { 0x2000 } else { 0 };
        Ip4 { identification: 77, flags_offset: flags, protocol: Some(protocol), ..Ip4::default() }
            .frame(payload)
    };
    let whole = udp(5, 6, &[0; 200]);
    let first = ip(&fragment(0, true, 17, &whole[..64]));
    assert_eq!((first.fragment, first.transport), (Fragment::First(77), Transport::Udp));
    assert_eq!(first.tuple.source_port(), 5);
    let later = ip(&fragment(64, false, 17, &whole[64..]));
    assert_eq!((later.fragment, later.transport), (Fragment::Later(77), Transport::LaterFragment));
    assert_eq!((later.tuple.source_port(), later.tuple.destination_port()), (0, 0));
    assert!(malformed(&fragment(0, true, 17, &whole[..60])), "not a multiple of 8");
    assert!(malformed(&fragment(8, true, 17, &whole[..60])), "not a multiple of 8");
    assert!(malformed(&fragment(65_528, false, 17, &[0; 8])), "reaches beyond 65535");
    assert!(!malformed(&fragment(65_504, false, 17, &[0; 11])));
    assert!(malformed(&fragment(65_504, false, 17, &[0; 12])));
    assert!(malformed(&fragment(0, true, 6, &tcp(1, 2, TcpFlags::SYN, b"")[..16])));
    let mut long_header = tcp(1, 2, TcpFlags::SYN, &[0; 12]);
    long_header[12] = 0x80;
    assert!(!malformed(&fragment(0, true, 6, &long_header)));
    assert!(malformed(&fragment(0, true, 6, &long_header[..24])), "options in the next fragment");
    assert!(malformed(&fragment(8, false, 6, &[0; 32])), "overwrites the TCP header");
    assert!(!malformed(&fragment(24, false, 6, &[0; 32])));
    assert_eq!(
        ip(&fragment(0, true, 1, &icmp(3, 4, &[0; 12]))).transport,
        Transport::IcmpError { kind: 3, code: 4 }
    );
}

#[test]
fn tcp_and_udp_lengths() {
    for flags in [TcpFlags::SYN, TcpFlags::all()] {
        let packet =
            ip(&Ip4 { protocol: Some(6), ..Ip4::default() }.frame(&tcp(80, 90, flags, b"hi")));
        assert_eq!(packet.transport, Transport::Tcp(flags));
        assert_eq!((packet.tuple.source_port(), packet.tuple.destination_port()), (80, 90));
    }
    for offset in [0x40, 0x60] {
        let mut segment = tcp(1, 2, TcpFlags::ACK, b"abc");
        segment[12] = offset;
        assert!(malformed(&Ip4 { protocol: Some(6), ..Ip4::default() }.frame(&segment)));
    }
    for (length, bad) in [(0, true), (7, true), (8, false), (11, false), (12, true)] {
        let mut datagram = udp(1, 2, b"abc");
        datagram[4..6].copy_from_slice(&u16::to_be_bytes(length));
        assert_eq!(malformed(&Ip4::default().frame(&datagram)), bad, "{length}");
    }
}

#[test]
fn icmp_messages() {
    let v4 = |kind| {
        Ip4 { protocol: Some(1), ..Ip4::default() }.frame(&icmp(kind, 1, &[0x12, 0x34, 0, 1]))
    };
    let v6 =
        |kind| Ip6 { next_header: 58, ..Ip6::default() }.frame(&icmp(kind, 1, &[0x12, 0x34, 0, 1]));
    for kind in 0..=255 {
        let (packet4, packet6) = (ip(&v4(kind)), ip(&v6(kind)));
        let error4 = matches!(kind, 3 | 4 | 5 | 11 | 12);
        for (packet, error, echo) in [
            (packet4, error4, matches!(kind, 0 | 8)),
            (packet6, kind < 128, matches!(kind, 128 | 129)),
        ] {
            let expected = if error {
                Transport::IcmpError { kind, code: 1 }
            } else {
                Transport::Icmp { kind, code: 1 }
            };
            assert_eq!(packet.transport, expected);
            let ports = (packet.tuple.source_port(), packet.tuple.destination_port());
            assert_eq!(ports, if echo { (0x1234, kind.into()) } else { (0, Tuple::NOT_ECHO) });
            assert_eq!(packet.tuple.is_echo(), echo);
        }
    }
    let cut = |kind| Ip6 { next_header: 58, ..Ip6::default() }.frame(&icmp(kind, 0, &[]));
    assert!(malformed(&cut(128)) && malformed(&cut(1)) && !malformed(&cut(143)));
    assert!(malformed(&Ip4 { protocol: Some(1), ..Ip4::default() }.frame(&icmp(13, 0, &[]))));
    let crossed4 = ip(&Ip4 { protocol: Some(58), ..Ip4::default() }.frame(&[]));
    let crossed6 = ip(&Ip6 { next_header: 1, ..Ip6::default() }.frame(&[]));
    for packet in [crossed4, crossed6] {
        assert_eq!(packet.transport, Transport::Other);
        assert!(!packet.tuple.is_echo());
        assert_eq!(packet.tuple.reversed().reversed(), packet.tuple);
    }
}

#[test]
fn ipv6_plain() {
    let mut frame = Ip6 { traffic_class: 3, ..Ip6::default() }.frame(&udp(9, 10, b"abc"));
    frame.push(0);
    let packet = ip(&frame);
    assert_eq!(
        packet.tuple,
        Tuple::v6(crate::frames::SOURCE6, crate::frames::DESTINATION6, 17, 9, 10)
    );
    assert_eq!((packet.network_offset, packet.transport_offset, packet.end), (14, 54, 65));
    assert_eq!((packet.ttl, packet.ecn, packet.plain), (64, Ecn::Ce, true));
    assert!(malformed(&frame[..frame.len() - 2]));
    frame[14] = 0x50;
    assert!(malformed(&frame));
}

#[test]
fn ipv6_extension_headers() {
    let chain = |headers: &[u8], last: u8| {
        let mut payload = Vec::new();
        for (index, header) in headers.iter().enumerate() {
            payload.extend(extension(*header, headers.get(index + 1).copied().unwrap_or(last)));
        }
        payload.extend(udp(9, 10, b"abc"));
        Ip6 { next_header: *headers.first().unwrap_or(&last), ..Ip6::default() }.frame(&payload)
    };
    for header in [0, 43, 51, 60, 135, 139, 140] {
        let packet = ip(&chain(&[header], 17));
        assert_eq!((packet.transport, packet.plain), (Transport::Udp, false), "{header}");
        assert_eq!(packet.tuple.protocol(), 17);
        assert_eq!(packet.transport_offset, 54 + if header == 51 { 16 } else { 8 });
    }
    assert!(malformed(&chain(&[60, 0], 17)), "hop-by-hop options only come first");
    assert!(!malformed(&chain(&[60; 8], 17)));
    assert!(malformed(&chain(&[60; 9], 17)));
    for other in [50, 59, 132, 253] {
        assert_eq!(ip(&chain(&[0], other)).transport, Transport::Other);
        assert_eq!(ip(&chain(&[0], other)).tuple.protocol(), other);
    }
    let options = |header: u8, body: [u8; 6]| {
        let mut payload = vec![17, 0];
        payload.extend(body);
        payload.extend(udp(9, 10, b""));
        Ip6 { next_header: header, ..Ip6::default() }.frame(&payload)
    };
    for header in [0, 60] {
        assert!(!malformed(&options(header, [0, 0, 5, 2, 0, 0])));
        assert!(malformed(&options(header, [0, 0, 5, 3, 0, 0])), "option runs out of its header");
        assert!(malformed(&options(header, [0, 0, 0, 0, 0, 5])), "option without length");
        assert!(malformed(&options(header, [0xc2, 4, 0, 1, 0, 0])), "jumbo payload");
    }
    let mut long = chain(&[43], 17);
    long[14 + 40 + 1] = 3;
    assert!(malformed(&long), "header longer than the packet");
    let mut short = chain(&[51], 17);
    short[14 + 40 + 1] = 0;
    assert!(malformed(&short), "authentication header of 8 bytes");
}

#[test]
fn ipv6_fragments() {
    let fragment = |offset: u16, more: bool, payload: &[u8]| {
        let mut bytes = fragment_header(17, offset, more, 0x0bad_cafe).to_vec();
        bytes.extend(payload);
        Ip6 { next_header: 44, ..Ip6::default() }.frame(&bytes)
    };
    let whole = udp(5, 6, &[0; 200]);
    let atomic = ip(&fragment(0, false, &whole));
    assert_eq!((atomic.fragment, atomic.plain), (Fragment::None, false));
    assert_eq!((atomic.transport, atomic.transport_offset), (Transport::Udp, 62));
    let first = ip(&fragment(0, true, &whole[..64]));
    assert_eq!((first.fragment, first.transport), (Fragment::First(0x0bad_cafe), Transport::Udp));
    let later = ip(&fragment(64, true, &whole[64..72]));
    assert_eq!(later.fragment, Fragment::Later(0x0bad_cafe));
    assert_eq!((later.transport, later.tuple.protocol()), (Transport::LaterFragment, 17));
    assert!(malformed(&fragment(0, true, &whole[..60])));
    assert!(malformed(&fragment(0, true, b"")), "no transport header");
    assert!(malformed(&fragment(65_528, false, &[0; 8])));
    assert!(!malformed(&fragment(65_528, false, &[0; 7])));
    let mut twice = fragment_header(44, 0, false, 1).to_vec();
    twice.extend(fragment_header(17, 0, false, 1));
    twice.extend(&whole);
    assert!(malformed(&Ip6 { next_header: 44, ..Ip6::default() }.frame(&twice)));
}

#[test]
fn packets_past_the_offsets() {
    let frame = Ip4 { protocol: Some(99), ..Ip4::default() }.frame(&vec![0; 65_501]);
    assert_eq!(ip(&frame).end, 65_535);
    let frame = Ip4 { protocol: Some(99), ..Ip4::default() }.frame(&vec![0; 65_502]);
    assert!(malformed(&frame));
}
