//! What an application can set and ask of a port, in an unmodified `dpdk-testpmd`.

#[path = "support/pcap.rs"]
mod pcap;
#[expect(dead_code, reason = "no sockets are needed here")]
mod support;

use std::fs;

use packet::checksum::Sum;
use packet::wire::protocol;
use packet::{Network, Transport, Tuple};

use pcap::{capture, frames_of};
use support::namespace::Namespace;
use support::testpmd::Testpmd;
use support::turn;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// UDP or TCP from 10.0.0.1 to 10.0.0.2 with a payload of zeros, all checksums right.
fn frame(to: [u8; 6], tag: &[u8], protocol: u8, payload: usize) -> Vec<u8> {
    let header = if protocol == protocol::TCP { 20 } else { 8 };
    let length = u16::try_from(header + payload).unwrap();
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&(20 + length).to_be_bytes());
    let sum = Sum::ZERO.bytes(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut transport = vec![0; usize::from(length)];
    transport[..4].copy_from_slice(&[0x10, 0, 0x10, 1]);
    let at = if protocol == protocol::TCP {
        transport[12..14].copy_from_slice(&[0x50, 0x10]);
        16
    } else {
        transport[4..6].copy_from_slice(&length.to_be_bytes());
        6
    };
    let tuple = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], protocol, 0, 0);
    let sum = Sum::ZERO.pseudo_header(&tuple, length.into()).bytes(&transport).checksum();
    transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    [&to, &[2, 0, 0, 0, 0, 1][..], tag, &[8, 0], &ip, &transport].concat()
}

/// Filters, stripping and checksum results, as set before the port was stopped and started again.
#[test]
fn what_was_set_stays_over_a_restart() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let directory = tempfile::tempdir().expect("a directory");
    let input = directory.path().join("in.pcap");
    let added = [2, 0, 0, 0, 0, 0xa];
    let (vlan5, vlan6): (&[u8], &[u8]) = (&[0x81, 0, 0, 5], &[0x81, 0, 0, 6]);
    let mut broken = frame(OWN, &[], protocol::UDP, 30);
    *broken.last_mut().unwrap() ^= 1;
    let wanted = [
        frame(OWN, &[], protocol::UDP, 30),
        broken,
        frame(added, &[], protocol::TCP, 31),
        frame([1, 0, 0x5e, 0, 0, 1], &[], protocol::UDP, 30),
        frame(OWN, vlan5, protocol::UDP, 30),
    ];
    let unwanted = [
        frame([2, 0, 0, 0, 0, 0xb], &[], protocol::UDP, 30),
        frame([2, 0, 0, 0, 0, 0xc], &[], protocol::UDP, 30),
        frame([1, 0, 0x5e, 0, 0, 2], &[], protocol::UDP, 30),
        frame(OWN, vlan6, protocol::UDP, 30),
    ];
    fs::write(&input, capture(&[&wanted[..], &unwanted].concat())).expect("write the input");
    let device = format!("net_eswitch0,uplink=pcap:{},profile=unlimited", input.display());
    let options =
        ["--no-flush-rx", "--enable-rx-cksum", "--enable-hw-vlan-strip", "--enable-hw-vlan-filter"];
    let mut testpmd = Testpmd::start(&card, &device, &options);
    let drop = "flow create 0 ingress pattern eth / end actions drop / end";
    testpmd.expect(drop, "Flow rule #0 created");
    for line in [
        "set promisc all off",
        "mac_addr set 0 02:00:00:00:00:09",
        "mac_addr add 0 02:00:00:00:00:0a",
        "mac_addr add 0 02:00:00:00:00:0c",
        "mac_addr remove 0 02:00:00:00:00:0c",
        "mcast_addr add 0 01:00:5e:00:00:01",
        "rx_vlan add 5 0",
        "port config mtu 0 1400",
        "port stop 0",
        "port start 0",
    ] {
        testpmd.command(line);
    }
    testpmd.expect("show port info 0", "MTU: 1400");
    // Rules alone are gone with the stop: this one would have dropped everything.
    testpmd.command("set verbose 1");
    testpmd.command("set fwd rxonly");
    let mut output = testpmd.command("start");
    std::thread::sleep(std::time::Duration::from_secs(1));
    output += &testpmd.command("stop");
    assert_eq!(testpmd.statistic(0, "software_rx_packets"), wanted.len() as u64, "{output}");
    assert_eq!(testpmd.statistic(0, "filtered"), unwanted.len() as u64, "{output}");
    for (words, count) in [
        ("RTE_MBUF_F_RX_IP_CKSUM_GOOD", wanted.len()),
        ("RTE_MBUF_F_RX_L4_CKSUM_GOOD", wanted.len() - 1),
        ("RTE_MBUF_F_RX_VLAN_STRIPPED", 1),
        ("VLAN tci=0x5", 1),
        ("hw ptype: L2_ETHER L3_IPV4_EXT_UNKNOWN L4_UDP", 3),
        ("hw ptype: L2_ETHER L3_IPV4_EXT_UNKNOWN L4_TCP", 1),
    ] {
        assert_eq!(output.matches(words).count(), count, "{words} in\n{output}");
    }
    testpmd.quit();
}

/// Checksums and segments that the application leaves to the card.
#[test]
fn the_card_completes_what_is_sent() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let directory = tempfile::tempdir().expect("a directory");
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    let sent = [frame(OWN, &[], protocol::UDP, 31), frame(OWN, &[], protocol::TCP, 2500)];
    fs::write(&input, capture(&sent)).expect("write the input");
    let device = format!(
        "net_eswitch0,vfs=1,representor=vf0,uplink=pcap:{},vf0=pcap::{}",
        input.display(),
        output.display()
    );
    let mut testpmd = Testpmd::start(&card, &device, &["--no-flush-rx", "--mbuf-size=4096"]);
    for line in [
        "port stop 1",
        "csum set ip hw 1",
        "csum set udp hw 1",
        "csum set tcp hw 1",
        "tso set 1000 1",
        "port start 1",
        "set fwd csum",
        "start",
    ] {
        let output = testpmd.command(line);
        assert!(!output.contains("not supported"), "{line}: {output}");
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    testpmd.command("stop");
    testpmd.quit();
    let frames = frames_of(&fs::read(&output).expect("read the output"));
    let lengths: Vec<usize> = frames.iter().map(Vec::len).collect();
    assert_eq!(lengths, [14 + 28 + 31, 54 + 1000, 54 + 1000, 54 + 500]);
    for frame in &frames {
        // Only with an intact header checksum.
        let Ok(Network::Ip(ip)) = packet::parse(frame).map(|parsed| parsed.network) else {
            panic!("not IP: {frame:02x?}")
        };
        assert!(matches!(ip.transport, Transport::Udp | Transport::Tcp(_)));
        let covered = &frame[ip.transport_offset.into()..ip.end.into()];
        let length = u32::try_from(covered.len()).unwrap();
        assert!(Sum::ZERO.pseudo_header(&ip.tuple, length).bytes(covered).is_valid());
    }
}

/// The application is told when the link changes, and may set it down itself.
#[test]
fn changes_of_the_link_are_reported() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let mut testpmd = Testpmd::start(&card, "net_eswitch0,uplink=peer:cable", &[]);
    testpmd.expect("show port summary 0", "down");
    testpmd.command("port attach net_eswitch1,uplink=peer:cable");
    testpmd.until("show port summary 0", "Port 0: link state change event");
    testpmd.expect("show port summary 0", "up");
    testpmd.command("set link-down port 0");
    testpmd.expect("show port summary 0", "down");
    testpmd.command("set link-up port 0");
    testpmd.expect("show port summary 0", "up");
    testpmd.quit();
}

/// Queues and how frames are spread over them.
#[test]
fn queues_and_the_redirection_table() {
    let Some(_turn) = turn() else { return };
    let card = Namespace::new("card");
    let options = ["--no-flush-rx", "--rxq=4", "--txq=4", "--rxd=256", "--rss-ip"];
    let device = "net_eswitch0,vfs=1,representor=vf0,uplink=gen:[flows=200]";
    let mut testpmd = Testpmd::start(&card, device, &options);
    testpmd.expect("show rxq info 0 1", "Number of RXDs: 256");
    testpmd.expect("show rxq info 0 1", "Burst mode: Scalar");
    testpmd.expect("show port info 0", "Redirection table size: 512");
    // testpmd's command line holds the masks of 128 entries and no more.
    let show = "show port 0 rss reta 512 (0xff,0xff,0x0,0x0,0x0,0x0,0x0,0xff)";
    let table = testpmd.expect(show, "hash index=449, queue=1");
    assert!(table.contains("hash index=6, queue=2"), "{table}");
    testpmd.command("port config 0 rss reta (6,3)");
    testpmd.expect(show, "hash index=6, queue=3");
    let key = "6d5a".repeat(20);
    testpmd.command(&format!("port config 0 rss-hash-key ipv4 {key}"));
    testpmd.expect("show port 0 rss-hash key", &key.to_uppercase());
    testpmd.command("set fwd rxonly");
    testpmd.command("start");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let output = testpmd.command("stop");
    for queue in 0..4 {
        let stream = format!("RX Port= 0/Queue= {queue} ");
        let stream =
            output.split(&stream).nth(1).unwrap_or_else(|| panic!("no {stream}: {output}"));
        let packets = stream.split("RX-packets: ").nth(1).and_then(|rest| rest.split(' ').next());
        assert!(packets.is_some_and(|packets| packets.parse::<u64>().unwrap() > 0), "{output}");
    }
    testpmd.quit();
}
