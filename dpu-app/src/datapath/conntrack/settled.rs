//! Directions of connections whose packets change nothing but the counters and the time of the last one.
//!
//! Whatever is asked of a packet depends on its key, on the snapshot, on the connection, and on little of the packet itself. Once a packet of a
//! key has passed all of it, the answers are the same for the next one, as long as snapshot and connection are: the direction
//! is settled. What is left to ask of a packet is here, and in [`established`](super::super::established).

use model::snapshot::{InterfaceId, TunnelId, VfIndex};

use super::FlowDirection;
use super::key::CompactKey;
use super::record::{Common, Entry, LOCAL, Macs, TUNNEL, WITH_MACS};
use super::vteps::VtepNumber;
use crate::datapath::Time;

/// Where packets of a settled direction leave.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SettledExit {
    /// To a VM.
    Vm { vf: VfIndex, interface: InterfaceId },
    /// Into a tunnel, from this outer source port.
    Wire { tunnel: TunnelId, source_port: u16 },
}

/// A settled direction of a connection.
#[derive(Debug)]
pub(crate) struct Settled<'r> {
    entry: &'r Entry,
    common: &'r mut Common,
    direction: FlowDirection,
}

impl<'r> Settled<'r> {
    #[inline]
    pub(super) const fn new(
        entry: &'r Entry,
        common: &'r mut Common,
        direction: FlowDirection,
    ) -> Self {
        Self { entry, common, direction }
    }

    #[inline]
    pub(super) fn is(&self, key: &CompactKey) -> bool {
        self.entry.compact_key() == *key
    }

    /// Under which snapshot it was found allowed, and settled.
    #[inline]
    pub(super) const fn epoch(&self) -> u64 {
        self.common.epoch
    }

    #[inline]
    pub(super) const fn state_code(&self) -> u8 {
        self.common.state
    }

    #[inline]
    pub(super) const fn last_seen(&self) -> u64 {
        self.common.last_seen
    }

    #[inline]
    pub(super) const fn vtep(&self) -> VtepNumber {
        self.common.vtep
    }

    /// The longest IP packet.
    #[inline]
    pub(crate) const fn mtu(&self) -> u16 {
        self.entry.mtu
    }

    /// New Ethernet addresses.
    #[inline]
    pub(crate) fn macs(&self) -> Option<&Macs> {
        (self.entry.way & WITH_MACS != 0).then_some(&self.entry.macs)
    }

    /// Where to; `None` if packets are dropped, which no settled direction's are.
    #[inline]
    pub(crate) const fn exit(&self) -> Option<SettledExit> {
        let Entry { exit, handle, way, .. } = *self.entry;
        match way & !WITH_MACS {
            LOCAL => Some(SettledExit::Vm { vf: VfIndex(exit), interface: InterfaceId(handle) }),
            TUNNEL => Some(SettledExit::Wire { tunnel: TunnelId(handle), source_port: exit }),
            _ => None,
        }
    }

    /// Takes notice of a packet.
    #[inline]
    pub(crate) fn count(&mut self, now: Time, bytes: usize) {
        let [forward, reverse] = &mut self.common.software;
        match self.direction {
            FlowDirection::Forward => forward.add(1, bytes as u64),
            FlowDirection::Reverse => reverse.add(1, bytes as u64),
        }
        self.common.last_seen = self.common.last_seen.max(now.0);
    }
}
