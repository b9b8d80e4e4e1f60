//! YAML text to trees whose every part knows its place.
//!
//! Only what intent needs: scalars, lists and maps with text keys, and aliases of them. Tags, merge keys and repeated
//! keys are errors. A document that cannot be read does not hide the ones behind it.
//!
//! Documents as nearly everyone writes them have a reader of their own (`plain`): it is several times faster.

mod anchors;
mod plain;

use std::borrow::Cow;

use anchors::Anchors;

use hashbrown::HashSet;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::chunk::Chunk;
use super::name::shortened;
use super::report::{Position, Report};

/// Lists and maps within each other, at most.
const DEEPEST: usize = 32;

/// A part of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node<'a> {
    pub(super) at: Position,
    pub(super) value: Value<'a>,
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A text, and whether it was written without quotes.
    Scalar { text: Cow<'a, str>, plain: bool },
    /// A list.
    Sequence(Vec<Node<'a>>),
    /// A map; each key once.
    Mapping(Vec<Entry<'a>>),
    /// Something that is not for intent and has been reported.
    Refused,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) at: Position,
    pub(super) value: Node<'a>,
}

/// A document.
pub(super) struct Document<'a> {
    pub(super) root: Node<'a>,
    /// The syntax error at which reading ended, where there is one; the root holds what stands before it.
    pub(super) broken: Option<(Position, String)>,
}

/// A list or map that is not closed yet.
enum Open<'a> {
    Sequence { at: Position, anchor: usize, items: Vec<Node<'a>> },
    Mapping { at: Position, anchor: usize, entries: Vec<Entry<'a>>, key: Key<'a> },
}

/// What a map waits for.
enum Key<'a> {
    /// A key.
    None,
    /// The value of this key.
    Text(Cow<'a, str>, Position),
    /// A value that will be thrown away, with a key that has been reported.
    Refused,
}

/// Reads the document of a piece, if it has one.
pub(super) fn read<'a>(
    chunk: &Chunk<'a>,
    report: &mut Report,
    mut each: impl FnMut(Document<'a>, &mut Report),
) {
    match plain::read(chunk) {
        Some(root) => each(Document { root, broken: None }, report),
        None => read_any(chunk, report, each),
    }
}

/// The same for all of YAML.
fn read_any<'a>(
    chunk: &Chunk<'a>,
    report: &mut Report,
    mut each: impl FnMut(Document<'a>, &mut Report),
) {
    let position = |mark: &saphyr_parser::Marker| Position {
        source: chunk.source,
        line: chunk.lines_before + mark.line().max(1) as u32,
        column: mark.col() as u32 + 1,
    };
    let mut builder = Builder { open: Vec::new(), root: None, anchors: Anchors::default() };
    let mut parser = Parser::new_from_str(chunk.text);
    let broken = loop {
        let (event, span): (Event<'a>, Span) = match parser.next_event() {
            None => return,
            Some(Ok(event)) => event,
            Some(Err(error)) => break (position(error.marker()), error.info().to_owned()),
        };
        let at = position(&span.start);
        let is_start = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if is_start && builder.open.len() == DEEPEST {
            break (at, format!("more than {DEEPEST} lists and maps within each other"));
        }
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
            Event::StreamEnd => return,
            Event::DocumentEnd => {
                if let Some(root) = builder.root.take() {
                    each(Document { root, broken: None }, report);
                }
            }
            Event::Alias(anchor) => match builder.anchors.get(anchor, DEEPEST - builder.open.len())
            {
                Ok(node) => builder.value(node, report),
                Err(error) => break (at, error.to_string()),
            },
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(at, tag.is_some(), report);
                let plain = style == ScalarStyle::Plain;
                let node = Node { at, value: Value::Scalar { text, plain } };
                builder.finished(node, anchor, report);
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(at, tag.is_some(), report);
                builder.open.push(Open::Sequence { at, anchor, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(at, tag.is_some(), report);
                let (entries, key) = (Vec::new(), Key::None);
                builder.open.push(Open::Mapping { at, anchor, entries, key });
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(report),
        }
    };
    while !builder.open.is_empty() {
        builder.close(report);
    }
    let root = builder.root.unwrap_or(Node { at: broken.0, value: Value::Refused });
    each(Document { root, broken: Some(broken) }, report);
}

fn refuse_tag(at: Position, tag: bool, report: &mut Report) {
    if tag {
        let hint = "leave it out; the field decides the type".to_owned();
        report.error(at, None, "tags (`!name`) are not allowed", Some(hint));
    }
}

struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    anchors: Anchors<'a>,
}

impl<'a> Builder<'a> {
    /// A value that is complete, and the anchor before it (0: none).
    fn finished(&mut self, node: Node<'a>, anchor: usize, report: &mut Report) {
        self.anchors.remember(anchor, &node);
        self.value(node, report);
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Node<'a>, report: &mut Report) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => {
                *key = match (std::mem::replace(key, Key::None), node.value) {
                    (Key::None, Value::Scalar { text, plain: true }) if text == "<<" => {
                        let hint = "write the fields out".to_owned();
                        report.error(
                            node.at,
                            None,
                            "merge keys (`<<`) are not allowed",
                            Some(hint),
                        );
                        Key::Refused
                    }
                    (Key::None, Value::Scalar { text, .. }) => Key::Text(text, node.at),
                    (Key::None, Value::Refused) => Key::Refused,
                    (Key::None, Value::Sequence(_) | Value::Mapping(_)) => {
                        report.error(
                            node.at,
                            None,
                            "a key must be a text, not a list or a map",
                            None,
                        );
                        Key::Refused
                    }
                    (Key::Text(text, at), value) => {
                        entries.push(Entry { key: text, at, value: Node { at: node.at, value } });
                        Key::None
                    }
                    (Key::Refused, _) => Key::None,
                };
            }
        }
    }

    /// Ends the innermost list or map.
    fn close(&mut self, report: &mut Report) {
        let (node, anchor) = match self.open.pop() {
            None => return,
            Some(Open::Sequence { at, anchor, items }) => {
                (Node { at, value: Value::Sequence(items) }, anchor)
            }
            Some(Open::Mapping { at, anchor, mut entries, .. }) => {
                let mut seen = HashSet::with_capacity(entries.len());
                let repeated: Vec<bool> =
                    entries.iter().map(|entry| !seen.insert(&entry.key[..])).collect();
                drop(seen);
                let mut repeated = repeated.into_iter();
                entries.retain(|entry| {
                    let again = repeated.next().unwrap_or_default();
                    if again {
                        let message = format!("`{}` is given twice", shortened(&entry.key));
                        report.error(entry.at, None, message, Some("keep one of them".to_owned()));
                    }
                    !again
                });
                (Node { at, value: Value::Mapping(entries) }, anchor)
            }
        };
        self.finished(node, anchor, report);
    }
}
