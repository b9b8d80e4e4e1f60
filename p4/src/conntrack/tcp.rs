//! The life of a TCP connection, as far as somebody in between must know it.

use super::{Removal, Timeouts};
use crate::interpreter::Time;

/// The flags of a TCP header, as they stand there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// Whether this packet opens a connection: SYN without ACK, RST and FIN.
    #[must_use]
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Like the first packet.
    Original,
    /// Against it.
    Reply,
}

/// How far the handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handshake {
    /// SYN.
    Asked,
    /// SYN and ACK came back.
    Answered,
    /// That was acknowledged.
    Whole,
}

/// The state of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    handshake: Handshake,
    /// Whether each side has closed.
    closed: [bool; 2],
    /// After a RST: whether each side has sent something since.
    reset: Option<[bool; 2]>,
}

impl Tcp {
    /// After its SYN.
    pub fn opened() -> Self {
        Self { handshake: Handshake::Asked, closed: [false; 2], reset: None }
    }

    /// Found in mid-stream, by a packet with these flags.
    pub fn picked_up(flags: TcpFlags) -> Self {
        let mut tcp = Self { handshake: Handshake::Whole, ..Self::opened() };
        tcp.passed(Way::Original, flags);
        tcp
    }

    /// Whether the handshake is not whole yet.
    pub fn is_half_open(self) -> bool {
        self.handshake != Handshake::Whole && !self.is_closing()
    }

    /// Whether a side has closed, or it was reset.
    pub fn is_closing(self) -> bool {
        self.reset.is_some() || self.closed[0] || self.closed[1]
    }

    /// How long it lives without a packet.
    pub fn timeout(self, timeouts: &Timeouts) -> Time {
        if self.reset.is_some() {
            timeouts.tcp_reset
        } else if self.closed == [true; 2] {
            timeouts.tcp_time_wait
        } else if self.is_closing() {
            timeouts.tcp_closing
        } else if self.is_half_open() {
            timeouts.tcp_half_open
        } else {
            timeouts.tcp_established
        }
    }

    /// Why it leaves when its time is over.
    pub fn reason(self) -> Removal {
        if self.reset.is_some() {
            Removal::Reset
        } else if self.closed == [true; 2] {
            Removal::Closed
        } else {
            Removal::Expired
        }
    }

    /// Why it leaves when a SYN begins it anew.
    pub fn reason_when_replaced(self) -> Removal {
        if self.reset.is_some() { Removal::Reset } else { Removal::Closed }
    }

    /// A packet passed; whether it is a sign of life.
    pub fn passed(&mut self, way: Way, flags: TcpFlags) -> bool {
        let side = way as usize;
        let (syn, ack) = (flags.has(TcpFlags::SYN), flags.has(TcpFlags::ACK));
        let fin = flags.has(TcpFlags::FIN) && !syn;
        if flags.has(TcpFlags::RST) {
            self.reset = Some([false; 2]);
            return true;
        }
        if let Some(since) = &mut self.reset {
            since[side] = true;
            // Both still talk: whoever sent the RST was neither of them.
            if *since == [true; 2] {
                *self = Self { handshake: Handshake::Whole, ..Self::opened() };
                self.closed[side] = fin;
            }
            return true;
        }
        match (self.handshake, way) {
            // On an established connection it changes nothing (RFC 5961), nor does a SYN with ACK on one that closes.
            _ if syn && (self.handshake == Handshake::Whole || self.is_closing()) => return false,
            // The SYN again, until the other side has answered with one of its own (with or without ACK, as both may
            // open at once); nothing else means anything yet.
            (Handshake::Asked, _) if !syn => return false,
            (Handshake::Asked, Way::Original) => return flags.opens(),
            (Handshake::Asked, Way::Reply) => self.handshake = Handshake::Answered,
            // Of both that open at once, with its SYN (RFC 9293, section 3.5).
            (Handshake::Answered, Way::Original) if ack && !fin => {
                self.handshake = Handshake::Whole;
            }
            _ => {}
        }
        self.closed[side] |= fin;
        true
    }
}
