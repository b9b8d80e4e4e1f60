//! What one pass over a frame finds out: a small fixed record the pipeline works from.

use bitflags::bitflags;
use thiserror::Error;

use crate::{Ecn, Mac, Tuple};

bitflags! {
    /// TCP control bits (RFC 9293, section 3.1), as they stand in the header's fourteenth byte.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TcpFlags: u8 {
        /// No more data from the sender.
        const FIN = 0x01;
        /// Synchronise sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The acknowledgement field counts.
        const ACK = 0x10;
        /// The urgent field counts.
        const URG = 0x20;
        /// ECN echo (RFC 3168).
        const ECE = 0x40;
        /// Congestion window reduced (RFC 3168).
        const CWR = 0x80;
    }
}

/// Why a frame cannot be handled as what it claims to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum ParseError {
    /// A header is cut short, contradicts itself, or its checksum (IPv4 header) is wrong.
    #[error("malformed frame")]
    Malformed,
    /// Neither IPv4, IPv6 nor ARP; also every VLAN-tagged frame.
    #[error("unsupported EtherType")]
    UnsupportedEtherType,
}

/// What an IP packet carries, as far as the pipeline distinguishes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP, with its control bits.
    Tcp(TcpFlags),
    /// UDP.
    Udp,
    /// ICMP (v4 or v6 as the packet's family says) that is no error message: echo, ND, MLD, ...
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// An ICMP or ICMPv6 error message; it quotes the packet that caused it (from 8 bytes after the
    /// transport offset on).
    IcmpError {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// Any other protocol: a 3-tuple.
    Other,
    /// A fragment without the transport header (offset over 0).
    LaterFragment,
}

/// Whether the packet is a fragment. An IPv6 "atomic" fragment (RFC 6946) counts as none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// A whole packet.
    None,
    /// Offset 0 with more to come; holds the identification (16 bits used for IPv4).
    First(u32),
    /// Offset over 0.
    Later(u32),
}

/// A parsed IP packet inside an Ethernet frame. Offsets count from the frame's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpPacket {
    /// Addresses, protocol, ports. For [`Transport::LaterFragment`] the ports are 0; for
    /// [`Transport::IcmpError`] they are those of a non-echo message.
    pub tuple: Tuple,
    /// What it carries.
    pub transport: Transport,
    /// Fragment state.
    pub fragment: Fragment,
    /// Offset of the IP header (14: no VLAN tags reach the pipeline).
    pub network_offset: u16,
    /// Offset of the transport header; beyond all IPv6 extension headers.
    pub transport_offset: u16,
    /// Offset of the first byte after the IP packet (the rest of the frame is padding).
    pub end: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The ECN field.
    pub ecn: Ecn,
    /// IPv4 without options, or IPv6 without extension headers: what hardware rules match.
    pub plain: bool,
    /// IPv4 "don't fragment".
    pub dont_fragment: bool,
}

impl IpPacket {
    /// Length of the IP packet in bytes, header included: what an MTU limits.
    #[must_use]
    pub const fn length(&self) -> u16 {
        self.end.saturating_sub(self.network_offset)
    }
}

/// An Ethernet frame, parsed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// Destination MAC of the frame.
    pub destination_mac: Mac,
    /// Source MAC of the frame.
    pub source_mac: Mac,
    /// What the frame carries.
    pub network: Network,
}

/// The network layer of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// IPv4 or IPv6.
    Ip(IpPacket),
    /// An ARP message for IPv4 over Ethernet (RFC 826), complete from offset 14 on.
    Arp,
}
