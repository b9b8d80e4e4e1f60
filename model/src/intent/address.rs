//! Facts about addresses and prefixes that several objects need.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum AddressFamily {
    V4,
    V6,
}

impl fmt::Display for AddressFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 }
}

/// The gateway of a subnet's prefix: its first host address.
#[must_use]
pub fn gateway_of(cidr: IpNet) -> IpAddr {
    match cidr {
        IpNet::V4(cidr) => Ipv4Addr::from_bits(cidr.network().to_bits().saturating_add(1)).into(),
        IpNet::V6(cidr) => Ipv6Addr::from_bits(cidr.network().to_bits().saturating_add(1)).into(),
    }
}

/// What an address is when no host of a network can be reached by it.
pub(super) fn unusable(address: IpAddr) -> Option<&'static str> {
    let kinds = match address {
        IpAddr::V4(a) => [
            (a.octets()[0] == 0, "an address of \"this network\" (0.0.0.0/8)"),
            (a.is_loopback(), "a loopback address"),
            (a.is_multicast(), "a multicast address"),
            (a.is_broadcast(), "the broadcast address"),
        ],
        IpAddr::V6(a) => [
            (a.is_unspecified() || a.is_loopback(), "the unspecified or the loopback address"),
            (a.is_multicast(), "a multicast address"),
            (a.is_unicast_link_local(), "a link-local address"),
            (a.to_ipv4_mapped().is_some(), "an IPv4-mapped address"),
        ],
    };
    kinds.into_iter().find(|(is, _)| *is).map(|(_, what)| what)
}

/// Prefixes, for finding the one that an address is in.
pub(super) struct PrefixSet {
    /// Sorted; none within another.
    outermost: Vec<IpNet>,
}

impl FromIterator<IpNet> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let mut sorted: Vec<IpNet> = prefixes.into_iter().collect();
        sorted.sort_by_key(|prefix| (prefix.network(), prefix.prefix_len()));
        let mut outermost: Vec<IpNet> = Vec::with_capacity(sorted.len());
        for prefix in sorted {
            if !outermost.last().is_some_and(|last| last.contains(&prefix)) {
                outermost.push(prefix);
            }
        }
        Self { outermost }
    }
}

impl PrefixSet {
    /// The outermost prefix around an address.
    pub(super) fn around(&self, address: IpAddr) -> Option<IpNet> {
        let after = self.outermost.partition_point(|prefix| prefix.network() <= address);
        let candidate = *self.outermost.get(after.checked_sub(1)?)?;
        candidate.contains(&address).then_some(candidate)
    }

    /// Whether a prefix is within one of these.
    pub(super) fn covers(&self, prefix: IpNet) -> bool {
        self.around(prefix.network()).is_some_and(|around| around.contains(&prefix))
    }
}

impl fmt::Display for PrefixSet {
    /// The first few, in order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 4;
        let mut separator = "";
        for prefix in self.outermost.iter().take(MOST) {
            write!(f, "{separator}{prefix}")?;
            separator = ", ";
        }
        if self.outermost.len() > MOST { f.write_str(", …") } else { Ok(()) }
    }
}
