//! Receive-side scaling: which queue a frame goes to when no rule says so.

use dpdk_sys::{
    RTE_ETH_RSS_IP, RTE_ETH_RSS_L3_DST_ONLY, RTE_ETH_RSS_L3_SRC_ONLY, RTE_ETH_RSS_L4_DST_ONLY,
    RTE_ETH_RSS_L4_SRC_ONLY, RTE_ETH_RSS_TCP, RTE_ETH_RSS_UDP,
};
use packet::{Family, Fragment, IpPacket, Transport};
use sim::eswitch::{DEFAULT_RSS_KEY, RSS_KEY_BYTES};

use crate::software::QueueIndex;

/// Length of a key in bytes.
pub const KEY_LENGTH: usize = RSS_KEY_BYTES;
/// Bytes that are hashed at most.
const INPUT: usize = 36;
/// Entries of the redirection table: what the modelled cards have.
pub const TABLE_SIZE: usize = 512;

/// What can be hashed by.
pub const SUPPORTED: u64 = RTE_ETH_RSS_IP
    | RTE_ETH_RSS_TCP
    | RTE_ETH_RSS_UDP
    | RTE_ETH_RSS_L3_SRC_ONLY
    | RTE_ETH_RSS_L3_DST_ONLY
    | RTE_ETH_RSS_L4_SRC_ONLY
    | RTE_ETH_RSS_L4_DST_ONLY;

/// The bits of `RTE_ETH_RSS_*` that concern IPv4 alone.
const IPV4: u64 = dpdk_sys::RTE_ETH_RSS_IPV4
    | dpdk_sys::RTE_ETH_RSS_FRAG_IPV4
    | dpdk_sys::RTE_ETH_RSS_NONFRAG_IPV4_OTHER
    | dpdk_sys::RTE_ETH_RSS_NONFRAG_IPV4_TCP
    | dpdk_sys::RTE_ETH_RSS_NONFRAG_IPV4_UDP;
/// Those that concern IPv6 alone.
const IPV6: u64 = (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP) & !IPV4;

/// How a port spreads frames over its queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rss {
    function: Toeplitz,
    /// What to hash by (`RTE_ETH_RSS_*`).
    pub types: u64,
    /// The queue of each remainder that a hash leaves when divided by the table's size.
    pub table: Box<[u16; TABLE_SIZE]>,
}

impl Rss {
    /// The default key and nothing to hash by; the table goes round `queues` queues, 0 counting as 1.
    pub fn new(queues: u16) -> Self {
        let mut table = Box::new([0; TABLE_SIZE]);
        for (entry, queue) in table.iter_mut().zip((0..queues.max(1)).cycle()) {
            *entry = queue;
        }
        Self { function: Toeplitz::new(DEFAULT_RSS_KEY), types: 0, table }
    }

    /// Lets the table go round the queues that it has but this one.
    pub fn leave_out(&mut self, queue: u16) {
        let mut others: Vec<u16> = self.table.iter().copied().filter(|at| *at != queue).collect();
        others.sort_unstable();
        others.dedup();
        for (entry, other) in self.table.iter_mut().zip(others.iter().cycle()) {
            *entry = *other;
        }
    }

    /// The key of the hash function.
    pub const fn key(&self) -> &[u8; KEY_LENGTH] {
        &self.function.key
    }

    /// Changes the key.
    pub fn set_key(&mut self, key: [u8; KEY_LENGTH]) {
        self.function = Toeplitz::new(key);
    }

    /// The hash of a packet; `None` for one that has nothing to hash by.
    pub fn hash(&self, ip: &IpPacket) -> Option<u32> {
        let types = match ip.tuple.family() {
            Family::V4 => self.types & !IPV6,
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
        // A part that stays out is not there: what follows moves up.
        let part = |without: u64, bytes| if types & without == 0 { bytes } else { &[][..] };
        let (source, destination) = ip.tuple.address_bytes();
        let addresses = part(RTE_ETH_RSS_L3_DST_ONLY, source)
            .iter()
            .chain(part(RTE_ETH_RSS_L3_SRC_ONLY, destination));
        let source = ip.tuple.source_port().to_be_bytes();
        let destination = ip.tuple.destination_port().to_be_bytes();
        let numbers = part(RTE_ETH_RSS_L4_DST_ONLY, &source)
            .iter()
            .chain(part(RTE_ETH_RSS_L4_SRC_ONLY, &destination))
            .take(if ports == 0 { 0 } else { 4 });
        Some(self.function.hash(addresses.chain(numbers).copied()))
    }

    /// The queue of a hash; without one, the first.
    pub fn queue(&self, hash: Option<u32>) -> QueueIndex {
        let entry = hash.and_then(|hash| self.table.get(hash as usize % TABLE_SIZE));
        QueueIndex(entry.copied().unwrap_or(0))
    }
}

/// The Toeplitz function (Microsoft, "RSS hashing functions"): for every set bit of the input, the 32 bits of the key that
/// begin at its position. What each value of each byte adds is worked out beforehand.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Toeplitz {
    key: [u8; KEY_LENGTH],
    bytes: Vec<[u32; 256]>,
}

impl Toeplitz {
    fn new(key: [u8; KEY_LENGTH]) -> Self {
        let window = |bit: usize| {
            (bit..bit + 32).fold(0_u32, |window, bit| {
                let byte = key.get(bit / 8).copied().unwrap_or(0);
                window << 1 | u32::from(byte >> (7 - bit % 8) & 1)
            })
        };
        let mut bytes = vec![[0; 256]; INPUT];
        for (position, values) in bytes.iter_mut().enumerate() {
            let windows: [u32; 8] = std::array::from_fn(|bit| window(position * 8 + bit));
            for (value, sum) in values.iter_mut().enumerate() {
                *sum = windows
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| value >> (7 - bit) & 1 == 1)
                    .fold(0, |sum, (_, window)| sum ^ window);
            }
        }
        Self { key, bytes }
    }

    fn hash(&self, input: impl Iterator<Item = u8>) -> u32 {
        input
            .zip(&self.bytes)
            .fold(0, |hash, (byte, values)| hash ^ values.get(usize::from(byte)).unwrap_or(&0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::Description;
    use crate::testing::udp_frame;

    /// The published vectors: 66.9.149.187:2794 -> 161.142.100.80:1766, without and with ports.
    #[test]
    fn the_published_vectors() {
        let function = Toeplitz::new(DEFAULT_RSS_KEY);
        let addresses = [66, 9, 149, 187, 161, 142, 100, 80];
        let ports = [2794_u16.to_be_bytes(), 1766_u16.to_be_bytes()].concat();
        assert_eq!(function.hash(addresses.into_iter()), 0x323e_8fc2);
        assert_eq!(function.hash(addresses.into_iter().chain(ports)), 0x51cc_c178);
    }

    fn ip(frame: &[u8]) -> IpPacket {
        *Description::of(frame).ip().expect("an IP packet")
    }

    fn hash(types: u64, frame: &[u8]) -> Option<u32> {
        Rss { types, ..Rss::new(4) }.hash(&ip(frame))
    }

    #[test]
    fn what_is_asked_for_decides() {
        let frame = udp_frame(1);
        let by_address = hash(RTE_ETH_RSS_IP, &frame);
        let by_port = hash(RTE_ETH_RSS_UDP, &frame);
        assert!(by_address.is_some() && by_port.is_some() && by_address != by_port);
        assert_eq!(hash(RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP, &frame), by_port);
        assert_eq!(hash(RTE_ETH_RSS_TCP, &frame), None);
        assert_eq!(hash(IPV6, &frame), None);
        assert_eq!(Rss::new(4).queue(None), QueueIndex(0));
    }

    #[test]
    fn one_side_only() {
        let by = |types| [1, 3].map(|source| hash(types, &udp_frame(source)));
        let [one, other] = by(RTE_ETH_RSS_IP | RTE_ETH_RSS_L3_SRC_ONLY);
        assert_ne!(one, other, "the sources differ");
        let [one, other] = by(RTE_ETH_RSS_IP | RTE_ETH_RSS_L3_DST_ONLY);
        assert_eq!(one, other, "the destination is the same");
        let [one, other] = by(RTE_ETH_RSS_UDP | RTE_ETH_RSS_L3_DST_ONLY | RTE_ETH_RSS_L4_SRC_ONLY);
        assert_eq!(one, other, "so is the source port");
    }

    #[test]
    fn a_key_that_repeats_every_two_bytes_is_symmetric() {
        let mut rss = Rss { types: RTE_ETH_RSS_UDP, ..Rss::new(4) };
        let there = ip(&udp_frame(1));
        let back = IpPacket { tuple: there.tuple.reversed(), ..there };
        assert_ne!(rss.hash(&there), rss.hash(&back));
        rss.set_key(std::array::from_fn(|at| [0x6d, 0x5a][at % 2]));
        assert!(rss.hash(&there).is_some());
        assert_eq!(rss.hash(&there), rss.hash(&back));
    }

    #[test]
    fn flows_spread_over_the_tables_queues() {
        let mut rss = Rss { types: SUPPORTED & !IPV6 & 0xffff_ffff, ..Rss::new(4) };
        let queues = |rss: &Rss| -> std::collections::BTreeSet<u16> {
            (0..100).map(|source| rss.queue(rss.hash(&ip(&udp_frame(source)))).0).collect()
        };
        assert_eq!(queues(&rss), [0, 1, 2, 3].into());
        rss.table.fill(2);
        assert_eq!(queues(&rss), [2].into());
    }

    #[test]
    fn the_table_goes_round_the_queues_that_are_left() {
        let mut rss = Rss::new(4);
        rss.leave_out(3);
        rss.leave_out(9);
        assert_eq!(rss.table[..5], [0, 1, 2, 0, 1]);
        let mut rss = Rss::new(1);
        rss.leave_out(0);
        assert_eq!(rss.table[..2], [0, 0], "there is no other");
    }
}
