//! The way to a simulated NIC: its control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sim::control::{Answer, Request, Status};
use sim::link_faults::TooMany;
use thiserror::Error;

/// How long the device may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which simulated NIC.
#[derive(Debug, Args)]
pub struct Control {
    /// Control socket of the NIC (its device argument `control=`)
    #[arg(long, value_name = "PATH", env = "PENSTOCK_NIC_CONTROL")]
    control: PathBuf,
}

/// Why a simulated NIC could not be asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody answers.
    #[error("no simulated NIC answers at {}: {reason}; does the program run with the device argument control={}?", .path.display(), .path.display())]
    Unreachable {
        /// Where.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// It refuses.
    #[error("the NIC refuses: {0}")]
    Refused(String),
    /// It says something else than an answer.
    #[error("the NIC's answer makes no sense ({0}); are both of the same version?")]
    Nonsense(#[from] serde_json::Error),
    /// More faults than frames.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl Control {
    /// Sends a request; returns how the NIC is afterwards.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn request(&self, request: &Request) -> Result<Status, ControlError> {
        let text = serde_json::to_string(request)?;
        let answer = self
            .exchange(&text)
            .map_err(|reason| ControlError::Unreachable { path: self.control.clone(), reason })?;
        match serde_json::from_str(&answer)? {
            Answer::Ok(status) => Ok(status),
            Answer::Error(problem) => Err(ControlError::Refused(problem)),
        }
    }

    fn exchange(&self, line: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.control)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        writeln!(stream, "{line}")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    }
}
