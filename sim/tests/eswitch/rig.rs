//! Frames, rules and a switch to try them on.

use std::net::{Ipv4Addr, Ipv6Addr};

use packet::Frame;
use packet::checksum::Sum;
use rte_flow::{
    Action, Attributes, Domain, Eth, EthdevPort, Ipv4, Item, Match, Profile, Rule, Tcp, Udp, Vxlan,
};
use sim::eswitch::{
    Eswitch, FlowConfig, Ingress, PortConfig, PortRole, RuleId, Time, Trace, Verdict,
};

/// The ethdev port of the uplink.
pub const UPLINK: u16 = 0;
/// The ethdev port of VF 0.
pub const VF0: u16 = 1;
/// The ethdev port of VF 1.
pub const VF1: u16 = 2;

/// Room before and after the frame.
const ROOM: usize = 256;

pub fn profile(name: &str) -> Profile {
    Profile::named(name).expect("a built-in profile")
}

/// An uplink and two VFs, all started.
pub fn switch_of(profile: Profile) -> Eswitch {
    let mut switch = stopped_switch_of(profile);
    for port in [UPLINK, VF0, VF1] {
        switch.start(port).expect("a port");
    }
    switch
}

pub fn stopped_switch_of(profile: Profile) -> Eswitch {
    let ports = [
        PortConfig { id: UPLINK, role: PortRole::Uplink, mtu: 1500 },
        PortConfig { id: VF0, role: PortRole::Vf(0), mtu: 1500 },
        PortConfig { id: VF1, role: PortRole::Vf(1), mtu: 1500 },
    ];
    Eswitch::new(profile, &ports).expect("three ports")
}

/// Queues of these sizes, and objects enough for anything.
pub fn engine(queues: &[u32]) -> FlowConfig {
    FlowConfig {
        queues: queues.to_vec(),
        counters: 1000,
        ages: 1000,
        meters: 1000,
        connections: 1000,
        strict_queues: false,
    }
}

pub fn switch() -> Eswitch {
    switch_of(profile("unlimited"))
}

pub fn rule(group: u32, priority: u32, pattern: &[Item], actions: &[Action]) -> Rule {
    Rule {
        attributes: Attributes { group, priority, domain: Domain::Transfer },
        pattern: pattern.to_vec(),
        actions: actions.to_vec(),
    }
}

pub fn in_domain(domain: Domain, rule: Rule) -> Rule {
    Rule { attributes: Attributes { domain, ..rule.attributes }, ..rule }
}

pub fn add(switch: &mut Eswitch, port: u16, rule: &Rule) -> RuleId {
    switch.create(port, rule, Time::ZERO).expect("the rule is accepted").rule
}

pub fn from_entity(port: u16) -> Item {
    Item::RepresentedPort(Match::of(EthdevPort { port_id: port }))
}

pub fn from_software(port: u16) -> Item {
    Item::PortRepresentor(Match::of(EthdevPort { port_id: port }))
}

pub fn eth() -> Item {
    Item::Eth(Match::<Eth>::default())
}

pub fn ipv4() -> Item {
    Item::Ipv4(Match::<Ipv4>::default())
}

pub fn tcp() -> Item {
    Item::Tcp(Match::<Tcp>::default())
}

pub fn udp() -> Item {
    Item::Udp(Match::<Udp>::default())
}

pub fn vxlan() -> Item {
    Item::Vxlan(Match::<Vxlan>::default())
}

/// Sends a frame through the switch; returns where it ends and what it then is.
pub fn send(switch: &mut Eswitch, from: Ingress, frame: &[u8]) -> (Verdict, Vec<u8>) {
    send_at(switch, Time::ZERO, from, frame, &mut Trace::default())
}

pub fn send_at(
    switch: &mut Eswitch,
    now: Time,
    from: Ingress,
    frame: &[u8],
    trace: &mut Trace,
) -> (Verdict, Vec<u8>) {
    let mut buffer = vec![0xa5; ROOM + frame.len() + ROOM];
    buffer[ROOM..ROOM + frame.len()].copy_from_slice(frame);
    let mut frame = Frame::new(&mut buffer, ROOM, ROOM + frame.len()).expect("it fits");
    let verdict = switch.process(now, from, &mut frame, trace);
    (verdict, frame.bytes().to_vec())
}

pub const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const DESTINATION: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub const SOURCE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub const DESTINATION6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
pub const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// An Ethernet frame.
pub fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&MACS[..], &ether_type.to_be_bytes(), payload].concat()
}

/// The same frame with a VLAN tag.
pub fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12);
    [macs, &[0x81, 0], &tci.to_be_bytes(), rest].concat()
}

/// An IPv4 packet in a frame.
pub fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header.extend(SOURCE.octets());
    header.extend(DESTINATION.octets());
    let sum = Sum::ZERO.bytes(&header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    frame(0x0800, &header)
}

/// An IPv6 packet in a frame.
pub fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header.extend(SOURCE6.octets());
    header.extend(DESTINATION6.octets());
    header.extend(payload);
    frame(0x86dd, &header)
}

/// A TCP segment with a zero checksum.
pub fn tcp_segment(source: u16, destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// A UDP datagram with a zero checksum.
pub fn udp_datagram(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// Fills in the transport checksum of a frame without VLAN, options and extension headers.
pub fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let (addresses, protocol, at) = match frame[12] {
        0x08 => (26..34, frame[23], 34),
        _ => (22..54, frame[20], 54),
    };
    let place = match protocol {
        6 => 16,
        17 => 6,
        _ => 2,
    };
    frame[at + place..at + place + 2].fill(0);
    let segment = &frame[at..];
    let mut sum = Sum::ZERO.bytes(segment);
    if protocol != 1 {
        let pseudo = sum.bytes(&frame[addresses]).u16(u16::from(protocol));
        sum = pseudo.u32(segment.len() as u32);
    }
    let field = if protocol == 17 { sum.udp_checksum() } else { sum.checksum() };
    frame[at + place..at + place + 2].copy_from_slice(&field.to_be_bytes());
    frame
}

/// A whole TCP packet over IPv4.
pub fn tcp4(source: u16, destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    with_checksum(v4(6, &tcp_segment(source, destination, flags, payload)))
}

/// A whole UDP packet over IPv4.
pub fn udp4(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    with_checksum(v4(17, &udp_datagram(source, destination, payload)))
}

/// A frame inside VXLAN over IPv4, without UDP checksum.
pub fn in_vxlan(vni: u32, inner: &[u8]) -> Vec<u8> {
    let mut payload = vec![8, 0, 0, 0];
    payload.extend((vni << 8).to_be_bytes());
    payload.extend(inner);
    v4(17, &udp_datagram(50_000, 4789, &payload))
}
