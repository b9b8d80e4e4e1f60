//! Receive-side scaling: which queue a frame goes to when no rule says so.

use dpdk_sys::{RTE_ETH_RSS_IP, RTE_ETH_RSS_TCP, RTE_ETH_RSS_UDP};
use packet::{Family, Fragment, Network, Transport};

use crate::software::QueueIndex;

/// Length of a key in bytes: enough for two IPv6 addresses and two ports.
pub const KEY_LENGTH: usize = 40;

/// What can be hashed by.
pub const SUPPORTED: u64 = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;

/// Used unless the application gives a key: the one that Microsoft publishes with the function's test vectors.
pub const DEFAULT_KEY: [u8; KEY_LENGTH] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// The bits of `RTE_ETH_RSS_*` that concern IPv4; the others of [`SUPPORTED`] concern IPv6.
const IPV4: u64 = dpdk_sys::RTE_ETH_RSS_IPV4
    | dpdk_sys::RTE_ETH_RSS_FRAG_IPV4
    | dpdk_sys::RTE_ETH_RSS_NONFRAG_IPV4_OTHER
    | dpdk_sys::RTE_ETH_RSS_NONFRAG_IPV4_TCP
    | dpdk_sys::RTE_ETH_RSS_NONFRAG_IPV4_UDP;

/// How a port spreads frames over its queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rss {
    /// The key of the Toeplitz function.
    pub key: [u8; KEY_LENGTH],
    /// What to hash by (`RTE_ETH_RSS_*`).
    pub types: u64,
    /// How many queues there are; 0 counts as 1.
    pub queues: u16,
}

impl Rss {
    /// The hash of a frame; `None` for one that has nothing to hash by.
    pub fn hash(&self, frame: &[u8]) -> Option<u32> {
        let Ok(Network::Ip(ip)) = packet::parse(frame).map(|parsed| parsed.network) else {
            return None;
        };
        let types = match ip.tuple.family() {
            Family::V4 => self.types & IPV4,
            Family::V6 => self.types & !IPV4,
        };
        let ports = match ip.transport {
            _ if ip.fragment != Fragment::None => 0,
            Transport::Tcp(_) => types & RTE_ETH_RSS_TCP,
            Transport::Udp => types & RTE_ETH_RSS_UDP,
            _ => 0,
        };
        if types & RTE_ETH_RSS_IP == 0 && ports == 0 {
            return None;
        }
        let (source, destination) = ip.tuple.address_bytes();
        let numbers = [ip.tuple.source_port(), ip.tuple.destination_port()].map(u16::to_be_bytes);
        let numbers = if ports == 0 { &[][..] } else { numbers.as_flattened() };
        Some(toeplitz(&self.key, source.iter().chain(destination).chain(numbers).copied()))
    }

    /// The queue of a hash.
    pub fn queue(&self, hash: Option<u32>) -> QueueIndex {
        QueueIndex((hash.unwrap_or(0) % u32::from(self.queues.max(1))) as u16)
    }
}

/// The Toeplitz function (Microsoft, "RSS hashing functions"): for every set bit of the input, the 32 bits of the key that
/// begin at its position.
fn toeplitz(key: &[u8; KEY_LENGTH], input: impl Iterator<Item = u8>) -> u32 {
    let bit = |position: usize| {
        let byte = key.get(position / 8).copied().unwrap_or(0);
        u32::from(byte >> (7 - position % 8) & 1)
    };
    let mut window = (0..32).fold(0, |window, position| window << 1 | bit(position));
    let mut hash = 0;
    for (index, byte) in input.enumerate() {
        for number in 0..8 {
            if byte >> (7 - number) & 1 == 1 {
                hash ^= window;
            }
            window = window << 1 | bit(32 + index * 8 + number);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published vectors: 66.9.149.187:2794 -> 161.142.100.80:1766, without and with ports.
    #[test]
    fn the_published_vectors() {
        let addresses = [66, 9, 149, 187, 161, 142, 100, 80];
        let ports = [2794_u16.to_be_bytes(), 1766_u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&DEFAULT_KEY, addresses.into_iter()), 0x323e_8fc2);
        assert_eq!(toeplitz(&DEFAULT_KEY, addresses.into_iter().chain(ports)), 0x51cc_c178);
    }

    fn udp(source: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, source, 10, 0, 0, 2]);
        // The header's checksum.
        let sum: u32 = frame[14..]
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let folded = !((sum & 0xffff) as u16 + (sum >> 16) as u16);
        frame[24..26].copy_from_slice(&folded.to_be_bytes());
        frame.extend([0x30, 0x39, 0, 53, 0, 8, 0, 0]);
        frame
    }

    #[test]
    fn what_is_asked_for_decides() {
        let rss = |types| Rss { key: DEFAULT_KEY, types, queues: 4 };
        let by_address = rss(RTE_ETH_RSS_IP).hash(&udp(1));
        let by_port = rss(RTE_ETH_RSS_UDP).hash(&udp(1));
        assert!(by_address.is_some() && by_port.is_some() && by_address != by_port);
        assert_eq!(rss(RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP).hash(&udp(1)), by_port);
        assert_eq!(rss(RTE_ETH_RSS_TCP).hash(&udp(1)), None);
        assert_eq!(rss(SUPPORTED & !IPV4).hash(&udp(1)), None);
        assert_eq!(rss(SUPPORTED).hash(&[0; 60]), None);
        assert_eq!(rss(SUPPORTED).queue(None), QueueIndex(0));
    }

    #[test]
    fn flows_spread_over_all_queues() {
        let rss = Rss { key: DEFAULT_KEY, types: SUPPORTED, queues: 4 };
        let queues: std::collections::HashSet<u16> =
            (0..100).map(|source| rss.queue(rss.hash(&udp(source))).0).collect();
        assert_eq!(queues.len(), 4);
    }
}
