//! Documents as nearly everyone writes them, read several times faster than YAML can be.
//!
//! They are ASCII, and of block maps and lists with texts of one line, or JSON. Whatever else a document has (anchors,
//! tags, escapes, texts over several lines, comments behind values, errors), it is left to the parser for all of YAML,
//! which reads it from the start. What is read here is read there alike, places included.

use std::borrow::Cow;

use hashbrown::HashSet;

use super::{DEEPEST, Entry, Node, Value};
use crate::intent::chunk::Chunk;
use crate::intent::report::Position;

/// A map with fewer keys is searched for a repeated one without a set.
const FEW: usize = 16;

/// The document of a piece; `None` when it is not plain.
pub(super) fn read<'a>(chunk: &Chunk<'a>) -> Option<Node<'a>> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n');
    if !chunk.text.as_bytes().iter().all(is_plain) {
        return None;
    }
    let mut reader = Reader { chunk, at: 0, line_start: 0, line: 1, depth: 0 };
    let mut indent = reader.next_content()?;
    if reader.rest().strip_prefix("---").is_some_and(|rest| rest.starts_with('\n')) && indent == 0 {
        reader.at += 3;
        indent = reader.next_content()?;
    }
    let root = match reader.peek()? {
        b'{' => {
            let root = reader.flow(Lines::Several)?;
            reader.end_of_line()?;
            root
        }
        _ => reader.block(indent)?,
    };
    // Nothing but blank lines and comments may follow.
    reader.next_content().is_none().then_some(root)
}

/// Whether what stands in brackets may go over several lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Several,
}

struct Reader<'c, 'a> {
    chunk: &'c Chunk<'a>,
    at: usize,
    line_start: usize,
    line: u32,
    depth: usize,
}

const fn is_word(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-')
}

const fn starts_word(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/')
}

impl<'a> Reader<'_, 'a> {
    fn rest(&self) -> &'a str {
        self.chunk.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.byte(0)
    }

    /// The byte so many further on.
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.chunk.text.as_bytes().get(self.at + ahead).copied()
    }

    fn position(&self) -> Position {
        Position {
            source: self.chunk.source,
            line: self.chunk.lines_before + self.line,
            column: self.column() as u32 + 1,
        }
    }

    /// How far into its line this is.
    fn column(&self) -> usize {
        self.at - self.line_start
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// To the next line.
    fn line_break(&mut self) {
        self.at += 1;
        self.line_start = self.at;
        self.line += 1;
    }

    /// Over spaces to the end of the line; `None` when something else is there.
    fn end_of_line(&mut self) -> Option<()> {
        self.skip_spaces();
        matches!(self.peek(), None | Some(b'\n')).then_some(())
    }

    /// From the start or the end of a line over blank lines and comments to the next that has content; its indentation.
    fn next_content(&mut self) -> Option<usize> {
        loop {
            self.skip_spaces();
            match self.peek()? {
                b'\n' => self.line_break(),
                b'#' => self.at += self.rest().find('\n')?,
                _ => return Some(self.column()),
            }
        }
    }

    fn enter(&mut self) -> Option<()> {
        self.depth += 1;
        (self.depth <= DEEPEST).then_some(())
    }

    /// A block map or list whose first line is this one, indented so far.
    fn block(&mut self, indent: usize) -> Option<Node<'a>> {
        if self.is_item() { self.sequence(indent, self.position()) } else { self.mapping(indent) }
    }

    /// Whether a list's item begins here.
    fn is_item(&self) -> bool {
        self.peek() == Some(b'-') && self.byte(1) == Some(b' ')
    }

    fn sequence(&mut self, indent: usize, at: Position) -> Option<Node<'a>> {
        self.enter()?;
        let mut items = Vec::new();
        loop {
            self.at += 1;
            self.skip_spaces();
            let is_key = || {
                let length = self.rest().bytes().take_while(|byte| is_word(*byte)).count();
                self.byte(length) == Some(b':')
                    && matches!(self.byte(length + 1), Some(b' ' | b'\n'))
            };
            let item = if self.peek().is_some_and(starts_word) && is_key() {
                self.mapping(self.column())?
            } else {
                self.line_value()?
            };
            items.push(item);
            match self.next_content() {
                Some(next) if next == indent && self.is_item() => {}
                Some(next) if next > indent => return None,
                _ => break,
            }
        }
        self.depth -= 1;
        Some(Node { at, value: Value::Sequence(items) })
    }

    fn mapping(&mut self, indent: usize) -> Option<Node<'a>> {
        self.enter()?;
        let at = self.position();
        let mut entries = Vec::new();
        loop {
            let key_at = self.position();
            let key = self.word()?;
            (self.peek()? == b':').then_some(())?;
            self.at += 1;
            let value = match self.peek()? {
                b' ' => {
                    self.skip_spaces();
                    if self.peek()? == b'\n' {
                        self.value_below(indent)?
                    } else {
                        self.line_value()?
                    }
                }
                b'\n' => self.value_below(indent)?,
                _ => return None,
            };
            entries.push(Entry { key: key.into(), at: key_at, value });
            match self.next_content() {
                Some(next) if next == indent && !self.is_item() => {}
                Some(next) if next > indent => return None,
                _ => break,
            }
        }
        self.depth -= 1;
        map(at, entries)
    }

    /// The map or list in the lines below a key.
    fn value_below(&mut self, indent: usize) -> Option<Node<'a>> {
        let below = self.next_content()?;
        if below > indent {
            return self.block(below);
        }
        // A list may be as far in as its key. Its place is then taken to be that of what is in its first item.
        (below == indent && self.is_item()).then_some(())?;
        let spaces = self.rest().bytes().skip(1).take_while(|byte| *byte == b' ').count();
        let at = self.position();
        self.sequence(below, Position { column: at.column + 1 + spaces as u32, ..at })
    }

    /// A value that ends with its line.
    fn line_value(&mut self) -> Option<Node<'a>> {
        let at = self.position();
        let node = match self.peek()? {
            b'{' | b'[' => self.flow(Lines::One)?,
            b'"' | b'\'' => self.quoted()?,
            byte if starts_word(byte) => {
                let line = self.rest().split('\n').next()?;
                let text = line.trim_end_matches(' ');
                let is_plain = |(index, byte): (usize, u8)| match byte {
                    b':' => text.as_bytes().get(index + 1).is_some_and(|next| *next != b' '),
                    b' ' | b',' | b'(' | b')' | b'+' | b'@' | b'=' => true,
                    _ => is_word(byte),
                };
                text.bytes().enumerate().all(is_plain).then_some(())?;
                self.at += text.len();
                Node { at, value: Value::Scalar { text: text.into(), plain: true } }
            }
            _ => return None,
        };
        self.end_of_line()?;
        Some(node)
    }

    /// A key, or a text without spaces.
    fn word(&mut self) -> Option<&'a str> {
        self.peek().filter(|byte| starts_word(*byte))?;
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| is_word(*byte)).count();
        self.at += length;
        // YAML ends keys after 1024 characters.
        rest.get(..length).filter(|_| length < 1000)
    }

    fn quoted(&mut self) -> Option<Node<'a>> {
        let at = self.position();
        let text = self.quotation()?;
        Some(Node { at, value: Value::Scalar { text, plain: false } })
    }

    /// A text in quotes, without escapes and in one line.
    fn quotation(&mut self) -> Option<Cow<'a, str>> {
        let quote = self.peek()?;
        let inside = self.rest().get(1..)?;
        let length =
            inside.bytes().position(|byte| matches!(byte, b'\\' | b'\n') || byte == quote)?;
        if inside.as_bytes().get(length) != Some(&quote) || length >= 1000 {
            return None;
        }
        self.at += length + 2;
        // Twice the quote stands for one.
        (self.peek() != Some(quote)).then_some(())?;
        Some(inside.get(..length)?.into())
    }

    /// Spaces, and line breaks where they may be.
    fn skip_blanks(&mut self, lines: Lines) {
        self.skip_spaces();
        while lines == Lines::Several && self.peek() == Some(b'\n') {
            self.line_break();
            self.skip_spaces();
        }
    }

    /// What stands in brackets, or between them.
    fn flow(&mut self, lines: Lines) -> Option<Node<'a>> {
        let at = self.position();
        match self.peek()? {
            b'{' => {
                self.enter()?;
                let mut entries = Vec::new();
                self.items(b'}', lines, |reader| {
                    let key_at = reader.position();
                    let is_quoted = matches!(reader.peek()?, b'"' | b'\'');
                    let key = if is_quoted { reader.quotation()? } else { reader.word()?.into() };
                    (reader.peek()? == b':').then_some(())?;
                    reader.at += 1;
                    // A word's colon needs the space behind it.
                    (is_quoted || reader.peek()? == b' ').then_some(())?;
                    reader.skip_blanks(lines);
                    let value = reader.flow(lines)?;
                    entries.push(Entry { key, at: key_at, value });
                    Some(())
                })?;
                self.depth -= 1;
                map(at, entries)
            }
            b'[' => {
                self.enter()?;
                let mut items = Vec::new();
                self.items(b']', lines, |reader| {
                    items.push(reader.flow(lines)?);
                    Some(())
                })?;
                self.depth -= 1;
                Some(Node { at, value: Value::Sequence(items) })
            }
            b'"' | b'\'' => {
                let node = self.quoted()?;
                // With a colon behind it, it would be a key.
                (self.peek()? != b':').then_some(node)
            }
            byte if starts_word(byte) => {
                let rest = self.rest();
                let bytes = rest.as_bytes();
                let is_inside = |(index, byte): &(usize, u8)| match byte {
                    b':' => {
                        bytes.get(index + 1).is_some_and(|next| is_word(*next) || *next == b':')
                    }
                    byte => is_word(*byte),
                };
                let length = rest.bytes().enumerate().take_while(is_inside).count();
                self.at += length;
                (length < 1000).then_some(())?;
                let text = rest.get(..length)?.into();
                Some(Node { at, value: Value::Scalar { text, plain: true } })
            }
            _ => None,
        }
    }

    /// Items between commas, to a closing bracket.
    fn items(
        &mut self,
        close: u8,
        lines: Lines,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.at += 1;
        self.skip_blanks(lines);
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            self.skip_blanks(lines);
            let byte = self.peek()?;
            self.at += 1;
            if byte == close {
                return Some(());
            }
            (byte == b',').then_some(())?;
            self.skip_blanks(lines);
        }
    }
}

/// A map; `None` when a key is there twice.
fn map(at: Position, entries: Vec<Entry<'_>>) -> Option<Node<'_>> {
    let is_repeated = if entries.len() <= FEW {
        let before = |index: usize| entries.get(..index).unwrap_or_default();
        entries
            .iter()
            .enumerate()
            .any(|(index, entry)| before(index).iter().any(|earlier| earlier.key == entry.key))
    } else {
        let mut seen = HashSet::with_capacity(entries.len());
        entries.iter().any(|entry| !seen.insert(&entry.key[..]))
    };
    (!is_repeated).then_some(Node { at, value: Value::Mapping(entries) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read_any;
    use super::*;
    use crate::intent::report::Report;

    fn chunk(text: &str) -> Chunk<'_> {
        Chunk { text, source: 3, lines_before: 7 }
    }

    /// Whether a text is plain; then it must be read as the parser for all of YAML reads it.
    fn is_plain(text: &str) -> bool {
        let chunk = chunk(text);
        let Some(root) = read(&chunk) else { return false };
        let (mut report, mut documents) = (Report::default(), Vec::new());
        read_any(&chunk, &mut report, |document, _| documents.push(document));
        assert!(report.is_empty(), "{text:?} is read without an error");
        let [document] = &documents[..] else { panic!("{text:?} is one document") };
        assert!(document.broken.is_none(), "{text:?} is read to its end");
        assert_eq!(root, document.root, "{text:?}");
        true
    }

    #[test]
    fn what_people_write_is_plain() {
        for text in [
            "a: b\n",
            "---\n# A comment.\n\nkind: Vpc\nmetadata: {name: a, labels: {}}\nspec:\n  cidrs: [10.0.0.0/8, \"fd00::/8\"]\n",
            "rules:\n- protocol: tcp\n  ports: \"80-90\"\n  from: {cidr: 10.0.0.0/8}\n-   protocol: any\nlast: 'x'\n",
            "a:\n  b:\n    - c\n    - {d: e}\n  f: 02:00:00:00:00:01\n  # here\n\ng: some text, as it (often) is  \n",
            "{\n  \"a\": [1, 2, {\"b\":\"c\"}],\n  \"d\": true\n}\n",
            "{\"a\": {}, \"b\": []}",
            "  a: b\n  c: d",
        ] {
            assert!(is_plain(text), "{text:?}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_other_parser() {
        for text in [
            "",
            "# nothing\n",
            "a: b # said\n",
            "a: b\n  c\n",
            "a:\n",
            "a: &x b\n",
            "a: *x\n",
            "a: !t b\n",
            "a: |\n  b\n",
            "a: \"\\n\"\n",
            "a: 'it''s'\n",
            "a: \u{e9}\n",
            "a: b\r\n",
            "a:\tb\n",
            "a: b\na: c\n",
            "{a: b, a: c}",
            "- a\n-b\n",
            "a: b\n...\n",
            "? a\n: b\n",
            "a: [b, c\n",
            "<<: {a: b}\n",
            "%YAML 1.2\n---\na: b\n",
            "a: b: c\n",
            "a:\n  b: c\n d: e\n",
        ] {
            assert!(!is_plain(text), "{text:?}");
        }
        let deep = format!("{}{}", "{a: ".repeat(40), "}".repeat(40));
        assert!(!is_plain(&deep));
    }

    /// Parts of documents, so that many of them together are plain, and many just not.
    fn part() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "a",
            "b",
            "key",
            ":",
            ": ",
            ":\n",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "\n- ",
            "\n  - ",
            "-",
            "{",
            "}",
            "[",
            "]",
            ", ",
            ",",
            "\"x\"",
            "'y'",
            "\"x\":",
            " ",
            "#",
            " # c",
            "10.0.0.0/8",
            "fd00::1",
            "02:00:00:00:00:01",
            "---\n",
            "true",
            "a: b",
            "\nc: d",
            "\n  e: f",
            "{a: b}",
            "[a, b]",
            "1-2",
            "x y",
            ".",
            "::",
        ])
    }

    /// Any text of `strategy` is read as YAML or not at all.
    fn check<S: Strategy<Value = String>>(strategy: &S) {
        testbed::random::check("HOSTILE", 4000, strategy, |text| {
            is_plain(&text);
            Ok(())
        });
    }

    #[test]
    fn plain_texts_are_read_as_yaml() {
        check(&prop::collection::vec(part(), 0..24).prop_map(|parts| parts.concat()));
    }

    #[test]
    fn marks_are_read_as_yaml() {
        check(&"[-a1:,\\[\\]{}\"'# \n]{0,24}");
    }

    #[test]
    fn changed_documents_are_read_as_yaml() {
        let edit = (any::<prop::sample::Index>(), "[-a1:,\\[\\]{}\"'# \n]", 0..3_u8);
        check(&prop::collection::vec(edit, 0..4).prop_map(|edits| {
            let mut text = String::from(
                "---\nkind: Interface\nmetadata: {name: i-1}\nspec:\n  subnet: s\n  vf: 1\n  mac: \"02:00:00:00:00:01\"\n\
                 \x20 addresses:\n  - 10.0.0.1\n  - fd00::1\n  rules:\n    - protocol: tcp\n      from: {cidr: 10.0.0.0/8}\n",
            );
            for (place, with, kind) in edits {
                let at = place.index(text.len());
                match kind {
                    0 => text.insert_str(at, &with),
                    1 => text.replace_range(at..=at, &with),
                    _ => drop(text.remove(at)),
                }
            }
            text
        }));
    }
}
