//! Tables for people.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with these headings: plain columns, as operators' tools have them.
#[must_use]
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table
}

/// The table as text, without the blanks that fill its last column.
#[must_use]
pub fn text(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
