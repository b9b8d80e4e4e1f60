//! Sources cut into pieces that can be read by themselves, on several threads.

use super::Source;
use super::report::{Position, Report, lines};

/// A piece of a source that can be read by itself: a document with what belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a str,
    pub(super) source: u32,
    /// Lines of the source before it.
    pub(super) lines_before: u32,
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
/// 9.1.2). Comments and directives belong to the document behind them. JSON objects one after another need no markers,
/// only lines of their own. With each piece comes the number of lines before it.
fn cut(text: &str) -> impl Iterator<Item = (&str, u32)> {
    let mut rest = text;
    let mut line_number = 0;
    std::iter::from_fn(move || {
        let first_line = line_number;
        let mut length = 0;
        let mut has_content = false;
        let mut object: Option<Braces> = None;
        for line in lines(rest.as_bytes()) {
            let is_marker = |marker: &[u8]| {
                line.strip_prefix(marker)
                    .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
            };
            let first = line.trim_ascii_start().first();
            let opens = first == Some(&b'{');
            let is_next_object = opens && object.as_ref().is_some_and(Braces::are_closed);
            if has_content && (is_marker(b"---") || is_next_object) {
                break;
            }
            length += line.len();
            line_number += 1;
            if is_marker(b"...") {
                break;
            }
            if opens && !has_content {
                object = Some(Braces::default());
            }
            if let Some(object) = &mut object {
                object.read(line);
            }
            has_content |= !matches!(first, None | Some(b'#')) && line.first() != Some(&b'%');
        }
        let (chunk, behind) = rest.split_at(length);
        rest = behind;
        (!chunk.is_empty()).then_some((chunk, first_line))
    })
}

/// The brackets of a document that starts with one, to see where it ends. Quotes and comments are those of YAML, so
/// that its flow style, of which JSON is a part, is never cut in the middle.
#[derive(Default)]
struct Braces {
    depth: usize,
    /// What ends the quotation that is open.
    quote: Option<u8>,
}

impl Braces {
    fn are_closed(&self) -> bool {
        self.depth == 0 && self.quote.is_none()
    }

    fn read(&mut self, line: &[u8]) {
        let mut bytes = line.iter();
        while let Some(&byte) = bytes.next() {
            match (self.quote, byte) {
                (Some(b'"'), b'\\') => drop(bytes.next()),
                (Some(quote), _) if byte == quote => self.quote = None,
                (None, b'"' | b'\'') => self.quote = Some(byte),
                (None, b'#') => return,
                (None, b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                (None, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (Some(_) | None, _) => {}
            }
        }
    }
}
