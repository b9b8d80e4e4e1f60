//! The device's own checks.

use packet::checksum::Sum;
use packet::wire::protocol;
use rte_flow::IntegrityBits;

use super::super::bytes;
use super::layer::ipv4_header;
use super::{Depth, Headers, Layer, Network, Transport};

impl Headers {
    /// What the card's checks say of the headers at `depth`. `L3_OK` and `L4_OK` include the checksum of their layer, as
    /// the card's driver asks for both together; a layer that is absent is not ok, nor is one that the card does not
    /// check: SCTP and ESP.
    pub fn integrity(&self, depth: Depth, frame: &[u8]) -> IntegrityBits {
        let Some(layer) = self.layer(depth) else { return IntegrityBits::empty() };
        let mut ok = IntegrityBits::L2_OK | IntegrityBits::L2_CRC_OK;
        let mut network_ok = false;
        if let Some((network, at)) = layer.network {
            let checksum_ok = match network {
                Network::V4 => {
                    ipv4_header(frame, at.into()).is_some_and(|h| Sum::ZERO.bytes(h).is_valid())
                }
                Network::V6 => true,
            };
            ok.set(IntegrityBits::IPV4_CHECKSUM_OK, checksum_ok && network == Network::V4);
            ok.set(IntegrityBits::L3_LENGTH_OK, layer.network_fits);
            network_ok = checksum_ok && layer.network_fits;
            ok.set(IntegrityBits::L3_OK, network_ok);
        }
        let mut transport_ok = false;
        if let Some((segment, protocol)) = segment(layer, frame) {
            let checksum_ok = checksum_ok(layer, frame, segment, protocol);
            transport_ok = checksum_ok && network_ok;
            ok.set(IntegrityBits::L4_CHECKSUM_OK, checksum_ok);
            ok.set(IntegrityBits::L4_OK, transport_ok);
        }
        let unchecked =
            matches!(layer.transport, None | Some((Transport::Sctp | Transport::Esp, _)));
        let complete = (network_ok || layer.network.is_none()) && (transport_ok || unchecked);
        ok.set(IntegrityBits::PACKET_OK, complete);
        ok
    }
}

/// The transport header and payload, when their lengths fit each other, and the protocol; `None` for what is not checked.
fn segment<'a>(layer: &Layer, frame: &'a [u8]) -> Option<(&'a [u8], u8)> {
    let (transport, at) = layer.transport?;
    let segment = frame.get(usize::from(at)..layer.end as usize)?;
    match transport {
        Transport::Tcp => {
            let length = usize::from(segment.get(12)? >> 4) * 4;
            (20..=segment.len()).contains(&length).then_some((segment, protocol::TCP))
        }
        Transport::Udp => {
            let length = usize::from(bytes::u16(segment, 4)?);
            let datagram = segment.get(..length).filter(|datagram| datagram.len() >= 8)?;
            Some((datagram, protocol::UDP))
        }
        Transport::Icmp => Some((segment, protocol::ICMP)),
        Transport::Icmp6 => Some((segment, protocol::ICMPV6)),
        Transport::Sctp | Transport::Esp => None,
    }
}

fn checksum_ok(layer: &Layer, frame: &[u8], segment: &[u8], protocol: u8) -> bool {
    let Some((network, at)) = layer.network else { return false };
    let at = usize::from(at);
    let addresses = match (network, protocol) {
        (_, protocol::ICMP) => return Sum::ZERO.bytes(segment).is_valid(),
        // No checksum; tunnels send so on IPv6 too (RFC 6935).
        (_, protocol::UDP) if bytes::u16(segment, 6) == Some(0) => return true,
        (Network::V4, _) => at + 12..at + 20,
        (Network::V6, _) => at + 8..at + 40,
    };
    let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    frame.get(addresses).is_some_and(|addresses| {
        Sum::ZERO.bytes(addresses).u32(length).u16(u16::from(protocol)).bytes(segment).is_valid()
    })
}
