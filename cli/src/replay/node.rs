//! A node in virtual time: the datapath and, where connections are offloaded, the NIC in front of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dpu_app::datapath::conntrack::{Offload, WhySoftware};
use dpu_app::datapath::effects::{Effect, Effects};
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{ConnectionHandle, FlowDirection, Incoming, Outcome, Port, Shard, Time};
use dpu_app::offload::{News, Wish};
use model::decision::DropReason;
use model::snapshot::Snapshot;
use packet::Frame;
use verify::Dump;

use super::event::{Carrier, Event, EventKind, Flow};
use super::hardware::{Carried, Hardware};
use super::input::Arrival;
use super::output::{Departure, Output};

/// Room before a frame, and for a frame at least, as the daemon's packet buffers have them.
const HEADROOM: usize = 128;
const DATA_ROOM: usize = 2048;

/// What the shard's hash tables are seeded with: nothing that can be seen depends on it.
const SEED: u64 = 0;

/// A node in virtual time, and what it did so far.
pub struct Node {
    shard: Shard,
    snapshot: Arc<Snapshot>,
    hardware: Option<Hardware>,
    /// The connections that were said to be in hardware.
    offloaded: HashSet<ConnectionHandle>,
    time: Time,
    effects: Effects,
    /// The connections there are, as they are shown: an interface may be gone before its connections.
    flows: HashMap<ConnectionHandle, Flow>,
    buffer: Vec<u8>,
    output: Output,
}

impl Node {
    /// A node that starts at time 0 with this snapshot.
    pub fn new(settings: Settings, snapshot: Arc<Snapshot>, hardware: Option<Hardware>) -> Self {
        let mut node = Self {
            shard: Shard::new(settings, SEED, Time::ZERO),
            snapshot,
            hardware,
            offloaded: HashSet::new(),
            time: Time::ZERO,
            effects: Effects::default(),
            flows: HashMap::new(),
            buffer: Vec::new(),
            output: Output::default(),
        };
        node.settle(Time::ZERO);
        node
    }

    /// Another snapshot holds from now on; what it no longer allows leaves at once.
    pub fn change(&mut self, now: Time, snapshot: Arc<Snapshot>) {
        self.advance(now);
        self.snapshot = snapshot;
        if let Some(hardware) = &mut self.hardware {
            hardware.change(Arc::clone(&self.snapshot), &self.shard);
        }
        self.shard.sweep(now, &self.snapshot, u32::MAX, &mut self.effects);
        self.settle(now);
    }

    /// A packet arrives.
    pub fn packet(&mut self, arrival: &Arrival<'_>) {
        let Arrival { number: packet, time, port, frame: bytes } = *arrival;
        self.advance(time);

        self.buffer.clear();
        self.buffer.resize(HEADROOM, 0);
        self.buffer.extend_from_slice(bytes);
        let end = self.buffer.len();
        self.buffer.resize(end.max(HEADROOM + DATA_ROOM), 0);
        let Some(mut frame) = Frame::new(&mut self.buffer, HEADROOM, end) else { return };
        let carried =
            self.hardware.as_mut().map(|hardware| hardware.packet(time, port, &mut frame));
        let (outcome, sent) = match carried {
            Some(Carried::Forwarded(out)) => {
                let frame = frame.bytes().to_vec();
                self.output.departures.push(Departure { time, port: out, frame });
                self.settle(time);
                self.event(time, EventKind::Forward { port, packet, out, path: Carrier::Hardware });
                return;
            }
            Some(Carried::Oversize) => (Outcome::Drop(DropReason::TooBig), 0..0),
            Some(Carried::Lost) => (Outcome::Consumed, 0..0),
            Some(Carried::Missed(_)) | None => {
                let missed = match carried {
                    Some(Carried::Missed(represented)) => represented,
                    _ => port,
                };
                let mut packet = [Incoming::new(missed, frame)];
                self.shard.process(time, &self.snapshot, &mut packet, &mut self.effects);
                let [Incoming { outcome, frame, .. }] = packet;
                (outcome, frame.start()..frame.end())
            }
        };

        self.settle(time);
        let (event, out) = match outcome {
            Outcome::Forward { port: out } => {
                (Some(EventKind::Forward { port, packet, out, path: Carrier::Software }), Some(out))
            }
            Outcome::Reply { port: out } => (Some(EventKind::Reply { port, packet }), Some(out)),
            Outcome::DropAndReply { reason, port: out } => {
                self.event(time, EventKind::Drop { port, packet, reason });
                (Some(EventKind::Reply { port, packet }), Some(out))
            }
            Outcome::Drop(reason) => (Some(EventKind::Drop { port, packet, reason }), None),
            Outcome::Consumed => (None, None),
        };
        if let Some(kind) = event {
            self.event(time, kind);
        }
        if let Some(port) = out {
            let frame = self.buffer.get(sent).unwrap_or_default().to_vec();
            self.output.departures.push(Departure { time, port, frame });
        }
    }

    /// What came of it all.
    pub fn finish(self) -> (Output, Option<Dump>) {
        let rules = self.hardware.as_ref().map(|hardware| hardware.dump(&self.shard));
        (self.output, rules)
    }

    /// Lets time pass: what expires until then, expires, and the NIC does what it is asked.
    fn advance(&mut self, now: Time) {
        while let Some(time) = self.next_time()
            && time < now
        {
            self.pass(time.max(self.time));
        }
        self.pass(now);
    }

    /// When something happens next without a packet. Without a NIC nobody sees when the end of a connection is noticed.
    fn next_time(&self) -> Option<Time> {
        let hardware = self.hardware.as_ref()?;
        hardware.next_time().into_iter().chain(self.shard.next_time()).min()
    }

    fn pass(&mut self, now: Time) {
        self.time = now;
        self.shard.advance(now, usize::MAX, &mut self.effects);
        self.settle(now);
    }

    /// Records what the datapath did, and lets the NIC follow it, until neither has more to say.
    fn settle(&mut self, now: Time) {
        self.record_effects(now);
        let Some(hardware) = &mut self.hardware else { return };
        hardware.run(now, &mut self.shard);
        for notice in hardware.take_notices() {
            let Some(flow) = self.flows.get(&notice.connection) else { continue };
            let kind = match &notice.news {
                News::InHardware if self.is_carried(notice.connection) => {
                    if !self.offloaded.insert(notice.connection) {
                        continue;
                    }
                    EventKind::FlowOffloaded(flow.clone())
                }
                News::InSoftware(why) => {
                    self.offloaded.remove(&notice.connection);
                    EventKind::FlowNotOffloaded { flow: flow.clone(), reason: why.name() }
                }
                News::InHardware | News::Carried(_) | News::Watched => continue,
            };
            self.output.events.push(Event { time: now, kind });
        }
    }

    /// Whether the NIC carries all of a connection that is to be carried by now.
    fn is_carried(&self, connection: ConnectionHandle) -> bool {
        self.shard.connection(connection).is_some_and(|connection| {
            FlowDirection::ALL.iter().all(|direction| match connection.offload().get(*direction) {
                Offload::Hardware => true,
                Offload::Pending => false,
                Offload::Software(why) => !why.is_managers(),
            })
        })
    }

    fn event(&mut self, time: Time, kind: EventKind) {
        self.output.events.push(Event { time, kind });
    }

    fn record_effects(&mut self, now: Time) {
        let effects: Vec<Effect> = self.effects.drain().collect();
        for effect in effects {
            if let Some(hardware) = &mut self.hardware {
                for wish in Wish::of(&effect, &self.shard).collect::<Vec<_>>() {
                    wish.note(now, &mut self.shard);
                    hardware.wish(&wish);
                }
            }
            match effect {
                Effect::FlowCreated { connection, key } => {
                    let name = self
                        .snapshot
                        .interface(key.zone.interface())
                        .map_or("", |interface| interface.name.as_str());
                    let flow = Flow::new(name, &key.tuple);
                    self.flows.insert(connection, flow.clone());
                    let kind = EventKind::FlowCreated(flow.clone());
                    self.output.events.push(Event { time: now, kind });
                    self.record_never_offloaded(now, connection, flow);
                }
                Effect::FlowRemoved { connection, reason, at, .. } => {
                    self.offloaded.remove(&connection);
                    if let Some(flow) = self.flows.remove(&connection) {
                        let kind = EventKind::FlowRemoved { flow, reason };
                        self.output.events.push(Event { time: at, kind });
                    }
                }
                // What only the offload manager cares for.
                Effect::DecisionChanged { .. }
                | Effect::EligibleForOffload { .. }
                | Effect::Bypassed { .. }
                | Effect::WithdrawDirection { .. }
                | Effect::Withdraw { .. } => {}
            }
        }
        for solicitation in self.effects.drain_solicitations() {
            let frame = solicitation.frame().to_vec();
            self.output.departures.push(Departure { time: now, port: Port::Uplink, frame });
        }
    }

    /// Says of a connection of a protocol that is tracked in software only that it is.
    fn record_never_offloaded(&mut self, time: Time, connection: ConnectionHandle, flow: Flow) {
        let never = Offload::Software(WhySoftware::Protocol);
        let is_never = self
            .shard
            .connection(connection)
            .is_some_and(|connection| *connection.offload().get(FlowDirection::Forward) == never);
        if self.hardware.is_some() && is_never {
            let kind = EventKind::FlowNotOffloaded { flow, reason: WhySoftware::Protocol.name() };
            self.output.events.push(Event { time, kind });
        }
    }
}
