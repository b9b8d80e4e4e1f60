//! The vendor's program for settings: `mstconfig` (Debian's mstflint), or `mlxconfig`, which takes and prints the same.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a tool did not do what it should.
#[derive(Debug, Error)]
pub enum ToolError {
    /// It cannot be started.
    #[error("{}: {error}; install mstflint, or name the tool (--tool)", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It says no.
    #[error("{device}: the tool says: {said}")]
    Failed {
        /// Of which card.
        device: String,
        /// Its words.
        said: String,
    },
    /// It says something else.
    #[error("{device}: the tool lists no settings with columns Default, Current and Next Boot")]
    Nonsense {
        /// Of which card.
        device: String,
    },
}

/// A value, as an operator wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A number.
    Number(i64),
    /// A word of the tool's.
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl Value {
    /// Whether this is what the tool shows: `16`, `True(1)`, `ECPF(0)`.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let (word, number) = match shown.strip_suffix(')').and_then(|it| it.rsplit_once('(')) {
            Some((word, number)) => (word, number),
            None => (shown, shown),
        };
        match self {
            Self::Bool(value) => number == if *value { "1" } else { "0" },
            Self::Number(wanted) => number.parse() == Ok(*wanted),
            Self::Word(wanted) => {
                wanted.eq_ignore_ascii_case(word) || wanted.eq_ignore_ascii_case(shown)
            }
        }
    }

    /// As the tool takes it.
    fn argument(&self) -> String {
        match self {
            Self::Bool(value) => u8::from(*value).to_string(),
            Self::Number(number) => number.to_string(),
            Self::Word(word) => word.clone(),
        }
    }
}

/// A setting as the tool shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What counts now.
    pub now: String,
    /// What counts from the next power cycle on.
    pub next: String,
}

/// See the module.
#[derive(Debug)]
pub struct Tool(PathBuf);

impl Tool {
    /// By name, or where it is.
    #[must_use]
    pub fn at(program: &Path) -> Self {
        Self(program.to_owned())
    }

    fn run(&self, device: &str, arguments: &[String]) -> Result<String, ToolError> {
        let output = Command::new(&self.0)
            .args(arguments)
            .output()
            .map_err(|error| ToolError::Start { program: self.0.clone(), error })?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let said = said + &String::from_utf8_lossy(&output.stderr);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let said = last.unwrap_or("nothing, and fails").to_owned();
        Err(ToolError::Failed { device: device.to_owned(), said })
    }

    /// A card's settings.
    ///
    /// # Errors
    /// When the tool does not show them.
    pub fn query(&self, device: &str) -> Result<BTreeMap<String, Shown>, ToolError> {
        let arguments = ["-d", device, "-e", "q"].map(str::to_owned);
        let said = self.run(device, &arguments)?;
        parse(&said).ok_or_else(|| ToolError::Nonsense { device: device.to_owned() })
    }

    /// Sets settings of a card, from its next power cycle on.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn set(&self, device: &str, settings: &[(&str, &Value)]) -> Result<(), ToolError> {
        let mut arguments = ["-y", "-d", device, "set"].map(str::to_owned).to_vec();
        let settings = settings.iter();
        arguments.extend(settings.map(|(name, value)| format!("{name}={}", value.argument())));
        self.run(device, &arguments).map(|_| ())
    }
}

/// Rows below `Configurations: Default Current Next Boot`: a name and three values, after a `*` where they differ.
fn parse(text: &str) -> Option<BTreeMap<String, Shown>> {
    let mut lines = text.lines();
    lines.find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words == ["Configurations:", "Default", "Current", "Next", "Boot"]
    })?;
    let mut settings = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> =
            line.trim_start_matches(['*', ' ', '\t']).split_whitespace().collect();
        // What else there is (remarks, read-only settings) is none of ours.
        if let [name, _, now, next] = words[..] {
            let shown = Shown { now: now.to_owned(), next: next.to_owned() };
            settings.insert(name.to_owned(), shown);
        }
    }
    Some(settings)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As mstconfig 4.21 formats it.
    const SHOWN: &str = "
Device #1:
----------

Device type:    BlueField3
Device:         0000:03:00.0

Configurations:                             Default         Current         Next Boot
         NUM_OF_VFS                          16                  16                  16
*        SRIOV_EN                            False(0)            False(0)            True(1)
         INTERNAL_CPU_MODEL                  EMBEDDED_CPU(1)     EMBEDDED_CPU(1)     EMBEDDED_CPU(1)
The '*' shows parameters with next value different from default/current value.
";

    #[test]
    fn rows_are_read() {
        let settings = parse(SHOWN).unwrap();
        assert_eq!(settings.len(), 3);
        let sriov = &settings["SRIOV_EN"];
        assert_eq!((sriov.now.as_str(), sriov.next.as_str()), ("False(0)", "True(1)"));
        assert_eq!(parse("Configurations:     Next Boot\n   SRIOV_EN   True(1)\n"), None);
    }

    #[test]
    fn values_are_compared_as_they_are_meant() {
        assert!(Value::Bool(true).is("True(1)") && !Value::Bool(true).is("False(0)"));
        assert!(Value::Number(16).is("16") && Value::Number(1).is("EMBEDDED_CPU(1)"));
        assert!(!Value::Number(1).is("16"));
        assert!(Value::Word("embedded_cpu".into()).is("EMBEDDED_CPU(1)"));
        assert!(!Value::Word("EMBEDDED".into()).is("EMBEDDED_CPU(1)"));
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,60}|(Configurations: Default Current Next Boot\n)?([* A-Z(0-9)]{0,20}\n){0,4}") {
            let _ = parse(&text);
        }
    }
}
