//! What an application leaves to the card when it sends: checksums, segmentation, a VLAN tag (DPDK programmer's guide, "Mbuf
//! library", meta information).

use dpdk_sys::{
    RTE_MBUF_F_TX_IP_CKSUM, RTE_MBUF_F_TX_IPV6, RTE_MBUF_F_TX_L4_MASK,
    RTE_MBUF_F_TX_OUTER_IP_CKSUM, RTE_MBUF_F_TX_TCP_CKSUM, RTE_MBUF_F_TX_TCP_SEG,
    RTE_MBUF_F_TX_TUNNEL_MASK, RTE_MBUF_F_TX_UDP_CKSUM, RTE_MBUF_F_TX_VLAN, rte_mbuf,
};
use packet::checksum::Sum;
use packet::wire::{ethernet, protocol};

/// Where the Ethernet addresses end.
const ADDRESSES: usize = 12;
/// Flags of TCP (RFC 9293) that only the last segment keeps: FIN and PSH.
const LAST_ONLY: u8 = 0x01 | 0x08;
/// The one that only the first segment keeps: CWR (RFC 3168).
const FIRST_ONLY: u8 = 0x80;

/// What is to be done to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Orders {
    flags: u64,
    /// Where the outer IP header of a tunnel begins, and its length.
    outer: (usize, usize),
    /// Where the IP header begins.
    network: usize,
    /// Where the transport header begins.
    transport: usize,
    /// Where the payload begins.
    payload: usize,
    /// Bytes of payload in a segment.
    segment: usize,
    vlan: u16,
}

impl Orders {
    /// What the application asks for; `None`: nothing.
    pub fn of(packet: &rte_mbuf) -> Option<Self> {
        const ANY: u64 = RTE_MBUF_F_TX_IP_CKSUM
            | RTE_MBUF_F_TX_L4_MASK
            | RTE_MBUF_F_TX_OUTER_IP_CKSUM
            | RTE_MBUF_F_TX_TCP_SEG
            | RTE_MBUF_F_TX_VLAN;
        let flags = packet.ol_flags;
        if flags & ANY == 0 {
            return None;
        }
        // SAFETY: every bit pattern is a value of these lengths, which the application set with the flags.
        let lengths = unsafe { &packet.__bindgen_anon_3.__bindgen_anon_1 };
        let outer = if flags & (RTE_MBUF_F_TX_TUNNEL_MASK | RTE_MBUF_F_TX_OUTER_IP_CKSUM) == 0 {
            (0, 0)
        } else {
            (lengths.outer_l2_len() as usize, lengths.outer_l3_len() as usize)
        };
        let network = outer.0 + outer.1 + lengths.l2_len() as usize;
        let transport = network + lengths.l3_len() as usize;
        Some(Self {
            flags,
            outer,
            network,
            transport,
            payload: transport + lengths.l4_len() as usize,
            segment: lengths.tso_segsz() as usize,
            vlan: packet.vlan_tci,
        })
    }

    /// Whether the packet is to be cut into segments.
    pub const fn is_segmentation(&self) -> bool {
        self.flags & RTE_MBUF_F_TX_TCP_SEG != 0
    }

    /// How many segments a packet makes.
    pub fn segments(&self, packet: &[u8]) -> usize {
        packet.len().saturating_sub(self.payload).div_ceil(self.segment.max(1)).max(1)
    }

    /// Writes segment `number`, complete, and returns its length; `None` when the packet is not as its lengths say, or there is no
    /// room.
    pub fn write_segment(&self, packet: &[u8], number: usize, room: &mut [u8]) -> Option<usize> {
        let (headers, payload) = packet.split_at_checked(self.payload)?;
        let start = number.checked_mul(self.segment)?;
        let end = start.checked_add(self.segment)?.min(payload.len());
        let part = payload.get(start..end)?;
        let length = headers.len() + part.len();
        room.get_mut(..headers.len())?.copy_from_slice(headers);
        room.get_mut(headers.len()..length)?.copy_from_slice(part);
        let frame = room.get_mut(..length)?;
        let network = (length - self.network) as u16;
        if self.is_ipv6() {
            put(frame, self.network + 4, network.checked_sub(40)?)?;
        } else {
            put(frame, self.network + 2, network)?;
            let identification = field(frame, self.network + 4)?.wrapping_add(number as u16);
            put(frame, self.network + 4, identification)?;
        }
        let sequence = frame.get_mut(self.transport + 4..)?.first_chunk_mut::<4>()?;
        *sequence = u32::from_be_bytes(*sequence).wrapping_add(start as u32).to_be_bytes();
        let flags = frame.get_mut(self.transport + 13)?;
        if end < payload.len() {
            *flags &= !LAST_ONLY;
        }
        if number > 0 {
            *flags &= !FIRST_ONLY;
        }
        // Segmentation brings the checksums with it.
        let header = if self.is_ipv6() { 0 } else { RTE_MBUF_F_TX_IP_CKSUM };
        let flags = self.flags & !RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_CKSUM | header;
        Self { flags, ..*self }.complete(room, length)
    }

    /// Completes a frame of `length` bytes where it lies and returns its length then; `None` when it is not as its lengths say, or
    /// there is no room.
    pub fn complete(&self, room: &mut [u8], length: usize) -> Option<usize> {
        let frame = room.get_mut(..length)?;
        if self.flags & RTE_MBUF_F_TX_IP_CKSUM != 0 {
            complete_ipv4(frame, self.network, self.transport)?;
        }
        match self.flags & RTE_MBUF_F_TX_L4_MASK {
            RTE_MBUF_F_TX_TCP_CKSUM => self.complete_transport(frame, protocol::TCP, 16)?,
            RTE_MBUF_F_TX_UDP_CKSUM => self.complete_transport(frame, protocol::UDP, 6)?,
            _ => {}
        }
        if self.flags & RTE_MBUF_F_TX_OUTER_IP_CKSUM != 0 {
            complete_ipv4(frame, self.outer.0, self.outer.0 + self.outer.1)?;
        }
        if self.flags & RTE_MBUF_F_TX_VLAN == 0 {
            return Some(length);
        }
        let tagged = room.get_mut(..length + 4).filter(|_| length >= ADDRESSES)?;
        tagged.copy_within(ADDRESSES..length, ADDRESSES + 4);
        put(tagged, ADDRESSES, ethernet::VLAN)?;
        put(tagged, ADDRESSES + 2, self.vlan)?;
        Some(length + 4)
    }

    const fn is_ipv6(&self) -> bool {
        self.flags & RTE_MBUF_F_TX_IPV6 != 0
    }

    /// Writes the checksum that stands `at` bytes into the transport header.
    fn complete_transport(&self, frame: &mut [u8], protocol: u8, at: usize) -> Option<()> {
        let (addresses, end) = if self.is_ipv6() {
            let payload = usize::from(field(frame, self.network + 4)?);
            (self.network + 8..self.network + 40, self.network + 40 + payload)
        } else {
            let total = usize::from(field(frame, self.network + 2)?);
            (self.network + 12..self.network + 20, self.network + total)
        };
        put(frame, self.transport + at, 0)?;
        let covered = frame.get(self.transport..end)?;
        let sum = Sum::ZERO
            .bytes(frame.get(addresses)?)
            .u32(covered.len() as u32)
            .u16(protocol.into())
            .bytes(covered);
        // In TCP a sum of all ones means the same as 0.
        put(frame, self.transport + at, sum.udp_checksum())
    }
}

/// Writes the checksum of the IPv4 header at `start..end`.
fn complete_ipv4(frame: &mut [u8], start: usize, end: usize) -> Option<()> {
    put(frame, start + 10, 0)?;
    let sum = Sum::ZERO.bytes(frame.get(start..end)?).checksum();
    put(frame, start + 10, sum)
}

fn field(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn put(frame: &mut [u8], at: usize, value: u16) -> Option<()> {
    *frame.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use dpdk_sys::{
        RTE_MBUF_F_RX_IP_CKSUM_GOOD, RTE_MBUF_F_RX_L4_CKSUM_GOOD, RTE_MBUF_F_TX_IPV4,
        RTE_MBUF_F_TX_TUNNEL_VXLAN,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::description::Description;
    use crate::testing::udp_frame;

    const BOTH: u64 = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;

    fn orders(flags: u64, lengths: [u64; 3]) -> rte_mbuf {
        // SAFETY: the structure consists of numbers and pointers.
        let mut packet: rte_mbuf = unsafe { std::mem::zeroed() };
        packet.ol_flags = flags;
        packet.vlan_tci = 0x2005;
        // SAFETY: every bit pattern is a value.
        let to = unsafe { &mut packet.__bindgen_anon_3.__bindgen_anon_1 };
        to.set_l2_len(lengths[0]);
        to.set_l3_len(lengths[1]);
        to.set_l4_len(lengths[2]);
        packet
    }

    #[test]
    fn checksums_and_tag() {
        let frame = udp_frame(1);
        let mut room = vec![0; 100];
        room[..frame.len()].copy_from_slice(&frame);
        for at in [24, 25, 40, 41] {
            room[at] = 0xaa;
        }
        let flags = RTE_MBUF_F_TX_IP_CKSUM
            | RTE_MBUF_F_TX_IPV4
            | RTE_MBUF_F_TX_UDP_CKSUM
            | RTE_MBUF_F_TX_VLAN;
        let orders = Orders::of(&orders(flags, [14, 20, 8])).expect("something to do");
        assert_eq!(orders.complete(&mut room, frame.len()), Some(frame.len() + 4));
        let tagged = [&frame[..12], &[0x81, 0, 0x20, 5], &frame[12..]].concat();
        assert_eq!(room[..tagged.len()], tagged);
    }

    #[test]
    fn a_tunnels_outer_and_inner_headers() {
        // Outer Ethernet and IPv4, then 16 bytes of UDP and VXLAN, then the frame.
        let inner = udp_frame(1);
        let mut room = [&udp_frame(7)[..34], &[0; 16], &inner].concat();
        let whole = room.clone();
        for at in [24, 25, 50 + 24, 50 + 25, 50 + 40, 50 + 41] {
            room[at] = 0xaa;
        }
        let flags = RTE_MBUF_F_TX_IP_CKSUM
            | RTE_MBUF_F_TX_IPV4
            | RTE_MBUF_F_TX_UDP_CKSUM
            | RTE_MBUF_F_TX_OUTER_IP_CKSUM
            | RTE_MBUF_F_TX_TUNNEL_VXLAN;
        let mut packet = orders(flags, [8 + 8 + 14, 20, 8]);
        // SAFETY: every bit pattern is a value.
        let lengths = unsafe { &mut packet.__bindgen_anon_3.__bindgen_anon_1 };
        lengths.set_outer_l2_len(14);
        lengths.set_outer_l3_len(20);
        let length = room.len();
        let orders = Orders::of(&packet).expect("something to do");
        assert_eq!(orders.complete(&mut room, length), Some(length));
        assert_eq!(room, whole);
    }

    #[test]
    fn nothing_asked_for_is_nothing_to_do() {
        assert_eq!(Orders::of(&orders(RTE_MBUF_F_TX_IPV4, [14, 20, 8])), None);
    }

    /// TCP from 10.0.0.1 with sequence number 1000, FIN, PSH, CWR and ACK, and a payload.
    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut frame = udp_frame(1);
        frame.truncate(34);
        frame[23] = protocol::TCP;
        frame.extend([0, 80, 0, 81, 0, 0, 0x03, 0xe8, 0, 0, 0, 0, 0x50, 0x99, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    proptest! {
        #[test]
        fn segments_are_whole_packets_that_join(
            payload in prop::collection::vec(any::<u8>(), 1..5000),
            size in 1_u64..1500,
        ) {
            let packet = tcp(&payload);
            let flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4;
            let mut order = orders(flags, [14, 20, 20]);
            // SAFETY: every bit pattern is a value.
            unsafe { &mut order.__bindgen_anon_3.__bindgen_anon_1 }.set_tso_segsz(size);
            let orders = Orders::of(&order).unwrap();
            let count = orders.segments(&packet);
            prop_assert_eq!(count, payload.len().div_ceil(size as usize));
            let mut joined = Vec::new();
            let mut room = vec![0; 2000];
            for number in 0..count {
                let length = orders.write_segment(&packet, number, &mut room).unwrap();
                let frame = &room[..length];
                prop_assert_eq!(Description::of(frame).checksum_flags(frame), BOTH);
                let sequence = u32::from_be_bytes(*frame[38..].first_chunk().unwrap());
                prop_assert_eq!(sequence as usize, 1000 + joined.len());
                prop_assert_eq!(usize::from(field(frame, 18).unwrap()), number);
                let (first, last) = (number == 0, number + 1 == count);
                let expected = 0x10 | if last { LAST_ONLY } else { 0 } | if first { FIRST_ONLY } else { 0 };
                prop_assert_eq!(frame[47], expected);
                joined.extend_from_slice(&frame[54..]);
            }
            prop_assert_eq!(joined, payload);
        }

        #[test]
        fn lengths_that_lie_never_panic(
            flags in any::<u64>(),
            lengths in any::<u64>(),
            frame in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut packet = orders(flags, [0, 0, 0]);
            packet.__bindgen_anon_3.tx_offload = lengths;
            if let Some(orders) = Orders::of(&packet) {
                let mut room = vec![0; 300];
                room[..frame.len()].copy_from_slice(&frame);
                orders.complete(&mut room, frame.len());
                orders.write_segment(&frame, orders.segments(&frame) - 1, &mut room);
            }
        }
    }
}
