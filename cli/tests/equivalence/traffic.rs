//! Sequences of frames and changes: connections that live, and everything that may be wrong with a packet.

use proptest::prelude::*;

use crate::world::{Change, INTERFACES, VNIS, World, change, vf};
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

pub fn flow() -> BoxedStrategy<Flow> {
    let to = prop_oneof![8 => (0..INTERFACES).prop_map(Some), 1 => Just(None)];
    (0..2usize, 0..INTERFACES, to, any::<bool>(), any::<bool>(), 1000..1002u16)
        .prop_map(|(vpc, from, to, v6, tcp, port)| Flow { vpc, from, to, v6, tcp, port })
        .boxed()
}

fn kind() -> BoxedStrategy<Kind> {
    let flags = prop_oneof![
        12 => Just("A"), 4 => Just("PA"), 2 => Just("FA"), 1 => Just("R"), 1 => Just("RA"),
        2 => Just("S"), 1 => Just("SA"), 1 => Just("E"),
    ];
    let length = prop_oneof![
        12 => 0..64u16,
        1 => 1380..1480u16,
    ];
    prop_oneof![
        16 => (flags, length).prop_map(|(flags, length)| Kind::Data { flags, length }),
        1 => (0..2u16).prop_map(|more| Kind::Full { more }),
        2 => (prop::sample::select(vec![0u16, 48, 96]), any::<bool>())
            .prop_map(|(offset, more)| Kind::Fragment { offset, more }),
        1 => any::<bool>().prop_map(|reply| Kind::Echo { reply }),
        1 => any::<bool>().prop_map(|other| Kind::Message { other }),
        1 => (0..5u8).prop_map(|code| Kind::Error { code }),
        1 => prop::sample::select(vec![47u8, 132, 6, 17, 1, 58, 0]).prop_map(Kind::Protocol),
        1 => prop::sample::select(vec![
            Quoted::Echo, Quoted::LaterFragment, Quoted::Error, Quoted::Unknown,
        ]).prop_map(Kind::Quote),
        1 => Just(Kind::Dhcp),
        2 => prop::sample::select(vec![
            Asked::Neighbor, Asked::Gateway, Asked::Probe, Asked::Router, Asked::Ping, Asked::Broadcast,
        ]).prop_map(Kind::Ask),
    ]
    .boxed()
}

fn twist() -> BoxedStrategy<Twist> {
    prop_oneof![
        1 => any::<bool>().prop_map(|inner| Twist::Vlan { inner }),
        4 => (0..4u8, 0..4u8).prop_map(|(inner, outer)| Twist::Ecn { inner, outer }),
        1 => (0..3u8).prop_map(Twist::Ttl),
        1 => Just(Twist::Options),
        2 => prop::sample::select(vec![
            "hopopts()", "destopts()", "routing()", "fragment(id=3)", "ah(data=0x000000000000000000000000)",
        ]).prop_map(Twist::Extension),
        2 => prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))]
            .prop_map(|(source, destination)| Twist::Mapped { source, destination }),
        1 => Just(Twist::SourceMac),
        1 => prop::sample::select(vec![
            "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:98", "02:00:00:00:00:00",
        ]).prop_map(Twist::DestinationMac),
        2 => (0..3usize).prop_map(Twist::Vtep),
        2 => prop::sample::select(vec![100u32, 200, 300, 0]).prop_map(Twist::Vni),
        1 => prop::sample::select(vec![0u8, 0x0c, 0x88, 0xff]).prop_map(Twist::VxlanFlags),
        1 => any::<u16>().prop_map(Twist::OuterChecksum),
        1 => Just(Twist::OuterFragment),
        1 => Just(Twist::OuterDestination),
        1 => Just(Twist::OuterOptions),
        1 => prop::sample::select(vec![60u16, 128, 1600]).prop_map(Twist::Pad),
        1 => (0..120u16).prop_map(Twist::Cut),
        8 => (0..960u16, any::<bool>()).prop_map(|(bit, mend)| Twist::Flip { bit, mend }),
    ]
    .boxed()
}

/// The notation takes each argument once.
fn without_repeats(mut twists: Vec<Twist>) -> Vec<Twist> {
    twists.dedup_by_key(|twist| std::mem::discriminant(twist));
    twists
}

fn gap() -> BoxedStrategy<u64> {
    const SECOND: u64 = 1_000_000_000;
    let timeout = prop::sample::select(vec![10, 30, 60, 120, 180, 7440]);
    prop_oneof![
        6 => Just(0),
        8 => Just(1_000_000),
        3 => Just(SECOND),
        1 => timeout.clone().prop_map(|t| t * SECOND),
        1 => timeout.prop_map(|t| t * SECOND - 1),
    ]
    .boxed()
}

/// Steps over a few flows, so that packets meet connections that are there.
pub fn steps() -> BoxedStrategy<Vec<Timed>> {
    prop::collection::vec(flow(), 2..4)
        .prop_flat_map(|flows| {
            let flow = prop::sample::select(flows);
            let other = || prop_oneof![8 => Just(None), 1 => (0..INTERFACES).prop_map(Some)];
            let twists = prop_oneof![
                3 => Just(Vec::new()),
                2 => prop::collection::vec(twist(), 1..3).prop_map(without_repeats),
            ];
            let stale = prop_oneof![4 => Just(false), 1 => Just(true)];
            let one = (flow.clone(), any::<bool>(), other(), other(), stale, kind(), twists)
                .prop_map(|(flow, reverse, by, at, stale, kind, twists)| {
                    Step::Packet(Packet { flow, reverse, by, at, stale, kind, twists })
                });
            let step = prop_oneof![
                4 => flow.clone().prop_map(Step::Open),
                2 => (flow.clone(), prop::sample::select(vec![End::Fins, End::Reset, End::Silence]))
                    .prop_map(|(flow, end)| Step::Close { flow, end }),
                1 => flow.clone().prop_map(Step::Fragments),
                1 => flow.prop_map(Step::Messages),
                16 => one,
                1 => (1..3usize).prop_map(Step::Neighbor),
                1 => (1..3usize).prop_map(Step::Question),
                2 => change().prop_map(Step::Change),
            ];
            let timed = (gap(), step).prop_map(|(gap, step)| Timed { gap, step });
            prop::collection::vec(timed, 4..40)
        })
        .boxed()
}

/// Connections with nothing odd about them, sooner or later packet upon packet, never silent for long.
pub fn calm_steps() -> BoxedStrategy<Vec<Timed>> {
    let flow = (any::<bool>(), any::<bool>(), 0..INTERFACES, 0..INTERFACES, 1000..1004u16);
    let flow = flow.prop_map(|(v6, tcp, from, to, port)| Flow {
        vpc: 0,
        from,
        to: Some(to),
        v6,
        tcp,
        port: port + if tcp { 0 } else { 100 },
    });
    let flow = flow.prop_filter("at least one end is on a", |f| f.from < 2 || f.to < Some(2));
    let gap = || prop::sample::select(vec![0, 1_000, 10_000, 1_000_000, 1_000_000_000]);
    let one = (any::<prop::sample::Index>(), any::<bool>(), gap());
    (prop::collection::vec(flow, 1..4), prop::collection::vec(one, 1..40))
        .prop_map(|(flows, packets)| {
            let open = flows.iter().map(|flow| Timed { gap: 0, step: Step::Open(*flow) });
            let packets = packets.into_iter().map(|(flow, reverse, gap)| {
                let packet = Packet::plain(*flow.get(&flows), reverse, "A");
                Timed { gap, step: Step::Packet(packet) }
            });
            open.chain(packets).collect()
        })
        .boxed()
}

/// Few TCP connections, and anything that may be in the way of control bits, up to timeouts and past them.
pub fn tcp_lives() -> BoxedStrategy<Vec<Timed>> {
    let flow = (flow(), 0..INTERFACES).prop_map(|(flow, to)| Flow {
        to: Some(to),
        tcp: true,
        port: 1000,
        ..flow
    });
    let flags = prop::sample::select(vec![
        "S", "S", "SA", "SA", "A", "A", "A", "A", "PA", "FA", "FA", "R", "RA", "F", "SF", "FSA",
        "SR", "P",
    ]);
    let packet = (any::<prop::sample::Index>(), any::<bool>(), flags, gap());
    (prop::collection::vec(flow, 1..3), prop::collection::vec(packet, 4..40))
        .prop_map(|(flows, packets)| {
            // One that nobody has answered yet, and one that is established.
            let open = flows.iter().enumerate().map(|(number, flow)| {
                let step = match number {
                    0 => Step::Packet(Packet::plain(*flow, false, "S")),
                    _ => Step::Open(*flow),
                };
                Timed { gap: 0, step }
            });
            let packets = packets.into_iter().map(|(flow, reverse, flags, gap)| {
                let packet = Packet::plain(*flow.get(&flows), reverse, flags);
                Timed { gap, step: Step::Packet(packet) }
            });
            open.chain(packets).collect()
        })
        .boxed()
}

/// The same steps after other times, up to timeouts and past them.
pub fn with_silences(steps: BoxedStrategy<Vec<Timed>>) -> BoxedStrategy<Vec<Timed>> {
    (steps, prop::collection::vec(gap(), 1..40))
        .prop_map(|(mut steps, gaps)| {
            steps.iter_mut().zip(gaps).for_each(|(timed, gap)| timed.gap = gap);
            steps
        })
        .boxed()
}

/// The same steps outside the windows in which NICs of other profiles differ (`docs/reference/offload-differences.md`): nothing
/// comes while rules are on their way or a connection may linger in hardware, and nothing differs by what rules cannot match.
pub fn patient(steps: Vec<Timed>) -> Vec<Timed> {
    const MILLISECOND: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MILLISECOND;
    steps
        .into_iter()
        // Between pieces of a packet lie 30 s, which are a timeout.
        .filter(|timed| !matches!(timed.step, Step::Fragments(_)))
        .map(|Timed { gap, mut step }| {
            let gap = match gap {
                0..SECOND => MILLISECOND,
                SECOND => SECOND,
                // The sums of these are no timeout, nor a few seconds more than one.
                gap if gap < 200 * SECOND => 200 * SECOND,
                _ => 8000 * SECOND,
            };
            if let Step::Packet(packet) = &mut step {
                match &mut packet.kind {
                    Kind::Data { length, .. } => *length %= 1000,
                    kind @ Kind::Full { .. } => *kind = Kind::Data { flags: "A", length: 8 },
                    _ => {}
                }
                packet.twists.retain(|twist| match twist {
                    Twist::VxlanFlags(flags) => flags & 8 != 0,
                    Twist::Flip { bit, .. } => bit % 8 != 4,
                    Twist::Pad(length) => *length < 1280,
                    _ => true,
                });
            }
            Timed { gap, step }
        })
        .collect()
}

/// Connections that are in hardware, then changes, and packets of them, all within moments.
pub fn steps_amid_changes() -> BoxedStrategy<Vec<Timed>> {
    let flows = prop::collection::vec((flow(), any::<bool>(), any::<bool>()), 1..12);
    let changes = prop::collection::vec((change(), any::<prop::sample::Index>()), 1..4);
    (flows, changes, 1..400u64)
        .prop_map(|(flows, changes, gap)| {
            let flows = flows.into_iter().zip(2000..);
            let flows =
                flows.map(|((flow, reverse, stale), port)| (Flow { port, ..flow }, reverse, stale));
            let flows: Vec<_> = flows.collect();
            let open =
                flows.iter().map(|(flow, ..)| Timed { gap: 1_000_000, step: Step::Open(*flow) });
            let packets = flows.iter().map(|(flow, reverse, stale)| {
                let packet = Packet { stale: *stale, ..Packet::plain(*flow, *reverse, "A") };
                Timed { gap, step: Step::Packet(packet) }
            });
            let mut amid: Vec<Timed> = packets.collect();
            for (change, at) in changes {
                amid.insert(at.index(amid.len()), Timed { gap, step: Step::Change(change) });
            }
            amid[0].gap = 1_000_000;
            open.chain(amid).collect()
        })
        .boxed()
}

/// Connections each of which has a packet in every round, and changes between the rounds that forbid none of them. No
/// silence is as long as a timeout.
pub fn rounds() -> BoxedStrategy<Vec<Timed>> {
    const MILLISECOND: u64 = 1_000_000;
    let flow = (any::<bool>(), any::<bool>(), 0..2usize, 1..INTERFACES);
    let flow = flow.prop_map(|(v6, tcp, from, distance)| Flow {
        vpc: 0,
        from,
        to: Some((from + distance) % INTERFACES),
        v6,
        tcp,
        port: 0,
    });
    let change = prop_oneof![
        (0..3u8).prop_map(|dscp| Change::Dscp(0, dscp)),
        (0..INTERFACES).prop_map(|i| Change::Mac(0, i)),
        (2..INTERFACES, 1..3usize).prop_map(|(i, node)| Change::Move(0, i, node)),
        (0..2usize, 4..6u8).prop_map(|(n, last)| Change::Vtep(n, last)),
        (0..2usize, 1..3u8).prop_map(|(n, mac)| Change::Neighbor(n, Some(mac))),
        Just(Change::SwapVteps),
    ];
    let gap = || prop::sample::select(vec![1, 50, 900, 1_050, 2_100, 89_900]);
    let round = (gap(), gap(), prop::option::of(change), any::<u8>());
    (prop::collection::vec(flow, 1..4), prop::collection::vec(round, 1..8))
        .prop_map(|(mut flows, rounds)| {
            for (flow, port) in flows.iter_mut().zip(1000..) {
                flow.port = port;
            }
            let now = |step| Timed { gap: MILLISECOND, step };
            let mut steps: Vec<Timed> = flows.iter().map(|flow| now(Step::Open(*flow))).collect();
            for (before, after, change, reverse) in rounds {
                if let Some(change) = change {
                    steps.push(Timed { gap: before * MILLISECOND, step: Step::Change(change) });
                }
                let packets = flows.iter().enumerate().map(|(number, flow)| {
                    now(Step::Packet(Packet::plain(*flow, reverse >> number & 1 == 1, "A")))
                });
                let first = steps.len();
                steps.extend(packets);
                steps[first].gap = after * MILLISECOND;
            }
            steps
        })
        .boxed()
}
