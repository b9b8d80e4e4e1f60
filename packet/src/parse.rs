//! One pass over a frame: what it is, and where its parts are.
//!
//! Nothing here panics, allocates or reads outside the slice it was given, whatever the bytes are.

#![expect(
    clippy::inline_always,
    reason = "left to itself, the compiler passes half-made records through memory: twice the time per packet"
)]

mod ipv4;
mod ipv6;
mod quoted;
mod usual;
mod vxlan;

use zerocopy::FromBytes;

pub use quoted::{Quoted, parse_quoted};
pub use usual::{AddressWords, Usual, UsualVxlan, address_words, parse_usual, parse_usual_vxlan};
pub use vxlan::{NotVxlan, VxlanError, VxlanPacket, parse_vxlan};

use crate::wire::arp::Arp;
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::icmp::{self, Echo, Icmp};
use crate::wire::protocol;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;
use crate::{Ecn, Family, Fragment, IpPacket, Network, ParseError, Parsed, Transport, Tuple};

/// Parses an Ethernet frame (without FCS).
///
/// Checks what forwarding and policy rely on: lengths of all headers against each other and the frame, the IPv4 header
/// checksum, options, extension headers (at most eight), fragment geometry, and that a first fragment holds the whole
/// transport header. Transport checksums are the endpoints' business.
///
/// # Errors
/// [`ParseError::UnsupportedEtherType`] for all but IPv4, IPv6 and ARP, VLAN-tagged frames included;
/// [`ParseError::Malformed`] for what fails a check, and for IP packets that end past the frame's byte 65535.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Parsed, ParseError> {
    parse_here(frame)
}

/// [`parse`] as a part of its caller, which may need little of what it finds.
#[inline(always)]
pub(crate) fn parse_here(frame: &[u8]) -> Result<Parsed, ParseError> {
    let (header, payload) = Ethernet::ref_from_prefix(frame).map_err(|_| ParseError::Malformed)?;
    let network = match header.ethertype.get() {
        ethernet::IPV4 => ipv4::parse(payload, Extent::Whole)
            .and_then(|ip| ip_packet(&ip, payload))
            .map(Network::Ip),
        ethernet::IPV6 => ipv6::parse(payload, Extent::Whole)
            .and_then(|ip| ip_packet(&ip, payload))
            .map(Network::Ip),
        ethernet::ARP => arp(payload),
        _ => return Err(ParseError::UnsupportedEtherType),
    };
    Ok(Parsed {
        destination_mac: header.destination,
        source_mac: header.source,
        network: network.ok_or(ParseError::Malformed)?,
    })
}

/// How much of an IP packet the bytes must hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All of it, with an intact header checksum.
    Whole,
    /// Its beginning, as a router put it into an error message: possibly cut, the checksum possibly stale.
    Quoted,
}

impl Extent {
    /// Where the packet ends in its slice, or `None` when bytes are missing that should be there.
    fn end(self, claimed: usize, present: usize) -> Option<usize> {
        match self {
            Self::Whole => (claimed <= present).then_some(claimed),
            Self::Quoted => Some(claimed.min(present)),
        }
    }
}

/// An IP packet before its transport header is looked at. Offsets count from the IP header.
struct Ip {
    /// Ports still 0.
    tuple: Tuple,
    fragment: Fragment,
    transport: usize,
    end: usize,
    ttl: u8,
    ecn: Ecn,
    plain: bool,
    dont_fragment: bool,
}

/// The fragment that a fragment offset, "more fragments" and identification make. `length`: bytes of payload it brings;
/// `others`: bytes of the reassembled packet that are not counted by the offset. `None` when reassembly could not end
/// well.
#[inline(always)]
fn fragment(
    offset: u16,
    more: bool,
    identification: u32,
    length: usize,
    others: usize,
    protocol: u8,
) -> Option<Fragment> {
    if offset == 0 && !more {
        return Some(Fragment::None);
    }
    let end = usize::from(offset).checked_add(length)?.checked_add(others)?;
    if end > usize::from(u16::MAX) || (more && !length.is_multiple_of(8)) {
        return None;
    }
    match offset {
        0 => Some(Fragment::First(identification)),
        // It would overwrite the TCP header that was checked in the first fragment (RFC 1858, RFC 3128).
        1..20 if protocol == protocol::TCP => None,
        _ => Some(Fragment::Later(identification)),
    }
}

#[inline]
fn arp(payload: &[u8]) -> Option<Network> {
    let (message, _) = Arp::ref_from_prefix(payload).ok()?;
    message.is_ipv4_over_ethernet().then_some(Network::Arp)
}

#[inline(always)]
fn ip_packet(ip: &Ip, packet: &[u8]) -> Option<IpPacket> {
    let (transport, ports) = transport(ip, packet.get(ip.transport..ip.end)?)?;
    let offset = |within: usize| u16::try_from(within.checked_add(Ethernet::LENGTH)?).ok();
    Some(IpPacket {
        tuple: ip.tuple.with_ports(ports.0, ports.1),
        transport,
        fragment: ip.fragment,
        network_offset: offset(0)?,
        transport_offset: offset(ip.transport)?,
        end: offset(ip.end)?,
        ttl: ip.ttl,
        ecn: ip.ecn,
        plain: ip.plain,
        dont_fragment: ip.dont_fragment,
    })
}

/// The transport and what the tuple keeps as ports.
#[inline(always)]
fn transport(ip: &Ip, payload: &[u8]) -> Option<(Transport, (u16, u16))> {
    if let Fragment::Later(_) = ip.fragment {
        return Some((Transport::LaterFragment, (0, 0)));
    }
    match (ip.tuple.protocol(), ip.tuple.family()) {
        (protocol::TCP, _) => {
            let (header, _) = Tcp::ref_from_prefix(payload).ok()?;
            let length = header.header_length();
            (length >= Tcp::LENGTH && length <= payload.len()).then(|| {
                let ports = (header.source_port.get(), header.destination_port.get());
                (Transport::Tcp(header.flags()), ports)
            })
        }
        (protocol::UDP, _) => {
            let (header, _) = Udp::ref_from_prefix(payload).ok()?;
            let length = usize::from(header.length.get());
            let fits = ip.fragment != Fragment::None || length <= payload.len();
            (length >= Udp::LENGTH && fits).then(|| {
                let ports = (header.source_port.get(), header.destination_port.get());
                (Transport::Udp, ports)
            })
        }
        (protocol::ICMP, family @ Family::V4) | (protocol::ICMPV6, family @ Family::V6) => {
            icmp_transport(family, payload)
        }
        _ => Some((Transport::Other, (0, 0))),
    }
}

#[inline]
fn icmp_transport(family: Family, payload: &[u8]) -> Option<(Transport, (u16, u16))> {
    let (&Icmp { kind, code, .. }, _) = Icmp::ref_from_prefix(payload).ok()?;
    let (error, echo) = (icmp::is_error(family, kind), icmp::is_echo(family, kind));
    // Only ICMPv6 has informational messages that may be shorter than 8 bytes.
    if family == Family::V6 && !error && !echo {
        return Some((Transport::Icmp { kind, code }, (0, Tuple::NOT_ECHO)));
    }
    let (message, _) = Echo::ref_from_prefix(payload).ok()?;
    Some(match (error, echo) {
        (true, _) => (Transport::IcmpError { kind, code }, (0, Tuple::NOT_ECHO)),
        (_, true) => (Transport::Icmp { kind, code }, (message.identifier.get(), u16::from(kind))),
        _ => (Transport::Icmp { kind, code }, (0, Tuple::NOT_ECHO)),
    })
}
