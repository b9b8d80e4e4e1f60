//! Lines to commands.

use super::expectation::{Expected, Pattern};
use crate::interpreter::{Rates, Time};

/// Which entry, as written.
#[derive(Debug, PartialEq, Eq)]
pub struct EntryText<'a> {
    pub table: &'a str,
    pub priority: Option<u32>,
    /// Names and values of keys.
    pub keys: Vec<(&'a str, &'a str)>,
}

/// An action as written. Whether an argument has a name, its parameters say.
#[derive(Debug, PartialEq, Eq)]
pub struct ActionText<'a> {
    pub name: &'a str,
    pub arguments: Vec<&'a str>,
}

/// What a line says.
#[derive(Debug)]
pub enum Command<'a> {
    Add(EntryText<'a>, ActionText<'a>),
    Remove(EntryText<'a>),
    SetDefault {
        table: &'a str,
        action: ActionText<'a>,
    },
    Meter {
        name: &'a str,
        cell: u32,
        rates: Rates,
    },
    /// Names and values of timeouts and limits.
    Conntrack(Vec<(&'a str, &'a str)>),
    Recheck,
    Include(&'a str),
    Wait(Time),
    Packet {
        port: u16,
        bytes: Vec<u8>,
    },
    Expect(Expected),
    NoPacket,
    CheckCounter {
        name: &'a str,
        cell: u32,
        bytes: bool,
        wanted: u64,
    },
}

/// Lines that say something, with their numbers; a line that begins with a blank belongs to the one before.
pub fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or_default();
        if code.trim().is_empty() {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if code.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(code.trim());
            }
            _ => lines.push((number + 1, code.trim_end().to_owned())),
        }
    }
    lines
}

/// Reads a line.
pub fn command(line: &str) -> Result<Command<'_>, String> {
    let (word, rest) = word(line);
    match word {
        "add" => {
            let (entry, rest) = entry(rest)?;
            Ok(Command::Add(entry, action(rest)?))
        }
        "remove" => match entry(rest)? {
            (entry, "") => Ok(Command::Remove(entry)),
            (_, rest) => Err(format!("`{rest}` is not key:value")),
        },
        "setdefault" => {
            let (table, rest) = name(rest);
            Ok(Command::SetDefault { table, action: action(rest.trim())? })
        }
        "meter" => meter(rest),
        "conntrack" => Ok(Command::Conntrack(pairs(rest.split_whitespace())?)),
        "recheck" => Ok(Command::Recheck),
        "include" => Ok(Command::Include(rest.trim_matches('"'))),
        "wait" => Ok(Command::Wait(time(rest)?)),
        "packet" => {
            let (port, data) = self::word(rest);
            Ok(Command::Packet { port: number(port)?, bytes: bytes(data)? })
        }
        "expect" => expect(rest),
        "no_packet" => Ok(Command::NoPacket),
        "check_counter" => check_counter(rest),
        _ => Err(format!(
            "`{word}` is no command; there are add, remove, setdefault, meter, conntrack, recheck, include, wait, \
             packet, expect, no_packet, check_counter"
        )),
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number, or too large"))
}

/// A name, in quotes or up to the next mark, and what follows it.
pub fn name(text: &str) -> (&str, &str) {
    let quoted = text.strip_prefix('"').and_then(|rest| rest.split_once('"'));
    quoted.unwrap_or_else(|| text.split_at(text.find([':', '(', ' ', '\t']).unwrap_or(text.len())))
}

/// `TABLE [priority] key:value ...`, and what follows.
fn entry(text: &str) -> Result<(EntryText<'_>, &str), String> {
    let (table, rest) = name(text);
    if table.is_empty() {
        return Err("which table?".to_owned());
    }
    let mut rest = rest.trim();
    let (first, behind) = word(rest);
    let priority = first.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    if priority {
        rest = behind;
    }
    let mut keys = Vec::new();
    while let (key, Some(behind)) = split_colon(rest) {
        let (value, behind) = word(behind);
        keys.push((key, value));
        rest = behind;
    }
    let priority = priority.then(|| number(first)).transpose()?;
    Ok((EntryText { table, priority, keys }, rest))
}

/// A name; what is behind its colon if it has one.
pub fn split_colon(text: &str) -> (&str, Option<&str>) {
    let (name, rest) = name(text);
    (name, rest.strip_prefix(':'))
}

/// `name(argument, ...)`, or `name`
fn action(text: &str) -> Result<ActionText<'_>, String> {
    let (name, rest) = name(text);
    if name.is_empty() {
        return Err("`ACTION(ARGUMENT, ...)` is missing".to_owned());
    }
    let inside = match rest.trim() {
        "" => "",
        rest => rest
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .ok_or_else(|| format!("`{rest}` is not `(ARGUMENT, ...)`"))?,
    };
    let arguments = inside.split(',').map(str::trim).filter(|argument| !argument.is_empty());
    Ok(ActionText { name, arguments: arguments.collect() })
}

fn pairs<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<(&'a str, &'a str)>, String> {
    words
        .map(|word| word.split_once(':').ok_or_else(|| format!("`{word}` is not key:value")))
        .collect()
}

/// `30s`, `1.5s`, `10ms`; nothing: no time.
pub fn time(text: &str) -> Result<Time, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (digits, unit) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1_000_000)
    } else if let Some(digits) = text.strip_suffix("ns") {
        (digits, 1)
    } else if let Some(digits) = text.strip_suffix('s') {
        (digits, 1_000_000_000)
    } else {
        return Err(format!("`{text}` is no time: 30s, 1.5s, 10ms, 1ns"));
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let mut time = number::<Time>(whole)? * unit;
    let mut unit = unit;
    for digit in part.chars() {
        unit /= 10;
        time +=
            Time::from(digit.to_digit(10).ok_or_else(|| format!("`{text}` is no time"))?) * unit;
    }
    Ok(time)
}

/// `NAME CELL single CIR CBS EBS`, `NAME CELL two CIR CBS PIR PBS`
fn meter(text: &str) -> Result<Command<'_>, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (name, cell, rates) = match words.as_slice() {
        [name, cell, "single", committed, burst, excess] => (
            name,
            cell,
            Rates::Single {
                committed: number(committed)?,
                burst: number(burst)?,
                excess: number(excess)?,
            },
        ),
        [name, cell, "two", committed, burst, peak, peak_burst] => (
            name,
            cell,
            Rates::Two {
                committed: number(committed)?,
                burst: number(burst)?,
                peak: number(peak)?,
                peak_burst: number(peak_burst)?,
            },
        ),
        _ => {
            return Err(
                "`meter NAME CELL single CIR CBS EBS` or `... two CIR CBS PIR PBS` expected"
                    .to_owned(),
            );
        }
    };
    Ok(Command::Meter { name, cell: number(cell)?, rates })
}

/// Hexadecimal, or packet notation.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    if text.contains('(') {
        return testbed::notation::packet(text);
    }
    let digits: String = text.split_whitespace().collect();
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err("a packet consists of pairs of hexadecimal digits".to_owned());
    }
    (0..digits.len() / 2)
        .map(|n| {
            u8::from_str_radix(&digits[2 * n..2 * n + 2], 16)
                .map_err(|_| format!("`{}` is not hexadecimal", &digits[2 * n..2 * n + 2]))
        })
        .collect()
}

fn expect(text: &str) -> Result<Command<'_>, String> {
    let (first, rest) = word(text);
    Ok(Command::Expect(match first {
        "drop" => Expected::Drop(rest.to_owned()),
        "reply" => Expected::Reply(rest.to_owned()),
        "consumed" => Expected::Consumed,
        _ => {
            let port = number(first)?;
            let pattern = if rest.contains('(') {
                Pattern::exact(&testbed::notation::packet(rest)?)
            } else {
                Pattern::read(rest)?
            };
            Expected::Port(port, pattern)
        }
    }))
}

/// `NAME(CELL) packets == N`
fn check_counter(text: &str) -> Result<Command<'_>, String> {
    let wrong = || "`check_counter NAME(CELL) packets == N` expected".to_owned();
    let (name, rest) = name(text);
    let (cell, rest) =
        rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(wrong)?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (bytes, wanted) = match words.as_slice() {
        ["packets", "==", wanted] => (false, wanted),
        ["bytes", "==", wanted] => (true, wanted),
        _ => return Err(wrong()),
    };
    Ok(Command::CheckCounter { name, cell: number(cell)?, bytes, wanted: number(wanted)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(line: &str) -> (EntryText<'_>, ActionText<'_>) {
        match command(line) {
            Ok(Command::Add(entry, action)) => (entry, action),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn entries() {
        let (entry, action) = added("add a.b 10 x.y:1 z:fd00::/8 act(p:1, 2)");
        let keys = vec![("x.y", "1"), ("z", "fd00::/8")];
        assert_eq!(entry, EntryText { table: "a.b", priority: Some(10), keys });
        assert_eq!(action, ActionText { name: "act", arguments: vec!["p:1", "2"] });
        assert_eq!(added("add t act").1, ActionText { name: "act", arguments: Vec::new() });
    }

    #[test]
    fn names_in_quotes() {
        let (entry, action) =
            added("add \"a.b\" 1 \"x[7:0]\":0b1* \"y.valid()\":0x01 \"c.act\"(\"p\":2)");
        let keys = vec![("x[7:0]", "0b1*"), ("y.valid()", "0x01")];
        assert_eq!(entry, EntryText { table: "a.b", priority: Some(1), keys });
        assert_eq!(action, ActionText { name: "c.act", arguments: vec!["\"p\":2"] });
        assert_eq!(split_colon(action.arguments[0]), ("p", Some("2")));
    }

    #[test]
    fn times() {
        assert_eq!(time("1.5s"), Ok(1_500_000_000));
        assert_eq!(time("10ms"), Ok(10_000_000));
        assert_eq!(time("29.999999999s"), Ok(29_999_999_999));
        assert!(time("10").is_err());
    }

    #[test]
    fn lines_that_begin_with_blanks_continue() {
        assert_eq!(joined("a\n  b # c\n\n# d\ne"), [(1, "a b".to_owned()), (5, "e".to_owned())]);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "ad t a()",
            "add t",
            "add t x:1",
            "add t x act()",
            "add t act(",
            "add t act() = handle",
            "add t -1 act()",
            "remove t x",
            "setdefault t",
            "packet x 00",
            "packet 1 0",
            "packet 1 0g",
            "meter m 0 three",
            "expect x",
        ] {
            assert!(command(line).is_err(), "{line}");
        }
    }
}
