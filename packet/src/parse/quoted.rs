//! The packet that an ICMP error message quotes.

use zerocopy::FromBytes;

use super::{Extent, ipv4, ipv6};
use crate::wire::icmp::{self, Echo};
use crate::wire::protocol;
use crate::wire::udp::Udp;
use crate::{Family, Fragment, Tuple};

/// The beginning of a packet, as an ICMP error message quotes it. Offsets count from the quoted IP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Its tuple, in the direction in which the packet was sent.
    pub tuple: Tuple,
    /// Offset of its transport header; beyond all IPv6 extension headers.
    pub transport_offset: u16,
    /// Offset after the last byte of it that is there. For TCP, UDP and ICMP at least 8 after the transport's.
    pub end: u16,
}

/// Reads the packet quoted at the start of `bytes` (in an error message: from 8 bytes after its transport offset on).
///
/// Routers quote at least the IP header and 8 bytes (RFC 792), so the length fields may claim more than is there, and
/// the header checksum is not verified: translators on the way may have left it stale.
///
/// `None` when there is too little of it, when it is malformed, when it is a fragment without the transport header, and
/// when it is itself an ICMP error, which nobody may answer with an error (RFC 1122, section 3.2.2).
#[must_use]
pub fn parse_quoted(bytes: &[u8]) -> Option<Quoted> {
    let ip = match bytes.first()? >> 4 {
        4 => ipv4::parse(bytes, Extent::Quoted),
        6 => ipv6::parse(bytes, Extent::Quoted),
        _ => None,
    }?;
    if let Fragment::Later(_) = ip.fragment {
        return None;
    }
    let transport = bytes.get(ip.transport..ip.end)?;
    let (source, destination) = match (ip.tuple.protocol(), ip.tuple.family()) {
        // The first 8 bytes: ports stand where UDP has them.
        (protocol::TCP | protocol::UDP, _) => {
            let (header, _) = Udp::ref_from_prefix(transport).ok()?;
            (header.source_port.get(), header.destination_port.get())
        }
        (protocol::ICMP, family @ Family::V4) | (protocol::ICMPV6, family @ Family::V6) => {
            let (message, _) = Echo::ref_from_prefix(transport).ok()?;
            let kind = message.icmp.kind;
            if icmp::is_error(family, kind) {
                return None;
            }
            if icmp::is_echo(family, kind) {
                (message.identifier.get(), u16::from(kind))
            } else {
                (0, Tuple::NOT_ECHO)
            }
        }
        _ => (0, 0),
    };
    Some(Quoted {
        tuple: ip.tuple.with_ports(source, destination),
        transport_offset: u16::try_from(ip.transport).ok()?,
        end: u16::try_from(ip.end).ok()?,
    })
}
