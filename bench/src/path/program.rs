//! Programs that end with their values.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

/// A program that runs beside us, its output in a file.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = File::create(log).into_diagnostic()?;
        let errors = out.try_clone().into_diagnostic()?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn();
        let child = child.into_diagnostic().wrap_err_with(|| format!("{name} does not start"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// When it has ended; with the end of what it said.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().into_diagnostic()? {
            bail!("{} has ended ({status}):\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end; what it says.
///
/// # Errors
/// When it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().into_diagnostic();
    let output = output.wrap_err_with(|| format!("{command:?} does not start"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(miette!("{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(text)
}
