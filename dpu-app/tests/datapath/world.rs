//! Two nodes, `dpu1` and `dpu2`, with the wire between them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use dpu_app::datapath::effects::{Effect, Effects, RemovalReason};
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{Incoming, Outcome, Port, Progress, Shard, Time};
use model::decision::DropReason;
use model::intent::{Intent, Source};
use model::snapshot::{Interface, Snapshot, VfIndex};
use packet::Frame;

pub const INTENT: &str = include_str!("intent.yaml");

/// How a frame ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a VM of this node.
    Delivered { node: usize, vf: u16, frame: Vec<u8> },
    /// At this node, for this reason.
    Dropped { node: usize, reason: DropReason },
    /// Answered to its sender.
    Replied(Vec<u8>),
    /// Dropped with a message to its sender.
    Refused { reason: DropReason, frame: Vec<u8> },
    /// On the wire, to somebody else.
    Wire(Vec<u8>),
    /// Handed to the kernel beside the datapath.
    Kernel(Vec<u8>),
    /// The datapath's own.
    Consumed,
}

impl End {
    /// The reason, when it was dropped without a message.
    pub fn reason(&self) -> Option<DropReason> {
        match self {
            Self::Dropped { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// Where it was delivered.
    pub fn at(&self) -> Option<(usize, u16)> {
        match self {
            Self::Delivered { node, vf, .. } => Some((*node, *vf)),
            _ => None,
        }
    }

    pub fn frame(&self) -> &[u8] {
        match self {
            Self::Delivered { frame, .. }
            | Self::Replied(frame)
            | Self::Wire(frame)
            | Self::Kernel(frame)
            | Self::Refused { frame, .. } => frame,
            other => panic!("no frame: {other:?}"),
        }
    }
}

pub struct Node {
    pub shard: Shard,
    pub snapshot: Snapshot,
    /// All effects so far.
    pub effects: Vec<Effect>,
    /// Frames it sent of its own accord.
    pub solicitations: Vec<Vec<u8>>,
}

pub struct World {
    pub nodes: BTreeMap<usize, Node>,
    pub now: Time,
}

pub fn compile(yaml: &str, node: &str, previous: Option<&Snapshot>) -> Snapshot {
    let intent = Intent::parse(&[Source { name: "intent.yaml", bytes: yaml.as_bytes() }])
        .unwrap_or_else(|errors| panic!("{errors:?}"));
    Snapshot::compile(&intent, node, previous).unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// With small tables.
    pub fn with(mut settings: Settings) -> Self {
        let size = settings.connections.table_size.get().min(4096);
        settings.connections.table_size = size.try_into().unwrap();
        let node = |name| Node {
            shard: Shard::new(settings, 7, Time::ZERO),
            snapshot: compile(INTENT, name, None),
            effects: Vec::new(),
            solicitations: Vec::new(),
        };
        let nodes = [(1, node("dpu1")), (2, node("dpu2"))].into();
        Self { nodes, now: Time::ZERO }
    }

    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        for node in self.nodes.values_mut() {
            let mut effects = Effects::default();
            assert_eq!(node.shard.advance(self.now, usize::MAX, &mut effects), Progress::Done);
            node.effects.extend(effects.drain());
        }
    }

    /// Waits until this many seconds after the start.
    pub fn at(&mut self, seconds: u64) -> &mut Self {
        self.wait(Time(seconds * 1_000_000_000) - self.now);
        self
    }

    /// A VM sends a frame.
    pub fn vm(&mut self, node: usize, vf: u16, frame: &[u8]) -> End {
        self.enter(node, Port::Vf(VfIndex(vf)), frame)
    }

    /// A frame comes from the wire.
    pub fn wire(&mut self, node: usize, frame: &[u8]) -> End {
        self.enter(node, Port::Uplink, frame)
    }

    /// What the node makes of a frame, without passing it on.
    pub fn process(&mut self, at: usize, port: Port, frame: &[u8]) -> (Outcome, Vec<u8>) {
        self.burst(at, &[(port, frame.to_vec())]).remove(0)
    }

    /// The same of several frames at a time.
    pub fn burst(&mut self, at: usize, frames: &[(Port, Vec<u8>)]) -> Vec<(Outcome, Vec<u8>)> {
        let node = self.nodes.get_mut(&at).unwrap();
        let mut buffers: Vec<_> = frames
            .iter()
            .map(|(_, frame)| [&[0xaa; 128], &frame[..], &[0xaa; 1500]].concat())
            .collect();
        let mut packets: Vec<_> = buffers
            .iter_mut()
            .zip(frames)
            .map(|(buffer, (port, frame))| {
                Incoming::new(*port, Frame::new(buffer, 128, 128 + frame.len()).unwrap())
            })
            .collect();
        let mut effects = Effects::default();
        node.shard.process(self.now, &node.snapshot, &mut packets, &mut effects);
        node.effects.extend(effects.drain());
        node.solicitations.extend(effects.drain_solicitations().map(|s| s.frame().to_vec()));
        packets.iter().map(|packet| (packet.outcome, packet.frame.bytes().to_vec())).collect()
    }

    fn enter(&mut self, at: usize, port: Port, frame: &[u8]) -> End {
        let (outcome, frame) = self.process(at, port, frame);
        match outcome {
            Outcome::Drop(reason) => End::Dropped { node: at, reason },
            Outcome::DropAndReply { reason, port: out } => {
                assert_eq!(out, port);
                End::Refused { reason, frame }
            }
            Outcome::Reply { port: out } => {
                assert_eq!(out, port);
                End::Replied(frame)
            }
            Outcome::Consumed => End::Consumed,
            Outcome::Forward { port: Port::Kernel } => End::Kernel(frame),
            Outcome::Forward { port: Port::Vf(vf) } => End::Delivered { node: at, vf: vf.0, frame },
            Outcome::Forward { port: Port::Uplink } => {
                let outer = packet::parse_vxlan(&frame).expect("VXLAN");
                let other = self
                    .nodes
                    .iter()
                    .find(|(_, node)| IpAddr::from(node.snapshot.node.vtep) == outer.destination);
                match other.map(|(number, _)| *number) {
                    Some(number) => self.wire(number, &frame),
                    None => End::Wire(frame),
                }
            }
        }
    }

    /// Both nodes get another intent.
    pub fn apply(&mut self, yaml: &str) {
        for (number, node) in &mut self.nodes {
            let name = format!("dpu{number}");
            node.snapshot = compile(yaml, &name, Some(&node.snapshot));
        }
    }

    /// Both nodes check their connections.
    pub fn sweep(&mut self) {
        for node in self.nodes.values_mut() {
            let mut effects = Effects::default();
            while node.shard.sweep(self.now, &node.snapshot, 2, &mut effects) == Progress::More {}
            node.effects.extend(effects.drain());
        }
    }

    pub fn shard(&mut self, node: usize) -> &mut Shard {
        &mut self.nodes.get_mut(&node).unwrap().shard
    }

    pub fn interface(&self, node: usize, name: &str) -> &Interface {
        self.nodes[&node].snapshot.interfaces.values().find(|i| i.name == name).unwrap()
    }

    /// What was removed at a node since the last call, with seconds of time.
    pub fn removed(&mut self, node: usize) -> Vec<(RemovalReason, u64)> {
        let effects = std::mem::take(&mut self.nodes.get_mut(&node).unwrap().effects);
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::FlowRemoved { reason, at, .. } => {
                    assert_eq!(at.0 % 1_000_000_000, 0, "whole seconds");
                    Some((reason, at.0 / 1_000_000_000))
                }
                _ => None,
            })
            .collect()
    }

    /// A TCP handshake from `a` to `b`; with these ports.
    pub fn handshake(&mut self, ports: (u16, u16)) {
        let (there, back) =
            (super::frames::ip([1, 10], [1, 20]), super::frames::ip([1, 20], [1, 10]));
        assert_eq!(self.vm(1, 0, &there.tcp(ports, "S")).at(), Some((2, 0)));
        assert_eq!(self.vm(2, 0, &back.tcp((ports.1, ports.0), "SA")).at(), Some((1, 0)));
        assert_eq!(self.vm(1, 0, &there.tcp(ports, "A")).at(), Some((2, 0)));
    }
}

pub fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
