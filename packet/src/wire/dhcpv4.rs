//! DHCP for `IPv4` (RFC 2131) and its options (RFC 2132).

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Mac, ParseError};

/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;

/// [`Dhcpv4::operation`] of clients.
pub const BOOT_REQUEST: u8 = 1;
/// [`Dhcpv4::operation`] of servers.
pub const BOOT_REPLY: u8 = 2;
/// [`Dhcpv4::cookie`]: DHCP options follow.
pub const MAGIC_COOKIE: u32 = 0x6382_5363;
/// Flag: the client cannot receive unicast before it has an address.
pub const BROADCAST_FLAG: u16 = 0x8000;

/// Option codes.
pub mod option {
    /// One byte of nothing.
    pub const PAD: u8 = 0;
    /// Mask of the subnet.
    pub const SUBNET_MASK: u8 = 1;
    /// Default routers.
    pub const ROUTER: u8 = 3;
    /// DNS servers.
    pub const DNS_SERVERS: u8 = 6;
    /// Longest IP packet of the link, 16 bits.
    pub const INTERFACE_MTU: u8 = 26;
    /// Broadcast address of the subnet.
    pub const BROADCAST_ADDRESS: u8 = 28;
    /// The address a client asks for.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time, seconds, 32 bits.
    pub const LEASE_TIME: u8 = 51;
    /// The fields `file` and `sname` hold options as well: 1, 2, or 3 for both.
    pub const OVERLOAD: u8 = 52;
    /// Message type; see [`message`](super::message).
    pub const MESSAGE_TYPE: u8 = 53;
    /// The server's address, its identity.
    pub const SERVER_IDENTIFIER: u8 = 54;
    /// Longest DHCP message (as an IP packet) the client takes, 16 bits.
    pub const MAX_MESSAGE_SIZE: u8 = 57;
    /// Seconds until the client renews, 32 bits.
    pub const RENEWAL_TIME: u8 = 58;
    /// Seconds until the client asks any server, 32 bits.
    pub const REBINDING_TIME: u8 = 59;
    /// The client's identity.
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// No more options.
    pub const END: u8 = 255;
}

/// Message types, the values of [`option::MESSAGE_TYPE`].
pub mod message {
    /// Client: which servers are there?
    pub const DISCOVER: u8 = 1;
    /// Server: an address you could have.
    pub const OFFER: u8 = 2;
    /// Client: I want this address, or keep it.
    pub const REQUEST: u8 = 3;
    /// Client: somebody else uses the address.
    pub const DECLINE: u8 = 4;
    /// Server: it is yours.
    pub const ACK: u8 = 5;
    /// Server: it is not yours.
    pub const NAK: u8 = 6;
    /// Client: I need it no more.
    pub const RELEASE: u8 = 7;
    /// Client: I have an address, tell me the rest.
    pub const INFORM: u8 = 8;
}

/// The fixed part of a message with the cookie, 240 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Dhcpv4 {
    /// [`BOOT_REQUEST`] or [`BOOT_REPLY`].
    pub operation: u8,
    /// Hardware type; 1 is Ethernet.
    pub hardware_type: u8,
    /// Bytes of a hardware address; 6.
    pub hardware_length: u8,
    /// Relays passed.
    pub hops: u8,
    /// Chosen by the client.
    pub transaction: U32,
    /// Seconds since the client began.
    pub seconds: U16,
    /// [`BROADCAST_FLAG`].
    pub flags: U16,
    /// The client's address, when it has one and can answer for it.
    pub client: [u8; 4],
    /// The client's address, as the server gives it.
    pub your: [u8; 4],
    /// The next server of a boot.
    pub next_server: [u8; 4],
    /// The relay.
    pub relay: [u8; 4],
    /// The client's MAC.
    pub client_mac: Mac,
    /// Rest of the 16 bytes for a hardware address.
    pub client_mac_padding: [u8; 10],
    /// Name of the server, or options.
    pub server_name: [u8; 64],
    /// Name of a boot file, or options.
    pub boot_file: [u8; 128],
    /// [`MAGIC_COOKIE`].
    pub cookie: U32,
}

impl Dhcpv4 {
    /// Length in bytes, up to the options.
    pub const LENGTH: usize = size_of::<Self>();
}

/// The options of one field, code and value. Ends at the end option, or with an error when one does not fit.
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
    type Item = Result<(u8, &'a [u8]), ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = std::mem::take(&mut self.0);
        while let [option::PAD, after @ ..] = rest {
            rest = after;
        }
        let option = match rest {
            [] | [option::END, ..] => return None,
            [code, length, after @ ..] => {
                after.split_at_checked(usize::from(*length)).map(|(value, after)| {
                    self.0 = after;
                    (*code, value)
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
    fn the_cookie_stands_at_236() {
        assert_eq!(Dhcpv4::LENGTH, 240);
        assert_eq!(std::mem::offset_of!(Dhcpv4, cookie), 236);
        assert_eq!(std::mem::offset_of!(Dhcpv4, client_mac), 28);
    }

    #[test]
    fn options_skip_padding_and_stop_at_the_end() {
        let options = |bytes| Options::new(bytes).collect::<Vec<_>>();
        assert_eq!(
            options(&[0, 53, 1, 3, 0, 0, 12, 0, 255, 1, 4]),
            [Ok((53, &[3][..])), Ok((12, &[][..]))]
        );
        assert_eq!(options(&[53, 1, 3]), [Ok((53, &[3][..]))]);
        assert_eq!(options(&[53, 2, 3]), [Err(ParseError::Malformed)]);
        assert_eq!(options(&[53]), [Err(ParseError::Malformed)]);
        assert_eq!(options(&[0, 0]), []);
    }
}
