//! vDPA devices: made from a VF that has its network driver, removed again.

use netlink_packet_core::DefaultNla;
use packet::Mac;

use super::NetlinkError;
use super::generic::{Family, number, text, text_attribute, value};
use crate::sysfs::PciAddress;

const FAMILY: &str = "vdpa";
const NEW: u8 = 3;
const DELETE: u8 = 4;
const GET: u8 = 5;
const CONFIG_GET: u8 = 6;
const MANAGER_BUS: u16 = 1;
const MANAGER: u16 = 2;
const NAME: u16 = 4;
const DEVICE_ID: u16 = 5;
const CONFIG_MAC: u16 = 10;
/// A network device, as virtio numbers them.
const NET: u64 = 1;

/// What the kernel says of a vDPA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VdpaDevice {
    /// What it is called.
    pub name: String,
    /// Its address, when it is a network device.
    pub mac: Option<Mac>,
}

/// Makes the vDPA device of a VF.
///
/// # Errors
/// When the kernel has no vDPA, or the VF's driver cannot do it.
pub fn create(name: &str, vf: PciAddress, mac: Mac) -> Result<(), NetlinkError> {
    let attributes = vec![
        text_attribute(MANAGER_BUS, "pci"),
        text_attribute(MANAGER, &vf.to_string()),
        text_attribute(NAME, name),
        DefaultNla::new(CONFIG_MAC, mac.0.to_vec()),
    ];
    Family::open(FAMILY)?.act(&format!("vDPA device {name} of {vf}"), NEW, attributes)
}

/// Removes a vDPA device.
///
/// # Errors
/// When there is none, or a program has it.
pub fn delete(name: &str) -> Result<(), NetlinkError> {
    Family::open(FAMILY)?.act(
        &format!("vDPA device {name}"),
        DELETE,
        vec![text_attribute(NAME, name)],
    )
}

/// The vDPA device of this name; none where there is none, or the kernel has no vDPA.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn get(name: &str) -> Result<Option<VdpaDevice>, NetlinkError> {
    let mut family = match Family::open(FAMILY) {
        Ok(family) => family,
        Err(NetlinkError::NoFamily(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let ask = || vec![text_attribute(NAME, name)];
    let what = format!("vDPA device {name}");
    let found = match family.get(&what, GET, ask()) {
        Ok(answers) => answers.iter().any(|answer| {
            text(answer, NAME).as_deref() == Some(name) && number(answer, DEVICE_ID) == Some(NET)
        }),
        Err(NetlinkError::Refused { .. }) => false,
        Err(error) => return Err(error),
    };
    if !found {
        return Ok(None);
    }
    let config = family.get(&what, CONFIG_GET, ask())?;
    let mac = config.iter().find_map(|answer| {
        value(answer, CONFIG_MAC).and_then(|bytes| bytes.try_into().ok()).map(Mac)
    });
    Ok(Some(VdpaDevice { name: name.to_owned(), mac }))
}
