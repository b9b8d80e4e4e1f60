//! YAML text to trees whose every part knows its place.
//!
//! Only what intent needs: scalars, lists and maps with text keys. Anchors, aliases, tags, merge keys and repeated keys
//! are errors. A document that cannot be read does not hide the ones behind it.

use std::borrow::Cow;

use hashbrown::HashSet;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::Source;
use super::name::shortened;
use super::report::{Position, Report, lines};

/// Lists and maps within each other, at most.
const DEEPEST: usize = 32;

/// A part of a document.
pub(super) struct Node<'a> {
    pub(super) at: Position,
    pub(super) value: Value<'a>,
}

/// What a part is.
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

/// A piece of a source that can be read by itself: a document with what belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a str,
    source: u32,
    /// Lines of the source before it.
    lines_before: u32,
}

/// Cuts a source into pieces.
pub(super) fn chunks<'a>(source: &Source<'a>, number: u32, report: &mut Report) -> Vec<Chunk<'a>> {
    let error = match std::str::from_utf8(source.bytes) {
        Ok(text) => {
            return cut(text.strip_prefix('\u{feff}').unwrap_or(text))
                .map(|(text, lines_before)| Chunk { text, source: number, lines_before })
                .collect();
        }
        Err(error) => error,
    };
    let valid = source.bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line = lines(valid).last().unwrap_or_default();
    let ended = line.is_empty() || line.ends_with(b"\n") || line.ends_with(b"\r");
    let before = if ended { 0 } else { String::from_utf8_lossy(line).chars().count() };
    let at = Position {
        source: number,
        line: (lines(valid).count() + usize::from(ended)) as u32,
        column: before as u32 + 1,
    };
    report.error(at, None, "the file is not UTF-8 text", Some("save the file as UTF-8".to_owned()));
    Vec::new()
}

/// Cuts a stream between its documents.
///
/// A line that starts with `---` or `...` is a marker wherever it stands, also within a scalar (YAML 1.2, section
/// 9.1.2). Comments and directives belong to the document behind them. With each piece comes the number of
/// lines before it.
fn cut(text: &str) -> impl Iterator<Item = (&str, u32)> {
    let mut rest = text;
    let mut line_number = 0;
    std::iter::from_fn(move || {
        let first_line = line_number;
        let mut length = 0;
        let mut has_content = false;
        for line in lines(rest.as_bytes()) {
            let is_marker = |marker: &[u8]| {
                line.strip_prefix(marker)
                    .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
            };
            if is_marker(b"---") && has_content {
                break;
            }
            length += line.len();
            line_number += 1;
            if is_marker(b"...") {
                break;
            }
            let first = line.trim_ascii_start().first();
            has_content |= !matches!(first, None | Some(b'#')) && line.first() != Some(&b'%');
        }
        let (chunk, behind) = rest.split_at(length);
        rest = behind;
        (!chunk.is_empty()).then_some((chunk, first_line))
    })
}

/// A list or map that is not closed yet.
enum Open<'a> {
    Sequence { at: Position, items: Vec<Node<'a>> },
    Mapping { at: Position, entries: Vec<Entry<'a>>, key: Key<'a> },
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
    let position = |mark: &saphyr_parser::Marker| Position {
        source: chunk.source,
        line: chunk.lines_before + mark.line().max(1) as u32,
        column: mark.col() as u32 + 1,
    };
    let mut builder = Builder { open: Vec::new(), root: None };
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
            Event::Alias(_) => {
                let hint = "write the value out".to_owned();
                report.error(at, None, "aliases (`*name`) are not allowed", Some(hint));
                builder.value(Node { at, value: Value::Refused }, report);
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_decoration(at, anchor, tag.is_some(), report);
                let plain = style == ScalarStyle::Plain;
                builder.value(Node { at, value: Value::Scalar { text, plain } }, report);
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_decoration(at, anchor, tag.is_some(), report);
                builder.open.push(Open::Sequence { at, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                refuse_decoration(at, anchor, tag.is_some(), report);
                builder.open.push(Open::Mapping { at, entries: Vec::new(), key: Key::None });
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

fn refuse_decoration(at: Position, anchor: usize, tag: bool, report: &mut Report) {
    if anchor != 0 {
        let hint = "leave it out and repeat the value where it is needed".to_owned();
        report.error(at, None, "anchors (`&name`) are not allowed", Some(hint));
    }
    if tag {
        let hint = "leave it out; the field decides the type".to_owned();
        report.error(at, None, "tags (`!name`) are not allowed", Some(hint));
    }
}

struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
}

impl<'a> Builder<'a> {
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
        let node = match self.open.pop() {
            None => return,
            Some(Open::Sequence { at, items }) => Node { at, value: Value::Sequence(items) },
            Some(Open::Mapping { at, mut entries, .. }) => {
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
                Node { at, value: Value::Mapping(entries) }
            }
        };
        self.value(node, report);
    }
}
