//! Questions to a DPDK program over its telemetry socket (DPDK how-to guide, "Telemetry").

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A connection; one answer to each question.
pub struct Telemetry(File);

impl Telemetry {
    /// Connects to the program whose runtime directory this is.
    pub fn connect(runtime: &Path, prefix: &str) -> io::Result<Self> {
        let path = runtime.join("dpdk").join(prefix).join("dpdk_telemetry.v2");
        // SAFETY: takes no memory of ours; the descriptor is new and nobody else's.
        let socket = unsafe {
            File::from_raw_fd(libc::socket(
                libc::AF_UNIX,
                libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
                0,
            ))
        };
        // SAFETY: integers and bytes.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as u16;
        for (to, from) in address.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
            *to = from.cast_signed();
        }
        let length = u32::try_from(size_of::<libc::sockaddr_un>()).unwrap();
        // SAFETY: the address is one of this size.
        let result =
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut telemetry = Self(socket);
        telemetry.receive()?;
        Ok(telemetry)
    }

    /// The answer, in JSON.
    pub fn ask(&mut self, question: &str) -> String {
        self.0.write_all(question.as_bytes()).expect("ask");
        self.receive().expect("an answer")
    }

    fn receive(&mut self) -> io::Result<String> {
        let mut buffer = vec![0; 1 << 16];
        let length = self.0.read(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}
