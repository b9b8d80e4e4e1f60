//! The life of a TCP connection, as far as somebody in between must know it.
//!
//! Each rule stands beside the sentence of DESIGN section 5 that it carries out. What the section leaves open is decided
//! here, in the plainest way, and says so.

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

    /// Whether this is what the section calls a SYN where one begins something.
    ///
    /// "A packet with SYN and ACK or RST and no connection is the same" as one of mid-stream. Left open: FIN beside SYN;
    /// no connection begins with its end.
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

/// The states that the section names, by their timeouts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    HalfOpen,
    Established,
    Closing,
    TimeWait,
    Reset,
}

/// How far the handshake is. Left open: which packets it has. These three, whether both sides open at once or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handshake {
    /// The initiator's SYN.
    Asked,
    /// The responder's SYN.
    Answered,
    /// The initiator's ACK of that.
    Acknowledged,
}

/// What is known of a connection. Of two, the first is the initiator's and the other the responder's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    handshake: Handshake,
    /// Who has sent a FIN.
    fin: [bool; 2],
    /// After a RST: who has sent something since.
    since_reset: Option<[bool; 2]>,
}

impl Tcp {
    /// After its SYN.
    pub fn opened() -> Self {
        Self { handshake: Handshake::Asked, fin: [false; 2], since_reset: None }
    }

    fn established() -> Self {
        Self { handshake: Handshake::Acknowledged, ..Self::opened() }
    }

    /// "A knob allows pick-up": a connection found in mid-stream, by a packet with these flags.
    pub fn picked_up(flags: TcpFlags) -> Self {
        let mut tcp = Self::established();
        tcp.passed(Way::Original, flags);
        tcp
    }

    fn state(self) -> State {
        if self.since_reset.is_some() {
            State::Reset
        } else if self.fin == [true; 2] {
            // "FIN closes one direction; both -> time-wait."
            State::TimeWait
        } else if self.fin != [false; 2] {
            State::Closing
        } else if self.handshake == Handshake::Acknowledged {
            State::Established
        } else {
            State::HalfOpen
        }
    }

    /// Whether the handshake is not whole yet.
    pub fn is_half_open(self) -> bool {
        self.state() == State::HalfOpen
    }

    /// "SYN on a closing or timed-out connection starts anew." One that was reset is closing, too: it is about to leave.
    pub fn is_closing(self) -> bool {
        matches!(self.state(), State::Closing | State::TimeWait | State::Reset)
    }

    /// "TCP half-open 30 s, established 7440 s, closing and time-wait 60 s"; "the connection leaves after 10 s of silence".
    pub fn timeout(self, timeouts: &Timeouts) -> Time {
        match self.state() {
            State::HalfOpen => timeouts.tcp_half_open,
            State::Established => timeouts.tcp_established,
            State::Closing => timeouts.tcp_closing,
            State::TimeWait => timeouts.tcp_time_wait,
            State::Reset => timeouts.tcp_reset,
        }
    }

    /// Why it leaves when its time is over.
    pub fn reason(self) -> Removal {
        match self.state() {
            State::Reset => Removal::Reset,
            State::TimeWait => Removal::Closed,
            State::HalfOpen | State::Established | State::Closing => Removal::Expired,
        }
    }

    /// Why it leaves when a SYN begins it anew.
    pub fn reason_when_replaced(self) -> Removal {
        if self.state() == State::Reset { Removal::Reset } else { Removal::Closed }
    }

    /// A packet passed; whether its silence is broken.
    pub fn passed(&mut self, way: Way, flags: TcpFlags) -> bool {
        let side = match way {
            Way::Original => 0,
            Way::Reply => 1,
        };
        // "RST is forwarded, the connection leaves after 10 s of silence."
        if flags.has(TcpFlags::RST) {
            self.since_reset = Some([false; 2]);
            return true;
        }
        if let Some(since) = &mut self.since_reset {
            // "Traffic in both directions after it restores established." Left open: what a FIN is worth meanwhile. It
            // closes nothing before that is restored.
            since[side] = true;
            if *since == [true; 2] {
                *self = Self::established();
                self.fin[side] = flags.has(TcpFlags::FIN);
            }
            return true;
        }
        // "[SYN] on an established one is forwarded and changes nothing (RFC 5961)." There, with ACK or without.
        if flags.has(TcpFlags::SYN) && self.state() == State::Established {
            return false;
        }
        self.handshake = match (self.handshake, way) {
            (Handshake::Asked, Way::Reply) if flags.has(TcpFlags::SYN) => Handshake::Answered,
            (Handshake::Answered, Way::Original) if flags.has(TcpFlags::ACK) => {
                Handshake::Acknowledged
            }
            (unchanged, _) => unchanged,
        };
        // "FIN closes one direction."
        self.fin[side] |= flags.has(TcpFlags::FIN);
        true
    }
}
