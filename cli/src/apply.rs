//! `penstock apply`: puts intent in force.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use dpu_app::api::v1::change::What;
use dpu_app::api::v1::{Applied, ApplyRequest, ObjectName, PatchRequest, Source, apply_response};

use crate::daemon::{Daemon, DaemonError};
use crate::intent_files;

/// Arguments of `penstock apply`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File with intent, a directory of such files, or `-` for standard input; repeatable. Together they replace all
    /// intent of the daemon, or with `--patch` the objects of their names only
    #[arg(short = 'f', long = "file", value_name = "INTENT", required_unless_present = "remove")]
    pub files: Vec<PathBuf>,
    /// Leave objects as they are that are not named
    #[arg(long)]
    pub patch: bool,
    /// With `--patch`: an object that is removed; repeatable
    #[arg(long, value_name = "KIND/NAME", requires = "patch", value_parser = object_name)]
    pub remove: Vec<ObjectName>,
    #[command(flatten)]
    daemon: Daemon,
}

fn object_name(text: &str) -> Result<ObjectName, String> {
    let (kind, name) = text
        .split_once('/')
        .filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
        .ok_or("write KIND/NAME, for example Interface/web-1")?;
    Ok(ObjectName { kind: kind.to_owned(), name: name.to_owned() })
}

/// Replaces the daemon's intent by that of all files together, or changes what they and `--remove` name; says what that
/// changed.
///
/// # Errors
/// [`DaemonError`]: of wrong intent, everything that is wrong; nothing has changed then.
pub fn run(arguments: &Arguments) -> Result<String, DaemonError> {
    let texts = intent_files::texts(&arguments.files)?;
    let sources = texts.into_iter().map(|(name, content)| Source { name, content }).collect();
    let response = arguments.daemon.call(async |mut client| {
        let response = if arguments.patch {
            let removed = arguments.remove.clone();
            client.patch(PatchRequest { sources, removed }).await?
        } else {
            client.apply(ApplyRequest { sources }).await?
        };
        Ok(response.into_inner())
    })?;
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
