//! Between a shard and the manager: effects become offers, notices become what the shard knows of its flows.

use packet::VtepAddr;
use rte_flow_compiler::NotOffloaded;

use super::exchange::{News, Notice, Offer, RuleCounters};
use super::manager::Manager;
use crate::datapath::conntrack::{Offload, WhySoftware};
use crate::datapath::effects::Effect;
use crate::datapath::{ConnectionHandle, FlowDirection, Shard, Time};

/// What the manager should do because of an effect of the datapath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A direction should be in the NIC as it is decided now.
    Offer(Offer),
    /// A direction should not be in the NIC.
    Withdraw(ConnectionHandle, FlowDirection),
    /// A direction that should be in the NIC had a packet in software.
    Bypassed(ConnectionHandle, FlowDirection),
}

impl Wish {
    /// What an effect asks of the manager, for either direction.
    pub fn of(effect: &Effect, shard: &Shard) -> impl Iterator<Item = Self> {
        let wishes = match *effect {
            Effect::EligibleForOffload { connection, direction } => {
                [offer(shard, connection, direction).map(Self::Offer), None]
            }
            Effect::DecisionChanged { connection } => FlowDirection::ALL.map(|direction| {
                // A direction that was never offered is not offered now.
                let offered = shard.connection(connection)?.offload().get(direction).is_managers();
                let withdrawn = Self::Withdraw(connection, direction);
                offered.then(|| offer(shard, connection, direction).map_or(withdrawn, Self::Offer))
            }),
            Effect::Withdraw { connection } | Effect::FlowRemoved { connection, .. } => {
                FlowDirection::ALL.map(|direction| Some(Self::Withdraw(connection, direction)))
            }
            Effect::WithdrawDirection { connection, direction } => {
                [Some(Self::Withdraw(connection, direction)), None]
            }
            Effect::Bypassed { connection, direction } => {
                [Some(Self::Bypassed(connection, direction)), None]
            }
            Effect::FlowCreated { .. } => [None, None],
        };
        wishes.into_iter().flatten()
    }

    /// Notes in the shard that the direction is on its way into the NIC, or out of it.
    pub fn note(&self, now: Time, shard: &mut Shard) {
        let (connection, direction, offload) = match self {
            Self::Offer(offer) => (offer.connection, offer.direction, Offload::Pending),
            Self::Withdraw(connection, direction) => {
                (*connection, *direction, Offload::Software(WhySoftware::Dropped))
            }
            Self::Bypassed(..) => return,
        };
        shard.set_offload(connection, direction, offload, now);
    }

    /// Tells the manager.
    pub fn tell<H: Copy>(&self, manager: &mut Manager<H>) {
        match self {
            Self::Offer(offer) => manager.offer(offer),
            Self::Withdraw(connection, direction) => manager.withdraw(*connection, *direction),
            Self::Bypassed(connection, direction) => manager.bypassed(*connection, *direction),
        }
    }
}

/// A direction as it is decided now; `None` when it is gone, its packets are dropped, or packets with its key are
/// another connection's.
fn offer(shard: &Shard, connection: ConnectionHandle, direction: FlowDirection) -> Option<Offer> {
    let known = shard.connection(connection)?;
    let key = known.key(direction);
    if shard.find(&key) != Some((connection, direction)) {
        return None;
    }
    Some(Offer {
        connection,
        direction,
        key,
        path: known.path(direction).ok()?.clone(),
        outer_source: known.vtep().and_then(|vtep| VtepAddr::try_from(vtep).ok()),
    })
}

impl Notice {
    /// Tells the shard; traffic that the NIC carried was there at `now` at the latest.
    pub fn tell(&self, now: Time, shard: &mut Shard) {
        let (connection, direction) = (self.connection, self.direction);
        let place = match &self.news {
            News::InHardware => Offload::Hardware,
            News::InSoftware(why) => Offload::Software(why.into()),
            News::Carried(carried) => {
                let RuleCounters { packets, bytes } = *carried;
                shard.hardware_activity(connection, direction, packets, bytes, now);
                return;
            }
            News::Watched => {
                shard.watch(connection, direction);
                return;
            }
        };
        shard.set_offload(connection, direction, place, now);
    }
}

impl From<&NotOffloaded> for WhySoftware {
    fn from(reason: &NotOffloaded) -> Self {
        match reason {
            NotOffloaded::Protocol(_) => Self::Protocol,
            NotOffloaded::NoPort => Self::NoPort,
            NotOffloaded::NoOuterSource => Self::NoOuterSource,
            NotOffloaded::Steps => Self::Steps,
            NotOffloaded::StaticPart(_) => Self::StaticPart,
            NotOffloaded::TableFull => Self::TableFull,
            NotOffloaded::Illegal(_) | NotOffloaded::Refused(_) => Self::Refused,
            NotOffloaded::Unanswered => Self::Unanswered,
            NotOffloaded::NoEffect => Self::NoEffect,
        }
    }
}
