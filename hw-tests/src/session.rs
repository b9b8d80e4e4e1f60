//! A running testpmd with the NIC under test, and the interfaces around it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rte_flow::Profile;
use tempfile::TempDir;
use testbed::testpmd::Testpmd;

use crate::case::Start;
use crate::place::Port;
use crate::refusal::Arrays;
use crate::target::Target;
use crate::verbose::{self, Received};
use crate::wires::Wires;

/// How many lines of a command's output are logged.
const LOGGED: usize = 12;
/// Flow queues of each port, where the NIC has them.
const QUEUES: u32 = 2;
/// What else a port is configured with.
const USUAL_ENGINE: &str = "queues_size 64 counters_number 1024 aging_counters_number 256 meters_number 64 \
                            conn_tracks_number 64 flags 0";

/// A testpmd that serves cases one after the other.
pub struct Session {
    testpmd: Testpmd,
    /// The frames' side.
    pub wires: Wires,
    /// Where testpmd keeps what it passes to the driver.
    pub arrays: Arrays,
    /// Packets that testpmd reported since the case began.
    pub received: Vec<Received>,
    /// Everything else it printed since the case began.
    pub printed: String,
    /// The case's commands and the first lines that each printed, for people.
    pub log: String,
    has_queues: bool,
    objects: Vec<Object>,
    sentinels: u32,
    /// Where DPDK keeps its sockets.
    _runtime: TempDir,
}

/// Something that a case made through testpmd and that `flow flush` leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    kind: &'static ObjectKind,
    port: String,
    id: String,
}

/// How testpmd speaks of such things.
#[derive(Debug, PartialEq, Eq)]
struct ObjectKind {
    /// In its answers.
    name: &'static str,
    /// The command that destroys one, before and behind the port's number.
    destroy: [&'static str; 2],
}

/// Whether testpmd tells of an event, which it does whenever one comes: it is heard, and is part of no command's answer.
fn is_event(line: &str) -> bool {
    line.strip_prefix("Port ").and_then(|rest| rest.split_once(": ")).is_some_and(|(port, what)| {
        port.parse::<u16>().is_ok() && what.trim_end().ends_with(" event")
    })
}

/// In the order in which they must go.
const OBJECTS: [ObjectKind; 4] = [
    ObjectKind { name: "Template table", destroy: ["flow template_table", "destroy table"] },
    ObjectKind {
        name: "Pattern template",
        destroy: ["flow pattern_template", "destroy pattern_template"],
    },
    ObjectKind {
        name: "Actions template",
        destroy: ["flow actions_template", "destroy actions_template"],
    },
    ObjectKind { name: "Indirect action", destroy: ["flow indirect_action", "destroy action_id"] },
];

impl Session {
    /// Starts testpmd: each ethdev of the NIC forwards to a TAP port of its own and back, and says what it receives.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start(target: &Target, profile: &Profile, start: &Start) -> Result<Self, String> {
        let runtime = tempfile::tempdir().map_err(|e| e.to_string())?;
        let command = target.testpmd(profile, start, runtime.path());
        let testpmd = Testpmd::start(command).map_err(|e| e.to_string())?;
        let mut session = Self {
            testpmd,
            wires: Wires::default(),
            arrays: Arrays::default(),
            received: Vec::new(),
            printed: String::new(),
            log: String::new(),
            has_queues: profile.interface.templates,
            objects: Vec::new(),
            sentinels: 0,
            _runtime: runtime,
        };
        if session.has_queues {
            // The port that manages transfer rules stops last and starts first.
            for port in Port::ALL.iter().rev() {
                session.command(&format!("port stop {}", port.number()))?;
            }
            for port in Port::ALL {
                let arguments = match start.configure.as_str() {
                    own if port == Port::Uplink && !own.is_empty() => own.to_owned(),
                    _ => format!("queues_number {QUEUES} {USUAL_ENGINE}"),
                };
                let output =
                    session.command(&format!("flow configure {} {arguments}", port.number()))?;
                if !output.contains("Configure flows on port") {
                    return Err(format!("flow configure: {output}"));
                }
            }
            session.command("port start all")?;
        }
        // The metadata field is registered by the third one; 0 asks for nothing else.
        for line in
            ["set portlist 0,3,1,4,2,5", "set verbose 1", "port config 0 tx_metadata 0", "start"]
        {
            session.command(line)?;
        }
        // Now they are there, and up.
        target.widen_interfaces()?;
        session.wires = Wires::open(target.interfaces()).map_err(|e| e.to_string())?;
        session.begin();
        Ok(session)
    }

    /// Gives a command; returns what it printed, without its echo and the prompt.
    ///
    /// # Errors
    /// When testpmd does not answer.
    pub fn command(&mut self, line: &str) -> Result<String, String> {
        let output = self.testpmd.command(line).map_err(|e| e.to_string())?;
        let (output, received) = verbose::split(&output.replace('\r', ""));
        self.received.extend(received);
        self.printed.push_str(&output);
        let mut lines: Vec<&str> = output
            .lines()
            .map(|text| text.trim_start_matches("testpmd> "))
            .filter(|text| !is_event(text))
            .collect();
        if let Some(echo) = lines.iter().position(|text| text.trim() == line) {
            lines.remove(echo);
        }
        self.remember(line, &lines);
        self.note(line, &lines);
        Ok(lines.join("\n"))
    }

    /// Logs a command and its answer; of a command given again and again, the last answer.
    fn note(&mut self, line: &str, answer: &[&str]) {
        if line.is_empty() {
            return;
        }
        if let Some(last) = self.log.rfind("> ").filter(|at| self.log[at + 2..].starts_with(line)) {
            self.log.truncate(last);
        }
        let shown = answer.iter().filter(|text| !text.is_empty()).take(LOGGED);
        self.log.push_str("> ");
        for text in std::iter::once(&line).chain(shown) {
            let _ = writeln!(self.log, "{text}");
        }
    }

    /// Takes up all that testpmd has printed by now.
    ///
    /// # Errors
    /// When testpmd does not answer.
    pub fn catch_up(&mut self) -> Result<(), String> {
        self.command("").map(drop)
    }

    /// Ends testpmd in order.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn quit(self) -> Result<(), String> {
        self.testpmd.quit().map(drop).map_err(|e| e.to_string())
    }

    /// A number that no other sentinel has.
    pub fn next_sentinel(&mut self) -> u32 {
        self.sentinels += 1;
        self.sentinels
    }

    /// Keeps account of what a command made and destroyed.
    fn remember(&mut self, line: &str, output: &[&str]) {
        let port = line.split(' ').nth(2).unwrap_or_default();
        for (kind, text) in
            OBJECTS.iter().flat_map(|kind| output.iter().map(move |text| (kind, text)))
        {
            let Some((id, what)) = text
                .strip_prefix(kind.name)
                .and_then(|rest| rest.strip_prefix(" #"))
                .and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let object = Object { kind, port: port.to_owned(), id: id.to_owned() };
            if what.starts_with("creat") {
                self.objects.push(object);
            } else if what.starts_with("destr") {
                self.objects.retain(|known| *known != object);
            }
        }
    }

    /// Makes testpmd and the NIC as they were before the case.
    ///
    /// # Errors
    /// What does not go away.
    pub fn clean(&mut self) -> Result<(), String> {
        for port in Port::ALL.map(Port::number) {
            let output = self.command(&format!("flow flush {port}"))?;
            if !output.trim().is_empty() {
                return Err(format!("flow flush {port}: {output}"));
            }
        }
        if self.has_queues {
            for port in Port::ALL.map(Port::number) {
                for queue in 0..QUEUES {
                    self.command(&format!("flow push {port} queue {queue}"))?;
                    let pull = format!("flow pull {port} queue {queue}");
                    self.until(|session| {
                        Ok(session.command(&pull)?.contains("pulled 0 operations"))
                    })?;
                }
            }
        }
        for kind in &OBJECTS {
            for object in
                self.objects.iter().filter(|o| o.kind == kind).cloned().collect::<Vec<_>>()
            {
                let [before, behind] = kind.destroy;
                self.command(&format!("{before} {} {behind} {}", object.port, object.id))?;
            }
        }
        if !self.objects.is_empty() {
            return Err(format!("these do not go away: {:?}", self.objects));
        }
        for port in Port::ALL.map(Port::number) {
            let rules = self.command(&format!("flow list {port}"))?;
            if rules.contains("=>") {
                return Err(format!("rules are left after `flow flush {port}`:\n{rules}"));
            }
        }
        let dump = self.command("flow dump 0 all")?;
        let in_use = dump.lines().find_map(|line| line.strip_prefix("in use: "));
        // Only the simulated NIC says so.
        if in_use.is_some_and(|text| text.split(", ").any(|part| !part.starts_with("0 "))) {
            return Err(format!("something is left: {dump}"));
        }
        self.command("clear port xstats all")?;
        self.catch_up()?;
        self.wires.receive(Instant::now()).map_err(|e| e.to_string())?;
        self.begin();
        Ok(())
    }

    /// Forgets what was received and printed before a case.
    fn begin(&mut self) {
        self.received.clear();
        self.printed.clear();
        self.log.clear();
    }

    /// Tries again and again, for some seconds.
    ///
    /// # Errors
    /// When it never succeeded.
    pub fn until(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<bool, String>,
    ) -> Result<(), String> {
        const PATIENCE: Duration = Duration::from_secs(30);
        const PAUSE: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + PATIENCE;
        while !attempt(self)? {
            if Instant::now() > deadline {
                return Err(format!("not within {PATIENCE:?}"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_no_answers() {
        assert!(
            is_event("Port 1: flow aged event") && is_event("Port 12: link state change event")
        );
        for answer in ["Port 1 total aged flows: 1", "Flow rule #0 created", "Port x: no event"] {
            assert!(!is_event(answer), "{answer}");
        }
    }
}
