//! Items to matchers.

use rte_flow::{Attributes, Domain, EINVAL, ENOTSUP, ErrorKind, FlowError, Item, ItemKind};

use super::headers::Depth;
use super::key::{Block, Ingress, KEY_BYTES, Matcher, MatcherBuilder, RangeTest, TAGS};
use super::port::Ports;

/// How a pattern is read, besides what it says.
pub struct PatternRules<'a> {
    /// The ports there are.
    pub ports: &'a Ports,
    /// Where a transfer rule without a port item takes its packets from; `None`: from everywhere.
    pub implied_origin: Option<Ingress>,
    /// Whether items without matched fields ask nothing, not even that their header is there.
    pub relaxed: bool,
    /// Whether spec bits outside the mask make a rule that no packet hits (else they are ignored).
    pub spec_outside_mask_never_hits: bool,
}

/// How deep in the stack of headers an item is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Start,
    Link,
    Tag,
    Network,
    Transport,
    Tunnel,
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
        relaxed: rules.relaxed,
        builder: MatcherBuilder::default(),
        depth: Depth::Outer,
        stage: Stage::Start,
    };
    let mut has_origin = false;
    for (index, item) in items.iter().enumerate() {
        match item {
            Item::Void => {}
            Item::Any(_) => {
                return Err(refuse(index, "item ANY is not supported; leave the layer out"));
            }
            Item::PortId(_) | Item::PortRepresentor(_) | Item::RepresentedPort(_) => {
                if attributes.domain != Domain::Transfer {
                    return Err(refuse(
                        index,
                        "a port item works in transfer rules only; make the rule on that port",
                    ));
                }
                if has_origin {
                    return Err(wrong(index, "a packet has one origin; keep one port item"));
                }
                has_origin = true;
                lowering.origin(index, item, rules.ports)?;
            }
            Item::Meta(_) => lowering.fields(index, item, Block::Meta)?,
            Item::Mark(_) => lowering.fields(index, item, Block::Mark)?,
            Item::Tag(asked) => {
                let register = asked.spec.map_or(0, |spec| spec.index);
                if usize::from(register) >= TAGS {
                    return Err(wrong(
                        index,
                        format!("there is no TAG {register}; use one of 0 to {}", TAGS - 1),
                    ));
                }
                lowering.fields(index, item, Block::Tag(register))?;
            }
            Item::Integrity(asked) => {
                let depth = match asked.spec.map_or(0, |spec| spec.level) {
                    0 | 1 => Depth::Outer,
                    2 => Depth::Inner,
                    level => {
                        return Err(wrong(
                            index,
                            format!("INTEGRITY has no level {level}; use 0 to 2"),
                        ));
                    }
                };
                lowering.fields(index, item, Block::Integrity(depth))?;
            }
            Item::Eth(_)
            | Item::Vlan(_)
            | Item::Ipv4(_)
            | Item::Ipv6(_)
            | Item::Tcp(_)
            | Item::Udp(_)
            | Item::Icmp(_)
            | Item::Icmp6(_)
            | Item::Vxlan(_) => {
                let block = lowering.descend(index, item.kind())?;
                lowering.fields(index, item, block)?;
            }
        }
    }
    let mut builder = lowering.builder;
    if let (Domain::Transfer, false, Some(origin)) =
        (attributes.domain, has_origin, rules.implied_origin)
    {
        builder.bits(Block::Origin, 0, 3, number(&origin.key()), 0x00ff_ffff);
    }
    builder.build(rules.spec_outside_mask_never_hits).map_err(|wide| {
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

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

struct Lowering {
    relaxed: bool,
    builder: MatcherBuilder,
    depth: Depth,
    stage: Stage,
}

impl Lowering {
    /// Takes the next header, which must lie deeper than the one before.
    fn descend(&mut self, index: usize, kind: ItemKind) -> Result<Block, FlowError> {
        let depth = self.depth;
        let (stage, block) = match kind {
            ItemKind::Eth => (Stage::Link, Block::EthernetAddresses(depth)),
            ItemKind::Vlan => (Stage::Tag, Block::Vlan(depth)),
            ItemKind::Ipv4 => (Stage::Network, Block::Ipv4(depth)),
            ItemKind::Ipv6 => (Stage::Network, Block::Ipv6(depth)),
            ItemKind::Tcp => (Stage::Transport, Block::Tcp(depth)),
            ItemKind::Udp => (Stage::Transport, Block::Udp(depth)),
            ItemKind::Icmp => (Stage::Transport, Block::Icmp(depth)),
            ItemKind::Icmp6 => (Stage::Transport, Block::Icmp6(depth)),
            _ => (Stage::Tunnel, Block::Vxlan),
        };
        if kind == ItemKind::Vxlan && depth == Depth::Inner {
            return Err(refuse(
                index,
                "VXLAN inside VXLAN is not parsed; match the outer one only",
            ));
        }
        if stage <= self.stage {
            let message = match stage {
                Stage::Tag if self.stage == Stage::Tag => {
                    "only the first VLAN tag is parsed; match has_more_vlan instead of a second item"
                }
                _ => "items must go from the outermost header inwards, one a layer; reorder them",
            };
            return Err(refuse(index, message));
        }
        self.stage = stage;
        if !self.relaxed {
            self.builder.require(block);
        }
        if kind == ItemKind::Vxlan {
            (self.depth, self.stage) = (Depth::Inner, Stage::Start);
        }
        Ok(block)
    }

    fn origin(&mut self, index: usize, item: &Item, ports: &Ports) -> Result<(), FlowError> {
        let kind = u128::from(matches!(item, Item::PortRepresentor(_)));
        self.builder.bits(Block::Origin, 0, 1, kind, 0xff);
        let mut port = None;
        item.for_each_field(&mut |field| {
            if let (Some(spec), true) = (field.spec, field.mask != 0) {
                port = Some((spec, field.is_full() && field.last.is_none()));
            }
        });
        let Some((port, whole)) = port else { return Ok(()) };
        if !whole {
            return Err(FlowError::item(
                index,
                ErrorKind::ItemMask,
                ENOTSUP,
                "a port is matched whole or not at all; give it a full mask",
            ));
        }
        if !u16::try_from(port).is_ok_and(|port| ports.get(port).is_some()) {
            return Err(wrong(
                index,
                format!("port {port} does not belong to this switch; name one of its ethdev ports"),
            ));
        }
        self.builder.bits(Block::Origin, 1, 2, port, 0xffff);
        Ok(())
    }

    /// Takes the fields of an item: its structures have the same fields in the same order as the header, so that a field's place
    /// is the sum of the widths before it.
    fn fields(&mut self, index: usize, item: &Item, block: Block) -> Result<(), FlowError> {
        let kind = item.kind();
        let (mut place, mut result) = (0, Ok(()));
        let builder = &mut self.builder;
        item.for_each_field(&mut |field| {
            let length = field.info.bits.div_ceil(8) as usize;
            let at = place;
            place += length;
            // Which register or level is part of the block already.
            let Some(spec) = field.spec else { return };
            if matches!(field.info.name, "index" | "level") || result.is_err() {
                return;
            }
            let (block, offset, length) = match block {
                Block::EthernetAddresses(depth) if at >= 12 => {
                    if field.info.name == "ether_type" && field.is_full() && field.last.is_none() {
                        // The card's parser steps over tags: it has a bit for them and the type behind them.
                        let tpid = u16::try_from(spec).is_ok_and(packet::wire::ethernet::is_vlan);
                        if tpid {
                            builder.bits(Block::EthernetType(depth), 2, 1, 1, 1);
                            return;
                        }
                    }
                    (Block::EthernetType(depth), at - 12, length)
                }
                Block::Ipv6(depth) if at >= 40 => (Block::Ipv6Extensions(depth), at - 40, length),
                Block::Integrity(_) => {
                    if field.mask >> 8 != 0 {
                        result = Err(FlowError::item(
                            index,
                            ErrorKind::ItemMask,
                            ENOTSUP,
                            "INTEGRITY has eight bits; clear the others in the mask",
                        ));
                        return;
                    }
                    (block, 0, 1)
                }
                Block::Meta | Block::Mark | Block::Tag(_) => (block, 0, length),
                _ => (block, at, length),
            };
            match field.last {
                None => builder.bits(block, offset, length, spec, field.mask),
                Some(last) => {
                    let low = spec & field.mask;
                    let high = last & field.mask;
                    if high < low {
                        result = Err(FlowError::item(
                            index,
                            ErrorKind::ItemLast,
                            EINVAL,
                            format!(
                                "the range of {}'s {} ends before it begins; swap spec and last",
                                kind.name(),
                                field.info.name
                            ),
                        ));
                        return;
                    }
                    builder.range(RangeTest { block, offset, length, mask: field.mask, low, high });
                }
            }
        });
        result
    }
}
