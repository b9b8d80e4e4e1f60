//! Which addresses are a subnet's gateway.

use std::net::{Ipv4Addr, Ipv6Addr};

use model::snapshot::Subnet;

/// The gateway of every subnet with IPv6, besides the first host address of each prefix.
pub(super) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

pub(super) fn is_v4(subnet: &Subnet, address: Ipv4Addr) -> bool {
    subnet.v4.iter().any(|(_, gateway)| *gateway == address)
}

pub(super) fn is_v6(subnet: &Subnet, address: Ipv6Addr) -> bool {
    !subnet.v6.is_empty()
        && (address == LINK_LOCAL || subnet.v6.iter().any(|(_, gateway)| *gateway == address))
}
