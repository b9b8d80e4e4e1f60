//! How near two functions are: by what their traffic has to cross.

use serde::{Deserialize, Serialize};

use crate::device::config_space::ExpressKind;
use crate::device::{Inventory, PciFunction};
use crate::sysfs::PciAddress;

/// How near two functions are; the nearest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Distance {
    /// Below the same port of a root complex: their traffic need not leave the switch there.
    SameSwitch,
    /// Through one root complex.
    SameRootComplex,
    /// From one root complex to another at the same NUMA node.
    SameNode,
    /// From one NUMA node to another, or nobody knows.
    Across,
}

impl Distance {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::SameSwitch => "same switch",
            Self::SameRootComplex => "same root complex",
            Self::SameNode => "same node",
            Self::Across => "across",
        }
    }

    /// How near two functions are, and why.
    #[must_use]
    pub fn between(inventory: &Inventory, a: &PciFunction, b: &PciFunction) -> (Self, String) {
        if let Some(port) = last_common(&a.path, &b.path) {
            let what = match inventory.function(port).and_then(|port| port.express) {
                Some(ExpressKind::UpstreamPort | ExpressKind::DownstreamPort) => "switch",
                Some(ExpressKind::RootPort) => "root port",
                _ => "bridge",
            };
            return (Self::SameSwitch, format!("both below {what} {port}"));
        }
        if a.root == b.root {
            return (
                Self::SameRootComplex,
                format!("root complex {}, no switch in common", a.root),
            );
        }
        match (a.numa_node, b.numa_node) {
            (Some(a_node), Some(b_node)) if a_node == b_node => {
                (Self::SameNode, format!("node {a_node}, root complexes {} and {}", a.root, b.root))
            }
            (Some(a_node), Some(b_node)) => (
                Self::Across,
                format!("nodes {a_node} and {b_node}: over the processors' interconnect"),
            ),
            _ => (
                Self::Across,
                format!(
                    "root complexes {} and {}; the firmware does not say at which nodes",
                    a.root, b.root
                ),
            ),
        }
    }
}

/// The last port that both paths have in common.
fn last_common(a: &[PciAddress], b: &[PciAddress]) -> Option<PciAddress> {
    a.iter().zip(b).take_while(|(a, b)| a == b).last().map(|(port, _)| *port)
}
