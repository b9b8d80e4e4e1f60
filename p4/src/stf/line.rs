//! Lines to commands.

use super::expectation::{Expected, Pattern};
use crate::interpreter::{Rates, Time};

/// An entry as written.
#[derive(Debug, PartialEq, Eq)]
pub struct EntryText<'a> {
    pub table: &'a str,
    pub priority: Option<u32>,
    /// Names and values of keys.
    pub keys: Vec<(&'a str, &'a str)>,
    pub action: &'a str,
}

/// What a line says.
#[derive(Debug)]
pub enum Command<'a> {
    Add(EntryText<'a>),
    Remove(EntryText<'a>),
    SetDefault { table: &'a str, action: &'a str },
    Meter { name: &'a str, cell: u32, rates: Rates },
    Include(&'a str),
    Wait(Time),
    Packet { port: u16, bytes: Vec<u8> },
    Expect(Expected),
    NoPacket,
    CheckCounter { name: &'a str, cell: u32, bytes: bool, wanted: u64 },
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
        "add" => Ok(Command::Add(entry(rest)?)),
        "remove" => Ok(Command::Remove(removed(rest)?)),
        "setdefault" => {
            let (table, action) = self::word(rest);
            Ok(Command::SetDefault { table, action })
        }
        "meter" => meter(rest),
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
            "`{word}` is no command; there are add, remove, setdefault, meter, include, wait, packet, expect, \
             no_packet, check_counter"
        )),
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number, or too large"))
}

/// `TABLE [priority] key:value ... action(arguments)`
fn entry(text: &str) -> Result<EntryText<'_>, String> {
    let open = text.find('(').unwrap_or(text.len());
    let begin = text[..open].trim_end().rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
    let action = text[begin..].trim();
    if action.is_empty() || begin == 0 {
        return Err("`add TABLE [priority] key:value ... action(arguments)` expected".to_owned());
    }
    keys(&text[..begin], action)
}

fn removed(text: &str) -> Result<EntryText<'_>, String> {
    keys(text, "")
}

fn keys<'a>(text: &'a str, action: &'a str) -> Result<EntryText<'a>, String> {
    let mut words = text.split_whitespace().peekable();
    let table = words.next().ok_or("which table?")?;
    let priority = words.next_if(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let keys = words
        .map(|word| word.split_once(':').ok_or_else(|| format!("`{word}` is not key:value")))
        .collect::<Result<_, _>>()?;
    Ok(EntryText { table, priority: priority.map(number).transpose()?, keys, action })
}

/// `30s`, `1.5s`, `10ms`; nothing: no time.
fn time(text: &str) -> Result<Time, String> {
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
    let (name, rest) = text.split_once('(').ok_or_else(wrong)?;
    let (cell, rest) = rest.split_once(')').ok_or_else(wrong)?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (bytes, wanted) = match words.as_slice() {
        ["packets", "==", wanted] => (false, wanted),
        ["bytes", "==", wanted] => (true, wanted),
        _ => return Err(wrong()),
    };
    Ok(Command::CheckCounter {
        name: name.trim(),
        cell: number(cell)?,
        bytes,
        wanted: number(wanted)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let Ok(Command::Add(entry)) = command("add a.b 10 x.y:1 z:fd00::/8 act(p:1, 2)") else {
            panic!("not an entry");
        };
        assert_eq!(
            entry,
            EntryText {
                table: "a.b",
                priority: Some(10),
                keys: vec![("x.y", "1"), ("z", "fd00::/8")],
                action: "act(p:1, 2)"
            }
        );
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
