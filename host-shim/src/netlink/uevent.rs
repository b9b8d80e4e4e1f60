//! The kernel's news about devices.

use netlink_sys::{Socket, SocketAddr};

use super::NetlinkError;

/// The kernel's own messages; group 2 has udev's.
const KERNEL: u32 = 1;

/// Hears what happens to devices.
#[derive(Debug)]
pub struct Uevents(Socket);

impl Uevents {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the kernel does not let it.
    pub fn listen() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(netlink_sys::protocols::NETLINK_KOBJECT_UEVENT)
            .map_err(NetlinkError::Socket)?;
        socket.bind(&SocketAddr::new(0, KERNEL)).map_err(NetlinkError::Socket)?;
        Ok(Self(socket))
    }

    /// Waits until something happened to a PCI function or a network interface.
    ///
    /// # Errors
    /// When the socket breaks. That messages were lost is news, too.
    pub fn wait(&self) -> Result<(), NetlinkError> {
        const ENOBUFS: i32 = 105;
        let mut message = Vec::with_capacity(8192);
        loop {
            message.clear();
            match self.0.recv(&mut message, 0) {
                Ok(_) if is_ours(&message) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NetlinkError::Socket(error)),
            }
        }
    }
}

/// A message is texts with zeros between them, the first `ACTION@PATH`.
fn is_ours(message: &[u8]) -> bool {
    message
        .split(|byte| *byte == 0)
        .any(|text| matches!(text, b"SUBSYSTEM=pci" | b"SUBSYSTEM=net" | b"SUBSYSTEM=vdpa"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_interest() {
        assert!(is_ours(b"bind@/devices/pci0000:00/0000:01:10.0\0ACTION=bind\0SUBSYSTEM=pci\0"));
        assert!(!is_ours(b"change@/devices/x\0SUBSYSTEM=power_supply\0"));
        assert!(!is_ours(b""));
    }
}
