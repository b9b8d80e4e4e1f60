//! One stack of headers: link, network, transport.

use packet::wire::{ethernet, protocol};

use super::super::bytes;

/// The network header of a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What stands on the network header. Fragments have none: the card does not look for it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP, at least 20 bytes.
    Tcp,
    /// UDP, at least 8 bytes.
    Udp,
    /// SCTP, at least 12 bytes.
    Sctp,
    /// ICMP, at least 8 bytes.
    Icmp,
    /// `ICMPv6`, at least 4 bytes.
    Icmp6,
    /// ESP, at least 8 bytes.
    Esp,
}

/// The control information of a tag, the `EtherType` after all tags, then 1 when another tag follows.
pub type Tag = [u8; 5];

/// One stack of headers. Offsets count from the frame's first byte; no header is looked for behind byte 65535.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Offset of the Ethernet header; absent where a tunnel carries IP.
    pub ethernet: Option<u16>,
    /// The `EtherType` after all tags, then 1 when there is a tag.
    pub ethernet_type: [u8; 3],
    /// How many tags the parser stepped over, 0 to 2.
    pub tags: u8,
    /// These tags.
    pub vlans: [Option<Tag>; 2],
    /// Offset of an ARP packet for Ethernet and IPv4.
    pub arp: Option<u16>,
    /// The network header and its offset.
    pub network: Option<(Network, u16)>,
    /// Whether the packet is a fragment.
    pub is_fragment: bool,
    /// Offset of the IPv6 fragment header.
    pub fragment_header: Option<u16>,
    /// Which IPv6 extension headers there are, in network byte order.
    pub extensions: [u8; 4],
    /// The protocol of what follows the network header and its extensions, and the offset of that; absent in fragments.
    pub carried: Option<(u8, u16)>,
    /// What stands on the network header, and its offset.
    pub transport: Option<(Transport, u16)>,
    /// Offset after the IP packet as its header says, or after the frame where it says more.
    pub(super) end: u32,
    /// The lengths of the network header fit each other and the frame.
    pub(super) network_fits: bool,
}

/// An Ethernet header with the tags that the parser steps over.
struct Link {
    /// Behind all tags.
    ether_type: u16,
    controls: [Option<[u8; 2]>; 2],
    tags: u8,
}

impl Link {
    fn parse(frame: &[u8], start: usize) -> Option<Self> {
        let ether_type = bytes::u16(frame, start + 12)?;
        let mut link = Self { ether_type, controls: [None; 2], tags: 0 };
        for control in &mut link.controls {
            let at = start + length(link.tags);
            if !ethernet::is_vlan(link.ether_type) {
                break;
            }
            let (Some(tag), Some(next)) = (bytes::u16(frame, at), bytes::u16(frame, at + 2)) else {
                break;
            };
            *control = Some(tag.to_be_bytes());
            link.ether_type = next;
            link.tags += 1;
        }
        Some(link)
    }
}

fn length(tags: u8) -> usize {
    14 + 4 * usize::from(tags)
}

/// Length in bytes of a frame's Ethernet header with its tags, what an MTU does not count; 0 where it is cut short.
pub fn link_length(frame: &[u8]) -> usize {
    Link::parse(frame, 0).map_or(0, |link| length(link.tags))
}

impl Layer {
    const fn empty(frame: &[u8]) -> Self {
        Self {
            ethernet: None,
            ethernet_type: [0; 3],
            tags: 0,
            vlans: [None; 2],
            arp: None,
            network: None,
            is_fragment: false,
            fragment_header: None,
            extensions: [0; 4],
            carried: None,
            transport: None,
            end: frame.len() as u32,
            network_fits: false,
        }
    }

    /// The stack that begins with an Ethernet header; `None` where it is cut short.
    #[inline]
    pub(super) fn ethernet(frame: &[u8], start: usize) -> Option<Self> {
        let Link { ether_type, controls: [first, second], tags } = Link::parse(frame, start)?;
        let [high, low] = ether_type.to_be_bytes();
        let mut layer = Self { ethernet: Some(place(start)?), tags, ..Self::empty(frame) };
        layer.ethernet_type = [high, low, u8::from(tags > 0)];
        let more = u8::from(second.is_some());
        layer.vlans = [
            first.map(|[c0, c1]| [c0, c1, high, low, more]),
            second.map(|[c0, c1]| [c0, c1, high, low, 0]),
        ];
        layer.network(frame, ether_type, start + layer.link_length());
        Some(layer)
    }

    /// The stack that begins with an IP header; `None` where there is none.
    pub(super) fn ip(frame: &[u8], ether_type: u16, at: usize) -> Option<Self> {
        let mut layer = Self::empty(frame);
        layer.network(frame, ether_type, at);
        layer.network.map(|_| layer)
    }

    /// Length of the Ethernet header with its tags, in bytes; what an MTU does not count.
    pub fn link_length(&self) -> usize {
        self.ethernet.map_or(0, |_| length(self.tags))
    }

    /// Offset after the IP packet, which lies in the frame.
    fn end(&self, frame: &[u8]) -> usize {
        (self.end as usize).min(frame.len())
    }

    /// Offset after what this stack's innermost header carries.
    pub fn payload_end(&self, frame: &[u8]) -> usize {
        let end = self.end(frame);
        let Some((Transport::Udp, at)) = self.transport else { return end };
        let at = usize::from(at);
        bytes::u16(frame, at + 4).map_or(end, |length| end.min(at + usize::from(length)))
    }

    #[inline]
    fn network(&mut self, frame: &[u8], ether_type: u16, at: usize) {
        let Some(place) = place(at) else { return };
        match ether_type {
            ethernet::IPV4 => self.ipv4(frame, place),
            ethernet::IPV6 => self.ipv6(frame, place),
            ethernet::ARP => {
                let is_usual = |arp: &[u8]| arp.starts_with(&[0, 1, 8, 0, 6, 4]);
                self.arp = frame.get(at..at + 28).filter(|arp| is_usual(arp)).map(|_| place);
            }
            _ => {}
        }
    }

    #[inline]
    fn ipv4(&mut self, frame: &[u8], place: u16) {
        let at = usize::from(place);
        let Some(header) = ipv4_header(frame, at) else { return };
        let Some([_, _, l0, l1, _, _, f0, f1, _, protocol, ..]) = header.first_chunk::<20>() else {
            return;
        };
        let (total, length) = (usize::from(u16::from_be_bytes([*l0, *l1])), header.len());
        self.network = Some((Network::V4, place));
        self.network_fits = total >= length && at + total <= frame.len();
        if self.network_fits {
            self.end = (at + total) as u32;
        }
        self.is_fragment = u16::from_be_bytes([*f0, *f1]) & FRAGMENT_BITS != 0;
        if !self.is_fragment {
            self.carry(frame, *protocol, at + length);
        }
    }

    fn ipv6(&mut self, frame: &[u8], place: u16) {
        let at = usize::from(place);
        let header = frame.get(at..).and_then(<[u8]>::first_chunk::<40>);
        let Some([first, _, _, _, l0, l1, next, ..]) = header else { return };
        if first >> 4 != 6 {
            return;
        }
        let payload = u16::from_be_bytes([*l0, *l1]);
        let (mut next, mut at) = (*next, at + 40);
        self.network = Some((Network::V6, place));
        self.network_fits = at + usize::from(payload) <= frame.len();
        if self.network_fits {
            self.end = (at + usize::from(payload)) as u32;
        }
        let mut found = 0_u32;
        for _ in 0..=EXTENSIONS_WALKED {
            let Some(bit) = extension_bit(next) else {
                self.carry(frame, next, at);
                break;
            };
            found |= 1 << bit;
            match next {
                protocol::FRAGMENT => {
                    self.is_fragment = true;
                    let is_whole = at + 8 <= self.end as usize;
                    self.fragment_header = self::place(at).filter(|_| is_whole);
                    break;
                }
                ESP => {
                    self.carry(frame, next, at);
                    break;
                }
                _ => {}
            }
            let (Some(following), Some(units)) = (frame.get(at), frame.get(at + 1)) else {
                break;
            };
            at += match next {
                protocol::AUTHENTICATION => (usize::from(*units) + 2) * 4,
                _ => (usize::from(*units) + 1) * 8,
            };
            next = *following;
        }
        self.extensions = found.to_be_bytes();
    }

    #[inline]
    fn carry(&mut self, frame: &[u8], protocol: u8, at: usize) {
        let Some(place) = place(at) else { return };
        self.carried = Some((protocol, place));
        let network = self.network.map(|(network, _)| network);
        let (transport, length) = match (protocol, network) {
            (protocol::TCP, _) => (Transport::Tcp, 20),
            (protocol::UDP, _) => (Transport::Udp, 8),
            (SCTP, _) => (Transport::Sctp, 12),
            (ESP, _) => (Transport::Esp, 8),
            (protocol::ICMP, Some(Network::V4)) => (Transport::Icmp, 8),
            (protocol::ICMPV6, Some(Network::V6)) => (Transport::Icmp6, 4),
            _ => return,
        };
        self.transport = (at + length <= self.end(frame)).then_some((transport, place));
    }
}

/// An offset as it is kept.
fn place(at: usize) -> Option<u16> {
    u16::try_from(at).ok()
}

/// The IPv4 header with its options.
pub(super) fn ipv4_header(frame: &[u8], at: usize) -> Option<&[u8]> {
    let first = *frame.get(at)?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 {
        return None;
    }
    frame.get(at..at + length)
}

/// "More fragments" and the fragment offset.
const FRAGMENT_BITS: u16 = 0x3fff;

/// The most extension headers the parser walks.
const EXTENSIONS_WALKED: usize = 8;

/// The protocol number of the encapsulating security payload (RFC 4303).
const ESP: u8 = 50;
/// That of SCTP (RFC 9260).
const SCTP: u8 = 132;

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
