//! `penstock upgrade`: another program for the DPU's daemon, which stays only when it is well.

mod health;
mod stage;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use dpu_app::api::v1::{StatusRequest, StatusResponse};
use thiserror::Error;

pub use health::Before;
pub use stage::{Stage, StageError};

use crate::daemon::{Daemon, DaemonError};

/// How often a daemon is asked how it is.
const ASK: Duration = Duration::from_millis(200);

/// Arguments of `penstock upgrade`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The new program
    #[arg(required_unless_present_any = ["roll_back", "keep"])]
    program: Option<PathBuf>,
    /// Go back to the program before: after an upgrade that ended early
    #[arg(long, conflicts_with_all = ["program", "keep"])]
    roll_back: bool,
    /// Keep the new program: after an upgrade that ended early
    #[arg(long, conflicts_with = "program")]
    keep: bool,
    /// Where the daemon's program is
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/penstock-dpud")]
    installed: PathBuf,
    /// What restarts the daemon (for a shell)
    #[arg(long, value_name = "COMMAND", default_value = "systemctl restart penstock-dpud.service")]
    restart: String,
    /// How long the daemon may take to be well
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u32,
    /// How long it must then stay well
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    watch: u32,
    #[command(flatten)]
    daemon: Daemon,
}

/// Why an upgrade was not made, or was taken back.
#[derive(Debug, Error)]
pub enum UpgradeError {
    /// The daemon that runs is not well, or does not answer.
    #[error("{0}; nothing was changed: an upgrade begins with a daemon that is well")]
    IllBefore(String),
    /// Files.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The program is none for this machine.
    #[error("{}: {reason}; nothing was changed", program.display())]
    Program {
        /// Which.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// It was taken back.
    #[error(
        "the new daemon is not well: {why}\nrolled back: the one before runs again and is well"
    )]
    RolledBack {
        /// What was wrong.
        why: String,
    },
    /// It was taken back, and that did not help.
    #[error(
        "the new daemon is not well: {why}\nrolled back, but the one before is not well either: {then}"
    )]
    StillIll {
        /// What was wrong.
        why: String,
        /// What is wrong now.
        then: String,
    },
    /// After `--roll-back`.
    #[error("the program before is in its place again, but its daemon is not well: {0}")]
    IllAfter(String),
}

/// A daemon that can be restarted, and asked how it is.
struct Subject<'a> {
    daemon: &'a Daemon,
    restart: &'a str,
    patience: Duration,
    watch: Duration,
}

impl Subject<'_> {
    fn status(&self) -> Result<StatusResponse, DaemonError> {
        let ask = async |mut client: dpu_app::api::v1::dpu_client::DpuClient<_>| {
            Ok(client.status(StatusRequest {}).await?.into_inner())
        };
        self.daemon.call(ask)
    }

    /// Restarts the daemon, and waits until it is as well as before, and stays so.
    fn restart(&self, before: &Before) -> Result<(), String> {
        let start = Instant::now();
        let output = Command::new("sh")
            .args(["-c", self.restart])
            .output()
            .map_err(|error| format!("{}: {error}", self.restart))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("`{}` fails ({}): {said}", self.restart, output.status));
        }
        let mut well_since = None;
        loop {
            let problem = match self.status() {
                Ok(status) => before.problem(&status, start.elapsed()),
                Err(error) => Some(error.to_string()),
            };
            match (problem, well_since) {
                (None, None) => well_since = Some(Instant::now()),
                (None, Some(since)) if since.elapsed() >= self.watch => return Ok(()),
                // It was well, and is no more: that is worse than not yet.
                (Some(problem), Some(_)) => return Err(problem),
                (Some(problem), None) if start.elapsed() >= self.patience => return Err(problem),
                (None, Some(_)) | (Some(_), None) => {}
            }
            std::thread::sleep(ASK);
        }
    }
}

/// Does what is asked.
///
/// # Errors
/// [`UpgradeError`].
pub fn run(arguments: &Arguments) -> Result<String, UpgradeError> {
    let subject = Subject {
        daemon: &arguments.daemon,
        restart: &arguments.restart,
        patience: Duration::from_secs(arguments.patience.into()),
        watch: Duration::from_secs(arguments.watch.into()),
    };
    let stage = Stage::of(&arguments.installed);
    match &arguments.program {
        Some(program) => upgrade(&subject, &stage, program),
        None if arguments.keep => {
            stage.keep()?;
            Ok("kept: there is no way back any more".to_owned())
        }
        None => {
            stage.take_back()?;
            subject.restart(&Before::default()).map_err(UpgradeError::IllAfter)?;
            stage.keep()?;
            Ok("rolled back: the program before runs again and is well".to_owned())
        }
    }
}

fn upgrade(
    subject: &Subject<'_>,
    stage: &Stage,
    program: &std::path::Path,
) -> Result<String, UpgradeError> {
    stage.check()?;
    let status = subject.status().map_err(|error| UpgradeError::IllBefore(error.to_string()))?;
    let before = Before::of(&status);
    if let Some(problem) = Before::default().problem(&status, Duration::MAX) {
        return Err(UpgradeError::IllBefore(problem));
    }
    let version = version(program)
        .map_err(|reason| UpgradeError::Program { program: program.to_owned(), reason })?;
    stage.put(program)?;
    let Err(why) = subject.restart(&before) else {
        stage.keep()?;
        return Ok(format!("{version} runs and is well"));
    };
    stage.take_back()?;
    match subject.restart(&before) {
        Ok(()) => {
            stage.keep()?;
            Err(UpgradeError::RolledBack { why })
        }
        Err(then) => Err(UpgradeError::StillIll { why, then }),
    }
}

/// What a program says of itself: one for another machine says nothing.
fn version(program: &std::path::Path) -> Result<String, String> {
    let program = std::path::absolute(program).map_err(|error| error.to_string())?;
    let output = Command::new(program).arg("--version").output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && said.starts_with("penstock-dpud ") {
        Ok(said)
    } else {
        Err("it does not say that it is penstock-dpud (--version)".to_owned())
    }
}
