//! Which DPDK port is the uplink, and which one is which VF's.

use std::collections::{BTreeMap, BTreeSet};

use dpu_app::datapath::Port;
use model::snapshot::VfIndex;
use thiserror::Error;

use crate::dpdk::{Device, Representation};

/// Why it cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortMapError {
    /// A name for a port that DPDK does not have.
    #[error("[ports.names] {port} = \"{name}\": DPDK has no such port; it has {known}")]
    Unknown {
        /// Which port.
        port: Port,
        /// What it should be.
        name: String,
        /// What there is.
        known: String,
    },
    /// Two ports for one.
    #[error("{a} and {b} are both {port}; say which one in [ports.names]")]
    Ambiguous {
        /// Which port.
        port: Port,
        /// One candidate.
        a: String,
        /// Another one.
        b: String,
    },
    /// One for two.
    #[error("[ports.names] gives \"{0}\" two names; give it one")]
    Twice(String),
    /// No uplink.
    #[error(
        "no port is the uplink; say which one in [ports.names], as `uplink = \"NAME\"`; DPDK has {0}"
    )]
    NoUplink(String),
}

/// Gives the ports their names: what `names` says, then representors by their VF, and as uplink the NIC that they belong
/// to, or the only port there is. Others have no part in the datapath.
///
/// # Errors
/// When a name leads nowhere, or there is no uplink.
pub fn port_map(
    devices: &BTreeMap<u16, Device>,
    names: &BTreeMap<Port, String>,
) -> Result<BTreeMap<Port, Device>, PortMapError> {
    let known = || {
        if devices.is_empty() {
            return "none".to_owned();
        }
        devices.values().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut map: BTreeMap<Port, Device> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (port, name) in names {
        let device = devices.values().find(|device| device.name == *name);
        let device = device.ok_or_else(|| PortMapError::Unknown {
            port: *port,
            name: name.clone(),
            known: known(),
        })?;
        if !taken.insert(device.id) {
            return Err(PortMapError::Twice(name.clone()));
        }
        map.insert(*port, device.clone());
    }
    let rest: Vec<&Device> = devices.values().filter(|d| !taken.contains(&d.id)).collect();
    let mut add = |port: Port, device: &Device| match map.get(&port) {
        Some(_) if names.contains_key(&port) => Ok(()),
        Some(other) => {
            Err(PortMapError::Ambiguous { port, a: other.name.clone(), b: device.name.clone() })
        }
        None => {
            map.insert(port, device.clone());
            Ok(())
        }
    };
    for device in &rest {
        if let Representation::Vf(vf) = device.representation {
            add(Port::Vf(VfIndex(vf)), device)?;
        }
    }
    let is_vf = |device: &Device| matches!(device.representation, Representation::Vf(_));
    let domains: BTreeSet<u16> =
        devices.values().filter(|d| is_vf(d)).filter_map(|d| d.domain).collect();
    let own = rest.iter().filter(|device| device.representation == Representation::Own);
    let in_domain = |device: &&&Device| device.domain.is_some_and(|d| domains.contains(&d));
    let candidates: Vec<_> =
        if domains.is_empty() { own.collect() } else { own.filter(in_domain).collect() };
    for device in candidates {
        add(Port::Uplink, device)?;
    }
    if map.contains_key(&Port::Uplink) { Ok(map) } else { Err(PortMapError::NoUplink(known())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(
        id: u16,
        name: &str,
        representation: Representation,
        domain: Option<u16>,
    ) -> (u16, Device) {
        (id, Device { id, name: name.into(), driver: "d".into(), representation, domain })
    }

    fn names(map: Result<BTreeMap<Port, Device>, PortMapError>) -> Result<String, String> {
        let map = map.map_err(|error| error.to_string())?;
        Ok(map.iter().map(|(p, d)| format!("{p}={}", d.name)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_switchdev_nic_explains_itself() {
        let devices = BTreeMap::from([
            device(0, "nic", Representation::Own, Some(1)),
            device(1, "nic_representor_vf0", Representation::Vf(0), Some(1)),
            device(2, "nic_representor_vf5", Representation::Vf(5), Some(1)),
            device(3, "other", Representation::Own, None),
        ]);
        let map = names(port_map(&devices, &BTreeMap::new()));
        assert_eq!(map.unwrap(), "uplink=nic vf0=nic_representor_vf0 vf5=nic_representor_vf5");
        let swapped = BTreeMap::from([(Port::Uplink, "other".to_owned())]);
        let map = names(port_map(&devices, &swapped));
        assert_eq!(map.unwrap(), "uplink=other vf0=nic_representor_vf0 vf5=nic_representor_vf5");
    }

    #[test]
    fn others_are_named() {
        let devices = BTreeMap::from([
            device(0, "net_pcap0", Representation::Own, None),
            device(1, "net_tap0", Representation::Own, None),
        ]);
        let error = names(port_map(&devices, &BTreeMap::new())).unwrap_err();
        assert_eq!(error, "net_pcap0 and net_tap0 are both uplink; say which one in [ports.names]");
        let both = BTreeMap::from([
            (Port::Uplink, "net_pcap0".to_owned()),
            (Port::Vf(VfIndex(0)), "net_tap0".to_owned()),
        ]);
        assert_eq!(names(port_map(&devices, &both)).unwrap(), "uplink=net_pcap0 vf0=net_tap0");
        let wrong = BTreeMap::from([(Port::Uplink, "net_pcap7".to_owned())]);
        let error = names(port_map(&devices, &wrong)).unwrap_err();
        let kernel = BTreeMap::from([(Port::Kernel, "net_tap0".to_owned())]);
        let map = names(port_map(&devices, &kernel));
        assert_eq!(map.unwrap(), "uplink=net_pcap0 kernel=net_tap0", "the other one is the uplink");
        assert!(error.contains("it has net_pcap0, net_tap0"), "{error}");
        let nothing = names(port_map(&BTreeMap::new(), &BTreeMap::new())).unwrap_err();
        assert!(nothing.contains("DPDK has none"), "{nothing}");
    }
}
