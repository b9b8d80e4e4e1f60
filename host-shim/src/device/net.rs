//! Network interfaces, and which of them represent VFs.

use packet::Mac;
use serde::{Deserialize, Serialize};

use super::{InterfaceName, VfNumber};
use crate::sysfs::{Sysfs, SysfsError};

const IFF_UP: u32 = 1;

/// A network interface of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetDevice {
    /// What the host calls it.
    pub name: InterfaceName,
    /// Its address.
    pub mac: Option<Mac>,
    /// Whether the host has switched it on.
    pub up: bool,
    /// Whether it has a link; none while it is off.
    pub carrier: Option<bool>,
    /// Mbit/s, where it has a link.
    pub speed: Option<u32>,
    /// Longest IP packet.
    pub mtu: Option<u32>,
    /// Which port of its card's switch it is, as in `p0` or `pf0vf3`.
    pub port: Option<String>,
    /// Its card's switch.
    pub switch: Option<String>,
}

impl NetDevice {
    /// Reads an interface; none when there is none (any more) of this name.
    ///
    /// # Errors
    /// When sysfs has what no kernel writes, or cannot be read.
    pub fn read(sysfs: &Sysfs, name: &str) -> Result<Option<Self>, SysfsError> {
        let at = |attribute: &str| format!("class/net/{name}/{attribute}");
        let Ok(parsed) = name.parse() else { return Ok(None) };
        let flags = sysfs.hexadecimal(&at("flags"))?;
        let Some(flags) = flags else { return Ok(None) };
        Ok(Some(Self {
            name: parsed,
            // Interfaces that are not Ethernet have longer addresses.
            mac: sysfs.text(&at("address"))?.and_then(|text| text.parse().ok()),
            up: flags & IFF_UP != 0,
            carrier: sysfs.number::<u8>(&at("carrier"))?.map(|carrier| carrier != 0),
            speed: sysfs
                .number::<i64>(&at("speed"))?
                .and_then(|speed| u32::try_from(speed).ok())
                .filter(|speed| *speed != u32::MAX),
            mtu: sysfs.number(&at("mtu"))?,
            port: sysfs.text(&at("phys_port_name"))?.filter(|text| !text.is_empty()),
            switch: sysfs.text(&at("phys_switch_id"))?.filter(|text| !text.is_empty()),
        }))
    }

    /// The first interface of a device, which is its own: representors come after it.
    pub(super) fn of_device(sysfs: &Sysfs, directory: &str) -> Result<Option<Self>, SysfsError> {
        let names = sysfs.names(&format!("{directory}/net"))?;
        let mut found = None;
        for name in names {
            let Some(device) = Self::read(sysfs, &name)? else { continue };
            // Representors of VFs are interfaces of the PF's device, too.
            if device.port.as_deref().and_then(represented).is_none() {
                found.get_or_insert(device);
            }
        }
        Ok(found)
    }
}

/// An interface that stands for a VF: what it sends, the VF receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Representor {
    /// The interface.
    pub net: NetDevice,
    /// The number of the PF in its card.
    pub pf: u16,
    /// The number of the VF in the PF.
    pub vf: VfNumber,
}

impl Representor {
    /// All there are.
    ///
    /// # Errors
    /// When sysfs has what no kernel writes, or cannot be read.
    pub fn all(sysfs: &Sysfs) -> Result<Vec<Self>, SysfsError> {
        let mut all = Vec::new();
        for name in sysfs.names("class/net")? {
            let Some(net) = NetDevice::read(sysfs, &name)? else { continue };
            if let Some((pf, vf)) = net.port.as_deref().and_then(represented) {
                all.push(Self { net, pf, vf });
            }
        }
        Ok(all)
    }
}

/// PF and VF of a port's name: `pf0vf3`, or `c1pf0vf3` for those of another host.
fn represented(port: &str) -> Option<(u16, VfNumber)> {
    let port = match port.strip_prefix('c') {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => port,
    };
    let (pf, vf) = port.strip_prefix("pf")?.split_once("vf")?;
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((number(pf)?, VfNumber(number(vf)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ports() {
        assert_eq!(represented("pf0vf3"), Some((0, VfNumber(3))));
        assert_eq!(represented("c1pf1vf12"), Some((1, VfNumber(12))));
        for other in ["p0", "pf0", "pf0sf1", "pf0vf", "pfvf1", "c1pf", "pf0vf+1", "pf0vf70000", ""]
        {
            assert_eq!(represented(other), None, "{other}");
        }
    }
}
