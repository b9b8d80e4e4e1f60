//! Frames of the usual shape, which a few comparisons recognise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::VxlanPacket;
use crate::checksum::Sum;
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::protocol;
use crate::wire::tcp::Tcp;
use crate::wire::udp::Udp;
use crate::wire::vxlan::{PORT, Vxlan};
use crate::{Ecn, Family, Fragment, IpPacket, Network, Parsed, TcpFlags, Transport, Tuple};

/// An address as a [`Tuple`] has it, in words as they lie in memory.
pub type AddressWords = [u64; 2];

/// What a frame of the usual shape says: IPv4 without options or IPv6 without extension headers, not a fragment, and TCP or UDP.
///
/// It is small and made of words, as tables want it: [`parse`](super::parse) tells the same, and more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usual {
    /// Source address.
    pub source: AddressWords,
    /// Destination address.
    pub destination: AddressWords,
    /// Source port (lower half) and destination port.
    pub ports: u32,
    /// TCP or UDP.
    pub protocol: u8,
    /// Of the addresses.
    pub family: Family,
    /// TCP's control bits; empty for UDP.
    pub flags: TcpFlags,
    /// Length of the IP packet in bytes, header included.
    pub length: u16,
}

/// The headers up to the first 8 bytes of the transport's.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OverIpv4 {
    ethernet: Ethernet,
    ip: Ipv4,
    udp: Udp,
}

/// The same with IPv6.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OverIpv6 {
    ethernet: Ethernet,
    ip: Ipv6,
    udp: Udp,
}

/// Reads a frame of the usual shape. `None` says nothing but that it is to be [parsed](super::parse): malformed, or more than usual.
#[must_use]
#[inline(always)]
pub fn parse_usual(frame: &[u8]) -> Option<Usual> {
    if frame.len() > usize::from(u16::MAX) {
        return None;
    }
    let (front, _) = OverIpv4::ref_from_prefix(frame).ok()?;
    match front.ethernet.ethertype.get() {
        ethernet::IPV4 => over_ipv4(frame, front),
        ethernet::IPV6 => over_ipv6(frame),
        _ => None,
    }
}

#[inline(always)]
fn over_ipv4(frame: &[u8], front: &OverIpv4) -> Option<Usual> {
    let ip = &front.ip;
    let length = is_usual_ipv4(ip, frame.len()).then_some(ip.total_length.get())?;
    let payload = usize::from(length).checked_sub(Ipv4::LENGTH)?;
    let start = Ethernet::LENGTH + Ipv4::LENGTH;
    Some(Usual {
        source: v4_words(ip.source),
        destination: v4_words(ip.destination),
        ports: ports(&front.udp),
        protocol: ip.protocol,
        family: Family::V4,
        flags: transport(ip.protocol, &front.udp, frame, start, payload)?,
        length,
    })
}

#[inline(always)]
fn over_ipv6(frame: &[u8]) -> Option<Usual> {
    let (front, _) = OverIpv6::ref_from_prefix(frame).ok()?;
    let ip = &front.ip;
    let payload = usize::from(ip.payload_length.get());
    let start = Ethernet::LENGTH + Ipv6::LENGTH;
    if ip.version() != 6 || payload > frame.len().checked_sub(start)? {
        return None;
    }
    Some(Usual {
        source: v6_words(ip.source),
        destination: v6_words(ip.destination),
        ports: ports(&front.udp),
        protocol: ip.next_header,
        family: Family::V6,
        flags: transport(ip.next_header, &front.udp, frame, start, payload)?,
        length: (payload + Ipv6::LENGTH) as u16,
    })
}

/// Whether an IPv4 packet in a frame of so many bytes is whole, intact, and has no options.
#[inline(always)]
fn is_usual_ipv4(ip: &Ipv4, frame: usize) -> bool {
    const FRAGMENT: u16 = Ipv4::MORE_FRAGMENTS | 0x1fff;
    ip.version_ihl == Ipv4::VERSION_IHL
        && ip.flags_offset.get() & FRAGMENT == 0
        && usize::from(ip.total_length.get()).saturating_add(Ethernet::LENGTH) <= frame
        && Sum::ZERO.bytes(ip.as_bytes()).is_valid()
}

/// The control bits of a transport header at `start` with `payload` bytes from there on.
#[inline(always)]
fn transport(
    protocol: u8,
    udp: &Udp,
    frame: &[u8],
    start: usize,
    payload: usize,
) -> Option<TcpFlags> {
    let fits = |length: usize, least: usize| least <= length && length <= payload;
    match protocol {
        protocol::UDP => fits(udp.length.get().into(), Udp::LENGTH).then_some(TcpFlags::empty()),
        protocol::TCP => {
            let (tcp, _) = Tcp::ref_from_prefix(frame.get(start..)?).ok()?;
            fits(tcp.header_length(), Tcp::LENGTH).then_some(tcp.flags())
        }
        _ => None,
    }
}

#[inline(always)]
fn ports(udp: &Udp) -> u32 {
    u32::from(udp.source_port.get()) | u32::from(udp.destination_port.get()) << 16
}

#[inline(always)]
const fn v4_words(address: [u8; 4]) -> AddressWords {
    // ::ffff:a.b.c.d
    [0, u64::from_le(0xffff_0000 | (u32::from_le_bytes(address) as u64) << 32)]
}

#[inline(always)]
const fn v6_words(address: [u8; 16]) -> AddressWords {
    zerocopy::transmute!(address)
}

impl Usual {
    /// What [`parse`](super::parse) says of the frame that this was read from.
    #[must_use]
    pub fn parsed(&self, frame: &[u8]) -> Option<Parsed> {
        let (front, _) = OverIpv4::ref_from_prefix(frame).ok()?;
        let (header, ttl, ecn, dont_fragment) = match self.family {
            Family::V4 => (Ipv4::LENGTH, front.ip.ttl, front.ip.ecn(), front.ip.dont_fragment()),
            Family::V6 => {
                let (front, _) = OverIpv6::ref_from_prefix(frame).ok()?;
                (Ipv6::LENGTH, front.ip.hop_limit, front.ip.ecn(), false)
            }
        };
        let transport = match self.protocol {
            protocol::TCP => Transport::Tcp(self.flags),
            _ => Transport::Udp,
        };
        let network_offset = Ethernet::LENGTH as u16;
        let packet = IpPacket {
            tuple: self.tuple(),
            transport,
            fragment: Fragment::None,
            network_offset,
            transport_offset: network_offset + header as u16,
            end: network_offset + self.length,
            ttl,
            ecn,
            plain: true,
            dont_fragment,
        };
        Some(Parsed {
            destination_mac: front.ethernet.destination,
            source_mac: front.ethernet.source,
            network: Network::Ip(packet),
        })
    }

    fn tuple(&self) -> Tuple {
        let (source, destination): ([u8; 16], [u8; 16]) =
            (zerocopy::transmute!(self.source), zerocopy::transmute!(self.destination));
        let ports = (self.ports as u16, (self.ports >> 16) as u16);
        match (self.family, source.last_chunk(), destination.last_chunk()) {
            (Family::V4, Some(source), Some(destination)) => {
                Tuple::v4(*source, *destination, self.protocol, ports.0, ports.1)
            }
            _ => Tuple::v6(source, destination, self.protocol, ports.0, ports.1),
        }
    }
}

/// What the outer headers of a usual VXLAN frame say: as with [`Usual`], without UDP checksum and congestion mark, and with the I flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsualVxlan {
    /// Outer source address: the sender's VTEP.
    pub source: AddressWords,
    /// Outer destination address.
    pub destination: AddressWords,
    /// VNI as it stands in the header, 0..=16777215.
    pub vni: u32,
    /// Offset of the inner frame's first byte in the outer frame.
    pub inner_start: u16,
}

/// The headers up to VXLAN's.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VxlanOverIpv4 {
    front: OverIpv4,
    vxlan: Vxlan,
}

/// The same with IPv6.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VxlanOverIpv6 {
    front: OverIpv6,
    vxlan: Vxlan,
}

/// Reads the outer headers of a frame that is VXLAN in the usual shape. `None` says nothing but that it is to be
/// [parsed](super::parse_vxlan).
#[must_use]
#[inline(always)]
pub fn parse_usual_vxlan(frame: &[u8]) -> Option<UsualVxlan> {
    if frame.len() > usize::from(u16::MAX) {
        return None;
    }
    let (outer, _) = VxlanOverIpv4::ref_from_prefix(frame).ok()?;
    match outer.front.ethernet.ethertype.get() {
        ethernet::IPV4 => {
            let ip = &outer.front.ip;
            let is_usual = ip.protocol == protocol::UDP
                && ip.ecn() == Ecn::NotEct
                && is_usual_ipv4(ip, frame.len());
            let payload = usize::from(ip.total_length.get()).checked_sub(Ipv4::LENGTH)?;
            Some(UsualVxlan {
                source: v4_words(ip.source),
                destination: v4_words(ip.destination),
                vni: vni(&outer.front.udp, &outer.vxlan, payload).filter(|_| is_usual)?,
                inner_start: size_of::<VxlanOverIpv4>() as u16,
            })
        }
        ethernet::IPV6 => {
            let (outer, inner) = VxlanOverIpv6::ref_from_prefix(frame).ok()?;
            let ip = &outer.front.ip;
            let payload = usize::from(ip.payload_length.get());
            let is_usual = ip.next_header == protocol::UDP
                && ip.version() == 6
                && ip.ecn() == Ecn::NotEct
                && payload <= inner.len().saturating_add(Udp::LENGTH + Vxlan::LENGTH);
            Some(UsualVxlan {
                source: v6_words(ip.source),
                destination: v6_words(ip.destination),
                vni: vni(&outer.front.udp, &outer.vxlan, payload).filter(|_| is_usual)?,
                inner_start: size_of::<VxlanOverIpv6>() as u16,
            })
        }
        _ => None,
    }
}

/// The VNI of a datagram without checksum, in a packet with so many bytes after its header.
#[inline(always)]
fn vni(udp: &Udp, vxlan: &Vxlan, payload: usize) -> Option<u32> {
    let length = usize::from(udp.length.get());
    let is_usual = udp.destination_port.get() == PORT
        && udp.checksum.get() == 0
        && length >= Udp::LENGTH + Vxlan::LENGTH
        && length <= payload;
    vxlan.vni().filter(|_| is_usual)
}

impl UsualVxlan {
    /// What [`parse_vxlan`](super::parse_vxlan) says of the frame that this was read from.
    #[must_use]
    pub fn packet(&self, frame: &[u8]) -> Option<VxlanPacket> {
        let (ethernet, _) = Ethernet::ref_from_prefix(frame).ok()?;
        let start = usize::from(self.inner_start).checked_sub(Vxlan::LENGTH + Udp::LENGTH)?;
        let (udp, _) = Udp::ref_from_prefix(frame.get(start..)?).ok()?;
        let address = |words: AddressWords| match ethernet.ethertype.get() {
            ethernet::IPV4 => {
                let [.., a, b, c, d]: [u8; 16] = zerocopy::transmute!(words);
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => IpAddr::V6(Ipv6Addr::from_octets(zerocopy::transmute!(words))),
        };
        Some(VxlanPacket {
            destination_mac: ethernet.destination,
            source: address(self.source),
            destination: address(self.destination),
            ecn: Ecn::NotEct,
            vni: self.vni,
            inner_start: self.inner_start,
            inner_end: (start as u16).checked_add(udp.length.get())?,
        })
    }
}

/// An address as [`Usual`] and [`UsualVxlan`] have it.
#[must_use]
pub const fn address_words(address: IpAddr) -> AddressWords {
    match address {
        IpAddr::V4(address) => v4_words(address.octets()),
        IpAddr::V6(address) => v6_words(address.octets()),
    }
}
