//! VXLAN packets from the underlay.

use std::net::IpAddr;
use std::ops::Range;

use thiserror::Error;
use zerocopy::FromBytes;

use super::parse;
use crate::checksum::Sum;
use crate::wire::udp::Udp;
use crate::wire::vxlan::{PORT, Vxlan};
use crate::{Ecn, Fragment, IpPacket, Mac, Network, ParseError, Parsed, Transport};

/// The outer headers of a VXLAN packet, and where the inner frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VxlanPacket {
    /// Destination MAC of the outer frame.
    pub destination_mac: Mac,
    /// Outer source address: the sender's VTEP.
    pub source: IpAddr,
    /// Outer destination address: our VTEP, if it is for us.
    pub destination: IpAddr,
    /// Outer ECN field.
    pub ecn: Ecn,
    /// VNI as it stands in the header, 0..=16777215.
    pub vni: u32,
    /// Offset of the inner frame's first byte in the outer frame.
    pub inner_start: u16,
    /// Offset after the inner frame's last byte in the outer frame.
    pub inner_end: u16,
}

impl VxlanPacket {
    /// Where the inner frame is in the outer one.
    #[must_use]
    pub fn inner(&self) -> Range<usize> {
        usize::from(self.inner_start)..usize::from(self.inner_end)
    }
}

/// Why a well-formed frame is not VXLAN.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum NotVxlan {
    /// Neither IPv4 nor IPv6; also every VLAN-tagged frame.
    #[error("not an IP packet")]
    NotIp,
    /// A fragment: a VTEP must not fragment (RFC 7348, section 4.3), and nobody reassembles here.
    #[error("a fragment")]
    Fragment,
    /// IP, but not UDP.
    #[error("not UDP")]
    NotUdp,
    /// UDP to another port than 4789.
    #[error("not UDP port 4789")]
    OtherPort,
    /// The I flag is not set, so that the header carries no VNI.
    #[error("a VXLAN header without VNI")]
    NoVni,
}

/// Why a frame from the underlay holds no inner frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum VxlanError {
    /// Something else than VXLAN: the Arm side's kernel may want it.
    #[error("not VXLAN: {0}")]
    NotVxlan(#[from] NotVxlan),
    /// A header is cut short, contradicts itself or fails its checksum.
    #[error("malformed frame")]
    Malformed,
}

/// Parses a frame from the underlay as VXLAN (RFC 7348) over IPv4 or IPv6. The inner frame is not looked at.
///
/// A UDP checksum other than 0 is verified; 0 is accepted on IPv6 too (RFC 6935). Whether the destination is ours is
/// the caller's to decide.
///
/// # Errors
/// [`VxlanError::NotVxlan`] with the reason, or [`VxlanError::Malformed`].
pub fn parse_vxlan(frame: &[u8]) -> Result<VxlanPacket, VxlanError> {
    // By reference: a copy right after the fields were written one by one would wait for each of them.
    let parsed = &parse(frame);
    let (destination_mac, packet) = match parsed {
        Ok(Parsed { destination_mac, network: Network::Ip(packet), .. }) => {
            (*destination_mac, packet)
        }
        Ok(_) | Err(ParseError::UnsupportedEtherType) => return Err(NotVxlan::NotIp.into()),
        Err(ParseError::Malformed) => return Err(VxlanError::Malformed),
    };
    if packet.fragment != Fragment::None {
        return Err(NotVxlan::Fragment.into());
    }
    if packet.transport != Transport::Udp {
        return Err(NotVxlan::NotUdp.into());
    }
    if packet.tuple.destination_port() != PORT {
        return Err(NotVxlan::OtherPort.into());
    }
    let datagram = udp_datagram(frame, packet).ok_or(VxlanError::Malformed)?;
    let (header, _) = datagram
        .get(Udp::LENGTH..)
        .and_then(|payload| Vxlan::ref_from_prefix(payload).ok())
        .ok_or(VxlanError::Malformed)?;
    let vni = header.vni().ok_or(NotVxlan::NoVni)?;
    let offset = |within: usize| {
        within
            .checked_add(usize::from(packet.transport_offset))
            .and_then(|sum| u16::try_from(sum).ok())
            .ok_or(VxlanError::Malformed)
    };
    Ok(VxlanPacket {
        destination_mac,
        source: packet.tuple.source(),
        destination: packet.tuple.destination(),
        ecn: packet.ecn,
        vni,
        inner_start: offset(Udp::LENGTH + Vxlan::LENGTH)?,
        inner_end: offset(datagram.len())?,
    })
}

/// The UDP datagram of an unfragmented packet, as long as its length field says; `None` when its checksum is wrong.
fn udp_datagram<'a>(frame: &'a [u8], packet: &IpPacket) -> Option<&'a [u8]> {
    let bytes = frame.get(usize::from(packet.transport_offset)..usize::from(packet.end))?;
    let (header, _) = Udp::ref_from_prefix(bytes).ok()?;
    let length = header.length.get();
    let datagram = bytes.get(..usize::from(length))?;
    let intact = header.checksum.get() == 0
        || Sum::ZERO.pseudo_header(&packet.tuple, u32::from(length)).bytes(datagram).is_valid();
    intact.then_some(datagram)
}
