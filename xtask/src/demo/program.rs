//! Programs that the demo runs: those it waits for, and those that run beside it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt;
use crate::process::{cannot_start, show};

/// How long a program may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A program that runs beside the demo; it is ended with this value.
pub struct Running(Child);

impl Running {
    /// Starts a program that writes what it says to a file.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log =
            File::create(log).into_diagnostic().wrap_err_with(|| log.display().to_string())?;
        let errors = log.try_clone().into_diagnostic()?;
        Self::spawn(command.stdout(log).stderr(errors))
    }

    /// Starts a program whose lines come as it writes them, each with its time.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_talking(command: &mut Command) -> Result<(Self, Receiver<(Instant, String)>)> {
        let mut running = Self::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let (send, lines) = channel();
        if let Some(output) = running.0.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if send.send((Instant::now(), line)).is_err() {
                        return;
                    }
                }
            });
        }
        Ok((running, lines))
    }

    /// In a process group of its own: Ctrl-C at the terminal reaches us alone, and we end the others in order.
    fn spawn(command: &mut Command) -> Result<Self> {
        let line = show(command);
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        child.map(Self).into_diagnostic().wrap_err_with(|| cannot_start(&line))
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().into_diagnostic()
    }

    /// Leaves it running for good.
    pub fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // As long as it was not waited for, its number is not given to another process.
        let Ok(None) = self.0.try_wait() else { return };
        terminate(self.0.id(), Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Both may fail only when it is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal; a process that is gone needs none.
pub fn terminate(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// What a program that has ended said.
pub struct Finished {
    /// Whether it succeeded.
    pub success: bool,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Runs a program to its end.
///
/// # Errors
/// When it does not start or takes longer than `patience`, and when the demo is interrupted: it is ended then.
pub fn finish(command: &mut Command, patience: Duration) -> Result<Finished> {
    let line = show(command);
    let mut running = Running::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let output = running.0.stdout.take().map(collect);
    let errors = running.0.stderr.take().map(collect);
    let status = interrupt::wait_for(patience, || running.ended())?
        .ok_or_else(|| miette!("`{line}` takes longer than {} s", patience.as_secs()))?;
    let text = |thread: Option<JoinHandle<String>>| {
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    Ok(Finished { success: status.success(), output: text(output), errors: text(errors) })
}

/// Runs a program that must succeed, and returns what it said.
///
/// # Errors
/// As [`finish`], and when it fails.
pub fn succeed(command: &mut Command, patience: Duration) -> Result<String> {
    let line = show(command);
    let Finished { success, output, errors } = finish(command, patience)?;
    if !success {
        bail!("`{line}` failed: {}", if errors.is_empty() { output.trim() } else { errors.trim() });
    }
    Ok(output)
}

/// Reads to the end, beside.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error still helps.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
