//! Cards' physical functions, and their VFs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use packet::Mac;
use serde::{Deserialize, Serialize};

use super::config_space::ConfigSpace;
use super::function::PciFunction;
use super::{CardSerial, NetDevice, VfId, VfNumber, vpd};
use crate::sysfs::{PciAddress, Sysfs, SysfsError};

/// Where a PF is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PfDevice {
    /// On the PCI buses.
    Pci(PciAddress),
    /// The kernel's simulated device.
    Netdevsim(String),
    /// A NIC in software, which has sockets instead of functions; what the configuration calls it.
    Software(String),
}

impl fmt::Display for PfDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => address.fmt(f),
            Self::Netdevsim(name) | Self::Software(name) => f.write_str(name),
        }
    }
}

/// A physical function of a NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhysicalFunction {
    /// Where it is.
    pub device: PfDevice,
    /// The card, where it says its serial number.
    pub card: Option<CardSerial>,
    /// Its address.
    pub mac: Option<Mac>,
    /// Its interface.
    pub net: Option<NetDevice>,
    /// How many VFs it can have.
    pub total_vfs: u16,
    /// The VFs it has.
    pub vfs: Vec<VirtualFunction>,
}

/// A virtual function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualFunction {
    /// What host and DPU call it; none when its PF has no address.
    pub id: Option<VfId>,
    /// Its number in its PF.
    pub number: VfNumber,
    /// Where it is on the PCI buses, if it is.
    pub address: Option<PciAddress>,
    /// Its interface, while a network driver has it.
    pub net: Option<NetDevice>,
    /// Its vhost-user socket, if its NIC is software.
    pub vhost_user: Option<PathBuf>,
}

/// A NIC in software, as the configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SoftwareCard {
    /// What messages call it.
    pub name: String,
    /// Its serial number, on which host and DPU agree.
    pub serial: CardSerial,
    /// The address of its PF, on which they agree, too.
    pub pf_mac: Mac,
    /// The vhost-user socket of each VF: `vf0 = "/run/penstock/vf0.sock"`.
    pub sockets: BTreeMap<String, PathBuf>,
}

impl PhysicalFunction {
    /// The VFs' names come from their number and what their PF is.
    fn id(&self, vf: VfNumber) -> Option<VfId> {
        Some(VfId { card: self.card.clone(), pf: self.mac?, vf })
    }

    /// Reads a PF on the PCI buses; none when it is no PF of a NIC. What cannot be believed of it is said in `notes`.
    pub(super) fn on_pci(
        sysfs: &Sysfs,
        function: &PciFunction,
        notes: &mut Vec<String>,
    ) -> Result<Self, SysfsError> {
        let directory = PciFunction::directory(function.address);
        let net = NetDevice::of_device(sysfs, &directory)?;
        let mut physical = Self {
            device: PfDevice::Pci(function.address),
            card: serial(sysfs, &directory, notes)?,
            mac: net.as_ref().and_then(|net| net.mac),
            net,
            total_vfs: sysfs.number(&format!("{directory}/sriov_totalvfs"))?.unwrap_or(0),
            vfs: Vec::new(),
        };
        for name in sysfs.names(&directory)? {
            let Some(number) = name.strip_prefix("virtfn").and_then(|n| n.parse().ok()) else {
                continue;
            };
            let number = VfNumber(number);
            let Some(address) = sysfs.link_name(&format!("{directory}/{name}"))? else { continue };
            let address: Option<PciAddress> = address.parse().ok();
            let net = match address {
                Some(address) => NetDevice::of_device(sysfs, &PciFunction::directory(address))?,
                None => None,
            };
            let id = physical.id(number);
            physical.vfs.push(VirtualFunction { id, number, address, net, vhost_user: None });
        }
        physical.vfs.sort_by_key(|vf| vf.number);
        Ok(physical)
    }

    /// Reads one of the kernel's simulated devices, whose VFs are only in their PF's mind.
    pub(super) fn simulated(sysfs: &Sysfs, name: &str) -> Result<Self, SysfsError> {
        let directory = format!("bus/netdevsim/devices/{name}");
        let net = NetDevice::of_device(sysfs, &directory)?;
        let vfs: u16 = sysfs.number(&format!("{directory}/sriov_numvfs"))?.unwrap_or(0);
        let mut physical = Self {
            device: PfDevice::Netdevsim(name.to_owned()),
            card: None,
            mac: net.as_ref().and_then(|net| net.mac),
            net,
            total_vfs: sysfs.number(&format!("{directory}/sriov_totalvfs"))?.unwrap_or(vfs),
            vfs: Vec::new(),
        };
        physical.vfs = (0..vfs)
            .map(|number| VirtualFunction {
                id: physical.id(VfNumber(number)),
                number: VfNumber(number),
                address: None,
                net: None,
                vhost_user: None,
            })
            .collect();
        Ok(physical)
    }

    /// The PF of a NIC in software.
    pub(super) fn software(card: &SoftwareCard, notes: &mut Vec<String>) -> Self {
        let mut physical = Self {
            device: PfDevice::Software(card.name.clone()),
            card: Some(card.serial.clone()),
            mac: Some(card.pf_mac),
            net: None,
            total_vfs: card.sockets.len() as u16,
            vfs: Vec::new(),
        };
        for (name, socket) in &card.sockets {
            match name.parse::<VfNumber>() {
                Ok(number) => physical.vfs.push(VirtualFunction {
                    id: physical.id(number),
                    number,
                    address: None,
                    net: None,
                    vhost_user: Some(socket.clone()),
                }),
                Err(error) => notes.push(format!("{}: {error}", card.name)),
            }
        }
        physical.vfs.sort_by_key(|vf| vf.number);
        physical
    }
}

/// A card's serial number: from its VPD, else the capability.
fn serial(
    sysfs: &Sysfs,
    directory: &str,
    notes: &mut Vec<String>,
) -> Result<Option<CardSerial>, SysfsError> {
    let path = format!("{directory}/vpd");
    match sysfs.bytes(&path) {
        Ok(Some(bytes)) if !bytes.is_empty() => match vpd::parse(&bytes) {
            Ok(vpd) => {
                if let Some(serial) = vpd.serial_number {
                    match serial.parse() {
                        Ok(serial) => return Ok(Some(serial)),
                        Err(error) => notes.push(format!("{path}: {error}")),
                    }
                }
            }
            Err(error) => notes.push(format!("{path}: {error}")),
        },
        Ok(_) => {}
        // A card whose firmware does not answer must not hide all the others.
        Err(error) => notes.push(error.to_string()),
    }
    let config = sysfs.bytes(&format!("{directory}/config"))?.unwrap_or_default();
    let number = ConfigSpace::new(&config).device_serial_number();
    Ok(number.and_then(|number| number.parse().ok()))
}
