//! Ranges and prefixes as the contract's tables match them.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv6Net};

/// Where IPv4 addresses stand among those of IPv6.
const IPV4_MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
const IPV4_MAPPED_LENGTH: u8 = 96;

/// What matches the addresses of a prefix and no others. IPv4 addresses are written as IPv6 ones, and an IPv6 prefix does
/// not hold them: one around them becomes those beside the way to them.
pub fn address_prefixes(prefix: IpNet) -> Vec<IpNet> {
    match prefix {
        IpNet::V6(prefix)
            if prefix.prefix_len() <= IPV4_MAPPED_LENGTH && prefix.contains(&IPV4_MAPPED) =>
        {
            (prefix.prefix_len()..IPV4_MAPPED_LENGTH)
                .map(|shared| {
                    let other = IPV4_MAPPED.to_bits() ^ 1 << (127 - shared);
                    let other = Ipv6Net::new(other.into(), shared + 1);
                    IpNet::V6(other.expect("at most 96 bits").trunc())
                })
                .collect()
        }
        prefix => vec![prefix],
    }
}

/// Value and mask of the fewest aligned blocks that make up a range of ports.
pub fn port_prefixes(ports: RangeInclusive<u16>) -> impl Iterator<Item = (u16, u16)> {
    let (mut next, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
    std::iter::from_fn(move || {
        if next > last {
            return None;
        }
        let aligned = next.trailing_zeros().min(16);
        let bits = (0..=aligned).rev().find(|bits| next + (1 << bits) - 1 <= last)?;
        let block = (next as u16, !((1_u32 << bits) - 1) as u16);
        next += 1 << bits;
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_its_blocks_and_nothing_else() {
        for range in [0..=0, 0..=65535, 1..=65535, 80..=80, 1000..=1999, 65535..=65535, 3..=12] {
            let blocks: Vec<_> = port_prefixes(range.clone()).collect();
            for port in 0..=u16::MAX {
                let inside = blocks.iter().filter(|(value, mask)| port & mask == *value).count();
                assert_eq!(inside, usize::from(range.contains(&port)), "{port} of {range:?}");
            }
        }
        assert_eq!(port_prefixes(0..=65535).count(), 1);
        assert_eq!(port_prefixes(1..=65534).count(), 30);
    }

    #[test]
    fn ipv6_prefixes_do_not_hold_ipv4_addresses() {
        let all = address_prefixes("::/0".parse().expect("a prefix"));
        let holding = |address: &str| {
            let address: Ipv6Addr = address.parse().expect("an address");
            all.iter().filter(|prefix| prefix.contains(&std::net::IpAddr::V6(address))).count()
        };
        for address in ["::", "::1", "::fffe:ffff:ffff", "::1:0:0:0", "fd00::1", "ff02::1"] {
            assert_eq!(holding(address), 1, "{address}");
        }
        for address in ["::ffff:0.0.0.0", "::ffff:10.0.0.1", "::ffff:255.255.255.255"] {
            assert_eq!(holding(address), 0, "{address}");
        }
        for prefix in ["0.0.0.0/0", "10.0.0.0/8", "fd00::/8", "::1/128"] {
            let prefix = prefix.parse().expect("a prefix");
            assert_eq!(address_prefixes(prefix), [prefix]);
        }
    }
}
