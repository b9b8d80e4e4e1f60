//! A node with VMs whose traffic is policed, encapsulated to other nodes and delivered among themselves.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use arrayvec::ArrayVec;
use dpu_app::datapath::effects::Effects;
use dpu_app::datapath::settings::{ConnectionLimits, Settings};
use dpu_app::datapath::{Incoming, Outcome, Port, Shard, Time, outer_header};
use miette::{IntoDiagnostic, Result, miette};
use model::intent::{Intent, Source};
use model::snapshot::{Location, Snapshot, VfIndex};
use packet::checksum::Sum;
use packet::{Frame, Mac};

/// VMs of this node.
const LOCAL: u32 = 4;
/// VMs of other nodes.
const REMOTE: u32 = 64;
/// Other nodes.
const NODES: u32 = 16;
/// Flows between the same two VMs have source ports from here on.
const FIRST_PORT: u32 = 1024;
/// Packets that are processed at a time at most.
pub const BURST: usize = 32;
/// The room of a frame's buffer, and where the frame begins in it.
const ROOM: usize = 256;
const START: usize = 128;

/// What flows carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP, with these control bits.
    Tcp(u8),
}

/// Which way frames go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a VM of this node to one of another.
    Encapsulate,
    /// The answers to that.
    Decapsulate,
    /// From a VM of this node to another of it.
    Local,
}

/// Frames in a row, without room around them, 60 bytes each inside their tunnel (64 on a wire, with FCS).
pub struct Frames {
    bytes: Vec<u8>,
    length: usize,
    ports: Vec<Port>,
}

impl Frames {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// In another order, the same one each time; as many as are received at a time come from one port.
    #[must_use]
    pub fn shuffled(&self) -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let mut order: Vec<usize> = (0..self.len()).collect();
        random.shuffle(&mut order);
        order.sort_by_key(|place| self.ports.get(*place));
        let mut bursts: Vec<&[usize]> = order.chunks(BURST).collect();
        random.shuffle(&mut bursts);
        let order = bursts.concat();
        let bytes = order.iter().flat_map(|place| self.frame(*place)).copied().collect();
        let ports = order.iter().filter_map(|place| self.ports.get(*place)).copied().collect();
        Self { bytes, ports, length: self.length }
    }

    fn frame(&self, place: usize) -> &[u8] {
        self.bytes.get(place * self.length..(place + 1) * self.length).unwrap_or_default()
    }
}

/// A shard, what it knows of intent, and buffers for packets.
pub struct World {
    /// The shard.
    pub shard: Shard,
    /// Intent.
    pub snapshot: Snapshot,
    /// The clock.
    pub now: Time,
    effects: Effects,
    buffers: Vec<[u8; ROOM]>,
}

impl World {
    /// Without connections, with room for so many.
    ///
    /// # Errors
    /// When that room is not possible.
    pub fn new(connections: u32) -> Result<Self> {
        let text = intent();
        let intent = Intent::parse(&[Source { name: "bench.yaml", bytes: text.as_bytes() }])
            .map_err(|errors| miette!("{errors:?}"))?;
        let snapshot = Snapshot::compile(&intent, "here", None).into_diagnostic()?;
        let connections = ConnectionLimits {
            table_size: connections.try_into().into_diagnostic()?,
            per_interface: NonZeroU32::MAX,
        };
        let settings = Settings { connections, ..Settings::default() };
        Ok(Self {
            shard: Shard::new(settings, 0x5eed, Time::ZERO),
            snapshot,
            now: Time::ZERO,
            effects: Effects::with_capacity(4096),
            buffers: vec![[0; ROOM]; BURST],
        })
    }

    /// A frame of each of the flows `first..first + count`.
    #[must_use]
    pub fn frames(
        &self,
        direction: Direction,
        transport: Transport,
        first: u32,
        count: u32,
    ) -> Frames {
        let mut frames = Frames { bytes: Vec::new(), length: 0, ports: Vec::new() };
        for flow in first..first.saturating_add(count) {
            let (frame, port) = self.frame(direction, transport, flow);
            frames.length = frame.len();
            frames.bytes.extend(frame);
            frames.ports.push(port);
        }
        frames
    }

    fn frame(&self, direction: Direction, transport: Transport, flow: u32) -> (Vec<u8>, Port) {
        let sender = flow % LOCAL;
        let here = (local_address(sender), local_mac(sender));
        let remote = flow / LOCAL % REMOTE;
        let (there, port) = match direction {
            Direction::Local => {
                let other = (sender + 1) % LOCAL;
                ((local_address(other), local_mac(other)), flow / LOCAL)
            }
            _ => ((remote_address(remote), remote_mac(remote)), flow / LOCAL / REMOTE),
        };
        let ports = ((FIRST_PORT + port) as u16, 80);
        if direction != Direction::Decapsulate {
            let frame = frame(here, there, transport, ports);
            return (frame, Port::Vf(VfIndex(sender as u16)));
        }
        let frame = frame(there, here, transport, (ports.1, ports.0));
        (self.outside(remote, &frame), Port::Uplink)
    }

    /// A frame in the tunnel from a remote VM's node.
    fn outside(&self, remote: u32, frame: &[u8]) -> Vec<u8> {
        let mapping = self
            .snapshot
            .vpcs()
            .find_map(|(_, vpc)| vpc.mappings.lookup(remote_address(remote).into()).copied());
        let header = mapping.and_then(|mapping| match mapping.location {
            Location::Remote(tunnel) => {
                let mut tunnel = self.snapshot.tunnel(tunnel)?.clone();
                let mut node = (*self.snapshot.node).clone();
                std::mem::swap(&mut tunnel.vtep, &mut node.vtep);
                outer_header(&node, &tunnel, node.mac)
            }
            Location::Local(_) => None,
        });
        let mut buffer = [0; ROOM];
        let end = START + frame.len();
        buffer[START..end].copy_from_slice(frame);
        let mut outside = Frame::new(&mut buffer, START, end).expect("in the buffer");
        header.expect("a tunnel there").push(&mut outside, 50_000).expect("room for headers");
        outside.bytes().to_vec()
    }

    /// Puts each of the frames into a buffer and does something with it; how often that succeeded.
    pub fn each(&mut self, frames: &Frames, mut work: impl FnMut(&mut Frame) -> bool) -> usize {
        let buffers = &mut self.buffers;
        let places = buffers.len();
        let mut done = 0;
        for place in 0..frames.len() {
            let bytes = frames.frame(place);
            let end = START + bytes.len();
            let buffer = &mut buffers[place % places];
            buffer[START..end].copy_from_slice(bytes);
            if let Some(mut frame) = Frame::new(buffer, START, end) {
                done += usize::from(work(&mut frame));
            }
        }
        done
    }

    /// Sends each of the frames through the shard once, `burst` at a time (32 at most); how many went on.
    pub fn pass(&mut self, frames: &Frames, burst: usize) -> usize {
        let mut forwarded = 0;
        let mut place = 0;
        for ports in frames.ports.chunks(burst) {
            let mut packets = ArrayVec::<_, BURST>::new();
            for (port, buffer) in ports.iter().zip(&mut self.buffers) {
                let bytes = frames.frame(place);
                place += 1;
                let end = START + bytes.len();
                buffer[START..end].copy_from_slice(bytes);
                let frame = Frame::new(buffer, START, end);
                packets.extend(frame.map(|frame| Incoming::new(*port, frame)));
            }
            self.shard.process(self.now, &self.snapshot, &mut packets, &mut self.effects);
            let has_gone_on =
                |packet: &&Incoming<'_>| matches!(packet.outcome, Outcome::Forward { .. });
            forwarded += packets.iter().filter(has_gone_on).count();
            self.effects.drain().for_each(drop);
            self.effects.drain_solicitations().for_each(drop);
        }
        forwarded
    }
}

fn local_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a01_0000 + 10 + number)
}

fn local_mac(number: u32) -> Mac {
    Mac([2, 0, 0, 1, 0, number as u8])
}

fn remote_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a02_0000 + 10 + number)
}

fn remote_mac(number: u32) -> Mac {
    Mac([2, 0, 0, 2, 0, number as u8])
}

/// A 60-byte frame.
fn frame(
    (source, source_mac): (Ipv4Addr, Mac),
    (destination, destination_mac): (Ipv4Addr, Mac),
    transport: Transport,
    ports: (u16, u16),
) -> Vec<u8> {
    let mut bytes = [0; 60];
    bytes[..6].copy_from_slice(&destination_mac.0);
    bytes[6..12].copy_from_slice(&source_mac.0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    let protocol = if transport == Transport::Udp { 17 } else { 6 };
    let header = &mut bytes[14..34];
    header[..12].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = Sum::ZERO.bytes(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes[34..36].copy_from_slice(&ports.0.to_be_bytes());
    bytes[36..38].copy_from_slice(&ports.1.to_be_bytes());
    match transport {
        Transport::Udp => bytes[38..40].copy_from_slice(&26_u16.to_be_bytes()),
        Transport::Tcp(flags) => bytes[46..48].copy_from_slice(&[0x50, flags]),
    }
    bytes.to_vec()
}

/// Every VM is in two groups with rules by address, group and port; subnets of their own for both sides.
fn intent() -> String {
    let mut text = String::from(
        "apiVersion: penstock.dev/v1alpha1
kind: Vpc
metadata: {name: red}
spec: {vni: 100, cidrs: [10.0.0.0/8]}
---
apiVersion: penstock.dev/v1alpha1
kind: RouteTable
metadata: {name: routes}
spec:
  vpc: red
  routes:
    - {destination: 10.9.0.0/16, via: {blackhole: {}}}
    - {destination: 198.51.100.0/24, via: {interface: local0}}
---
apiVersion: penstock.dev/v1alpha1
kind: Subnet
metadata: {name: here}
spec: {vpc: red, cidrs: [10.1.0.0/16], routeTable: routes}
---
apiVersion: penstock.dev/v1alpha1
kind: Subnet
metadata: {name: there}
spec: {vpc: red, cidrs: [10.2.0.0/16], routeTable: routes}
---
apiVersion: penstock.dev/v1alpha1
kind: SecurityGroup
metadata: {name: members}
spec:
  vpc: red
  ingress:
    - {protocol: icmp}
    - {protocol: tcp, ports: 22, from: {cidr: 10.3.0.0/16}}
  egress:
    - {protocol: icmp}
    - {protocol: udp, ports: 53, to: {cidr: 10.1.0.2/32}}
---
apiVersion: penstock.dev/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec:
  vpc: red
  ingress:
    - {protocol: tcp, ports: 80, from: {securityGroup: web}}
    - {protocol: udp, ports: \"80-90\", from: {securityGroup: web}}
    - {protocol: tcp, ports: 443, from: {cidr: 10.0.0.0/8}}
  egress:
    - {protocol: tcp, ports: 80, to: {securityGroup: web}}
    - {protocol: udp, ports: \"80-90\", to: {securityGroup: web}}
",
    );
    let mut neighbors = String::new();
    for node in 0..NODES {
        let _ = write!(
            text,
            "---\napiVersion: penstock.dev/v1alpha1\nkind: Node\nmetadata: {{name: there{node}}}\nspec: \
             {{vtep: 192.0.2.{}, mac: \"02:00:00:00:02:{node:02x}\", underlay: {{prefix: 192.0.2.0/24}}}}\n",
            10 + node,
        );
        let _ = write!(neighbors, "192.0.2.{}: \"02:00:00:00:02:{node:02x}\", ", 10 + node);
    }
    let _ = write!(
        text,
        "---\napiVersion: penstock.dev/v1alpha1\nkind: Node\nmetadata: {{name: here}}\nspec: {{vtep: 192.0.2.1, mac: \
         \"02:00:00:00:01:00\", underlay: {{prefix: 192.0.2.0/24, neighbors: {{{}}}}}}}\n",
        neighbors.trim_end_matches(", "),
    );
    let mut interface = |name: &str, subnet: &str, node: &str, vf: u32, mac: Mac, ip: Ipv4Addr| {
        let _ = write!(
            text,
            "---\napiVersion: penstock.dev/v1alpha1\nkind: Interface\nmetadata: {{name: {name}}}\nspec: {{subnet: {subnet}, \
             node: {node}, vf: {vf}, mac: \"{mac}\", addresses: [{ip}], securityGroups: [members, web]}}\n",
        );
    };
    for number in 0..LOCAL {
        let name = format!("local{number}");
        interface(&name, "here", "here", number, local_mac(number), local_address(number));
    }
    for number in 0..REMOTE {
        let (name, node) = (format!("remote{number}"), format!("there{}", number % NODES));
        let mac = remote_mac(number);
        interface(&name, "there", &node, number / NODES, mac, remote_address(number));
    }
    text
}
