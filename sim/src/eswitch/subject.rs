//! What rules can see of a packet: its headers, its registers and where it came from, in blocks of bytes.

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

/// All that rules can match of one packet at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its headers.
    pub headers: Headers,
    /// Its registers.
    pub registers: Registers,
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
        let present = present(&headers);
        Self { headers, registers, origin, present, integrity: [None; 2], stale: Stale::No }
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
    pub fn refresh(&mut self, frame: &[u8]) {
        if self.stale != Stale::No {
            *self = Self::new(frame, self.origin, self.registers);
        }
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

    /// The number in network byte order of `length` bytes (at most 16) of a block.
    pub fn number(
        &mut self,
        frame: &[u8],
        block: Block,
        offset: usize,
        length: usize,
    ) -> Option<u128> {
        let mut number = [0; 16];
        self.read(frame, block, offset, number.get_mut(16_usize.checked_sub(length)?..)?)?;
        Some(u128::from_be_bytes(number))
    }

    /// Where a header begins in the frame; `None` when the packet does not have it, or for what is no header.
    pub fn offset(&self, block: Block) -> Option<usize> {
        if !self.has(block.presence()) {
            return None;
        }
        let layer = self.headers.layer(block.depth()?)?;
        match block {
            Block::EthernetAddresses(_) => layer.ethernet,
            Block::EthernetType(_) => Some(layer.ethernet? + layer.link_length() - 2),
            Block::Vlan(_) => Some(layer.ethernet? + 14),
            Block::Arp(_) => layer.arp,
            Block::Ipv4(_) | Block::Ipv6(_) => Some(layer.network?.1),
            Block::Ipv6Fragment(_) => layer.fragment_header,
            Block::Tcp(_)
            | Block::Udp(_)
            | Block::Sctp(_)
            | Block::Icmp(_)
            | Block::Icmp6(_)
            | Block::Esp(_) => Some(layer.transport?.1),
            _ => self.tunnel_offset(block),
        }
    }

    /// Where a tunnel's header begins, which the packet has.
    fn tunnel_offset(&self, block: Block) -> Option<usize> {
        match (self.headers.tunnel?, block) {
            (Tunnel::Vxlan(at), Block::Vxlan)
            | (Tunnel::VxlanGpe(at), Block::VxlanGpe)
            | (Tunnel::Geneve { at, .. }, Block::Geneve)
            | (Tunnel::Gtp(at), Block::Gtp) => Some(at),
            (Tunnel::Gre(gre), Block::Gre | Block::Nvgre) => Some(gre.at),
            (Tunnel::Gre(gre), Block::GreChecksum) => gre.checksum,
            (Tunnel::Gre(gre), Block::GreKey) => gre.key,
            (Tunnel::Gre(gre), Block::GreSequence) => gre.sequence,
            _ => None,
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

    /// Copies `out.len()` bytes of `block`, from `offset` on; `None` when the packet does not have them.
    pub fn read(
        &mut self,
        frame: &[u8],
        block: Block,
        offset: usize,
        out: &mut [u8],
    ) -> Option<()> {
        let mut copy = |source: &[u8], at: usize| {
            let from = at + offset;
            out.copy_from_slice(source.get(from..from + out.len())?);
            Some(())
        };
        match block {
            Block::Origin => copy(&self.origin.key(), 0),
            Block::Meta => copy(&self.registers.meta.unwrap_or(0).to_be_bytes(), 0),
            Block::Mark => copy(&self.registers.mark.unwrap_or(0).to_be_bytes(), 0),
            Block::Tag(index) => {
                copy(&self.registers.tags.get(usize::from(index))?.to_be_bytes(), 0)
            }
            Block::Integrity(depth) => copy(&[self.integrity(depth, frame)], 0),
            Block::Conntrack => copy(&self.registers.conntrack.bits().to_be_bytes(), 0),
            Block::Color => {
                copy(&self.registers.color.unwrap_or_default().number().to_be_bytes(), 0)
            }
            Block::EthernetType(depth) => copy(&self.headers.layer(depth)?.ethernet_type, 0),
            Block::Tags(depth) => copy(&[self.headers.layer(depth)?.tags], 0),
            Block::Vlan(depth) => copy(self.headers.layer(depth)?.vlans.first()?.as_ref()?, 0),
            Block::SecondVlan(depth) => copy(self.headers.layer(depth)?.vlans.last()?.as_ref()?, 0),
            Block::IsFragment(depth) => copy(&[self.headers.layer(depth)?.is_fragment.into()], 0),
            Block::GeneveOption { class, kind } => {
                copy(frame, geneve_option(frame, self.headers.tunnel, class, kind)?)
            }
            Block::Ipv6Extensions(depth) => copy(&self.headers.layer(depth)?.extensions, 0),
            _ => copy(frame, self.offset(block)?),
        }
    }
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
