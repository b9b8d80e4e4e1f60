//! Packets at random, with what rules must see of them: headers are described once, and both the bytes and the items follow.

use proptest::collection::vec;
use proptest::prelude::*;
use rte_flow::{
    ArpEthIpv4, Esp, Eth, Geneve, Gre, GreKey, Icmp, Icmp6, Ipv4, Ipv6, Ipv6Extensions,
    Ipv6FragExt, Item, Match, Nvgre, Sctp, Tcp, U24, Udp, Vlan, Vxlan, VxlanGpe,
};

use crate::rig::{
    DESTINATION, DESTINATION6, MACS, SOURCE, SOURCE6, frame, tagged, tcp_segment, udp_datagram, v4,
    v6,
};

/// A frame.
#[derive(Debug, Clone)]
pub struct Headers {
    /// The VLAN tags, the outermost first.
    tags: Vec<u16>,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Arp { operation: u16 },
    Ip(Ip),
}

#[derive(Debug, Clone)]
struct Ip {
    v6: bool,
    payload: Payload,
}

#[derive(Debug, Clone)]
enum Payload {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
    },
    Udp {
        source: u16,
        destination: u16,
    },
    Sctp {
        source: u16,
        destination: u16,
        tag: u32,
    },
    Icmp {
        kind: u8,
    },
    Esp {
        spi: u32,
    },
    /// The offset with its flags, and a number.
    Fragment {
        offset: u16,
        identification: u32,
    },
    Tunnel(Tunnel, Box<Inner>),
}

#[derive(Debug, Clone)]
enum Inner {
    Ethernet(Headers),
    Ip(Ip),
}

#[derive(Debug, Clone, Copy)]
enum Tunnel {
    Vxlan,
    VxlanGpe,
    Geneve { options: u8 },
    Gre { checksum: bool, key: Option<u32>, sequence: bool },
    IpInIp,
}

/// What items see of a packet.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The headers of the outer stack, and the tunnel's.
    pub outer: Vec<Item>,
    /// Those inside the tunnel.
    pub inner: Vec<Item>,
    /// The packet inside is IP directly in IP.
    pub is_ip_in_ip: bool,
}

const VNI: u32 = 0x00_1234;
const BRIDGED: u16 = 0x6558;

impl Headers {
    pub fn frame(&self) -> Vec<u8> {
        self.build().0
    }

    pub fn seen(&self) -> Seen {
        self.build().1
    }

    fn build(&self) -> (Vec<u8>, Seen) {
        let (ether_type, packet, above) = match &self.content {
            Content::Arp { operation } => (0x0806, arp(*operation), Seen::of(arp_item(*operation))),
            Content::Ip(ip) => ip.build(),
        };
        let (mut dst, mut src) = ([0; 6], [0; 6]);
        dst.copy_from_slice(&MACS[..6]);
        src.copy_from_slice(&MACS[6..]);
        let has_vlan = !self.tags.is_empty();
        let mut seen = Seen::of(Item::Eth(Match::of(Eth { dst, src, ether_type, has_vlan })));
        for (index, tci) in self.tags.iter().enumerate() {
            let has_more_vlan = index + 1 < self.tags.len();
            // The parser steps over the tags: each has the type that follows them all.
            let vlan = Vlan { tci: *tci, inner_type: ether_type, has_more_vlan };
            seen.outer.push(Item::Vlan(Match::of(vlan)));
        }
        let plain = frame(ether_type, &packet);
        let bytes = self.tags.iter().rev().fold(plain, |frame, tci| tagged(&frame, *tci));
        (bytes, seen.below(above))
    }
}

impl Seen {
    fn of(item: Item) -> Self {
        Self { outer: vec![item], ..Self::default() }
    }

    /// These headers, and those of a packet that they carry in the same stack.
    fn below(mut self, above: Self) -> Self {
        self.outer.extend(above.outer);
        Self { outer: self.outer, ..above }
    }
}

fn arp(operation: u16) -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4];
    arp.extend(operation.to_be_bytes());
    arp.extend(&MACS[6..]);
    arp.extend(SOURCE.octets());
    arp.extend([0; 6]);
    arp.extend(DESTINATION.octets());
    arp
}

fn arp_item(operation: u16) -> Item {
    let mut sender_mac = [0; 6];
    sender_mac.copy_from_slice(&MACS[6..]);
    Item::ArpEthIpv4(Match::of(ArpEthIpv4 {
        hardware_type: 1,
        protocol_type: 0x0800,
        hardware_length: 6,
        protocol_length: 4,
        operation,
        sender_mac,
        sender_ip: SOURCE.to_bits(),
        target_mac: [0; 6],
        target_ip: DESTINATION.to_bits(),
    }))
}

impl Ip {
    /// The packet's `EtherType`, its bytes, and what is seen of it.
    fn build(&self) -> (u16, Vec<u8>, Seen) {
        let (protocol, payload, above) = self.payload.build(self.v6);
        let mut packet = if self.v6 { v6(protocol, &payload) } else { v4(protocol, &payload) };
        if let (Payload::Fragment { offset, .. }, false) = (&self.payload, self.v6) {
            packet[20..22].copy_from_slice(&offset.to_be_bytes());
        }
        let packet = packet.split_off(14);
        let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let item = if self.v6 {
            let extensions = match &self.payload {
                Payload::Fragment { .. } => Ipv6Extensions::FRAGMENT,
                Payload::Esp { .. } => Ipv6Extensions::ESP,
                _ => Ipv6Extensions::empty(),
            };
            Item::Ipv6(Match::of(Ipv6 {
                vtc_flow: 0x6000_0000,
                payload_length: number(4),
                protocol,
                hop_limit: 64,
                src: SOURCE6.to_bits(),
                dst: DESTINATION6.to_bits(),
                extensions,
            }))
        } else {
            Item::Ipv4(Match::of(Ipv4 {
                version_ihl: 0x45,
                total_length: number(2),
                fragment_offset: number(6),
                ttl: 64,
                protocol,
                checksum: number(10),
                src: SOURCE.to_bits(),
                dst: DESTINATION.to_bits(),
                ..Ipv4::default()
            }))
        };
        (if self.v6 { 0x86dd } else { 0x0800 }, packet, Seen::of(item).below(above))
    }
}

impl Payload {
    /// The IP protocol, the bytes, and what is seen of them.
    fn build(&self, is_v6: bool) -> (u8, Vec<u8>, Seen) {
        match self {
            Self::Tcp { source, destination, flags } => {
                let item = Item::Tcp(Match::of(Tcp {
                    src: *source,
                    dst: *destination,
                    sequence: 1,
                    acknowledgment: 2,
                    data_offset: 0x50,
                    flags: *flags,
                    window: 0x1000,
                    ..Tcp::default()
                }));
                (6, tcp_segment(*source, *destination, *flags, b""), Seen::of(item))
            }
            Self::Udp { source, destination } => udp(*source, *destination, b""),
            Self::Sctp { source, destination, tag } => {
                let sctp = Sctp { src: *source, dst: *destination, tag: *tag, checksum: 0 };
                let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                let bytes = [&ports[..], &tag.to_be_bytes(), &[0; 4]].concat();
                (132, bytes, Seen::of(Item::Sctp(Match::of(sctp))))
            }
            Self::Icmp { kind } if is_v6 => {
                let item = Item::Icmp6(Match::of(Icmp6 { icmp_type: *kind, code: 3, checksum: 4 }));
                (58, vec![*kind, 3, 0, 4, 0, 0, 0, 0], Seen::of(item))
            }
            Self::Icmp { kind } => {
                let icmp = Icmp { icmp_type: *kind, identifier: 1, sequence: 2, ..Icmp::default() };
                (1, vec![*kind, 0, 0, 0, 0, 1, 0, 2], Seen::of(Item::Icmp(Match::of(icmp))))
            }
            Self::Esp { spi } => {
                let item = Item::Esp(Match::of(Esp { spi: *spi, sequence: 9 }));
                (50, [spi.to_be_bytes(), 9_u32.to_be_bytes()].concat(), Seen::of(item))
            }
            Self::Fragment { offset, identification } if is_v6 => {
                let mut bytes = vec![17, 0];
                bytes.extend(offset.to_be_bytes());
                bytes.extend(identification.to_be_bytes());
                bytes.extend([0; 8]);
                let item = Item::Ipv6FragExt(Match::of(Ipv6FragExt {
                    next_header: 17,
                    reserved: 0,
                    fragment_data: *offset,
                    identification: *identification,
                }));
                (44, bytes, Seen::of(item))
            }
            // Of its transport header nothing is seen.
            Self::Fragment { .. } => (17, udp_datagram(1, 2, b""), Seen::default()),
            Self::Tunnel(tunnel, inner) => tunnel.build(inner),
        }
    }
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> (u8, Vec<u8>, Seen) {
    let length = 8 + payload.len() as u16;
    let item = Udp { src: source, dst: destination, length, checksum: 0 };
    let datagram = udp_datagram(source, destination, payload);
    (17, datagram, Seen::of(Item::Udp(Match::of(item))))
}

impl Tunnel {
    fn build(self, inner: &Inner) -> (u8, Vec<u8>, Seen) {
        let (ether_type, bytes, above) = match inner {
            Inner::Ethernet(headers) => {
                let (frame, seen) = headers.build();
                (BRIDGED, frame, seen)
            }
            Inner::Ip(ip) => ip.build(),
        };
        let vni = U24::truncate(VNI);
        let vni_bytes = &VNI.to_be_bytes()[1..];
        let over_udp = |port: u16, header: &[u8], item: Item| {
            let (protocol, datagram, mut seen) = udp(50_000, port, &[header, &bytes].concat());
            seen.outer.push(item);
            (protocol, datagram, seen)
        };
        let (protocol, packet, mut seen) = match self {
            Self::Vxlan => {
                let item = Vxlan { flags: 8, vni, ..Vxlan::default() };
                let header = [&[8, 0, 0, 0], vni_bytes, &[0]].concat();
                over_udp(4789, &header, Item::Vxlan(Match::of(item)))
            }
            Self::VxlanGpe => {
                let protocol = match ether_type {
                    0x0800 => 1,
                    0x86dd => 2,
                    _ => 3,
                };
                let item = VxlanGpe { flags: 0x0c, protocol, vni, ..VxlanGpe::default() };
                let header = [&[0x0c, 0, 0, protocol], vni_bytes, &[0]].concat();
                over_udp(4790, &header, Item::VxlanGpe(Match::of(item)))
            }
            Self::Geneve { options } => {
                let item = Geneve {
                    control: u16::from(options) << 8,
                    protocol: ether_type,
                    vni,
                    last_reserved: 0,
                };
                let [high, low] = ether_type.to_be_bytes();
                let mut header = [&[options, 0, high, low], vni_bytes, &[0]].concat();
                // Options without data.
                header.extend([1, 2, 3, 0].repeat(options.into()));
                over_udp(6081, &header, Item::Geneve(Match::of(item)))
            }
            Self::Gre { checksum, key, sequence } => {
                let flag = |is_there: bool, bit: u16| if is_there { bit } else { 0 };
                let flags =
                    flag(checksum, 0x8000) | flag(key.is_some(), 0x2000) | flag(sequence, 0x1000);
                let mut header = [flags.to_be_bytes(), ether_type.to_be_bytes()].concat();
                let gre = Gre { c_rsvd0_ver: flags, protocol: ether_type };
                let mut seen = Seen::of(Item::Gre(Match::of(gre)));
                header.extend([0xaa; 4].repeat(checksum.into()));
                if let Some(value) = key {
                    header.extend(value.to_be_bytes());
                    seen.outer.push(Item::GreKey(Match::of(GreKey { value })));
                    if flags == 0x2000 && ether_type == BRIDGED {
                        seen.outer.push(Item::Nvgre(Match::of(Nvgre {
                            c_k_s_rsvd0_ver: flags,
                            protocol: ether_type,
                            tni: U24::truncate(value >> 8),
                            flow_id: value as u8,
                        })));
                    }
                }
                header.extend([0xbb; 4].repeat(sequence.into()));
                (47, [&header[..], &bytes].concat(), seen)
            }
            Self::IpInIp => {
                let protocol = if ether_type == 0x86dd { 41 } else { 4 };
                (protocol, bytes, Seen { is_ip_in_ip: true, ..Seen::default() })
            }
        };
        seen.inner = above.outer;
        (protocol, packet, seen)
    }
}

fn plain_payload() -> impl Strategy<Value = Payload> {
    let port = || 1..4_u16;
    prop_oneof![
        3 => (port(), port(), 0..4_u8).prop_map(|(source, destination, flags)| Payload::Tcp {
            source,
            destination,
            flags
        }),
        3 => (port(), port()).prop_map(|(source, destination)| Payload::Udp {
            source,
            destination
        }),
        1 => (port(), port(), 0..3_u32).prop_map(|(source, destination, tag)| Payload::Sctp {
            source,
            destination,
            tag
        }),
        1 => (0..3_u8).prop_map(|kind| Payload::Icmp { kind }),
        1 => (0..3_u32).prop_map(|spi| Payload::Esp { spi }),
        1 => (prop::sample::select(vec![0x2000, 1, 0x2001, 8]), 0..3_u32)
            .prop_map(|(offset, identification)| Payload::Fragment { offset, identification }),
    ]
}

fn ethernet(ip: impl Strategy<Value = Ip>) -> impl Strategy<Value = Headers> {
    let content = prop_oneof![
        12 => ip.prop_map(Content::Ip),
        1 => (1..3_u16).prop_map(|operation| Content::Arp { operation }),
    ];
    let tags = prop_oneof![
        4 => Just(Vec::new()),
        2 => vec(0..3_u16, 1),
        1 => vec(0..3_u16, 2),
    ];
    (tags, content).prop_map(|(tags, content)| Headers { tags, content })
}

fn tunnel() -> impl Strategy<Value = Payload> {
    let plain = || (any::<bool>(), plain_payload()).prop_map(|(v6, payload)| Ip { v6, payload });
    let inner =
        || prop_oneof![ethernet(plain()).prop_map(Inner::Ethernet), plain().prop_map(Inner::Ip)];
    let gre = (any::<bool>(), prop::option::of(0x1ff..0x202_u32), any::<bool>());
    let gre = gre.prop_map(|(checksum, key, sequence)| Tunnel::Gre { checksum, key, sequence });
    let nvgre = (0x1ff..0x202_u32).prop_map(|key| Tunnel::Gre {
        checksum: false,
        key: Some(key),
        sequence: false,
    });
    let either = prop_oneof![
        Just(Tunnel::VxlanGpe),
        (0..3_u8).prop_map(|options| Tunnel::Geneve { options }),
        gre,
        nvgre,
    ];
    prop_oneof![
        1 => ethernet(plain())
            .prop_map(|inner| Payload::Tunnel(Tunnel::Vxlan, Box::new(Inner::Ethernet(inner)))),
        1 => plain().prop_map(|inner| Payload::Tunnel(Tunnel::IpInIp, Box::new(Inner::Ip(inner)))),
        3 => (either, inner()).prop_map(|(tunnel, inner)| Payload::Tunnel(tunnel, Box::new(inner))),
    ]
}

/// Frames whose numbers are few, so that rules made from other frames hit them.
pub fn headers() -> impl Strategy<Value = Headers> {
    let payload = prop_oneof![plain_payload(), tunnel()];
    ethernet((any::<bool>(), payload).prop_map(|(v6, payload)| Ip { v6, payload }))
}
