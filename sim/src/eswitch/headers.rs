//! What the card's parser finds in a frame: the outer headers and, behind a VXLAN header, the inner ones.
//!
//! The card never refuses a frame. Where a header is cut short or contradicts itself, it and all that follows are
//! simply not there for rules to match; [`Headers::integrity`] says more about the ones that are.

use packet::checksum::Sum;
use packet::wire::{ethernet, protocol, vxlan};
use rte_flow::IntegrityBits;

use super::bytes;

/// Which of two nested sets of headers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Depth {
    /// From the frame's first byte on.
    Outer,
    /// From the byte after the VXLAN header on.
    Inner,
}

/// The network header of one set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The transport header of one set. Fragments have none: the card does not look for it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP, at least 20 bytes.
    Tcp,
    /// UDP, at least 8 bytes.
    Udp,
    /// ICMP, at least 8 bytes.
    Icmp,
    /// `ICMPv6`, at least 4 bytes.
    Icmp6,
}

/// One set of headers. Offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Offset of the Ethernet header.
    pub ethernet: usize,
    /// The `EtherType` after all tags, then 1 when there is a tag.
    pub ethernet_type: [u8; 3],
    /// The first tag's control information, the `EtherType` after all tags, then 1 when there is a second tag.
    pub vlan: Option<[u8; 5]>,
    /// The network header and its offset.
    pub network: Option<(Network, usize)>,
    /// The transport header and its offset.
    pub transport: Option<(Transport, usize)>,
    /// Which IPv6 extension headers there are, in network byte order.
    pub extensions: [u8; 4],
    /// Offset after the IP packet as its header says, or after the frame where it says more.
    end: usize,
    /// The lengths of the network header fit each other and the frame.
    network_fits: bool,
}

impl Layer {
    /// Length of the Ethernet header with its tags, in bytes; what an MTU does not count.
    pub fn link_length(&self) -> usize {
        match self.vlan {
            None => 14,
            Some([.., 0]) => 18,
            Some(_) => 22,
        }
    }
}

/// Both sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers {
    /// The outer set; absent in frames of less than 14 bytes.
    pub outer: Option<Layer>,
    /// The inner set, in VXLAN packets only.
    pub inner: Option<Layer>,
    /// Offset of the VXLAN header.
    pub vxlan: Option<usize>,
}

impl Headers {
    /// Parses a frame.
    pub fn parse(frame: &[u8]) -> Self {
        let outer = layer(frame, 0);
        let udp = match outer.and_then(|layer| layer.transport) {
            Some((Transport::Udp, at)) => Some(at),
            _ => None,
        };
        let vxlan =
            udp.filter(|at| bytes::u16(frame, at + 2) == Some(vxlan::PORT)).map(|at| at + 8);
        let vxlan = vxlan.filter(|at| frame.len() >= at + 8);
        let datagram_end = udp.zip(udp.and_then(|at| bytes::u16(frame, at + 4)));
        // The inner packet must lie within the tunnel's datagram.
        let tunnel_end = outer
            .map_or(frame.len(), |layer| layer.end.min(frame.len()))
            .min(datagram_end.map_or(frame.len(), |(at, length)| at + usize::from(length)));
        let tunnel = frame.get(..tunnel_end).unwrap_or(frame);
        let inner = vxlan.and_then(|at| layer(tunnel, at + 8));
        Self { outer, inner, vxlan }
    }

    /// The set at a depth.
    pub fn layer(&self, depth: Depth) -> Option<&Layer> {
        match depth {
            Depth::Outer => self.outer.as_ref(),
            Depth::Inner => self.inner.as_ref(),
        }
    }

    /// What the card's checks say of the headers at `depth`. `L3_OK` and `L4_OK` include the checksum of their layer, as
    /// the card's driver asks for both together; a layer that is absent is not ok.
    pub fn integrity(&self, depth: Depth, frame: &[u8]) -> IntegrityBits {
        let Some(layer) = self.layer(depth) else { return IntegrityBits::empty() };
        let mut ok = IntegrityBits::L2_OK | IntegrityBits::L2_CRC_OK;
        let mut network_ok = false;
        if let Some((network, at)) = layer.network {
            let checksum_ok = match network {
                Network::V4 => {
                    ipv4_header(frame, at).is_some_and(|h| Sum::ZERO.bytes(h).is_valid())
                }
                Network::V6 => true,
            };
            ok.set(IntegrityBits::IPV4_CHECKSUM_OK, checksum_ok && network == Network::V4);
            ok.set(IntegrityBits::L3_LENGTH_OK, layer.network_fits);
            network_ok = checksum_ok && layer.network_fits;
            ok.set(IntegrityBits::L3_OK, network_ok);
        }
        let mut transport_ok = false;
        if let Some(segment) = transport_segment(layer, frame) {
            let checksum_ok = transport_checksum_ok(layer, frame, segment);
            transport_ok = checksum_ok && network_ok;
            ok.set(IntegrityBits::L4_CHECKSUM_OK, checksum_ok);
            ok.set(IntegrityBits::L4_OK, transport_ok);
        }
        let complete =
            (network_ok || layer.network.is_none()) && (transport_ok || layer.transport.is_none());
        ok.set(IntegrityBits::PACKET_OK, complete);
        ok
    }
}

fn layer(frame: &[u8], ethernet: usize) -> Option<Layer> {
    let mut ether_type = bytes::u16(frame, ethernet + 12)?;
    let mut at = ethernet + 14;
    let (mut control, mut tags) = (None, 0_u8);
    while tags < 2 && ethernet::is_vlan(ether_type) {
        let (Some(tag), Some(next)) = (bytes::u16(frame, at), bytes::u16(frame, at + 2)) else {
            break;
        };
        control.get_or_insert(tag.to_be_bytes());
        ether_type = next;
        tags += 1;
        at += 4;
    }
    let [high, low] = ether_type.to_be_bytes();
    let mut layer = Layer {
        ethernet,
        ethernet_type: [high, low, u8::from(tags > 0)],
        vlan: control.map(|[c0, c1]| [c0, c1, high, low, u8::from(tags > 1)]),
        network: None,
        transport: None,
        extensions: [0; 4],
        end: frame.len(),
        network_fits: false,
    };
    match ether_type {
        ethernet::IPV4 => ipv4(&mut layer, frame, at),
        ethernet::IPV6 => ipv6(&mut layer, frame, at),
        _ => {}
    }
    Some(layer)
}

fn ipv4_header(frame: &[u8], at: usize) -> Option<&[u8]> {
    let first = *frame.get(at)?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 {
        return None;
    }
    frame.get(at..at + length)
}

/// "More fragments" and the fragment offset.
const FRAGMENT_BITS: u16 = 0x3fff;

fn ipv4(layer: &mut Layer, frame: &[u8], at: usize) {
    let Some(header) = ipv4_header(frame, at) else { return };
    let (Some(total), Some(fragment), Some(protocol)) =
        (bytes::u16(header, 2), bytes::u16(header, 6), header.get(9))
    else {
        return;
    };
    let (total, length) = (usize::from(total), header.len());
    layer.network = Some((Network::V4, at));
    layer.network_fits = total >= length && at + total <= frame.len();
    if layer.network_fits {
        layer.end = at + total;
    }
    if fragment & FRAGMENT_BITS == 0 {
        layer.transport = transport(layer, frame, at + length, *protocol, Network::V4);
    }
}

/// The most extension headers the parser walks.
const EXTENSIONS_WALKED: usize = 8;

/// The number an IPv6 extension header has in `rte_flow_item_ipv6`'s `has_*_ext` bits.
fn extension_bit(next: u8) -> Option<u32> {
    Some(match next {
        protocol::HOP_BY_HOP => 0,
        protocol::ROUTING => 1,
        protocol::FRAGMENT => 2,
        protocol::AUTHENTICATION => 3,
        ESP => 4,
        protocol::DESTINATION_OPTIONS => 5,
        protocol::MOBILITY => 6,
        protocol::HIP => 7,
        protocol::SHIM6 => 8,
        _ => return None,
    })
}

/// The protocol number of the encapsulating security payload (RFC 4303).
const ESP: u8 = 50;

fn ipv6(layer: &mut Layer, frame: &[u8], at: usize) {
    let Some(header) = frame.get(at..at + 40) else { return };
    let (Some(first), Some(payload), Some(next)) =
        (header.first(), bytes::u16(header, 4), header.get(6))
    else {
        return;
    };
    if first >> 4 != 6 {
        return;
    }
    let (mut next, mut place) = (*next, at + 40);
    layer.network = Some((Network::V6, at));
    layer.network_fits = place + usize::from(payload) <= frame.len();
    if layer.network_fits {
        layer.end = place + usize::from(payload);
    }
    let mut found = 0_u32;
    for _ in 0..=EXTENSIONS_WALKED {
        let Some(bit) = extension_bit(next) else {
            layer.transport = transport(layer, frame, place, next, Network::V6);
            break;
        };
        found |= 1 << bit;
        if matches!(next, protocol::FRAGMENT | ESP) {
            break;
        }
        let (Some(following), Some(units)) = (frame.get(place), frame.get(place + 1)) else {
            break;
        };
        place += match next {
            protocol::AUTHENTICATION => (usize::from(*units) + 2) * 4,
            _ => (usize::from(*units) + 1) * 8,
        };
        next = *following;
    }
    layer.extensions = found.to_be_bytes();
}

fn transport(
    layer: &Layer,
    frame: &[u8],
    at: usize,
    protocol: u8,
    network: Network,
) -> Option<(Transport, usize)> {
    let (transport, length) = match (protocol, network) {
        (protocol::TCP, _) => (Transport::Tcp, 20),
        (protocol::UDP, _) => (Transport::Udp, 8),
        (protocol::ICMP, Network::V4) => (Transport::Icmp, 8),
        (protocol::ICMPV6, Network::V6) => (Transport::Icmp6, 4),
        _ => return None,
    };
    (at + length <= layer.end.min(frame.len())).then_some((transport, at))
}

/// The transport header and payload, when their lengths fit each other.
fn transport_segment<'a>(layer: &Layer, frame: &'a [u8]) -> Option<&'a [u8]> {
    let (transport, at) = layer.transport?;
    let segment = frame.get(at..layer.end)?;
    match transport {
        Transport::Tcp => {
            let length = usize::from(segment.get(12)? >> 4) * 4;
            (20..=segment.len()).contains(&length).then_some(segment)
        }
        Transport::Udp => {
            let length = usize::from(bytes::u16(segment, 4)?);
            segment.get(..length).filter(|datagram| datagram.len() >= 8)
        }
        Transport::Icmp | Transport::Icmp6 => Some(segment),
    }
}

fn transport_checksum_ok(layer: &Layer, frame: &[u8], segment: &[u8]) -> bool {
    let (Some((transport, _)), Some((network, at))) = (layer.transport, layer.network) else {
        return false;
    };
    let (addresses, protocol) = match (network, transport) {
        (_, Transport::Icmp) => return Sum::ZERO.bytes(segment).is_valid(),
        // No checksum; tunnels send so on IPv6 too (RFC 6935).
        (_, Transport::Udp) if bytes::u16(segment, 6) == Some(0) => return true,
        (Network::V4, _) => (at + 12..at + 20, protocol_of(transport)),
        (Network::V6, _) => (at + 8..at + 40, protocol_of(transport)),
    };
    let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    frame.get(addresses).is_some_and(|addresses| {
        Sum::ZERO.bytes(addresses).u32(length).u16(u16::from(protocol)).bytes(segment).is_valid()
    })
}

const fn protocol_of(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => protocol::TCP,
        Transport::Udp => protocol::UDP,
        Transport::Icmp => protocol::ICMP,
        Transport::Icmp6 => protocol::ICMPV6,
    }
}
