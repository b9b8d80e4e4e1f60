//! A shard: one core's datapath, with the connections it owns.

use model::decision::Key;
use model::snapshot::{InterfaceId, Snapshot};

use super::Time;
use super::burst::BURST;
use super::conntrack::{
    Connection, ConnectionHandle, ConnectionTable, Event, FlowDirection, KeyHasher, Offload,
    Record, State, TcpState, WhySoftware,
};
use super::counters::Counters;
use super::effects::{Effect, Effects, RemovalReason};
use super::established::Ahead;
use super::execute::solicit;
use super::fragments::FragmentTable;
use super::receivers::Receivers;
use super::settings::Settings;
use super::token_bucket::{InterfaceBuckets, TokenBucket};
use super::tunnels::Tunnels;
use super::underlay::Underlay;

/// Whether a task that is done in portions has come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// There is more: call again.
    More,
}

/// One core's datapath.
#[derive(Debug)]
pub struct Shard {
    pub(super) settings: Settings,
    pub(super) started: Time,
    pub(super) table: ConnectionTable,
    pub(super) fragments: FragmentTable,
    pub(super) underlay: Underlay,
    pub(super) tunnels: Tunnels,
    /// What the kernel's port may still take, if there is one.
    pub(super) kernel: Option<TokenBucket>,
    /// How many more messages that their packets are too big VMs may be sent.
    pub(super) too_big: InterfaceBuckets,
    pub(super) counters: Counters,
    pub(super) receivers: Receivers,
    /// Room for what is known of a burst's packets.
    pub(super) ahead: Vec<Ahead>,
    sweep: Sweep,
}

/// How far the connections have been checked against the current snapshot.
#[derive(Clone, Copy, Debug, Default)]
struct Sweep {
    epoch: Option<u64>,
    next: u32,
    done: bool,
}

impl Shard {
    /// A shard without connections; all memory for its tables is reserved here. `seed` keeps strangers from aiming at
    /// places in its hash tables, and changes nothing that can be observed. Where pick-up of TCP connections is allowed
    /// for a limited time, that begins `now`.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, now: Time) -> Self {
        let hasher = KeyHasher::new(seed);
        let (timeouts, too_big) = (settings.timeouts, settings.too_big);
        Self {
            settings,
            started: now,
            table: ConnectionTable::new(settings.connections, &timeouts, hasher),
            fragments: FragmentTable::new(
                settings.fragments,
                timeouts.fragments.duration(),
                hasher,
            ),
            underlay: Underlay::new(),
            tunnels: Tunnels::new(),
            kernel: settings
                .kernel_port
                .map(|limit| TokenBucket::new(limit.packets_per_second, limit.burst, now)),
            too_big: InterfaceBuckets::new(too_big.packets_per_second, too_big.burst),
            counters: Counters::default(),
            receivers: Receivers::new(),
            ahead: vec![Ahead::nothing(); BURST],
            sweep: Sweep::default(),
        }
    }

    /// Asks for huge pages for the connection table, where the system has any. For processes that run one shard and expect many
    /// connections: a few then take as much memory as thousands.
    pub fn use_huge_pages(&self) {
        self.table.use_huge_pages();
    }

    /// Removes connections whose time is over, at most `budget` of them, in the order of their deadlines. Called before
    /// the packets of each burst, and now and then when there are none.
    pub fn advance(&mut self, now: Time, budget: usize, effects: &mut Effects) -> Progress {
        for _ in 0..budget {
            let Some(id) = self.table.next_ended(now) else {
                return Progress::Done;
            };
            self.remove_ended(id, effects);
        }
        Progress::More
    }

    /// When [`Self::advance`] may have something to do next, for whoever lets time pass in steps: later than the time it was last
    /// called with.
    #[must_use]
    pub fn next_time(&self) -> Option<Time> {
        self.table.next_time()
    }

    /// Checks connections against a snapshot that is new to them, visiting at most `budget` places of the table; starts
    /// over when the snapshot is another than at the last call. Packets need not wait for it: a connection is checked
    /// at its next packet in any case.
    pub fn sweep(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        budget: u32,
        effects: &mut Effects,
    ) -> Progress {
        if self.sweep.epoch != Some(snapshot.epoch) {
            self.sweep = Sweep { epoch: Some(snapshot.epoch), next: 0, done: false };
        }
        if self.sweep.done {
            return Progress::Done;
        }
        let end = self.sweep.next.saturating_add(budget).min(self.table.places());
        for index in self.sweep.next..end {
            if let Some((id, record)) = self.table.at(index)
                && now < self.table.end_of(record)
            {
                // Of no interest here: there is no packet to drop.
                let _ = self.recheck(now, snapshot, id, effects);
            }
        }
        self.sweep.next = end;
        if end < self.table.places() {
            return Progress::More;
        }
        self.sweep.done = true;
        let is_known = |id: InterfaceId| snapshot.interface(id).is_some();
        self.table.retain(is_known);
        self.fragments.retain(is_known);
        self.counters.retain(is_known);
        self.too_big.retain(is_known);
        Progress::Done
    }

    /// Lets underlay neighbours that fell silent go, and asks those that are due to be asked again. Called about once a
    /// second; traffic that hardware carries does not do it.
    pub fn maintain_neighbors(&mut self, now: Time, snapshot: &Snapshot, effects: &mut Effects) {
        self.underlay.maintain(now, |hop| solicit(&snapshot.node, hop, effects));
    }

    /// All connections.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionHandle, Connection)> {
        self.table.handles().filter_map(|id| Some((id, self.table.connection(id)?)))
    }

    /// Places of the connection table that were ever used: connections are at `0..places`. To list connections in
    /// portions.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.table.places()
    }

    /// The connection at a place of the table, if there is one.
    #[must_use]
    pub fn connection_at(&self, place: u32) -> Option<(ConnectionHandle, Connection)> {
        let (id, _) = self.table.at(place)?;
        Some((id, self.table.connection(id)?))
    }

    /// How many connections there are.
    #[must_use]
    pub const fn connection_count(&self) -> u32 {
        self.table.len()
    }

    /// A connection, unless it is gone.
    #[must_use]
    pub fn connection(&self, id: ConnectionHandle) -> Option<Connection> {
        self.table.connection(id)
    }

    /// The connection, and the direction of it, that packets with this key belong to.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<(ConnectionHandle, FlowDirection)> {
        let key = key.into();
        self.table.find(self.table.hash(&key), &key)
    }

    /// Packets, bytes, drops.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The underlay's neighbours.
    #[must_use]
    pub const fn underlay(&self) -> &Underlay {
        &self.underlay
    }

    /// Notes where a direction of a connection is carried from `now` on; `false` when the connection is gone.
    pub fn set_offload(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        offload: Offload,
        now: Time,
    ) -> bool {
        self.table.set_offload(id, direction, offload, now)
    }

    /// Takes notice of packets of a connection that hardware carried, the last of them at `at`: they count, and keep it
    /// alive, exactly as if software had carried them. `bytes` are those of the packets' own frames. `false` when the
    /// connection is gone.
    pub fn hardware_activity(
        &mut self,
        id: ConnectionHandle,
        direction: FlowDirection,
        packets: u64,
        bytes: u64,
        at: Time,
    ) -> bool {
        if !self.table.count_hardware(id, direction, packets, bytes) {
            return false;
        }
        // Counters do not say when: what was carried before a reset is no sign of life after it. From the reset on, rules
        // are being removed, and software sees what comes.
        let state = self.table.get(id).map(Record::state);
        let is_reset = matches!(state, Some(State::Tcp(TcpState::Reset { .. })));
        if packets > 0 && !is_reset {
            self.table.observe(id, direction, Event::Packet, at);
        }
        true
    }

    /// The NIC is gone, and with it all rules: what it carried or should have carried is software's. Walks over all connections.
    pub fn lose_nic(&mut self, now: Time) {
        for place in 0..self.table.places() {
            for direction in FlowDirection::ALL {
                if let Some((id, record)) = self.table.at(place)
                    && record.is_managed(direction)
                {
                    let away = Offload::Software(WhySoftware::NicAway);
                    self.table.set_offload(id, direction, away, now);
                }
            }
        }
    }

    /// There is a NIC again, without rules: what [`Self::lose_nic`] took back may be offloaded. Walks over all connections.
    pub fn regain_nic(&mut self, effects: &mut Effects) {
        for place in 0..self.table.places() {
            for direction in FlowDirection::ALL {
                if let Some((connection, record)) = self.table.at(place)
                    && record.offload(direction) == Offload::Software(WhySoftware::NicAway)
                {
                    effects.push(Effect::EligibleForOffload { connection, direction });
                }
            }
        }
    }

    /// The next packet of a direction that comes to software though hardware carries it is to be told of
    /// ([`Effect::Bypassed`]); `false` when the connection is gone.
    pub fn watch(&mut self, id: ConnectionHandle, direction: FlowDirection) -> bool {
        self.table.get_mut(id).map(|record| record.watch(direction)).is_some()
    }

    /// Removes a connection and says so.
    pub(super) fn remove(
        &mut self,
        id: ConnectionHandle,
        reason: RemovalReason,
        at: Time,
        effects: &mut Effects,
    ) {
        if let Some(key) = self.table.remove(id) {
            effects.push(Effect::FlowRemoved { connection: id, key, reason, at });
        }
    }

    /// Removes a connection whose time is over.
    pub(super) fn remove_ended(&mut self, id: ConnectionHandle, effects: &mut Effects) {
        if let Some(record) = self.table.get(id) {
            let (reason, at) = (record.state().end(), self.table.end_of(record));
            self.remove(id, reason, at, effects);
        }
    }
}
