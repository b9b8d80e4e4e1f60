//! Putting a frame into a VXLAN tunnel.

use std::net::IpAddr;

use thiserror::Error;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::{Delta, Sum};
use crate::wire::ethernet::{self, Ethernet};
use crate::wire::ipv4::Ipv4;
use crate::wire::ipv6::Ipv6;
use crate::wire::protocol;
use crate::wire::udp::Udp;
use crate::wire::vxlan::{PORT, Vxlan};
use crate::{Frame, Mac, NoRoom, Vni, VtepAddr};

/// TTL and hop limit of outer headers.
const TTL: u8 = 64;

/// Bytes that the longest frame may have: lengths and offsets of frames have 16 bits.
const FRAME_LIMIT: usize = u16::MAX as usize;

/// What a tunnel's outer headers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VxlanTunnel {
    /// Our MAC on the underlay.
    pub source_mac: Mac,
    /// MAC of the next hop on the underlay.
    pub destination_mac: Mac,
    /// Our VTEP.
    pub source: VtepAddr,
    /// The remote VTEP.
    pub destination: VtepAddr,
    /// The virtual network.
    pub vni: Vni,
    /// DSCP of the outer header, 0..=63.
    pub dscp: u8,
}

/// Why no header can be made for a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum TunnelError {
    /// One VTEP is IPv4, the other IPv6.
    #[error("tunnel from {source_vtep} to {destination}: both VTEPs must be of one address family")]
    Families {
        /// Our VTEP.
        source_vtep: VtepAddr,
        /// The remote VTEP.
        destination: VtepAddr,
    },
    /// DSCP has 6 bits.
    #[error("DSCP {0} is outside 0..=63")]
    Dscp(u8),
}

/// Why a frame cannot be encapsulated. It is then unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EncapsulationError {
    /// The outer frame would be longer than 65535 bytes.
    #[error("the encapsulated frame would have {0} bytes; 65535 is the most")]
    TooLong(usize),
    /// There is no headroom for the outer headers.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OverIpv4 {
    ethernet: Ethernet,
    ip: Ipv4,
    udp: Udp,
    vxlan: Vxlan,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OverIpv6 {
    ethernet: Ethernet,
    ip: Ipv6,
    udp: Udp,
    vxlan: Vxlan,
}

#[derive(Clone, Copy, Debug)]
enum Template {
    Ipv4(OverIpv4),
    Ipv6(OverIpv6),
}

/// The outer headers of a tunnel, made once; only lengths, source port and the IPv4 checksum differ between packets.
///
/// IPv4 has identification 0 and "don't fragment"; IPv6 has flow label 0. TTL and hop limit are 64, ECN is not-ECT
/// (compatibility mode of RFC 6040), the UDP checksum is 0 in both families (RFC 7348, RFC 6935).
#[derive(Clone, Copy, Debug)]
pub struct VxlanHeader(Template);

impl VxlanHeader {
    /// The headers of a tunnel.
    ///
    /// # Errors
    /// [`TunnelError`] when the VTEPs are of different families or the DSCP has more than 6 bits.
    pub fn new(tunnel: &VxlanTunnel) -> Result<Self, TunnelError> {
        if tunnel.dscp > 63 {
            return Err(TunnelError::Dscp(tunnel.dscp));
        }
        let traffic_class = tunnel.dscp << 2;
        let ethernet = |ethertype| Ethernet {
            destination: tunnel.destination_mac,
            source: tunnel.source_mac,
            ethertype: U16::new(ethertype),
        };
        let udp = Udp {
            source_port: U16::ZERO,
            destination_port: U16::new(PORT),
            length: U16::ZERO,
            checksum: U16::ZERO,
        };
        let vxlan = Vxlan::new(tunnel.vni);
        let template = match (tunnel.source.ip(), tunnel.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = Ipv4 {
                    version_ihl: Ipv4::VERSION_IHL,
                    traffic_class,
                    total_length: U16::ZERO,
                    identification: U16::ZERO,
                    flags_offset: U16::new(Ipv4::DONT_FRAGMENT),
                    ttl: TTL,
                    protocol: protocol::UDP,
                    checksum: U16::ZERO,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                ip.checksum = Sum::ZERO.bytes(ip.as_bytes()).checksum().into();
                Template::Ipv4(OverIpv4 { ethernet: ethernet(ethernet::IPV4), ip, udp, vxlan })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ip = Ipv6 {
                    version_class_label: Ipv6::version_class(traffic_class),
                    payload_length: U16::ZERO,
                    next_header: protocol::UDP,
                    hop_limit: TTL,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                Template::Ipv6(OverIpv6 { ethernet: ethernet(ethernet::IPV6), ip, udp, vxlan })
            }
            _ => {
                return Err(TunnelError::Families {
                    source_vtep: tunnel.source,
                    destination: tunnel.destination,
                });
            }
        };
        Ok(Self(template))
    }

    /// The headers with lengths and source port 0 (and the IPv4 checksum for that): what hardware is given to prepend.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Template::Ipv4(headers) => headers.as_bytes(),
            Template::Ipv6(headers) => headers.as_bytes(),
        }
    }

    /// Bytes that these headers add in front of a frame: 50 or 70.
    #[must_use]
    #[inline]
    pub const fn length(&self) -> usize {
        match self.0 {
            Template::Ipv4(_) => size_of::<OverIpv4>(),
            Template::Ipv6(_) => size_of::<OverIpv6>(),
        }
    }

    /// Writes the headers in front of `frame`. `source_port` is that of
    /// [`vxlan_source_port`](crate::vxlan_source_port).
    ///
    /// # Errors
    /// [`EncapsulationError`]; the frame is then unchanged.
    #[inline]
    pub fn push(&self, frame: &mut Frame<'_>, source_port: u16) -> Result<(), EncapsulationError> {
        let length = frame.length().saturating_add(self.length());
        if length > FRAME_LIMIT {
            return Err(EncapsulationError::TooLong(length));
        }
        frame.prepend(self.length())?;
        let after = |headers: usize| U16::new(length.saturating_sub(headers) as u16);
        let no_room = NoRoom { needed: self.length() };
        // Copied as a whole, and changed where they lie: a copy that is changed first would have to be waited for.
        match &self.0 {
            Template::Ipv4(template) => {
                let (headers, _) =
                    OverIpv4::mut_from_prefix(frame.bytes_mut()).map_err(|_| no_room)?;
                *headers = *template;
                let total = after(Ethernet::LENGTH);
                let sum = Delta::NONE.u16(0, total.get()).apply(template.ip.checksum.get());
                headers.ip.total_length = total;
                headers.ip.checksum = sum.into();
                headers.udp.length = after(Ethernet::LENGTH + Ipv4::LENGTH);
                headers.udp.source_port = source_port.into();
            }
            Template::Ipv6(template) => {
                let (headers, _) =
                    OverIpv6::mut_from_prefix(frame.bytes_mut()).map_err(|_| no_room)?;
                *headers = *template;
                let payload = after(Ethernet::LENGTH + Ipv6::LENGTH);
                headers.ip.payload_length = payload;
                headers.udp.length = payload;
                headers.udp.source_port = source_port.into();
            }
        }
        Ok(())
    }
}
