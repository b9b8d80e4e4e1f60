//! Which interface a packet from the wire is for, as it was found last.

use model::snapshot::{InterfaceId, Snapshot};
use packet::Mac;

use super::from_network::vpc_of;

/// Interfaces that are kept, a power of two.
const PLACES: usize = 256;

/// Enabled interfaces by VNI and MAC. Each has one place, which it may have to share with others.
#[derive(Debug)]
pub(crate) struct Receivers {
    /// Of the snapshot that all of them are of.
    epoch: Option<u64>,
    places: Box<[Receiver; PLACES]>,
}

#[derive(Clone, Copy, Debug)]
struct Receiver {
    vni: u32,
    mac: Mac,
    interface: InterfaceId,
}

/// No interface has this id.
const NONE: Receiver = Receiver { vni: 0, mac: Mac([0; 6]), interface: InterfaceId(0) };

impl Receivers {
    /// Without any.
    pub(crate) fn new() -> Self {
        Self { epoch: None, places: Box::new([NONE; PLACES]) }
    }

    /// The interface with a MAC in the VPC with a VNI, if it is enabled.
    #[inline]
    pub(crate) fn find(&mut self, snapshot: &Snapshot, vni: u32, mac: Mac) -> Option<InterfaceId> {
        let [.., a, b, c] = mac.0;
        let mixed = (u32::from_le_bytes([a, b, c, 0]) ^ vni).wrapping_mul(0x9e37_79b1);
        let place = (mixed >> 24) as usize % PLACES;
        let known = self.places.get(place)?;
        if self.epoch == Some(snapshot.epoch) && known.vni == vni && known.mac == mac {
            return Some(known.interface).filter(|interface| *interface != NONE.interface);
        }
        self.look(snapshot, place, vni, mac)
    }

    #[cold]
    fn look(
        &mut self,
        snapshot: &Snapshot,
        place: usize,
        vni: u32,
        mac: Mac,
    ) -> Option<InterfaceId> {
        if self.epoch != Some(snapshot.epoch) {
            self.epoch = Some(snapshot.epoch);
            *self.places = [NONE; PLACES];
        }
        let id = *vpc_of(snapshot, vni)?.local_by_mac.get(&mac)?;
        let interface = snapshot.interface(id).filter(|interface| interface.enabled)?.id;
        if let Some(place) = self.places.get_mut(place) {
            *place = Receiver { vni, mac, interface };
        }
        Some(interface)
    }
}
