//! Keys as the connection table keeps and hashes them.

use model::decision::{Key, Side, Zone};
use model::snapshot::InterfaceId;
use packet::{Family, TcpFlags, Tuple, Usual};

/// A key without the bytes that say nothing, ready to be hashed and compared in words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CompactKey {
    /// Both addresses, then ports (low half) and zone (high half).
    pub(super) words: [u64; 5],
    /// Protocol and family.
    pub(super) protocol: u16,
}

impl Eq for CompactKey {}

/// All at once: nearly every key that is compared is equal, and a call to compare bytes costs more.
impl PartialEq for CompactKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differ = |(a, b): (&u64, &u64)| a ^ b;
        let words = self.words.iter().zip(&other.words).map(differ).fold(0, |all, word| all | word);
        words | u64::from(self.protocol ^ other.protocol) == 0
    }
}

impl CompactKey {
    /// That of a packet of the usual shape.
    #[inline]
    pub(crate) fn of_usual(zone: Zone, usual: &Usual) -> Self {
        let ([a, b], [c, d]) = (usual.source, usual.destination);
        let with_zone = u64::from(usual.ports) | u64::from(zone.number()) << 32;
        let family = match usual.family {
            Family::V4 => 0,
            Family::V6 => 1,
        };
        Self { words: [a, b, c, d, with_zone], protocol: family << 8 | u16::from(usual.protocol) }
    }

    /// The packet of the usual shape with this key, so many bytes long, that has these control bits.
    pub(crate) const fn usual(&self, length: u16, flags: TcpFlags) -> Usual {
        let [a, b, c, d, last] = self.words;
        Usual {
            source: [a, b],
            destination: [c, d],
            ports: last as u32,
            protocol: self.protocol as u8,
            family: if self.protocol >> 8 == 0 { Family::V4 } else { Family::V6 },
            flags,
            length,
        }
    }
}

impl From<&Key> for CompactKey {
    #[inline]
    fn from(key: &Key) -> Self {
        let [a, b, c, d, last]: [u64; 5] = zerocopy::transmute!(key.tuple);
        let last = u64::from_le(last);
        let with_zone = (last & 0xffff_ffff) | u64::from(key.zone.number()) << 32;
        Self { words: [a, b, c, d, with_zone], protocol: (last >> 32) as u16 }
    }
}

impl From<&CompactKey> for Key {
    fn from(key: &CompactKey) -> Self {
        let [a, b, c, d, last] = key.words;
        let zone = (last >> 32) as u32;
        let last = (last & 0xffff_ffff) | u64::from(key.protocol) << 32;
        let tuple: Tuple = zerocopy::transmute!([a, b, c, d, last.to_le()]);
        let side = if zone & 1 == 1 { Side::FromNetwork } else { Side::FromVm };
        Self { zone: Zone::new(InterfaceId(zone >> 1), side), tuple }
    }
}

/// Hashes keys under a secret seed, so that nobody outside can aim at a place: NH, the universal hash of UMAC (RFC 4418,
/// section 5.2), over words of 64 bits, and one more multiplication that spreads its sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    secrets: [u64; 8],
}

impl KeyHasher {
    /// Draws all secrets from one seed (with `SplitMix64`).
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let secrets = [(); 8].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        });
        Self { secrets }
    }

    #[inline]
    pub(crate) fn hash(&self, key: &CompactKey) -> u64 {
        let [k0, k1, k2, k3, k4, k5, k6, k7] = self.secrets;
        let [source, from, destination, to, last] = key.words;
        let product = |x: u64, y: u64| u128::from(x) * u128::from(y);
        let pair = |x: u64, k: u64, y: u64, l: u64| product(x.wrapping_add(k), y.wrapping_add(l));
        let sum = pair(source, k0, from, k1)
            .wrapping_add(pair(destination, k2, to, k3))
            .wrapping_add(pair(last, k4, key.protocol.into(), k5));
        let spread = product(sum as u64 ^ k6, (sum >> 64) as u64 ^ k7);
        spread as u64 ^ (spread >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_compact_key_is_the_key(
            (zone, bytes) in (any::<u32>(), any::<[u8; 32]>()),
            ports in any::<(u16, u16)>(),
            (protocol, v6) in any::<(u8, bool)>(),
        ) {
            let (source, destination) = bytes.split_at(16);
            let (source, destination) = (source.try_into().unwrap(), destination.try_into().unwrap());
            let tuple = if v6 {
                Tuple::v6(source, destination, protocol, ports.0, ports.1)
            } else {
                let [a, b, c, d, ..] = source;
                let [e, f, g, h, ..] = destination;
                Tuple::v4([a, b, c, d], [e, f, g, h], protocol, ports.0, ports.1)
            };
            let side = if zone & 1 == 1 { Side::FromNetwork } else { Side::FromVm };
            let key = Key { zone: Zone::new(InterfaceId(zone >> 1), side), tuple };
            prop_assert_eq!(Key::from(&CompactKey::from(&key)), key);
        }
    }

    /// As in a frame of TCP.
    fn frame(zeros: &[u8], v6: bool, addresses: &[u8; 32], ports: [u8; 4]) -> Vec<u8> {
        let mut tcp = [&ports[..], &[0; 8], &[0x50, 0x10], &[0; 6]].concat();
        tcp.extend(zeros);
        let mut frame = vec![2; 12];
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, tcp.len() as u8, 6, 64]);
            frame.extend(addresses);
        } else {
            let mut ip = vec![0x45, 0, 0, 20 + tcp.len() as u8, 0, 0, 0, 0, 64, 6, 0, 0];
            ip.extend_from_slice(&addresses[..4]);
            ip.extend_from_slice(&addresses[16..20]);
            let sum = packet::checksum::Sum::ZERO.bytes(&ip).checksum().to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        frame.extend(tcp);
        frame
    }

    proptest! {
        #[test]
        fn both_parsers_give_the_same_key(
            addresses: [u8; 32], ports: [u8; 4], v6: bool, interface in 0..u32::MAX / 2,
        ) {
            let frame = frame(&[0; 6], v6, &addresses, ports);
            let zone = Zone::new(InterfaceId(interface), Side::FromNetwork);
            let parsed = packet::parse(&frame).unwrap();
            let packet::Network::Ip(packet) = parsed.network else { panic!("IP") };
            let usual = packet::parse_usual(&frame).unwrap();
            let key = CompactKey::of_usual(zone, &usual);
            prop_assert_eq!(key, CompactKey::from(&Key { zone, tuple: packet.tuple }));
            prop_assert_eq!(key.usual(usual.length, usual.flags), usual);
        }
    }

    /// Keys that differ in few bits, as an attacker would choose them who knows all but the seed.
    #[test]
    fn close_keys_fall_apart() {
        let hasher = KeyHasher::new(1);
        let (mut whole, mut low) = (HashSet::new(), HashSet::new());
        for host in 0..64_u8 {
            for port in 0..1024_u16 {
                let tuple =
                    Tuple::v4([10, 0, 0, host], [10, 0, 0, host ^ 63], 17, port, 1024 - port);
                let zone = Zone::new(InterfaceId(1), Side::FromVm);
                let hash = hasher.hash(&CompactKey::from(&Key { zone, tuple }));
                whole.insert(hash);
                low.insert(hash as u16);
            }
        }
        assert_eq!(whole.len(), 1 << 16);
        // Thrown at random, 1 - 1/e of all places are hit: 41,427.
        assert!((41_000..41_900).contains(&low.len()), "{}", low.len());
    }
}
