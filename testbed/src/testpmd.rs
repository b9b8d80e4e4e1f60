//! A running `dpdk-testpmd`, told what to do line by line.

use std::io::{self, PipeReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

const PROMPT: &str = "testpmd> ";
/// How long a command may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A `dpdk-testpmd`, ended with this value.
#[derive(Debug)]
pub struct Testpmd {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
}

/// Why a `dpdk-testpmd` did not answer.
#[derive(Debug, Error)]
pub enum TestpmdError {
    /// It could not be started, or no longer takes commands.
    #[error("dpdk-testpmd: {0}")]
    Io(#[from] io::Error),
    /// No prompt came.
    #[error("dpdk-testpmd: no prompt after `{command}`:\n{output}")]
    Late {
        /// The command.
        command: String,
        /// What was printed until then.
        output: String,
    },
    /// It ended.
    #[error("dpdk-testpmd ended at `{command}`:\n{output}")]
    Ended {
        /// The command at which it did.
        command: String,
        /// What was printed until then.
        output: String,
    },
    /// It ended as it was told to, but not well.
    #[error("dpdk-testpmd ended with {status}:\n{output}")]
    Failed {
        /// How.
        status: ExitStatus,
        /// The last it printed.
        output: String,
    },
}

impl Testpmd {
    /// Starts it, interactive as `command` must make it, and waits until it takes commands.
    ///
    /// Into a pipe, C programs hold their output back: `command` has to run it under `stdbuf -oL`.
    ///
    /// # Errors
    /// [`TestpmdError`] when it does not start.
    pub fn start(mut command: Command) -> Result<Self, TestpmdError> {
        // One pipe: refusals go to the errors, in order with what is printed.
        let (pipe, write) = io::pipe()?;
        let errors = write.try_clone()?;
        let mut child = command.stdin(Stdio::piped()).stdout(write).stderr(errors).spawn()?;
        // It holds the pipe's other end, whose closing tells that the program ended.
        drop(command);
        let input = child.stdin.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let mut testpmd = Self { child, input, output: read(pipe) };
        testpmd.until_prompt("the start")?;
        Ok(testpmd)
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command and returns what was printed since the last one.
    ///
    /// # Errors
    /// [`TestpmdError`] when it ends or does not prompt for the next one.
    pub fn command(&mut self, line: &str) -> Result<String, TestpmdError> {
        writeln!(self.input, "{line}")?;
        self.until_prompt(line)
    }

    fn until_prompt(&mut self, command: &str) -> Result<String, TestpmdError> {
        let deadline = Instant::now() + PATIENCE;
        let mut output = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => output.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(TestpmdError::Late { command: command.to_owned(), output });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(TestpmdError::Ended { command: command.to_owned(), output });
                }
            }
            // The prompt for the next command; lines of other threads may follow it.
            if without_events(&output).contains(PROMPT) {
                return Ok(output);
            }
        }
    }

    /// Ends it in order and returns the last it printed.
    ///
    /// # Errors
    /// [`TestpmdError`] when it does not end well.
    pub fn quit(mut self) -> Result<String, TestpmdError> {
        writeln!(self.input, "quit")?;
        let mut output = String::new();
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            output.push_str(&String::from_utf8_lossy(&bytes));
        }
        let status = self.child.wait()?;
        if status.success() { Ok(output) } else { Err(TestpmdError::Failed { status, output }) }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // After `quit` it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was printed without the lines on events (`Port 0: link state change event`), which may come in the middle of a prompt.
fn without_events(output: &str) -> String {
    let mut text = output.to_owned();
    while let Some(end) = text.find(" event\n").map(|at| at + " event\n".len())
        && let Some(start) = text.get(..end).and_then(|text| text.rfind("\nPort "))
    {
        text.replace_range(start..end, "");
    }
    text
}

/// What comes through a pipe, until its end.
fn read(mut pipe: PipeReader) -> Receiver<Vec<u8>> {
    let (send, output) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if send.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    output
}
