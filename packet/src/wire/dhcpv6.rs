//! DHCP for `IPv6` (RFC 8415): messages and options.

use std::net::Ipv6Addr;

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ParseError;

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 546;
/// UDP port of servers and relays.
pub const SERVER_PORT: u16 = 547;
/// All relay agents and servers of the link.
pub const ALL_RELAYS_AND_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// All servers of the site.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);

/// Message types.
pub mod message {
    /// Client: which servers are there?
    pub const SOLICIT: u8 = 1;
    /// Server: what you could have.
    pub const ADVERTISE: u8 = 2;
    /// Client: I want what you advertised.
    pub const REQUEST: u8 = 3;
    /// Client: are my addresses still right for this link?
    pub const CONFIRM: u8 = 4;
    /// Client: extend the lifetimes, please.
    pub const RENEW: u8 = 5;
    /// Client, to any server: extend the lifetimes, please.
    pub const REBIND: u8 = 6;
    /// Server: the answer to all but a solicitation.
    pub const REPLY: u8 = 7;
    /// Client: I need these addresses no more.
    pub const RELEASE: u8 = 8;
    /// Client: somebody else uses these addresses.
    pub const DECLINE: u8 = 9;
    /// Client: tell me everything but addresses.
    pub const INFORMATION_REQUEST: u8 = 11;
}

/// Option codes.
pub mod option {
    /// The client's DUID.
    pub const CLIENT_IDENTIFIER: u16 = 1;
    /// The server's DUID.
    pub const SERVER_IDENTIFIER: u16 = 2;
    /// A group of addresses, [`IaNa`](super::IaNa).
    pub const IA_NA: u16 = 3;
    /// A group of temporary addresses.
    pub const IA_TA: u16 = 4;
    /// One address in a group, [`IaAddress`](super::IaAddress).
    pub const IA_ADDRESS: u16 = 5;
    /// How much a client should prefer this server, 0..=255.
    pub const PREFERENCE: u16 = 7;
    /// Status code, 16 bits, and text; see [`status`](super::status).
    pub const STATUS: u16 = 13;
    /// Two messages are enough.
    pub const RAPID_COMMIT: u16 = 14;
    /// DNS servers (RFC 3646).
    pub const DNS_SERVERS: u16 = 23;
    /// A group of delegated prefixes.
    pub const IA_PD: u16 = 25;
}

/// Status codes, the values of [`option::STATUS`].
pub mod status {
    /// Done.
    pub const SUCCESS: u16 = 0;
    /// No addresses for this group.
    pub const NO_ADDRESSES: u16 = 2;
    /// The addresses are wrong for this link.
    pub const NOT_ON_LINK: u16 = 4;
    /// No prefixes for this group.
    pub const NO_PREFIXES: u16 = 6;
}

/// The start of a message between client and server, 4 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Dhcpv6 {
    /// Message type; see [`message`].
    pub kind: u8,
    /// Chosen by the client.
    pub transaction: [u8; 3],
}

impl Dhcpv6 {
    /// Length in bytes, up to the options.
    pub const LENGTH: usize = size_of::<Self>();
}

/// The start of option [`option::IA_NA`] (and of [`option::IA_PD`]) after code and length, 12 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IaNa {
    /// The client's number for the group.
    pub id: U32,
    /// Seconds until the client renews.
    pub t1: U32,
    /// Seconds until the client asks any server.
    pub t2: U32,
}

impl IaNa {
    /// Length in bytes, up to the options in it.
    pub const LENGTH: usize = size_of::<Self>();
}

/// Option [`option::IA_ADDRESS`] after code and length, 24 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct IaAddress {
    /// The address.
    pub address: [u8; 16],
    /// Seconds the address is preferred.
    pub preferred_lifetime: U32,
    /// Seconds the address is valid; 0: no longer.
    pub valid_lifetime: U32,
}

impl IaAddress {
    /// Length in bytes, up to the options in it.
    pub const LENGTH: usize = size_of::<Self>();
}

/// Options, code and value. Ends after the first one that does not fit, which it yields as an error.
#[derive(Clone, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// The options in these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        let option = match rest {
            [] => return None,
            [a, b, c, d, after @ ..] => after
                .split_at_checked(usize::from(u16::from_be_bytes([*c, *d])))
                .map(|(value, after)| {
                    self.0 = after;
                    (u16::from_be_bytes([*a, *b]), value)
                }),
            _ => None,
        };
        Some(option.ok_or(ParseError::Malformed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_until_the_first_bad_one() {
        let bytes = [0, 1, 0, 2, 7, 8, 0, 14, 0, 0, 1, 0, 0, 9, 1];
        let options: Vec<_> = Options::new(&bytes).collect();
        assert_eq!(options, [Ok((1, &[7, 8][..])), Ok((14, &[][..])), Err(ParseError::Malformed)]);
        assert_eq!(Options::new(&[]).count(), 0);
        assert_eq!(Options::new(&[0, 1, 0]).collect::<Vec<_>>(), [Err(ParseError::Malformed)]);
    }
}
