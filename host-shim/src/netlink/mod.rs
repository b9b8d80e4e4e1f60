//! Messages to the kernel about links, cards' switches and vDPA devices. Each has a deadline.

pub mod devlink;
mod generic;
pub mod uevent;
pub mod vdpa;
mod vf;

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::Socket;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use thiserror::Error;

pub use vf::{PfControl, Rtnetlink};

/// The kernel answers at once, except that firmware may have to.
const ANSWER: Duration = Duration::from_secs(5);
/// More messages than any answer has.
const MOST_MESSAGES: usize = 65_536;

/// Why the kernel did not do or tell something.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("netlink: {0}")]
    Socket(io::Error),
    /// It does not want to.
    #[error("{what}: {error}{}", mending(error))]
    Refused {
        /// What was asked.
        what: String,
        /// What it says.
        error: io::Error,
    },
    /// It said nothing.
    #[error("{0}: the kernel did not answer in time; the card's firmware may hang (dmesg)")]
    Silent(String),
    /// It said something else.
    #[error("{what}: the kernel's answer makes no sense ({reason})")]
    Nonsense {
        /// What was asked.
        what: String,
        /// Why it makes none.
        reason: String,
    },
    /// The kernel has nothing of the kind.
    #[error("the kernel knows no {0}; load its module, or use a newer kernel")]
    NoFamily(&'static str),
}

/// How to mend what the kernel refuses.
fn mending(error: &io::Error) -> &'static str {
    const EPERM: i32 = 1;
    const ENODEV: i32 = 19;
    const EINVAL: i32 = 22;
    const EOPNOTSUPP: i32 = 95;
    match error.raw_os_error() {
        Some(EPERM) => "; run with CAP_NET_ADMIN (on a card in zero-trust mode only the DPU may)",
        Some(ENODEV) => "; there is no such interface or device",
        Some(EINVAL) => "; the driver does not take this now (rates need a link)",
        Some(EOPNOTSUPP) => "; the driver does not know this: leave it out",
        _ => "",
    }
}

/// A socket of one of netlink's protocols.
#[derive(Debug)]
struct Connection {
    socket: Socket,
    sequence: u32,
}

impl Connection {
    fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(protocol).map_err(NetlinkError::Socket)?;
        socket.bind_auto().map_err(NetlinkError::Socket)?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0)).map_err(NetlinkError::Socket)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER))
            .map_err(|error| NetlinkError::Socket(error.into()))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for something to be done.
    fn act<M>(&mut self, what: &str, message: M) -> Result<(), NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.exchange(what, message, NLM_F_ACK).map(drop)
    }

    /// Asks for one thing.
    fn get<M>(&mut self, what: &str, message: M) -> Result<Vec<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.exchange(what, message, NLM_F_ACK)
    }

    /// Asks for all there are.
    fn dump<M>(&mut self, what: &str, message: M) -> Result<Vec<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.exchange(what, message, NLM_F_DUMP)
    }

    fn exchange<M>(&mut self, what: &str, message: M, flags: u16) -> Result<Vec<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len()];
        message.serialize(&mut buffer);
        self.socket.send(&buffer, 0).map_err(NetlinkError::Socket)?;
        let mut answers = Vec::new();
        for _ in 0..MOST_MESSAGES {
            let (datagram, _) =
                self.socket.recv_from_full().map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock => NetlinkError::Silent(what.to_owned()),
                    _ => NetlinkError::Socket(error),
                })?;
            if take(what, &datagram, self.sequence, &mut answers)? {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Nonsense { what: what.to_owned(), reason: "it does not end".into() })
    }
}

/// Takes the messages of a datagram that answer `sequence`; whether the last was among them.
fn take<M: NetlinkDeserializable>(
    what: &str,
    datagram: &[u8],
    sequence: u32,
    answers: &mut Vec<M>,
) -> Result<bool, NetlinkError> {
    let nonsense = |reason: String| NetlinkError::Nonsense { what: what.to_owned(), reason };
    let mut rest = datagram;
    while !rest.is_empty() {
        let length =
            rest.first_chunk::<4>().map_or(0, |length| u32::from_ne_bytes(*length) as usize);
        let own = rest.get(..length).filter(|_| length >= 16);
        let own =
            own.ok_or_else(|| nonsense(format!("a message of {length} bytes in {}", rest.len())))?;
        let message =
            NetlinkMessage::<M>::deserialize(own).map_err(|error| nonsense(error.to_string()))?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        if message.header.sequence_number != sequence {
            continue;
        }
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
            NetlinkPayload::Error(error) => {
                return Err(NetlinkError::Refused { what: what.to_owned(), error: error.to_io() });
            }
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            _ => {}
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::generic::Generic;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Also as messages of links, whose parser is not ours.
        #[test]
        fn any_datagram(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind: u16, whole: bool) {
            if whole && bytes.len() >= 16 {
                let length = bytes.len() as u32;
                bytes[..4].copy_from_slice(&length.to_ne_bytes());
                bytes[4..6].copy_from_slice(&(kind % 32).to_ne_bytes());
                bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
            }
            let _ = take::<Generic>("test", &bytes, 1, &mut Vec::new());
            let _ = take::<netlink_packet_route::RouteNetlinkMessage>("test", &bytes, 1, &mut Vec::new());
        }
    }
}
