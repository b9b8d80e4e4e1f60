//! What the datapath tells the world beside a packet's outcome: connections that come, change and go, and frames to
//! send of its own accord.

use std::fmt;

use model::decision::Key;

use super::Time;
use super::conntrack::{ConnectionHandle, FlowDirection};

/// Something that happened to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A connection was created.
    FlowCreated {
        /// Which.
        connection: ConnectionHandle,
        /// As its initiator sent it.
        key: Key,
    },
    /// A connection is gone, and with it the meaning of its id.
    FlowRemoved {
        /// Which it was.
        connection: ConnectionHandle,
        /// As its initiator sent it.
        key: Key,
        /// Why.
        reason: RemovalReason,
        /// When: its exact deadline when it ran out of time.
        at: Time,
    },
    /// What is decided for a connection changed, or the VTEP from which its packets come.
    DecisionChanged {
        /// Which.
        connection: ConnectionHandle,
    },
    /// A direction of a connection may be offloaded from now on.
    EligibleForOffload {
        /// Which.
        connection: ConnectionHandle,
        /// Which direction of it.
        direction: FlowDirection,
    },
    /// A packet came to software that hardware should have taken, as it carries the connection's direction. Now and then one does:
    /// it was on its way already.
    Bypassed {
        /// Which.
        connection: ConnectionHandle,
        /// Which direction of it.
        direction: FlowDirection,
    },
    /// A direction of a connection must be in hardware no longer: where its packets come from is not known any more.
    WithdrawDirection {
        /// Which.
        connection: ConnectionHandle,
        /// Which direction of it.
        direction: FlowDirection,
    },
    /// A connection must be in hardware no longer: it is closing or starts anew.
    Withdraw {
        /// Which.
        connection: ConnectionHandle,
    },
}

/// Why a connection was removed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RemovalReason {
    /// Idle for too long; handshakes and half-closed connections that went no further too.
    Expired,
    /// Closed by both sides, or closing when a new connection took its place.
    Closed,
    /// Reset.
    Reset,
    /// Policy, routes or mappings changed and no longer allow it.
    Policy,
    /// Its interface is gone.
    InterfaceRemoved,
    /// It made room for another connection of its interface.
    Evicted,
}

impl RemovalReason {
    /// The fixed name, as events show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Policy => "policy",
            Self::InterfaceRemoved => "interface_removed",
            Self::Evicted => "evicted",
        }
    }
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A frame the datapath wants sent out of the uplink: a question for a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Solicitation {
    bytes: [u8; Self::CAPACITY],
    length: u8,
}

impl Solicitation {
    /// An Ethernet frame with a neighbour solicitation has 86 bytes, the longer of the two kinds.
    pub(crate) const CAPACITY: usize = 96;

    pub(crate) const fn new(bytes: [u8; Self::CAPACITY], length: u8) -> Self {
        Self { bytes, length }
    }

    /// The frame.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// Collects effects until the caller has seen to them. It is drained after every burst of packets; then it does not
/// allocate once it has found its size.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    solicitations: Vec<Solicitation>,
}

impl Effects {
    /// Room for `capacity` effects before the first allocation.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), solicitations: Vec::with_capacity(8) }
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    pub(crate) fn solicit(&mut self, solicitation: Solicitation) {
        self.solicitations.push(solicitation);
    }

    /// What happened to connections, oldest first; forgotten here.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.list.drain(..)
    }

    /// Frames to send out of the uplink; forgotten here.
    pub fn drain_solicitations(&mut self) -> impl Iterator<Item = Solicitation> + '_ {
        self.solicitations.drain(..)
    }
}
