//! What the contract, `p4/pipeline.p4`, makes of packets and changes of intent, one by one; compared with a replay.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;

use cli::replay::{Departure, Event, EventKind, Flow, Input, Output};
use contract::{Entries, difference, entries};
use dpu_app::datapath::effects::RemovalReason;
use dpu_app::datapath::settings::{PickUp, Settings};
use dpu_app::datapath::{Port, Time};
use model::intent::Intent;
use model::snapshot::Snapshot;
use p4::conntrack::{self, Change, Removal};
use p4::interpreter::{Machine, Verdict};
use p4::program::Program;
use p4::stf::Runner;
use testbed::notation::show;

use super::event::line;

/// The contract.
pub fn program() -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/pipeline.p4");
    p4::compile(&path).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}

/// Everything that a replay is made from, but its packets.
pub struct Story<'s> {
    /// The node whose datapath runs.
    pub node: &'s str,
    /// Its settings.
    pub settings: &'s Settings,
    /// The intent at the start.
    pub first: &'s Intent,
    /// Those that replace it, in the order of time.
    pub later: Vec<(u64, &'s Intent)>,
}

/// What is compared of a replay beside the ends of packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lives {
    /// When each connection begins and ends, and why it ends.
    Compared,
    /// Nothing: hardware lets connections live longer (`docs/reference/offload-differences.md`).
    Open,
}

/// A machine with what it was told, as an STF file has it.
struct Contract<'p> {
    machine: Machine<'p>,
    snapshot: Option<Snapshot>,
    entries: Entries,
    /// Of all interfaces there ever were.
    names: HashMap<u32, String>,
    now: u64,
    case: Vec<String>,
}

impl<'p> Contract<'p> {
    fn new(program: &'p Program, settings: &Settings) -> Self {
        let machine = Machine::new(program).expect("the contract can be loaded");
        let mut contract = Self {
            machine,
            snapshot: None,
            entries: Entries::new(),
            names: HashMap::new(),
            now: 0,
            case: Vec::new(),
        };
        for command in commands(settings) {
            contract.command(command);
        }
        contract
    }

    fn command(&mut self, command: String) {
        let done = Runner::at(&mut self.machine, self.now).command(&command);
        done.unwrap_or_else(|error| panic!("{command}: {error}"));
        self.case.push(command);
    }

    fn wait_until(&mut self, time: u64) {
        if time > self.now {
            self.case.push(format!("wait {}ns", time - self.now));
            self.now = time;
        }
    }

    fn intent(&mut self, story: &Story, time: u64, intent: &Intent) {
        self.wait_until(time);
        let snapshot = Snapshot::compile(intent, story.node, self.snapshot.as_ref());
        let snapshot = snapshot.expect("the node is in every intent");
        let after = entries(&snapshot);
        for command in difference(&self.entries, &after) {
            self.command(command);
        }
        for (id, interface) in &snapshot.interfaces {
            if self.names.insert(id.0, interface.name.clone()).is_none() {
                let (rate, burst) = too_big(story.settings);
                self.command(format!("meter too_big_rate {} single {rate} {burst} 0", id.0));
            }
        }
        self.command("recheck".to_owned());
        self.entries = after;
        self.snapshot = Some(snapshot);
    }

    fn packet(&mut self, time: u64, port: Port, frame: &[u8]) -> Result<Verdict, String> {
        self.wait_until(time);
        let port = number(port);
        self.case.push(format!("packet {port} {}", show(frame)));
        let outcome = self.machine.process(time, port, frame);
        outcome.map(|outcome| outcome.verdict).map_err(|fault| fault.to_string())
    }

    /// When it asked for whose MAC.
    fn questions(&mut self) -> Vec<(u64, IpAddr)> {
        let neighbors = self.machine.neighbors().expect("the contract knows neighbours");
        let questions = neighbors.take_questions();
        questions.iter().map(|question| (question.time, question.address)).collect()
    }

    /// What happened to connections until `time`, as cases write it.
    fn lives(&mut self, time: u64) -> Vec<(u64, String)> {
        let tracker = self.machine.conntrack().expect("the contract tracks connections");
        let events = tracker.take_events(time);
        let mut lives: Vec<_> = events
            .iter()
            .map(|event| {
                let flow = flow(&self.names, &event.first);
                let kind = match event.change {
                    Change::Created => EventKind::FlowCreated(flow),
                    Change::Removed(reason) => {
                        EventKind::FlowRemoved { flow, reason: removal(reason) }
                    }
                };
                let event = Event { time: Time(event.time), kind };
                (event.time.0, line(&event).unwrap_or_default())
            })
            .collect();
        lives.sort();
        lives
    }
}

/// What settings are to the contract.
fn commands(settings: &Settings) -> Vec<String> {
    let timeouts = &settings.timeouts;
    let (connections, fragments) = (&settings.connections, &settings.fragments);
    let seconds = [
        ("tcp_half_open", timeouts.tcp_half_open),
        ("tcp_established", timeouts.tcp_established),
        ("tcp_closing", timeouts.tcp_closing),
        ("tcp_time_wait", timeouts.tcp_time_wait),
        ("tcp_reset", timeouts.tcp_reset),
        ("udp_one_way", timeouts.udp_one_way),
        ("udp_both_ways", timeouts.udp_both_ways),
        ("icmp_echo", timeouts.icmp_echo),
        ("other", timeouts.other),
        ("fragments", timeouts.fragments),
    ];
    let times: Vec<String> = seconds
        .iter()
        .map(|(name, seconds)| format!("{name}:{}s", seconds.duration().as_secs()))
        .collect();
    let mut commands = vec![
        format!("conntrack {}", times.join(" ")),
        format!(
            "conntrack connections:{} connections_of_an_interface:{} fragmented_packets:{} \
             fragmented_packets_of_an_interface:{}",
            connections.table_size.get(),
            connections.per_interface,
            fragments.table_size.get(),
            fragments.per_interface
        ),
    ];
    if settings.tcp.pick_up != PickUp::Never {
        commands.push("setdefault pick_up_policy allow_pick_up()".to_owned());
    }
    if let Some(kernel) = settings.kernel_port {
        commands.push("setdefault kernel to_kernel()".to_owned());
        let (rate, burst) = (kernel.packets_per_second, kernel.burst);
        commands.push(format!("meter kernel_rate 0 single {rate} {burst} 0"));
    }
    commands
}

fn too_big(settings: &Settings) -> (u32, u32) {
    (settings.too_big.packets_per_second.get(), settings.too_big.burst.get())
}

fn number(port: Port) -> u16 {
    match port {
        Port::Uplink => 0,
        Port::Vf(vf) => vf.0 + 1,
        Port::Kernel => u16::MAX - 1,
    }
}

fn removal(reason: Removal) -> RemovalReason {
    match reason {
        Removal::Expired => RemovalReason::Expired,
        Removal::Closed => RemovalReason::Closed,
        Removal::Reset => RemovalReason::Reset,
        Removal::Policy => RemovalReason::Policy,
        Removal::InterfaceRemoved => RemovalReason::InterfaceRemoved,
        Removal::Evicted => RemovalReason::Evicted,
    }
}

/// A connection as replays show it.
fn flow(names: &HashMap<u32, String>, first: &conntrack::Key) -> Flow {
    let tuple = first.tuple;
    let (protocol, destination_port) = match tuple.protocol {
        1 => ("icmp".to_owned(), 0),
        58 => ("icmpv6".to_owned(), 0),
        6 => ("tcp".to_owned(), tuple.destination_port),
        17 => ("udp".to_owned(), tuple.destination_port),
        other => (other.to_string(), tuple.destination_port),
    };
    Flow {
        interface: names.get(&first.zone.interface).cloned().unwrap_or_default(),
        protocol,
        source: tuple.source,
        destination: tuple.destination,
        source_port: tuple.source_port,
        destination_port,
    }
}

/// What became of a packet; the contents of answers are not the contract's.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Forward(u16, Vec<u8>),
    Reply,
    /// Dropped, and its sender is told.
    TooBig,
    Drop(String),
    /// The node learned from it.
    Consumed,
}

impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Forward { port, packet } => Self::Forward(port, packet),
            Verdict::Reply { responder } if responder == "too_big" => Self::TooBig,
            Verdict::Reply { .. } => Self::Reply,
            Verdict::Consume => Self::Consumed,
            Verdict::Drop { reason } => Self::Drop(reason),
        }
    }
}

impl End {
    /// As an STF file expects it.
    fn expectation(&self) -> String {
        match self {
            Self::Forward(port, frame) => format!("expect {port} {}", show(frame)),
            Self::Reply => "expect reply".to_owned(),
            Self::TooBig => "expect reply too_big".to_owned(),
            Self::Drop(reason) => format!("expect drop {reason}"),
            Self::Consumed => "expect consumed".to_owned(),
        }
    }

    /// Whether the datapath did what the contract says.
    fn is_as(&self, contract: &Verdict) -> bool {
        if let Verdict::Reply { responder } = contract
            && responder.starts_with("dhcp")
        {
            // What a DHCP server says to a message is its own business.
            let unanswered = ["broadcast", "malformed", "spoofed_source"];
            return match self {
                Self::Reply => true,
                Self::Drop(reason) => unanswered.contains(&reason.as_str()),
                _ => false,
            };
        }
        *self == Self::from(contract.clone())
    }
}

/// How each packet ended in a replay, and the questions for neighbours that went out.
fn ends(output: &Output, packets: usize) -> (Vec<End>, Vec<(u64, IpAddr)>) {
    let mut frames = output.departures.iter();
    let mut questions = Vec::new();
    // What the kernel sends may be a question, too.
    let mut next = |time: Time, port: Port, is_ours: bool| -> &Departure {
        let frame = frames
            .find(|departure| {
                let asked = question(departure).filter(|_| is_ours);
                questions.extend(asked);
                asked.is_none()
            })
            .expect("a frame for each packet that is sent on");
        assert_eq!((frame.time, frame.port), (time, port), "frames leave in the order of packets");
        frame
    };
    let mut ends: BTreeMap<usize, End> = BTreeMap::new();
    for event in &output.events {
        match &event.kind {
            EventKind::Forward { packet, port, out, .. } => {
                let frame = next(event.time, *out, *port != Port::Kernel).frame.clone();
                ends.insert(*packet, End::Forward(number(*out), frame));
            }
            EventKind::Reply { packet, port } => {
                next(event.time, *port, true);
                let dropped = ends.contains_key(packet);
                ends.insert(*packet, if dropped { End::TooBig } else { End::Reply });
            }
            EventKind::Drop { packet, reason, .. } => {
                ends.insert(*packet, End::Drop(reason.to_string()));
            }
            _ => {}
        }
    }
    questions.extend(frames.filter_map(question));
    let ends = (0..packets).map(|number| ends.remove(&number).unwrap_or(End::Consumed)).collect();
    (ends, questions)
}

/// Whose MAC a frame that leaves by the wire asks for.
fn question(departure: &Departure) -> Option<(u64, IpAddr)> {
    let frame = &departure.frame;
    let bytes = |at: usize, length: usize| frame.get(at..at + length);
    let address = match (departure.port, bytes(12, 2)?) {
        (Port::Uplink, [0x08, 0x06]) if bytes(20, 2)? == [0, 1] => {
            IpAddr::from(<[u8; 4]>::try_from(bytes(38, 4)?).ok()?)
        }
        (Port::Uplink, [0x86, 0xdd]) if bytes(20, 1)? == [58] && bytes(54, 1)? == [135] => {
            IpAddr::from(<[u8; 16]>::try_from(bytes(62, 16)?).ok()?)
        }
        _ => return None,
    };
    Some((departure.time.0, address))
}

/// What happened to connections in a replay.
fn lives(output: &Output) -> Vec<(u64, String)> {
    let mut lives: Vec<_> = output
        .events
        .iter()
        .filter(|event| {
            matches!(event.kind, EventKind::FlowCreated(_) | EventKind::FlowRemoved { .. })
        })
        .map(|event| (event.time.0, line(event).unwrap_or_default()))
        .collect();
    lives.sort();
    lives
}

/// That each packet ended, and each connection lived, as the contract says.
///
/// # Errors
/// The first that did not, and all that led to it as an STF file that expects what the replay did.
pub fn compare(
    program: &Program,
    story: &Story,
    input: &Input<'_>,
    output: &Output,
    compared: Lives,
) -> Result<(), String> {
    let mut contract = Contract::new(program, story.settings);
    contract.intent(story, 0, story.first);
    let mut later = story.later.iter().peekable();
    let mut pick_up_ends = match story.settings.tcp.pick_up {
        PickUp::For(seconds) => Some(seconds.duration().as_nanos() as u64),
        PickUp::Never | PickUp::Always => None,
    };
    let (ends, questions) = ends(output, input.packets.len());
    for (arrival, end) in input.packets.iter().zip(&ends) {
        let time = arrival.time.0;
        while let Some((at, intent)) = later.next_if(|(at, _)| *at <= time) {
            contract.intent(story, *at, intent);
        }
        if let Some(end) = pick_up_ends.take_if(|end| *end <= time) {
            contract.wait_until(end);
            contract.command("setdefault pick_up_policy syn_only()".to_owned());
        }
        let verdict = contract.packet(time, arrival.port, arrival.frame);
        contract.case.push(end.expectation());
        if !verdict.as_ref().is_ok_and(|verdict| end.is_as(verdict)) {
            let verdict = verdict.map(|verdict| End::from(verdict).expectation());
            return Err(format!(
                "packet {}, {}:\n  {}\n  contract: {verdict:?}\n  datapath: {}\n\n{}",
                arrival.number,
                arrival.port,
                show(arrival.frame),
                end.expectation(),
                contract.case.join("\n")
            ));
        }
    }
    for (at, intent) in later {
        contract.intent(story, *at, intent);
    }
    let asked = contract.questions();
    if asked != questions {
        let case = contract.case.join("\n");
        return Err(format!(
            "the contract asks for {asked:?}, the datapath for {questions:?}\n\n{case}"
        ));
    }
    if compared == Lives::Open {
        return Ok(());
    }
    let (datapath, contracts) = (lives(output), contract.lives(contract.now));
    let missing = contracts.iter().find(|life| !datapath.contains(life));
    let surplus = datapath.iter().find(|life| !contracts.contains(life));
    let first = |life: Option<&(u64, String)>| life.map_or(u64::MAX, |(time, _)| *time);
    if missing.is_none() && surplus.is_none() && datapath.len() == contracts.len() {
        return Ok(());
    }
    let (who, life) = if first(missing) <= first(surplus) {
        ("the contract alone has", missing)
    } else {
        ("the datapath alone has", surplus)
    };
    let life = life.map_or_else(|| "one of several alike".to_owned(), |(t, l)| format!("{t} {l}"));
    Err(format!("{who} {life}\n\n{}", contract.case.join("\n")))
}
