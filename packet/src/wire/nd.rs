//! Neighbour discovery for `IPv6` (RFC 4861): messages and options.

use std::net::Ipv6Addr;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::icmp::Icmp;
use crate::{Mac, ParseError};

/// Router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Neighbour advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Redirect.
pub const REDIRECT: u8 = 137;

/// Hop limit of every message of neighbour discovery: proof that no router forwarded it (RFC 4861, section 3.1).
pub const HOP_LIMIT: u8 = 255;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Option: link-layer address of the sender.
pub const SOURCE_LINK_LAYER: u8 = 1;
/// Option: link-layer address of the target.
pub const TARGET_LINK_LAYER: u8 = 2;
/// Option: a prefix of the link, [`PrefixInformation`].
pub const PREFIX_INFORMATION: u8 = 3;
/// Option: the link's MTU, [`Mtu`].
pub const MTU: u8 = 5;
/// Option: recursive DNS servers (RFC 8106), [`Rdnss`].
pub const RDNSS: u8 = 25;

/// The solicited-node multicast address of `address` (RFC 4291, section 2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

/// The MAC of an `IPv6` multicast group (RFC 2464, section 7).
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// A neighbour solicitation or advertisement, 24 bytes before its options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Neighbor {
    /// Type, code, checksum.
    pub icmp: Icmp,
    /// Flags of an advertisement: [`Self::ROUTER`], [`Self::SOLICITED`], [`Self::OVERRIDE`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// The address that is asked for or told of.
    pub target: [u8; 16],
}

impl Neighbor {
    /// Length in bytes, without options.
    pub const LENGTH: usize = size_of::<Self>();
    /// The sender is a router.
    pub const ROUTER: u8 = 0x80;
    /// The advertisement answers a solicitation.
    pub const SOLICITED: u8 = 0x40;
    /// The advertisement overrides what was known before.
    pub const OVERRIDE: u8 = 0x20;

    /// The address that is asked for or told of.
    #[must_use]
    pub fn target(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.target)
    }
}

/// A router solicitation, 8 bytes before its options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RouterSolicitation {
    /// Type, code, checksum.
    pub icmp: Icmp,
    /// Zero.
    pub reserved: U32,
}

impl RouterSolicitation {
    /// Length in bytes, without options.
    pub const LENGTH: usize = size_of::<Self>();
}

/// A router advertisement, 16 bytes before its options.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RouterAdvertisement {
    /// Type, code, checksum.
    pub icmp: Icmp,
    /// Hop limit hosts should use; 0: unspecified.
    pub hop_limit: u8,
    /// [`Self::MANAGED`], [`Self::OTHER`].
    pub flags: u8,
    /// How long the sender is a default router, seconds; 0: it is none.
    pub router_lifetime: U16,
    /// Milliseconds a neighbour counts as reachable; 0: unspecified.
    pub reachable_time: U32,
    /// Milliseconds between solicitations; 0: unspecified.
    pub retransmit_timer: U32,
}

impl RouterAdvertisement {
    /// Length in bytes, without options.
    pub const LENGTH: usize = size_of::<Self>();
    /// Addresses are to be had by `DHCPv6`.
    pub const MANAGED: u8 = 0x80;
    /// Other settings are to be had by `DHCPv6`.
    pub const OTHER: u8 = 0x40;
}

/// The option [`SOURCE_LINK_LAYER`] or [`TARGET_LINK_LAYER`] on Ethernet, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LinkLayer {
    /// Option type.
    pub kind: u8,
    /// Length in units of 8 bytes: 1.
    pub length: u8,
    /// The address.
    pub mac: Mac,
}

impl LinkLayer {
    /// An option of type `kind`.
    #[must_use]
    pub const fn new(kind: u8, mac: Mac) -> Self {
        Self { kind, length: 1, mac }
    }
}

/// The option [`MTU`], 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Mtu {
    /// Option type.
    pub kind: u8,
    /// Length in units of 8 bytes: 1.
    pub length: u8,
    /// Zero.
    pub reserved: U16,
    /// Longest IP packet of the link, bytes.
    pub mtu: U32,
}

impl Mtu {
    /// The option for an MTU in bytes.
    #[must_use]
    pub fn new(mtu: u16) -> Self {
        Self { kind: MTU, length: 1, reserved: U16::ZERO, mtu: U32::new(u32::from(mtu)) }
    }
}

/// The option [`PREFIX_INFORMATION`], 32 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PrefixInformation {
    /// Option type.
    pub kind: u8,
    /// Length in units of 8 bytes: 4.
    pub length: u8,
    /// Bits of [`Self::prefix`] that count.
    pub prefix_length: u8,
    /// [`Self::ON_LINK`], [`Self::AUTONOMOUS`].
    pub flags: u8,
    /// How long the prefix is on the link, seconds; all ones: for ever.
    pub valid_lifetime: U32,
    /// How long addresses made from the prefix are preferred, seconds.
    pub preferred_lifetime: U32,
    /// Zero.
    pub reserved: U32,
    /// The prefix, host bits zero.
    pub prefix: [u8; 16],
}

impl PrefixInformation {
    /// Addresses of the prefix are reached without a router.
    pub const ON_LINK: u8 = 0x80;
    /// Hosts may make themselves addresses of the prefix.
    pub const AUTONOMOUS: u8 = 0x40;
}

/// The option [`RDNSS`], 8 bytes before its addresses of 16 bytes each.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rdnss {
    /// Option type.
    pub kind: u8,
    /// Length in units of 8 bytes: 1 + 2 for each address.
    pub length: u8,
    /// Zero.
    pub reserved: U16,
    /// How long the servers may be used, seconds.
    pub lifetime: U32,
}

/// The options after the fixed part of a message: type, and the bytes after type and length.
///
/// Ends after the first malformed option, which it yields as an error (RFC 4861, section 4.6: a length of 0 makes the
/// whole message void).
#[derive(Clone, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// The options in these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The MAC in the first option of type `kind` ([`SOURCE_LINK_LAYER`] or [`TARGET_LINK_LAYER`]), if there is one.
    ///
    /// # Errors
    /// [`ParseError::Malformed`] when any of the options is malformed.
    pub fn link_layer(self, kind: u8) -> Result<Option<Mac>, ParseError> {
        let mut found = None;
        for option in self {
            if let (option_kind, [a, b, c, d, e, f]) = option?
                && option_kind == kind
                && found.is_none()
            {
                found = Some(Mac([*a, *b, *c, *d, *e, *f]));
            }
        }
        Ok(found)
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u8, &'a [u8]), ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        let option = match rest {
            [] => return None,
            [kind, length, ..] if *length > 0 => {
                rest.split_at_checked(usize::from(*length) * 8).and_then(|(option, after)| {
                    self.0 = after;
                    Some((*kind, option.get(2..)?))
                })
            }
            _ => None,
        };
        Some(option.ok_or(ParseError::Malformed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multicast_addresses_follow_the_last_bytes() {
        let address: Ipv6Addr = "2001:db8::1:800:200e:8c6c".parse().unwrap();
        let group = solicited_node(address);
        assert_eq!(group, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert_eq!(multicast_mac(group), Mac([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }

    #[test]
    fn options_are_read_until_the_first_bad_one() {
        let bytes = [1, 1, 2, 0, 0, 0, 0, 9, 5, 1, 0, 0, 0, 0, 5, 220, 7, 0, 1, 1];
        let options: Vec<_> = Options::new(&bytes).collect();
        assert_eq!(
            options,
            [
                Ok((1, &[2, 0, 0, 0, 0, 9][..])),
                Ok((5, &[0, 0, 0, 0, 5, 220][..])),
                Err(ParseError::Malformed)
            ]
        );
        let good = Options::new(&bytes[..16]);
        assert_eq!(good.link_layer(SOURCE_LINK_LAYER), Ok(Some(Mac([2, 0, 0, 0, 0, 9]))));
        assert_eq!(Options::new(&bytes).link_layer(1), Err(ParseError::Malformed));
        assert!(Options::new(&[1, 2, 0, 0, 0, 0, 0, 0]).link_layer(1).is_err());
    }
}
