//! The packet notation, against bytes from the specifications and against itself.

use testbed::notation::{packet, show};

fn is(text: &str, bytes: &str) {
    assert_eq!(packet(text).unwrap(), packet(&format!("hex({bytes})")).unwrap(), "{text}");
}

#[test]
fn checksums_lengths_and_types_are_filled_in() {
    // The header of RFC 1071's most copied example.
    is(
        "eth(dst=02:00:00:00:00:02, src=02:00:00:00:00:01)\
         /ipv4(src=192.168.0.1, dst=192.168.0.199, ttl=64, df)/udp(sport=1, dport=2, checksum=0)/zeros(87)",
        &format!(
            "020000000002 020000000001 0800 4500 0073 0000 4000 4011 b861 c0a80001 c0a800c7 \
             0001 0002 005f 0000 {}",
            "00".repeat(87)
        ),
    );
}

#[test]
fn what_is_given_is_not_corrected() {
    is(
        "hex(ff)/ipv4(src=1.2.3.4, dst=5.6.7.8, version=5, ihl=6, length=9, checksum=0xabcd, protocol=99)",
        "ff 56000009 00000000 4063abcd 01020304 05060708",
    );
}

#[test]
fn parts_of_packets_are_fragments() {
    let whole = packet("ipv4(src=1.1.1.1, dst=2.2.2.2)/udp(sport=1, dport=2)/\"0123456789abcdef\"")
        .unwrap();
    let first = packet(
        "ipv4(src=1.1.1.1, dst=2.2.2.2, mf)/bytes(..16)/udp(sport=1, dport=2)/\"0123456789abcdef\"",
    )
    .unwrap();
    let second = packet(
        "ipv4(src=1.1.1.1, dst=2.2.2.2, offset=16)/bytes(16..)/udp(sport=1, dport=2)/\"0123456789abcdef\"",
    )
    .unwrap();
    assert_eq!([&first[20..], &second[20..]].concat(), whole[20..]);
    assert_eq!(second[6..8], [0, 2]);
}

#[test]
fn options_nest() {
    is(
        "opt6(3, u32:1, u32:0, u32:0, [opt6(5, fd00::1, u32:60, u32:120)])",
        "0003 0028 00000001 00000000 00000000 \
         0005 0018 fd000000000000000000000000000001 0000003c 00000078",
    );
    is("opt(6, 10.0.0.53+10.0.0.54)/opt(53, u8:2)/end", "0608 0a000035 0a000036 350102 ff");
    is("ndopt(2, 02:00:00:00:00:01)", "0201 020000000001");
}

#[test]
fn tunnels_and_tags_have_their_headers() {
    let eth = "eth(dst=02:00:00:00:00:02, src=02:00:00:00:00:01)";
    let macs = "020000000002 020000000001";
    is(
        &format!("{eth}/qinq(id=7)/vlan(id=5, pcp=3, type=0xaabb)"),
        &format!("{macs} 88a8 0007 8100 6005 aabb"),
    );
    is(
        "gre(key=1, seq=2)/eth(dst=02:00:00:00:00:02, src=02:00:00:00:00:01, type=1)",
        &format!("3000 6558 00000001 00000002 {macs} 0001"),
    );
    is("nvgre(tni=0x123456, flow=7, type=0x6558)", "2000 6558 12345607");
    is("geneve(vni=5, critical, options=0x01020300, type=0x6558)", "0140 6558 00000500 01020300");
    is("vxlan-gpe(vni=5, next=4)", "0c000004 00000500");
    is("vxlan(vni=5, last=6)", "08000000 00000506");
    is("esp(spi=0x100, seq=2)/hex(ff)", "00000100 00000002 ff");
    is("sctp(sport=1, dport=2, tag=3, checksum=4)", "0001 0002 00000003 00000004");
}

#[test]
fn mistakes_are_told() {
    for (text, what) in [
        ("eth(dst=02:00:00:00:00:02)/zeros(1)", "src= is missing"),
        ("udp(sport=1, dport=2, dprt=3)", "dprt= is unknown"),
        ("udp(sport=70000, dport=2)", "does not fit"),
        ("upd(sport=1)", "`upd` is no layer"),
        ("hex(123)", "half a byte"),
        ("\"abc", "not closed"),
        ("ipv4(src=1.1.1.1, dst=2.2.2.2)/\"x\"", "protocol="),
    ] {
        let error = packet(text).unwrap_err().replace("not a number that fits", "does not fit");
        assert!(error.contains(what), "{text}: {error}");
    }
}

#[test]
fn what_is_shown_gives_the_same_bytes() {
    let tunnel = "eth(dst=02:00:00:00:00:02, src=02:00:00:00:00:01)\
                  /ipv4(src=192.0.2.1, dst=192.0.2.2, df)/udp(sport=entropy, dport=4789, checksum=0)/vxlan(vni=7)/";
    let eth = "eth(dst=02:00:00:00:00:04, src=02:00:00:00:00:03)/";
    for inner in [
        "ipv4(src=10.0.0.1, dst=10.0.0.2)/tcp(sport=1, dport=2, flags=SA, seq=7, options=0x020405b4)/\"hello\"",
        "ipv6(src=fd00::1, dst=fd00::2, hops=255)/ns(target=fd00::2, sll=02:00:00:00:00:03)",
        "ipv6(src=fd00::1, dst=fd00::2)/echo(id=7, seq=3)/zeros(20)",
        "ipv4(src=10.0.0.1, dst=10.0.0.2, mf, id=5)/bytes(..24)/udp(sport=1, dport=2)/zeros(30)",
        "ipv4(src=10.0.0.1, dst=10.0.0.2, checksum=1)/udp(sport=1, dport=2, checksum=7)/zeros(30)",
    ] {
        let text = format!("{tunnel}{eth}{inner}");
        let bytes = packet(&text).unwrap();
        let shown = show(&bytes);
        assert_eq!(packet(&shown).unwrap(), bytes, "{shown}");
        assert!(shown.contains("vxlan(vni=7)/eth("), "{shown}");
    }
    assert_eq!(show(&[1, 2, 3]), "hex(010203)");
    assert!(
        show(&packet(&format!("{eth}ipv6(src=fd00::1, dst=fd00::2)/echo(id=7)")).unwrap())
            .ends_with("/echo(id=7)")
    );
}

#[test]
fn tunnels_and_tags_are_shown_as_they_were_written() {
    let eth = "eth(dst=02:00:00:00:00:04, src=02:00:00:00:00:03)/";
    for layers in [
        "qinq(id=7, pcp=2)/vlan(id=9)/ipv4(src=10.0.0.1, dst=10.0.0.2)/sctp(sport=1, dport=2, tag=3)/zeros(4)",
        "ipv4(src=10.0.0.1, dst=10.0.0.2)/nvgre(tni=9, flow=1)/eth(dst=02:00:00:00:00:04, src=02:00:00:00:00:03)/vlan(id=1, type=0x0009)",
        "ipv4(src=10.0.0.1, dst=10.0.0.2)/gre(key=7, seq=1)/ipv6(src=fd00::1, dst=fd00::2)/esp(spi=5)/\"x\"",
        "ipv4(src=10.0.0.1, dst=10.0.0.2)/gre(type=0x6559)/zeros(2)",
        "ipv4(src=10.0.0.1, dst=10.0.0.2)/ipv4(src=10.0.0.3, dst=10.0.0.4)/udp(sport=5, dport=6081)/geneve(vni=1, oam, options=0x0102800100000007, type=0x0801)",
        "ipv4(src=10.0.0.1, dst=10.0.0.2)/udp(sport=5, dport=4790)/vxlan-gpe(vni=1)/ipv6(src=fd00::1, dst=fd00::2)/echo(id=1)",
        "ipv4(src=10.0.0.1, dst=10.0.0.2)/udp(sport=5, dport=4789)/vxlan(vni=1, last=3)/eth(dst=02:00:00:00:00:04, src=02:00:00:00:00:03)/arp(op=request, sha=02:00:00:00:00:03, spa=10.0.0.1, tha=00:00:00:00:00:00, tpa=10.0.0.2)",
    ] {
        let text = format!("{eth}{layers}");
        assert_eq!(show(&packet(&text).unwrap()), text);
    }
}
