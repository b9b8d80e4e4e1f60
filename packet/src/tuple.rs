//! The five-tuple by which connections are found.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The address family of a [`Tuple`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Addresses, protocol and ports of one direction of a connection: 40 bytes, comparable and hashable as bytes.
///
/// IPv4 addresses stand in the last four bytes of their field as IPv4-mapped ones; the family is kept beside
/// them, so an IPv6 packet that carries mapped addresses is never taken for an IPv4 one. What the ports hold:
/// TCP and UDP: the ports; ICMP and ICMPv6 echo: identifier as source, message type as destination (so that a
/// request and the reply to it are each other's [`Tuple::reversed`], and two requests never are); other ICMP:
/// 0 and [`Tuple::NOT_ECHO`]; all else: 0, 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Tuple {
    source: [u8; 16],
    destination: [u8; 16],
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    family: u8,
    reserved: u16,
}

/// The protocol of ICMP in a family, and the types of echo request and reply there.
const fn echo_types(family: Family) -> (u8, u16, u16) {
    match family {
        Family::V4 => (1, 8, 0),
        Family::V6 => (58, 128, 129),
    }
}

impl Tuple {
    /// A tuple; both addresses must be of one family (an IPv4-only pair gives an IPv4 tuple, all else IPv6).
    #[must_use]
    pub fn new(
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        let family = u8::from(!(source.is_ipv4() && destination.is_ipv4()));
        let bytes = |ip: IpAddr| match ip {
            IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
            IpAddr::V6(a) => a.octets(),
        };
        Self {
            source: bytes(source),
            destination: bytes(destination),
            source_port,
            destination_port,
            protocol,
            family,
            reserved: 0,
        }
    }

    /// An IPv4 tuple from addresses as they stand in a header; ports in host byte order.
    #[must_use]
    pub const fn v4(
        source: [u8; 4],
        destination: [u8; 4],
        protocol: u8,
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
        }
        Self {
            source: mapped(source),
            destination: mapped(destination),
            source_port,
            destination_port,
            protocol,
            family: 0,
            reserved: 0,
        }
    }

    /// An IPv6 tuple from addresses as they stand in a header; ports in host byte order.
    #[must_use]
    pub const fn v6(
        source: [u8; 16],
        destination: [u8; 16],
        protocol: u8,
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        Self {
            source,
            destination,
            source_port,
            destination_port,
            protocol,
            family: 1,
            reserved: 0,
        }
    }

    /// The same with other ports (host byte order).
    #[must_use]
    pub const fn with_ports(self, source_port: u16, destination_port: u16) -> Self {
        Self { source_port, destination_port, ..self }
    }

    /// The same with another protocol.
    #[must_use]
    pub const fn with_protocol(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }

    /// Source and destination address as they stand in the header: 4 or 16 bytes each.
    #[must_use]
    pub fn address_bytes(&self) -> (&[u8], &[u8]) {
        let [_, _, _, _, _, _, _, _, _, _, _, _, source @ ..] = &self.source;
        let [_, _, _, _, _, _, _, _, _, _, _, _, destination @ ..] = &self.destination;
        match self.family() {
            Family::V4 => (source, destination),
            Family::V6 => (&self.source, &self.destination),
        }
    }

    /// The family.
    #[must_use]
    pub const fn family(&self) -> Family {
        if self.family == 0 { Family::V4 } else { Family::V6 }
    }

    fn address(&self, bytes: [u8; 16]) -> IpAddr {
        match self.family() {
            Family::V4 => {
                let [.., a, b, c, d] = bytes;
                Ipv4Addr::new(a, b, c, d).into()
            }
            Family::V6 => Ipv6Addr::from(bytes).into(),
        }
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.address(self.source)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.address(self.destination)
    }

    /// IP protocol number (the last next-header value for IPv6).
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Source port, host byte order; see the type for what other protocols keep here.
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        self.source_port
    }

    /// Destination port, host byte order; see the type for what other protocols keep here.
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        self.destination_port
    }

    /// Whether this is an ICMP or ICMPv6 echo request or reply (by the type kept as destination port).
    #[must_use]
    pub fn is_echo(&self) -> bool {
        self.echo_counterpart().is_some()
    }

    fn echo_counterpart(&self) -> Option<u16> {
        let (protocol, request, reply) = echo_types(self.family());
        match self.destination_port {
            _ if self.protocol != protocol => None,
            kind if kind == request => Some(reply),
            kind if kind == reply => Some(request),
            _ => None,
        }
    }

    /// The destination port of an ICMP message that is neither echo request nor echo reply.
    pub const NOT_ECHO: u16 = u16::MAX;

    /// The tuple of an answer when no translation took place.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let (source_port, destination_port) = match self.echo_counterpart() {
            Some(counterpart) => (self.source_port, counterpart),
            None if self.protocol == echo_types(self.family()).0 => {
                (self.source_port, self.destination_port)
            }
            None => (self.destination_port, self.source_port),
        };
        Self {
            source: self.destination,
            destination: self.source,
            source_port,
            destination_port,
            ..*self
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{} > {}:{} proto {}",
            self.source(),
            self.source_port,
            self.destination(),
            self.destination_port,
            self.protocol
        )
    }
}
