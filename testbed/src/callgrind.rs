//! What a function of a program costs in instructions and allocations, counted by valgrind's callgrind: the same on a busy machine as on a
//! quiet one.

use std::collections::HashMap;
use std::io;
use std::path::Path;

/// What was counted in all calls of one function, with all that it calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Instructions.
    pub instructions: u64,
    /// Calls of the allocator for memory.
    pub allocations: u64,
}

/// The words before a command, which then counts in the function of this (demangled) name and leaves its figures in `file` when it ends.
#[must_use]
pub fn counting(function: &str, file: &Path) -> Vec<String> {
    vec![
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        // It runs one thread at a time; one that polls would leave the others none.
        "--fair-sched=yes".to_owned(),
        format!("--toggle-collect={function}"),
        format!("--callgrind-out-file={}", file.display()),
    ]
}

/// Reads what was counted.
///
/// # Errors
/// When the file cannot be read or has no figures.
pub fn read(file: &Path) -> io::Result<Cost> {
    let text = std::fs::read_to_string(file)?;
    parse(&text).ok_or_else(|| {
        let message = format!("{} has no figures of callgrind", file.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Reads the format that valgrind's manual describes ("Callgrind Format Specification"). A function has its name where its number comes
/// first.
fn parse(text: &str) -> Option<Cost> {
    let mut cost = Cost::default();
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut called = "";
    let mut total = None;
    for line in text.lines() {
        let is_called = line.starts_with("cfn=");
        if let Some(function) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if is_called {
                called = names.get(number).copied().unwrap_or_default();
            }
        } else if let Some(calls) = line.strip_prefix("calls=") {
            // Calls from the allocator's own functions are no further ones.
            if matches!(called, "malloc" | "calloc" | "realloc" | "posix_memalign") {
                let count = calls.split(' ').next().and_then(|count| count.parse::<u64>().ok());
                cost.allocations += count?;
            }
        } else if let Some(sum) = line.strip_prefix("totals:") {
            total = sum.trim().parse().ok();
        }
    }
    cost.instructions = total?;
    Some(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_and_allocations_are_found() {
        let text = "events: Ir\n\nfn=(1) work\n5 3\ncfn=(2) malloc\ncalls=2 0\n5 40\n\
                    fn=(3) more\ncfn=(2)\ncalls=1 0\n7 20\ncfn=(4) free\ncalls=9 0\n7 9\ntotals: 72\n";
        assert_eq!(parse(text), Some(Cost { instructions: 72, allocations: 3 }));
        assert_eq!(parse("events: Ir\n"), None);
    }
}
