//! The control socket: requests of [`sim::control`], served by a thread of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use sim::control::{Answer, Request};

use crate::device::Device;
use crate::{log, reset};

/// Longer than any request.
const MAX_LINE: u64 = 64 * 1024;
/// How long the thread waits for a client at a time; as long does closing the device wait, at most.
const PATIENCE: Duration = Duration::from_millis(200);

/// A socket in service. Dropped, its thread ends and its file is removed.
pub struct ControlSocket {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    listener: UnixListener,
    is_closing: AtomicBool,
}

impl ControlSocket {
    /// Listens at `path` for requests to the device called `name`. A file that a dead process left there is replaced.
    ///
    /// # Errors
    /// What the system says; `AddrInUse` when somebody listens there.
    pub fn open(path: &Path, name: String, device: Weak<Device>) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                match UnixStream::connect(path) {
                    Err(nobody) if nobody.kind() == io::ErrorKind::ConnectionRefused => {}
                    _ => return Err(error),
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        let shared = Arc::new(Shared { listener, is_closing: AtomicBool::new(false) });
        let of_thread = Arc::clone(&shared);
        let serve = move || of_thread.serve(&name, &device);
        let thread = std::thread::Builder::new().name("eswitch-control".into()).spawn(serve)?;
        Ok(Self { path: path.to_owned(), shared, thread: Some(thread) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Release);
        // SAFETY: a call on our own socket; it ends a wait for clients.
        unsafe { libc::shutdown(self.shared.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            // A panic in it ended the process.
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Shared {
    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    fn serve(&self, name: &str, device: &Weak<Device>) {
        while !self.is_closing() {
            match self.listener.accept() {
                Ok((client, _)) => {
                    // A client that goes away in the middle is its own problem.
                    let _ = self.converse(&client, name, device);
                }
                Err(_) if self.is_closing() => return,
                Err(error) => {
                    log::error(&format_args!("control socket: {error}"));
                    std::thread::sleep(PATIENCE);
                }
            }
        }
    }

    /// Answers one client until it has no more requests.
    fn converse(&self, client: &UnixStream, name: &str, device: &Weak<Device>) -> io::Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(client);
        let mut line = Vec::new();
        loop {
            let left = MAX_LINE.saturating_sub(line.len() as u64);
            match reader.by_ref().take(left).read_until(b'\n', &mut line) {
                Ok(_) if line.last() == Some(&b'\n') => {
                    let answer = answer(&line, name, device);
                    let mut text = serde_json::to_vec(&answer)?;
                    text.push(b'\n');
                    (&mut &*client).write_all(&text)?;
                    line.clear();
                }
                // The end, or a line without one.
                Ok(_) => return client.shutdown(Shutdown::Both),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.is_closing() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn answer(line: &[u8], name: &str, device: &Weak<Device>) -> Answer {
    let Some(device) = device.upgrade() else {
        return Answer::Error("the device is being closed".to_owned());
    };
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(problem) => return Answer::Error(format!("not a request: {problem}")),
    };
    match request {
        Request::Status => {}
        Request::Rules(faults) => device.set_rule_faults(faults),
        Request::Link { port, faults } => {
            if !device.set_link_faults(&port, faults) {
                let problem = format!("there is no port {port} with a link; see the status");
                return Answer::Error(problem);
            }
        }
        Request::Clear => device.clear_faults(),
        Request::Reset { outage_ms } => {
            device.reset(Duration::from_millis(outage_ms.into()));
            reset::announce(device.uplink());
        }
    }
    Answer::Ok(device.status(name.to_owned()))
}
