//! One connection: its two keys, what is decided for it, how far it has come, and how long it will live.

use std::net::IpAddr;
use std::time::Duration;

use model::decision::{Decision, DropReason, Key, Path, Side, Verdict};
use packet::{TcpFlags, Transport};

use super::tcp::{Transition, transition};
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
    const fn end(self) -> RemovalReason {
        match self {
            Self::Tcp(TcpState::TimeWait) => RemovalReason::Closed,
            Self::Tcp(TcpState::Reset { .. }) => RemovalReason::Reset,
            _ => RemovalReason::Expired,
        }
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

    const fn flags(self) -> TcpFlags {
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
    /// Whether the offload manager was told of the direction.
    #[must_use]
    pub const fn is_managers(self) -> bool {
        match self {
            Self::Software(why) => why.is_managers(),
            Self::Pending | Self::Hardware => true,
        }
    }
}

/// Why a direction of a connection is not in hardware.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
    const fn is_waiting(self) -> bool {
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

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    key: Key,
    /// Type and code of the ICMP message policy was asked about.
    icmp: Option<(u8, u8)>,
    decision: Decision,
    checked: Checked,
    state: State,
    created: Time,
    last_seen: Time,
    deadline: Time,
    vtep: Option<IpAddr>,
    software: PerDirection<Traffic>,
    hardware: PerDirection<Traffic>,
    offload: PerDirection<Offload>,
    /// Whether the offload manager was told that software got a packet of a direction that hardware carries.
    bypassed: PerDirection<bool>,
}

/// What a connection begins with.
pub(crate) struct Beginning {
    pub(crate) key: Key,
    pub(crate) transport: Transport,
    pub(crate) decision: Decision,
    pub(crate) checked: Checked,
    pub(crate) picked_up: bool,
}

impl Connection {
    /// A connection at its first packet, which [`Self::observe`] has yet to see.
    pub(crate) fn new(beginning: Beginning, now: Time) -> Self {
        let Beginning { key, transport, decision, checked, picked_up } = beginning;
        let (state, why, icmp) = match transport {
            Transport::Tcp(_) if picked_up => {
                (State::Tcp(TcpState::Established), WhySoftware::NotEstablished, None)
            }
            Transport::Tcp(_) => (State::Tcp(TcpState::SynSent), WhySoftware::NotEstablished, None),
            Transport::Udp => (State::Udp { answered: false }, WhySoftware::OneWay, None),
            Transport::Icmp { kind, code } if key.tuple.is_echo() => {
                (State::Echo { answered: false }, WhySoftware::Protocol, Some((kind, code)))
            }
            Transport::Icmp { kind, code } => {
                (State::Other { answered: false }, WhySoftware::Protocol, Some((kind, code)))
            }
            Transport::Other | Transport::IcmpError { .. } | Transport::LaterFragment => {
                (State::Other { answered: false }, WhySoftware::Protocol, None)
            }
        };
        let why = Offload::Software(why);
        Self {
            key,
            icmp,
            decision,
            checked,
            state,
            created: now,
            last_seen: now,
            deadline: now,
            vtep: None,
            software: PerDirection::default(),
            hardware: PerDirection::default(),
            offload: PerDirection { forward: why, reverse: why },
            bypassed: PerDirection::default(),
        }
    }

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

    /// Type and code of the ICMP message that began it.
    pub(crate) const fn icmp(&self) -> Option<(u8, u8)> {
        self.icmp
    }

    pub(crate) const fn checked(&self) -> &Checked {
        &self.checked
    }

    pub(crate) fn set_checked(&mut self, checked: Checked) {
        self.checked = checked;
    }

    pub(crate) fn set_decision(&mut self, decision: Decision) {
        self.decision = decision;
    }

    /// Notes what the offload manager says of a direction, unless it speaks of a time before the datapath took the
    /// direction back.
    pub(crate) fn set_offload(&mut self, direction: FlowDirection, offload: Offload) {
        let current = self.offload.get_mut(direction);
        if !matches!(current, Offload::Software(why) if why.is_waiting()) {
            *current = offload;
            self.watch(direction);
        }
    }

    /// Whether a packet of the direction came to software although hardware carries it, and nobody was told of one since
    /// [`Self::watch`]; notes that it is told now.
    pub(crate) fn bypasses(&mut self, direction: FlowDirection) -> bool {
        *self.offload.get(direction) == Offload::Hardware
            && !std::mem::replace(self.bypassed.get_mut(direction), true)
    }

    /// The next packet that bypasses hardware is to be told of again.
    pub(crate) fn watch(&mut self, direction: FlowDirection) {
        *self.bypassed.get_mut(direction) = false;
    }

    /// Whether the offload manager was told of the direction.
    pub(crate) const fn is_managed(&self, direction: FlowDirection) -> bool {
        self.offload.get(direction).is_managers()
    }

    /// Whether a rule carries the direction, or may do so before that is known here.
    pub(crate) const fn may_be_in_hardware(&self, direction: FlowDirection) -> bool {
        matches!(self.offload.get(direction), Offload::Pending | Offload::Hardware)
    }

    /// When its time is over: at its deadline, or later where the NIC may still report traffic from before it. A rule may
    /// be in the NIC before that is known here.
    pub(crate) fn ends_at(&self, timeouts: &Timeouts) -> Time {
        let in_hardware = FlowDirection::ALL.iter().any(|d| self.may_be_in_hardware(*d));
        self.deadline + if in_hardware { timeouts.counter_delay } else { Duration::ZERO }
    }

    /// What its end is called when its time is over.
    pub(crate) const fn end(&self) -> RemovalReason {
        self.state.end()
    }

    /// Notes where a packet from the wire came from. Whether that changed what is known already.
    pub(crate) fn came_from(&mut self, vtep: IpAddr) -> bool {
        self.vtep.replace(vtep).is_some_and(|before| before != vtep)
    }

    /// Forgets where packets from the wire came from, as nothing may come from there any more: until the first one from
    /// elsewhere, hardware must not carry their direction. That direction, if hardware did, or was about to.
    pub(crate) fn forget_vtep(&mut self) -> Option<FlowDirection> {
        self.vtep = None;
        let from_network =
            |direction: &FlowDirection| self.key(*direction).zone.side() == Side::FromNetwork;
        let direction = FlowDirection::ALL.into_iter().find(from_network)?;
        let software = Offload::Software(WhySoftware::NoOuterSource);
        let was = std::mem::replace(self.offload.get_mut(direction), software);
        was.is_managers().then_some(direction)
    }

    /// Whether the packet opens a new connection in place of this one; if so, how this one ended.
    pub(crate) fn starts_anew(
        &self,
        direction: FlowDirection,
        event: Event,
    ) -> Option<RemovalReason> {
        let (State::Tcp(state), Event::Segment(flags)) = (self.state, event) else {
            return None;
        };
        (transition(state, direction, flags) == Transition::StartAnew).then_some(match state {
            TcpState::Reset { .. } => RemovalReason::Reset,
            _ => RemovalReason::Closed,
        })
    }

    /// Takes notice of a packet, or of several that hardware carried, the last one at `at`.
    pub(crate) fn observe(
        &mut self,
        direction: FlowDirection,
        event: Event,
        at: Time,
        timeouts: &Timeouts,
    ) {
        if event == Event::Related {
            return;
        }
        let answer = direction == FlowDirection::Reverse;
        self.state = match self.state {
            State::Tcp(state) => match transition(state, direction, event.flags()) {
                Transition::Enter(state) => State::Tcp(state),
                Transition::Ignore | Transition::StartAnew => return,
            },
            State::Udp { answered } => State::Udp { answered: answered || answer },
            State::Echo { answered } => State::Echo { answered: answered || answer },
            State::Other { answered } => State::Other { answered: answered || answer },
        };
        self.last_seen = self.last_seen.max(at);
        self.deadline = self.last_seen + self.state.timeout(timeouts);
    }

    /// Counts a packet that software carried.
    pub(crate) fn count_software(&mut self, direction: FlowDirection, bytes: usize) {
        self.software.get_mut(direction).add(1, bytes as u64);
    }

    /// Counts packets that hardware carried.
    pub(crate) fn count_hardware(&mut self, direction: FlowDirection, packets: u64, bytes: u64) {
        self.hardware.get_mut(direction).add(packets, bytes);
    }

    /// Whether it may be in hardware no longer though it was, or was about to be; notes that. To be called after
    /// [`Self::observe`].
    pub(crate) fn withdraw(&mut self) -> bool {
        let State::Tcp(state) = self.state else {
            return false;
        };
        if matches!(state, TcpState::Established) || state.is_half_open() {
            return false;
        }
        self.take_back(WhySoftware::Ending)
    }

    /// Puts both directions into software's care. Whether one of them was in another's.
    fn take_back(&mut self, why: WhySoftware) -> bool {
        let software = Offload::Software(why);
        let software = PerDirection { forward: software, reverse: software };
        let was = std::mem::replace(&mut self.offload, software);
        FlowDirection::ALL.iter().any(|direction| was.get(*direction).is_managers())
    }

    /// Whether `direction` has just become a candidate for hardware; notes that, or why it is none.
    pub(crate) fn becomes_eligible(
        &mut self,
        direction: FlowDirection,
        after_packets: u32,
    ) -> bool {
        let Offload::Software(why) = *self.offload.get(direction) else {
            return false;
        };
        if !why.is_waiting() {
            return false;
        }
        let enough = |sent: u64| after_packets > 0 && sent >= u64::from(after_packets);
        let why = match self.state {
            State::Echo { .. } | State::Other { .. } => WhySoftware::Protocol,
            State::Tcp(state) if state.is_half_open() => WhySoftware::NotEstablished,
            State::Tcp(TcpState::Established) | State::Udp { answered: true } => {
                WhySoftware::Eligible
            }
            State::Tcp(_) => WhySoftware::Ending,
            State::Udp { answered: false }
                if direction == FlowDirection::Forward && enough(self.software.forward.packets) =>
            {
                WhySoftware::Eligible
            }
            State::Udp { answered: false } => WhySoftware::OneWay,
        };
        let from_network = self.key(direction).zone.side() == Side::FromNetwork;
        let why = match (why, self.path(direction)) {
            (WhySoftware::Eligible, Err(_)) => WhySoftware::Dropped,
            (WhySoftware::Eligible, Ok(_)) if from_network && self.vtep.is_none() => {
                WhySoftware::NoOuterSource
            }
            _ => why,
        };
        *self.offload.get_mut(direction) = Offload::Software(why);
        why == WhySoftware::Eligible
    }
}
