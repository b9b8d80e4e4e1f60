//! Questions and orders to the kernel about a network interface (netdevice(7)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use packet::Mac;

use super::checked;
use super::spec::InterfaceName;

/// An `ifreq` that names an interface, everything else 0.
pub fn request(name: &InterfaceName) -> libc::ifreq {
    // SAFETY: `ifreq` consists of integers, bytes and pointers that no call here reads: all zero is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The name is shorter than the array, so that the last byte stays 0.
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = from.cast_signed();
    }
    request
}

/// An interface of this network namespace.
pub struct Interface<'a> {
    control: OwnedFd,
    name: &'a InterfaceName,
}

impl<'a> Interface<'a> {
    /// Prepares to ask about an interface; whether it exists shows in the questions.
    ///
    /// # Errors
    /// What `socket(2)` says.
    pub fn new(name: &'a InterfaceName) -> io::Result<Self> {
        // SAFETY: takes no memory of ours.
        let fd = checked(unsafe {
            libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self { control: unsafe { OwnedFd::from_raw_fd(fd) }, name })
    }

    fn ioctl(&self, order: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: every order used here reads and writes one `ifreq`, which the reference gives exclusively.
        checked(unsafe { libc::ioctl(self.control.as_raw_fd(), order, &raw mut *request) })?;
        Ok(())
    }

    /// The interface's index.
    ///
    /// # Errors
    /// `ENODEV` when there is no such interface.
    pub fn index(&self) -> io::Result<libc::c_int> {
        let mut request = request(self.name);
        self.ioctl(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: SIOCGIFINDEX filled this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex })
    }

    /// The interface's Ethernet address.
    ///
    /// # Errors
    /// `ENODEV` when there is no such interface.
    pub fn mac(&self) -> io::Result<Mac> {
        let mut request = request(self.name);
        self.ioctl(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR filled this member of the union.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
        let bytes = address.map(libc::c_char::cast_unsigned);
        // The array has 14 bytes.
        Ok(Mac(bytes.first_chunk().copied().unwrap_or_default()))
    }

    fn flags(&self) -> io::Result<libc::c_short> {
        let mut request = request(self.name);
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS filled this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_flags })
    }

    /// Whether the interface is administratively up and has a carrier.
    ///
    /// # Errors
    /// `ENODEV` when there is no such interface.
    pub fn is_running(&self) -> io::Result<bool> {
        const WANTED: libc::c_int = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(libc::c_int::from(self.flags()?) & WANTED == WANTED)
    }

    /// Sets the interface up.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `ENODEV` when there is no such interface.
    pub fn set_up(&self) -> io::Result<()> {
        let mut request = request(self.name);
        request.ifr_ifru.ifru_flags = self.flags()? | libc::IFF_UP as libc::c_short;
        self.ioctl(libc::SIOCSIFFLAGS, &mut request)
    }

    /// Sets the interface's MTU in bytes.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EINVAL` for one that the interface cannot have.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = request(self.name);
        request.ifr_ifru.ifru_mtu = mtu.into();
        self.ioctl(libc::SIOCSIFMTU, &mut request)
    }
}
