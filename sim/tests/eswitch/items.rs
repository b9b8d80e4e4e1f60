//! Each item on packets that have its header and on packets that lack it, by value, mask and range, and inside tunnels.

use rte_flow::{
    Action, Any, ArpEthIpv4, Conntrack, Esp, Geneve, GeneveOption, Gre, GreKey, GreOption, Gtp,
    Header, Icmp, Icmp6, Ipv4, Ipv6, Ipv6FragExt, Item, Match, Nvgre, PacketState, Sctp, Tcp, U24,
    Vlan, Vxlan, VxlanGpe,
};
use sim::eswitch::{Ingress, Verdict};

use crate::rig::{
    DESTINATION, MACS, SOURCE, UPLINK, VF0, add, eth, frame, from_entity, in_vxlan, ipv4, rule,
    send, switch, tagged, tcp, tcp_segment, tcp4, udp, udp_datagram, udp4, v4, v6, vxlan,
};

/// Whether a rule with this pattern takes the frame, without a card's limits.
fn hits(pattern: &[Item], frame: &[u8]) -> bool {
    let mut switch = switch();
    let pattern = [&[from_entity(VF0)], pattern].concat();
    add(&mut switch, VF0, &rule(0, 0, &pattern, &[Action::RepresentedPort(UPLINK)]));
    match send(&mut switch, Ingress::Represented(VF0), frame).0 {
        Verdict::Represented(UPLINK) => true,
        Verdict::Representor { port: VF0, .. } => false,
        other => panic!("{other:?}"),
    }
}

/// Which of the frames a pattern takes.
#[track_caller]
fn takes(pattern: &[Item], frames: &[(&[u8], bool)]) {
    for (index, (frame, expected)) in frames.iter().enumerate() {
        assert_eq!(hits(pattern, frame), *expected, "frame {index} and {pattern:?}");
    }
}

/// A range of one field.
fn between<H: Header>(spec: H, last: H, mask: H) -> Match<H> {
    Match { spec: Some(spec), last: Some(last), mask: Some(mask) }
}

fn ipv6() -> Item {
    Item::Ipv6(Match::default())
}

/// A datagram to a tunnel's port.
fn to_port(port: u16, header: &[u8], inner: &[u8]) -> Vec<u8> {
    v4(17, &udp_datagram(50_000, port, &[header, inner].concat()))
}

fn geneve_frame(options: &[u8], protocol: u16, inner: &[u8]) -> Vec<u8> {
    let mut header = vec![(options.len() / 4) as u8, 0];
    header.extend(protocol.to_be_bytes());
    header.extend([0, 0, 77, 0]);
    header.extend(options);
    to_port(6081, &header, inner)
}

fn gre_frame(flags: u16, protocol: u16, fields: &[u8], inner: &[u8]) -> Vec<u8> {
    let header = [&flags.to_be_bytes()[..], &protocol.to_be_bytes(), fields].concat();
    v4(47, &[&header, inner].concat())
}

/// The IP packet of a frame.
fn packet(frame: &[u8]) -> Vec<u8> {
    frame[14..].to_vec()
}

#[test]
fn two_levels_of_vlan() {
    let plain = udp4(1, 2, b"");
    let one = tagged(&plain, 5);
    // The outermost tag is 6.
    let two = tagged(&one, 6);
    let vlan = |tci: u16| Item::Vlan(Match::of(Vlan { tci, ..Vlan::default() }));
    let any = || Item::Vlan(Match::default());
    takes(&[eth(), vlan(6), vlan(5), ipv4()], &[(&plain, false), (&one, false), (&two, true)]);
    takes(&[eth(), vlan(5), vlan(6)], &[(&one, false), (&two, false)]);
    takes(&[eth(), any(), any()], &[(&plain, false), (&one, false), (&two, true)]);
    let more = Item::Vlan(Match::<Vlan>::default().inner_type(0x8100_u16));
    takes(&[eth(), more], &[(&one, false), (&two, true)]);
    let range = Item::Vlan(between(
        Vlan { tci: 4, ..Vlan::default() },
        Vlan { tci: 5, ..Vlan::default() },
        Vlan { tci: 0xfff, ..Vlan::default() },
    ));
    takes(&[eth(), range], &[(&plain, false), (&one, true), (&two, false)]);
    let inside = in_vxlan(7, &two);
    takes(
        &[eth(), ipv4(), udp(), vxlan(), eth(), vlan(6), vlan(5), ipv4(), udp()],
        &[(&inside, true), (&in_vxlan(7, &one), false), (&two, false)],
    );
}

#[test]
fn arp() {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(&MACS[6..]);
    request.extend(SOURCE.octets());
    request.extend([0; 6]);
    request.extend(DESTINATION.octets());
    let arp = frame(0x0806, &request);
    let mut reply = arp.clone();
    reply[21] = 2;
    let mut other = arp.clone();
    other[16] = 0x86;
    let short = arp[..40].to_vec();
    let asked = || Match::<ArpEthIpv4>::default();
    let item = |asked| [eth(), Item::ArpEthIpv4(asked)];
    takes(
        &item(asked()),
        &[
            (&arp, true),
            (&reply, true),
            (&other, false),
            (&short, false),
            (&udp4(1, 2, b""), false),
        ],
    );
    takes(&item(asked().operation(1_u16)), &[(&arp, true), (&reply, false)]);
    takes(&item(asked().target_ip(DESTINATION)), &[(&arp, true)]);
    takes(&item(asked().target_ip(SOURCE)), &[(&arp, false)]);
    let mut mac = [0; 6];
    mac.copy_from_slice(&MACS[6..]);
    takes(&item(asked().sender_mac(mac)), &[(&arp, true)]);
    takes(&item(asked().target_mac(mac)), &[(&arp, false)]);
    takes(
        &[&[eth(), ipv4(), udp(), vxlan()], &item(asked())[..]].concat(),
        &[(&in_vxlan(1, &arp), true), (&arp, false)],
    );
}

#[test]
fn ipv6_fragments() {
    let header = |data: u16| [&[17, 0][..], &data.to_be_bytes(), &[0, 0, 0, 9]].concat();
    let fragment = |data: u16| v6(44, &[&header(data)[..], &[0; 16]].concat());
    let (first, later) = (fragment(1), fragment(16));
    let whole = v6(17, &udp_datagram(1, 2, b""));
    let cut = first[..58].to_vec();
    let asked = || Match::<Ipv6FragExt>::default();
    let item = |asked| [eth(), ipv6(), Item::Ipv6FragExt(asked)];
    takes(&item(asked()), &[(&first, true), (&later, true), (&whole, false), (&cut, false)]);
    takes(&item(asked().next_header(17_u8)), &[(&first, true)]);
    takes(&item(asked().next_header(6_u8)), &[(&first, false)]);
    takes(&item(asked().fragment_data(1_u16)), &[(&first, true), (&later, false)]);
    takes(&item(asked().identification(9_u32)), &[(&first, true), (&later, true)]);
    let offset = |data| Ipv6FragExt { fragment_data: data, ..Ipv6FragExt::default() };
    let beyond = between(offset(8), offset(0xfff8), offset(0xfff8));
    takes(&item(beyond), &[(&first, false), (&later, true)]);
}

#[test]
fn transports() {
    let sctp = v4(132, &[0, 7, 0, 80, 0, 0, 0, 5, 1, 2, 3, 4]);
    let sctp6 = v6(132, &[0, 7, 0, 80, 0, 0, 0, 5, 1, 2, 3, 4]);
    let short = v4(132, &[0, 7, 0, 80, 0, 0, 0, 5]);
    let item = |asked| [eth(), ipv4(), Item::Sctp(asked)];
    takes(
        &item(Match::default()),
        &[(&sctp, true), (&sctp6, false), (&short, false), (&udp4(7, 80, b"1234"), false)],
    );
    takes(&[eth(), ipv6(), Item::Sctp(Match::default())], &[(&sctp6, true)]);
    takes(&item(Match::<Sctp>::default().dst(80_u16)), &[(&sctp, true)]);
    takes(&item(Match::<Sctp>::default().tag(6_u32)), &[(&sctp, false)]);
    let port = |src| Sctp { src, ..Sctp::default() };
    takes(&item(between(port(5), port(9), port(0xffff))), &[(&sctp, true)]);
    takes(&item(between(port(8), port(9), port(0xffff))), &[(&sctp, false)]);
    let esp = v4(50, &[0, 0, 1, 0, 0, 0, 0, 1, 9, 9]);
    let esp6 = v6(50, &[0, 0, 1, 0, 0, 0, 0, 1, 9, 9]);
    let item = |spi: u32| Item::Esp(Match::<Esp>::default().spi(spi));
    takes(&[eth(), ipv4(), item(256)], &[(&esp, true), (&esp6, false), (&sctp, false)]);
    takes(&[eth(), ipv6(), item(256)], &[(&esp6, true)]);
    takes(&[eth(), ipv4(), item(257)], &[(&esp, false)]);
    let masked = Item::Esp(Match::masked(
        Esp { spi: 0x100, ..Esp::default() },
        Esp { spi: 0xff00, ..Esp::default() },
    ));
    takes(&[eth(), ipv4(), masked], &[(&esp, true)]);
    let echo = v4(1, &[8, 0, 0, 0, 0, 7, 0, 1]);
    let item = |asked| [eth(), ipv4(), Item::Icmp(asked)];
    takes(
        &item(Match::<Icmp>::default().icmp_type(8_u8).identifier(7_u16)),
        &[(&echo, true), (&esp, false)],
    );
    takes(&item(Match::<Icmp>::default().identifier(8_u16)), &[(&echo, false)]);
    let echo6 = v6(58, &[128, 0, 0, 0, 0, 7, 0, 1]);
    let item = |kind: u8| [eth(), ipv6(), Item::Icmp6(Match::<Icmp6>::default().icmp_type(kind))];
    takes(&item(128), &[(&echo6, true), (&echo, false)]);
    takes(&item(129), &[(&echo6, false)]);
}

/// What stands for the inner frame in a pattern.
fn inner_tcp(port: u16) -> Vec<Item> {
    vec![eth(), ipv4(), Item::Tcp(Match::<Tcp>::default().dst(port))]
}

#[test]
fn vxlan_gpe_carries_what_its_protocol_says() {
    let inner = tcp4(1, 80, 2, b"");
    let header = |flags: u8, protocol: u8| [flags, 0, 0, protocol, 0, 0, 42, 0];
    let ethernet = to_port(4790, &header(0x0c, 3), &inner);
    let ip = to_port(4790, &header(0x0c, 1), &packet(&inner));
    let nsh = to_port(4790, &header(0x0c, 4), &[0; 60]);
    let unsaid = to_port(4790, &header(0x08, 1), &inner);
    let tunnel = |asked| vec![eth(), ipv4(), udp(), Item::VxlanGpe(asked)];
    let asked = || Match::<VxlanGpe>::default();
    takes(
        &tunnel(asked()),
        &[(&ethernet, true), (&ip, true), (&nsh, true), (&in_vxlan(42, &inner), false)],
    );
    takes(&tunnel(asked().vni(U24::truncate(42))), &[(&ip, true)]);
    takes(&tunnel(asked().vni(U24::truncate(43))), &[(&ip, false)]);
    takes(&tunnel(asked().protocol(3_u8)), &[(&ethernet, true), (&ip, false)]);
    let behind = |inner: &[Item]| [&tunnel(asked())[..], inner].concat();
    takes(
        &behind(&inner_tcp(80)),
        &[(&ethernet, true), (&unsaid, true), (&ip, false), (&nsh, false)],
    );
    takes(&behind(&inner_tcp(81)), &[(&ethernet, false)]);
    takes(&behind(&inner_tcp(80)[1..]), &[(&ethernet, true), (&ip, true), (&nsh, false)]);
}

#[test]
fn geneve_and_its_options() {
    let inner = tcp4(1, 80, 2, b"");
    let one = [0x01, 0x02, 0x83, 1, 0xaa, 0xbb, 0xcc, 0xdd];
    let other = [0x01, 0x02, 0x84, 0];
    let both = [&other[..], &one].concat();
    let plain = geneve_frame(&[], 0x6558, &inner);
    let with_one = geneve_frame(&one, 0x6558, &inner);
    let with_both = geneve_frame(&both, 0x6558, &inner);
    let ip = geneve_frame(&one, 0x0800, &packet(&inner));
    // The option says that it is longer than all options are.
    let broken = geneve_frame(&[0x01, 0x02, 0x83, 9, 0xaa, 0xbb, 0xcc, 0xdd], 0x6558, &inner);
    let tunnel = |asked| vec![eth(), ipv4(), udp(), Item::Geneve(asked)];
    let asked = || Match::<Geneve>::default();
    takes(&tunnel(asked()), &[(&plain, true), (&with_both, true), (&in_vxlan(77, &inner), false)]);
    takes(&tunnel(asked().vni(U24::truncate(77))), &[(&plain, true)]);
    takes(&tunnel(asked().vni(U24::truncate(78))), &[(&plain, false)]);
    takes(&tunnel(asked().protocol(0x0800_u16)), &[(&plain, false), (&ip, true)]);
    let behind = |more: &[Item]| [&tunnel(asked())[..], more].concat();
    takes(&behind(&inner_tcp(80)), &[(&plain, true), (&with_both, true), (&ip, false)]);
    takes(&behind(&inner_tcp(80)[1..]), &[(&plain, true), (&ip, true)]);
    let option = |length: u8, first: u8, mask: u8| {
        let mut data = [0; GeneveOption::MAX_DATA];
        data[0] = first;
        let mut bits = [0; GeneveOption::MAX_DATA];
        bits[0] = mask;
        Item::GeneveOpt(Box::new(Match::masked(
            GeneveOption { class: 0x0102, option_type: 0x83, length, data },
            GeneveOption { class: 0xffff, option_type: 0xff, length: 0xff, data: bits },
        )))
    };
    let frames = |with: bool| {
        [(&plain[..], false), (&with_one[..], with), (&with_both[..], with), (&broken[..], false)]
    };
    takes(&behind(&[option(1, 0xaa, 0xff)]), &frames(true));
    takes(&behind(&[option(1, 0xa0, 0xf0)]), &frames(true));
    takes(&behind(&[option(1, 0xab, 0xff)]), &frames(false));
    takes(&behind(&[option(2, 0xaa, 0xff)]), &frames(false));
    takes(&behind(&[&[option(1, 0xaa, 0xff)], &inner_tcp(80)[..]].concat()), &frames(true));
    // By its type alone, as the default mask has it.
    let by_type = |option_type: u8| {
        let spec = GeneveOption { option_type, ..GeneveOption::default() };
        behind(&[Item::GeneveOpt(Box::new(Match::of(spec)))])
    };
    takes(&by_type(0x84), &[(&plain, false), (&with_one, false), (&with_both, true)]);
    let two = behind(&[
        option(1, 0xaa, 0xff),
        Item::GeneveOpt(Box::new(Match::of(GeneveOption {
            option_type: 0x84,
            ..GeneveOption::default()
        }))),
    ]);
    takes(&two, &[(&with_one, false), (&with_both, true)]);
}

#[test]
fn gre_with_its_optional_fields() {
    let inner = tcp4(1, 80, 2, b"");
    let (key, sequence, checksum) = ([0, 0, 0, 7], [0, 0, 0, 9], [0xab, 0xcd, 0, 0]);
    let plain = gre_frame(0, 0x6558, &[], &inner);
    let keyed = gre_frame(0x2000, 0x6558, &key, &inner);
    let full = gre_frame(0xb000, 0x0800, &[checksum, key, sequence].concat(), &packet(&inner));
    let cut = gre_frame(0x2000, 0x6558, &key[..2], &[]);
    let tunnel = |asked| vec![eth(), ipv4(), Item::Gre(asked)];
    let asked = || Match::<Gre>::default();
    takes(&tunnel(asked()), &[(&plain, true), (&keyed, true), (&full, true), (&inner, false)]);
    takes(&tunnel(asked().protocol(0x0800_u16)), &[(&plain, false), (&full, true)]);
    let flag = Gre { c_rsvd0_ver: 0x2000, ..Gre::default() };
    takes(&tunnel(Match::masked(flag, flag)), &[(&plain, false), (&keyed, true), (&full, true)]);
    let behind = |more: &[Item]| [&tunnel(asked())[..], more].concat();
    let key = |value: u32| Item::GreKey(Match::<GreKey>::default().value(value));
    takes(&behind(&[key(7)]), &[(&plain, false), (&keyed, true), (&full, true), (&cut, false)]);
    takes(&behind(&[key(8)]), &[(&keyed, false), (&full, false)]);
    takes(&behind(&[&[key(7)], &inner_tcp(80)[..]].concat()), &[(&keyed, true), (&full, false)]);
    takes(
        &behind(&inner_tcp(80)),
        &[(&plain, true), (&keyed, true), (&full, false), (&cut, false)],
    );
    takes(&behind(&inner_tcp(80)[1..]), &[(&plain, true), (&full, true)]);
    let option = |asked| behind(&[Item::GreOption(asked)]);
    let fields = || Match::<GreOption>::default();
    takes(&option(fields().key(7_u32)), &[(&plain, false), (&keyed, true), (&full, true)]);
    takes(&option(fields().sequence(9_u32)), &[(&keyed, false), (&full, true)]);
    takes(&option(fields().checksum(0xabcd_u16).key(7_u32)), &[(&keyed, false), (&full, true)]);
    takes(&option(fields().checksum(0xabce_u16)), &[(&full, false)]);
    // Inside IPv6 too.
    let over_v6 = v6(47, &[&[0, 0, 0x65, 0x58][..], &inner].concat());
    takes(
        &[&[eth(), ipv6(), Item::Gre(Match::default())], &inner_tcp(80)[..]].concat(),
        &[(&over_v6, true)],
    );
}

#[test]
fn nvgre_is_gre_with_a_key_and_ethernet() {
    let inner = tcp4(1, 80, 2, b"");
    let key = [0x12, 0x34, 0x56, 9];
    let nvgre = gre_frame(0x2000, 0x6558, &key, &inner);
    let with_sequence = gre_frame(0x3000, 0x6558, &[&key[..], &[0; 4]].concat(), &inner);
    let ip = gre_frame(0x2000, 0x0800, &key, &packet(&inner));
    let plain = gre_frame(0, 0x6558, &[], &inner);
    let tunnel = |asked| vec![eth(), ipv4(), Item::Nvgre(asked)];
    let asked = || Match::<Nvgre>::default();
    takes(
        &tunnel(asked()),
        &[(&nvgre, true), (&with_sequence, false), (&ip, false), (&plain, false)],
    );
    takes(&tunnel(asked().tni(U24::truncate(0x12_3456))), &[(&nvgre, true)]);
    takes(&tunnel(asked().tni(U24::truncate(0x12_3457))), &[(&nvgre, false)]);
    takes(&tunnel(asked().flow_id(9_u8)), &[(&nvgre, true)]);
    takes(&[&tunnel(asked())[..], &inner_tcp(80)].concat(), &[(&nvgre, true), (&plain, false)]);
    takes(&[&tunnel(asked())[..], &inner_tcp(81)].concat(), &[(&nvgre, false)]);
}

#[test]
fn ip_in_ip_and_gtp() {
    let inner = tcp4(1, 80, 2, b"");
    let inner6 = v6(6, &tcp_segment(1, 80, 2, b""));
    let four = v4(4, &packet(&inner));
    let six = v4(41, &packet(&inner6));
    let over_v6 = v6(4, &packet(&inner));
    let proto = |number: u8| Item::Ipv4(Match::<Ipv4>::default().protocol(number));
    let port = |port: u16| Item::Tcp(Match::<Tcp>::default().dst(port));
    takes(&[eth(), proto(4), ipv4(), port(80)], &[(&four, true), (&six, false), (&inner, false)]);
    takes(&[eth(), proto(4), ipv4(), port(81)], &[(&four, false)]);
    takes(&[eth(), proto(41), ipv6(), port(80)], &[(&six, true), (&four, false)]);
    takes(&[eth(), ipv4(), ipv6(), tcp()], &[(&six, true), (&four, false)]);
    let outer = Item::Ipv6(Match::<Ipv6>::default().protocol(4_u8));
    takes(&[eth(), outer, ipv4(), port(80)], &[(&over_v6, true)]);
    // The outer packet has no transport header.
    takes(&[eth(), ipv4(), tcp()], &[(&four, false)]);
    // IP in a tunnel is not IP in IP.
    let tunnelled = gre_frame(0, 0x0800, &[], &packet(&inner));
    takes(&[eth(), ipv4(), ipv4(), port(80)], &[(&four, true), (&tunnelled, false)]);

    let short = to_port(2152, &[0x30, 255, 0, 0, 0, 0, 0, 5], &packet(&inner));
    let long = [0x34, 255, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0x85, 1, 0, 9, 0];
    let long = to_port(2152, &long, &packet(&inner));
    let echo = to_port(2152, &[0x30, 1, 0, 0, 0, 0, 0, 5], &packet(&inner));
    let tunnel = |asked| vec![eth(), ipv4(), udp(), Item::Gtp(asked)];
    let teid = |teid: u32| tunnel(Match::<Gtp>::default().teid(teid));
    takes(
        &teid(5),
        &[(&short, true), (&long, true), (&echo, true), (&udp4(1, 2, b"12345678"), false)],
    );
    takes(&teid(6), &[(&short, false)]);
    let behind = [&teid(5)[..], &[ipv4(), port(80)]].concat();
    takes(&behind, &[(&short, true), (&long, true), (&echo, false)]);
}

#[test]
fn any_stands_for_layers() {
    let any = |num: u32| Item::Any(Match::<Any>::default().num(num));
    let (tcp4, tcp6) = (tcp4(1, 80, 2, b""), v6(6, &tcp_segment(1, 80, 2, b"")));
    let arp = frame(0x0806, &[0; 28]);
    let sctp = v4(132, &[0; 12]);
    let other = v4(99, &[0; 12]);
    takes(&[eth(), any(1), tcp()], &[(&tcp4, true), (&tcp6, true), (&sctp, false)]);
    takes(&[eth(), any(1)], &[(&tcp4, true), (&other, true), (&arp, false)]);
    takes(&[eth(), any(2)], &[(&tcp6, true), (&sctp, true), (&other, false), (&arp, false)]);
    takes(&[eth(), Item::Any(Match::default()), tcp()], &[(&tcp6, true), (&sctp, false)]);
    let inside = in_vxlan(7, &tcp6);
    takes(
        &[eth(), any(2), vxlan(), eth(), any(1), tcp()],
        &[(&inside, true), (&in_vxlan(7, &sctp), false), (&tcp6, false)],
    );
}

#[test]
fn untracked_packets_have_no_state() {
    let state = |flags, mask| {
        Item::Conntrack(Match::masked(Conntrack { flags }, Conntrack { flags: mask }))
    };
    let packet = tcp4(1, 80, 2, b"");
    let (none, all) = (PacketState::empty(), PacketState::all());
    takes(&[state(none, all), eth()], &[(&packet, true)]);
    takes(&[state(PacketState::VALID, PacketState::VALID), eth()], &[(&packet, false)]);
    takes(&[state(PacketState::INVALID, all), eth()], &[(&packet, false)]);
}

#[test]
fn contradictions_match_nothing_and_repetitions_add_up() {
    let tag = |data: u32, mask: u32| {
        let header = |data| rte_flow::Tag { data, index: 1 };
        Item::Tag(Match::masked(header(data), rte_flow::Tag { data: mask, index: 0xff }))
    };
    let packet = udp4(1, 2, b"");
    takes(&[tag(0, 0xff), tag(0, 0xff00), eth()], &[(&packet, true)]);
    takes(&[tag(0, 0xff), tag(1, 0x01), eth()], &[(&packet, false)]);
    takes(&[tag(0, 0xff), tag(0x100, 0xff00), eth()], &[(&packet, false)]);
}

#[test]
fn a_tunnel_ends_where_its_packet_does() {
    let inner = tcp4(1, 80, 2, b"");
    let whole = in_vxlan(7, &inner);
    let pattern = [eth(), ipv4(), udp(), vxlan(), eth(), ipv4(), tcp()];
    takes(&pattern, &[(&whole, true)]);
    for length in 0..whole.len() {
        assert!(!hits(&pattern, &whole[..length]), "cut to {length} bytes");
    }
    let outer =
        [eth(), ipv4(), udp(), Item::Vxlan(Match::<Vxlan>::default().vni(U24::truncate(7)))];
    takes(&outer, &[(&whole, true), (&whole[..50], true), (&whole[..49], false)]);
}
