//! Which VF belongs to which VM, and what was promised about it.

mod store;

use std::fmt;
use std::path::PathBuf;

use packet::Mac;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use store::{LeaseStore, StoreError};
pub use trust::vm::{NameError, VmInterface, VmName};

use crate::backend::BackendKind;
use crate::device::VfId;
use crate::sysfs::PciAddress;

/// Numbers leases; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseNumber(pub u64);

/// What a lease is for: an interface of a VM.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LeaseKey {
    /// The VM.
    pub vm: VmName,
    /// Its interface.
    pub interface: VmInterface,
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vm, self.interface)
    }
}

/// A VLAN that a card puts on and takes off, so that the VM does not see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

/// A number that is no VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("VLAN {0} is outside 1..=4094")]
pub struct VlanError(u16);

impl TryFrom<u16> for VlanId {
    type Error = VlanError;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        if (1..=4094).contains(&number) { Ok(Self(number)) } else { Err(VlanError(number)) }
    }
}

impl From<VlanId> for u16 {
    fn from(vlan: VlanId) -> Self {
        vlan.0
    }
}

/// The link as a VF sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkState {
    /// The port's.
    #[default]
    Auto,
    /// Up, so that VFs of a port reach each other without a cable.
    Enable,
    /// Down.
    Disable,
}

/// What the PF keeps of a VF. What is absent is left as the driver has it: not every driver knows all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VfSettings {
    /// The VM's address.
    pub mac: Mac,
    /// VLAN the VM does not see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// Whether the VM may change what is filtered, as its address or promiscuous mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<bool>,
    /// Whether frames of other addresses are dropped on their way from the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoof_check: Option<bool>,
    /// Most Mbit/s from the VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<u32>,
    /// The link as the VM sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
}

impl VfSettings {
    /// Whether a VF that has `seen` has all that is wanted here.
    #[must_use]
    pub fn is_met_by(&self, seen: &SeenSettings) -> bool {
        fn met<T: PartialEq>(wanted: Option<T>, seen: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == *seen)
        }
        self.mac == seen.mac
            && self.vlan.is_none_or(|vlan| Some(vlan) == seen.vlan)
            && met(self.trust, &seen.trust)
            && met(self.spoof_check, &seen.spoof_check)
            && met(self.max_rate, &seen.max_rate)
            && met(self.link, &seen.link)
    }

    /// Whether nothing of this is left in a VF that has `seen`.
    #[must_use]
    pub fn is_undone_in(&self, seen: &SeenSettings) -> bool {
        let plain = SeenSettings::default();
        self.mac != seen.mac
            && (self.vlan.is_none() || seen.vlan == plain.vlan)
            && (self.trust.is_none() || seen.trust == plain.trust)
            && (self.spoof_check.is_none() || seen.spoof_check == plain.spoof_check)
            && (self.max_rate.is_none() || seen.max_rate == plain.max_rate)
            && (self.link.is_none() || seen.link == plain.link)
    }
}

/// What a PF says of a VF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenSettings {
    /// Its address; zeros when it has none.
    pub mac: Mac,
    /// Its VLAN.
    pub vlan: Option<VlanId>,
    /// Whether it is trusted.
    pub trust: bool,
    /// Whether its frames' sources are checked.
    pub spoof_check: bool,
    /// Most Mbit/s; 0: no limit.
    pub max_rate: u32,
    /// Its link.
    pub link: LinkState,
}

impl Default for SeenSettings {
    /// A VF that belongs to nobody.
    fn default() -> Self {
        Self {
            mac: Mac::default(),
            vlan: None,
            trust: false,
            spoof_check: true,
            max_rate: 0,
            link: LinkState::Auto,
        }
    }
}

/// What is to become of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// The VM has the VF.
    Attached,
    /// The VF is as before, and the lease is gone.
    Released,
}

/// A VF that belongs to a VM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lease {
    /// Its number.
    pub number: LeaseNumber,
    /// The VM.
    pub vm: VmName,
    /// The VM's interface.
    pub interface: VmInterface,
    /// The VF.
    pub vf: VfId,
    /// How the VM gets it.
    pub backend: BackendKind,
    /// What the PF is told about it.
    pub settings: VfSettings,
    /// The VM's GPUs.
    #[serde(default)]
    pub gpus: Vec<PciAddress>,
    /// The QMP socket of a VM that gets it while running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
    /// What QEMU calls the port that takes it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<VmName>,
    /// The driver that had the VF before, and gets it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_before: Option<String>,
    /// What is to become of it.
    pub goal: Goal,
    /// Whether it once was attached completely, and the caller knows.
    pub attached: bool,
}

impl Lease {
    /// What it is for.
    #[must_use]
    pub fn key(&self) -> LeaseKey {
        LeaseKey { vm: self.vm.clone(), interface: self.interface.clone() }
    }

    /// What QEMU calls the device.
    #[must_use]
    pub fn device_id(&self) -> String {
        format!("penstock-{}", self.number.0)
    }
}
