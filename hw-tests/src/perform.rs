//! Performing a case's steps.

use std::fmt::Write;
use std::time::{Duration, Instant};

use testbed::difference::align;
use testbed::notation::show;

use crate::case::Case;
use crate::place::Place;
use crate::refusal::Printed;
use crate::session::Session;
use crate::step::{Act, Command, Pull, Sentinel, Traffic};
use crate::target::Target;
use crate::wires::Arrival;

/// How long frames may be on their way.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most frames that one step sends: as many as wait in an interface without loss.
const MOST_FRAMES: usize = 400;
/// A frame that rules rarely match, to everybody, of an EtherType for experiments (IEEE 802, 9.2.4).
const SENTINEL: &str = "eth(dst=ff:ff:ff:ff:ff:ff, src=02:00:00:00:5e:01, type=0x88b5)";
/// Shortest frame on a real wire, in bytes, without its check sequence.
const SHORTEST: usize = 60;

/// Performs the steps that hold for the profile.
pub fn steps(
    session: &mut Session,
    case: &Case,
    profile: &str,
    target: &Target,
) -> Result<(), String> {
    for (number, step) in case.steps.iter().enumerate() {
        if !step.holds_for(profile) {
            continue;
        }
        let mut perform = Perform { session, case, target };
        perform.act(&step.act).map_err(|e| format!("step {}: {e}", number + 1))?;
    }
    Ok(())
}

struct Perform<'a> {
    session: &'a mut Session,
    case: &'a Case,
    target: &'a Target,
}

impl Perform<'_> {
    fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Run(command) => self.run(command),
            Act::Until(command) => self.until(command),
            Act::Pull(pull) => self.pull(pull),
            Act::Send(traffic) => self.send(traffic),
            Act::Hear(lines) => self.hear(lines),
        }
    }

    fn run(&mut self, command: &Command) -> Result<(), String> {
        let line = &command.line;
        let output = self.session.command(line)?;
        let wrong = match (&command.refused, Printed::find(&output)) {
            (Some(_), None) => misunderstood(line, &output)
                .filter(|_| !output.contains("created"))
                .or_else(|| Some("accepted, though it should be refused".to_owned())),
            (Some(expected), Some(refused)) => {
                let strict = self.target.is_simulated();
                expected.differs(&refused, line, &mut self.session.arrays, strict)
            }
            (None, Some(refused)) => Some(format!("refused: {refused}")),
            (None, None) => misunderstood(line, &output),
        };
        match wrong.or_else(|| command.lacking(&output)) {
            None => Ok(()),
            Some(wrong) => Err(format!("`{line}`: {wrong}")),
        }
    }

    fn until(&mut self, command: &Command) -> Result<(), String> {
        let mut last = String::new();
        let result = self.session.until(|session| {
            last = session.command(&command.line)?;
            Ok(match (&command.refused, Printed::find(&last)) {
                (Some(expected), Some(refused)) => {
                    expected.differs(&refused, &command.line, &mut session.arrays, false).is_none()
                }
                (None, None) => command.lacking(&last).is_none(),
                _ => false,
            })
        });
        result.map_err(|e| {
            let lacking = command.lacking(&last).unwrap_or_default();
            format!("`{}`: {e}: {lacking}\n{last}", command.line)
        })
    }

    fn pull(&mut self, pull: &Pull) -> Result<(), String> {
        let line = format!("flow pull {}", pull.queue);
        let (mut succeeded, mut failed) = (0, 0);
        let result = self.session.until(|session| {
            let output = session.command(&line)?;
            let (more_failed, more_succeeded) =
                pulled(&output).ok_or_else(|| format!("`{line}`: {output}"))?;
            failed += more_failed;
            succeeded += more_succeeded;
            Ok(succeeded + failed >= pull.succeeded + pull.failed)
        });
        if result.is_ok() && (succeeded, failed) == (pull.succeeded, pull.failed) {
            return Ok(());
        }
        Err(format!(
            "`{line}`: expected {} to succeed and {} to fail; {succeeded} and {failed} did",
            pull.succeeded, pull.failed
        ))
    }

    fn hear(&mut self, lines: &[String]) -> Result<(), String> {
        let heard = self.session.until(|session| {
            session.catch_up()?;
            Ok(lines.iter().all(|line| session.printed.contains(line)))
        });
        heard.map_err(|e| format!("testpmd did not print {lines:?}: {e}"))
    }

    fn send(&mut self, traffic: &Traffic) -> Result<(), String> {
        if traffic.frames.len() * traffic.times > MOST_FRAMES {
            return Err(format!("a step sends {MOST_FRAMES} frames at most"));
        }
        self.session.catch_up()?;
        self.session.received.clear();
        let mut frames = Vec::new();
        for (place, text) in &traffic.frames {
            frames.push((*place, self.case.packet(text)?));
        }
        for _ in 0..traffic.times {
            for (place, frame) in &frames {
                self.session.wires.send(*place, frame).map_err(|e| e.to_string())?;
            }
        }
        let mut seen = Vec::new();
        let expected: usize = traffic.out.iter().map(|expected| expected.times).sum();
        let sentinel = match &traffic.sentinel {
            Sentinel::Usual => Some(SENTINEL),
            Sentinel::Layers(layers) => Some(layers.as_str()),
            Sentinel::Lost => None,
        };
        match sentinel {
            Some(layers) => {
                let mut places: Vec<Place> = frames.iter().map(|(place, _)| *place).collect();
                places.sort_unstable();
                places.dedup();
                // Twice: the first may overtake frames of another receive queue, the second does not.
                for _ in 0..2 {
                    self.sentinels(&places, layers, &mut seen)?;
                }
            }
            None => self.wait(&mut seen, |seen| seen.len() >= expected)?,
        }
        self.compare(traffic, &seen)
    }

    /// Sends a sentinel at each of the places and takes frames until all have come out.
    fn sentinels(
        &mut self,
        places: &[Place],
        layers: &str,
        seen: &mut Vec<Arrival>,
    ) -> Result<(), String> {
        let mut words = Vec::new();
        for place in places {
            let word = sentinel_word(self.session.next_sentinel());
            let frame = self.case.packet(&format!("{layers}/\"{word}\""))?;
            self.session.wires.send(*place, &frame).map_err(|e| e.to_string())?;
            words.push(word);
        }
        let here = |seen: &[Arrival], word: &str| {
            seen.iter().any(|arrival| contains(&arrival.frame, word.as_bytes()))
        };
        self.wait(seen, |seen| words.iter().all(|word| here(seen, word)))?;
        if words.iter().all(|word| here(seen, word)) {
            return Ok(());
        }
        let list = self.listing(seen);
        Err(format!(
            "the sentinel behind the frames did not come out: {} came\n{list}",
            if list.is_empty() { "nothing" } else { "this" }
        ))
    }

    /// Takes frames until there are enough, or it is too late.
    fn wait(
        &mut self,
        seen: &mut Vec<Arrival>,
        enough: impl Fn(&[Arrival]) -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !enough(seen) && Instant::now() < deadline {
            seen.extend(self.session.wires.receive(deadline).map_err(|e| e.to_string())?);
        }
        Ok(())
    }

    fn compare(&mut self, traffic: &Traffic, seen: &[Arrival]) -> Result<(), String> {
        let mut expected = Vec::new();
        for frame in &traffic.out {
            let bytes = self.case.packet(&frame.packet)?;
            let line = self.line(frame.place, &bytes);
            expected.extend(std::iter::repeat_n((frame, line), frame.times));
        }
        // Places are compared one by one. Within a place frames have an order, if they came from one place.
        expected.sort_by_key(|(frame, _)| frame.place);
        let actual = seen.iter().filter(|arrival| !is_sentinel(&arrival.frame));
        let mut actual: Vec<(&Arrival, String)> =
            actual.map(|arrival| (arrival, self.line(arrival.place, &arrival.frame))).collect();
        actual.sort_by_key(|(arrival, _)| arrival.place);
        if traffic.frames.iter().any(|(place, _)| *place != traffic.frames[0].0) {
            expected.sort_by(|a, b| a.1.cmp(&b.1));
            actual.sort_by(|a, b| a.1.cmp(&b.1));
        }
        let lines: Vec<String> = expected.iter().map(|(_, line)| line.clone()).collect();
        let shown: Vec<String> = actual.iter().map(|(_, line)| line.clone()).collect();
        if lines != shown {
            let mut text = String::from("frames out (- expected, + seen):\n");
            for (mark, line) in align(&lines, &shown) {
                let _ = writeln!(text, "  {mark} {line}");
            }
            return Err(text);
        }
        if expected.iter().all(|(frame, _)| !frame.told.is_something()) {
            return Ok(());
        }
        self.session.catch_up()?;
        for (index, (frame, line)) in expected.iter().enumerate() {
            if !frame.told.is_something() {
                continue;
            }
            let Place::Application(port) = frame.place else {
                return Err(format!("{line}: only the application is told of queues and marks"));
            };
            // The n-th frame that the application passed on is the n-th it received, sentinels among them.
            let arrivals = seen.iter().filter(|arrival| arrival.place == frame.place);
            let at = arrivals.clone().position(|arrival| std::ptr::eq(arrival, actual[index].0));
            let received =
                self.session.received.iter().filter(|received| received.port == port.number());
            if received.clone().count() != arrivals.count() {
                return Err(format!("{line}: testpmd reports another number of packets"));
            }
            let told = at.and_then(|at| received.clone().nth(at));
            if let Some(wrong) = told.and_then(|told| frame.told.differs(told)) {
                return Err(format!("{line}: {wrong}"));
            }
        }
        Ok(())
    }

    /// A frame as it is compared and shown.
    fn line(&self, place: Place, frame: &[u8]) -> String {
        let mut frame = frame.to_vec();
        if !self.target.is_simulated() {
            frame.resize(frame.len().max(SHORTEST), 0);
        }
        format!("{place}: {}", show(&frame))
    }

    fn listing(&self, arrivals: &[Arrival]) -> String {
        arrivals.iter().fold(String::new(), |mut text, arrival| {
            let _ = writeln!(text, "  {}", self.line(arrival.place, &arrival.frame));
            text
        })
    }
}

impl Command {
    /// Which words are missing, or too much, in what it printed.
    fn lacking(&self, output: &str) -> Option<String> {
        let missing = self.prints.iter().find(|words| !output.contains(*words));
        let present = self.lacks.iter().find(|words| output.contains(*words));
        let missing =
            missing.map(|words| format!("\"{words}\" is not in what it printed:\n{output}"));
        missing.or_else(|| {
            present.map(|words| format!("\"{words}\" is in what it printed:\n{output}"))
        })
    }
}

/// What testpmd says of a command that did not reach the driver, or not with success.
fn misunderstood(line: &str, output: &str) -> Option<String> {
    const COMPLAINTS: [&str; 8] = [
        "Bad arguments",
        "Command not found",
        "Ambiguous command",
        "Invalid port",
        "is invalid",
        "not found",
        "Failed to",
        "not destroyed",
    ];
    const ANSWERS: [(&str, &str); 4] = [
        ("flow create ", "created"),
        ("flow validate ", "validated"),
        ("flow destroy ", "destroyed"),
        ("flow configure ", "Configure flows"),
    ];
    let complaint = COMPLAINTS.iter().find(|words| output.contains(*words));
    let answer =
        ANSWERS.iter().find(|(begin, words)| line.starts_with(begin) && !output.contains(words));
    (complaint.is_some() || answer.is_some()).then(|| format!("testpmd says: {output}"))
}

/// Failed and succeeded operations of `Queue #0 pulled 2 operations (0 failed, 2 succeeded)`.
fn pulled(output: &str) -> Option<(u32, u32)> {
    let (_, rest) = output.split_once(" operations (")?;
    let (failed, rest) = rest.split_once(" failed, ")?;
    Some((failed.parse().ok()?, rest.split_once(" succeeded")?.0.parse().ok()?))
}

/// What every sentinel contains.
const SENTINEL_WORD: &str = "penstock-sentinel-";

fn sentinel_word(number: u32) -> String {
    format!("{SENTINEL_WORD}{number:08}")
}

fn is_sentinel(frame: &[u8]) -> bool {
    contains(frame, SENTINEL_WORD.as_bytes())
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
