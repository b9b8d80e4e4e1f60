//! Encapsulation, decapsulation and what lies between.

use crate::frames::{Ip4, Ip6, checksum, ethernet, fragment_header, icmp, tcp, udp};
use packet::{
    Ecn, EncapsulationError, Frame, Mac, Network, NotVxlan, ParseError, TcpFlags, TunnelError,
    Tuple, Vni, VtepAddr, VxlanError, VxlanHeader, VxlanTunnel, parse, parse_quoted, parse_vxlan,
    set_ecn,
};
use proptest::prelude::*;

fn vtep(text: &str) -> VtepAddr {
    text.parse().expect("unicast")
}

fn tunnel(source: &str, destination: &str) -> VxlanTunnel {
    VxlanTunnel {
        source_mac: Mac([2, 0, 0, 0, 1, 1]),
        destination_mac: Mac([2, 0, 0, 0, 1, 2]),
        source: vtep(source),
        destination: vtep(destination),
        vni: Vni::try_from(0x00ab_cdef).expect("24 bits"),
        dscp: 46,
    }
}

fn encapsulate(inner: &[u8], tunnel: &VxlanTunnel, port: u16) -> Vec<u8> {
    let mut buffer = [&[0xee; 100][..], inner, &[0xee; 10]].concat();
    let mut frame = Frame::new(&mut buffer, 100, 100 + inner.len()).expect("in range");
    VxlanHeader::new(tunnel).expect("valid").push(&mut frame, port).expect("room");
    frame.bytes().to_vec()
}

#[test]
fn outer_ipv4_byte_by_byte() {
    let inner = Ip4::default().frame(&udp(1, 2, b"x"));
    let frame = encapsulate(&inner, &tunnel("192.0.2.1", "192.0.2.2"), 0xc123);
    let total = (36 + inner.len()) as u8;
    let mut ip = vec![0x45, 46 << 2, 0, total, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    ip.extend([0xc1, 0x23, 0x12, 0xb5, 0, total - 20, 0, 0]);
    ip.extend([8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
    ip.extend(&inner);
    let macs = [2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 8, 0];
    assert_eq!(frame, [&macs[..], &ip].concat());
}

#[test]
fn outer_ipv6_byte_by_byte() {
    let inner = Ip4::default().frame(&udp(1, 2, b"x"));
    let frame = encapsulate(&inner, &tunnel("2001:db8::1", "2001:db8::2"), 0xffff);
    let length = (16 + inner.len()) as u8;
    let mut ip = vec![0x6b, 0x80, 0, 0, 0, length, 17, 64];
    for last in [1, 2] {
        ip.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    ip.extend([0xff, 0xff, 0x12, 0xb5, 0, length, 0, 0, 8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
    ip.extend(&inner);
    let macs = [2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1, 0x86, 0xdd];
    assert_eq!(frame, [&macs[..], &ip].concat());
}

#[test]
fn refused_tunnels_and_frames() {
    assert!(matches!(
        VxlanHeader::new(&tunnel("192.0.2.1", "2001:db8::2")),
        Err(TunnelError::Families { .. })
    ));
    let wrong = VxlanTunnel { dscp: 64, ..tunnel("192.0.2.1", "192.0.2.2") };
    assert!(matches!(VxlanHeader::new(&wrong), Err(TunnelError::Dscp(64))));
    for (addresses, length) in
        [(("192.0.2.1", "192.0.2.2"), 50), (("2001:db8::1", "2001:db8::2"), 70)]
    {
        let header = VxlanHeader::new(&tunnel(addresses.0, addresses.1)).expect("valid");
        assert_eq!((header.length(), header.as_bytes().len()), (length, length));
        let mut buffer = vec![0; 70_000];
        let longest = 65_535 - length;
        let mut frame = Frame::new(&mut buffer, 100, 101 + longest).expect("in range");
        let error = header.push(&mut frame, 50_000);
        assert_eq!(error, Err(EncapsulationError::TooLong(65_536)));
        frame.resize(longest).expect("shorter");
        assert_eq!(header.push(&mut frame, 50_000), Ok(()));
        assert_eq!(frame.bytes().len(), 65_535);
        let inner = parse_vxlan(frame.bytes()).expect("ours").inner();
        assert_eq!(inner, length..65_535);
        let mut frame = Frame::new(&mut buffer, length - 1, 500).expect("in range");
        assert!(matches!(header.push(&mut frame, 50_000), Err(EncapsulationError::NoRoom(_))));
        assert_eq!((frame.start(), frame.end()), (length - 1, 500));
    }
}

#[test]
fn what_is_not_vxlan() {
    let not = |frame: &[u8], reason| {
        assert_eq!(parse_vxlan(frame), Err(VxlanError::NotVxlan(reason)));
    };
    not(&ethernet(0x88cc, &[0; 50]), NotVxlan::NotIp);
    not(
        &crate::frames::with_vlan(&Ip4::default().frame(&udp(1, 4789, &[0; 8])), 0x8100),
        NotVxlan::NotIp,
    );
    not(&ethernet(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat()), NotVxlan::NotIp);
    not(
        &Ip4 { protocol: Some(6), ..Ip4::default() }.frame(&tcp(1, 4789, TcpFlags::SYN, b"")),
        NotVxlan::NotUdp,
    );
    not(&Ip4::default().frame(&udp(4789, 4790, &[8; 30])), NotVxlan::OtherPort);
    not(&Ip4::default().frame(&udp(1, 4789, &[0xf7; 30])), NotVxlan::NoVni);
    not(
        &Ip4 { flags_offset: 0x2000, ..Ip4::default() }.frame(&udp(1, 4789, &[8; 32])),
        NotVxlan::Fragment,
    );
    let later = [&fragment_header(17, 8, false, 1)[..], &[8; 32]].concat();
    not(&Ip6 { next_header: 44, ..Ip6::default() }.frame(&later), NotVxlan::Fragment);
    let short = Ip4::default().frame(&udp(1, 4789, &[8; 7]));
    assert_eq!(parse_vxlan(&short), Err(VxlanError::Malformed));
    assert_eq!(parse_vxlan(&short[..30]), Err(VxlanError::Malformed));
}

#[test]
fn udp_length_and_reserved_bits() {
    let mut datagram = udp(1, 4789, &[0xff, 1, 2, 3, 0, 0, 9, 0xaa, 1, 2, 3, 4, 5]);
    datagram[5] = 19;
    let found =
        parse_vxlan(&Ip4 { traffic_class: 3, ..Ip4::default() }.frame(&datagram)).expect("VXLAN");
    assert_eq!((found.vni, found.inner(), found.ecn), (9, 50..53, Ecn::Ce));
    assert_eq!(found.source.to_string(), "10.0.0.1");
    assert_eq!(found.destination.to_string(), "10.0.0.2");
}

#[test]
fn outer_udp_checksum() {
    let mut datagram = udp(1, 4789, &[8, 0, 0, 0, 0, 0, 9, 0, 1, 2, 3]);
    let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, datagram.len() as u8];
    let sum = checksum(&[&pseudo[..], &datagram].concat());
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    assert!(parse_vxlan(&Ip4::default().frame(&datagram)).is_ok());
    datagram[16] ^= 1;
    assert_eq!(parse_vxlan(&Ip4::default().frame(&datagram)), Err(VxlanError::Malformed));
}

#[test]
fn ecn_is_written_with_its_checksum() {
    for mut frame in [
        Ip4 { traffic_class: 0xb9, ..Ip4::default() }.frame(&udp(1, 2, b"x")),
        Ip6 { traffic_class: 0xb9, ..Ip6::default() }.frame(&udp(1, 2, b"x")),
    ] {
        for ecn in [Ecn::Ce, Ecn::NotEct, Ecn::Ect0, Ecn::Ect1] {
            let Ok(Network::Ip(mut packet)) = parse(&frame).map(|p| p.network) else {
                panic!("IP")
            };
            set_ecn(&mut frame, &mut packet, ecn);
            assert_eq!(parse(&frame).map(|p| p.network), Ok(Network::Ip(packet)));
            assert_eq!(packet.ecn, ecn);
        }
        let original = 0xb9_u8;
        let class = if frame[12] == 8 { frame[15] } else { (frame[14] << 4) | (frame[15] >> 4) };
        assert_eq!(class, original, "DSCP is left alone");
    }
}

#[test]
fn quoted_packets() {
    let whole = Ip4 { total_length: Some(1500), protocol: Some(6), ..Ip4::default() };
    let mut cut = whole.packet(&tcp(80, 90, TcpFlags::ACK, b"")[..8]);
    cut[10] ^= 0xff;
    let quoted = parse_quoted(&cut).expect("enough of it");
    assert_eq!(quoted.tuple, Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6, 80, 90));
    assert_eq!((quoted.transport_offset, quoted.end), (20, 28));
    assert_eq!(parse_quoted(&cut[..27]), None);
    assert_eq!(parse_quoted(&[]), None);
    assert_eq!(parse_quoted(&[0x50; 60]), None);

    let mut long = Ip6::default().packet(&udp(7, 8, b"data"));
    long[4] = 5;
    let quoted = parse_quoted(&long).expect("enough of it");
    assert_eq!(
        quoted.tuple,
        Tuple::v6(crate::frames::SOURCE6, crate::frames::DESTINATION6, 17, 7, 8)
    );
    assert_eq!((quoted.transport_offset, quoted.end), (40, 52));

    let icmp4 = |kind| {
        Ip4 { protocol: Some(1), ..Ip4::default() }.packet(&icmp(kind, 0, &[0x12, 0x34, 0, 1]))
    };
    let echo = parse_quoted(&icmp4(8)).expect("an echo request").tuple;
    assert_eq!((echo.source_port(), echo.destination_port()), (0x1234, 8));
    let timestamp = parse_quoted(&icmp4(13)).expect("no error").tuple;
    assert_eq!((timestamp.source_port(), timestamp.destination_port()), (0, Tuple::NOT_ECHO));
    assert_eq!(parse_quoted(&icmp4(3)), None);

    let fragment =
        |flags_offset| Ip4 { flags_offset, ..Ip4::default() }.packet(&udp(7, 8, &[0; 16]));
    assert_eq!(parse_quoted(&fragment(0x2000)).map(|q| q.tuple.source_port()), Some(7));
    assert_eq!(parse_quoted(&fragment(0x2001)), None);
    let other = Ip4 { protocol: Some(99), ..Ip4::default() }.packet(&[]);
    assert_eq!(parse_quoted(&other).map(|q| q.tuple.protocol()), Some(99));
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        inner in proptest::collection::vec(any::<u8>(), 0..300),
        v6: bool,
        port in 0xc000_u16..,
        vni in 1_u64..0x0100_0000,
        dscp in 0_u8..64,
    ) {
        let (source, destination) =
            if v6 { ("2001:db8::1", "2001:db8::2") } else { ("192.0.2.1", "192.0.2.2") };
        let tunnel =
            VxlanTunnel { vni: Vni::try_from(vni).unwrap(), dscp, ..tunnel(source, destination) };
        let frame = encapsulate(&inner, &tunnel, port);
        let outer = parse(&frame);
        prop_assert!(outer.is_ok(), "{outer:?}");
        let found = parse_vxlan(&frame).unwrap();
        prop_assert_eq!(&frame[found.inner()], &inner[..]);
        prop_assert_eq!(u64::from(found.vni), vni);
        prop_assert_eq!(found.source, tunnel.source.ip());
        prop_assert_eq!(found.destination, tunnel.destination.ip());
        prop_assert_eq!(found.destination_mac, tunnel.destination_mac);
        prop_assert_eq!(found.ecn, Ecn::NotEct);
        prop_assert_ne!(outer, Err(ParseError::Malformed));
    }
}
