//! What rules can see of a packet: its headers, its registers and where it came from, in blocks of bytes.

use std::num::NonZeroU8;

use rte_flow::{Color, PacketState};

use super::headers::{Depth, Headers, Layer, Network, Transport, Tunnel, geneve_option};

/// How many TAG registers there are.
pub const TAGS: usize = 8;

/// What travels with a packet besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// The mark; absent until a rule sets it.
    pub mark: Option<u32>,
    /// Whether a rule flagged the packet.
    pub flag: bool,
    /// The metadata; absent until a rule, or the sender, sets it.
    pub meta: Option<u32>,
    /// The TAG registers.
    pub tags: [u32; TAGS],
    /// What connection tracking found; nothing until a rule tracks the packet.
    pub conntrack: PacketState,
    /// The colour that a meter gave the packet; absent until one does.
    pub color: Option<Color>,
    /// The colour that `METER_COLOR` shows software.
    pub shown_color: Option<Color>,
}

/// Where a packet entered the switch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ingress {
    /// From the entity behind a port: the wire, or a VF's driver in its VM.
    Represented(u16),
    /// From software, through a port's ethdev.
    Representor(u16),
}

impl Ingress {
    /// The ethdev port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Represented(port) | Self::Representor(port) => port,
        }
    }

    /// The bytes of [`Block::Origin`].
    pub(super) const fn key(self) -> [u8; 3] {
        let [high, low] = self.port().to_be_bytes();
        [matches!(self, Self::Representor(_)) as u8, high, low]
    }
}

/// A contiguous source of key bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Block {
    /// Where the packet came from: 1 for software, then the port, high byte first.
    Origin,
    /// Destination and source MAC address.
    EthernetAddresses(Depth),
    /// See [`Layer::ethernet_type`].
    EthernetType(Depth),
    /// How many VLAN tags there are.
    Tags(Depth),
    /// See [`Layer::vlans`]: the first tag.
    Vlan(Depth),
    /// The second tag.
    SecondVlan(Depth),
    /// An ARP packet for Ethernet and IPv4.
    Arp(Depth),
    /// Nothing but that there is a network header of some kind.
    AnyNetwork(Depth),
    /// The IPv4 header without options.
    Ipv4(Depth),
    /// The fixed IPv6 header.
    Ipv6(Depth),
    /// See [`Layer::extensions`].
    Ipv6Extensions(Depth),
    /// The IPv6 fragment header.
    Ipv6Fragment(Depth),
    /// 1 for fragments.
    IsFragment(Depth),
    /// Nothing but that there is a transport header of some kind.
    AnyTransport(Depth),
    /// The TCP header without options.
    Tcp(Depth),
    /// The UDP header.
    Udp(Depth),
    /// The SCTP header.
    Sctp(Depth),
    /// The first 8 bytes of an ICMP message.
    Icmp(Depth),
    /// The first 4 bytes of an `ICMPv6` message.
    Icmp6(Depth),
    /// The first 8 bytes of an ESP packet.
    Esp(Depth),
    /// The VXLAN header.
    Vxlan,
    /// The VXLAN-GPE header.
    VxlanGpe,
    /// The GENEVE header without options.
    Geneve,
    /// An option of GENEVE, the first of its class (any, where none is given) and type.
    GeneveOption {
        /// The class.
        class: Option<u16>,
        /// The type.
        kind: u8,
    },
    /// The first word of a GRE header.
    Gre,
    /// Its checksum and what is reserved behind it.
    GreChecksum,
    /// Its key.
    GreKey,
    /// Its sequence number.
    GreSequence,
    /// The NVGRE header.
    Nvgre,
    /// The first 8 bytes of a GTP header.
    Gtp,
    /// Nothing but that IP is directly in IP.
    IpInIp,
    /// The low byte of the integrity bits.
    Integrity(Depth),
    /// The metadata register.
    Meta,
    /// The mark register.
    Mark,
    /// A TAG register.
    Tag(u8),
    /// The state of connection tracking, 4 bytes.
    Conntrack,
    /// The colour, 4 bytes.
    Color,
}

impl Block {
    /// Which stack of headers it belongs to; `None` for what is no header.
    pub const fn depth(self) -> Option<Depth> {
        Some(match self {
            Self::EthernetAddresses(depth)
            | Self::EthernetType(depth)
            | Self::Tags(depth)
            | Self::Vlan(depth)
            | Self::SecondVlan(depth)
            | Self::Arp(depth)
            | Self::AnyNetwork(depth)
            | Self::Ipv4(depth)
            | Self::Ipv6(depth)
            | Self::Ipv6Extensions(depth)
            | Self::Ipv6Fragment(depth)
            | Self::IsFragment(depth)
            | Self::AnyTransport(depth)
            | Self::Tcp(depth)
            | Self::Udp(depth)
            | Self::Sctp(depth)
            | Self::Icmp(depth)
            | Self::Icmp6(depth)
            | Self::Esp(depth)
            | Self::Integrity(depth) => depth,
            Self::Vxlan
            | Self::VxlanGpe
            | Self::Geneve
            | Self::GeneveOption { .. }
            | Self::Gre
            | Self::GreChecksum
            | Self::GreKey
            | Self::GreSequence
            | Self::Nvgre
            | Self::Gtp
            | Self::IpInIp => Depth::Outer,
            Self::Origin
            | Self::Meta
            | Self::Mark
            | Self::Tag(_)
            | Self::Conntrack
            | Self::Color => return None,
        })
    }

    /// Which header it is, as rules see it in the frame; `None` for blocks that are made up of it or not in it, and for options, which
    /// are looked for.
    pub const fn header(self) -> Option<HeaderIndex> {
        const TUNNEL: u8 = 1 + 2 * STACK as u8;
        let in_stack = match self {
            Self::EthernetAddresses(_) => 1,
            Self::Arp(_) => 2,
            Self::Ipv4(_) | Self::Ipv6(_) => 3,
            Self::Ipv6Fragment(_) => 4,
            Self::Tcp(_)
            | Self::Udp(_)
            | Self::Sctp(_)
            | Self::Icmp(_)
            | Self::Icmp6(_)
            | Self::Esp(_) => 5,
            Self::Vxlan | Self::VxlanGpe | Self::Geneve | Self::Gtp | Self::Gre | Self::Nvgre => {
                TUNNEL
            }
            Self::GreChecksum => TUNNEL + 1,
            Self::GreKey => TUNNEL + 2,
            Self::GreSequence => TUNNEL + 3,
            _ => return None,
        };
        let index = match self.depth() {
            Some(Depth::Inner) => STACK as u8 + in_stack,
            _ => in_stack,
        };
        match NonZeroU8::new(index) {
            Some(index) => Some(HeaderIndex(index)),
            None => None,
        }
    }

    /// The bit that says that a packet has this block; 0 for those that every packet has.
    pub const fn presence(self) -> u64 {
        let bit = match self {
            Self::EthernetAddresses(_) | Self::EthernetType(_) | Self::Tags(_) => 0,
            Self::Vlan(_) => 1,
            Self::SecondVlan(_) => 2,
            Self::Arp(_) => 3,
            Self::AnyNetwork(_) => 4,
            Self::Ipv4(_) => 5,
            Self::Ipv6(_) | Self::Ipv6Extensions(_) => 6,
            Self::IsFragment(_) => 7,
            Self::Ipv6Fragment(_) => 8,
            Self::AnyTransport(_) => 9,
            Self::Tcp(_) => 10,
            Self::Udp(_) => 11,
            Self::Sctp(_) => 12,
            Self::Icmp(_) => 13,
            Self::Icmp6(_) => 14,
            Self::Esp(_) => 15,
            Self::Vxlan => 16,
            Self::VxlanGpe => 17,
            Self::Geneve | Self::GeneveOption { .. } => 18,
            Self::Gre => 19,
            Self::GreChecksum => 20,
            Self::GreKey => 21,
            Self::GreSequence => 22,
            Self::Nvgre => 23,
            Self::Gtp => 24,
            Self::IpInIp => 25,
            Self::Origin
            | Self::Integrity(_)
            | Self::Meta
            | Self::Mark
            | Self::Tag(_)
            | Self::Conntrack
            | Self::Color => return 0,
        };
        match self.depth() {
            Some(Depth::Inner) => 1 << (bit + 32),
            _ => 1 << bit,
        }
    }
}

/// A header's number, from 1 on, among those whose place in the frame is known as soon as the frame is parsed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HeaderIndex(NonZeroU8);

/// The place of a header that is not there.
const ABSENT: u16 = u16::MAX;

/// How many headers a stack has at most: link, ARP, network, fragment, transport.
const STACK: usize = 5;
/// Those of both stacks, and the tunnel's with what can be behind it; and none in the first place.
const HEADERS: usize = 1 + 2 * STACK + 4;

/// All that rules can match of one packet at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its headers.
    pub headers: Headers,
    /// Its registers.
    pub registers: Registers,
    /// Where its headers begin, by [`HeaderIndex`].
    places: [u16; HEADERS],
    origin: Ingress,
    present: u64,
    integrity: [Option<u8>; 2],
    stale: Stale,
}

/// What of the headers is no longer as it was when they were looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stale {
    /// Nothing.
    No,
    /// What they say.
    Contents,
    /// Where they are.
    Places,
}

impl Subject {
    /// A packet that has just entered.
    #[inline]
    pub fn new(frame: &[u8], origin: Ingress, registers: Registers) -> Self {
        let headers = Headers::parse(frame);
        Self {
            registers,
            places: places(&headers),
            origin,
            present: present(&headers),
            integrity: [None; 2],
            stale: Stale::No,
            headers,
        }
    }

    /// Remembers that bytes were rewritten in place, which moves no header: to be followed by [`Self::refresh`] before the
    /// next lookup.
    pub fn rewritten(&mut self) {
        if self.stale == Stale::No {
            self.stale = Stale::Contents;
        }
    }

    /// Remembers that headers came or went: to be followed by [`Self::refresh`], or [`Self::find_again`] at least, before the
    /// next look at a header.
    pub fn reshaped(&mut self) {
        self.stale = Stale::Places;
    }

    /// Looks at the headers again, if a rule changed them.
    #[inline]
    pub fn refresh(&mut self, frame: &[u8]) {
        if self.stale != Stale::No {
            self.parse_again(frame);
        }
    }

    #[inline(never)]
    fn parse_again(&mut self, frame: &[u8]) {
        *self = Self::new(frame, self.origin, self.registers);
    }

    /// Looks at the headers again, if they are no longer where they were.
    pub fn find_again(&mut self, frame: &[u8]) {
        if self.stale == Stale::Places {
            self.refresh(frame);
        }
    }

    /// Whether the packet has all blocks of these [`Block::presence`] bits.
    pub const fn has(&self, presence: u64) -> bool {
        presence & !self.present == 0
    }

    /// The number in network byte order of `length` bytes (at most 16) of a block from `offset` on; `None` when the packet does
    /// not have them.
    pub fn number(
        &mut self,
        frame: &[u8],
        block: Block,
        offset: usize,
        length: usize,
    ) -> Option<u128> {
        if !self.has(block.presence()) {
            return None;
        }
        let mut number = [0; 16];
        let out = number.get_mut(16_usize.checked_sub(length)?..)?;
        if let Some(at) = self.place(frame, block) {
            out.copy_from_slice(frame.get(at + offset..at + offset + length)?);
        } else {
            let small = self.small(frame, block)?.to_le_bytes();
            out.copy_from_slice(small.get(offset..offset + length)?);
        }
        Some(u128::from_be_bytes(number))
    }

    /// Eight bytes of a header that the packet has, from `offset` on: a number of which the first byte is the lowest. `None` when the
    /// first `length` of them are not all there; what lies behind them may be anything.
    #[inline]
    pub fn word(
        &self,
        frame: &[u8],
        HeaderIndex(header): HeaderIndex,
        offset: usize,
        length: usize,
    ) -> Option<u64> {
        let place = self.places.get(usize::from(header.get())).filter(|place| **place != ABSENT)?;
        load(frame, usize::from(*place) + offset, length)
    }

    /// The same of a block that has no [`HeaderIndex`].
    pub fn other_word(
        &mut self,
        frame: &[u8],
        block: Block,
        offset: usize,
        length: usize,
    ) -> Option<u64> {
        match self.place(frame, block) {
            Some(at) => load(frame, at + offset, length),
            // They are shorter than a word.
            None => self.small(frame, block),
        }
    }

    /// Where a header begins in the frame, to be written; `None` when the packet does not have it, or for what is no header.
    pub fn offset(&self, block: Block) -> Option<usize> {
        if !self.has(block.presence()) {
            return None;
        }
        let link = |depth| {
            let layer = self.headers.layer(depth)?;
            Some((usize::from(layer.ethernet?), layer.link_length()))
        };
        match block {
            Block::EthernetType(depth) => link(depth).map(|(at, length)| at + length - 2),
            Block::Vlan(depth) => link(depth).map(|(at, _)| at + 14),
            _ => self.header_place(block),
        }
    }

    fn header_place(&self, block: Block) -> Option<usize> {
        let HeaderIndex(index) = block.header()?;
        let place = self.places.get(usize::from(index.get())).copied();
        place.filter(|place| *place != ABSENT).map(usize::from)
    }

    /// Where the bytes of a block are in the frame, if they are there as rules see them.
    fn place(&self, frame: &[u8], block: Block) -> Option<usize> {
        match block {
            Block::GeneveOption { class, kind } => {
                geneve_option(frame, self.headers.tunnel, class, kind)
            }
            _ => self.header_place(block),
        }
    }

    fn integrity(&mut self, depth: Depth, frame: &[u8]) -> u8 {
        let headers = &self.headers;
        let [outer, inner] = &mut self.integrity;
        let known = match depth {
            Depth::Outer => outer,
            Depth::Inner => inner,
        };
        *known.get_or_insert_with(|| {
            let [low, ..] = headers.integrity(depth, frame).bits().to_le_bytes();
            low
        })
    }

    /// The bytes of a block that is not as such in the frame, the first one lowest; `None` when the packet does not have it.
    fn small(&mut self, frame: &[u8], block: Block) -> Option<u64> {
        fn word<const N: usize>(bytes: [u8; N]) -> u64 {
            bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
        }
        let layer = |depth| self.headers.layer(depth);
        let registers = &self.registers;
        Some(match block {
            Block::Origin => word(self.origin.key()),
            Block::Meta => word(registers.meta.unwrap_or(0).to_be_bytes()),
            Block::Mark => word(registers.mark.unwrap_or(0).to_be_bytes()),
            Block::Tag(index) => word(registers.tags.get(usize::from(index))?.to_be_bytes()),
            Block::Conntrack => word(registers.conntrack.bits().to_be_bytes()),
            Block::Color => word(registers.color.unwrap_or_default().number().to_be_bytes()),
            Block::EthernetType(depth) => word(layer(depth)?.ethernet_type),
            Block::Tags(depth) => layer(depth)?.tags.into(),
            Block::Vlan(depth) => word((*layer(depth)?.vlans.first()?)?),
            Block::SecondVlan(depth) => word((*layer(depth)?.vlans.last()?)?),
            Block::IsFragment(depth) => layer(depth)?.is_fragment.into(),
            Block::Ipv6Extensions(depth) => word(layer(depth)?.extensions),
            Block::Integrity(depth) => self.integrity(depth, frame).into(),
            _ => return None,
        })
    }
}

/// Eight bytes at `at`, of which the first `length` must be there; the first one is the lowest.
#[inline]
fn load(frame: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = frame.get(at..)?;
    if let Some(word) = bytes.first_chunk() {
        return Some(u64::from_le_bytes(*word));
    }
    let whole = bytes.len() >= length;
    let word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    whole.then_some(word)
}

/// Where headers begin, by [`HeaderIndex`].
#[inline]
fn places(headers: &Headers) -> [u16; HEADERS] {
    let stack = |layer: Option<&Layer>| match layer {
        None => [ABSENT; STACK],
        Some(layer) => [
            layer.ethernet.unwrap_or(ABSENT),
            layer.arp.unwrap_or(ABSENT),
            layer.network.map_or(ABSENT, |(_, at)| at),
            layer.fragment_header.unwrap_or(ABSENT),
            layer.transport.map_or(ABSENT, |(_, at)| at),
        ],
    };
    let [o0, o1, o2, o3, o4] = stack(headers.outer.as_ref());
    let [i0, i1, i2, i3, i4] = stack(headers.inner.as_ref());
    let [tunnel, checksum, key, sequence] = match headers.tunnel {
        None | Some(Tunnel::IpInIp) => [ABSENT; 4],
        Some(
            Tunnel::Vxlan(at) | Tunnel::VxlanGpe(at) | Tunnel::Geneve { at, .. } | Tunnel::Gtp(at),
        ) => [at, ABSENT, ABSENT, ABSENT],
        Some(Tunnel::Gre(gre)) => [
            gre.at,
            gre.checksum.unwrap_or(ABSENT),
            gre.key.unwrap_or(ABSENT),
            gre.sequence.unwrap_or(ABSENT),
        ],
    };
    [ABSENT, o0, o1, o2, o3, o4, i0, i1, i2, i3, i4, tunnel, checksum, key, sequence]
}

/// The blocks that a packet has, one bit each.
fn present(headers: &Headers) -> u64 {
    let mut found = 0;
    let mut add = |block: Block| found |= block.presence();
    match headers.tunnel {
        Some(Tunnel::Vxlan(_)) => add(Block::Vxlan),
        Some(Tunnel::VxlanGpe(_)) => add(Block::VxlanGpe),
        Some(Tunnel::Geneve { .. }) => add(Block::Geneve),
        Some(Tunnel::Gtp(_)) => add(Block::Gtp),
        Some(Tunnel::Gre(gre)) => {
            for (is_there, block) in [
                (true, Block::Gre),
                (gre.checksum.is_some(), Block::GreChecksum),
                (gre.key.is_some(), Block::GreKey),
                (gre.sequence.is_some(), Block::GreSequence),
                (gre.is_nvgre, Block::Nvgre),
            ] {
                if is_there {
                    add(block);
                }
            }
        }
        Some(Tunnel::IpInIp) => add(Block::IpInIp),
        None => {}
    }
    for depth in [Depth::Outer, Depth::Inner] {
        if let Some(layer) = headers.layer(depth) {
            add_layer(layer, depth, &mut add);
        }
    }
    found
}

fn add_layer(layer: &Layer, depth: Depth, add: &mut impl FnMut(Block)) {
    if layer.ethernet.is_some() {
        add(Block::EthernetType(depth));
    }
    if layer.tags > 0 {
        add(Block::Vlan(depth));
    }
    if layer.tags > 1 {
        add(Block::SecondVlan(depth));
    }
    if layer.arp.is_some() {
        add(Block::Arp(depth));
    }
    if layer.fragment_header.is_some() {
        add(Block::Ipv6Fragment(depth));
    }
    if let Some((network, _)) = layer.network {
        add(Block::AnyNetwork(depth));
        add(Block::IsFragment(depth));
        add(match network {
            Network::V4 => Block::Ipv4(depth),
            Network::V6 => Block::Ipv6(depth),
        });
    }
    if let Some((transport, _)) = layer.transport {
        add(Block::AnyTransport(depth));
        add(match transport {
            Transport::Tcp => Block::Tcp(depth),
            Transport::Udp => Block::Udp(depth),
            Transport::Sctp => Block::Sctp(depth),
            Transport::Icmp => Block::Icmp(depth),
            Transport::Icmp6 => Block::Icmp6(depth),
            Transport::Esp => Block::Esp(depth),
        });
    }
}
