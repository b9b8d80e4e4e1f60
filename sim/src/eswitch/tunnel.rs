//! Encapsulation and decapsulation as the card does them.

use packet::checksum::Sum;
use packet::wire::{ethernet, protocol};
use packet::{Frame, NoRoom, vxlan_source_port_of};

use super::bytes;
use super::headers::Network;
use super::subject::Subject;

/// The most bytes the card prepends.
pub const ENCAPSULATION_BYTES: usize = 132;

/// Headers to prepend. They are static: the card fills in lengths, the IPv4 checksum and the UDP source port, and copies
/// neither DSCP nor ECN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encapsulation {
    bytes: Box<[u8]>,
    /// The IP header; absent in bytes that nobody checked.
    network: Option<Outer>,
    udp_offset: Option<usize>,
    /// The bits that stay as they are.
    preserved: Option<Box<[u8]>>,
}

/// The IP header of an encapsulation, and where it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outer {
    /// With the sum of all but its length and checksum.
    V4(usize, Sum),
    V6(usize),
}

/// Why bytes are no encapsulation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncapsulationProblem {
    /// More than the card's buffer holds.
    #[error(
        "the encapsulation is {0} bytes long and the card prepends at most {ENCAPSULATION_BYTES}; shorten it"
    )]
    TooLong(usize),
    /// Not Ethernet with tags, then IPv4 or IPv6, whole.
    #[error(
        "the encapsulation must begin with whole Ethernet and IPv4 or IPv6 headers; complete it"
    )]
    NotATunnel,
    /// A checksum that the card would not fill in.
    #[error(
        "the encapsulation's UDP checksum is not 0, and the card does not compute it; set it to 0"
    )]
    UdpChecksum,
}

impl Encapsulation {
    /// Headers given as bytes.
    pub fn new(header: &[u8]) -> Result<Self, EncapsulationProblem> {
        let made = Self::unchecked(header)?;
        if made.network.is_none() {
            return Err(EncapsulationProblem::NotATunnel);
        }
        if made.udp_offset.is_some_and(|udp| bytes::u16(header, udp + 6) != Some(0)) {
            return Err(EncapsulationProblem::UdpChecksum);
        }
        Ok(made)
    }

    /// Bytes that may be headers: then the card fills them in, else they are prepended as they are.
    pub fn unchecked(header: &[u8]) -> Result<Self, EncapsulationProblem> {
        if header.len() > ENCAPSULATION_BYTES {
            return Err(EncapsulationProblem::TooLong(header.len()));
        }
        let (network, udp_offset) = match outline(header) {
            Some((network, at, udp)) => (Some(outer(header, network, at)), udp),
            None => (None, None),
        };
        Ok(Self { bytes: header.into(), network, udp_offset, preserved: None })
    }

    /// The same headers, of which the card leaves the bits of a mask as they are.
    pub fn preserving(self, mask: Option<&[u8]>) -> Self {
        Self { preserved: mask.map(Into::into), ..self }
    }

    /// Prepends the headers.
    pub fn push(&self, frame: &mut Frame<'_>) -> Result<(), NoRoom> {
        let source_port = self
            .udp_offset
            .map(|udp| (udp, vxlan_source_port_of(frame.bytes()).unwrap_or(NO_ENTROPY)));
        frame.prepend(self.bytes.len())?;
        let frame = frame.bytes_mut();
        let total = frame.len();
        if let Some(front) = frame.get_mut(..self.bytes.len()) {
            front.copy_from_slice(&self.bytes);
        }
        // The length fields wrap as the card's do: such a frame is beyond any MTU and dies at the port.
        let length_from = |offset: usize| total.saturating_sub(offset) as u16;
        match self.network {
            Some(Outer::V4(at, sum)) => {
                let length = length_from(at);
                put(frame, at + 2, length);
                put(frame, at + 10, sum.u16(length).checksum());
            }
            Some(Outer::V6(at)) => put(frame, at + 4, length_from(at + 40)),
            None => {}
        }
        if let Some((udp, port)) = source_port {
            put(frame, udp, port);
            put(frame, udp + 4, length_from(udp));
        }
        if let Some(preserved) = &self.preserved {
            for ((out, byte), mask) in frame.iter_mut().zip(&self.bytes).zip(preserved) {
                *out = *out & !mask | byte & mask;
            }
        }
        Ok(())
    }
}

/// The source port for what has no addresses: that of an all-zero key.
const NO_ENTROPY: u16 = 0xc000;

fn put(frame: &mut [u8], at: usize, value: u16) {
    if let Some(field) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value.to_be_bytes();
    }
}

fn outer(header: &[u8], network: Network, at: usize) -> Outer {
    match network {
        Network::V4 => {
            let mut fixed = [0; 20];
            fixed.copy_from_slice(header.get(at..at + 20).unwrap_or(&[0; 20]));
            // Length and checksum are the packet's.
            fixed[2..4].fill(0);
            fixed[10..12].fill(0);
            Outer::V4(at, Sum::ZERO.bytes(&fixed))
        }
        Network::V6 => Outer::V6(at),
    }
}

fn outline(header: &[u8]) -> Option<(Network, usize, Option<usize>)> {
    let (mut ether_type, mut at) = (bytes::u16(header, 12)?, 14);
    while ethernet::is_vlan(ether_type) {
        ether_type = bytes::u16(header, at + 2)?;
        at += 4;
    }
    let (network, next, payload) = match ether_type {
        // Options would need a longer checksum; no tunnel has them.
        ethernet::IPV4 if header.get(at) == Some(&0x45) => {
            (Network::V4, *header.get(at + 9)?, at + 20)
        }
        ethernet::IPV6 => (Network::V6, *header.get(at + 6)?, at + 40),
        _ => return None,
    };
    if header.len() < payload {
        return None;
    }
    let udp = (next == protocol::UDP).then_some(payload);
    if udp.is_some_and(|udp| header.len() < udp + 8) {
        return None;
    }
    Some((network, at, udp))
}

/// Strips the link header of an IP packet; others keep it.
pub fn strip_link(subject: &Subject, frame: &mut Frame<'_>) {
    if let Some((_, at)) = subject.headers.outer.and_then(|outer| outer.network) {
        frame.trim_front(at.into());
    }
}

/// Strips everything up to the inner IP header and prepends a link header; `false` when the packet is not a tunnel's that
/// carries IP, and then it is unchanged.
pub fn decapsulate_network(subject: &Subject, frame: &mut Frame<'_>, link: &[u8]) -> bool {
    let inner = subject.headers.inner.and_then(|inner| inner.network);
    let Some((_, at)) = inner else { return false };
    let Some(removed) = usize::from(at).checked_sub(link.len()) else { return false };
    frame.trim_front(removed);
    if let Some(front) = frame.bytes_mut().get_mut(..link.len()) {
        front.copy_from_slice(link);
    }
    true
}

/// Strips everything up to the inner frame; `false` when the packet is not a tunnel's that carries Ethernet, and then it is
/// unchanged.
pub fn decapsulate(subject: &Subject, frame: &mut Frame<'_>) -> bool {
    let inner = subject.headers.inner.and_then(|inner| inner.ethernet);
    let Some(inner) = inner else { return false };
    frame.trim_front(inner.into());
    true
}
