mod arp;
mod dhcpv4;
mod dhcpv6;
mod echo;
mod nd;
mod robustness;

use model::decision::DropReason;
use model::snapshot::Snapshot;
use packet::{Fragment, Mac, Network};

use super::{Response, respond};
use crate::datapath::anti_spoof;
use crate::datapath::test_frames::{
    envelope, icmp, interface, ip, parsed, snapshot, udp, with_frame,
};

const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
const C: Mac = Mac([2, 0, 0, 0, 0, 0x0c]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0x0d]);
const GATEWAY: Mac = Mac([2, 0x50, 0x4e, 0x53, 0, 1]);

const UNANSWERED: Response = Response::Drop(DropReason::Broadcast);
const MALFORMED: Response = Response::Drop(DropReason::Malformed);

/// Sends a frame from the VM of an interface: anti-spoofing, then the responders. An answer is checked for what all
/// answers have in common.
fn send(snapshot: &Snapshot, name: &str, bytes: &[u8]) -> (Response, Vec<u8>) {
    let interface = interface(snapshot, name);
    let sent = parsed(bytes);
    if let Err(reason) = anti_spoof::check(&interface, &sent, bytes) {
        return (Response::Drop(reason), bytes.to_vec());
    }
    let (response, after) = with_frame(bytes, |frame| respond(snapshot, &interface, &sent, frame));
    match response {
        Response::NotForUs => assert_eq!(after, bytes, "changed, but it goes on"),
        Response::Drop(_) => {}
        Response::Answered => {
            let answer = parsed(&after);
            assert_eq!(answer.destination_mac, interface.mac);
            assert!(!answer.source_mac.is_group());
            if let Network::Ip(_) = answer.network {
                let (packet, _) = ip(&after);
                assert!(packet.plain && packet.fragment == Fragment::None);
                if packet.tuple.source().is_ipv4() {
                    assert!(packet.dont_fragment);
                    assert_eq!(after[18..20], [0, 0], "identification");
                }
            }
        }
    }
    (response, after)
}

/// Like [`send`]; the frame must be answered.
fn ask(snapshot: &Snapshot, name: &str, bytes: &[u8]) -> Vec<u8> {
    let (response, after) = send(snapshot, name, bytes);
    assert_eq!(response, Response::Answered);
    after
}

#[test]
fn other_packets_go_on_unless_they_are_for_many() {
    let world = snapshot();
    let sent = |destination: &str, ports| {
        let source = if destination.contains(':') { "2001:db8:0:1::a" } else { "10.0.1.10" };
        send(&world, "a", &udp(&envelope(A, source, destination, 64), ports, b"data")).0
    };
    for destination in
        ["255.255.255.255", "10.0.1.255", "224.0.0.1", "239.1.2.3", "ff02::1", "ff0e::1"]
    {
        assert_eq!(sent(destination, (5000, 5000)), UNANSWERED, "{destination}");
    }
    // All of these are in frames to the broadcast MAC, which does not count.
    for destination in
        ["10.0.1.1", "10.0.1.20", "10.0.2.255", "10.0.1.0", "8.8.8.8", "2001:db8:0:1::b", "fe80::1"]
    {
        assert_eq!(sent(destination, (5000, 5000)), Response::NotForUs, "{destination}");
    }
    // Ports of DHCP, but not a place where its server is.
    for (destination, ports) in [
        ("10.0.1.20", (68, 67)),
        ("10.0.2.1", (68, 67)),
        ("2001:db8:0:1::b", (546, 547)),
        ("10.0.1.1", (67, 68)),
    ] {
        assert_eq!(sent(destination, ports), Response::NotForUs, "{destination}");
    }
    let mut tcp = udp(&envelope(A, "10.0.1.10", "10.0.1.1", 64), (68, 67), &[0; 20]);
    tcp[23] = 50;
    let sum = u16::from_be_bytes([tcp[24], tcp[25]]) - 33;
    tcp[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(send(&world, "a", &tcp).0, Response::NotForUs);
}
