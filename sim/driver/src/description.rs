//! What a card finds out about a frame on its way to software: layers, packet type, whether checksums are right.

use dpdk_sys::{
    RTE_MBUF_F_RX_IP_CKSUM_GOOD, RTE_MBUF_F_RX_L4_CKSUM_GOOD, RTE_PTYPE_L2_ETHER,
    RTE_PTYPE_L2_ETHER_ARP, RTE_PTYPE_L2_ETHER_QINQ, RTE_PTYPE_L2_ETHER_VLAN,
    RTE_PTYPE_L3_IPV4_EXT_UNKNOWN, RTE_PTYPE_L3_IPV6_EXT_UNKNOWN, RTE_PTYPE_L4_FRAG,
    RTE_PTYPE_L4_ICMP, RTE_PTYPE_L4_NONFRAG, RTE_PTYPE_L4_TCP, RTE_PTYPE_L4_UDP, RTE_PTYPE_UNKNOWN,
};
use packet::checksum::Sum;
use packet::wire::ethernet;
use packet::{Family, Fragment, IpPacket, Network, Transport};

/// The packet types that [`Description::packet_type`] gives, ended as DPDK wants it.
pub static PACKET_TYPES: [u32; 12] = [
    RTE_PTYPE_L2_ETHER,
    RTE_PTYPE_L2_ETHER_ARP,
    RTE_PTYPE_L2_ETHER_VLAN,
    RTE_PTYPE_L2_ETHER_QINQ,
    RTE_PTYPE_L3_IPV4_EXT_UNKNOWN,
    RTE_PTYPE_L3_IPV6_EXT_UNKNOWN,
    RTE_PTYPE_L4_TCP,
    RTE_PTYPE_L4_UDP,
    RTE_PTYPE_L4_ICMP,
    RTE_PTYPE_L4_FRAG,
    RTE_PTYPE_L4_NONFRAG,
    RTE_PTYPE_UNKNOWN,
];

/// The outermost layers of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Description {
    /// Bytes of VLAN tags before the EtherType of what is carried.
    tags: usize,
    arp: bool,
    /// The IP packet, whole and with an intact IPv4 header checksum; its offsets do not count the tags.
    ip: Option<IpPacket>,
}

impl Description {
    /// Looks at a frame.
    pub fn of(frame: &[u8]) -> Self {
        let is_tag = |at: usize| {
            let ethertype = frame.get(at..at + 2).and_then(<[u8]>::first_chunk);
            ethertype.is_some_and(|bytes| {
                [ethernet::VLAN, ethernet::SERVICE_VLAN].contains(&u16::from_be_bytes(*bytes))
            })
        };
        let tags = match (is_tag(12), is_tag(16)) {
            (false, _) => 0,
            (true, false) => 4,
            (true, true) => 8,
        };
        // Behind the tags comes an EtherType, as behind the addresses: the bytes before it stand for those.
        let untagged = frame.get(tags..).unwrap_or_default();
        let network = packet::parse(untagged).map(|parsed| parsed.network);
        let (arp, ip) = match network {
            Ok(Network::Ip(ip)) => (false, Some(ip)),
            Ok(Network::Arp) => (true, None),
            Err(_) => (false, None),
        };
        Self { tags, arp, ip }
    }

    /// The IP packet, when there is one that a card can make sense of.
    pub const fn ip(&self) -> Option<&IpPacket> {
        self.ip.as_ref()
    }

    /// Whether the frame has a VLAN tag.
    pub const fn is_tagged(&self) -> bool {
        self.tags > 0
    }

    /// `RTE_PTYPE_*`, one of each layer.
    pub fn packet_type(&self) -> u32 {
        let link = match self.tags {
            0 if self.arp => RTE_PTYPE_L2_ETHER_ARP,
            0 => RTE_PTYPE_L2_ETHER,
            4 => RTE_PTYPE_L2_ETHER_VLAN,
            _ => RTE_PTYPE_L2_ETHER_QINQ,
        };
        let Some(ip) = &self.ip else { return link };
        let network = match ip.tuple.family() {
            Family::V4 => RTE_PTYPE_L3_IPV4_EXT_UNKNOWN,
            Family::V6 => RTE_PTYPE_L3_IPV6_EXT_UNKNOWN,
        };
        let transport = match ip.transport {
            _ if ip.fragment != Fragment::None => RTE_PTYPE_L4_FRAG,
            Transport::Tcp(_) => RTE_PTYPE_L4_TCP,
            Transport::Udp => RTE_PTYPE_L4_UDP,
            Transport::Icmp { .. } | Transport::IcmpError { .. } => RTE_PTYPE_L4_ICMP,
            Transport::LaterFragment | Transport::Other => RTE_PTYPE_L4_NONFRAG,
        };
        link | network | transport
    }

    /// `RTE_MBUF_F_RX_*_CKSUM_GOOD` of the checksums that are right. As from mlx5, a wrong one is "unknown", never "bad".
    pub fn checksum_flags(&self, frame: &[u8]) -> u64 {
        let Some(ip) = &self.ip else { return 0 };
        let header = match ip.tuple.family() {
            // It was checked with all the rest.
            Family::V4 => RTE_MBUF_F_RX_IP_CKSUM_GOOD,
            Family::V6 => 0,
        };
        let at = |offset: u16| self.tags + usize::from(offset);
        let payload = frame.get(at(ip.transport_offset)..at(ip.end)).unwrap_or_default();
        let is_valid = |covered: &[u8]| {
            Sum::ZERO.pseudo_header(&ip.tuple, covered.len() as u32).bytes(covered).is_valid()
        };
        let intact = match ip.transport {
            _ if ip.fragment != Fragment::None => false,
            Transport::Tcp(_) => is_valid(payload),
            Transport::Udp => {
                let length = payload.get(4..6).and_then(<[u8]>::first_chunk);
                let length = length.map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
                let none = payload.get(6..8) == Some(&[0, 0]) && ip.tuple.family() == Family::V4;
                none || payload.get(..length).is_some_and(is_valid)
            }
            _ => false,
        };
        header | if intact { RTE_MBUF_F_RX_L4_CKSUM_GOOD } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::udp_frame;

    const BOTH: u64 = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;

    fn tagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
        [&frame[..12], tags, &frame[12..]].concat()
    }

    #[test]
    fn layers_with_and_without_tags() {
        let frame = udp_frame(1);
        let ip = RTE_PTYPE_L3_IPV4_EXT_UNKNOWN | RTE_PTYPE_L4_UDP;
        for (tags, link) in [
            (&[][..], RTE_PTYPE_L2_ETHER),
            (&[0x81, 0, 0, 5], RTE_PTYPE_L2_ETHER_VLAN),
            (&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], RTE_PTYPE_L2_ETHER_QINQ),
        ] {
            let frame = tagged(&frame, tags);
            let description = Description::of(&frame);
            assert_eq!(description.packet_type(), link | ip);
            assert_eq!(description.checksum_flags(&frame), BOTH);
            assert_eq!(description.is_tagged(), !tags.is_empty());
        }
        assert_eq!(Description::of(&[0; 60]).packet_type(), RTE_PTYPE_L2_ETHER);
        assert_eq!(Description::of(&[]).packet_type(), RTE_PTYPE_L2_ETHER);
    }

    #[test]
    fn what_is_wrong_is_not_called_good() {
        let frame = udp_frame(1);
        let flags = |change: fn(&mut Vec<u8>)| {
            let mut frame = frame.clone();
            change(&mut frame);
            Description::of(&frame).checksum_flags(&frame)
        };
        assert_eq!(flags(|_| {}), BOTH);
        assert_eq!(flags(|frame| frame[41] ^= 1), RTE_MBUF_F_RX_IP_CKSUM_GOOD, "the datagram's");
        assert_eq!(flags(|frame| frame[22] ^= 1), 0, "the header's");
        assert_eq!(flags(|frame| frame[40..42].fill(0)), BOTH, "none was made");
    }
}
