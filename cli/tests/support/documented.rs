//! `docs/reference/offload-differences.md` against the cases: each window is shown by the cases that it names, and by no others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::case::Case;

/// Windows, each with the names of cases.
type Windows = BTreeMap<String, BTreeSet<String>>;

/// Checks the page against all cases; the error shows what is missing where.
pub fn check(page: &str, cases: &[(String, Case)]) -> Result<(), String> {
    let (named, mut shown) = (windows(page), Windows::new());
    let mut wrong = String::new();
    for (name, case) in cases {
        let Some(window) = &case.window else { continue };
        if !named.contains_key(window) {
            let _ = writeln!(wrong, "{name}: the page has no window `{window}`");
        } else if !case.profiles.is_empty() {
            shown.entry(window.clone()).or_default().insert(name.clone());
        }
    }
    for (window, named) in &named {
        let shown = shown.remove(window).unwrap_or_default();
        if shown.is_empty() {
            let _ = writeln!(wrong, "{window}: no case shows it");
        }
        for name in named.difference(&shown) {
            let _ = writeln!(wrong, "{window}: the page names {name}, which does not show it");
        }
        for name in shown.difference(named) {
            let _ = writeln!(wrong, "{window}: the page does not name {name}");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// The rows of the page's table: a window in the first cell, cases in the last, both in backquotes.
fn windows(page: &str) -> Windows {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(window, cells)| {
        let cases = cells.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default();
        let names = cases.split('`').skip(1).step_by(2).map(str::to_owned);
        (window.to_owned(), names.collect())
    })
    .collect()
}
