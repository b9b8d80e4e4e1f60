//! Where a rule sits: domain, group, priority.

use serde::{Deserialize, Serialize};

/// Which packets a rule sees, and who may see them first (`struct rte_flow_attr`; exactly one applies).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Domain {
    /// Packets on their way from the eswitch to the application.
    Ingress,
    /// Packets on their way from the application to the eswitch.
    Egress,
    /// Packets inside the eswitch.
    Transfer,
}

impl Domain {
    /// testpmd's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Transfer => "transfer",
        }
    }
}

/// Attributes of a rule or of a template table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// The group; packets enter at group 0, others are reached by JUMP.
    pub group: u32,
    /// 0 is the highest; overlapping rules of equal priority are undefined.
    pub priority: u32,
    /// Which packets.
    pub domain: Domain,
}
