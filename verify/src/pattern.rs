//! From a rule's items to what it asks of a packet's bits, as the profile's card understands items
//! (`docs/reference/nic-profiles.md`, "[matching]").

use rte_flow::{
    Conntrack, ConntrackItem, Depth, Eth, FieldMatch, FlowError, Fragments, Integrity,
    IntegrityDepth, Item, Layers, Match, PacketState, PortItems, Position, Profile, Rule,
    SpecOutsideMask, Steering, Vlan, VlanTags,
};

use crate::bits::{
    BY_SOFTWARE, CONNTRACK, Cube, Layer4, MARK, META, PORT, Span, Stack, TAGS, TUNNEL_HEADER,
    TUNNEL_KIND, Tunnel, tag,
};

/// What a rule asks.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Bits that must be as they are here.
    pub cube: Cube,
    /// Numbers that must lie in a range.
    pub ranges: Vec<Range>,
    /// It contradicts itself: no packet is what it asks.
    pub never: bool,
    /// Some of what the rule asks is not here: fewer packets meet it than are taken to.
    pub is_wider: bool,
}

/// A number that must lie in a range.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Range {
    /// Where it is.
    pub span: Span,
    /// Which of its bits count.
    pub mask: u128,
    /// The smallest value, masked.
    pub low: u128,
    /// The largest.
    pub high: u128,
}

/// What a rule asks that was made through `port`.
///
/// # Errors
/// The NIC could not have taken the rule.
pub fn asked(rule: &Rule, profile: &Profile, port: u16) -> Result<Asked, FlowError> {
    let mut lowering = Lowering {
        profile,
        port,
        asked: Asked { cube: Cube::ALL, ranges: Vec::new(), never: false, is_wider: false },
        tags: [Tags::Unasked; 2],
        has_origin: false,
        has_tunnel: false,
        outside: false,
    };
    let mut layers = Layers::new(&profile.matching);
    for (index, item) in rule.pattern.iter().enumerate() {
        let position = layers.push(index, item)?;
        lowering.item(item, position);
    }
    Ok(lowering.finish())
}

/// What a stack's items say of its VLAN tags together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tags {
    Unasked,
    Tagged,
    TaggedTwice,
}

struct Lowering<'a> {
    profile: &'a Profile,
    port: u16,
    asked: Asked,
    /// Of the outer and the inner stack.
    tags: [Tags; 2],
    has_origin: bool,
    has_tunnel: bool,
    /// Bits are asked for that no mask has.
    outside: bool,
}

/// The TPID of a tag that another follows (IEEE 802.1ad).
const SERVICE_TAG: u16 = 0x88a8;

fn is_tpid(ether_type: u16) -> bool {
    packet::wire::ethernet::is_vlan(ether_type)
}

impl Lowering<'_> {
    fn require(&mut self, span: Span, number: u128) {
        self.ask(span, number, u128::MAX);
    }

    fn ask(&mut self, span: Span, number: u128, mask: u128) {
        self.asked.never |= !self.asked.cube.ask(span, number, mask);
    }

    fn transport(&mut self, stack: Stack, kind: Layer4) {
        self.require(stack.has_transport(), 1);
        self.require(stack.transport_kind(), kind as u128);
    }

    fn tunnel(&mut self, kind: Tunnel) {
        self.require(TUNNEL_KIND, kind as u128);
    }

    fn item(&mut self, item: &Item, position: Position) {
        let stack = Stack::at(position.depth);
        // Where the item's fields lie one behind the other.
        let header = match item {
            Item::Void => return,
            Item::Any(_) => {
                if position.any_network {
                    self.require(stack.is_ip(), 1);
                }
                if position.any_transport {
                    self.require(stack.has_transport(), 1);
                }
                return;
            }
            Item::PortId(_) | Item::PortRepresentor(_) | Item::RepresentedPort(_) => {
                return self.origin(item);
            }
            Item::Conntrack(asked) => return self.conntrack(asked),
            Item::Integrity(asked) => return self.integrity(asked, position.depth),
            Item::Meta(_) => META,
            Item::Mark(_) => MARK,
            Item::Tag(asked) => match asked.spec.map_or(0, |spec| spec.index) {
                register if register < TAGS => tag(register),
                _ => {
                    self.asked.never = true;
                    return;
                }
            },
            Item::Eth(asked) => {
                self.note_ethernet(asked, position.depth);
                stack.link()
            }
            Item::Vlan(asked) => {
                self.require(
                    if position.tag == 0 { stack.has_vlan() } else { stack.has_more_vlan() },
                    1,
                );
                self.note_vlan(asked, position);
                stack.vlan(position.tag)
            }
            Item::ArpEthIpv4(_) => {
                self.require(stack.is_arp(), 1);
                stack.network(0, 28).part(0, 128)
            }
            Item::Ipv4(_) | Item::Ipv6(_) => {
                // A packet in a packet, and no item says in which tunnel.
                if position.depth == Depth::Inner && !self.has_tunnel {
                    self.tunnel(Tunnel::IpInIp);
                }
                let family = if matches!(item, Item::Ipv4(_)) { 0b10 } else { 0b11 };
                self.require(stack.family(), family);
                stack.network(0, 16)
            }
            Item::Ipv6FragExt(_) => {
                self.require(stack.has_fragment_header(), 1);
                stack.fragment_header(0, 8)
            }
            _ => match self.upper(item, stack) {
                Some(header) => header,
                None => return,
            },
        };
        let mut at = 0;
        let mut fields = Vec::new();
        item.for_each_field(&mut |field| {
            fields.push((field, at));
            at += field.info.bits.next_multiple_of(8) as u16;
        });
        for (field, at) in fields {
            if field.spec.is_some() && field.mask | field.spec.unwrap_or(0) != 0 {
                self.field(item, &field, stack, position, header, at);
            }
        }
    }

    /// Transport and tunnel headers; `None` for those of which nothing but the presence is followed.
    fn upper(&mut self, item: &Item, stack: Stack) -> Option<Span> {
        let (tunnel, is_whole) = match item {
            Item::Tcp(_) => return Some(self.carried(stack, Layer4::Tcp)),
            Item::Udp(_) => return Some(self.carried(stack, Layer4::Udp)),
            Item::Sctp(_) => return Some(self.carried(stack, Layer4::Sctp)),
            Item::Icmp(_) => return Some(self.carried(stack, Layer4::Icmp)),
            Item::Icmp6(_) => return Some(self.carried(stack, Layer4::Icmp6)),
            Item::Esp(_) => return Some(self.carried(stack, Layer4::Esp)),
            Item::Vxlan(_) => (Tunnel::Vxlan, true),
            Item::VxlanGpe(_) => (Tunnel::VxlanGpe, true),
            Item::Geneve(_) => (Tunnel::Geneve, true),
            Item::GeneveOpt(_) => (Tunnel::Geneve, false),
            Item::Gtp(_) => (Tunnel::Gtp, true),
            Item::Gre(_) => (Tunnel::Gre, true),
            _ => (Tunnel::Gre, false),
        };
        self.has_tunnel = true;
        self.tunnel(tunnel);
        self.asked.is_wider |= !is_whole;
        is_whole.then_some(TUNNEL_HEADER)
    }

    fn carried(&mut self, stack: Stack, kind: Layer4) -> Span {
        self.transport(stack, kind);
        stack.transport(0, 16)
    }

    /// Asks for one field, which lies `at` bits after the header's start.
    fn field(
        &mut self,
        item: &Item,
        field: &FieldMatch,
        stack: Stack,
        position: Position,
        header: Span,
        at: u16,
    ) {
        let spec = field.spec.unwrap_or(0);
        let bits = field.info.bits as u16;
        let by_flag = self.profile.matching.fragments == Fragments::Flag;
        let is_exactly_tpid =
            u16::try_from(spec).is_ok_and(is_tpid) && field.is_full() && field.last.is_none();
        let span = match (item, field.info.name) {
            (Item::Tag(_), "index") => return,
            (Item::Eth(_), "ether_type") if is_exactly_tpid => {
                return self.require(stack.has_vlan(), 1);
            }
            (Item::Eth(_), "ether_type") => stack.ether_type(),
            (Item::Eth(_), "has_vlan") => stack.has_vlan(),
            (Item::Eth(_), _) => {
                self.require(stack.has_ethernet(), 1);
                Span { start: header.start + at, width: bits }
            }
            (Item::Vlan(_), "inner_type") if is_exactly_tpid => {
                return self.more_vlan(stack, position, 1, 1);
            }
            (Item::Vlan(_), "inner_type") => stack.ether_type(),
            (Item::Vlan(_), "has_more_vlan") => {
                return self.more_vlan(stack, position, spec, field.mask);
            }
            (Item::Ipv4(_), "fragment_offset") if by_flag => {
                let asked = u128::from(spec & field.mask != 0);
                return self.ask(stack.is_fragment(), asked, u128::from(field.mask != 0));
            }
            (Item::Ipv6FragExt(_), name) if by_flag && name != "next_header" => return,
            (Item::Ipv6(_), "extensions") => {
                let span = stack.extensions();
                self.outside |= spec & !field.mask != 0;
                return self.ask(span, spec, field.mask);
            }
            _ => Span { start: header.start + at, width: bits },
        };
        match field.last {
            Some(last) if !self.profile.ignores_range(item.kind(), field.index) => {
                let (low, high) = (spec & field.mask, last & field.mask);
                self.asked.ranges.push(Range { span, mask: field.mask, low, high });
            }
            _ => {
                self.outside |= spec & !field.mask != 0;
                self.ask(span, spec & field.mask, field.mask);
            }
        }
    }

    fn more_vlan(&mut self, stack: Stack, position: Position, spec: u128, mask: u128) {
        self.outside |= spec & !mask != 0;
        if position.tag == 0 {
            self.ask(stack.has_more_vlan(), spec & mask, mask);
        } else {
            // The parser steps over two tags.
            self.asked.never |= spec & mask != 0;
        }
    }

    fn integrity(&mut self, asked: &Match<Integrity>, reached: Depth) {
        let Some(spec) = &asked.spec else { return };
        let mask = asked.effective_mask();
        let depth = match (self.profile.matching.integrity_depth, spec.level) {
            (IntegrityDepth::Place, _) => reached,
            (IntegrityDepth::LevelMask, _) if mask.level != 0 => Depth::Inner,
            (IntegrityDepth::LevelMask, _) | (IntegrityDepth::Level, 0 | 1) => Depth::Outer,
            (IntegrityDepth::Level, _) => Depth::Inner,
        };
        let low = |bits: u64| u128::from(bits & 0xff);
        let (spec, mask) = (low(spec.checks.bits()), low(mask.checks.bits()));
        self.outside |= spec & !mask != 0;
        self.ask(Stack::at(depth).integrity(), spec & mask, mask);
    }

    fn conntrack(&mut self, asked: &Match<Conntrack>) {
        let Some(spec) = &asked.spec else { return };
        let mask = asked.effective_mask().flags;
        let mask = match self.profile.matching.conntrack {
            ConntrackItem::Flags => mask,
            ConntrackItem::Syndrome => {
                let register = PacketState::INVALID | PacketState::DISABLED;
                let alone = mask & (PacketState::CHANGED | PacketState::BAD);
                let asks = mask.intersects(register | PacketState::VALID);
                if asks { alone | register } else { alone }
            }
        };
        self.ask(CONNTRACK, (spec.flags & mask).bits().into(), mask.bits().into());
    }

    fn origin(&mut self, item: &Item) {
        self.has_origin = true;
        let mut port = None;
        item.for_each_field(&mut |field| {
            port = field.spec.filter(|_| field.mask != 0);
        });
        let port = match (self.profile.matching.ports, item) {
            (PortItems::VirtualPorts, Item::PortRepresentor(_)) => None,
            (PortItems::VirtualPorts, Item::RepresentedPort(_)) if port.is_none() => return,
            (PortItems::VirtualPorts, Item::PortId(_)) => port.or(Some(self.port.into())),
            _ => port,
        };
        self.require(BY_SOFTWARE, u128::from(matches!(item, Item::PortRepresentor(_))));
        if let Some(port) = port {
            self.asked.never |= port > u128::from(u16::MAX);
            self.require(PORT, port);
        }
    }

    fn note_tags(&mut self, depth: Depth, tags: Tags) {
        let [outer, inner] = &mut self.tags;
        let known = if depth == Depth::Outer { outer } else { inner };
        *known = tags.max(*known);
    }

    fn note_ethernet(&mut self, asked: &Match<Eth>, depth: Depth) {
        let Some(spec) = &asked.spec else { return };
        let mask = asked.effective_mask();
        match spec.ether_type {
            SERVICE_TAG if mask.ether_type == 0xffff => self.note_tags(depth, Tags::TaggedTwice),
            tag if mask.ether_type == 0xffff && is_tpid(tag) => self.note_tags(depth, Tags::Tagged),
            _ if mask.has_vlan && spec.has_vlan => self.note_tags(depth, Tags::Tagged),
            _ => {}
        }
    }

    fn note_vlan(&mut self, asked: &Match<Vlan>, position: Position) {
        let mask = asked.effective_mask();
        let asks_more = asked.spec.is_some_and(|spec| {
            mask.has_more_vlan && spec.has_more_vlan
                || mask.inner_type == 0xffff && is_tpid(spec.inner_type)
        });
        let tags = if asks_more { Tags::TaggedTwice } else { Tags::Tagged };
        self.note_tags(position.depth, tags);
    }

    fn finish(mut self) -> Asked {
        if self.profile.matching.vlan_tags == VlanTags::Exactly {
            for (stack, tags) in [Stack::OUTER, Stack::INNER].into_iter().zip(self.tags) {
                if tags != Tags::Unasked {
                    self.require(stack.has_vlan(), 1);
                    let two = tags == Tags::TaggedTwice;
                    self.require(stack.has_more_vlan(), u128::from(two));
                }
            }
        }
        if self.profile.steering == Steering::Software && !self.has_origin {
            self.require(BY_SOFTWARE, 0);
            self.require(PORT, self.port.into());
        }
        let never_hits = self.profile.interface.spec_outside_mask == SpecOutsideMask::NeverHits;
        self.asked.never |= self.outside && never_hits;
        self.asked.never |= self.asked.ranges.iter().any(|range| range.low > range.high);
        self.asked
    }
}
