//! Items to matchers.

use rte_flow::{
    Attributes, Conntrack, ConntrackItem, Depth, Domain, EINVAL, ENOTSUP, ErrorKind, Eth,
    FieldMatch, FlowError, Fragments, GeneveOption, Integrity, IntegrityDepth, Item, Layers, Match,
    PacketState, PortItems, Position, Profile, SpecOutsideMask, Steering, Vlan, VlanTags,
};

use super::matcher::{KEY_BYTES, Matcher, MatcherBuilder, RangeTest};
use super::port::Ports;
use super::subject::{Block, Ingress, TAGS};

/// How a pattern is read, besides what it says.
pub struct PatternRules<'a> {
    /// The ports there are.
    pub ports: &'a Ports,
    /// How the card understands items.
    pub profile: &'a Profile,
    /// The ethdev port through which the rule is made.
    pub port: u16,
    /// Whether items without matched fields ask nothing, not even that their header is there.
    pub relaxed: bool,
}

fn refuse(index: usize, message: impl Into<std::borrow::Cow<'static, str>>) -> FlowError {
    FlowError::item(index, ErrorKind::Item, ENOTSUP, message)
}

fn wrong(index: usize, message: impl Into<std::borrow::Cow<'static, str>>) -> FlowError {
    FlowError::item(index, ErrorKind::ItemSpec, EINVAL, message)
}

/// The matcher of a pattern.
pub fn lower(
    attributes: &Attributes,
    items: &[Item],
    rules: &PatternRules<'_>,
) -> Result<Matcher, FlowError> {
    let mut lowering = Lowering {
        rules,
        builder: MatcherBuilder::new(),
        tags: [Tags::Unasked; 2],
        has_origin: false,
        has_option_length: false,
        has_tunnel: false,
    };
    let mut layers = Layers::new(&rules.profile.matching);
    for (index, item) in items.iter().enumerate() {
        let position = layers.push(index, item)?;
        lowering.item(attributes, index, item, position)?;
    }
    lowering.finish(attributes)
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// What a stack's items say of its VLAN tags together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tags {
    /// Nothing.
    Unasked,
    /// There is one.
    Tagged,
    /// There is another.
    TaggedTwice,
}

struct Lowering<'a> {
    rules: &'a PatternRules<'a>,
    builder: MatcherBuilder,
    /// Of the outer and the inner stack.
    tags: [Tags; 2],
    has_origin: bool,
    has_option_length: bool,
    has_tunnel: bool,
}

impl Lowering<'_> {
    fn item(
        &mut self,
        attributes: &Attributes,
        index: usize,
        item: &Item,
        position: Position,
    ) -> Result<(), FlowError> {
        let depth = position.depth;
        let block = match item {
            Item::Void => return Ok(()),
            Item::Any(_) => {
                self.any(position);
                return Ok(());
            }
            Item::PortId(_) | Item::PortRepresentor(_) | Item::RepresentedPort(_) => {
                return self.origin(attributes, index, item);
            }
            Item::Meta(_) => Block::Meta,
            Item::Mark(_) => Block::Mark,
            Item::Tag(asked) => {
                let register = asked.spec.map_or(0, |spec| spec.index);
                if usize::from(register) >= TAGS {
                    let message =
                        format!("there is no TAG {register}; use one of 0 to {}", TAGS - 1);
                    return Err(wrong(index, message));
                }
                Block::Tag(register)
            }
            Item::Integrity(asked) => Block::Integrity(self.integrity(index, asked, depth)?),
            Item::Conntrack(asked) => {
                self.conntrack(asked);
                return Ok(());
            }
            Item::Eth(asked) => {
                self.ethernet(asked, depth);
                Block::EthernetAddresses(depth)
            }
            Item::Vlan(asked) => {
                self.vlan(asked, position);
                if position.tag == 0 { Block::Vlan(depth) } else { Block::SecondVlan(depth) }
            }
            Item::ArpEthIpv4(_) => Block::Arp(depth),
            Item::Ipv4(_) | Item::Ipv6(_) => {
                // A packet in a packet, and no item says in which tunnel.
                if depth == Depth::Inner && !self.has_tunnel && !self.rules.relaxed {
                    self.builder.require(Block::IpInIp);
                }
                if matches!(item, Item::Ipv4(_)) { Block::Ipv4(depth) } else { Block::Ipv6(depth) }
            }
            Item::Ipv6FragExt(_) => Block::Ipv6Fragment(depth),
            Item::Tcp(_) => Block::Tcp(depth),
            Item::Udp(_) => Block::Udp(depth),
            Item::Sctp(_) => Block::Sctp(depth),
            Item::Icmp(_) => Block::Icmp(depth),
            Item::Icmp6(_) => Block::Icmp6(depth),
            Item::Esp(_) => Block::Esp(depth),
            Item::Vxlan(_) => Block::Vxlan,
            Item::VxlanGpe(_) => Block::VxlanGpe,
            Item::Geneve(asked) => {
                self.has_option_length = asked.effective_mask().control & 0x3f00 != 0;
                Block::Geneve
            }
            Item::GeneveOpt(asked) => self.option(index, asked)?,
            Item::Gre(_) | Item::GreOption(_) => Block::Gre,
            Item::GreKey(_) => Block::GreKey,
            Item::Nvgre(_) => Block::Nvgre,
            Item::Gtp(_) => Block::Gtp,
        };
        self.has_tunnel |= is_tunnel(item);
        if !self.rules.relaxed {
            self.builder.require(block);
        }
        self.fields(index, item, block)
    }

    /// The headers that INTEGRITY is about.
    fn integrity(
        &self,
        index: usize,
        asked: &Match<Integrity>,
        reached: Depth,
    ) -> Result<Depth, FlowError> {
        let level = asked.spec.map_or(0, |spec| spec.level);
        match (self.rules.profile.matching.integrity_depth, level) {
            (IntegrityDepth::Place, _) => Ok(reached),
            (IntegrityDepth::LevelMask, _) if asked.effective_mask().level != 0 => Ok(Depth::Inner),
            (IntegrityDepth::LevelMask, _) | (IntegrityDepth::Level, 0 | 1) => Ok(Depth::Outer),
            (IntegrityDepth::Level, 2) => Ok(Depth::Inner),
            (IntegrityDepth::Level, level) => {
                Err(wrong(index, format!("INTEGRITY has no level {level}; use 0 to 2")))
            }
        }
    }

    /// ANY asks for a layer of whatever kind.
    fn any(&mut self, position: Position) {
        if self.rules.relaxed {
            return;
        }
        if position.any_network {
            self.builder.require(Block::AnyNetwork(position.depth));
        }
        if position.any_transport {
            self.builder.require(Block::AnyTransport(position.depth));
        }
    }

    fn note_tags(&mut self, depth: Depth, tags: Tags) {
        let [outer, inner] = &mut self.tags;
        let known = match depth {
            Depth::Outer => outer,
            Depth::Inner => inner,
        };
        *known = tags.max(*known);
    }

    fn ethernet(&mut self, asked: &Match<Eth>, depth: Depth) {
        let Some(spec) = &asked.spec else { return };
        let mask = asked.effective_mask();
        match spec.ether_type {
            SERVICE_TAG if mask.ether_type == 0xffff => self.note_tags(depth, Tags::TaggedTwice),
            tag if mask.ether_type == 0xffff && is_tpid(tag) => self.note_tags(depth, Tags::Tagged),
            _ if mask.has_vlan && spec.has_vlan => self.note_tags(depth, Tags::Tagged),
            _ => {}
        }
    }

    fn vlan(&mut self, asked: &Match<Vlan>, position: Position) {
        let mask = asked.effective_mask();
        let asks_more = asked.spec.is_some_and(|spec| {
            mask.has_more_vlan && spec.has_more_vlan
                || mask.inner_type == 0xffff && is_tpid(spec.inner_type)
        });
        if asks_more {
            self.note_tags(position.depth, Tags::TaggedTwice);
        } else if !self.rules.relaxed || mask.has_more_vlan {
            self.note_tags(position.depth, Tags::Tagged);
        }
    }

    fn origin(
        &mut self,
        attributes: &Attributes,
        index: usize,
        item: &Item,
    ) -> Result<(), FlowError> {
        if attributes.domain != Domain::Transfer {
            let message = "a port item works in transfer rules only; make the rule on that port";
            return Err(FlowError::item(index, ErrorKind::Item, EINVAL, message));
        }
        if std::mem::replace(&mut self.has_origin, true) {
            return Err(refuse(index, "a packet has one origin; keep one port item"));
        }
        let mut port = None;
        item.for_each_field(&mut |field| {
            if let (Some(spec), true) = (field.spec, field.mask != 0) {
                port = Some((spec, field.is_full() && field.last.is_none()));
            }
        });
        if let Some((port, whole)) = port {
            if !whole {
                let message = "a port is matched whole or not at all; give it a full mask";
                return Err(FlowError::item(index, ErrorKind::ItemMask, ENOTSUP, message));
            }
            if !u16::try_from(port).is_ok_and(|port| self.rules.ports.get(port).is_some()) {
                let message = format!(
                    "port {port} does not belong to this switch; name one of its ethdev ports"
                );
                return Err(wrong(index, message));
            }
        }
        let by_software = u128::from(matches!(item, Item::PortRepresentor(_)));
        let port = port.map(|(port, _)| port);
        let port = match (self.rules.profile.matching.ports, item) {
            (PortItems::VirtualPorts, Item::PortRepresentor(_)) => None,
            (PortItems::VirtualPorts, Item::RepresentedPort(_)) if port.is_none() => return Ok(()),
            (PortItems::VirtualPorts, Item::PortId(_)) => port.or(Some(self.rules.port.into())),
            _ => port,
        };
        self.builder.bits(Block::Origin, 0, 1, by_software, 0xff);
        if let Some(port) = port {
            self.builder.bits(Block::Origin, 1, 2, port, 0xffff);
        }
        Ok(())
    }

    fn conntrack(&mut self, asked: &Match<Conntrack>) {
        let Some(spec) = &asked.spec else { return };
        let mask = asked.effective_mask().flags;
        let mask = match self.rules.profile.matching.conntrack {
            ConntrackItem::Flags => mask,
            ConntrackItem::Syndrome => {
                let register = PacketState::INVALID | PacketState::DISABLED;
                let alone = mask & (PacketState::CHANGED | PacketState::BAD);
                if mask.intersects(register | PacketState::VALID) {
                    alone | register
                } else {
                    alone
                }
            }
        };
        let bits = |state: PacketState| u128::from(state.bits());
        self.builder.bits(Block::Conntrack, 0, 4, bits(spec.flags & mask), bits(mask));
    }

    /// An option must be there, which one its type and class say.
    fn option(&mut self, index: usize, asked: &Match<GeneveOption>) -> Result<Block, FlowError> {
        let mask = asked.effective_mask();
        let spec =
            asked.spec.filter(|_| mask.option_type == 0xff && matches!(mask.class, 0 | 0xffff));
        let Some(spec) = spec else {
            let message =
                "an option is found by its whole type, with the whole class or none; ask for them";
            return Err(refuse(index, message));
        };
        let class = (mask.class != 0).then_some(spec.class);
        let block = Block::GeneveOption { class, kind: spec.option_type };
        if !self.rules.relaxed {
            self.builder.bits(block, 2, 1, spec.option_type.into(), 0xff);
        }
        if self.rules.profile.matching.geneve_option_alone && !self.has_option_length {
            // The card's driver asks for a header that is just long enough.
            self.builder.bits(Block::Geneve, 0, 1, u128::from(spec.length) + 1, 0x3f);
        }
        Ok(block)
    }

    /// Takes the fields of an item.
    fn fields(&mut self, index: usize, item: &Item, block: Block) -> Result<(), FlowError> {
        let mut result = Ok(());
        if matches!(item, Item::GeneveOpt(_)) {
            // The data comes word by word, each as the same field.
            let mut place = 0;
            item.for_each_field(&mut |field| {
                let at = place;
                place += field.info.bits.div_ceil(8) as usize;
                if result.is_ok() && field.spec.is_some() {
                    result = self.field(index, item, &field, block, at);
                }
            });
            return result;
        }
        item.for_each_asked_field(&mut |field| {
            if result.is_ok() && field.spec.is_some() {
                result = self.field(index, item, &field, block, field.info.place);
            }
        });
        result
    }

    fn field(
        &mut self,
        index: usize,
        item: &Item,
        field: &FieldMatch,
        block: Block,
        at: usize,
    ) -> Result<(), FlowError> {
        let spec = field.spec.unwrap_or(0);
        let by_flag = self.rules.profile.matching.fragments == Fragments::Flag;
        let is_exactly_tpid = || {
            let is_tpid = u16::try_from(spec).is_ok_and(is_tpid);
            is_tpid && field.is_full() && field.last.is_none()
        };
        let length = field.info.bits.div_ceil(8) as usize;
        let (block, offset) = match (item, field.info.name) {
            // Which register or level is part of the block already.
            (Item::Tag(_), "index") | (Item::Integrity(_), "level") => return Ok(()),
            // The card's parser steps over tags: it has a bit for them and the type behind them.
            (Item::Eth(_), "ether_type") if is_exactly_tpid() => {
                let Block::EthernetAddresses(depth) = block else { return Ok(()) };
                self.builder.bits(Block::EthernetType(depth), 2, 1, 1, 1);
                return Ok(());
            }
            (Item::Vlan(_), "inner_type") if is_exactly_tpid() => {
                self.builder.bits(block, 4, 1, 1, 1);
                return Ok(());
            }
            (Item::Eth(_), "ether_type" | "has_vlan") => {
                let Block::EthernetAddresses(depth) = block else { return Ok(()) };
                (Block::EthernetType(depth), at - 12)
            }
            (Item::Ipv4(_), "fragment_offset") if by_flag => {
                let Block::Ipv4(depth) = block else { return Ok(()) };
                let asked = u128::from(spec & field.mask != 0);
                self.builder.bits(
                    Block::IsFragment(depth),
                    0,
                    1,
                    asked,
                    u128::from(field.mask != 0),
                );
                return Ok(());
            }
            (Item::Ipv6FragExt(_), name) if by_flag && name != "next_header" => return Ok(()),
            (Item::Ipv6(_), "extensions") => {
                let Block::Ipv6(depth) = block else { return Ok(()) };
                (Block::Ipv6Extensions(depth), 0)
            }
            (Item::GreOption(_), "checksum") => (Block::GreChecksum, 0),
            (Item::GreOption(_), "reserved") => (Block::GreChecksum, 2),
            (Item::GreOption(_), "key") => (Block::GreKey, 0),
            (Item::GreOption(_), "sequence") => (Block::GreSequence, 0),
            (Item::GeneveOpt(_), "length") => {
                // The byte's other bits are reserved.
                self.builder.bits(block, at, 1, spec & 0x1f, field.mask & 0x1f);
                return Ok(());
            }
            (Item::Integrity(_), _) => {
                if field.mask >> 8 != 0 {
                    let message = "INTEGRITY has eight bits; clear the others in the mask";
                    return Err(FlowError::item(index, ErrorKind::ItemMask, ENOTSUP, message));
                }
                self.builder.bits(block, 0, 1, spec, field.mask);
                return Ok(());
            }
            (Item::Meta(_) | Item::Mark(_) | Item::Tag(_), _) => (block, 0),
            _ => (block, at),
        };
        match field.last {
            Some(last) if !self.rules.profile.ignores_range(item.kind(), field.index) => {
                let (low, high) = (spec & field.mask, last & field.mask);
                self.builder.range(RangeTest {
                    block,
                    offset,
                    length,
                    mask: field.mask,
                    low,
                    high,
                });
            }
            _ => self.builder.bits(block, offset, length, spec, field.mask),
        }
        Ok(())
    }

    fn finish(mut self, attributes: &Attributes) -> Result<Matcher, FlowError> {
        let profile = self.rules.profile;
        if profile.matching.vlan_tags == VlanTags::Exactly {
            for (depth, tags) in [Depth::Outer, Depth::Inner].into_iter().zip(self.tags) {
                match tags {
                    Tags::Unasked => {}
                    Tags::Tagged => self.builder.bits(Block::Tags(depth), 0, 1, 1, 0xff),
                    Tags::TaggedTwice => self.builder.bits(Block::Tags(depth), 0, 1, 2, 0xff),
                }
            }
        }
        let by_port = profile.steering == Steering::Software && !self.has_origin;
        if attributes.domain == Domain::Transfer && by_port {
            let origin = Ingress::Represented(self.rules.port).key();
            self.builder.bits(Block::Origin, 0, 3, number(&origin), 0x00ff_ffff);
        }
        let never_hits = profile.interface.spec_outside_mask == SpecOutsideMask::NeverHits;
        self.builder.build(never_hits).map_err(|wide| {
            FlowError::other(
                ErrorKind::ItemNumber,
                ENOTSUP,
                format!(
                    "the pattern needs {} bytes of key and there are {KEY_BYTES}; match fewer fields",
                    wide.bytes
                ),
            )
        })
    }
}

/// Whether the item is a tunnel's header.
const fn is_tunnel(item: &Item) -> bool {
    matches!(
        item,
        Item::Vxlan(_)
            | Item::VxlanGpe(_)
            | Item::Geneve(_)
            | Item::Gre(_)
            | Item::Nvgre(_)
            | Item::Gtp(_)
    )
}

/// The TPID of a tag that another follows (IEEE 802.1ad).
const SERVICE_TAG: u16 = 0x88a8;

const fn is_tpid(ether_type: u16) -> bool {
    packet::wire::ethernet::is_vlan(ether_type)
}
