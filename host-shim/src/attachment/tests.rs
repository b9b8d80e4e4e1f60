use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::engine::{AttachError, Attachments, Condition, Wish};
use super::fault::{FaultPoint, Faults, NoFaults};
use super::step::{Step, Waiting};
use super::testing::{FakeHost, FakeVf, NATIVE, World, settings, vf_id};
use crate::backend::BackendKind;
use crate::device::VFIO_PCI;
use crate::lease::{Goal, LeaseKey, LeaseStore};

/// What a death carries up the stack: nothing on its way cleans up.
struct Death;

/// Dies at a point, once; and notes where the program has been.
#[derive(Default)]
struct DieAt {
    point: Mutex<Option<FaultPoint>>,
    visited: Mutex<BTreeSet<String>>,
}

impl Faults for DieAt {
    fn reach(&self, point: FaultPoint) {
        self.visited.lock().unwrap().insert(point.to_string());
        let mut at = self.point.lock().unwrap();
        if *at == Some(point) {
            *at = None;
            drop(at);
            resume_unwind(Box::new(Death));
        }
    }
}

/// A host whose program can die and start again.
struct Rig {
    _directory: tempfile::TempDir,
    state: PathBuf,
    world: Arc<Mutex<World>>,
    faults: Arc<DieAt>,
    running: Option<Attachments<FakeHost>>,
}

impl Rig {
    fn new(vfs: u16) -> Self {
        // Files are flushed at every step; in memory that costs nothing.
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.unwrap();
        let mut rig = Self {
            state: directory.path().join("state"),
            _directory: directory,
            world: World::with_vfs(vfs),
            faults: Arc::default(),
            running: None,
        };
        rig.start();
        rig
    }

    fn start(&mut self) {
        self.running = None;
        let store = LeaseStore::open(&self.state).unwrap();
        self.running =
            Some(Attachments::new(FakeHost(self.world.clone()), store, self.faults.clone()));
    }

    /// Does something with the program; none when it dies of it. It is started again then.
    fn run<T>(&mut self, work: impl FnOnce(&mut Attachments<FakeHost>) -> T) -> Option<T> {
        let running = self.running.as_mut().unwrap();
        match catch_unwind(AssertUnwindSafe(|| work(running))) {
            Ok(value) => Some(value),
            Err(cause) if cause.is::<Death>() => {
                self.start();
                None
            }
            Err(cause) => resume_unwind(cause),
        }
    }

    fn die_at(&self, point: Option<FaultPoint>) {
        *self.faults.point.lock().unwrap() = point;
    }

    fn reconcile(&mut self) {
        while self.run(|attachments| attachments.reconcile().unwrap()).is_none() {}
    }

    fn attachments(&self) -> &Attachments<FakeHost> {
        self.running.as_ref().unwrap()
    }

    /// What must hold once all is well and has been reconciled.
    fn check(&self) {
        let world = self.world.lock().unwrap();
        let leases = self.attachments().leases();
        for (id, vf) in &world.vfs {
            let mut owners = leases.iter().filter(|lease| lease.vf == *id);
            let owner = owners.next();
            assert!(owners.next().is_none(), "{id} belongs to two VMs");
            let Some(lease) = owner else {
                assert_eq!(*vf, FakeVf::fresh(), "{id} has leaked");
                assert!(
                    !world.plugged.values().any(|plugged| plugged == id),
                    "{id} is still in a VM"
                );
                continue;
            };
            assert_eq!(lease.goal, Goal::Attached, "{id} is not taken back");
            assert!(lease.attached);
            assert_eq!(self.attachments().condition(lease.number), Condition::Good);
            assert!(world.consented.contains(&lease.number));
            if lease.backend != BackendKind::VhostUser {
                assert!(lease.settings.is_met_by(&vf.settings), "{id}: a VM without its MAC");
            }
            let driver = if lease.backend == BackendKind::Vfio { VFIO_PCI } else { NATIVE };
            assert_eq!(vf.driver.as_deref(), Some(driver));
            assert_eq!(vf.vdpa.is_some(), lease.backend == BackendKind::Vdpa);
            let plugged = world.plugged.get(&lease.device_id());
            assert_eq!(plugged, lease.qmp.as_ref().map(|_| id));
        }
        let numbers: BTreeSet<_> = leases.iter().map(|lease| lease.number).collect();
        assert_eq!(world.consented, numbers, "host and DPU do not agree");
    }
}

fn key(vm: u64) -> LeaseKey {
    LeaseKey { vm: format!("vm-{vm}").parse().unwrap(), interface: "net0".parse().unwrap() }
}

fn wish(vm: u64, vf: u16, backend: BackendKind, running: bool) -> Wish {
    Wish {
        key: key(vm),
        vf: vf_id(vf),
        backend,
        settings: settings(vm),
        gpus: Vec::new(),
        qmp: running.then(|| "/run/vm.qmp".into()),
        bus: None,
        driver_before: Some(NATIVE.into()),
    }
}

fn ways() -> impl Iterator<Item = (BackendKind, bool)> {
    BackendKind::ALL.into_iter().flat_map(|backend| [(backend, false), (backend, true)])
}

#[test]
fn there_and_back() {
    for (backend, running) in ways() {
        let mut rig = Rig::new(2);
        let lease = rig.run(|a| a.attach(&wish(1, 0, backend, running)).unwrap()).unwrap();
        assert!(lease.attached);
        rig.check();
        // Who asks again gets the same.
        assert_eq!(rig.run(|a| a.attach(&wish(1, 0, backend, running)).unwrap()).unwrap(), lease);
        rig.run(|a| a.detach(&key(1)).unwrap()).unwrap();
        assert_eq!(rig.attachments().leases(), []);
        rig.check();
        let error = rig.run(|a| a.detach(&key(1)).unwrap_err()).unwrap();
        assert!(matches!(error, AttachError::Unknown(_)));
    }
}

#[test]
fn the_vf_has_its_mac_before_a_driver_sees_it() {
    let mut rig = Rig::new(1);
    rig.run(|a| a.attach(&wish(1, 0, BackendKind::Vfio, true)).unwrap()).unwrap();
    let done = rig.world.lock().unwrap().done.clone();
    assert_eq!(
        done,
        [Step::Consent, Step::Unbind, Step::Configure, Step::Override, Step::Bind, Step::Plug]
    );
    rig.run(|a| a.detach(&key(1)).unwrap()).unwrap();
    let done = rig.world.lock().unwrap().done.split_off(6);
    assert_eq!(
        done,
        [
            Step::Unplug,
            Step::Unbind,
            Step::ClearOverride,
            Step::Reset,
            Step::Return,
            Step::Withdraw
        ]
    );
}

#[test]
fn one_vf_one_vm_one_mac() {
    let mut rig = Rig::new(2);
    rig.run(|a| {
        a.attach(&wish(1, 0, BackendKind::Vfio, false)).unwrap();
        let error = a.attach(&wish(2, 0, BackendKind::Vfio, false)).unwrap_err();
        assert!(error.to_string().contains("/vf0 belongs to vm-1/net0"), "{error}");
        let mut same_mac = wish(2, 1, BackendKind::Vfio, false);
        same_mac.settings = settings(1);
        let error = a.attach(&same_mac).unwrap_err();
        assert!(error.to_string().contains("is the address of vm-1/net0"), "{error}");
        let error = a.attach(&wish(1, 1, BackendKind::Vfio, false)).unwrap_err();
        assert!(
            error.to_string().starts_with("vm-1/net0 has S1/52:54:00:00:00:01/vf0 already"),
            "{error}"
        );
    });
    rig.check();
}

/// At every point of an attachment, of one that fails, and of a detachment; and at every second point while the first
/// death is mended.
#[test]
fn dies_anywhere_and_comes_back() {
    let mut visited = BTreeSet::new();
    let points: Vec<FaultPoint> = FaultPoint::all().collect();
    let seconds = || std::iter::once(None).chain(points.iter().copied().map(Some));
    for (backend, running) in ways() {
        for first in &points {
            for second in seconds() {
                let mut rig = Rig::new(2);
                let wish = wish(1, 0, backend, running);
                rig.die_at(Some(*first));
                let died = rig.run(|a| a.attach(&wish).unwrap()).is_none();
                rig.die_at(second.filter(|_| died));
                rig.reconcile();
                rig.check();
                // A caller that got no answer asks again.
                rig.die_at(None);
                rig.run(|a| a.attach(&wish).unwrap()).unwrap();
                rig.check();
                rig.die_at(Some(*first));
                let died = rig.run(|a| a.detach(&key(1)).unwrap()).is_none();
                rig.die_at(second.filter(|_| died));
                rig.reconcile();
                rig.check();
                // Nobody can have half of it.
                rig.die_at(None);
                rig.run(|a| {
                    if a.leases().is_empty() { Ok(()) } else { a.detach(&key(1)) }.unwrap();
                });
                assert_eq!(rig.attachments().leases(), []);
                rig.check();
                visited.extend(rig.faults.visited.lock().unwrap().iter().cloned());
            }
        }
    }
    let all: BTreeSet<String> = points.iter().map(ToString::to_string).collect();
    assert_eq!(visited, all, "a fault point is never reached");
}

#[test]
fn what_fails_leaves_nothing_wherever_the_program_dies() {
    for (backend, running) in ways() {
        for failing in Step::ALL {
            for point in FaultPoint::all() {
                let mut rig = Rig::new(1);
                rig.world.lock().unwrap().failing.insert(failing.name(), 1);
                rig.die_at(Some(point));
                rig.run(|a| a.attach(&wish(1, 0, backend, running)).is_ok());
                rig.die_at(None);
                rig.world.lock().unwrap().failing.clear();
                rig.reconcile();
                rig.check();
                rig.world.lock().unwrap().failing.insert(failing.name(), 1);
                rig.run(|a| a.detach(&key(1)).is_ok());
                rig.reconcile();
                rig.check();
                assert_eq!(rig.attachments().leases(), []);
            }
        }
    }
}

#[test]
fn what_comes_undone_is_done_again() {
    let mut rig = Rig::new(1);
    let wish = wish(1, 0, BackendKind::Vfio, true);
    rig.run(|a| a.attach(&wish).unwrap()).unwrap();
    // The PF's driver was reloaded, or the DPU restarted: the MAC is gone, the VF is not.
    rig.world.lock().unwrap().vfs.get_mut(&vf_id(0)).unwrap().settings =
        crate::lease::SeenSettings::default();
    rig.reconcile();
    rig.check();
    // The card goes, and returns with the same addresses.
    rig.world.lock().unwrap().vanish(&vf_id(0));
    rig.reconcile();
    let number = rig.attachments().leases()[0].number;
    let Condition::Troubled(why) = rig.attachments().condition(number) else {
        panic!("all is well?")
    };
    assert!(why.starts_with("the VF is gone; it is attached again"), "{why}");
    let error = rig.run(|a| a.attach(&wish).unwrap_err()).unwrap();
    assert!(matches!(error, AttachError::Waiting(Waiting::VfGone)));
    rig.world.lock().unwrap().vfs.insert(vf_id(0), FakeVf::fresh());
    rig.reconcile();
    rig.check();
    // The VM is given up while the card is away.
    rig.world.lock().unwrap().vanish(&vf_id(0));
    rig.run(|a| a.detach(&key(1)).unwrap()).unwrap();
    rig.world.lock().unwrap().vfs.insert(vf_id(0), FakeVf::fresh());
    rig.check();
}

#[test]
fn a_dpu_that_is_away_stops_changes_and_nothing_else() {
    let mut rig = Rig::new(2);
    rig.run(|a| a.attach(&wish(1, 0, BackendKind::Vfio, false)).unwrap()).unwrap();
    rig.world.lock().unwrap().dpu_away = true;
    rig.reconcile();
    let number = rig.attachments().leases()[0].number;
    assert_eq!(rig.attachments().condition(number), Condition::Good);
    let error = rig.run(|a| a.attach(&wish(2, 1, BackendKind::Vfio, false)).unwrap_err()).unwrap();
    assert_eq!(error.to_string(), "the DPU does not answer; it is tried again");
    let error = rig.run(|a| a.detach(&key(1)).unwrap_err()).unwrap();
    assert!(
        error.to_string().starts_with("vm-1/net0 is being detached: the DPU does not"),
        "{error}"
    );
    // The VF is as before already, but not free: the DPU would not let another VM have it.
    assert_eq!(rig.world.lock().unwrap().vfs[&vf_id(0)], FakeVf::fresh());
    assert!(rig.attachments().is_leased(&vf_id(0)));
    rig.world.lock().unwrap().dpu_away = false;
    rig.reconcile();
    assert_eq!(rig.attachments().leases(), []);
    rig.check();
    rig.world.lock().unwrap().dpu_refuses = true;
    let error = rig.run(|a| a.attach(&wish(1, 0, BackendKind::Vfio, false)).unwrap_err()).unwrap();
    assert_eq!(error.to_string(), "consent: the DPU refuses vm-1/net0: not yours");
    rig.check();
}

#[test]
fn a_vm_that_does_not_answer_gets_nothing() {
    let mut rig = Rig::new(1);
    rig.world.lock().unwrap().vms_away = true;
    let error = rig.run(|a| a.attach(&wish(1, 0, BackendKind::Vfio, true)).unwrap_err()).unwrap();
    assert_eq!(error.to_string(), "no VM answers at the QMP socket; does it run?");
    assert_eq!(rig.attachments().leases(), []);
    rig.check();
}

#[test]
fn a_vf_that_is_in_use_is_not_taken() {
    let mut rig = Rig::new(1);
    rig.run(|a| a.attach(&wish(1, 0, BackendKind::Vfio, false)).unwrap()).unwrap();
    rig.world.lock().unwrap().open.insert(vf_id(0));
    let error = rig.run(|a| a.detach(&key(1)).unwrap_err()).unwrap();
    assert!(matches!(error, AttachError::Waiting(Waiting::InUse)), "{error}");
    rig.check();
    rig.world.lock().unwrap().open.clear();
    rig.run(|a| a.detach(&key(1)).unwrap()).unwrap();
    rig.check();
}

/// Does not hear what the PF is to be told.
struct Deaf(FakeHost);
impl super::Host for Deaf {
    fn see(&self, lease: &crate::lease::Lease) -> Result<super::step::Seen, super::HostError> {
        self.0.see(lease)
    }
    fn perform(&self, step: Step, lease: &crate::lease::Lease) -> Result<(), super::HostError> {
        if step == Step::Configure { Ok(()) } else { self.0.perform(step, lease) }
    }
}

#[test]
fn a_step_without_effect_is_noticed() {
    let store_directory = tempfile::tempdir().unwrap();
    let store = LeaseStore::open(store_directory.path()).unwrap();
    let mut attachments =
        Attachments::new(Deaf(FakeHost(World::with_vfs(1))), store, Arc::new(NoFaults));
    let error = attachments.attach(&wish(1, 0, BackendKind::Vfio, false)).unwrap_err();
    assert!(error.to_string().starts_with("configure has no effect"), "{error}");
    assert_eq!(attachments.leases(), []);
}

#[test]
fn fault_points_and_undoing() {
    for point in FaultPoint::all() {
        assert_eq!(point.to_string().parse(), Ok(point));
    }
    for (backend, running) in ways() {
        let mut rig = Rig::new(1);
        rig.run(|a| a.attach(&wish(1, 0, backend, running)).unwrap()).unwrap();
        let done = std::mem::take(&mut rig.world.lock().unwrap().done);
        rig.run(|a| a.detach(&key(1)).unwrap()).unwrap();
        let undone = rig.world.lock().unwrap().done.clone();
        for step in done {
            assert!(undone.contains(&step.undo()), "{backend}: {step:?} is not taken back");
        }
    }
    assert!("before-lunch".parse::<FaultPoint>().is_err());
}

/// What can happen to a host.
#[derive(Clone, Debug)]
enum Event {
    Attach { vm: u64, vf: u16, way: usize },
    Detach { vm: u64 },
    Vanish { vf: u16 },
    Return { vf: u16 },
    Forget { vf: u16 },
    DriverTakes { vf: u16 },
    Dpu { away: bool },
    Fail { step: usize, times: u32 },
    DieAt { point: usize },
    Restart,
    Reconcile,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let (vm, vf) = (0..4_u64, 0..3_u16);
    let event = prop_oneof![
        6 => (vm.clone(), vf.clone(), 0..6_usize).prop_map(|(vm, vf, way)| Event::Attach { vm, vf, way }),
        5 => vm.prop_map(|vm| Event::Detach { vm }),
        1 => vf.clone().prop_map(|vf| Event::Vanish { vf }),
        2 => vf.clone().prop_map(|vf| Event::Return { vf }),
        1 => vf.clone().prop_map(|vf| Event::Forget { vf }),
        1 => vf.prop_map(|vf| Event::DriverTakes { vf }),
        1 => any::<bool>().prop_map(|away| Event::Dpu { away }),
        1 => (0..Step::ALL.len(), 1..3_u32).prop_map(|(step, times)| Event::Fail { step, times }),
        4 => (0..FaultPoint::all().count()).prop_map(|point| Event::DieAt { point }),
        1 => Just(Event::Restart),
        2 => Just(Event::Reconcile),
    ];
    prop::collection::vec(event, 1..60)
}

fn happen(rig: &mut Rig, event: &Event) {
    match *event {
        Event::Attach { vm, vf, way } => {
            let (backend, running) = ways().nth(way).unwrap();
            rig.run(|a| a.attach(&wish(vm, vf, backend, running)).is_ok());
        }
        Event::Detach { vm } => {
            rig.run(|a| a.detach(&key(vm)).is_ok());
        }
        Event::Vanish { vf } => rig.world.lock().unwrap().vanish(&vf_id(vf)),
        Event::Return { vf } => {
            rig.world.lock().unwrap().vfs.get_mut(&vf_id(vf)).unwrap().present = true;
        }
        Event::Forget { vf } => {
            let mut world = rig.world.lock().unwrap();
            world.vfs.get_mut(&vf_id(vf)).unwrap().settings = crate::lease::SeenSettings::default();
        }
        Event::DriverTakes { vf } => {
            // Somebody binds the VF by hand; a VM loses it.
            let mut world = rig.world.lock().unwrap();
            world.plugged.retain(|_, plugged| *plugged != vf_id(vf));
            let vf = world.vfs.get_mut(&vf_id(vf)).unwrap();
            (vf.driver, vf.driver_override) = (Some(NATIVE.into()), None);
        }
        Event::Dpu { away } => rig.world.lock().unwrap().dpu_away = away,
        Event::Fail { step, times } => {
            rig.world.lock().unwrap().failing.insert(Step::ALL[step].name(), times);
        }
        Event::DieAt { point } => rig.die_at(FaultPoint::all().nth(point)),
        Event::Restart => rig.start(),
        Event::Reconcile => rig.reconcile(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happened: when all is well again, so are the leases.
    #[test]
    fn storms(events in events()) {
        let mut rig = Rig::new(3);
        for event in &events {
            happen(&mut rig, event);
        }
        rig.die_at(None);
        {
            let mut world = rig.world.lock().unwrap();
            world.dpu_away = false;
            world.failing.clear();
            world.vfs.values_mut().for_each(|vf| vf.present = true);
        }
        rig.start();
        rig.reconcile();
        rig.check();
        // Nothing is stuck: everything can be taken back.
        for vm in 0..4 {
            rig.run(|a| a.detach(&key(vm)).is_ok());
        }
        rig.check();
        prop_assert!(rig.attachments().leases().is_empty());
    }
}
