//! What the contract, `p4/pipeline.p4`, makes of a scenario, packet by packet; compared with what the datapath did.

use std::collections::BTreeMap;
use std::path::Path;

use ::contract::{Entries, difference, entries};
use cli::replay::{Departure, EventKind, Output};
use dpu_app::datapath::Port;
use model::intent::Intent;
use model::snapshot::Snapshot;
use p4::interpreter::{Machine, Verdict};
use p4::program::Program;
use p4::stf::Runner;
use proptest::prelude::*;
use testbed::notation::show;

use crate::scenario::Scenario;
use crate::traffic::Arriving;
use crate::world::{self, NODE, World};

/// The contract.
pub fn program() -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/pipeline.p4");
    p4::compile(&path).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}

/// Worlds in which the contract is known to be right (`docs/reference/p4.md` tells of the others): neighbours are known, and the
/// way back is as the way there.
pub fn world() -> impl Strategy<Value = World> {
    world::world().prop_map(|mut world| {
        for neighbor in &mut world.neighbors {
            neighbor.get_or_insert(1);
        }
        for vpc in &mut world.vpcs {
            vpc.routes.iter_mut().for_each(Vec::clear);
            for interface in &mut vpc.interfaces {
                (interface.present, interface.v4, interface.v6) = (true, true, true);
            }
        }
        world
    })
}

/// A machine with what it was told, as an STF file has it.
struct Contract<'p> {
    machine: Machine<'p>,
    snapshot: Option<Snapshot>,
    entries: Entries,
    now: u64,
    case: Vec<String>,
}

impl<'p> Contract<'p> {
    fn new(program: &'p Program, scenario: &Scenario) -> Self {
        let machine = Machine::new(program).expect("the contract can be loaded");
        let mut contract =
            Self { machine, snapshot: None, entries: Entries::new(), now: 0, case: Vec::new() };
        if scenario.picks_up() {
            contract.command("setdefault pick_up_policy allow_pick_up()".to_owned());
        }
        contract
    }

    fn command(&mut self, command: String) {
        let done = Runner::new(&mut self.machine).command(&command);
        done.unwrap_or_else(|error| panic!("{command}: {error}"));
        self.case.push(command);
    }

    fn intent(&mut self, intent: &Intent) {
        let snapshot = Snapshot::compile(intent, NODE, self.snapshot.as_ref());
        let snapshot = snapshot.expect("the node is in every intent");
        let after = entries(&snapshot);
        for command in difference(&self.entries, &after) {
            self.command(command);
        }
        self.entries = after;
        self.snapshot = Some(snapshot);
    }

    fn packet(&mut self, time: u64, arriving: &Arriving) -> Result<Verdict, String> {
        if time > self.now {
            self.case.push(format!("wait {}ns", time - self.now));
            self.now = time;
        }
        let port = number(arriving.port.parse().expect("a port"));
        self.case.push(format!("packet {port} {}", show(&arriving.frame)));
        let outcome = self.machine.process(time, port, &arriving.frame);
        outcome.map(|outcome| outcome.verdict).map_err(|fault| fault.to_string())
    }
}

fn number(port: Port) -> u16 {
    match port {
        Port::Uplink => 0,
        Port::Vf(vf) => vf.0 + 1,
        Port::Kernel => u16::MAX,
    }
}

/// What became of a packet; the contents of answers are not the contract's.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Forward(u16, Vec<u8>),
    Reply,
    Drop(String),
}

impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Forward { port, packet } => Self::Forward(port, packet),
            Verdict::Reply { .. } => Self::Reply,
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
            Self::Drop(reason) => format!("expect drop {reason}"),
        }
    }
}

/// How each packet ended in a replay.
fn ends(output: &Output) -> BTreeMap<usize, End> {
    // Questions to neighbours on the underlay belong to no packet.
    let mut frames = output.departures.iter().filter(|departure| {
        departure.port != Port::Uplink || packet::parse_vxlan(&departure.frame).is_ok()
    });
    let mut next = |port: Port| -> &Departure {
        let frame = frames.next().expect("a frame for each packet that is sent on");
        assert_eq!(frame.port, port, "frames leave in the order of packets");
        frame
    };
    let mut ends = BTreeMap::new();
    for event in &output.events {
        match &event.kind {
            EventKind::Forward { packet, out, .. } => {
                ends.insert(*packet, End::Forward(number(*out), next(*out).frame.clone()));
            }
            EventKind::Reply { packet, port } => {
                next(*port);
                ends.insert(*packet, End::Reply);
            }
            // One that is too big is dropped and answered.
            EventKind::Drop { packet, reason, .. } => {
                ends.entry(*packet).or_insert(End::Drop(reason.to_string()));
            }
            _ => {}
        }
    }
    ends
}

/// That each packet ended as the contract says.
///
/// # Errors
/// The first that did not, and all that led to it as an STF file that expects what the replay did.
pub fn compare(program: &Program, scenario: &Scenario, output: &Output) -> Result<(), String> {
    let mut contract = Contract::new(program, scenario);
    let (first, mut later) = scenario.intents();
    contract.intent(first);
    let ends = ends(output);
    assert_eq!(ends.len(), scenario.packets().len(), "every packet ends once");
    for (number, ((time, arriving), end)) in
        scenario.packets().iter().zip(ends.values()).enumerate()
    {
        while let Some((at, intent)) = later.next_if(|(at, _)| at <= time) {
            contract.case.push(format!("# at {at}"));
            contract.intent(intent);
        }
        let verdict = contract.packet(*time, arriving);
        let same = verdict.clone().is_ok_and(|verdict| End::from(verdict) == *end);
        contract.case.push(end.expectation());
        if !same {
            let verdict = verdict.map(|verdict| End::from(verdict).expectation());
            return Err(format!(
                "packet {number}, {}:\n  {}\n  contract: {verdict:?}\n  datapath: {}\n\n{}",
                arriving.port,
                show(&arriving.frame),
                end.expectation(),
                contract.case.join("\n")
            ));
        }
    }
    Ok(())
}
