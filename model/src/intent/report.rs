//! Collecting errors while intent is read.

use std::sync::Arc;

use super::Source;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// A place in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Which of the sources.
    pub(super) source: u32,
    /// From 1.
    pub(super) line: u32,
    /// In characters, from 1.
    pub(super) column: u32,
}

/// A value and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Position,
}

/// The errors found so far.
#[derive(Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    /// So many are of documents that are done.
    named: usize,
}

struct Problem {
    at: Position,
    object: Option<String>,
    message: String,
    hint: Option<String>,
}

impl Report {
    /// Adds an error.
    pub(super) fn error(
        &mut self,
        at: Position,
        object: Option<String>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.push(Problem { at, object, message: message.into(), hint });
    }

    /// Gives the object to those errors of a document that do not name one.
    pub(super) fn end_document(&mut self, object: impl FnOnce() -> Option<String>) {
        let unnamed = self.problems.get_mut(self.named..).unwrap_or_default();
        if !unnamed.is_empty() {
            let object = object();
            for problem in unnamed {
                problem.object = problem.object.take().or_else(|| object.clone());
            }
        }
        self.named = self.problems.len();
    }

    /// Adds the errors of documents that are read elsewhere.
    pub(super) fn append(&mut self, mut other: Self) {
        self.problems.append(&mut other.problems);
        self.named = self.problems.len();
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The errors, with the names and lines of their files.
    pub(super) fn diagnostics(self, sources: &[Source<'_>]) -> Diagnostics {
        let files: Vec<Excerpts> = sources.iter().map(Excerpts::new).collect();
        let list = self
            .problems
            .into_iter()
            .map(|Problem { at, object, message, hint }| {
                let file = files.get(at.source as usize);
                Diagnostic {
                    source: at.source,
                    line: at.line,
                    column: at.column,
                    file: file.map_or_else(|| "".into(), |file| Arc::clone(&file.name)),
                    object,
                    message,
                    hint,
                    excerpt: file.and_then(|file| file.line(at.line)),
                }
            })
            .collect();
        Diagnostics::new(list)
    }
}

/// The lines of a source.
struct Excerpts<'a> {
    name: Arc<str>,
    lines: Vec<&'a [u8]>,
}

impl<'a> Excerpts<'a> {
    /// Longer lines are not shown.
    const LONGEST: usize = 160;

    fn new(source: &Source<'a>) -> Self {
        Self { name: source.name.into(), lines: lines(source.bytes).collect() }
    }

    fn line(&self, number: u32) -> Option<String> {
        let line = self.lines.get(number.checked_sub(1)? as usize)?;
        let line = line.trim_ascii_end();
        let shown = (1..=Self::LONGEST).contains(&line.len());
        let text = shown.then(|| String::from_utf8_lossy(line))?;
        Some(
            text.chars()
                .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
                .collect(),
        )
    }
}

/// Splits at the line breaks of YAML 1.2 (section 5.4): CR LF, LF or CR. Breaks stay at the ends of their lines.
pub(super) fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = match rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            None => rest.len(),
            Some(at) if rest[at..].starts_with(b"\r\n") => at + 2,
            Some(at) => at + 1,
        };
        let (line, behind) = rest.split_at(end);
        rest = behind;
        (!line.is_empty()).then_some(line)
    })
}
