//! A client of QEMU's Machine Protocol: gives devices to running VMs and takes them back. Nothing waits longer than
//! its deadline, and nothing a VM's process says is trusted.

mod message;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thiserror::Error;

use self::message::{Message, read_message};
use super::{DeviceIds, VmDevice};
use crate::lease::VmName;

/// Answers are short; lists of devices are the longest.
const LONGEST_LINE: u64 = 1 << 20;
/// How long a VM's process may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a guest may take to let go of a device.
const LET_GO: Duration = Duration::from_secs(20);

/// What went wrong between us and a VM's process.
#[derive(Debug, Error)]
pub enum QmpError {
    /// Nobody listens.
    #[error("{}: no VM answers ({error}); does it run, and is this its QMP socket?", path.display())]
    NoVm {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The connection broke.
    #[error("the VM's QMP connection broke: {0}")]
    Io(io::Error),
    /// It says nothing.
    #[error(
        "the VM did not answer {0} in time; another client may hold its QMP socket (it serves one at a time)"
    )]
    Silent(&'static str),
    /// The guest keeps the device.
    #[error("the guest did not let go of {0} in time; its hot-plug driver must run")]
    Kept(String),
    /// It says what nobody understands.
    #[error("what the VM says is not QMP: {0}")]
    Nonsense(String),
    /// It does not want to.
    #[error("the VM refuses {command}: {message}")]
    Refused {
        /// What it was told.
        command: &'static str,
        /// In QEMU's words.
        message: String,
    },
}

/// A connection to a VM's process.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    next_id: u64,
    /// Events that came while something else was awaited.
    deleted: Vec<String>,
}

impl Qmp {
    /// Connects and agrees on the protocol.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn connect(path: &Path) -> Result<Self, QmpError> {
        let stream = UnixStream::connect(path)
            .map_err(|error| QmpError::NoVm { path: path.to_owned(), error })?;
        stream.set_write_timeout(Some(ANSWER)).map_err(QmpError::Io)?;
        let mut qmp = Self { stream: BufReader::new(stream), next_id: 0, deleted: Vec::new() };
        let deadline = Instant::now() + ANSWER;
        match qmp.read("a greeting", deadline)? {
            Message::Greeting => {}
            other => return Err(QmpError::Nonsense(format!("{other:?} instead of a greeting"))),
        }
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    fn read(&mut self, what: &'static str, deadline: Instant) -> Result<Message, QmpError> {
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(QmpError::Silent(what));
            }
            self.stream.get_ref().set_read_timeout(Some(left)).map_err(QmpError::Io)?;
            let room = LONGEST_LINE - line.len() as u64;
            match (&mut self.stream).take(room).read_until(b'\n', &mut line) {
                Ok(0) if room == 0 => {
                    return Err(QmpError::Nonsense("a line without an end".into()));
                }
                Ok(0) => return Err(QmpError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) if line.ends_with(b"\n") => {
                    return read_message(&line).map_err(QmpError::Nonsense);
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Err(QmpError::Silent(what)),
                Err(error) => return Err(QmpError::Io(error)),
            }
        }
    }

    /// Has a command executed; what it returns.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn execute(&mut self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut request = json!({"execute": command, "id": id});
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let text = format!("{request}\r\n");
        self.stream.get_mut().write_all(text.as_bytes()).map_err(|error| {
            if is_timeout(&error) { QmpError::Silent(command) } else { QmpError::Io(error) }
        })?;
        let deadline = Instant::now() + ANSWER;
        loop {
            match self.read(command, deadline)? {
                Message::Returned { id: of, value } if of == Some(id) => return Ok(value),
                Message::Failed { id: of, message } if of == Some(id) || of.is_none() => {
                    return Err(QmpError::Refused { command, message });
                }
                Message::Deleted(device) => self.deleted.push(device),
                // Answers to somebody else, other events.
                _ => {}
            }
        }
    }

    /// Whether the VM has a device of this name.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn has_device(&mut self, id: &str) -> Result<bool, QmpError> {
        let devices = self.execute("qom-list", json!({"path": "/machine/peripheral"}))?;
        names(&devices, "name").map(|mut names| names.any(|name| name == id))
    }

    /// Whether the VM has a character device of this name.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn has_chardev(&mut self, id: &str) -> Result<bool, QmpError> {
        let devices = self.execute("query-chardev", Value::Null)?;
        names(&devices, "label").map(|mut names| names.any(|name| name == id))
    }

    /// Gives the VM a device, as a whole or not at all.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn plug(&mut self, device: &VmDevice, bus: Option<&VmName>) -> Result<(), QmpError> {
        // What an attempt left that was cut off.
        self.clear(device.ids())?;
        for (command, arguments) in device.plug_commands(bus) {
            if let Err(error) = self.execute(command, arguments) {
                self.clear(device.ids())?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a device from the VM, and waits until the guest has let go of it.
    ///
    /// # Errors
    /// [`QmpError`].
    pub fn unplug(&mut self, device: &DeviceIds) -> Result<(), QmpError> {
        if self.has_device(device.id())? {
            let deadline = Instant::now() + LET_GO;
            self.deleted.clear();
            // It refuses while an earlier request is under way: the event comes all the same.
            match self.execute("device_del", json!({"id": device.id()})) {
                Ok(_) => {}
                Err(QmpError::Refused { message, .. })
                    if message.contains("in the process of unplug") => {}
                Err(error) => return Err(error),
            }
            while !self.deleted.iter().any(|deleted| deleted == device.id()) {
                match self.read("device_del", deadline) {
                    Ok(Message::Deleted(deleted)) => self.deleted.push(deleted),
                    Ok(_) => {}
                    Err(QmpError::Silent(_)) => return Err(QmpError::Kept(device.id().to_owned())),
                    Err(error) => return Err(error),
                }
            }
        }
        self.clear(device)
    }

    /// Removes what is behind a device, as far as it is there.
    fn clear(&mut self, device: &DeviceIds) -> Result<(), QmpError> {
        for (command, arguments) in device.clear_commands() {
            match self.execute(command, arguments) {
                Ok(_) | Err(QmpError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The names in a list of objects.
fn names<'a>(list: &'a Value, key: &'a str) -> Result<impl Iterator<Item = &'a str>, QmpError> {
    let list = list.as_array().ok_or_else(|| QmpError::Nonsense("no list of devices".into()))?;
    Ok(list.iter().filter_map(move |item| item.get(key)?.as_str()))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests;
