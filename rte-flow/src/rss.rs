//! `RSS`: by what packets are spread over receive queues.

use std::ffi::c_void;
use std::fmt;

use bitflags::bitflags;
use dpdk_sys as c;
use serde::Deserialize;

use crate::conf::{Conf, at};
use crate::decode::bytes_at;
use crate::encode::Arena;
use crate::error::DecodeReason;

/// More queues than any device has.
const MAX_QUEUES: u32 = 4096;
/// Longer than any hash key.
const MAX_KEY: u32 = 512;

bitflags! {
    /// By what a NIC hashes (`RTE_ETH_RSS_*`). A packet is hashed by its addresses when one of the bits is that of its kind, by
    /// its ports too when the bit is TCP's, UDP's or SCTP's.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RssTypes: u64 {
        /// IPv4.
        const IPV4 = c::RTE_ETH_RSS_IPV4;
        /// IPv4 fragments.
        const FRAG_IPV4 = c::RTE_ETH_RSS_FRAG_IPV4;
        /// TCP over IPv4.
        const IPV4_TCP = c::RTE_ETH_RSS_NONFRAG_IPV4_TCP;
        /// UDP over IPv4.
        const IPV4_UDP = c::RTE_ETH_RSS_NONFRAG_IPV4_UDP;
        /// SCTP over IPv4.
        const IPV4_SCTP = c::RTE_ETH_RSS_NONFRAG_IPV4_SCTP;
        /// Anything else over IPv4.
        const IPV4_OTHER = c::RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
        /// IPv6.
        const IPV6 = c::RTE_ETH_RSS_IPV6 | c::RTE_ETH_RSS_IPV6_EX;
        /// IPv6 fragments.
        const FRAG_IPV6 = c::RTE_ETH_RSS_FRAG_IPV6;
        /// TCP over IPv6.
        const IPV6_TCP = c::RTE_ETH_RSS_NONFRAG_IPV6_TCP | c::RTE_ETH_RSS_IPV6_TCP_EX;
        /// UDP over IPv6.
        const IPV6_UDP = c::RTE_ETH_RSS_NONFRAG_IPV6_UDP | c::RTE_ETH_RSS_IPV6_UDP_EX;
        /// SCTP over IPv6.
        const IPV6_SCTP = c::RTE_ETH_RSS_NONFRAG_IPV6_SCTP;
        /// Anything else over IPv6.
        const IPV6_OTHER = c::RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
        /// Of the addresses, the source's alone.
        const L3_SRC_ONLY = c::RTE_ETH_RSS_L3_SRC_ONLY;
        /// Of the addresses, the destination's alone.
        const L3_DST_ONLY = c::RTE_ETH_RSS_L3_DST_ONLY;
        /// Of the ports, the source's alone.
        const L4_SRC_ONLY = c::RTE_ETH_RSS_L4_SRC_ONLY;
        /// Of the ports, the destination's alone.
        const L4_DST_ONLY = c::RTE_ETH_RSS_L4_DST_ONLY;

        /// Everything that is hashed by addresses (`RTE_ETH_RSS_IP`).
        const IP = c::RTE_ETH_RSS_IP;
        /// TCP.
        const TCP = c::RTE_ETH_RSS_TCP;
        /// UDP.
        const UDP = c::RTE_ETH_RSS_UDP;
        /// SCTP.
        const SCTP = c::RTE_ETH_RSS_SCTP;
    }
}

/// How RSS hashes (`enum rte_eth_hash_function`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RssFunction {
    /// The device's choice.
    Default,
    /// Toeplitz.
    Toeplitz,
    /// XOR.
    SimpleXor,
    /// Toeplitz over sorted addresses and ports, so that both directions hash alike.
    SymmetricToeplitz,
}

impl RssFunction {
    /// testpmd's word, which profiles use too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Toeplitz => "toeplitz",
            Self::SimpleXor => "simple_xor",
            Self::SymmetricToeplitz => "symmetric_toeplitz",
        }
    }
}

/// Spreads packets over queues (`struct rte_flow_action_rss`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rss {
    /// The hash function.
    pub function: RssFunction,
    /// 0: the device's choice of headers, 1: the outermost, 2: the first inside the tunnel, and so on.
    pub level: u32,
    /// By what it hashes; nothing for the device's choice.
    pub types: RssTypes,
    /// The hash key; empty for the port's.
    pub key: Vec<u8>,
    /// The queues.
    pub queues: Vec<u16>,
}

impl Conf<c::rte_flow_action_rss> for Rss {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        let key = arena.slice(&self.key);
        let queue = arena.slice(&self.queues);
        arena.put(c::rte_flow_action_rss {
            func: match self.function {
                RssFunction::Default => c::RTE_ETH_HASH_FUNCTION_DEFAULT,
                RssFunction::Toeplitz => c::RTE_ETH_HASH_FUNCTION_TOEPLITZ,
                RssFunction::SimpleXor => c::RTE_ETH_HASH_FUNCTION_SIMPLE_XOR,
                RssFunction::SymmetricToeplitz => c::RTE_ETH_HASH_FUNCTION_SYMMETRIC_TOEPLITZ,
            },
            level: self.level,
            types: self.types.bits(),
            key_len: self.key.len() as u32,
            queue_num: self.queues.len() as u32,
            key,
            queue,
        })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let rss = unsafe { at::<c::rte_flow_action_rss>(conf) }?;
        let function = match rss.func {
            c::RTE_ETH_HASH_FUNCTION_DEFAULT => RssFunction::Default,
            c::RTE_ETH_HASH_FUNCTION_TOEPLITZ => RssFunction::Toeplitz,
            c::RTE_ETH_HASH_FUNCTION_SIMPLE_XOR => RssFunction::SimpleXor,
            c::RTE_ETH_HASH_FUNCTION_SYMMETRIC_TOEPLITZ => RssFunction::SymmetricToeplitz,
            other => return Err(DecodeReason::UnknownValue("hash function", other)),
        };
        // A key length without a key means the port's key of that length.
        let key_len = if rss.key.is_null() { 0 } else { rss.key_len };
        if key_len > MAX_KEY {
            return Err(DecodeReason::BadLength("key"));
        }
        if rss.queue_num > MAX_QUEUES || (rss.queue_num > 0 && rss.queue.is_null()) {
            return Err(DecodeReason::BadLength("list of queues"));
        }
        // SAFETY: not null, and the caller's promise covers the lengths.
        let key = unsafe { bytes_at(rss.key, key_len as usize) };
        let mut queues = Vec::with_capacity(rss.queue_num as usize);
        for index in 0..rss.queue_num as usize {
            // SAFETY: `index` is below the number of queues that the caller promises.
            queues.push(unsafe { *rss.queue.add(index) });
        }
        Ok(Self {
            function,
            level: rss.level,
            types: RssTypes::from_bits_retain(rss.types),
            key,
            queues,
        })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " func {} level {}", self.function.name(), self.level)?;
        let words = [
            (RssTypes::IP, "ip"),
            (RssTypes::TCP, "tcp"),
            (RssTypes::UDP, "udp"),
            (RssTypes::SCTP, "sctp"),
            (RssTypes::L3_SRC_ONLY, "l3-src-only"),
            (RssTypes::L3_DST_ONLY, "l3-dst-only"),
            (RssTypes::L4_SRC_ONLY, "l4-src-only"),
            (RssTypes::L4_DST_ONLY, "l4-dst-only"),
        ];
        f.write_str(" types")?;
        for (_, word) in words.iter().filter(|(types, _)| self.types.intersects(*types)) {
            write!(f, " {word}")?;
        }
        f.write_str(" end")?;
        if !self.key.is_empty() {
            f.write_str(" key ")?;
            self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            write!(f, " key_len {}", self.key.len())?;
        }
        f.write_str(" queues")?;
        self.queues.iter().try_for_each(|queue| write!(f, " {queue}"))?;
        f.write_str(" end")
    }
}
