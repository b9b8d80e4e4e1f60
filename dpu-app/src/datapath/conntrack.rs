//! Connection tracking: the connections of a shard, found by either direction's key, and how long they live.

pub(crate) mod chain;
mod connection;
pub(crate) mod index;
mod key;
mod record;
mod settled;
mod table;
mod tcp;
mod timer_wheel;
mod vteps;

pub use connection::{Connection, Offload, State, WhySoftware};
pub use table::ConnectionHandle;
pub use tcp::TcpState;

pub(crate) use connection::{Beginning, Event};
pub(crate) use key::{CompactKey, KeyHasher};
pub(crate) use record::{Macs, Record};
pub(crate) use settled::SettledExit;
pub(crate) use table::{Candidate, ConnectionTable};
pub(crate) use tcp::{may_pick_up, opens};

/// One of a connection's two directions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum FlowDirection {
    /// From the initiator.
    Forward = 0,
    /// To the initiator.
    Reverse = 1,
}

impl FlowDirection {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Forward, Self::Reverse];
}

/// Something for each direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerDirection<T> {
    /// Of packets from the initiator.
    pub forward: T,
    /// Of packets to the initiator.
    pub reverse: T,
}

impl<T> PerDirection<T> {
    /// That of one direction.
    pub const fn get(&self, direction: FlowDirection) -> &T {
        match direction {
            FlowDirection::Forward => &self.forward,
            FlowDirection::Reverse => &self.reverse,
        }
    }

    /// That of one direction, to change it.
    pub const fn get_mut(&mut self, direction: FlowDirection) -> &mut T {
        match direction {
            FlowDirection::Forward => &mut self.forward,
            FlowDirection::Reverse => &mut self.reverse,
        }
    }
}
