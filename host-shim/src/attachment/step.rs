//! What is done to attach a VF and to take it back, one step at a time.
//!
//! There is no record of how far an attachment has come: what is next follows from what is wanted and what is seen. So a
//! step that was done and not noted is not done twice, and one that came undone (a PF that forgot a MAC, a VF that went and
//! returned) is done again.

use crate::backend::BackendKind;
use crate::device::VFIO_PCI;
use crate::lease::{Goal, Lease, SeenSettings};
use crate::sysfs::PciAddress;

/// A step. Each can be done again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Ask the DPU whether the VM may have the VF.
    Consent,
    /// Take the VF away from its driver.
    Unbind,
    /// Tell the PF the VM's address and the rest.
    Configure,
    /// Let only vfio-pci have the VF.
    Override,
    /// Let vfio-pci have it.
    Bind,
    /// Make the VF's vDPA device.
    CreateVdpa,
    /// Put it into the running VM.
    Plug,
    /// Take it out of the running VM.
    Unplug,
    /// Remove the vDPA device.
    DeleteVdpa,
    /// Let any driver have the VF again.
    ClearOverride,
    /// Make the PF forget the VM's address and the rest.
    Reset,
    /// Let the VF's network driver have it.
    Return,
    /// Tell the DPU that the VF is free.
    Withdraw,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Consent,
        Self::Unbind,
        Self::Configure,
        Self::Override,
        Self::Bind,
        Self::CreateVdpa,
        Self::Plug,
        Self::Unplug,
        Self::DeleteVdpa,
        Self::ClearOverride,
        Self::Reset,
        Self::Return,
        Self::Withdraw,
    ];

    /// The step that takes it back.
    #[must_use]
    pub const fn undo(self) -> Self {
        match self {
            Self::Consent => Self::Withdraw,
            Self::Unbind => Self::Return,
            Self::Configure => Self::Reset,
            Self::Override => Self::ClearOverride,
            Self::Bind | Self::Return => Self::Unbind,
            Self::CreateVdpa => Self::DeleteVdpa,
            Self::Plug => Self::Unplug,
            Self::Unplug => Self::Plug,
            Self::DeleteVdpa => Self::CreateVdpa,
            Self::ClearOverride => Self::Override,
            Self::Reset => Self::Configure,
            Self::Withdraw => Self::Consent,
        }
    }

    /// In messages, logs and fault points.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Unbind => "unbind",
            Self::Configure => "configure",
            Self::Override => "override",
            Self::Bind => "bind",
            Self::CreateVdpa => "create-vdpa",
            Self::Plug => "plug",
            Self::Unplug => "unplug",
            Self::DeleteVdpa => "delete-vdpa",
            Self::ClearOverride => "clear-override",
            Self::Reset => "reset",
            Self::Return => "return",
            Self::Withdraw => "withdraw",
        }
    }
}

/// What the DPU says of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsentState {
    /// Nobody has to be asked: the host is on its own.
    NotNeeded,
    /// The VM may have the VF.
    Given,
    /// The DPU knows of no such lease.
    NotGiven,
    /// The DPU does not answer.
    Unknown,
}

/// Whether a running VM has the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plugged {
    /// It has.
    Yes,
    /// It has not.
    No,
    /// There is no such VM now, or it is none of ours to plug.
    NoVm,
}

/// A VF as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeenVf {
    /// Where it is on the PCI buses, if it is.
    pub address: Option<PciAddress>,
    /// The driver that has it.
    pub driver: Option<String>,
    /// The only driver that may have it.
    pub driver_override: Option<String>,
    /// What the PF says; none where the PF has no say (NICs in software).
    pub settings: Option<SeenSettings>,
    /// Its vDPA device's address, if it has such a device.
    pub vdpa: Option<packet::Mac>,
    /// Whether a program has it open through vfio.
    pub in_use: bool,
    /// Whether the driver it had before could have it again.
    pub returnable: bool,
}

/// What there is to see of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The VF; none while it is gone, as over a restart of its card.
    pub vf: Option<SeenVf>,
    /// What the DPU says.
    pub consent: ConsentState,
    /// What the VM has.
    pub plugged: Plugged,
}

/// Why nothing can be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// The VF is gone.
    VfGone,
    /// The DPU does not answer.
    DpuGone,
    /// A program has the VF open: taking it away would hang until it ends.
    InUse,
    /// The VM that is to get it while it runs does not answer.
    NoVm,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// This.
    Do(Step),
    /// Nothing until something changes.
    Wait(Waiting),
    /// All is as the lease wants it.
    Done,
}

/// What comes next for a lease.
#[must_use]
pub fn next(lease: &Lease, seen: &Seen) -> Next {
    match lease.goal {
        Goal::Attached => attach(lease, seen),
        Goal::Released => release(lease, seen),
    }
}

fn attach(lease: &Lease, seen: &Seen) -> Next {
    match seen.consent {
        ConsentState::NotNeeded | ConsentState::Given => {}
        ConsentState::NotGiven => return Next::Do(Step::Consent),
        // What the DPU once agreed to stays, as its forwarding does.
        ConsentState::Unknown if lease.attached => {}
        ConsentState::Unknown => return Next::Wait(Waiting::DpuGone),
    }
    let Some(vf) = &seen.vf else { return Next::Wait(Waiting::VfGone) };
    let configured = vf.settings.is_none_or(|seen| lease.settings.is_met_by(&seen));
    let driver = vf.driver.as_deref();
    let step = match lease.backend {
        BackendKind::Vfio => match driver {
            Some(driver) if driver != VFIO_PCI => Some(Step::Unbind),
            _ if !configured => Some(Step::Configure),
            _ if vf.driver_override.as_deref() != Some(VFIO_PCI) => Some(Step::Override),
            None => Some(Step::Bind),
            Some(_) => None,
        },
        BackendKind::VhostUser => (!configured).then_some(Step::Configure),
        BackendKind::Vdpa => vdpa(lease, vf, configured),
    };
    match step {
        Some(step) => Next::Do(step),
        None if lease.qmp.is_none() => Next::Done,
        None => match seen.plugged {
            Plugged::No => Next::Do(Step::Plug),
            // A VM that was stopped gets its device at its next start, from its arguments.
            Plugged::NoVm if !lease.attached => Next::Wait(Waiting::NoVm),
            Plugged::NoVm | Plugged::Yes => Next::Done,
        },
    }
}

/// A vDPA device is its network driver's, which learns the VF's address when it takes the VF.
fn vdpa(lease: &Lease, vf: &SeenVf, configured: bool) -> Option<Step> {
    match vf.vdpa {
        Some(mac) if mac != lease.settings.mac => return Some(Step::DeleteVdpa),
        Some(_) => return (!configured).then_some(Step::Configure),
        None => {}
    }
    match vf.driver.as_deref() {
        Some(VFIO_PCI) => Some(Step::Unbind),
        Some(_) if !configured => Some(Step::Unbind),
        _ if !configured => Some(Step::Configure),
        _ if vf.driver_override.is_some() => Some(Step::ClearOverride),
        None => Some(Step::Return),
        Some(_) => Some(Step::CreateVdpa),
    }
}

fn release(lease: &Lease, seen: &Seen) -> Next {
    if lease.qmp.is_some() && seen.plugged == Plugged::Yes {
        return Next::Do(Step::Unplug);
    }
    if let Some(vf) = &seen.vf {
        let undone = vf.settings.is_none_or(|seen| lease.settings.is_undone_in(&seen));
        let functional = lease.backend != BackendKind::VhostUser;
        let ours = vf.driver_override.as_deref() == Some(VFIO_PCI);
        let driver = vf.driver.as_deref();
        if vf.in_use {
            return Next::Wait(Waiting::InUse);
        }
        if vf.vdpa.is_some() {
            return Next::Do(Step::DeleteVdpa);
        }
        if functional && (driver == Some(VFIO_PCI) || driver.is_some() && !undone) {
            return Next::Do(Step::Unbind);
        }
        if functional && ours {
            return Next::Do(Step::ClearOverride);
        }
        if !undone {
            return Next::Do(Step::Reset);
        }
        if functional && driver.is_none() && vf.returnable {
            return Next::Do(Step::Return);
        }
    }
    match seen.consent {
        ConsentState::Given => Next::Do(Step::Withdraw),
        // The DPU would not let another VM have it.
        ConsentState::Unknown => Next::Wait(Waiting::DpuGone),
        ConsentState::NotNeeded | ConsentState::NotGiven => Next::Done,
    }
}
