//! STF, the plain text in which P4's test generators write: entries, packets, what is expected.

mod entry;
mod expectation;
mod line;
mod value;

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

/// Runs commands on a machine.
pub struct Runner<'m, 'p> {
    machine: &'m mut Machine<'p>,
    now: Time,
    /// What came of packets and was not asked for yet.
    outcomes: Vec<Verdict>,
    summary: Summary,
}

impl<'m, 'p> Runner<'m, 'p> {
    /// At time 0.
    pub fn new(machine: &'m mut Machine<'p>) -> Self {
        Self { machine, now: 0, outcomes: Vec::new(), summary: Summary::default() }
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
    /// The first line that is wrong or fails.
    pub fn file(&mut self, path: &Path) -> Result<(), StfError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| StfError::Read { path: path.to_owned(), error })?;
        for (number, line) in line::joined(&text) {
            self.line(&line, path).map_err(|problem| StfError::Line {
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
        self.line(text, Path::new(""))
    }

    fn line(&mut self, text: &str, path: &Path) -> Result<(), LineError> {
        match line::command(text).map_err(LineError::Syntax)? {
            Command::Add(entry) => entry::add(self.machine, &entry),
            Command::Remove(entry) => entry::remove(self.machine, &entry),
            Command::SetDefault { table, action } => {
                entry::set_default(self.machine, table, action)
            }
            Command::Meter { name, cell, rates } => {
                Ok(self.machine.set_meter(name, cell, rates)?)
            }
            Command::Include(file) => {
                let target = path.parent().map_or_else(|| file.into(), |home| home.join(file));
                self.file(&target).map_err(|error| LineError::Included(Box::new(error)))
            }
            Command::Wait(time) => {
                self.now += time;
                Ok(())
            }
            Command::Packet { port, bytes } => {
                let outcome = self.machine.process(self.now, port, &bytes)?;
                self.outcomes.push(outcome.verdict);
                self.summary.packets += 1;
                Ok(())
            }
            Command::Expect(expected) => self.expect(&expected),
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

    /// Takes the oldest outcome of the expected kind: drops that nobody asks for are passed over.
    fn first(&mut self, expected: &Expected) -> Option<Verdict> {
        let place = self.outcomes.iter().position(|verdict| expected.is_of_kind(verdict))?;
        let mut passed: Vec<Verdict> = self.outcomes.drain(..=place).collect();
        passed.pop()
    }

    fn expect(&mut self, expected: &Expected) -> Result<(), LineError> {
        let last = self.outcomes.last().map_or_else(|| "nothing".to_owned(), expectation::show);
        let found = self.first(expected);
        let met = found.as_ref().is_some_and(|found| expected.matches(found));
        self.met(met, || (expected.to_string(), found.as_ref().map_or(last, expectation::show)))
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
