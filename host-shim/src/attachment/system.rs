//! The machine itself: sysfs, netlink, QMP.

use std::path::PathBuf;
use std::sync::Arc;

use super::consent::Consent;
use super::host::{Host, HostError};
use super::step::{Plugged, Seen, SeenVf, Step};
use crate::backend::BackendKind;
use crate::device::{
    Drivers, InterfaceName, Inventory, PfDevice, PhysicalFunction, Sources, VFIO_PCI,
    VirtualFunction,
};
use crate::lease::{Goal, Lease};
use crate::netlink::{PfControl, vdpa};
use crate::output::qmp::{Qmp, QmpError};
use crate::output::{DeviceIds, VmDevice};
use crate::sysfs::{PciAddress, Sysfs, SysfsError};

const EBUSY: i32 = 16;

/// What there is of a machine, and where.
#[derive(Clone)]
pub struct Machine {
    /// The kernel's devices.
    pub sysfs: Sysfs,
    /// What the configuration adds.
    pub sources: Sources,
    /// Where device nodes are.
    pub dev: PathBuf,
}

impl Machine {
    /// The devices there are now.
    ///
    /// # Errors
    /// When sysfs cannot be read.
    pub fn inventory(&self) -> Result<Inventory, SysfsError> {
        Inventory::read(&self.sysfs, &self.sources)
    }

    /// A lease's device, as a VM has to be told now.
    ///
    /// # Errors
    /// When its VF is gone, or has nothing that a VM could get.
    pub fn device(&self, lease: &Lease) -> Result<VmDevice, HostError> {
        let inventory = self.inventory()?;
        let (_, vf) = inventory.vf(&lease.vf).ok_or_else(|| HostError::Gone(lease.vf.clone()))?;
        self.device_of(lease, vf)
    }

    fn device_of(&self, lease: &Lease, vf: &VirtualFunction) -> Result<VmDevice, HostError> {
        let path = match lease.backend {
            BackendKind::Vfio => None,
            BackendKind::VhostUser => vf.vhost_user.clone(),
            BackendKind::Vdpa => {
                let names = self.sysfs.names(&format!("bus/vdpa/devices/{}", lease.device_id()))?;
                let node = names.into_iter().find(|name| name.starts_with("vhost-vdpa-"));
                node.map(|node| self.dev.join(node))
            }
        };
        VmDevice::of(lease, vf.address, path.as_deref()).map_err(|error| HostError::Unsuitable {
            vf: lease.vf.clone(),
            what: error.to_string(),
        })
    }

    /// Whether a program has a group's functions: the kernel lets one program at a time have them.
    fn group_is_open(&self, group: u32) -> Result<bool, HostError> {
        let path = self.dev.join("vfio").join(group.to_string());
        match std::fs::OpenOptions::new().read(true).write(true).open(&path) {
            Ok(_) => Ok(false),
            Err(error) if error.raw_os_error() == Some(EBUSY) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(HostError::Device { path, error }),
        }
    }
}

/// A machine, and who has a say in it.
pub struct SystemHost {
    machine: Machine,
    control: Arc<dyn PfControl>,
    consent: Arc<dyn Consent>,
}

impl SystemHost {
    /// Puts them together.
    #[must_use]
    pub fn new(machine: Machine, control: Arc<dyn PfControl>, consent: Arc<dyn Consent>) -> Self {
        Self { machine, control, consent }
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    fn see_vf(
        &self,
        lease: &Lease,
        inventory: &Inventory,
        pf: &PhysicalFunction,
        vf: &VirtualFunction,
    ) -> Result<SeenVf, HostError> {
        let function = vf.address.and_then(|address| inventory.function(address));
        let driver = function.and_then(|function| function.driver.clone());
        let bound = driver.as_deref() == Some(VFIO_PCI);
        Ok(SeenVf {
            address: vf.address,
            driver_override: function.and_then(|function| function.driver_override.clone()),
            settings: match interface(pf) {
                Some(pf) => self.control.settings(pf, vf.number)?,
                None => None,
            },
            vdpa: match lease.backend {
                BackendKind::Vdpa => {
                    vdpa::get(&lease.device_id())?.map(|device| device.mac.unwrap_or_default())
                }
                BackendKind::Vfio | BackendKind::VhostUser => None,
            },
            in_use: match function.and_then(|function| function.iommu_group) {
                Some(group) if bound => self.machine.group_is_open(group)?,
                _ => false,
            },
            returnable: lease.driver_before.as_ref().is_some_and(|driver| {
                self.machine.sysfs.exists(&format!("bus/pci/drivers/{driver}"))
            }),
            driver,
        })
    }
}

/// The interface by which a PF is told about its VFs.
fn interface(pf: &PhysicalFunction) -> Option<&InterfaceName> {
    match pf.device {
        PfDevice::Pci(_) | PfDevice::Netdevsim(_) => pf.net.as_ref().map(|net| &net.name),
        PfDevice::Software(_) => None,
    }
}

/// Whether the VM has a lease's device.
fn see_plugged(lease: &Lease) -> Result<Plugged, HostError> {
    let Some(path) = &lease.qmp else { return Ok(Plugged::NoVm) };
    let mut qmp = match Qmp::connect(path) {
        Ok(qmp) => qmp,
        Err(QmpError::NoVm { .. }) => return Ok(Plugged::NoVm),
        Err(error) => return Err(error.into()),
    };
    let ids = DeviceIds::of(lease);
    if qmp.has_device(ids.id())? {
        return Ok(Plugged::Yes);
    }
    // An attempt that was cut off left what goes behind the device: putting it in clears that first, and when it is to
    // go, it has to be taken out.
    let rest = match ids.chardev() {
        Some(chardev) => qmp.has_chardev(&chardev)?,
        None => false,
    };
    Ok(if rest && lease.goal == Goal::Released { Plugged::Yes } else { Plugged::No })
}

impl Host for SystemHost {
    fn see(&self, lease: &Lease) -> Result<Seen, HostError> {
        let inventory = self.machine.inventory()?;
        let vf = match inventory.vf(&lease.vf) {
            Some((pf, vf)) => Some(self.see_vf(lease, &inventory, pf, vf)?),
            None => None,
        };
        Ok(Seen { vf, consent: self.consent.state(lease), plugged: see_plugged(lease)? })
    }

    fn perform(&self, step: Step, lease: &Lease) -> Result<(), HostError> {
        let qmp = || {
            let path = lease.qmp.as_ref();
            let path = path.ok_or_else(|| HostError::Unsuitable {
                vf: lease.vf.clone(),
                what: "the VM has no QMP socket".into(),
            })?;
            Ok::<_, HostError>(Qmp::connect(path)?)
        };
        match step {
            Step::Consent => return Ok(self.consent.ask(lease)?),
            Step::Withdraw => return Ok(self.consent.withdraw(lease)?),
            Step::Unplug => return Ok(qmp()?.unplug(&DeviceIds::of(lease))?),
            Step::DeleteVdpa => return Ok(vdpa::delete(&lease.device_id())?),
            _ => {}
        }
        let inventory = self.machine.inventory()?;
        let (pf, vf) = inventory.vf(&lease.vf).ok_or_else(|| HostError::Gone(lease.vf.clone()))?;
        let unsuitable =
            |what: &str| HostError::Unsuitable { vf: lease.vf.clone(), what: what.to_owned() };
        let address = || -> Result<PciAddress, HostError> {
            vf.address
                .ok_or_else(|| unsuitable("it is no PCI function; use the vhost-user back end"))
        };
        let interface = || interface(pf).ok_or_else(|| unsuitable("its PF has no interface"));
        let drivers = Drivers(&self.machine.sysfs);
        match step {
            Step::Unbind => drivers.unbind(address()?)?,
            Step::Override => drivers.set_override(address()?, Some(VFIO_PCI))?,
            Step::ClearOverride => drivers.set_override(address()?, None)?,
            Step::Bind => drivers.probe_for(address()?, VFIO_PCI)?,
            Step::Return => drivers.probe(address()?)?,
            Step::Configure => self.control.configure(interface()?, vf.number, &lease.settings)?,
            Step::Reset => self.control.reset(interface()?, vf.number, &lease.settings)?,
            Step::CreateVdpa => vdpa::create(&lease.device_id(), address()?, lease.settings.mac)?,
            Step::Plug => {
                let device = self.machine.device_of(lease, vf)?;
                qmp()?.plug(&device, lease.bus.as_ref())?;
            }
            Step::Consent | Step::Withdraw | Step::Unplug | Step::DeleteVdpa => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::consent::StandAlone;
    use crate::attachment::fault::NoFaults;
    use crate::attachment::testing::settings;
    use crate::attachment::{Attachments, Condition, Wish, choose};
    use crate::device::testing::Tree;
    use crate::device::{PciFunction, VfNumber};
    use crate::lease::{LeaseKey, LeaseStore, SeenSettings, VfSettings};
    use crate::netlink::NetlinkError;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    /// A PF's memory.
    #[derive(Default)]
    struct Pf(Mutex<BTreeMap<VfNumber, SeenSettings>>);

    impl PfControl for Pf {
        fn settings(
            &self,
            _: &InterfaceName,
            vf: VfNumber,
        ) -> Result<Option<SeenSettings>, NetlinkError> {
            Ok(Some(self.0.lock().unwrap().get(&vf).copied().unwrap_or_default()))
        }

        fn configure(
            &self,
            _: &InterfaceName,
            vf: VfNumber,
            settings: &VfSettings,
        ) -> Result<(), NetlinkError> {
            let seen = SeenSettings {
                mac: settings.mac,
                trust: settings.trust.unwrap_or(false),
                max_rate: settings.max_rate.unwrap_or(0),
                ..SeenSettings::default()
            };
            self.0.lock().unwrap().insert(vf, seen);
            Ok(())
        }

        fn reset(
            &self,
            _: &InterfaceName,
            vf: VfNumber,
            _: &VfSettings,
        ) -> Result<(), NetlinkError> {
            self.0.lock().unwrap().remove(&vf);
            Ok(())
        }
    }

    fn wish(inventory: &Inventory, a: &Attachments<SystemHost>, vm: u64) -> Wish {
        let vf = choose(inventory, BackendKind::Vfio, &[], |vf| a.is_leased(vf)).unwrap();
        let address = inventory.vf(&vf).unwrap().1.address.unwrap();
        Wish {
            key: LeaseKey {
                vm: format!("vm-{vm}").parse().unwrap(),
                interface: "net0".parse().unwrap(),
            },
            vf,
            backend: BackendKind::Vfio,
            settings: settings(vm),
            gpus: Vec::new(),
            qmp: None,
            bus: None,
            driver_before: inventory.function(address).unwrap().driver.clone(),
        }
    }

    /// The real steps on a sysfs: VFs go to vfio-pci with their MAC, survive a card's restart, and come back.
    #[test]
    fn on_a_sysfs() {
        let tree = Tree::igb();
        let sysfs = tree.sysfs();
        let vfs = "bus/pci/devices/0000:01:00.0/sriov_numvfs";
        sysfs.write(vfs, 2).unwrap();
        let state = tempfile::tempdir().unwrap();
        let machine = Machine {
            sysfs: sysfs.clone(),
            sources: Sources::default(),
            dev: state.path().join("dev"),
        };
        let pf = Arc::new(Pf::default());
        let host = SystemHost::new(machine.clone(), pf.clone(), Arc::new(StandAlone));
        let store = LeaseStore::open(state.path()).unwrap();
        let mut attachments = Attachments::new(host, store, Arc::new(NoFaults));
        let driver = |vf: &str| {
            PciFunction::read(&sysfs, vf.parse().unwrap()).unwrap().unwrap().driver.unwrap()
        };

        for vm in 1..=2 {
            let wish = wish(&machine.inventory().unwrap(), &attachments, vm);
            attachments.attach(&wish).unwrap();
        }
        assert_eq!(
            (driver("0000:01:10.0"), driver("0000:01:10.1")),
            (VFIO_PCI.into(), VFIO_PCI.into())
        );
        assert_eq!(pf.0.lock().unwrap()[&VfNumber(1)].mac, settings(2).mac);
        let device = machine.device(&attachments.leases()[1]).unwrap();
        assert_eq!(
            device.qemu_arguments(None),
            ["-device", "vfio-pci,host=0000:01:10.1,id=penstock-2"]
        );
        let error = choose(&machine.inventory().unwrap(), BackendKind::Vfio, &[], |vf| {
            attachments.is_leased(vf)
        });
        assert!(
            error.unwrap_err().to_string().contains("2 there are, 2 belong to VMs, 0 are used")
        );

        sysfs.write(vfs, 0).unwrap();
        pf.0.lock().unwrap().clear();
        attachments.reconcile().unwrap();
        let first = attachments.leases()[0].number;
        assert!(matches!(attachments.condition(first), Condition::Troubled(_)));
        sysfs.write(vfs, 2).unwrap();
        attachments.reconcile().unwrap();
        assert_eq!(attachments.condition(first), Condition::Good);
        assert_eq!(driver("0000:01:10.0"), VFIO_PCI);
        assert_eq!(pf.0.lock().unwrap()[&VfNumber(0)].mac, settings(1).mac);

        for lease in attachments.leases().to_vec() {
            attachments.detach(&lease.key()).unwrap();
        }
        assert_eq!(
            (driver("0000:01:10.0"), driver("0000:01:10.1")),
            ("igbvf".into(), "igbvf".into())
        );
        assert!(pf.0.lock().unwrap().is_empty());
        let function = PciFunction::read(&sysfs, "0000:01:10.0".parse().unwrap()).unwrap().unwrap();
        assert_eq!(function.driver_override, None);
    }
}
