//! The wire side of a port: what stands where a real card has a cable or a VM's virtual function.

mod faulty;
mod generator;
mod interface;
mod packet_socket;
mod pcap;
mod peer;
mod spec;
mod tap;
mod vhost;

use std::io;
use std::ops::AddAssign;

use packet::Mac;
use thiserror::Error;

use crate::batch::Batch;

pub use faulty::FaultyLink;
pub use spec::{InterfaceName, LinkSpec, LinkSpecError};

/// What a link took.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl<'a> FromIterator<&'a [u8]> for Sent {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(frames: I) -> Self {
        frames.into_iter().fold(Self::default(), |Self { packets, bytes }, frame| Self {
            packets: packets + 1,
            bytes: bytes + frame.len() as u64,
        })
    }
}

impl AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

/// How reading a burst went.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Received {
    /// Frames lost on the way in: too long, or not usable as they came.
    pub errors: u64,
    /// Whether there is nothing more to read for the moment.
    pub idle: bool,
}

/// One wire. Several threads may use it at once; none of the calls waits.
pub trait Link: Send + Sync {
    /// Reads frames into the batch until it is full or no more are there.
    fn receive(&self, batch: &mut Batch) -> Received;

    /// Sends the frames in order and returns what the link took; the rest is lost, as on a full wire.
    fn send(&self, frames: &[&[u8]]) -> Sent;

    /// Whether the wire is there and up.
    fn is_up(&self) -> bool;
}

/// A link that cannot be opened.
#[derive(Debug, Error)]
pub enum LinkError {
    /// A step of opening it failed.
    #[error("{what}: {source}")]
    Step {
        /// Which step, and on what.
        what: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// A file that is no capture.
    #[error("{file}: {problem}")]
    Capture {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A cable whose ends are both in use.
    #[error("the cable {0} has two ends already; name another")]
    CableInUse(String),
    /// A tunnel that a generator cannot make.
    #[error("the tunnel: {0}")]
    Tunnel(String),
}

impl LinkError {
    fn step(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Step { what, source }
    }
}

/// Opens what the user asked for; `mtu` is the port's, in bytes.
///
/// # Errors
/// [`LinkError`] when the interface or file cannot be used.
pub fn open(spec: &LinkSpec, mtu: u16) -> Result<Box<dyn Link>, LinkError> {
    Ok(match spec {
        LinkSpec::Tap(name) => Box::new(tap::Tap::open(name, mtu)?),
        LinkSpec::Packet(name) => Box::new(packet_socket::PacketSocket::open(name)?),
        LinkSpec::Pcap { input, output } => {
            Box::new(pcap::Captures::open(input.as_deref(), output.as_deref())?)
        }
        LinkSpec::Vhost(path) => Box::new(vhost::Vhost::open(path)?),
        LinkSpec::Generator(spec) => Box::new(generator::Generator::build(spec)?),
        LinkSpec::Peer(name) => Box::new(peer::Peer::open(name)?),
    })
}

/// The Ethernet address of an interface in this network namespace.
///
/// # Errors
/// [`LinkError`] when there is no such interface.
pub fn interface_address(name: &InterfaceName) -> Result<Mac, LinkError> {
    interface::Interface::new(name)
        .and_then(|interface| interface.mac())
        .map_err(LinkError::step(format!("ask for {}'s address", name.as_str())))
}

/// The result of a system call that returns -1 and sets `errno`.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
