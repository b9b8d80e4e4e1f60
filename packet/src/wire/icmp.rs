//! ICMP (RFC 792) and ICMPv6 (RFC 4443): the start of every message, and echo.

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Family;

/// ICMP echo reply.
pub const ECHO_REPLY: u8 = 0;
/// ICMP destination unreachable; an error.
pub const UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: fragmentation needed and "don't fragment" set.
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// ICMP source quench (deprecated, RFC 6633); an error.
pub const SOURCE_QUENCH: u8 = 4;
/// ICMP redirect; quotes a packet like an error.
pub const REDIRECT: u8 = 5;
/// ICMP echo request.
pub const ECHO_REQUEST: u8 = 8;
/// ICMP time exceeded; an error.
pub const TIME_EXCEEDED: u8 = 11;
/// ICMP parameter problem; an error.
pub const PARAMETER_PROBLEM: u8 = 12;
/// ICMPv6 destination unreachable; an error.
pub const V6_UNREACHABLE: u8 = 1;
/// ICMPv6 packet too big; an error.
pub const V6_PACKET_TOO_BIG: u8 = 2;
/// ICMPv6 time exceeded; an error.
pub const V6_TIME_EXCEEDED: u8 = 3;
/// ICMPv6 parameter problem; an error.
pub const V6_PARAMETER_PROBLEM: u8 = 4;
/// ICMPv6 echo request.
pub const V6_ECHO_REQUEST: u8 = 128;
/// ICMPv6 echo reply.
pub const V6_ECHO_REPLY: u8 = 129;

/// The first 4 bytes of every ICMP and ICMPv6 message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmp {
    /// Message type.
    pub kind: u8,
    /// Message code.
    pub code: u8,
    /// Checksum over the message; for ICMPv6 over the pseudo-header too.
    pub checksum: U16,
}

impl Icmp {
    /// Length in bytes.
    pub const LENGTH: usize = size_of::<Self>();
}

/// An echo request or reply, 8 bytes before its data. The last two fields are those of an error message too, where
/// they hold what the type defines (the next-hop MTU in [`Self::sequence`] for [`FRAGMENTATION_NEEDED`]).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Echo {
    /// Type, code, checksum.
    pub icmp: Icmp,
    /// Identifier: which ping.
    pub identifier: U16,
    /// Sequence number within it.
    pub sequence: U16,
}

impl Echo {
    /// Length in bytes, without data. Also where the quoted packet starts in an error message.
    pub const LENGTH: usize = size_of::<Self>();
}

/// Whether messages of this type report an error and quote the packet that caused it. In ICMPv6 these are all types
/// below 128 (RFC 4443, section 2.1).
#[must_use]
pub const fn is_error(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(
            kind,
            UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
        ),
        Family::V6 => kind < 128,
    }
}

/// Whether messages of this type are echo requests or replies.
#[must_use]
pub const fn is_echo(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(kind, ECHO_REQUEST | ECHO_REPLY),
        Family::V6 => matches!(kind, V6_ECHO_REQUEST | V6_ECHO_REPLY),
    }
}
