//! What is wrong with an intent, told like a compiler does: where, which object, what, how to mend.

use std::fmt;
use std::sync::Arc;

/// One error in an intent.
///
/// Its `Display` is one line: `FILE:LINE:COLUMN: error: KIND/NAME: MESSAGE; hint: HINT`.
/// [`Diagnostic::render`] adds the line of the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// Position of the file in the list that was given.
    pub(crate) source: u32,
    /// Line in the file, from 1; 0 where it is about something that is not in a file.
    pub line: u32,
    /// Column in the line, in characters, from 1.
    pub column: u32,
    /// The file's name as it was given.
    pub file: Arc<str>,
    /// The object, `Kind/name`; `None` where none could be made out.
    pub object: Option<String>,
    /// What is wrong. Starts with `not_supported_yet` for what is planned and not built.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// The line of the source, unless it is too long to show.
    pub(crate) excerpt: Option<String>,
}

impl Diagnostic {
    /// Several lines: the error, the line of the source with a mark below the place, the hint.
    #[must_use]
    pub fn render(&self) -> String {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let mut lines = vec![self.headline()];
        if let Some(excerpt) = &self.excerpt {
            // The mark's line repeats tabs, so that it stands below its place however wide they are.
            let before: String = excerpt
                .chars()
                .take(self.column.saturating_sub(1) as usize)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            lines.push(format!("{margin} |"));
            lines.push(format!("{number} | {excerpt}"));
            lines.push(format!("{margin} | {before}^"));
        }
        lines.extend(self.hint.as_ref().map(|hint| format!("{margin} = hint: {hint}")));
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let Self { file, line, column, message, .. } = self;
        let object = self.object.as_ref().map_or_else(String::new, |o| format!("{o}: "));
        // What is in force already has no place in a file.
        let place = if *line == 0 { String::new() } else { format!(":{line}:{column}") };
        format!("{file}{place}: error: {object}{message}")
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

/// All errors of an intent, in the order of files and lines; at least one.
///
/// Its `Display` is one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// The errors given, sorted.
    pub(crate) fn new(mut list: Vec<Diagnostic>) -> Self {
        list.sort_unstable();
        list.dedup();
        Self(list)
    }

    /// Each error.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Each error rendered, with a blank line between them, and their number at the end.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for diagnostic in self {
            text += &diagnostic.render();
            text += "\n\n";
        }
        let plural = if self.0.len() == 1 { "" } else { "s" };
        text + &format!("{} error{plural}; nothing is applied", self.0.len())
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for diagnostic in self {
            write!(f, "{separator}{diagnostic}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            source: 0,
            line: 12,
            column: 4,
            file: "intent.yaml".into(),
            object: Some("Interface/web-1".into()),
            message: "address 10.0.9.5 is outside its subnet web (10.0.1.0/24)".into(),
            hint: Some("take an address of the subnet".into()),
            excerpt: Some("\t- 10.0.9.5".into()),
        }
    }

    #[test]
    fn one_line_has_everything() {
        assert_eq!(
            diagnostic().to_string(),
            "intent.yaml:12:4: error: Interface/web-1: address 10.0.9.5 is outside its subnet web (10.0.1.0/24); \
             hint: take an address of the subnet"
        );
    }

    #[test]
    fn rendered_the_mark_is_below_the_place() {
        assert_eq!(
            diagnostic().render(),
            "intent.yaml:12:4: error: Interface/web-1: address 10.0.9.5 is outside its subnet web (10.0.1.0/24)\n   \
             |\n12 | \t- 10.0.9.5\n   | \t  ^\n   = hint: take an address of the subnet"
        );
    }
}
