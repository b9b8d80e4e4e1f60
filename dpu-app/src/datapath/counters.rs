//! Packets, bytes and drops, for the uplink and for each interface.

use model::decision::DropReason;
use model::snapshot::InterfaceId;

use super::Outcome;
use super::by_interface::ByInterface;

/// Packets and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes of their Ethernet frames, without FCS.
    pub bytes: u64,
}

impl Traffic {
    /// Counts more.
    #[inline]
    pub fn add(&mut self, packets: u64, bytes: u64) {
        self.packets = self.packets.wrapping_add(packets);
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

/// What became of the packets somebody is responsible for. `received` is the sum of all the others' packets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PacketCounters {
    /// All packets.
    pub received: Traffic,
    /// Those that went on.
    pub forwarded: u64,
    /// Those that were answered.
    pub replied: u64,
    /// Those that were meant for the datapath itself and need no answer.
    pub consumed: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl PacketCounters {
    /// Packets that were dropped for a reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or_default()
    }

    /// Packets that were dropped.
    #[must_use]
    pub fn all_dropped(&self) -> u64 {
        self.drops.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    #[inline]
    fn count(&mut self, bytes: usize, outcome: Outcome) {
        self.received.add(1, bytes as u64);
        let counter = match outcome {
            Outcome::Forward { .. } => &mut self.forwarded,
            Outcome::Reply { .. } => &mut self.replied,
            Outcome::Consumed => &mut self.consumed,
            Outcome::Drop(reason) | Outcome::DropAndReply { reason, .. } => {
                match self.drops.get_mut(reason as usize) {
                    Some(counter) => counter,
                    None => return,
                }
            }
        };
        *counter = counter.wrapping_add(1);
    }
}

/// An interface's counters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InterfaceCounters {
    /// Packets its VM sent.
    pub from_vm: PacketCounters,
    /// Packets from the wire that were found to be for it.
    pub from_network: PacketCounters,
    /// What was delivered to its VM; answers to its own packets not included.
    pub delivered: Traffic,
}

/// Interfaces whose places are at hand.
const RECENT: usize = 64;

/// All counters of a shard. They only grow, and wrap around.
#[derive(Debug)]
pub struct Counters {
    interfaces: Vec<(InterfaceId, InterfaceCounters)>,
    places: ByInterface<usize>,
    /// Where interfaces were found last, by their ids' last bits.
    recent: [(InterfaceId, usize); RECENT],
    wire: PacketCounters,
    unassigned: PacketCounters,
    kernel: PacketCounters,
    sent_to_wire: Traffic,
}

/// Packets of a burst that are not counted yet: those in a row that count for the same interface are counted together.
#[derive(Debug)]
pub(crate) struct Pending {
    owner: (InterfaceId, bool),
    forwarded: Traffic,
    receiver: InterfaceId,
    delivered: Traffic,
    sent: Traffic,
}

impl Pending {
    /// None.
    pub(crate) const fn new() -> Self {
        const NONE: Traffic = Traffic { packets: 0, bytes: 0 };
        Self {
            owner: (InterfaceId(0), false),
            forwarded: NONE,
            receiver: InterfaceId(0),
            delivered: NONE,
            sent: NONE,
        }
    }

    /// A packet that was forwarded: one that the interface's VM sent, or one that came from the wire for it.
    #[inline]
    pub(crate) fn forwarded(
        &mut self,
        counters: &mut Counters,
        id: InterfaceId,
        from_wire: bool,
        bytes: usize,
    ) {
        if self.owner != (id, from_wire) {
            counters.take_forwarded(self);
            self.owner = (id, from_wire);
        }
        self.forwarded.add(1, bytes as u64);
    }

    /// A packet that goes to an interface's VM.
    #[inline]
    pub(crate) fn delivered(&mut self, counters: &mut Counters, id: InterfaceId, bytes: usize) {
        if self.receiver != id {
            counters.take_delivered(self);
            self.receiver = id;
        }
        self.delivered.add(1, bytes as u64);
    }

    /// A packet that goes out of the uplink.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent.add(1, bytes as u64);
    }
}

/// Who answers for a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// The interface whose VM sent it.
    Sender(InterfaceId),
    /// The interface it came for from the wire.
    Receiver(InterfaceId),
    /// The wire, for what cannot be said to be for an interface.
    Wire,
    /// A VF that belongs to no interface.
    Unassigned,
    /// The kernel beside us, which sent it.
    Kernel,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            places: ByInterface::default(),
            recent: NONE_RECENT,
            wire: PacketCounters::default(),
            unassigned: PacketCounters::default(),
            kernel: PacketCounters::default(),
            sent_to_wire: Traffic::default(),
        }
    }
}

/// No interface has this id.
const NONE_RECENT: [(InterfaceId, usize); RECENT] = [(InterfaceId(0), usize::MAX); RECENT];

impl Counters {
    /// An interface's counters, if it had any packet.
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> Option<&InterfaceCounters> {
        self.interfaces.get(*self.places.get(&id)?).map(|(_, counters)| counters)
    }

    /// Packets from the wire that are for no interface.
    #[must_use]
    pub const fn wire(&self) -> &PacketCounters {
        &self.wire
    }

    /// Packets from VFs that belong to no interface.
    #[must_use]
    pub const fn unassigned(&self) -> &PacketCounters {
        &self.unassigned
    }

    /// Packets that the kernel beside us sent.
    #[must_use]
    pub const fn kernel(&self) -> &PacketCounters {
        &self.kernel
    }

    /// Packets of VMs that were sent out of the uplink, with their outer headers.
    #[must_use]
    pub const fn sent_to_wire(&self) -> Traffic {
        self.sent_to_wire
    }

    /// Forgets the interfaces that `is_known` does not know.
    pub(crate) fn retain(&mut self, is_known: impl Fn(InterfaceId) -> bool) {
        self.recent = NONE_RECENT;
        self.interfaces.retain(|(id, _)| is_known(*id));
        self.places = self.interfaces.iter().map(|(id, _)| *id).zip(0..).collect();
    }

    #[inline]
    fn at(&mut self, id: InterfaceId) -> Option<&mut InterfaceCounters> {
        let (known, place) = self.recent.get(id.0 as usize % RECENT).copied()?;
        let place = if known == id { place } else { self.find(id) };
        self.interfaces.get_mut(place).map(|(_, counters)| counters)
    }

    #[cold]
    fn find(&mut self, id: InterfaceId) -> usize {
        let next = self.interfaces.len();
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            self.interfaces.push((id, InterfaceCounters::default()));
        }
        if let Some(recent) = self.recent.get_mut(id.0 as usize % RECENT) {
            *recent = (id, place);
        }
        place
    }

    #[inline]
    pub(crate) fn count(&mut self, owner: Owner, bytes: usize, outcome: Outcome) {
        let counters = match owner {
            Owner::Sender(id) => self.at(id).map(|interface| &mut interface.from_vm),
            Owner::Receiver(id) => self.at(id).map(|interface| &mut interface.from_network),
            Owner::Wire => Some(&mut self.wire),
            Owner::Unassigned => Some(&mut self.unassigned),
            Owner::Kernel => Some(&mut self.kernel),
        };
        if let Some(counters) = counters {
            counters.count(bytes, outcome);
        }
    }

    /// Counts what is pending.
    pub(crate) fn take(&mut self, mut pending: Pending) {
        self.take_forwarded(&mut pending);
        self.take_delivered(&mut pending);
        self.sent_to_wire.add(pending.sent.packets, pending.sent.bytes);
    }

    fn take_forwarded(&mut self, pending: &mut Pending) {
        let Traffic { packets, bytes } = std::mem::take(&mut pending.forwarded);
        let (id, from_wire) = pending.owner;
        if packets > 0
            && let Some(interface) = self.at(id)
        {
            let counters =
                if from_wire { &mut interface.from_network } else { &mut interface.from_vm };
            counters.received.add(packets, bytes);
            counters.forwarded = counters.forwarded.wrapping_add(packets);
        }
    }

    fn take_delivered(&mut self, pending: &mut Pending) {
        let Traffic { packets, bytes } = std::mem::take(&mut pending.delivered);
        if packets > 0
            && let Some(interface) = self.at(pending.receiver)
        {
            interface.delivered.add(packets, bytes);
        }
    }

    #[inline]
    pub(crate) fn delivered(&mut self, id: InterfaceId, bytes: usize) {
        if let Some(interface) = self.at(id) {
            interface.delivered.add(1, bytes as u64);
        }
    }

    #[inline]
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent_to_wire.add(1, bytes as u64);
    }
}
