//! What keeps a function from being given to a VM alone, or lets it reach others past the IOMMU.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::config_space::Acs;
use crate::device::{FunctionKind, Inventory, PciFunction};
use crate::sysfs::PciAddress;

/// Something that an operator should know before a VM gets a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "warning", deny_unknown_fields)]
pub enum Warning {
    /// Functions of one IOMMU group go to one VM, all of them.
    #[serde(rename_all = "camelCase")]
    SharedGroup {
        /// The group.
        group: u32,
        /// Who is in it, without bridges, which stay the host's.
        members: Vec<PciAddress>,
    },
    /// Functions behind a port can reach each other without the IOMMU.
    #[serde(rename_all = "camelCase")]
    NoIsolation {
        /// The port.
        port: PciAddress,
        /// What there is of Access Control Services.
        acs: Acs,
    },
    /// Without an IOMMU, nothing can be given safely.
    #[serde(rename_all = "camelCase")]
    NoIommu {
        /// The function.
        function: PciAddress,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedGroup { group, members } => {
                let members: Vec<String> = members.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "IOMMU group {group} is shared by {}: one VM gets all of them or none; use slots whose ports have ACS",
                    members.join(", ")
                )
            }
            Self::NoIsolation { port, acs } => {
                let what = match acs {
                    Acs::Missing => "has no ACS",
                    Acs::Incomplete => "has ACS that does not isolate",
                    Acs::Isolating | Acs::Unreadable => {
                        "does not say whether it has ACS (run as root)"
                    }
                };
                write!(
                    f,
                    "port {port} {what}: functions below it may reach each other past the IOMMU; the firmware's setup may have a switch for it"
                )
            }
            Self::NoIommu { function } => write!(
                f,
                "{function} is in no IOMMU group: it cannot be given to a VM by vfio; switch the IOMMU on (firmware, and intel_iommu=on or amd_iommu=on)"
            ),
        }
    }
}

/// What speaks against giving a function to a VM.
#[must_use]
pub fn warnings_of(inventory: &Inventory, function: &PciFunction) -> Vec<Warning> {
    let mut warnings = Vec::new();
    match function.iommu_group {
        None => warnings.push(Warning::NoIommu { function: function.address }),
        Some(group) => {
            let members: Vec<PciAddress> = inventory
                .group(group)
                .filter(|member| member.kind != FunctionKind::Bridge)
                .map(|member| member.address)
                .collect();
            if members.len() > 1 {
                warnings.push(Warning::SharedGroup { group, members });
            }
        }
    }
    for port in function.path.iter().filter_map(|port| inventory.function(*port)) {
        // A switch's port towards the root has no peers.
        let peers = port.express != Some(crate::device::config_space::ExpressKind::UpstreamPort);
        if let Some(acs) = port.acs.filter(|acs| peers && *acs != Acs::Isolating) {
            warnings.push(Warning::NoIsolation { port: port.address, acs });
        }
    }
    warnings
}
