//! Which device is probed, and how DPDK is started for it.

use std::path::{Path, PathBuf};

use mlx5_sys::{Identity, IdentityError, identify};
use thiserror::Error;

/// The driver of the simulated NIC, beside this program.
const DRIVER: &str = "libpenstock_eswitch.so";

/// Why no device can be chosen.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// rdma-core cannot say.
    #[error("{0} (to probe the simulated NIC, give --simulated PROFILE)")]
    Unknown(#[from] IdentityError),
    /// There is none.
    #[error(
        "there is no mlx5 device here; run it on the machine with the card, or probe the simulated NIC with --simulated \
         PROFILE"
    )]
    None,
    /// None of this address.
    #[error("there is no mlx5 device at {address}; name one of {known}")]
    NotThere {
        /// The address asked for.
        address: String,
        /// The addresses there are.
        known: String,
    },
    /// Several, and none was named.
    #[error("there are several mlx5 devices; choose one with --pci: {known}")]
    Several {
        /// Their addresses.
        known: String,
    },
    /// The simulated NIC's driver is not there.
    #[error(
        "there is no {0}; build it with `cargo build -p penstock-eswitch`, or name it with --driver"
    )]
    NoDriver(PathBuf),
}

/// What is probed.
#[derive(Debug)]
pub enum Device {
    /// A card.
    Card {
        /// As DPDK's `-a` takes it: PCI address and device arguments.
        argument: String,
        /// Which it is.
        identity: Identity,
    },
    /// The simulated NIC.
    Simulated {
        /// The profile it is to have.
        profile: String,
        /// Its driver.
        driver: PathBuf,
    },
}

impl Device {
    /// The card with this PCI address, which device arguments may follow; without an address the only one there is.
    pub fn card(argument: Option<&str>) -> Result<Self, DeviceError> {
        Self::of(identify()?, argument)
    }

    fn of(devices: Vec<Identity>, argument: Option<&str>) -> Result<Self, DeviceError> {
        let mut cards: Vec<(String, Identity)> = devices
            .into_iter()
            .filter_map(|identity| Some((identity.pci.clone()?, identity)))
            .collect();
        let addresses = cards.iter().map(|(address, _)| address.as_str());
        let known = addresses.collect::<Vec<_>>().join(", ");
        if cards.is_empty() {
            return Err(DeviceError::None);
        }
        let Some(argument) = argument else {
            return match cards.pop() {
                Some((argument, identity)) if cards.is_empty() => {
                    Ok(Self::Card { argument, identity })
                }
                _ => Err(DeviceError::Several { known }),
            };
        };
        let address = argument.split(',').next().unwrap_or_default();
        // The kernel writes the PCI domain, people leave it out where it is 0.
        let is_it = |known: &str| known == address || known.strip_prefix("0000:") == Some(address);
        let card = cards.into_iter().find(|(known, _)| is_it(known));
        let (_, identity) =
            card.ok_or_else(|| DeviceError::NotThere { address: address.to_owned(), known })?;
        Ok(Self::Card { argument: argument.to_owned(), identity })
    }

    /// The simulated NIC with this profile; its driver is beside this program if it is not named.
    pub fn simulated(profile: &str, driver: Option<&Path>) -> Result<Self, DeviceError> {
        let beside = || {
            let program = std::env::current_exe().unwrap_or_default();
            program.with_file_name(DRIVER)
        };
        let driver = driver.map_or_else(beside, Path::to_owned);
        if !driver.is_file() {
            return Err(DeviceError::NoDriver(driver));
        }
        Ok(Self::Simulated { profile: profile.to_owned(), driver })
    }

    /// DPDK's arguments.
    pub fn eal_arguments(&self, more: &[String]) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |list: &[&str]| arguments.extend(list.iter().map(ToString::to_string));
        add(&["--no-telemetry", "--no-shconf", "--log-level", "lib.eal:warning"]);
        if !more.iter().any(|argument| argument.starts_with("--in-memory")) {
            add(&["--no-huge", "-m", "256"]);
        }
        match self {
            Self::Card { argument, .. } => add(&["-a", argument]),
            Self::Simulated { profile, driver } => add(&[
                "--no-pci",
                "-d",
                &driver.to_string_lossy(),
                "--vdev",
                &format!("net_eswitch0,vfs=1,representor=vf0,profile={profile}"),
            ]),
        }
        arguments.extend(more.iter().cloned());
        arguments
    }

    /// The hardware's name, as profiles have it.
    pub fn hardware(&self) -> String {
        match self {
            Self::Simulated { .. } => "simulated".to_owned(),
            Self::Card { identity, .. } => match identity.part {
                0xa2d2 => "bluefield".to_owned(),
                0xa2d6 => "bluefield2".to_owned(),
                0xa2dc => "bluefield3".to_owned(),
                part => format!("mlx5_{part:04x}"),
            },
        }
    }

    /// Which device it was, a line each.
    pub fn description(&self) -> Vec<String> {
        match self {
            Self::Simulated { profile, .. } => {
                vec![format!("The simulated NIC with the profile {profile}.")]
            }
            Self::Card { argument, identity } => describe(argument, identity),
        }
    }
}

fn describe(argument: &str, identity: &Identity) -> Vec<String> {
    let Identity { name, firmware, vendor, part, revision, flags, .. } = identity;
    let mut lines = vec![
        format!("{name} at {argument}"),
        format!("PCI device {vendor:04x}:{part:04x}, revision {revision:#x}, firmware {firmware}"),
    ];
    lines.extend(flags.map(|flags| format!("mlx5dv's flags {flags:#x}")));
    for port in &identity.switch_ports {
        let part = |name: &str, value: Option<u16>| {
            value.map_or_else(String::new, |value| format!(", {name} {value:#x}"))
        };
        lines.push(format!(
            "port {}{}{}{}",
            port.number,
            part("vport", port.vport),
            part("vhca", port.vhca),
            part("eswitch of vhca", port.switch_owner)
        ));
    }
    for interface in &identity.interfaces {
        let role = interface.port.as_ref().map_or_else(String::new, |port| format!(" is {port}"));
        let switch = interface.switch.as_ref().map(|switch| format!(" of switch {switch}"));
        lines.push(format!("interface {}{role}{}", interface.name, switch.unwrap_or_default()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(pci: &str) -> Identity {
        Identity {
            name: "mlx5_0".into(),
            pci: Some(pci.into()),
            firmware: "32.39.1002".into(),
            vendor: 0x15b3,
            part: 0xa2dc,
            revision: 1,
            flags: Some(1),
            switch_ports: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    #[test]
    fn the_device_is_the_one_that_is_named_or_the_only_one() {
        let two = || vec![card("0000:03:00.0"), card("0000:03:00.1")];
        let chosen =
            |devices: Vec<Identity>, argument: Option<&str>| match Device::of(devices, argument) {
                Ok(Device::Card { argument, identity }) => format!("{argument} {:?}", identity.pci),
                Ok(other) => format!("{other:?}"),
                Err(error) => error.to_string(),
            };
        assert_eq!(chosen(vec![card("0000:03:00.0")], None), "0000:03:00.0 Some(\"0000:03:00.0\")");
        assert_eq!(
            chosen(two(), Some("03:00.1,dv_flow_en=2")),
            "03:00.1,dv_flow_en=2 Some(\"0000:03:00.1\")"
        );
        let several = chosen(two(), None);
        assert!(several.contains("--pci: 0000:03:00.0, 0000:03:00.1"), "{several}");
        let missing = chosen(two(), Some("04:00.0"));
        assert!(missing.contains("at 04:00.0; name one of 0000:03:00.0"), "{missing}");
        assert!(chosen(Vec::new(), None).contains("--simulated PROFILE"));
    }

    #[test]
    fn a_card_is_described_with_its_place_in_the_eswitch() {
        let mut identity = card("0000:03:00.0");
        identity.switch_ports.push(mlx5_sys::SwitchPort {
            number: 1,
            vport: Some(0xffff),
            vhca: None,
            switch_owner: Some(2),
        });
        let device = Device::Card { argument: "03:00.0".into(), identity };
        assert_eq!(device.hardware(), "bluefield3");
        assert_eq!(
            device.description()[2..],
            ["mlx5dv's flags 0x1", "port 1, vport 0xffff, eswitch of vhca 0x2"]
        );
    }
}
