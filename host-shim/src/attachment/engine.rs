//! Does the steps, and keeps the leases they are for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::fault::{FaultPoint, Faults, Record};
use super::host::{Host, HostError};
use super::step::{Next, Step, Waiting, next};
use crate::backend::BackendKind;
use crate::device::VfId;
use crate::lease::{
    Goal, Lease, LeaseKey, LeaseNumber, LeaseStore, StoreError, VfSettings, VmName,
};
use crate::sysfs::PciAddress;

/// More steps than any attachment has: a machine in which steps do not stay done.
const MOST_STEPS: usize = 2 * Step::ALL.len();
/// How often, and how long each time, a VM's process is given to let go of what was unplugged.
const LET_GO: (u32, Duration) = (20, Duration::from_millis(50));

/// What a caller wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// For which interface of which VM.
    pub key: LeaseKey,
    /// Which VF.
    pub vf: VfId,
    /// How.
    pub backend: BackendKind,
    /// What the PF is told.
    pub settings: VfSettings,
    /// The VM's GPUs.
    pub gpus: Vec<PciAddress>,
    /// The QMP socket, when the VM runs already.
    pub qmp: Option<PathBuf>,
    /// What QEMU calls the port that takes it there.
    pub bus: Option<VmName>,
    /// The driver the VF has now.
    pub driver_before: Option<String>,
}

/// Why a VM did not get its VF, or keeps it.
#[derive(Debug, Error)]
pub enum AttachError {
    /// It has another.
    #[error("{key} has {vf} already, with other settings; detach it first")]
    Different {
        /// Whose.
        key: LeaseKey,
        /// What it has.
        vf: VfId,
    },
    /// It is being taken back.
    #[error("{key} is being detached: {reason}")]
    Releasing {
        /// Whose.
        key: LeaseKey,
        /// Why that takes long.
        reason: String,
    },
    /// Somebody else has the VF.
    #[error("{vf} belongs to {holder}; detach it there, or choose another VF")]
    Taken {
        /// Which.
        vf: VfId,
        /// Who has it.
        holder: LeaseKey,
    },
    /// Somebody else has the address.
    #[error("{mac} is the address of {holder}; two VMs with one address disturb each other")]
    SameMac {
        /// Which.
        mac: packet::Mac,
        /// Who has it.
        holder: LeaseKey,
    },
    /// There is no such lease.
    #[error("{0} has no VF; see penstock vm list")]
    Unknown(LeaseKey),
    /// A step failed.
    #[error("{step}: {error}")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        error: Box<HostError>,
    },
    /// Nothing is to be seen.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Something has to happen first.
    #[error("{}", waiting(*.0))]
    Waiting(Waiting),
    /// Done, and not done.
    #[error("{0} has no effect; another program may be changing the VF")]
    NoEffect(&'static str),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const fn waiting(waiting: Waiting) -> &'static str {
    match waiting {
        Waiting::VfGone => "the VF is gone; it is attached again when its card is back",
        Waiting::DpuGone => "the DPU does not answer; it is tried again",
        Waiting::NoVm => "no VM answers at the QMP socket; does it run?",
        Waiting::InUse => "a program has the VF open: stop the VM first, or unplug the device",
    }
}

/// How a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As it should be.
    Good,
    /// Not so.
    Troubled(String),
}

/// All attachments of a host.
pub struct Attachments<H> {
    host: H,
    store: LeaseStore,
    faults: Arc<dyn Faults>,
    /// What keeps a lease from its goal.
    troubles: BTreeMap<LeaseNumber, String>,
}

impl<H: Host> Attachments<H> {
    /// Takes over a host's leases. [`Self::reconcile`] then brings the host to what they say.
    #[must_use]
    pub fn new(host: H, store: LeaseStore, faults: Arc<dyn Faults>) -> Self {
        Self { host, store, faults, troubles: BTreeMap::new() }
    }

    /// The machine.
    #[must_use]
    pub const fn host(&self) -> &H {
        &self.host
    }

    /// The leases there are.
    #[must_use]
    pub fn leases(&self) -> &[Lease] {
        self.store.leases()
    }

    /// How a lease is, as far as was seen last.
    #[must_use]
    pub fn condition(&self, number: LeaseNumber) -> Condition {
        self.troubles.get(&number).map_or(Condition::Good, |why| Condition::Troubled(why.clone()))
    }

    /// Whether a VF belongs to a VM.
    #[must_use]
    pub fn is_leased(&self, vf: &VfId) -> bool {
        self.store.of_vf(vf).is_some()
    }

    /// Gives a VM its VF. Whoever got no answer asks again.
    ///
    /// # Errors
    /// When the VM does not get it; then nothing is left of the attempt, or what is left goes as soon as it can.
    pub fn attach(&mut self, wish: &Wish) -> Result<Lease, AttachError> {
        if let Some(lease) = self.store.of(&wish.key).cloned() {
            let reason = || match self.condition(lease.number) {
                Condition::Troubled(why) => why,
                Condition::Good => "try again".to_owned(),
            };
            if lease.goal == Goal::Released {
                return Err(AttachError::Releasing { key: wish.key.clone(), reason: reason() });
            }
            let same = lease.backend == wish.backend
                && lease.vf == wish.vf
                && lease.settings == wish.settings
                && lease.gpus == wish.gpus
                && lease.qmp == wish.qmp
                && lease.bus == wish.bus;
            if !same {
                return Err(AttachError::Different { key: wish.key.clone(), vf: lease.vf });
            }
            return self.complete(lease);
        }
        if let Some(holder) = self.store.of_vf(&wish.vf).map(Lease::key) {
            return Err(AttachError::Taken { vf: wish.vf.clone(), holder });
        }
        let same_mac = |lease: &&Lease| lease.settings.mac == wish.settings.mac;
        if let Some(holder) = self.store.leases().iter().find(same_mac).map(Lease::key) {
            return Err(AttachError::SameMac { mac: wish.settings.mac, holder });
        }
        let lease = Lease {
            number: self.store.next_number(),
            vm: wish.key.vm.clone(),
            interface: wish.key.interface.clone(),
            vf: wish.vf.clone(),
            backend: wish.backend,
            settings: wish.settings,
            gpus: wish.gpus.clone(),
            qmp: wish.qmp.clone(),
            bus: wish.bus.clone(),
            driver_before: wish.driver_before.clone(),
            goal: Goal::Attached,
            attached: false,
        };
        self.store.put(lease.clone(), Record::Created, &*self.faults)?;
        self.complete(lease)
    }

    /// Brings a lease to its end, or takes all back when it never was there.
    fn complete(&mut self, mut lease: Lease) -> Result<Lease, AttachError> {
        match self.drive(&lease) {
            Ok(()) => {
                self.troubles.remove(&lease.number);
                if !lease.attached {
                    lease.attached = true;
                    self.store.put(lease.clone(), Record::Confirmed, &*self.faults)?;
                }
                Ok(lease)
            }
            Err(error) => {
                self.troubles.insert(lease.number, error.to_string());
                if !lease.attached {
                    self.release(lease)?;
                }
                Err(error)
            }
        }
    }

    /// Takes a VF back from a VM.
    ///
    /// # Errors
    /// When the VM still has it, or not all could be undone; what is left goes as soon as it can.
    pub fn detach(&mut self, key: &LeaseKey) -> Result<(), AttachError> {
        let lease = self.store.of(key).cloned().ok_or_else(|| AttachError::Unknown(key.clone()))?;
        if lease.goal == Goal::Attached && lease.qmp.is_none() {
            let seen = self.host.see(&lease)?;
            if seen.vf.is_some_and(|vf| vf.in_use) {
                return Err(AttachError::Waiting(Waiting::InUse));
            }
        }
        let number = lease.number;
        self.release(lease)?;
        match self.condition(number) {
            Condition::Good => Ok(()),
            Condition::Troubled(reason) => Err(AttachError::Releasing { key: key.clone(), reason }),
        }
    }

    /// Undoes what was done for a lease, and forgets it. What fails is a trouble of the lease, which then stays.
    fn release(&mut self, mut lease: Lease) -> Result<(), StoreError> {
        if lease.goal != Goal::Released {
            lease.goal = Goal::Released;
            self.store.put(lease.clone(), Record::Releasing, &*self.faults)?;
        }
        match self.drive(&lease) {
            Ok(()) => {
                self.store.remove(lease.number, &*self.faults)?;
                self.troubles.remove(&lease.number);
            }
            Err(error) => {
                self.troubles.insert(lease.number, error.to_string());
            }
        }
        Ok(())
    }

    /// Brings the host to what the leases say: at the start, after events, and now and then.
    ///
    /// # Errors
    /// When leases cannot be kept. What is wrong with one lease is its [`Self::condition`].
    pub fn reconcile(&mut self) -> Result<(), StoreError> {
        for lease in self.store.leases().to_vec() {
            match lease.goal {
                Goal::Released => self.release(lease)?,
                Goal::Attached => {
                    // What else is wrong is kept as the lease's trouble.
                    if let Err(AttachError::Store(error)) = self.complete(lease) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does steps until a lease is where it should be.
    fn drive(&self, lease: &Lease) -> Result<(), AttachError> {
        let mut last = None;
        let mut patience = LET_GO.0;
        for _ in 0..MOST_STEPS + LET_GO.0 as usize {
            match next(lease, &self.host.see(lease)?) {
                Next::Done => return Ok(()),
                Next::Wait(Waiting::InUse) if last == Some(Step::Unplug) && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(LET_GO.1);
                }
                Next::Wait(waiting) => return Err(AttachError::Waiting(waiting)),
                Next::Do(step) if last == Some(step) => {
                    return Err(AttachError::NoEffect(step.name()));
                }
                Next::Do(step) => {
                    self.faults.reach(FaultPoint::Before(step));
                    self.host.perform(step, lease).map_err(|error| AttachError::Step {
                        step: step.name(),
                        error: Box::new(error),
                    })?;
                    self.faults.reach(FaultPoint::After(step));
                    last = Some(step);
                }
            }
        }
        Err(AttachError::NoEffect(last.map_or("nothing", Step::name)))
    }
}
