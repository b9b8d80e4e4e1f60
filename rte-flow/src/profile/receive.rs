//! What a profile says of the frames that a port takes without a rule and without being promiscuous.

use serde::Deserialize;

/// Multicast that a port takes unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multicast {
    /// Destinations that begin with 01:00:5e.
    Ipv4,
    /// Destinations that begin with 33:33.
    Ipv6,
}

impl Multicast {
    /// Whether it is frames for this Ethernet address.
    #[must_use]
    pub const fn has(self, destination: [u8; 6]) -> bool {
        match self {
            Self::Ipv4 => matches!(destination, [0x01, 0x00, 0x5e, ..]),
            Self::Ipv6 => matches!(destination, [0x33, 0x33, ..]),
        }
    }
}

/// What the VLANs that an application adds to a port's filter do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VlanFilter {
    /// Tagged frames pass when their VLAN was added, untagged ones always.
    #[default]
    Tagged,
    /// As soon as there is one, only frames of those VLANs pass; before, all do.
    Listed,
}

/// What a port takes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiveRules {
    /// Multicast beside what was asked for.
    pub multicast: Vec<Multicast>,
    /// What VLANs do.
    pub vlans: VlanFilter,
}
