//! Actions that rules share.

use std::sync::Arc;
use std::time::Duration;

use rte_flow::{
    Action, ActionKind, Connection, ConnectionUpdate, Direction, EBUSY, EINVAL, ENOENT, ENOSPC,
    ENOTSUP, ErrorKind, FlowError, IndirectHandle, MeterMarkUpdate,
};

use super::actions::{self, AgeingConfig};
use super::arena::{Arena, Id};
use super::conntrack::Tracker;
use super::counter::{AgeOwner, AgeState, Ageing, Count, Counter};
use super::meter::Meter;
use super::program::Spread;
use super::switch::Eswitch;
use super::time::Time;
use super::tunnel::Encapsulation;

/// A shared action.
#[derive(Clone, Debug)]
pub enum Shared {
    /// COUNT.
    Counter(Id<Counter>),
    /// AGE.
    Ageing(Id<Ageing>),
    /// `VXLAN_ENCAP`, `NVGRE_ENCAP` or `RAW_ENCAP`.
    Encapsulation(Arc<Encapsulation>),
    /// `METER_MARK`.
    Meter(Id<Meter>),
    /// CONNTRACK.
    Connection {
        /// The connection.
        tracker: Id<Tracker>,
        /// The direction that rules made from now on see.
        direction: Direction,
        /// The ethdev port through which it was made.
        owner: u16,
        /// That of the other direction's rules.
        peer: u16,
    },
    /// RSS.
    Queues(Id<Spread>),
}

impl Shared {
    /// What it is; of the encapsulations, which come to the same, `RAW_ENCAP`.
    const fn kind(&self) -> ActionKind {
        match self {
            Self::Counter(_) => ActionKind::Count,
            Self::Ageing(_) => ActionKind::Age,
            Self::Encapsulation(_) => ActionKind::RawEncap,
            Self::Meter(_) => ActionKind::MeterMark,
            Self::Connection { .. } => ActionKind::Conntrack,
            Self::Queues(_) => ActionKind::Rss,
        }
    }
}

/// What changes of a shared action.
#[derive(Clone, Debug)]
pub enum IndirectUpdate {
    /// Of an AGE.
    Age {
        /// The idle time; zero stops ageing.
        timeout: Option<Duration>,
        /// As if a packet had come.
        touch: bool,
    },
    /// Of a CONNTRACK.
    Connection(ConnectionUpdate),
    /// Of a `METER_MARK`.
    Meter(MeterMarkUpdate),
    /// Of an RSS: its queues.
    Queues(Vec<u16>),
}

/// What a shared action tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndirectState {
    /// COUNT.
    Count(Count),
    /// AGE.
    Age(AgeState),
    /// CONNTRACK.
    Connection(Connection),
}

/// One shared action of a port.
#[derive(Clone, Debug)]
pub struct Indirect {
    /// The ethdev port through which it was made.
    pub port: u16,
    /// What it is.
    pub shared: Shared,
    /// How many rules use it.
    users: usize,
}

/// The shared actions.
#[derive(Debug, Default)]
pub struct Indirects(Arena<Indirect>);

impl Indirects {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The shared action of a handle.
    pub fn get(&self, handle: IndirectHandle) -> Option<&Shared> {
        self.0.get(id(handle)).map(|indirect| &indirect.shared)
    }

    /// What the shared action of a handle is.
    pub fn kind(&self, handle: IndirectHandle) -> Option<ActionKind> {
        self.get(handle).map(Shared::kind)
    }

    /// Notes one more rule that uses it.
    pub fn acquire(&mut self, handle: IndirectHandle) {
        if let Some(indirect) = self.0.get_mut(id(handle)) {
            indirect.users += 1;
        }
    }

    /// Notes one rule less that uses it.
    pub fn release(&mut self, handle: IndirectHandle) {
        if let Some(indirect) = self.0.get_mut(id(handle)) {
            indirect.users = indirect.users.saturating_sub(1);
        }
    }
}

fn refuse(errno: i32, message: impl Into<std::borrow::Cow<'static, str>>) -> FlowError {
    FlowError::action(0, ErrorKind::Action, errno, message)
}

impl Eswitch {
    /// Makes an action that several rules can use: COUNT, AGE, RSS, CONNTRACK, `METER_MARK` or an encapsulation. `queue`: the
    /// flow queue through which it is made, if it is one.
    ///
    /// # Errors
    /// An unknown port, other actions and those that the profile does not share, `ENOENT` and `ENOSPC` when the card has no more
    /// of what it needs.
    pub fn indirect_create(
        &mut self,
        port: u16,
        action: &Action,
        queue: Option<u32>,
        now: Time,
    ) -> Result<IndirectHandle, FlowError> {
        self.ports.known(port)?;
        let kind = action.kind();
        let on_demand = queue.is_none() && self.profile.pools.on_demand;
        if !self.profile.indirect.can_share(kind) {
            let message = format!("action {kind} cannot be shared; put it into the rule");
            return Err(refuse(ENOTSUP, message));
        }
        if let Some(pools) = self.pools_mut(port) {
            if on_demand && kind != ActionKind::MeterMark {
                pools.reserve(kind);
            }
            pools.take_shared(kind, now)?;
        }
        let shared = self.make_shared(port, action, queue, now).inspect_err(|_| {
            if let Some(pools) = self.pools_mut(port) {
                pools.give_back_shared(kind, now);
            }
        })?;
        let id = self.indirects.0.insert(Indirect { port, shared, users: 0 });
        Ok(IndirectHandle(id.to_bits() as usize))
    }

    /// What a shared action that the profile accepts consists of.
    fn make_shared(
        &mut self,
        port: u16,
        action: &Action,
        queue: Option<u32>,
        now: Time,
    ) -> Result<Shared, FlowError> {
        let kind = action.kind();
        Ok(match action {
            Action::Count(_) => Shared::Counter(self.new_counter(now)?),
            Action::Age(age) => {
                if age.timeout.get() == 0 && !self.profile.age.zero_timeout {
                    let message = "an age of 0 seconds never ends; set a timeout";
                    return Err(refuse(EINVAL, message));
                }
                let AgeingConfig { timeout, context } = AgeingConfig::of(age);
                let owner = AgeOwner { port, rule: None, queue };
                let mut ageing = Ageing::new(timeout, context, now);
                ageing.owner = Some(owner);
                Shared::Ageing(self.ageings.insert(ageing))
            }
            Action::VxlanEncap(_) | Action::NvgreEncap(_) | Action::RawEncap(_) => {
                Shared::Encapsulation(actions::encapsulation(0, action, &self.profile)?)
            }
            Action::MeterMark(mark) => {
                self.meters
                    .check_mark(mark, port)
                    .map_err(|text| FlowError::action(0, ErrorKind::ActionConf, EINVAL, text))?;
                Shared::Meter(self.new_meter(mark, now)?)
            }
            Action::Conntrack(connection) => {
                self.ports.known(connection.peer_port)?;
                let limit = self.profile.limits.conntracks;
                if let Some(limit) = limit.filter(|limit| self.trackers.len() as u64 >= *limit) {
                    let message = format!("all {limit} connections are tracked; destroy some");
                    return Err(refuse(ENOSPC, message));
                }
                Shared::Connection {
                    tracker: self.trackers.insert(Tracker::new(*connection)),
                    direction: connection.direction,
                    owner: port,
                    peer: connection.peer_port,
                }
            }
            Action::Rss(rss) => {
                let admitted = self.profile.rss.admit(rss);
                admitted
                    .map_err(|text| FlowError::action(0, ErrorKind::ActionConf, ENOTSUP, text))?;
                let spread = actions::spread(0, rss, port, &self.ports)?;
                Shared::Queues(self.spreads.insert(spread))
            }
            _ => {
                let message = format!("action {kind} cannot be shared; put it into the rule");
                return Err(refuse(ENOTSUP, message));
            }
        })
    }

    /// Destroys a shared action.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while rules use it.
    pub fn indirect_destroy(
        &mut self,
        port: u16,
        handle: IndirectHandle,
        now: Time,
    ) -> Result<(), FlowError> {
        // Rules that have left by now no longer use it.
        self.settle(now);
        let users = self.indirect(port, handle)?.users;
        if users > 0 {
            let message = format!("{users} rules use the indirect action; destroy them first");
            return Err(FlowError::other(ErrorKind::Action, EBUSY, message));
        }
        if let Some(indirect) = self.indirects.0.remove(id(handle)) {
            self.discard_shared(&indirect, now);
        }
        Ok(())
    }

    /// Destroys all shared actions of a port, which nobody uses any more.
    pub(super) fn discard_all_shared(&mut self, port: u16) {
        let mine = self.indirects.0.iter().filter(|(_, indirect)| indirect.port == port);
        let mine: Vec<_> = mine.map(|(id, _)| id).collect();
        for id in mine {
            if let Some(indirect) = self.indirects.0.remove(id) {
                self.discard_shared(&indirect, Time::ZERO);
            }
        }
    }

    /// Destroys what a shared action consists of.
    fn discard_shared(&mut self, indirect: &Indirect, now: Time) {
        let mut has_counter = false;
        match &indirect.shared {
            Shared::Counter(counter) => drop(self.counters.remove(*counter)),
            Shared::Ageing(ageing) => {
                has_counter = self.ageings.remove(*ageing).is_some_and(|ageing| ageing.counted);
            }
            Shared::Meter(meter) => self.meters.remove(*meter),
            Shared::Connection { tracker, .. } => drop(self.trackers.remove(*tracker)),
            Shared::Queues(spread) => drop(self.spreads.remove(*spread)),
            Shared::Encapsulation(_) => {}
        }
        if let Some(pools) = self.pools_mut(indirect.port) {
            pools.give_back_shared(indirect.shared.kind(), now);
            if has_counter {
                pools.give_back_shared(ActionKind::Count, now);
            }
        }
    }

    /// What a shared action is; of the encapsulations, which come to the same, `RAW_ENCAP`.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one.
    pub fn indirect_kind(
        &self,
        port: u16,
        handle: IndirectHandle,
    ) -> Result<ActionKind, FlowError> {
        Ok(self.indirect(port, handle)?.shared.kind())
    }

    /// Changes a shared action, for all rules that use it; the direction of a connection only for rules made afterwards.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `ENOTSUP` where the profile updates no such action, `EINVAL` for an update of another action and
    /// one that cannot be.
    pub fn indirect_update(
        &mut self,
        port: u16,
        handle: IndirectHandle,
        update: &IndirectUpdate,
        now: Time,
    ) -> Result<(), FlowError> {
        let shared = self.indirect(port, handle)?.shared.clone();
        if !self.profile.indirect.can_update(shared.kind()) {
            let message =
                format!("an indirect {} cannot be updated; make another one", shared.kind());
            return Err(FlowError::other(ErrorKind::Action, ENOTSUP, message));
        }
        match (shared, update) {
            (Shared::Ageing(ageing), IndirectUpdate::Age { timeout, touch }) => {
                if let Some(ageing) = self.ageings.get_mut(ageing) {
                    ageing.update(*timeout, *touch, now);
                }
            }
            (Shared::Meter(meter), IndirectUpdate::Meter(update)) => {
                self.meters
                    .check_update(update, port)
                    .map_err(|text| FlowError::other(ErrorKind::ActionConf, EINVAL, text))?;
                self.meters.update_mark(meter, update, now);
            }
            (Shared::Connection { tracker, .. }, IndirectUpdate::Connection(update)) => {
                if let Some(connection) = &update.connection {
                    self.ports.known(connection.peer_port)?;
                }
                if let Some(tracker) = self.trackers.get_mut(tracker) {
                    tracker.update(update);
                }
                if let Some(Indirect {
                    shared: Shared::Connection { direction, peer, .. }, ..
                }) = self.indirects.0.get_mut(id(handle))
                {
                    *direction = update.direction.unwrap_or(*direction);
                    *peer = update.connection.map_or(*peer, |connection| connection.peer_port);
                }
            }
            (Shared::Queues(spread), IndirectUpdate::Queues(queues)) => {
                self.ports.check_queues(port, 0, queues)?;
                if queues.is_empty() {
                    let message = "RSS without queues; name at least one";
                    return Err(FlowError::other(ErrorKind::ActionConf, EINVAL, message));
                }
                if let Some(spread) = self.spreads.get_mut(spread) {
                    spread.queues = queues.as_slice().into();
                }
            }
            (shared, _) => {
                let message =
                    format!("the indirect action is {}; update what it is", shared.kind());
                return Err(FlowError::other(ErrorKind::Action, EINVAL, message));
            }
        }
        Ok(())
    }

    /// What a shared action tells: COUNT, which begins at 0 again with `reset`, AGE, and CONNTRACK.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `ENOTSUP` for an action that tells nothing; else as [`Self::query_count`].
    pub fn indirect_query(
        &mut self,
        port: u16,
        handle: IndirectHandle,
        reset: bool,
        now: Time,
    ) -> Result<IndirectState, FlowError> {
        let shared = self.indirect(port, handle)?.shared.clone();
        let gone = || FlowError::other(ErrorKind::Action, ENOENT, "the indirect action is gone");
        match shared {
            Shared::Counter(counter) => {
                self.read_counter(counter, reset, now).map(IndirectState::Count)
            }
            Shared::Ageing(ageing) => {
                let ageing = self.ageings.get(ageing).ok_or_else(gone)?;
                Ok(IndirectState::Age(ageing.state(now)))
            }
            Shared::Connection { tracker, direction, peer, .. } => {
                let tracker = self.trackers.get(tracker).ok_or_else(gone)?;
                let connection = *tracker.connection();
                Ok(IndirectState::Connection(Connection {
                    direction,
                    peer_port: peer,
                    ..connection
                }))
            }
            other => {
                let message = format!(
                    "an indirect {} has nothing to tell; query COUNT, AGE or CONNTRACK",
                    other.kind()
                );
                Err(FlowError::other(ErrorKind::Action, ENOTSUP, message))
            }
        }
    }

    /// The meter of a `METER_MARK` that was checked.
    pub(super) fn new_meter(
        &mut self,
        mark: &rte_flow::MeterMark,
        now: Time,
    ) -> Result<Id<Meter>, FlowError> {
        let limit = self.profile.limits.meters;
        if let Some(limit) = limit.filter(|limit| self.meters.len() as u64 >= *limit) {
            let message = format!("all {limit} meters are in use; destroy some");
            return Err(refuse(ENOSPC, message));
        }
        self.meters
            .mark(mark, &self.profile.meter, now)
            .ok_or_else(|| refuse(EINVAL, "the meter profile is gone; add it again"))
    }

    fn indirect(&self, port: u16, handle: IndirectHandle) -> Result<&Indirect, FlowError> {
        self.indirects.0.get(id(handle)).filter(|found| found.port == port).ok_or_else(|| {
            let message = format!("port {port} has no such indirect action; create it first");
            FlowError::other(ErrorKind::Action, ENOENT, message)
        })
    }
}

fn id(handle: IndirectHandle) -> Id<Indirect> {
    Id::from_bits(handle.0 as u64)
}
