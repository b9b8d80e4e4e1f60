//! What is known of a connection: its two keys, what is decided for it, how far it has come, and how long it will live.

use std::net::IpAddr;
use std::time::Duration;

use model::decision::{Decision, DropReason, Key, Path, Verdict};
use packet::{TcpFlags, Transport};

use super::{FlowDirection, PerDirection, TcpState};
use crate::datapath::Time;
use crate::datapath::counters::Traffic;
use crate::datapath::effects::RemovalReason;
use crate::datapath::recheck::Checked;
use crate::datapath::settings::Timeouts;

/// How far a connection has come, as its protocol sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// TCP.
    Tcp(TcpState),
    /// UDP.
    Udp {
        /// Whether the other side has sent something.
        answered: bool,
    },
    /// ICMP or ICMPv6 echo, by identifier.
    Echo {
        /// Whether the other side has sent something.
        answered: bool,
    },
    /// Any other protocol, other ICMP messages included.
    Other {
        /// Whether the other side has sent something.
        answered: bool,
    },
}

impl State {
    /// All states, each at the place that its code says.
    pub(super) const ALL: [Self; 15] = [
        Self::Tcp(TcpState::SynSent),
        Self::Tcp(TcpState::SynReceived),
        Self::Tcp(TcpState::Established),
        Self::Tcp(TcpState::Closing(FlowDirection::Forward)),
        Self::Tcp(TcpState::Closing(FlowDirection::Reverse)),
        Self::Tcp(TcpState::TimeWait),
        Self::Tcp(TcpState::RESET),
        Self::Tcp(TcpState::Reset { forward: true, reverse: false }),
        Self::Tcp(TcpState::Reset { forward: false, reverse: true }),
        Self::Udp { answered: false },
        Self::Udp { answered: true },
        Self::Echo { answered: false },
        Self::Echo { answered: true },
        Self::Other { answered: false },
        Self::Other { answered: true },
    ];

    /// The state in a byte.
    #[inline]
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Tcp(TcpState::SynSent) => 0,
            Self::Tcp(TcpState::SynReceived) => 1,
            Self::Tcp(TcpState::Established) => 2,
            Self::Tcp(TcpState::Closing(FlowDirection::Forward)) => 3,
            Self::Tcp(TcpState::Closing(FlowDirection::Reverse)) => 4,
            Self::Tcp(TcpState::TimeWait) => 5,
            // Heard from both sides it is no reset any more.
            Self::Tcp(TcpState::Reset { forward, reverse }) => {
                6 + forward as u8 + 2 * reverse as u8
            }
            Self::Udp { answered } => 9 + answered as u8,
            Self::Echo { answered } => 11 + answered as u8,
            Self::Other { answered } => 13 + answered as u8,
        }
    }

    /// The state with a code.
    #[inline]
    pub(super) fn of_code(code: u8) -> Self {
        // The table's memory holds no other codes.
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::Other { answered: false })
    }

    /// Whether the other side has yet to take part: such connections make room for others.
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        match self {
            Self::Tcp(state) => state.is_half_open(),
            Self::Udp { answered } | Self::Echo { answered } | Self::Other { answered } => {
                !answered
            }
        }
    }

    /// How long it may last without traffic.
    fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::Tcp(TcpState::SynSent | TcpState::SynReceived) => timeouts.tcp_half_open,
            Self::Tcp(TcpState::Established) => timeouts.tcp_established,
            Self::Tcp(TcpState::Closing(_)) => timeouts.tcp_closing,
            Self::Tcp(TcpState::TimeWait) => timeouts.tcp_time_wait,
            Self::Tcp(TcpState::Reset { .. }) => timeouts.tcp_reset,
            Self::Udp { answered: false } => timeouts.udp_one_way,
            Self::Udp { answered: true } => timeouts.udp_both_ways,
            Self::Echo { .. } => timeouts.icmp_echo,
            Self::Other { .. } => timeouts.other,
        }
        .duration()
    }

    /// What its end is called when it is over without further traffic.
    pub(crate) const fn end(self) -> RemovalReason {
        match self {
            Self::Tcp(TcpState::TimeWait) => RemovalReason::Closed,
            Self::Tcp(TcpState::Reset { .. }) => RemovalReason::Reset,
            _ => RemovalReason::Expired,
        }
    }
}

/// How long connections last without traffic, by state; nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    by_code: [u64; 16],
    /// See [`Timeouts::counter_delay`].
    pub(super) counter_delay: Duration,
}

impl Lifetimes {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        let mut by_code = [0; 16];
        for state in State::ALL {
            if let Some(place) = by_code.get_mut(usize::from(state.code())) {
                *place = (Time::ZERO + state.timeout(timeouts)).0;
            }
        }
        Self { by_code, counter_delay: timeouts.counter_delay }
    }

    #[inline]
    pub(super) fn of_code(&self, code: u8) -> u64 {
        // Codes have four bits.
        self.by_code[usize::from(code & 15)]
    }
}

/// What a packet means for the connection it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A TCP segment with these control bits.
    Segment(TcpFlags),
    /// A packet of which no more is known or relevant: other protocols, later fragments, what hardware carried.
    Packet,
    /// An ICMP error about one of its packets: never a sign of life.
    Related,
}

impl Event {
    pub(crate) const fn of(transport: Transport) -> Self {
        match transport {
            Transport::Tcp(flags) => Self::Segment(flags),
            Transport::IcmpError { .. } => Self::Related,
            _ => Self::Packet,
        }
    }

    pub(super) const fn flags(self) -> TcpFlags {
        match self {
            Self::Segment(flags) => flags,
            Self::Packet | Self::Related => TcpFlags::empty(),
        }
    }
}

/// Where a direction of a connection is carried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Offload {
    /// In software, for a reason.
    Software(WhySoftware),
    /// A rule is on its way into the NIC.
    Pending,
    /// The NIC carries it.
    Hardware,
}

impl Offload {
    const PENDING: u8 = 0xfe;
    const HARDWARE: u8 = 0xff;

    /// Whether the offload manager was told of the direction.
    #[must_use]
    pub const fn is_managers(self) -> bool {
        match self {
            Self::Software(why) => why.is_managers(),
            Self::Pending | Self::Hardware => true,
        }
    }

    /// The place in a byte.
    #[inline]
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Software(why) => why as u8,
            Self::Pending => Self::PENDING,
            Self::Hardware => Self::HARDWARE,
        }
    }

    /// The place with a code.
    #[inline]
    pub(super) fn of_code(code: u8) -> Self {
        match code {
            Self::PENDING => Self::Pending,
            Self::HARDWARE => Self::Hardware,
            // The table's memory holds no other codes.
            why => Self::Software(
                WhySoftware::ALL.get(usize::from(why)).copied().unwrap_or(WhySoftware::Protocol),
            ),
        }
    }
}

/// Why a direction of a connection is not in hardware.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum WhySoftware {
    /// Its protocol is never offloaded.
    Protocol,
    /// The TCP handshake is not over.
    NotEstablished,
    /// UDP that was not answered (and did not send enough to be offloaded all the same).
    OneWay,
    /// It is closing, or was reset.
    Ending,
    /// Packets of this direction are dropped.
    Dropped,
    /// Nothing is against it: the offload manager was told.
    Eligible,
    /// Offload is switched off.
    Disabled,
    /// The interface it goes to has no port of the NIC.
    NoPort,
    /// The VTEP its packets come from is not known yet.
    NoOuterSource,
    /// The NIC's layout has no operation for one of its steps.
    Steps,
    /// The NIC lacks a rule that those of connections build upon.
    StaticPart,
    /// The NIC's table is full.
    TableFull,
    /// The NIC, or its profile, refuses the rule.
    Refused,
    /// The NIC does not say whether it took the rule.
    Unanswered,
    /// The NIC has taken the rule, and no packet meets it.
    NoEffect,
    /// The NIC was reset, or removed, and is not back.
    NicAway,
}

impl WhySoftware {
    /// All reasons, in the order of their numbers.
    const ALL: [Self; 16] = [
        Self::Protocol,
        Self::NotEstablished,
        Self::OneWay,
        Self::Ending,
        Self::Dropped,
        Self::Eligible,
        Self::Disabled,
        Self::NoPort,
        Self::NoOuterSource,
        Self::Steps,
        Self::StaticPart,
        Self::TableFull,
        Self::Refused,
        Self::Unanswered,
        Self::NoEffect,
        Self::NicAway,
    ];

    /// The name that commands and events show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::NotEstablished => "not_established",
            Self::OneWay => "one_way",
            Self::Ending => "ending",
            Self::Dropped => "dropped",
            Self::Eligible => "eligible",
            Self::Disabled => "disabled",
            Self::NoPort => "no_port",
            Self::NoOuterSource => "no_outer_source",
            Self::Steps => "steps",
            Self::StaticPart => "static_rules",
            Self::TableFull => "nic_table_full",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::NoEffect => "no_effect",
            Self::NicAway => "nic_away",
        }
    }

    /// Whether the offload manager was told of the direction, and it is for it to say what became of it.
    #[must_use]
    pub const fn is_managers(self) -> bool {
        !self.is_waiting()
    }

    /// Whether the datapath decides about it (else the offload manager did).
    pub(super) const fn is_waiting(self) -> bool {
        matches!(
            self,
            Self::NotEstablished
                | Self::OneWay
                | Self::Ending
                | Self::Dropped
                | Self::Protocol
                | Self::NoOuterSource
        )
    }
}

/// What a connection begins with.
pub(crate) struct Beginning {
    pub(crate) key: Key,
    pub(crate) transport: Transport,
    pub(crate) decision: Decision,
    pub(crate) checked: Checked,
    pub(crate) picked_up: bool,
}

impl Beginning {
    /// The state before the first packet, why it is in software, and type and code of the ICMP message policy was asked about.
    pub(super) fn state(&self) -> (State, WhySoftware, Option<(u8, u8)>) {
        match self.transport {
            Transport::Tcp(_) if self.picked_up => {
                (State::Tcp(TcpState::Established), WhySoftware::NotEstablished, None)
            }
            Transport::Tcp(_) => (State::Tcp(TcpState::SynSent), WhySoftware::NotEstablished, None),
            Transport::Udp => (State::Udp { answered: false }, WhySoftware::OneWay, None),
            Transport::Icmp { kind, code } if self.key.tuple.is_echo() => {
                (State::Echo { answered: false }, WhySoftware::Protocol, Some((kind, code)))
            }
            Transport::Icmp { kind, code } => {
                (State::Other { answered: false }, WhySoftware::Protocol, Some((kind, code)))
            }
            Transport::Other | Transport::IcmpError { .. } | Transport::LaterFragment => {
                (State::Other { answered: false }, WhySoftware::Protocol, None)
            }
        }
    }
}

/// A connection as it is at a moment, apart from the table.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) key: Key,
    pub(super) decision: Decision,
    pub(super) state: State,
    pub(super) created: Time,
    pub(super) last_seen: Time,
    pub(super) deadline: Time,
    pub(super) vtep: Option<IpAddr>,
    pub(super) software: PerDirection<Traffic>,
    pub(super) hardware: PerDirection<Traffic>,
    pub(super) offload: PerDirection<Offload>,
}

impl Connection {
    /// The key under which packets of a direction are found.
    #[must_use]
    pub const fn key(&self, direction: FlowDirection) -> Key {
        match direction {
            FlowDirection::Forward => self.key,
            FlowDirection::Reverse => self.decision.reverse_key,
        }
    }

    /// What is decided for it.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What packets of a direction take.
    ///
    /// # Errors
    /// The reason for which they are dropped.
    pub const fn path(&self, direction: FlowDirection) -> Result<&Path, DropReason> {
        match (direction, &self.decision.reverse) {
            (FlowDirection::Forward, _) => Ok(&self.decision.forward),
            (FlowDirection::Reverse, Verdict::Forward(path)) => Ok(path),
            (FlowDirection::Reverse, Verdict::Drop(reason)) => Err(*reason),
        }
    }

    /// How far it has come.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When its first packet came.
    #[must_use]
    pub const fn created(&self) -> Time {
        self.created
    }

    /// When its last packet came, as far as its timer is concerned.
    #[must_use]
    pub const fn last_seen(&self) -> Time {
        self.last_seen
    }

    /// When it is over, unless there is traffic before.
    #[must_use]
    pub const fn deadline(&self) -> Time {
        self.deadline
    }

    /// The VTEP from which its packets last came, for connections with a remote end.
    #[must_use]
    pub const fn vtep(&self) -> Option<IpAddr> {
        self.vtep
    }

    /// What software carried.
    #[must_use]
    pub const fn software(&self) -> &PerDirection<Traffic> {
        &self.software
    }

    /// What hardware carried.
    #[must_use]
    pub const fn hardware(&self) -> &PerDirection<Traffic> {
        &self.hardware
    }

    /// Where its directions are carried.
    #[must_use]
    pub const fn offload(&self) -> &PerDirection<Offload> {
        &self.offload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_everything() {
        for (place, state) in State::ALL.into_iter().enumerate() {
            assert_eq!((usize::from(state.code()), State::of_code(state.code())), (place, state));
        }
        for (place, why) in WhySoftware::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
        let all = WhySoftware::ALL.map(Offload::Software);
        for offload in all.into_iter().chain([Offload::Pending, Offload::Hardware]) {
            assert_eq!(Offload::of_code(offload.code()), offload);
        }
    }
}
