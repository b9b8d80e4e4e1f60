//! A machine that does exactly what it is told, outlives the program, and can be troubled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::consent::ConsentError;
use super::host::{Host, HostError};
use super::step::{ConsentState, Plugged, Seen, SeenVf, Step};
use crate::backend::BackendKind;
use crate::device::{VFIO_PCI, VfId};
use crate::lease::{Goal, Lease, LeaseNumber, SeenSettings, VfSettings};

pub(crate) const NATIVE: &str = "igbvf";
/// A lease's settings beside its address.
pub(crate) const RATE: u32 = 100;

pub(crate) fn vf_id(vf: u16) -> VfId {
    format!("S1/52:54:00:00:00:01/vf{vf}").parse().unwrap()
}

pub(crate) fn settings(owner: u64) -> VfSettings {
    VfSettings {
        mac: format!("02:00:00:00:01:{owner:02x}").parse().unwrap(),
        vlan: None,
        trust: Some(true),
        spoof_check: None,
        max_rate: Some(RATE),
        link: None,
    }
}

/// The lease of a number, for that VF.
pub(crate) fn lease(number: u64, vf: u16) -> Lease {
    Lease {
        number: LeaseNumber(number),
        vm: format!("vm-{number}").parse().unwrap(),
        interface: "net0".parse().unwrap(),
        vf: vf_id(vf),
        backend: BackendKind::Vfio,
        settings: settings(number),
        gpus: Vec::new(),
        qmp: None,
        bus: None,
        driver_before: Some(NATIVE.into()),
        goal: Goal::Attached,
        attached: false,
    }
}

/// A VF of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FakeVf {
    pub present: bool,
    pub driver: Option<String>,
    pub driver_override: Option<String>,
    pub settings: SeenSettings,
    pub vdpa: Option<packet::Mac>,
}

impl FakeVf {
    /// As a PF makes it.
    pub(crate) fn fresh() -> Self {
        Self {
            present: true,
            driver: Some(NATIVE.into()),
            driver_override: None,
            settings: SeenSettings::default(),
            vdpa: None,
        }
    }
}

/// All that outlives the program.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub vfs: BTreeMap<VfId, FakeVf>,
    /// What VMs have: device, VF.
    pub plugged: BTreeMap<String, VfId>,
    /// Programs that have VFs open through vfio.
    pub open: BTreeSet<VfId>,
    pub dpu_away: bool,
    pub vms_away: bool,
    pub dpu_refuses: bool,
    pub consented: BTreeSet<LeaseNumber>,
    /// Steps that fail, so many times.
    pub failing: BTreeMap<&'static str, u32>,
    /// Steps that were done.
    pub done: Vec<Step>,
}

impl World {
    pub(crate) fn with_vfs(count: u16) -> Arc<Mutex<Self>> {
        let vfs = (0..count).map(|vf| (vf_id(vf), FakeVf::fresh())).collect();
        Arc::new(Mutex::new(Self { vfs, ..Self::default() }))
    }

    /// A card restarts: its VFs go, and VMs lose them.
    pub(crate) fn vanish(&mut self, vf: &VfId) {
        let gone = FakeVf { present: false, ..FakeVf::fresh() };
        self.vfs.insert(vf.clone(), gone);
        self.plugged.retain(|_, plugged| plugged != vf);
        self.open.remove(vf);
    }
}

pub(crate) struct FakeHost(pub Arc<Mutex<World>>);

impl FakeHost {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Host for FakeHost {
    fn see(&self, lease: &Lease) -> Result<Seen, HostError> {
        let world = self.world();
        let vf = &world.vfs[&lease.vf];
        let in_software = lease.backend == BackendKind::VhostUser;
        Ok(Seen {
            vf: vf.present.then(|| SeenVf {
                address: None,
                driver: vf.driver.clone().filter(|_| !in_software),
                driver_override: vf.driver_override.clone().filter(|_| !in_software),
                settings: (!in_software).then_some(vf.settings),
                vdpa: vf.vdpa,
                in_use: world.open.contains(&lease.vf),
                returnable: true,
            }),
            consent: match world.dpu_away {
                true => ConsentState::Unknown,
                false if world.consented.contains(&lease.number) => ConsentState::Given,
                false => ConsentState::NotGiven,
            },
            plugged: match world.plugged.contains_key(&lease.device_id()) {
                _ if world.vms_away => Plugged::NoVm,
                true => Plugged::Yes,
                false => Plugged::No,
            },
        })
    }

    fn perform(&self, step: Step, lease: &Lease) -> Result<(), HostError> {
        let mut world = self.world();
        let world = &mut *world;
        if let Some(times) = world.failing.get_mut(step.name()).filter(|times| **times > 0) {
            *times -= 1;
            return Err(HostError::Unsuitable {
                vf: lease.vf.clone(),
                what: "told to fail".into(),
            });
        }
        let away = || HostError::Consent(ConsentError::Unreachable("away".into()));
        let vf = world.vfs.get_mut(&lease.vf).unwrap();
        match step {
            Step::Consent if world.dpu_refuses => {
                let (lease, reason) = (lease.key().to_string(), "not yours".to_owned());
                return Err(HostError::Consent(ConsentError::Refused { lease, reason }));
            }
            Step::Consent | Step::Withdraw if world.dpu_away => return Err(away()),
            Step::Consent => {
                world.consented.insert(lease.number);
            }
            Step::Withdraw => {
                world.consented.remove(&lease.number);
            }
            _ if !vf.present => return Err(HostError::Gone(lease.vf.clone())),
            Step::Unbind => {
                assert!(
                    !world.plugged.values().any(|plugged| *plugged == lease.vf),
                    "a VM loses its VF"
                );
                vf.driver = None;
                vf.vdpa = None;
            }
            Step::Configure => {
                vf.settings = SeenSettings {
                    mac: lease.settings.mac,
                    trust: true,
                    max_rate: RATE,
                    ..SeenSettings::default()
                };
            }
            Step::Reset => vf.settings = SeenSettings::default(),
            Step::Override => vf.driver_override = Some(VFIO_PCI.into()),
            Step::ClearOverride => vf.driver_override = None,
            Step::Bind | Step::Return => {
                assert_eq!(vf.driver, None, "a driver would be asked for what another has");
                vf.driver = Some(vf.driver_override.clone().unwrap_or_else(|| NATIVE.into()));
            }
            Step::CreateVdpa => {
                assert_eq!(vf.driver.as_deref(), Some(NATIVE));
                vf.vdpa = Some(lease.settings.mac);
            }
            Step::DeleteVdpa => vf.vdpa = None,
            Step::Plug => {
                if lease.backend != BackendKind::VhostUser {
                    assert_eq!(vf.settings.mac, lease.settings.mac, "a VM without its MAC");
                }
                let other = world.plugged.values().any(|plugged| *plugged == lease.vf);
                assert!(!other, "two VMs have {}", lease.vf);
                world.plugged.insert(lease.device_id(), lease.vf.clone());
            }
            Step::Unplug => {
                world.plugged.remove(&lease.device_id());
            }
        }
        world.done.push(step);
        Ok(())
    }
}
