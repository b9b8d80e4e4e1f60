//! A world and what happens in it: played with and without offload, compared, and written down as a case.

use std::fmt::Write;
use std::time::Duration;

use cli::pcapng::Writer;
use cli::replay::{Card, Carrier, Event, EventKind, Input, Output, Timeline, replay};
use dpu_app::datapath::settings::Settings;
use dpu_app::datapath::{Port, Time};
use model::intent::Intent;
use serde_json::{Map, Value, json};

use crate::contract::Story;
use crate::event::line;
use crate::traffic::{
    Arriving, End, Flow, Kind, Packet, Step, Timed, neighbor_answer, neighbor_question,
};
use crate::world::{INTERFACES, NODE, VNIS, World};
use testbed::notation::show;

/// Everything of a replay but the profile.
pub struct Scenario {
    first: (Value, Intent),
    later: Vec<(u64, Value, Intent)>,
    packets: Vec<(u64, Arriving)>,
    settings: Settings,
}

impl Scenario {
    /// `None` when the first world is none that intent can describe; changes to such worlds do not happen.
    pub fn new(world: &World, steps: &[Timed], settings: Settings) -> Option<Self> {
        let mut scenario = Self {
            first: (world.objects(), world.intent()?),
            later: Vec::new(),
            packets: Vec::new(),
            settings,
        };
        let (mut now, mut current) = (0, world.clone());
        for Timed { gap, step } in steps {
            now += gap;
            match step {
                Step::Open(flow) => {
                    for packet in opening(*flow) {
                        now += 1_000_000;
                        scenario.packets.push((now, packet.build(&current, world)));
                    }
                }
                Step::Close { flow, end } => {
                    let ends: &[(bool, &'static str)] = match end {
                        End::Fins => &[(false, "FA"), (true, "FA")],
                        End::Reset => &[(true, "R")],
                        End::Silence => &[(false, "S")],
                    };
                    let ends = ends.iter().map(|(side, flags)| Packet::plain(*flow, *side, flags));
                    for packet in opening(*flow).into_iter().chain(ends) {
                        now += 1_000_000;
                        scenario.packets.push((now, packet.build(&current, world)));
                    }
                    if let End::Silence = end {
                        now += 8_000_000_000_000;
                    }
                }
                Step::Messages(flow) => {
                    for other in [false, true] {
                        let kind = Kind::Message { other };
                        let packet = Packet { kind, ..Packet::plain(*flow, false, "") };
                        scenario.packets.push((now, packet.build(&current, world)));
                    }
                }
                Step::Fragments(flow) => {
                    for packet in opening(*flow) {
                        now += 1_000_000;
                        scenario.packets.push((now, packet.build(&current, world)));
                    }
                    for (offset, more, gap) in [(0, true, 0), (48, true, 1), (96, false, 29_999)] {
                        now += gap * 1_000_000;
                        let kind = Kind::Fragment { offset, more };
                        let packet = Packet { kind, ..Packet::plain(*flow, false, "A") };
                        scenario.packets.push((now, packet.build(&current, world)));
                    }
                }
                Step::Packet(packet) => {
                    scenario.packets.push((now, packet.build(&current, world)));
                }
                Step::Neighbor(node) => {
                    scenario.packets.push((now, neighbor_answer(&current, *node)));
                }
                Step::Question(node) => {
                    scenario.packets.push((now, neighbor_question(&current, *node)));
                }
                Step::Change(change) => {
                    let changed = current.changed(change);
                    if let Some(intent) = changed.intent() {
                        scenario.later.push((now, changed.objects(), intent));
                        current = changed;
                    }
                }
            }
        }
        let start = scenario.packets.first()?.0;
        scenario.packets.iter_mut().for_each(|(time, _)| *time -= start);
        scenario.later.iter_mut().for_each(|(time, ..)| *time = time.saturating_sub(start));
        Some(scenario)
    }

    /// The same packets with none of the changes, with the first one alone, ..., with all.
    pub fn by_changes(&self) -> impl Iterator<Item = Self> {
        (0..=self.later.len()).map(|number| Self {
            first: self.first.clone(),
            later: self.later[..number].to_vec(),
            packets: self.packets.clone(),
            settings: self.settings,
        })
    }

    /// What the contract is told.
    pub fn story(&self) -> Story<'_> {
        Story {
            node: NODE,
            settings: &self.settings,
            first: &self.first.1,
            later: self.later.iter().map(|(time, _, intent)| (*time, intent)).collect(),
        }
    }

    /// Frames with their times, in order.
    pub fn packets(&self) -> &[(u64, Arriving)] {
        &self.packets
    }

    /// The capture that is replayed.
    pub fn capture(&self) -> Vec<u8> {
        let mut ports: Vec<&str> = self.packets.iter().map(|(_, a)| a.port.as_str()).collect();
        ports.sort_unstable();
        ports.dedup();
        let mut file = Writer::new(&ports);
        for (time, Arriving { port, frame }) in &self.packets {
            let interface = ports.iter().position(|p| p == port).expect("the port is listed");
            file.packet(interface as u32, *time, frame);
        }
        file.finish()
    }

    pub fn play(&self, input: &Input<'_>, card: Option<Card>) -> Output {
        let later =
            self.later.iter().map(|(time, _, intent)| (Time(*time), intent.clone())).collect();
        let timeline =
            Timeline::compile(NODE, &self.first.1, later).expect("the node is in every intent");
        replay(input, timeline, self.settings, card).expect("a NIC for this intent")
    }

    /// The case that shows what happens without offload.
    pub fn case(&self, off: &Output) -> String {
        let mut times: Vec<u64> = self.packets.iter().map(|(time, _)| *time).collect();
        times.extend(self.later.iter().map(|(time, ..)| *time));
        times.extend(off.events.iter().map(|event| event.time.0));
        times.sort_unstable();
        times.dedup();
        let mut before = &self.first.0;
        let mut text = format!(
            "about: >\n  TODO\nnode: {NODE}\nsettings: {}\nintent: {}\nsteps:\n",
            serde_json::to_string(&self.settings).expect("settings have a JSON form"),
            self.first.0
        );
        let mut packet = 0;
        let mut departures = off.departures.iter().peekable();
        for time in times {
            for (_, objects, _) in self.later.iter().filter(|(at, ..)| *at == time) {
                let _ = writeln!(
                    text,
                    "  - {{at: {}, intent: {}}}",
                    seconds(time),
                    diff(before, objects)
                );
                before = objects;
            }
            let now: Vec<&Event> = off.events.iter().filter(|e| e.time.0 == time).collect();
            let arriving: Vec<_> = self.packets.iter().filter(|(at, _)| *at == time).collect();
            let mut rest = now.as_slice();
            for number in 0..arriving.len().max(1) {
                let _ = writeln!(text, "  - at: {}", seconds(time));
                let last = number + 1 >= arriving.len();
                if let Some((_, Arriving { port, frame })) = arriving.get(number) {
                    let _ = writeln!(text, "    from: {port}\n    send: '{}'", show(frame));
                    packet += 1;
                }
                let end = rest.iter().position(|e| number_of(e) == Some(packet));
                let end = if last { rest.len() } else { end.unwrap_or(0) };
                let (own, others) = rest.split_at(end);
                rest = others;
                let prefix = |text: String| match text.split_once(": ") {
                    Some((by, what)) if by.starts_with('#') => what.to_owned(),
                    _ => text,
                };
                let lines: Vec<String> = own.iter().filter_map(|e| line(e)).map(prefix).collect();
                if !lines.is_empty() {
                    let _ = writeln!(text, "    events: {}", json!(lines));
                }
                let sent = own.iter().filter(|e| {
                    matches!(e.kind, EventKind::Forward { .. } | EventKind::Reply { .. })
                });
                let mut count = sent.count();
                let mut out = Vec::new();
                while let Some(next) =
                    departures.next_if(|d| d.time.0 == time && (last || count > 0))
                {
                    count = count.saturating_sub(1);
                    out.push(json!({next.port.to_string(): show(&next.frame)}));
                }
                if !out.is_empty() {
                    let _ = writeln!(text, "    out: {}", json!(out));
                }
            }
        }
        text
    }

    /// That no frame of one VPC reached another's interface, or left under another's VNI.
    pub fn check_isolation(&self, output: &Output) -> Result<(), String> {
        let vpc_of_vf = |port: Port| match port {
            Port::Vf(vf) => Some(usize::from(vf.0) / INTERFACES),
            Port::Uplink | Port::Kernel => None,
        };
        let vpc_of_frame = |frame: &[u8]| {
            let vni = packet::parse_vxlan(frame).ok()?.vni;
            VNIS.iter().position(|of| *of == vni)
        };
        let mut tunneled = output.departures.iter().filter(|departure| {
            departure.port == Port::Uplink && packet::parse_vxlan(&departure.frame).is_ok()
        });
        for event in &output.events {
            let EventKind::Forward { port, packet, out, .. } = event.kind else { continue };
            // What is the kernel's is of no VPC.
            if out == Port::Kernel {
                continue;
            }
            let came = vpc_of_vf(port).or_else(|| vpc_of_frame(&self.packets[packet].1.frame));
            let went = vpc_of_vf(out)
                .or_else(|| tunneled.next().and_then(|departure| vpc_of_frame(&departure.frame)));
            if came.is_none() || came != went {
                return Err(format!("packet {packet} crossed from VPC {came:?} to {went:?}"));
            }
        }
        Ok(())
    }
}

fn opening(flow: Flow) -> Vec<Packet> {
    let directions: &[(bool, &'static str)] = if flow.tcp {
        &[(false, "S"), (true, "SA"), (false, "A")]
    } else {
        &[(false, ""), (true, "")]
    };
    directions.iter().map(|(reverse, flags)| Packet::plain(flow, *reverse, flags)).collect()
}

fn number_of(event: &Event) -> Option<usize> {
    match event.kind {
        EventKind::Drop { packet, .. }
        | EventKind::Forward { packet, .. }
        | EventKind::Reply { packet, .. } => Some(packet),
        _ => None,
    }
}

/// Seconds, as cases write them.
fn seconds(time: u64) -> String {
    format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000)
}

/// The JSON merge patch from one state of intent to another.
fn diff(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return after.clone() };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(same) if same == value => {}
            Some(other) => {
                patch.insert(key.clone(), diff(other, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// An event without what is said of offload.
fn visible(event: &Event) -> Option<Event> {
    match event.kind.clone() {
        EventKind::FlowOffloaded(_) | EventKind::FlowNotOffloaded { .. } => None,
        EventKind::Forward { port, packet, out, .. } => {
            let kind = EventKind::Forward { port, packet, out, path: Carrier::Software };
            Some(Event { time: event.time, kind })
        }
        _ => Some(event.clone()),
    }
}

/// That two replays of the same input look the same from outside.
pub fn compare(off: &Output, on: &Output) -> Result<(), String> {
    let at = |time: Time| Duration::from_nanos(time.0);
    let shown =
        |output: &Output| -> Vec<Event> { output.events.iter().filter_map(visible).collect() };
    let (off_events, on_events) = (shown(off), shown(on));
    let pairs = off_events.iter().zip(&on_events);
    if let Some((a, b)) = pairs.clone().find(|(a, b)| a != b) {
        let text = |e: &Event| format!("{:?} {}", at(e.time), line(e).unwrap_or_default());
        return Err(format!("events: without offload {}, with it {}", text(a), text(b)));
    }
    if off_events.len() != on_events.len() {
        let (a, b) = (off_events.len(), on_events.len());
        let more = off_events.get(b).or(on_events.get(a)).and_then(line);
        return Err(format!("events: {a} without offload, {b} with it: {more:?}"));
    }
    for (a, b) in off.departures.iter().zip(&on.departures) {
        if a != b {
            let text = |d: &cli::replay::Departure| {
                format!("{:?} {}: {}", at(d.time), d.port, show(&d.frame))
            };
            return Err(format!("frames:\n  off {}\n  on  {}", text(a), text(b)));
        }
    }
    if off.departures.len() == on.departures.len() {
        Ok(())
    } else {
        Err(format!("frames: {} off, {} on", off.departures.len(), on.departures.len()))
    }
}

/// How many packets were forwarded: by hardware, and in all.
pub fn carried(output: &Output) -> (u64, u64) {
    output.events.iter().fold((0, 0), |(hardware, all), event| match event.kind {
        EventKind::Forward { path: Carrier::Hardware, .. } => (hardware + 1, all + 1),
        EventKind::Forward { .. } => (hardware, all + 1),
        _ => (hardware, all),
    })
}
