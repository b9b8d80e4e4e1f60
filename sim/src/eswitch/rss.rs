//! Receive-side scaling: by what packets are spread over queues.

use arrayvec::ArrayVec;
use rte_flow::{RssFunction, RssTypes};

use super::headers::{Depth, Headers, Layer, Network, Transport};

/// Length of a key in bytes: enough for two IPv6 addresses and two ports.
pub const RSS_KEY_BYTES: usize = 40;

/// Used unless the application gives a key: the one that Microsoft publishes with the function's test vectors.
pub const DEFAULT_RSS_KEY: [u8; RSS_KEY_BYTES] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// How packets are hashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RssHash {
    /// The function.
    pub function: RssFunction,
    /// By what.
    pub types: RssTypes,
    /// Of which headers.
    pub depth: Depth,
    /// The key of the Toeplitz functions.
    pub key: [u8; RSS_KEY_BYTES],
}

impl RssHash {
    /// The hash of a frame; `None` for one that has nothing to hash by.
    #[must_use]
    pub fn hash(&self, frame: &[u8]) -> Option<u32> {
        self.hash_parsed(frame, &Headers::parse(frame))
    }

    /// The hash of a frame with these headers.
    pub(super) fn hash_parsed(&self, frame: &[u8], headers: &Headers) -> Option<u32> {
        let layer = headers.layer(self.depth)?;
        let (network, at) = layer.network?;
        let at = usize::from(at);
        let (addresses, length) = match network {
            Network::V4 => (frame.get(at + 12..at + 20)?, 4),
            Network::V6 => (frame.get(at + 8..at + 40)?, 16),
        };
        let (by_addresses, by_ports) = kinds(network, layer);
        let is_by_ports = self.types.intersects(by_ports);
        if !is_by_ports && !self.types.intersects(by_addresses) {
            return None;
        }
        let ports = layer.transport.filter(|_| is_by_ports);
        let ports =
            ports.map_or(Some(&[][..]), |(_, at)| frame.get(at.into()..usize::from(at) + 4))?;
        let mut input = ArrayVec::<u8, 36>::new();
        let halves = [
            (addresses, length, RssTypes::L3_SRC_ONLY, RssTypes::L3_DST_ONLY),
            (ports, ports.len() / 2, RssTypes::L4_SRC_ONLY, RssTypes::L4_DST_ONLY),
        ];
        for (pair, length, source_only, destination_only) in halves {
            let (source, destination) = pair.split_at_checked(length).unwrap_or_default();
            let both = source.iter().zip(destination).map(|(source, destination)| {
                if self.function == RssFunction::SymmetricToeplitz {
                    [source ^ destination; 2]
                } else {
                    [*source, *destination]
                }
            });
            // A part that stays out is not there: what follows moves up.
            if !self.types.contains(destination_only) {
                input.extend(both.clone().map(|[source, _]| source));
            }
            if !self.types.contains(source_only) {
                input.extend(both.map(|[_, destination]| destination));
            }
        }
        Some(match self.function {
            RssFunction::SimpleXor => xor(&input),
            _ => toeplitz(&self.key, &input),
        })
    }
}

/// Which types hash a packet by its addresses, and which by its ports too.
fn kinds(network: Network, layer: &Layer) -> (RssTypes, RssTypes) {
    let none = RssTypes::empty();
    let (all, fragment, other) = match network {
        Network::V4 => (RssTypes::IPV4, RssTypes::FRAG_IPV4, RssTypes::IPV4_OTHER),
        Network::V6 => (RssTypes::IPV6, RssTypes::FRAG_IPV6, RssTypes::IPV6_OTHER),
    };
    if layer.is_fragment {
        return (all | fragment, none);
    }
    match (layer.transport, network) {
        (Some((Transport::Tcp, _)), Network::V4) => (all, RssTypes::IPV4_TCP),
        (Some((Transport::Tcp, _)), Network::V6) => (all, RssTypes::IPV6_TCP),
        (Some((Transport::Udp, _)), Network::V4) => (all, RssTypes::IPV4_UDP),
        (Some((Transport::Udp, _)), Network::V6) => (all, RssTypes::IPV6_UDP),
        (Some((Transport::Sctp, _)), Network::V4) => (all, RssTypes::IPV4_SCTP),
        (Some((Transport::Sctp, _)), Network::V6) => (all, RssTypes::IPV6_SCTP),
        _ => (all | other, none),
    }
}

/// The Toeplitz function (Microsoft, "RSS hashing functions"): for every set bit of the input, the 32 bits of the key that
/// begin at its position.
fn toeplitz(key: &[u8; RSS_KEY_BYTES], input: &[u8]) -> u32 {
    let windows = key
        .windows(5)
        .map(|window| window.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)));
    input.iter().zip(windows).fold(0, |hash, (byte, window)| {
        (0..8)
            .filter(|bit| byte >> (7 - bit) & 1 == 1)
            .fold(hash, |hash, bit| hash ^ (window >> (8 - bit)) as u32)
    })
}

/// All words of 32 bits, the last one filled up with zeros.
fn xor(input: &[u8]) -> u32 {
    input.chunks(4).fold(0, |hash, chunk| {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash ^ u32::from_be_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published vectors: 66.9.149.187:2794 -> 161.142.100.80:1766, without and with ports.
    #[test]
    fn the_published_vectors() {
        let addresses = [66, 9, 149, 187, 161, 142, 100, 80];
        let ports = [2794_u16.to_be_bytes(), 1766_u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&DEFAULT_RSS_KEY, &addresses), 0x323e_8fc2);
        assert_eq!(toeplitz(&DEFAULT_RSS_KEY, &[&addresses[..], &ports].concat()), 0x51cc_c178);
    }

    /// A UDP packet over IPv4, and the same in the other direction.
    fn udp(source: u8, destination: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, source]);
        frame.extend([10, 0, 0, destination]);
        frame.extend(ports.map(u16::to_be_bytes).concat());
        frame.extend([0, 8, 0, 0]);
        frame
    }

    fn hash(types: RssTypes, frame: &[u8]) -> Option<u32> {
        hash_by(RssFunction::Toeplitz, types, frame)
    }

    fn hash_by(function: RssFunction, types: RssTypes, frame: &[u8]) -> Option<u32> {
        RssHash { function, types, depth: Depth::Outer, key: DEFAULT_RSS_KEY }.hash(frame)
    }

    #[test]
    fn what_is_asked_for_decides() {
        let frame = udp(1, 2, [12_345, 53]);
        let by_address = hash(RssTypes::IP, &frame);
        let by_port = hash(RssTypes::UDP, &frame);
        assert!(by_address.is_some() && by_port.is_some() && by_address != by_port);
        assert_eq!(hash(RssTypes::IP | RssTypes::UDP, &frame), by_port);
        assert_eq!(hash(RssTypes::TCP, &frame), None);
        assert_eq!(hash(RssTypes::IPV4_OTHER | RssTypes::IPV6, &frame), None);
        assert_eq!(hash(RssTypes::all(), &[0; 60]), None);
        let source_only = RssTypes::IP | RssTypes::L3_SRC_ONLY;
        assert_eq!(hash(source_only, &frame), hash(source_only, &udp(1, 9, [1, 2])));
        assert_ne!(hash(source_only, &frame), hash(source_only, &udp(2, 2, [12_345, 53])));
    }

    #[test]
    fn the_symmetric_function_takes_both_directions_for_one_flow() {
        let types = RssTypes::IP | RssTypes::UDP;
        let (there, back) = (udp(1, 2, [12_345, 53]), udp(2, 1, [53, 12_345]));
        let symmetric = |frame| hash_by(RssFunction::SymmetricToeplitz, types, frame);
        assert_eq!(symmetric(&there), symmetric(&back));
        assert_ne!(symmetric(&there), symmetric(&udp(1, 3, [12_345, 53])));
        assert_ne!(hash(types, &there), hash(types, &back));
        // 10.0.0.1 ^ 10.0.0.2 ^ (12345 << 16 | 53)
        assert_eq!(hash_by(RssFunction::SimpleXor, types, &there), Some(0x3039_0036));
    }

    #[test]
    fn flows_spread_over_all_queues() {
        let hashes = (0..100).filter_map(|source| hash(RssTypes::IP, &udp(source, 2, [1, 2])));
        let queues: std::collections::HashSet<u32> = hashes.map(|hash| hash % 4).collect();
        assert_eq!(queues.len(), 4);
    }
}
