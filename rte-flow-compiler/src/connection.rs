//! From one direction of a decision to an entry of the connection tables.

use model::decision::{Key, Output, Path, Side, Step};
use model::snapshot::Snapshot;
use packet::VtepAddr;
use rte_flow::FlowError;
use thiserror::Error;

use crate::entry::{Destination, Entry, Macs, Transport};
use crate::legalise::Refusal;
use crate::nic::Nic;

/// Why a direction of a connection is not in the NIC.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotOffloaded {
    /// Only TCP and UDP are.
    #[error("protocol {0} is tracked in software")]
    Protocol(u8),
    /// The interface it goes to has no port of this NIC.
    #[error("the destination interface has no port on this NIC")]
    NoPort,
    /// Packets from a tunnel, before the first one told which VTEP sends them.
    #[error("the remote VTEP is not known yet")]
    NoOuterSource,
    /// A step that no operation of the layout does.
    #[error("the NIC's layout has no operation for what this path does to packets")]
    Steps,
    /// Part of the static rules it builds upon is not in the NIC.
    #[error("the NIC's static rules for it are not installed{}", .0.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    StaticPart(Option<String>),
    /// The NIC has no room.
    #[error("the NIC's table is full")]
    TableFull,
    /// The profile has no rules for it.
    #[error("no rule for it is legal: {0}")]
    Illegal(Refusal),
    /// The NIC refuses the rule.
    #[error("refused: {0}")]
    Refused(FlowError),
    /// The NIC was asked to insert the rule and does not answer.
    #[error("the NIC does not say whether it took the rule")]
    Unanswered,
    /// The NIC has taken the rule, and the connection's packets come to software all the same.
    #[error("the NIC has taken the rule, and no packet meets it")]
    NoEffect,
}

impl NotOffloaded {
    /// A fixed name for events and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Protocol(_) => "protocol",
            Self::NoPort => "no_port",
            Self::NoOuterSource => "no_outer_source",
            Self::Steps => "steps",
            Self::StaticPart(_) => "static_rules",
            Self::TableFull => "nic_table_full",
            Self::Illegal(_) | Self::Refused(_) => "refused",
            Self::Unanswered => "unanswered",
            Self::NoEffect => "no_effect",
        }
    }
}

/// The entry for packets with `key` that take `path`.
///
/// `outer_source` is the VTEP that the connection's packets come from, for a key on the network side.
///
/// # Errors
/// [`NotOffloaded`] when the layout has no entry for it.
pub fn connection(
    nic: &Nic,
    snapshot: &Snapshot,
    key: &Key,
    path: &Path,
    outer_source: Option<VtepAddr>,
) -> Result<Entry, NotOffloaded> {
    let transport = Transport::from_number(key.tuple.protocol())
        .ok_or(NotOffloaded::Protocol(key.tuple.protocol()))?;
    let local = |interface| {
        let interface = snapshot.interface(interface).ok_or(NotOffloaded::NoPort)?;
        nic.port_of(interface.vf).ok_or(NotOffloaded::NoPort)
    };
    match (key.zone.side(), path.output) {
        (Side::FromVm, output) => {
            let macs = only_macs(path)?;
            let destination = match output {
                Output::Local(interface) => Destination::Port(local(interface)?),
                Output::Tunnel(tunnel) => Destination::Tunnel(tunnel),
            };
            Ok(Entry::VmConnection {
                zone: key.zone,
                tuple: key.tuple,
                transport,
                macs,
                destination,
            })
        }
        (Side::FromNetwork, Output::Local(interface)) if path.steps.is_empty() => {
            Ok(Entry::TunnelConnection {
                zone: key.zone,
                outer_source: outer_source.ok_or(NotOffloaded::NoOuterSource)?,
                tuple: key.tuple,
                transport,
                port: local(interface)?,
            })
        }
        (Side::FromNetwork, _) => Err(NotOffloaded::Steps),
    }
}

/// The MACs of a path whose only step is to set them.
fn only_macs(path: &Path) -> Result<Macs, NotOffloaded> {
    match path.steps.as_slice() {
        [Step::SetMacs { source, destination }] => {
            Ok(Macs { source: *source, destination: *destination })
        }
        _ => Err(NotOffloaded::Steps),
    }
}
