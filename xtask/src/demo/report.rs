//! What the demo tells: step by step, what was expected and what was seen.

use std::io::{IsTerminal, stdout};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

/// The tale so far.
pub struct Report {
    is_terminal: bool,
    steps: u32,
    passed: u32,
    failed: u32,
}

impl Report {
    /// Nothing was told yet.
    pub fn new() -> Self {
        Self { is_terminal: stdout().is_terminal(), steps: 0, passed: 0, failed: 0 }
    }

    /// A step begins.
    pub fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n{}", self.styled("1", &format!("{}. {title}", self.steps)));
    }

    /// Something that must be seen exactly as expected.
    pub fn expect(&mut self, what: &str, expected: &str, seen: &str) {
        self.check(what, expected, seen, expected == seen);
    }

    /// Something that was expected, what was seen instead or so, and whether that is as it should be.
    pub fn check(&mut self, what: &str, expected: &str, seen: &str, is_right: bool) {
        if is_right {
            self.passed += 1;
            let seen = if expected == seen { "just that" } else { seen };
            println!("   {} {what}: expected {expected}; saw {seen}", self.styled("32", "ok    "));
        } else {
            self.failed += 1;
            println!(
                "   {} {what}: expected {expected}; saw {seen}",
                self.styled("31;1", "FAILED")
            );
        }
    }

    /// The end; whether all was as expected.
    pub fn finish(&self) -> bool {
        println!();
        let summary = format!("{} as expected, {} not", self.passed, self.failed);
        let is_good = self.failed == 0 && self.passed > 0;
        println!("{}", self.styled(if is_good { "32;1" } else { "31;1" }, &summary));
        is_good
    }

    /// Text with an ANSI style, on a terminal.
    fn styled(&self, style: &str, text: &str) -> String {
        if self.is_terminal { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Shows a table: the first column are names, the others numbers.
pub fn table<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>) {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}
