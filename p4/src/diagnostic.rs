//! Faults of a program text, shown as a compiler does: file, line, caret, hint.

use miette::{LabeledSpan, NamedSource};

/// A range of bytes of one source file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Which file, as [`Sources`] numbers them.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// The byte behind the last.
    pub end: u32,
}

impl Span {
    /// From the start of this range to the end of another; of two files, the first alone.
    #[must_use]
    pub fn to(self, last: Self) -> Self {
        if self.file == last.file && last.end >= self.start {
            Self { end: last.end, ..self }
        } else {
            self
        }
    }
}

/// A fault and its place, before it is joined with the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to write at the caret.
    pub label: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Problem {
    /// A fault at a place.
    pub fn new(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: label.into(), help: None }
    }

    /// With advice.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// A fault with the text it is in.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Diagnostic {
    message: String,
    place: Option<Box<Place>>,
}

/// Where a fault is, and what to say of it there.
#[derive(Debug)]
struct Place {
    label: LabeledSpan,
    help: Option<String>,
    text: NamedSource<String>,
}

impl Diagnostic {
    /// A fault that is at no place of a text, such as a file that cannot be read.
    #[must_use]
    pub fn without_place(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }
}

impl miette::Diagnostic for Diagnostic {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        let help = self.place.as_ref()?.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.place.as_ref()?.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.place.as_ref()?.label.clone())))
    }
}

/// The files that were read.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<(String, String)>,
}

impl Sources {
    /// Adds a file; its number is what spans name it by.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        self.files.push((name.into(), text.into()));
        self.files.len() as u32 - 1
    }

    /// A file's text.
    #[must_use]
    pub fn text(&self, file: u32) -> &str {
        &self.files[file as usize].1
    }

    /// Joins a fault with the text it is in.
    #[must_use]
    pub fn report(&self, problem: Problem) -> Diagnostic {
        let Span { file, start, end } = problem.span;
        let (name, text) = &self.files[file as usize];
        let length = end.saturating_sub(start).max(1) as usize;
        Diagnostic {
            message: problem.message,
            place: Some(Box::new(Place {
                label: LabeledSpan::new(Some(problem.label), start as usize, length),
                help: problem.help,
                text: NamedSource::new(name, text.clone()),
            })),
        }
    }
}
