//! What the manager is told and what it says.

use std::time::Duration;

use model::decision::{Key, Path};
use packet::VtepAddr;
use rte_flow::{FlowError, Profile, Rule};
use rte_flow_compiler::NotOffloaded;

use crate::datapath::{ConnectionHandle, FlowDirection};

/// How the manager deals with the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct OffloadSettings {
    /// How often the counter of each rule is read, milliseconds.
    pub poll_interval_ms: u64,
    /// Wait before a refused rule is tried again; doubled with each refusal. Milliseconds.
    pub retry_after_ms: u64,
    /// The longest such wait, milliseconds.
    pub retry_at_most_ms: u64,
    /// How long the NIC may take to answer a request before its rule is in doubt, milliseconds. Looked at as often as
    /// counters are.
    pub answer_within_ms: u64,
}

impl Default for OffloadSettings {
    fn default() -> Self {
        Self {
            poll_interval_ms: 1000,
            retry_after_ms: 100,
            retry_at_most_ms: 30_000,
            answer_within_ms: 10_000,
        }
    }
}

impl OffloadSettings {
    /// How long after a packet its rule's counter is read at the latest, and shows it; zero where counters show every
    /// packet at once. [`Timeouts::counter_delay`] needs to know.
    ///
    /// [`Timeouts::counter_delay`]: crate::datapath::settings::Timeouts::counter_delay
    #[must_use]
    pub fn counter_delay(&self, profile: &Profile) -> Duration {
        match profile.timing.counter_refresh_ms {
            0 => Duration::ZERO,
            refresh => Duration::from_millis(self.poll_interval_ms.saturating_add(refresh)),
        }
    }
}

/// One direction of a connection that should be in the NIC, as it is decided now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The connection.
    pub connection: ConnectionHandle,
    /// Its direction.
    pub direction: FlowDirection,
    /// How its packets are found.
    pub key: Key,
    /// What happens to them.
    pub path: Path,
    /// The VTEP they come from, on the network side.
    pub outer_source: Option<VtepAddr>,
}

/// What was counted of a rule since it was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleCounters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What the NIC should do. Each request is answered by one [`Reply`], at any later time; a NIC that never answers one of
/// them keeps that rule in doubt ([`RuleTally`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<H> {
    /// Insert a rule.
    Insert(Rule),
    /// Read a rule's counter, then remove it.
    Remove(H),
    /// Read a rule's counter.
    Count(H),
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<H> {
    /// To [`Request::Insert`].
    Inserted(Result<H, FlowError>),
    /// To [`Request::Remove`], with the last count where there was a counter. After a refusal the rule is still there.
    Removed(Result<Option<RuleCounters>, FlowError>),
    /// To [`Request::Remove`], with the last count: it failed, and the handle is no longer one. Nobody can say whether the
    /// rule is still there, nor remove it.
    Stranded(Option<RuleCounters>),
    /// To [`Request::Count`].
    Counted(Result<RuleCounters, FlowError>),
}

/// What the shards should know of one direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The connection.
    pub connection: ConnectionHandle,
    /// Its direction.
    pub direction: FlowDirection,
    /// What is new.
    pub news: News,
}

/// What a [`Notice`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The NIC carries it.
    InHardware,
    /// It is (again) software's, and why.
    InSoftware(NotOffloaded),
    /// The NIC carried packets since it was last asked.
    Carried(RuleCounters),
    /// That a packet came to software was noted; another one is to be told of.
    Watched,
}

/// How many rules there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleTally {
    /// In the NIC, on their way into it or out of it: those that belong to no connection.
    pub statics: usize,
    /// The same: those of connections.
    pub connections: usize,
    /// Among them, those of which nobody knows whether they are in the NIC.
    pub in_doubt: InDoubt,
}

/// Rules that may be in the NIC or not, by what is amiss. They take part in nothing any more, but what they lead to stays.
/// An answer that comes after all ends the doubt; else the NIC's ports must be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InDoubt {
    /// The NIC owes the answer to their insertion.
    pub inserting: usize,
    /// The NIC owes the answer to their removal.
    pub removing: usize,
    /// Their removal failed ([`Reply::Stranded`]).
    pub stranded: usize,
}
