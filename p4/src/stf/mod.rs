//! STF, the plain text in which P4's test generators write: entries, packets, what is expected.

mod entry;
mod expectation;
mod line;
mod value;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::interpreter::table::EntryError;
use crate::interpreter::{Fault, Machine, Time, Verdict};
use expectation::Expected;
use line::Command;

/// Why a test cannot be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum StfError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A line is wrong, or what it expects did not happen.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: LineError,
    },
    /// Packets came out that nothing expects.
    #[error("{}: nothing expects {}", path.display(), unexpected.join("; "))]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What came out.
        unexpected: Vec<String>,
    },
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It cannot be understood.
    #[error("{0}")]
    Syntax(String),
    /// The table refuses the entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The program did what is undefined.
    #[error("the program is wrong: {0}")]
    Fault(#[from] Fault),
    /// Something else happened.
    #[error("expected {expected}\n  found    {found}")]
    Expected {
        /// What was expected.
        expected: String,
        /// What happened.
        found: String,
    },
    /// In an included file.
    #[error("{0}")]
    Included(Box<StfError>),
}

/// What a test did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Packets sent.
    pub packets: usize,
    /// Expectations met.
    pub expectations: usize,
}

/// A packet in hexadecimal digits or packet notation.
///
/// # Errors
/// Neither of them.
pub fn packet(text: &str) -> Result<Vec<u8>, String> {
    line::bytes(text)
}

/// An expectation that stands before its packet.
struct Awaited {
    expected: Expected,
    path: PathBuf,
    line: usize,
    /// What is wrong if nothing comes.
    problem: LineError,
}

/// Runs commands on a machine.
pub struct Runner<'m, 'p> {
    machine: &'m mut Machine<'p>,
    now: Time,
    /// What came of packets and was not asked for yet.
    outcomes: Vec<Verdict>,
    /// What was asked for before its packet.
    awaited: VecDeque<Awaited>,
    /// The line that is run.
    line: usize,
    summary: Summary,
}

impl<'m, 'p> Runner<'m, 'p> {
    /// At time 0.
    pub fn new(machine: &'m mut Machine<'p>) -> Self {
        Self {
            machine,
            now: 0,
            outcomes: Vec::new(),
            awaited: VecDeque::new(),
            line: 0,
            summary: Summary::default(),
        }
    }

    /// At a later time.
    pub fn at(machine: &'m mut Machine<'p>, now: Time) -> Self {
        Self { now, ..Self::new(machine) }
    }

    /// Runs a test file.
    ///
    /// # Errors
    /// The first line that is wrong or fails; packets that nothing expects.
    pub fn test(mut self, path: &Path) -> Result<Summary, StfError> {
        self.file(path)?;
        let unexpected: Vec<String> = self
            .outcomes
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::Forward { .. }))
            .map(expectation::show)
            .collect();
        if unexpected.is_empty() {
            return Ok(self.summary);
        }
        Err(StfError::Unexpected { path: path.to_owned(), unexpected })
    }

    /// Runs the commands of a file, of entries for example.
    ///
    /// # Errors
    /// The first line that is wrong or fails; an expectation that nothing came for.
    pub fn file(&mut self, path: &Path) -> Result<(), StfError> {
        self.lines(path)?;
        match self.awaited.pop_front() {
            None => Ok(()),
            Some(Awaited { path, line, problem, .. }) => {
                Err(StfError::Line { path, line, problem })
            }
        }
    }

    fn lines(&mut self, path: &Path) -> Result<(), StfError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| StfError::Read { path: path.to_owned(), error })?;
        for (number, line) in line::joined(&text) {
            self.line = number;
            self.run(&line, path).map_err(|problem| StfError::Line {
                path: path.to_owned(),
                line: number,
                problem,
            })?;
        }
        Ok(())
    }

    /// Runs one command. A file that it includes is looked for where the process is.
    ///
    /// # Errors
    /// It is wrong, or fails.
    pub fn command(&mut self, text: &str) -> Result<(), LineError> {
        self.run(text, Path::new(""))?;
        self.awaited.pop_front().map_or(Ok(()), |awaited| Err(awaited.problem))
    }

    fn run(&mut self, text: &str, path: &Path) -> Result<(), LineError> {
        match line::command(text).map_err(LineError::Syntax)? {
            Command::Add(entry, action) => entry::add(self.machine, &entry, &action),
            Command::Remove(entry) => entry::remove(self.machine, &entry),
            Command::SetDefault { table, action } => {
                entry::set_default(self.machine, table, &action)
            }
            Command::Meter { name, cell, rates } => {
                Ok(self.machine.set_meter(name, cell, rates)?)
            }
            Command::Conntrack(settings) => self.conntrack(&settings),
            Command::Recheck => Ok(self.machine.recheck(self.now)?),
            Command::Include(file) => {
                let target = path.parent().map_or_else(|| file.into(), |home| home.join(file));
                self.lines(&target).map_err(|error| LineError::Included(Box::new(error)))
            }
            Command::Wait(time) => {
                self.now += time;
                Ok(())
            }
            Command::Packet { port, bytes } => {
                let outcome = self.machine.process(self.now, port, &bytes)?;
                self.summary.packets += 1;
                self.came(outcome.verdict)
            }
            Command::Expect(expected) => self.expect(expected, path),
            Command::NoPacket => match self.first(&Expected::AnyPort) {
                None => Ok(()),
                Some(found) => Err(LineError::Expected {
                    expected: "no packet".to_owned(),
                    found: expectation::show(&found),
                }),
            },
            Command::CheckCounter { name, cell, bytes, wanted } => {
                let (packets, octets) = self.machine.counter(name, cell).ok_or_else(|| {
                    LineError::Syntax(format!("there is no counter `{name}` with a cell {cell}"))
                })?;
                let found = if bytes { octets } else { packets };
                self.met(found == wanted, || {
                    (format!("{name}({cell}) == {wanted}"), found.to_string())
                })
            }
        }
    }

    /// Timeouts, and how many there may be.
    fn conntrack(&mut self, settings: &[(&str, &str)]) -> Result<(), LineError> {
        let tracker = self.machine.conntrack();
        let tracker = tracker.ok_or_else(|| {
            LineError::Syntax("the program has no connection tracking".to_owned())
        })?;
        let (timeouts, limits) = tracker.settings();
        for (name, value) in settings {
            if let Some(timeout) = timeouts.named(name) {
                *timeout = line::time(value).map_err(LineError::Syntax)?;
            } else if let Some(limit) = limits.named(name) {
                *limit = line::number(value).map_err(LineError::Syntax)?;
            } else {
                return Err(LineError::Syntax(format!(
                    "`{name}` is neither a timeout nor a limit"
                )));
            }
        }
        Ok(())
    }

    /// Takes the oldest outcome of the expected kind: drops that nobody asks for are passed over.
    fn first(&mut self, expected: &Expected) -> Option<Verdict> {
        let place = self.outcomes.iter().position(|verdict| expected.is_of_kind(verdict))?;
        let mut passed: Vec<Verdict> = self.outcomes.drain(..=place).collect();
        passed.pop()
    }

    /// Something came of a packet.
    fn came(&mut self, verdict: Verdict) -> Result<(), LineError> {
        let awaited = self.awaited.front().is_some_and(|a| a.expected.is_of_kind(&verdict));
        let Some(Awaited { expected, .. }) = awaited.then(|| self.awaited.pop_front()).flatten()
        else {
            self.outcomes.push(verdict);
            return Ok(());
        };
        self.met(expected.matches(&verdict), || (expected.to_string(), expectation::show(&verdict)))
    }

    /// What is expected came already, or is awaited: an expectation may stand before its packet.
    fn expect(&mut self, expected: Expected, path: &Path) -> Result<(), LineError> {
        let before = self.outcomes.last().map_or_else(|| "nothing".to_owned(), expectation::show);
        if let Some(found) = self.first(&expected) {
            let met = expected.matches(&found);
            return self.met(met, || (expected.to_string(), expectation::show(&found)));
        }
        let problem = LineError::Expected { expected: expected.to_string(), found: before };
        let line = self.line;
        self.awaited.push_back(Awaited { expected, path: path.to_owned(), line, problem });
        Ok(())
    }

    fn met(
        &mut self,
        met: bool,
        texts: impl FnOnce() -> (String, String),
    ) -> Result<(), LineError> {
        if met {
            self.summary.expectations += 1;
            return Ok(());
        }
        let (expected, found) = texts();
        Err(LineError::Expected { expected, found })
    }
}

/// The program that a test is for: `NAME.p4` beside `NAME.stf`, else the nearest `pipeline.p4` above it.
#[must_use]
pub fn program_of(test: &Path) -> Option<PathBuf> {
    let own = test.with_extension("p4");
    if own.exists() {
        return Some(own);
    }
    let home = std::path::absolute(test).ok()?;
    home.ancestors().map(|above| above.join("pipeline.p4")).find(|path| path.exists())
}
