//! `penstock apply`: puts intent in force.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use dpu_app::api::v1::change::What;
use dpu_app::api::v1::{Applied, ApplyRequest, Source, apply_response};

use crate::daemon::{Daemon, DaemonError};
use crate::intent_files;

/// Arguments of `penstock apply`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File with intent, a directory of such files, or `-` for standard input; repeatable. Together they replace all
    /// intent of the daemon
    #[arg(short = 'f', long = "file", value_name = "INTENT", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Replaces the daemon's intent by that of all files together; says what that changed.
///
/// # Errors
/// [`DaemonError`]: of wrong intent, everything that is wrong; nothing has changed then.
pub fn run(arguments: &Arguments) -> Result<String, DaemonError> {
    let texts = intent_files::texts(&arguments.files)?;
    let sources = texts.into_iter().map(|(name, content)| Source { name, content }).collect();
    let response = arguments
        .daemon
        .call(async |mut client| Ok(client.apply(ApplyRequest { sources }).await?.into_inner()))?;
    match response.result {
        Some(apply_response::Result::Applied(applied)) => Ok(summary(&applied)),
        Some(apply_response::Result::Refused(refused)) => {
            Err(DaemonError::Refused(refused.diagnostics))
        }
        None => Err(DaemonError::Nonsense("neither applied nor refused".into())),
    }
}

fn summary(applied: &Applied) -> String {
    if applied.changes.is_empty() {
        return "applied; nothing has changed".into();
    }
    let mut text = String::new();
    for change in &applied.changes {
        let what = match change.what() {
            What::Added => "added",
            What::Changed => "changed",
            What::Removed => "removed",
            What::Unspecified => "touched",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{what} {} {}", change.kind, change.name);
    }
    let changes = applied.changes.len();
    let _ = write!(text, "applied: {changes} change{}", if changes == 1 { "" } else { "s" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpu_app::api::v1::Change;

    #[test]
    fn says_what_changed() {
        let change = |what: What, name: &str| Change {
            what: what.into(),
            kind: "Vpc".into(),
            name: name.into(),
        };
        let changes = vec![change(What::Added, "red"), change(What::Removed, "blue")];
        let text = summary(&Applied { epoch: 2, changes });
        assert_eq!(text, "added Vpc red\nremoved Vpc blue\napplied: 2 changes");
        assert_eq!(summary(&Applied::default()), "applied; nothing has changed");
    }
}
