//! Connection tracking as the card does it: the state of one TCP connection, and whether a segment fits its windows.
//!
//! The window tests are those of G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001), from which the
//! card's context has its fields: what a direction has sent (`sent_end`), what it may send (`reply_end`), the largest
//! window it offered (`max_win`). Sequence numbers compare modulo 2^32 (RFC 9293, section 3.4).

use packet::TcpFlags;
use rte_flow::{
    Connection, ConnectionState, ConnectionUpdate, ConntrackRules, Direction, LastSegment,
    PacketState, TcpDirection,
};

/// What tracking looks at in a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its flags.
    pub flags: TcpFlags,
    /// Its sequence number.
    pub sequence: u32,
    /// Its acknowledgment number, which means something with ACK.
    pub acknowledgment: u32,
    /// Its window, unscaled.
    pub window: u16,
    /// How many bytes of data it has.
    pub length: u32,
    /// The end of the highest block that it acknowledges selectively (RFC 2018).
    pub selective: Option<u32>,
}

impl Segment {
    /// The segment that begins with the TCP header `bytes` begin with, and ends where they do. `None` when its lengths
    /// contradict each other or its flags are no TCP's.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let long = |at: usize| Some(u32::from_be_bytes(*header.get(at..)?.first_chunk()?));
        let header_length = usize::from(header[12] >> 4) * 4;
        let options = bytes.get(20..header_length)?;
        let segment = Self {
            flags: TcpFlags::from_bits_retain(header[13]),
            sequence: long(4)?,
            acknowledgment: long(8)?,
            window: u16::from_be_bytes([header[14], header[15]]),
            length: u32::try_from(bytes.len() - header_length).ok()?,
            selective: highest_block(options),
        };
        segment.kind().is_some().then_some(segment)
    }

    /// What kind of segment it is; `None` for flags that do not go together.
    fn kind(&self) -> Option<LastSegment> {
        let decisive = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
        match self.flags & decisive {
            flags if flags == TcpFlags::SYN => Some(LastSegment::Syn),
            flags if flags == TcpFlags::SYN | TcpFlags::ACK => Some(LastSegment::SynAck),
            flags if flags == TcpFlags::FIN | TcpFlags::ACK => Some(LastSegment::Fin),
            flags if flags == TcpFlags::RST || flags == TcpFlags::RST | TcpFlags::ACK => {
                Some(LastSegment::Rst)
            }
            flags if flags == TcpFlags::ACK => Some(LastSegment::Ack),
            _ => None,
        }
    }

    /// The sequence number after it: SYN and FIN count as one byte each.
    fn end(&self) -> u32 {
        let control = self.flags & (TcpFlags::SYN | TcpFlags::FIN);
        self.sequence.wrapping_add(self.length).wrapping_add(control.bits().count_ones())
    }
}

/// The end of the highest block among TCP options.
fn highest_block(mut options: &[u8]) -> Option<u32> {
    /// The option's number.
    const SACK: u8 = 5;
    let mut highest = None;
    while let Some((kind, rest)) = options.split_first() {
        let length = match kind {
            0 => break,
            1 => 1,
            _ => rest.first().map_or(0, |length| usize::from(*length)),
        };
        let Some((option, after)) = options.split_at_checked(length).filter(|_| length > 0) else {
            break;
        };
        for block in option.get(2..).filter(|_| *kind == SACK).unwrap_or_default().chunks_exact(8) {
            let end = block.last_chunk().map(|end| u32::from_be_bytes(*end));
            highest = match (highest, end) {
                (Some(highest), Some(end)) if is_after(end, highest) => Some(end),
                (None, end) => end,
                (highest, _) => highest,
            };
        }
        options = after;
    }
    highest
}

/// Whether sequence number `a` comes after `b`.
const fn is_after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a).cast_signed()) < 0
}

/// The smallest window below which acknowledgments are too old, before it is scaled.
const ACK_WINDOW: u32 = 0xffff;

/// A tracked connection.
#[derive(Clone, Copy, Debug)]
pub struct Tracker {
    connection: Connection,
    /// How often the last segment came again.
    repeated: u8,
}

/// Whether a segment fits, and what follows from it when it does.
struct Fitted {
    sender: TcpDirection,
    receiver: TcpDirection,
}

impl Tracker {
    /// A connection as the application describes it.
    pub const fn new(connection: Connection) -> Self {
        Self { connection, repeated: 0 }
    }

    /// The connection as it stands.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Changes what an update says.
    pub fn update(&mut self, update: &ConnectionUpdate) {
        let direction = update.direction.unwrap_or(self.connection.direction);
        if let Some(connection) = update.connection {
            *self = Self::new(connection);
        }
        self.connection.direction = direction;
    }

    /// Takes a segment of a direction; `None` for a packet that is no proper segment.
    pub fn track(
        &mut self,
        direction: Direction,
        segment: Option<&Segment>,
        rules: ConntrackRules,
    ) -> PacketState {
        if !self.connection.enable {
            return PacketState::DISABLED;
        }
        let Some((segment, kind)) = segment.and_then(|found| Some((found, found.kind()?))) else {
            return PacketState::BAD;
        };
        let before = self.connection.state;
        let is_valid = match kind {
            LastSegment::Syn | LastSegment::SynAck => self.handshake(direction, segment, kind),
            LastSegment::Rst => self.reset(direction, segment),
            LastSegment::None | LastSegment::Fin | LastSegment::Ack => {
                self.data(direction, segment, kind, rules)
            }
        };
        if !is_valid {
            return PacketState::INVALID;
        }
        self.remember(direction, segment, kind);
        if rules.limits_retransmissions
            && self.connection.retransmission_limit > 0
            && self.repeated > self.connection.retransmission_limit
        {
            return PacketState::INVALID;
        }
        if self.connection.state == before {
            PacketState::VALID
        } else {
            PacketState::VALID | PacketState::CHANGED
        }
    }

    fn ends(&self, direction: Direction) -> (TcpDirection, TcpDirection) {
        match direction {
            Direction::Original => (self.connection.original, self.connection.reply),
            Direction::Reply => (self.connection.reply, self.connection.original),
        }
    }

    fn set_ends(&mut self, direction: Direction, sender: TcpDirection, receiver: TcpDirection) {
        let (original, reply) = match direction {
            Direction::Original => (sender, receiver),
            Direction::Reply => (receiver, sender),
        };
        (self.connection.original, self.connection.reply) = (original, reply);
    }

    /// SYN and SYN-ACK were there before tracking began: only their repetition belongs to the connection. On a live
    /// connection a SYN passes too, so that its receiver can answer with a challenge (RFC 5961, section 4).
    fn handshake(&self, direction: Direction, segment: &Segment, kind: LastSegment) -> bool {
        let (sender, _) = self.ends(direction);
        let from = match kind {
            LastSegment::Syn => Direction::Original,
            _ => Direction::Reply,
        };
        let is_repetition = direction == from && !is_after(segment.end(), sender.sent_end);
        let is_live = self.connection.state != ConnectionState::TimeWait;
        is_repetition
            || (is_live && kind == LastSegment::Syn)
            || (is_live && self.connection.liberal_mode)
    }

    /// A RST closes the connection when it has exactly the expected number (RFC 5961, section 3) or answers a challenge.
    fn reset(&mut self, direction: Direction, segment: &Segment) -> bool {
        let (sender, receiver) = self.ends(direction);
        let sequence = segment.sequence;
        let is_old = receiver.last_ack_seen && is_after(receiver.max_ack, sequence);
        if !self.connection.liberal_mode && (is_old || is_after(sequence, sender.reply_end)) {
            return false;
        }
        let is_expected = !receiver.last_ack_seen
            || sequence == receiver.max_ack
            || sequence == sender.sent_end
            || self.connection.challenge_ack_passed;
        if is_expected || self.connection.liberal_mode {
            self.connection.state = ConnectionState::TimeWait;
        }
        true
    }

    fn data(
        &mut self,
        direction: Direction,
        segment: &Segment,
        kind: LastSegment,
        rules: ConntrackRules,
    ) -> bool {
        if let Some(Fitted { sender, receiver }) = self.fit(direction, segment) {
            self.set_ends(direction, sender, receiver);
        } else if !self.connection.liberal_mode {
            return false;
        }
        let connection = &mut self.connection;
        let is_answer = connection.last_segment == LastSegment::Syn
            && connection.last_direction != direction
            && connection.state != ConnectionState::SynReceived;
        connection.challenge_ack_passed |= is_answer;
        self.advance(direction, kind, rules);
        true
    }

    /// The four tests of a segment against the windows, and what both ends are known to have done after it.
    fn fit(&self, direction: Direction, segment: &Segment) -> Option<Fitted> {
        let (mut sender, mut receiver) = self.ends(direction);
        let (sequence, end, ack) = (segment.sequence, segment.end(), segment.acknowledgment);
        let selective = segment.selective.filter(|_| self.connection.selective_ack);
        let sack = selective.filter(|sack| is_after(*sack, ack)).unwrap_or(ack);
        // Beyond 15 it would be more than half of all numbers, which has no meaning.
        let ack_window = (ACK_WINDOW << self.connection.max_ack_window.min(15)).max(sender.max_win);
        let lowest = sender.sent_end.wrapping_sub(receiver.max_win);
        let fits = !is_after(sequence, sender.reply_end)
            && (receiver.max_win == 0 || !is_after(lowest, end))
            && !is_after(sack, receiver.sent_end)
            && !is_after(receiver.sent_end.wrapping_sub(ack_window), sack);
        if !fits {
            return None;
        }
        let window = u32::from(segment.window) << sender.scale.shift();
        sender.max_win = sender.max_win.max(window.wrapping_add(sack.wrapping_sub(ack)));
        if receiver.max_win != 0 && is_after(end, sender.reply_end) {
            receiver.max_win = receiver.max_win.wrapping_add(end.wrapping_sub(sender.reply_end));
        }
        if is_after(end, sender.sent_end) {
            sender.sent_end = end;
            sender.data_unacked = true;
        }
        if !sender.last_ack_seen || is_after(ack, sender.max_ack) {
            sender.max_ack = ack;
            sender.last_ack_seen = true;
        }
        // A window of 0 lets one byte through, to ask whether it opened.
        let allowed = sack.wrapping_add(window.max(1));
        if is_after(allowed, receiver.reply_end) {
            receiver.reply_end = allowed;
        }
        if ack == receiver.sent_end {
            receiver.data_unacked = false;
        }
        Some(Fitted { sender, receiver })
    }

    /// The state after a segment that belongs to the connection.
    fn advance(&mut self, direction: Direction, kind: LastSegment, rules: ConntrackRules) {
        use ConnectionState as State;
        let (mut sender, receiver) = self.ends(direction);
        let is_second_fin = receiver.close_initiated || !rules.checks_fin_direction;
        let is_outstanding = sender.data_unacked || receiver.data_unacked;
        let is_fin = kind == LastSegment::Fin;
        let connection = &mut self.connection;
        connection.live_connection |= connection.state == State::Established;
        connection.state = match connection.state {
            State::SynReceived | State::Established if is_fin => State::FinWait,
            State::SynReceived if direction == Direction::Original => State::Established,
            State::FinWait | State::CloseWait if is_fin && is_second_fin => State::LastAck,
            State::FinWait if receiver.close_initiated && !receiver.data_unacked => {
                State::CloseWait
            }
            State::LastAck if !is_fin && !is_outstanding => State::TimeWait,
            same => same,
        };
        if is_fin {
            sender.close_initiated = true;
            self.set_ends(direction, sender, receiver);
        }
    }

    fn remember(&mut self, direction: Direction, segment: &Segment, kind: LastSegment) {
        let connection = &mut self.connection;
        let (window, end) = (segment.window, segment.end());
        let is_repetition = end != segment.sequence
            && connection.last_segment == kind
            && connection.last_direction == direction
            && (connection.last_seq, connection.last_ack, connection.last_end)
                == (segment.sequence, segment.acknowledgment, end)
            && connection.last_window == window;
        self.repeated = if is_repetition { self.repeated.saturating_add(1) } else { 0 };
        connection.last_segment = kind;
        connection.last_direction = direction;
        connection.last_window = window;
        connection.last_seq = segment.sequence;
        connection.last_ack = segment.acknowledgment;
        connection.last_end = end;
    }
}

#[cfg(test)]
#[path = "conntrack_tests.rs"]
mod tests;
