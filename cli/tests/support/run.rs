//! Running a case: capture in, replay, capture and events out, compared with what the case says.

use std::fmt::{self, Write};
use std::sync::LazyLock;
use std::time::Duration;

use cli::pcapng::{Reader, Writer};
use cli::replay::{
    Card, Carrier, Event, EventKind, Input, Output, Timeline, replay, replay_with_rules,
};
use dpu_app::datapath::{Port, Time};
use model::intent::{Intent, Source};
use p4::program::Program;
use rte_flow::Profile;
use serde_json::Value;

use super::case::{Case, Step, merge};
use super::contract::{self, Lives, Story};
use super::event::line;
use super::intent::documents;
use testbed::difference::align;
use testbed::notation::{packet, show};
use verify::{Dump, verify};

/// Virtual time 0 in the capture, nanoseconds since 1970.
const START: u64 = 1_700_000_000_000_000_000;

/// What a case adds to a `forward` event.
const BY_HARDWARE: &str = " by hardware";

/// Runs a case; the error shows all that differs.
pub fn run(case: &Case) -> Result<(), String> {
    let steps = case
        .steps
        .iter()
        .enumerate()
        .map(|(number, step)| Prepared::new(case, step).map_err(|e| format!("step {number}: {e}")))
        .collect::<Result<Vec<_>, _>>()?;
    if !steps.is_sorted_by_key(|step| step.time) {
        return Err("the steps' times go back".to_owned());
    }
    let file = capture(&steps);
    let input = Input::read(&file, &case.settings).map_err(|e| e.to_string())?;
    if steps.iter().find(|step| step.packet.is_some()).is_some_and(|step| step.time != 0) {
        return Err("time 0 is the first packet's: let it arrive at 0".to_owned());
    }

    let play = |way, paths| {
        let card = Way::card(way)?;
        let profile = card.as_ref().map(|card| card.profile.clone());
        let (output, rules) = replay_with_rules(&input, timeline(case)?, case.settings, card)
            .map_err(|e| e.to_string())?;
        let proof = rules.zip(profile).map(|(rules, profile)| proof(&rules, &profile));
        compare(&steps, &input, &output, paths).map(|found| found + &proof.unwrap_or_default())
    };
    let mut differences = String::new();
    for (way, paths) in holds_with(case) {
        let found = play(way, paths)?;
        if !found.is_empty() {
            let _ = writeln!(differences, "with {way}:\n{found}");
        }
    }
    if !differences.is_empty() {
        return Err(differences);
    }
    contract_holds(case, &input)?;
    let Some(window) = &case.window else { return Ok(()) };
    let mut differs = false;
    for way in differs_with(case) {
        differs |= !play(way, false)?.is_empty();
    }
    if differs { Ok(()) } else { Err(format!("holds with any NIC: there is no window {window}")) }
}

/// What does not hold of the rules that are in the NIC at the end; empty when all does.
fn proof(rules: &Dump, profile: &Profile) -> String {
    let report = verify(rules, profile);
    report.findings.iter().fold(String::new(), |mut text, finding| {
        let name = finding.property.name();
        let _ = writeln!(text, "penstock verify: {name}: {}", finding.what);
        for rule in finding.rules.iter().filter_map(|rule| rules.rules.get(*rule)) {
            let _ = writeln!(text, "  {:?} {}", rule.phase, rule.rule);
        }
        text
    })
}

/// That software does what the contract says.
fn contract_holds(case: &Case, input: &Input<'_>) -> Result<(), String> {
    static PROGRAM: LazyLock<Program> = LazyLock::new(contract::program);
    let output = replay(input, timeline(case)?, case.settings, None).map_err(|e| e.to_string())?;
    let Intents { node, first, later } = intents(case)?;
    let later = later.iter().map(|(time, intent)| (time.0, intent)).collect();
    let story = Story { node, settings: &case.settings, first: &first, later };
    contract::compare(&PROGRAM, &story, input, &output, Lives::Compared)
}

/// Who carries packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way<'a> {
    Software,
    Nic(&'a str),
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software => f.write_str("--offload off"),
            Self::Nic(profile) => write!(f, "--profile {profile}"),
        }
    }
}

impl Way<'_> {
    fn card(self) -> Result<Option<Card>, String> {
        match self {
            Self::Software => Ok(None),
            Self::Nic(name) => match Profile::named(name) {
                Ok(profile) => Ok(Some(profile.into())),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// The ways in which a case must hold, each with whether it says who carries a packet.
fn holds_with(case: &Case) -> Vec<(Way<'_>, bool)> {
    let with_paths = case.profiles.iter().map(|name| (Way::Nic(name), true));
    let exact = [(Way::Software, false), (Way::Nic("unlimited"), false)];
    match (case.profiles.is_empty(), case.window.is_some()) {
        (false, true) => with_paths.collect(),
        (true, true) => exact.into(),
        (_, false) => {
            let others = Profile::names().filter(|name| !case.profiles.iter().any(|n| n == name));
            let all = others.map(|name| (Way::Nic(name), false));
            [(Way::Software, false)].into_iter().chain(with_paths).chain(all).collect()
        }
    }
}

/// The ways in one of which a case with a window must not hold.
fn differs_with(case: &Case) -> Vec<Way<'static>> {
    if case.profiles.is_empty() {
        Profile::names().map(Way::Nic).collect()
    } else {
        vec![Way::Software]
    }
}

/// What differs between the steps' expectations and a replay.
///
/// `paths`: who carries a packet counts too.
fn compare(
    steps: &[Prepared],
    input: &Input<'_>,
    output: &Output,
    paths: bool,
) -> Result<String, String> {
    let mut events = Lines::default();
    let mut frames = Lines::default();
    let mut packets = 0;
    for step in steps {
        let arrival = step.packet.as_ref().map(|(port, _)| (port, packets));
        packets += usize::from(step.packet.is_some());
        for event in &step.events {
            let arrival = arrival.filter(|_| !event.starts_with("flow_"));
            let by =
                arrival.map_or_else(String::new, |(port, number)| format!("#{number} {port}: "));
            let visible = event.strip_suffix(BY_HARDWARE).filter(|_| !paths).unwrap_or(event);
            events.expected.push((step.time, format!("{by}{visible}")));
        }
        for (port, bytes) in &step.out {
            frames.expected.push((step.time, format!("{port}: {}", show(bytes))));
        }
    }
    let line = |event| if paths { line_with_path(event) } else { line(event) };
    let shown = output.events.iter().filter_map(|event| Some((event.time.0, line(event)?)));
    events.actual = shown.collect();
    frames.actual = departures(&output.capture(input))?;
    Ok([events.difference("events"), frames.difference("frames out")].concat())
}

/// A step with its packets built.
struct Prepared {
    time: u64,
    packet: Option<(Port, Vec<u8>)>,
    events: Vec<String>,
    out: Vec<(Port, Vec<u8>)>,
}

impl Prepared {
    fn new(case: &Case, step: &Step) -> Result<Self, String> {
        let build = |port: &str, text: &str| {
            let port: Port = port.parse().map_err(|e| format!("{e}"))?;
            Ok::<_, String>((port, packet(&case.expand(text)?)?))
        };
        let packet = match (&step.from, &step.send) {
            (Some(port), Some(text)) => Some(build(port, text)?),
            (None, None) => None,
            _ => return Err("from and send go together".to_owned()),
        };
        let out = step
            .out
            .iter()
            .flatten()
            .map(|(port, text)| build(port, text))
            .collect::<Result<_, _>>()?;
        Ok(Self { time: nanoseconds(step.at)?, packet, events: step.events.clone(), out })
    }
}

fn nanoseconds(seconds: f64) -> Result<u64, String> {
    let time = Duration::try_from_secs_f64(seconds).map_err(|e| format!("at: {seconds}: {e}"))?;
    u64::try_from(time.as_nanos()).map_err(|e| format!("at: {seconds}: {e}"))
}

/// The steps' packets as a file.
fn capture(steps: &[Prepared]) -> Vec<u8> {
    let mut ports: Vec<Port> = steps.iter().filter_map(|s| Some(s.packet.as_ref()?.0)).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut file = Writer::new(ports.iter().map(Port::to_string));
    for step in steps {
        if let Some((port, bytes)) = &step.packet {
            let interface = ports.iter().position(|p| p == port).expect("the port is listed");
            file.packet(interface as u32, START + step.time, bytes);
        }
    }
    file.finish()
}

/// What holds at which node when.
struct Intents<'c> {
    node: &'c str,
    first: Intent,
    later: Vec<(Time, Intent)>,
}

/// The case's node, its intent and what replaces that.
fn intents(case: &Case) -> Result<Intents<'_>, String> {
    let parse = |value: &Value| {
        let text = documents(value)?;
        let source = Source { name: "intent", bytes: text.as_bytes() };
        Intent::parse(&[source]).map_err(|errors| errors.render())
    };
    let mut current = case.intent.clone();
    let first = parse(&current)?;
    let mut later = Vec::new();
    for step in &case.steps {
        if let Some(patch) = &step.intent {
            merge(&mut current, patch);
            later.push((Time(nanoseconds(step.at)?), parse(&current)?));
        }
    }
    let node = case.node.as_deref().ok_or("the case names no node")?;
    Ok(Intents { node, first, later })
}

/// The snapshots of the case's intent and of its changes.
fn timeline(case: &Case) -> Result<Timeline, String> {
    let Intents { node, first, later } = intents(case)?;
    Timeline::compile(node, &first, later).map_err(|e| e.to_string())
}

/// [`line`], which also tells when hardware carried the packet.
fn line_with_path(event: &Event) -> Option<String> {
    let by_hardware = matches!(event.kind, EventKind::Forward { path: Carrier::Hardware, .. });
    Some(line(event)? + if by_hardware { BY_HARDWARE } else { "" })
}

/// The frames of an OUT file.
fn departures(file: &[u8]) -> Result<Vec<(u64, String)>, String> {
    let mut reader = Reader::new(file);
    let packets = reader.by_ref().collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let interfaces = reader.interfaces();
    Ok(packets
        .iter()
        .map(|packet| {
            let port = interfaces[packet.interface].name.as_deref().unwrap_or_default();
            (packet.time.saturating_sub(START), format!("{port}: {}", show(packet.frame)))
        })
        .collect())
}

/// What should be and what is, each with its time.
#[derive(Default)]
struct Lines {
    expected: Vec<(u64, String)>,
    actual: Vec<(u64, String)>,
}

impl Lines {
    /// Both as one list, with what is missing and what is too much marked; empty when they are equal.
    fn difference(&self, what: &str) -> String {
        if self.expected == self.actual {
            return String::new();
        }
        let text = |lines: &[(u64, String)]| -> Vec<String> {
            lines
                .iter()
                .map(|(time, line)| {
                    format!("{:>14.9} {line}", Duration::from_nanos(*time).as_secs_f64())
                })
                .collect()
        };
        let (expected, actual) = (text(&self.expected), text(&self.actual));
        let mut report = format!("{what} (- expected, + seen):\n");
        for (mark, line) in align(&expected, &actual) {
            let _ = writeln!(report, "  {mark} {line}");
        }
        report
    }
}
