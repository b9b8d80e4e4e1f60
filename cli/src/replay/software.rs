//! The datapath as replay's executor: every packet in software.

use std::collections::HashMap;

use dpu_app::datapath::effects::{Effect, Effects};
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{ConnectionHandle, Outcome, Port, Shard, Time};
use model::snapshot::Snapshot;
use packet::Frame;

use super::event::{Carrier, Event, EventKind, Flow};
use super::input::Arrival;
use super::output::{Departure, Output};

/// Room before a frame, and for a frame at least, as the daemon's packet buffers have them.
const HEADROOM: usize = 128;
const DATA_ROOM: usize = 2048;

/// What the shard's hash tables are seeded with: nothing that can be seen depends on it.
const SEED: u64 = 0;

/// A node's datapath in virtual time, and what it did so far.
pub struct Software {
    shard: Shard,
    snapshot: Snapshot,
    effects: Effects,
    /// The connections there are, as they are shown: an interface may be gone before its connections.
    flows: HashMap<ConnectionHandle, Flow>,
    buffer: Vec<u8>,
    output: Output,
}

impl Software {
    /// A datapath that starts at time 0 with this snapshot.
    pub fn new(settings: Settings, snapshot: Snapshot) -> Self {
        Self {
            shard: Shard::new(settings, SEED, Time::ZERO),
            snapshot,
            effects: Effects::default(),
            flows: HashMap::new(),
            buffer: Vec::new(),
            output: Output::default(),
        }
    }

    /// Another snapshot holds from now on; what it no longer allows leaves at once.
    pub fn change(&mut self, now: Time, snapshot: Snapshot) {
        self.advance(now);
        self.snapshot = snapshot;
        self.shard.sweep(now, &self.snapshot, u32::MAX, &mut self.effects);
        self.record_effects(now);
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
        let outcome = self.shard.process(time, &self.snapshot, port, &mut frame, &mut self.effects);
        let sent = frame.start()..frame.end();

        self.record_effects(time);
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
    pub fn finish(self) -> Output {
        self.output
    }

    /// Lets time pass: what expires until then, expires.
    fn advance(&mut self, now: Time) {
        self.shard.advance(now, usize::MAX, &mut self.effects);
        self.record_effects(now);
    }

    fn event(&mut self, time: Time, kind: EventKind) {
        self.output.events.push(Event { time, kind });
    }

    fn record_effects(&mut self, now: Time) {
        for effect in self.effects.drain() {
            match effect {
                Effect::FlowCreated { connection, key } => {
                    let name = self
                        .snapshot
                        .interface(key.zone.interface())
                        .map_or("", |interface| interface.name.as_str());
                    let flow = Flow::new(name, &key.tuple);
                    self.flows.insert(connection, flow.clone());
                    let kind = EventKind::FlowCreated(flow);
                    self.output.events.push(Event { time: now, kind });
                }
                Effect::FlowRemoved { connection, reason, at, .. } => {
                    if let Some(flow) = self.flows.remove(&connection) {
                        let kind = EventKind::FlowRemoved { flow, reason };
                        self.output.events.push(Event { time: at, kind });
                    }
                }
                // What only the offload manager cares for.
                Effect::DecisionChanged { .. }
                | Effect::EligibleForOffload { .. }
                | Effect::Withdraw { .. } => {}
            }
        }
        for solicitation in self.effects.drain_solicitations() {
            let frame = solicitation.frame().to_vec();
            self.output.departures.push(Departure { time: now, port: Port::Uplink, frame });
        }
    }
}
