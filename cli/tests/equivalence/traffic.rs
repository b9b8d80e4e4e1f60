//! What may happen to a node: connections that live, and everything that may be wrong with a packet.

use crate::world::{Change, VNIS, World, vf};
use testbed::notation::packet;

/// Something that happens so long after what was before.
#[derive(Debug, Clone)]
pub struct Timed {
    /// Nanoseconds.
    pub gap: u64,
    pub step: Step,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// A handshake, or a question and its answer.
    Open(Flow),
    /// The same, and then its end.
    Close {
        flow: Flow,
        end: End,
    },
    /// The same, and then the pieces of a packet, the last of them 30 s after the first.
    Fragments(Flow),
    /// Two ICMP messages of different types.
    Messages(Flow),
    Packet(Packet),
    /// An answer of an underlay neighbour that a may have asked for.
    Neighbor(usize),
    /// A question of an underlay neighbour for a's MAC.
    Question(usize),
    Change(Change),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// Both sides send a FIN.
    Fins,
    /// The responder sends a RST.
    Reset,
    /// The initiator sends another SYN, and then nothing comes for longer than any timeout.
    Silence,
}

#[derive(Debug, Clone, Copy)]
pub struct Flow {
    pub vpc: usize,
    pub from: usize,
    /// An interface, or a host outside.
    pub to: Option<usize>,
    pub v6: bool,
    pub tcp: bool,
    pub port: u16,
}

#[derive(Debug, Clone)]
pub struct Packet {
    pub flow: Flow,
    pub reverse: bool,
    /// Another sender than the flow's.
    pub by: Option<usize>,
    /// On the wire: another receiver than the flow's.
    pub at: Option<usize>,
    /// With the addresses of the first world.
    pub stale: bool,
    pub kind: Kind,
    pub twists: Vec<Twist>,
}

#[derive(Debug, Clone)]
pub enum Kind {
    /// Of the flow, TCP with these flags.
    Data { flags: &'static str, length: u16 },
    /// The same, as long as the VPC's MTU allows, and so much longer.
    Full { more: u16 },
    /// The first or another fragment of the flow's packet.
    Fragment { offset: u16, more: bool },
    /// An ICMP echo between the flow's ends.
    Echo { reply: bool },
    /// An ICMP message that is neither echo nor error, of one type or another.
    Message { other: bool },
    /// An ICMP error about the flow's other direction.
    Error { code: u8 },
    /// Another protocol between the flow's ends.
    Protocol(u8),
    /// An ICMP error about something else.
    Quote(Quoted),
    /// A DHCP request.
    Dhcp,
    /// A question to the network.
    Ask(Asked),
}

/// What an ICMP error quotes that is no packet of the flow.
#[derive(Debug, Clone, Copy)]
pub enum Quoted {
    Echo,
    LaterFragment,
    Error,
    Unknown,
}

/// What a VM asks its network.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// The MAC of the flow's other end.
    Neighbor,
    /// The MAC of the gateway.
    Gateway,
    /// Whether another has its own address.
    Probe,
    /// Which routers there are; with IPv4, an echo from the gateway.
    Router,
    /// An echo from the gateway.
    Ping,
    /// Anything of everybody.
    Broadcast,
}

/// What is odd about a packet.
#[derive(Debug, Clone)]
pub enum Twist {
    Vlan {
        inner: bool,
    },
    Ecn {
        inner: u8,
        outer: u8,
    },
    Ttl(u8),
    Options,
    Extension(&'static str),
    /// IPv6 from or to an address that looks like the IPv4 one (`::ffff:a.b.c.d`).
    Mapped {
        source: bool,
        destination: bool,
    },
    SourceMac,
    DestinationMac(&'static str),
    Vtep(usize),
    Vni(u32),
    VxlanFlags(u8),
    OuterChecksum(u16),
    OuterFragment,
    OuterDestination,
    OuterOptions,
    Pad(u16),
    Cut(u16),
    /// A bit of the frame is another, and IPv4 header checksums are made right again or not.
    Flip {
        bit: u16,
        mend: bool,
    },
}

const GATEWAY: &str = "02:50:4e:53:00:01";

/// A frame and the port at which it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    pub port: String,
    pub frame: Vec<u8>,
}

impl Packet {
    pub fn plain(flow: Flow, reverse: bool, flags: &'static str) -> Self {
        Self {
            flow,
            reverse,
            by: None,
            at: None,
            stale: false,
            kind: Kind::Data { flags, length: 8 },
            twists: Vec::new(),
        }
    }

    /// The frame in `world`; `first` is where flows began.
    pub fn build(&self, world: &World, first: &World) -> Arriving {
        let Flow { vpc, from, to, v6, .. } = self.flow;
        let (sender, receiver) = if self.reverse { (to, Some(from)) } else { (Some(from), to) };
        let by = self.by.or(sender).unwrap_or(0);
        let node = world.vpcs[vpc].interfaces[by].node;
        let inner_macs = if node == 0 {
            (GATEWAY.to_owned(), world.mac(vpc, by))
        } else {
            (world.mac(vpc, self.at.or(receiver).unwrap_or(0)), world.mac(vpc, by))
        };
        let addressed = if self.stale { first } else { world };
        let (mut source, mut destination) =
            (addressed.address(vpc, sender, v6), addressed.address(vpc, receiver, v6));
        for twist in &self.twists {
            let Twist::Mapped { source: from, destination: to } = twist else { continue };
            let mapped = |interface| format!("::ffff:{}", addressed.address(vpc, interface, false));
            if v6 && *from {
                source = mapped(sender);
            }
            if v6 && *to {
                destination = mapped(receiver);
            }
        }
        let inner = match self.kind {
            Kind::Ask(asked) => self.question(asked, by % 2, &inner_macs, &source, &destination),
            Kind::Full { more } => {
                let headers = match (self.flow.v6, self.flow.tcp) {
                    (true, true) => 60,
                    (true, false) => 48,
                    (false, true) => 40,
                    (false, false) => 28,
                };
                let length = world.mtu(vpc) - headers + more;
                let kind = Kind::Data { flags: "A", length };
                Self { kind, ..self.clone() }.inner(&inner_macs, &source, &destination)
            }
            _ => self.inner(&inner_macs, &source, &destination),
        };
        let (port, text) = if node == 0 {
            (format!("vf{}", vf(vpc, by)), inner)
        } else {
            ("uplink".to_owned(), format!("{}/{inner}", self.outer(world, node)))
        };
        let mut frame = packet(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        for twist in &self.twists {
            spoil(&mut frame, twist);
        }
        Arriving { port, frame }
    }

    fn outer(&self, world: &World, node: usize) -> String {
        let (mut from, mut vni, mut flags, mut checksum) = (node, VNIS[self.flow.vpc], 8, 0);
        let (mut to, mut ip, mut vlan) = (0, Vec::new(), "");
        let v6 = world.underlay_v6;
        let mut extension: Vec<String> = Vec::new();
        for twist in &self.twists {
            match twist {
                Twist::Vtep(other) => from = *other,
                Twist::Vni(other) => vni = *other,
                Twist::VxlanFlags(other) => flags = *other,
                Twist::OuterChecksum(other) => checksum = *other,
                Twist::Ecn { outer, .. } => ip.push(format!(", ecn={outer}")),
                Twist::OuterDestination => to = 1,
                Twist::OuterFragment if v6 => extension.push("/fragment(id=5, mf)".to_owned()),
                Twist::OuterFragment => ip.push(", mf".to_owned()),
                Twist::OuterOptions if v6 => extension.push("/destopts()".to_owned()),
                Twist::OuterOptions => ip.push(", options=0x01010100".to_owned()),
                Twist::Vlan { inner: false } => vlan = "/vlan(id=7)",
                _ => {}
            }
        }
        let layer = if v6 { "ipv6" } else { "ipv4" };
        let (ip, extension) = (ip.concat(), extension.concat());
        format!(
            "eth(dst={}, src={}){vlan}/{layer}(src={}, dst={}{ip}){extension}\
             /udp(sport=50000, dport=4789, checksum={checksum})/vxlan(vni={vni}, flags={flags})",
            world.node_mac(0),
            world.node_mac(node),
            world.vtep(from),
            world.vtep(to),
        )
    }

    fn inner(&self, macs: &(String, String), source: &str, destination: &str) -> String {
        let (mut to, mut by, mut vlan) = (macs.0.as_str(), macs.1.as_str(), "");
        let (mut ip, mut extension) = (Vec::new(), Vec::new());
        let v6 = self.flow.v6;
        for twist in &self.twists {
            match twist {
                Twist::Vlan { inner: true } => vlan = "/vlan(id=5)",
                Twist::Ecn { inner, .. } => ip.push(format!(", ecn={inner}")),
                Twist::Ttl(ttl) if v6 => ip.push(format!(", hops={ttl}")),
                Twist::Ttl(ttl) => ip.push(format!(", ttl={ttl}")),
                Twist::Options if !v6 => ip.push(", options=0x01010100".to_owned()),
                Twist::Extension(layer) if v6 && !matches!(self.kind, Kind::Protocol(_)) => {
                    extension.push(format!("/{layer}"));
                }
                Twist::SourceMac => by = "02:00:00:00:00:99",
                Twist::DestinationMac(mac) => to = mac,
                _ => {}
            }
        }
        let (transport, more) = self.payload(v6, source, destination);
        if let (Kind::Fragment { offset, more }, true) = (&self.kind, v6) {
            let mf = if *more { ", mf" } else { "" };
            extension.push(format!("/fragment(id=9, offset={offset}{mf})"));
        } else {
            ip.push(more);
        }
        let layer = if v6 { "ipv6" } else { "ipv4" };
        let (ip, extension) = (ip.concat(), extension.concat());
        let eth = format!("eth(dst={to}, src={by}){vlan}");
        format!("{eth}/{layer}(src={source}, dst={destination}{ip}){extension}{transport}")
    }

    fn question(
        &self,
        asked: Asked,
        subnet: usize,
        (to, by): &(String, String),
        source: &str,
        destination: &str,
    ) -> String {
        let first = 8 * subnet;
        let eth = format!("eth(dst={to}, src={by})");
        let id = self.flow.port;
        if self.flow.v6 {
            let gateway = format!("fd00::{:x}", first + 1);
            let ask = |target: &str| {
                format!(
                    "{eth}/ipv6(src={source}, dst={target}, hops=255)/ns(target={target}, sll={by})"
                )
            };
            return match asked {
                Asked::Neighbor => ask(destination),
                Asked::Gateway => ask(&gateway),
                Asked::Probe => format!(
                    "{eth}/ipv6(src=::, dst=ff02::1:ff00:{}, hops=255)/ns(target={source})",
                    source.rsplit(':').next().unwrap_or_default()
                ),
                Asked::Router => {
                    format!("{eth}/ipv6(src=fe80::9, dst=ff02::2, hops=255)/rs")
                }
                Asked::Ping => format!("{eth}/ipv6(src={source}, dst={gateway})/echo(id={id})"),
                Asked::Broadcast => {
                    format!("{eth}/ipv6(src={source}, dst=ff02::1)/udp(sport={id}, dport=53)")
                }
            };
        }
        let gateway = format!("10.0.0.{}", first + 1);
        let ask = |sender: &str, target: &str| {
            format!("{eth}/arp(op=request, sha={by}, spa={sender}, tpa={target})")
        };
        match asked {
            Asked::Neighbor => ask(source, destination),
            Asked::Gateway => ask(source, &gateway),
            Asked::Probe => ask("0.0.0.0", source),
            Asked::Router | Asked::Ping => {
                format!("{eth}/ipv4(src={source}, dst={gateway})/echo(id={id})")
            }
            Asked::Broadcast => {
                let all = first + 7;
                format!("{eth}/ipv4(src={source}, dst=10.0.0.{all})/udp(sport={id}, dport=53)")
            }
        }
    }

    /// The layers behind the IP header, and further arguments of that.
    fn payload(&self, v6: bool, source: &str, destination: &str) -> (String, String) {
        let transport = |reverse: bool, flags: &str| {
            let (low, high) = (self.flow.port, if self.flow.tcp { 80 } else { 53 });
            let (sport, dport) = if reverse { (high, low) } else { (low, high) };
            if self.flow.tcp {
                format!("tcp(sport={sport}, dport={dport}, flags={flags}, seq=1, ack=1)")
            } else {
                format!("udp(sport={sport}, dport={dport})")
            }
        };
        let none = String::new();
        match &self.kind {
            Kind::Data { flags, length } => {
                (format!("/{}/zeros({length})", transport(self.reverse, flags)), none)
            }
            Kind::Fragment { offset, more } => {
                let range = if *more {
                    format!("{offset}..{}", offset + 48)
                } else {
                    format!("{offset}..")
                };
                let transport = transport(self.reverse, "A");
                let mf = if *more { ", mf" } else { "" };
                (
                    format!("/bytes({range})/{transport}/zeros(200)"),
                    format!(", id=9, offset={offset}{mf}"),
                )
            }
            Kind::Echo { reply } => {
                let kind = if *reply { "echo-reply" } else { "echo" };
                (format!("/{kind}(id={})/zeros(8)", self.flow.port), none)
            }
            Kind::Message { other } => {
                let layer = if v6 { "icmpv6" } else { "icmp" };
                let kind = if v6 { 130 } else { 13 } + if *other { 2 } else { 0 };
                (format!("/{layer}(type={kind})/zeros(16)"), none)
            }
            Kind::Error { code } => {
                let (kind, layer) =
                    if v6 { ("icmpv6(type=1", "ipv6") } else { ("icmp(type=3", "ipv4") };
                let transport = transport(!self.reverse, "A");
                let quoted = format!("{layer}(src={destination}, dst={source})/{transport}");
                (format!("/{kind}, code={code})/{quoted}/zeros(8)"), none)
            }
            Kind::Quote(quoted) => {
                let (error, layer) =
                    if v6 { ("icmpv6(type=1", "ipv6") } else { ("icmp(type=3", "ipv4") };
                let id = self.flow.port;
                let ip = format!("{layer}(src={destination}, dst={source}");
                let quoted = match quoted {
                    Quoted::Echo => format!("{ip})/echo(id={id})"),
                    Quoted::LaterFragment if v6 => {
                        format!("{ip})/fragment(id=9, offset=48, next=17)/zeros(16)")
                    }
                    Quoted::LaterFragment => {
                        format!("{ip}, id=9, offset=48, protocol=17)/zeros(16)")
                    }
                    Quoted::Error => format!("{ip})/{error}, code=1)/{ip})/echo(id={id})"),
                    Quoted::Unknown => format!("{ip})/udp(sport=9, dport={id})"),
                };
                (format!("/{error}, code=3)/{quoted}"), none)
            }
            // Are built otherwise.
            Kind::Ask(_) | Kind::Full { .. } => (none.clone(), none),
            Kind::Protocol(number) => {
                let key = if v6 { "next" } else { "protocol" };
                ("/zeros(24)".to_owned(), format!(", {key}={number}"))
            }
            Kind::Dhcp => {
                let ports = if v6 { (546, 547) } else { (68, 67) };
                let chaddr = "02:00:00:00:00:00";
                let message = if v6 {
                    "dhcp6(type=solicit, xid=1)".to_owned()
                } else {
                    format!("dhcp(xid=1, chaddr={chaddr})/opt(53, u8:1)/end")
                };
                (format!("/udp(sport={}, dport={})/{message}", ports.0, ports.1), none)
            }
        }
    }
}

fn spoil(frame: &mut Vec<u8>, twist: &Twist) {
    match *twist {
        Twist::Pad(length) => frame.resize(frame.len().max(length.into()), 0),
        Twist::Cut(length) => frame.truncate(length.into()),
        Twist::Flip { bit, mend } => {
            if let Some(byte) = frame.get_mut(usize::from(bit / 8)) {
                *byte ^= 0x80 >> (bit % 8);
            }
            if mend {
                mend_checksums(frame);
            }
        }
        _ => {}
    }
}

/// Makes the checksums of the IPv4 headers right: of the outer one, and of one behind it in a tunnel.
pub fn mend_checksums(frame: &mut [u8]) {
    mend_header(frame, 14);
    let inner = match frame.get(12..14) {
        Some([8, 0]) => 14 + 20 + 8 + 8 + 14,
        _ => 14 + 40 + 8 + 8 + 14,
    };
    mend_header(frame, inner);
}

fn mend_header(frame: &mut [u8], at: usize) {
    let is_v4 = frame.get(at - 2..at) == Some(&[8, 0]);
    let words = frame.get(at).map_or(0, |first| usize::from(first & 15));
    let Some(header) = frame.get_mut(at..at + 4 * words).filter(|h| is_v4 && h.len() >= 20) else {
        return;
    };
    header[10..12].fill(0);
    let sum: u32 = header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The answer of b or c to a question of a.
pub fn neighbor_answer(world: &World, node: usize) -> Arriving {
    let (mac, own, ip) = (world.node_mac(node), world.node_mac(0), world.vtep(node));
    let text = if world.underlay_v6 {
        format!(
            "eth(dst={own}, src={mac})/ipv6(src={ip}, dst={}, hops=255)/na(target={ip}, flags=SO, tll={mac})",
            world.vtep(0)
        )
    } else {
        format!(
            "eth(dst={own}, src={mac})/arp(op=reply, sha={mac}, spa={ip}, tha={own}, tpa={})",
            world.vtep(0)
        )
    };
    let frame = packet(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Arriving { port: "uplink".to_owned(), frame }
}

/// A question of b or c for a's MAC.
pub fn neighbor_question(world: &World, node: usize) -> Arriving {
    let (mac, ip, own) = (world.node_mac(node), world.vtep(node), world.vtep(0));
    let text = if world.underlay_v6 {
        format!(
            "eth(dst=33:33:ff:00:00:01, src={mac})/ipv6(src={ip}, dst=ff02::1:ff00:1, hops=255)/ns(target={own}, sll={mac})"
        )
    } else {
        format!(
            "eth(dst=ff:ff:ff:ff:ff:ff, src={mac})/arp(op=request, sha={mac}, spa={ip}, tpa={own})"
        )
    };
    let frame = packet(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Arriving { port: "uplink".to_owned(), frame }
}
