//! A TAP interface: a VM's or a namespace's kernel stack at the other end (Linux `Documentation/networking/tuntap.rst`).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::batch::Batch;

use super::interface::{Interface, request};
use super::spec::InterfaceName;
use super::{Link, LinkError, Received, Sent, checked};

const DEVICE: &str = "/dev/net/tun";

/// A TAP interface that exists as long as this value does, unless it was made persistent by someone else.
pub struct Tap {
    device: File,
}

impl Tap {
    /// Creates the interface in the current network namespace, or attaches to it, and sets it up.
    ///
    /// # Errors
    /// [`LinkError`] without `/dev/net/tun` or `CAP_NET_ADMIN`, or when the name is taken.
    pub fn open(name: &InterfaceName, mtu: u16) -> Result<Self, LinkError> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(DEVICE)
            .map_err(LinkError::step(format!("open {DEVICE}")))?;
        let mut wanted = request(name);
        wanted.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives over the call.
        checked(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut wanted) })
            .map_err(LinkError::step(format!("create the TAP interface {}", name.as_str())))?;
        let interface = Interface::new(name).map_err(LinkError::step("open a socket"))?;
        interface
            .set_mtu(mtu)
            .map_err(LinkError::step(format!("set {}'s MTU to {mtu}", name.as_str())))?;
        interface.set_up().map_err(LinkError::step(format!("set {} up", name.as_str())))?;
        Ok(Self { device })
    }
}

impl Link for Tap {
    fn receive(&self, batch: &mut Batch) -> Received {
        let mut received = Received::default();
        while let Some(room) = batch.next_room() {
            match (&self.device).read(room) {
                Ok(length) => {
                    if !batch.commit(length) {
                        received.errors += 1;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Nothing there, or (EBADFD, EIO) the interface was removed or set down.
                Err(_) => {
                    received.idle = true;
                    break;
                }
            }
        }
        received
    }

    fn send(&self, frames: &[&[u8]]) -> Sent {
        // A frame that the kernel refuses (interface down, memory short) is lost; the next may still pass.
        frames.iter().copied().filter(|frame| (&self.device).write(frame).is_ok()).collect()
    }

    fn is_up(&self) -> bool {
        // The interface may live in another network namespace by now, out of reach of questions by name.
        true
    }
}
