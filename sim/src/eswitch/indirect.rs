//! Actions that rules share.

use std::sync::Arc;
use std::time::Duration;

use rte_flow::{
    Action, ActionKind, EBUSY, EINVAL, ENOENT, ENOTSUP, ErrorKind, FlowError, IndirectHandle,
};

use super::actions;
use super::arena::{Arena, Id};
use super::counter::{AgeState, Ageing, Count, Counter};
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
    /// `VXLAN_ENCAP` or `RAW_ENCAP`.
    Encapsulation(Arc<Encapsulation>),
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

    /// The shared ageings of a port.
    pub fn ageings_of(&self, port: u16) -> impl Iterator<Item = Id<Ageing>> {
        self.0.iter().filter_map(move |(_, indirect)| match indirect.shared {
            Shared::Ageing(ageing) if indirect.port == port => Some(ageing),
            _ => None,
        })
    }
}

impl Eswitch {
    /// Makes an action that several rules of a port can use: COUNT, AGE, `VXLAN_ENCAP` or `RAW_ENCAP`.
    ///
    /// # Errors
    /// An unknown port, and other actions.
    pub fn indirect_create(
        &mut self,
        port: u16,
        action: &Action,
        now: Time,
    ) -> Result<IndirectHandle, FlowError> {
        self.ports.known(port)?;
        let shared = match action {
            Action::Count(_) => Shared::Counter(self.new_counter(now)?),
            Action::Age(age) => {
                let timeout = Duration::from_secs(u64::from(age.timeout.get()));
                Shared::Ageing(self.ageings.insert(Ageing::new(timeout, age.context, now)))
            }
            Action::VxlanEncap(_) | Action::RawEncap(_) => {
                Shared::Encapsulation(actions::encapsulation(0, action)?)
            }
            _ => {
                let name = action.kind().name();
                let message = format!("action {name} cannot be shared; put it into the rule");
                return Err(FlowError::other(ErrorKind::Action, ENOTSUP, message));
            }
        };
        let id = self.indirects.0.insert(Indirect { port, shared, users: 0 });
        Ok(IndirectHandle(id.to_bits() as usize))
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
        match self.indirects.0.remove(id(handle)).map(|indirect| indirect.shared) {
            Some(Shared::Counter(counter)) => drop(self.counters.remove(counter)),
            Some(Shared::Ageing(ageing)) => drop(self.ageings.remove(ageing)),
            Some(Shared::Encapsulation(_)) | None => {}
        }
        Ok(())
    }

    /// What a shared action is; of the two encapsulations, which come to the same, `RAW_ENCAP`.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one.
    pub fn indirect_kind(
        &self,
        port: u16,
        handle: IndirectHandle,
    ) -> Result<ActionKind, FlowError> {
        Ok(match self.indirect(port, handle)?.shared {
            Shared::Counter(_) => ActionKind::Count,
            Shared::Ageing(_) => ActionKind::Age,
            Shared::Encapsulation(_) => ActionKind::RawEncap,
        })
    }

    /// What a shared counter shows.
    ///
    /// # Errors
    /// As [`Self::query_count`].
    pub fn indirect_query_count(
        &mut self,
        port: u16,
        handle: IndirectHandle,
        reset: bool,
        now: Time,
    ) -> Result<Count, FlowError> {
        match self.indirect(port, handle)?.shared {
            Shared::Counter(counter) => self.read_counter(counter, reset, now),
            _ => Err(not_a("COUNT")),
        }
    }

    /// The state of a shared ageing.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EINVAL` for another action.
    pub fn indirect_query_age(
        &self,
        port: u16,
        handle: IndirectHandle,
        now: Time,
    ) -> Result<AgeState, FlowError> {
        match self.indirect(port, handle)?.shared {
            Shared::Ageing(ageing) => {
                self.ageings.get(ageing).map(|ageing| ageing.state(now)).ok_or_else(|| not_a("AGE"))
            }
            _ => Err(not_a("AGE")),
        }
    }

    fn indirect(&self, port: u16, handle: IndirectHandle) -> Result<&Indirect, FlowError> {
        self.indirects.0.get(id(handle)).filter(|found| found.port == port).ok_or_else(|| {
            let message = format!("port {port} has no such indirect action; create it first");
            FlowError::other(ErrorKind::Action, ENOENT, message)
        })
    }
}

fn not_a(kind: &str) -> FlowError {
    let message = format!("the indirect action is no {kind}; query what it is");
    FlowError::other(ErrorKind::Action, EINVAL, message)
}

fn id(handle: IndirectHandle) -> Id<Indirect> {
    Id::from_bits(handle.0 as u64)
}
