//! Actions to programs.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rte_flow::{
    Action, Attributes, Domain, EINVAL, ENOTSUP, ErrorKind, FieldId, FieldRef, FlowError,
    IndirectHandle, Item, ModifyField, ModifyOperation, ModifySource, RssFunction,
};

use super::arena::Id;
use super::counter::{Ageing, Counter};
use super::headers::Depth;
use super::indirect::{Indirects, Shared};
use super::port::Ports;
use super::rewrite::{Bits, Place, Rewrite, Source};
use super::rule::{Fate, Step};
use super::subject::{Block, TAGS};
use super::tunnel::Encapsulation;

/// What actions refer to.
pub struct ActionRules<'a> {
    /// The ports there are.
    pub ports: &'a Ports,
    /// The shared actions there are.
    pub indirects: &'a Indirects,
}

/// A counter or an ageing: shared, or one to be made with the rule.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<T, N> {
    /// This one.
    Shared(Id<T>),
    /// A new one.
    New(N),
}

/// What a new ageing is made with.
#[derive(Clone, Copy, Debug)]
pub struct AgeingConfig {
    /// Idle time.
    pub timeout: Duration,
    /// What its report carries.
    pub context: usize,
}

/// A program whose counter and ageing are not made yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Steps other than count and age, in order.
    pub steps: Vec<Step>,
    /// The counter.
    pub counter: Option<Wanted<Counter, ()>>,
    /// The ageing.
    pub ageing: Option<Wanted<Ageing, AgeingConfig>>,
    /// Where the packet goes.
    pub fate: Fate,
    /// The shared actions it uses.
    pub shared: Vec<IndirectHandle>,
}

fn refuse(index: usize, message: impl Into<Cow<'static, str>>) -> FlowError {
    FlowError::action(index, ErrorKind::Action, ENOTSUP, message)
}

fn wrong(index: usize, message: impl Into<Cow<'static, str>>) -> FlowError {
    FlowError::action(index, ErrorKind::ActionConf, EINVAL, message)
}

/// The program of a list of actions.
pub fn lower(
    attributes: &Attributes,
    actions: &[Action],
    rules: &ActionRules<'_>,
) -> Result<Draft, FlowError> {
    let mut steps = Vec::new();
    let (mut counter, mut ageing, mut fate, mut shared) = (None, None, None, Vec::new());
    for (index, action) in actions.iter().enumerate() {
        match action {
            Action::Count(_) => once(&mut counter, Wanted::New(()), index, "COUNT")?,
            Action::Age(age) => {
                let config = AgeingConfig {
                    timeout: Duration::from_secs(u64::from(age.timeout.get())),
                    context: age.context,
                };
                once(&mut ageing, Wanted::New(config), index, "AGE")?;
            }
            Action::Indirect(handle) => {
                match rules.indirects.get(*handle) {
                    Some(Shared::Counter(id)) => {
                        once(&mut counter, Wanted::Shared(*id), index, "COUNT")?;
                    }
                    Some(Shared::Ageing(id)) => {
                        once(&mut ageing, Wanted::Shared(*id), index, "AGE")?;
                    }
                    Some(Shared::Encapsulation(header)) => {
                        domain(attributes, index, &[Domain::Transfer, Domain::Egress])?;
                        steps.push(Step::Encapsulate(Arc::clone(header)));
                    }
                    None => return Err(wrong(index, "no such indirect action; create it first")),
                }
                shared.push(*handle);
            }
            _ => {
                if let Some(found) = fate_of(attributes, index, action, rules.ports)? {
                    once(&mut fate, found, index, "a fate action")?;
                } else {
                    step(attributes, index, action, &mut steps)?;
                }
            }
        }
    }
    Ok(Draft { steps, counter, ageing, fate: fate.unwrap_or(Fate::Default), shared })
}

fn once<T>(slot: &mut Option<T>, value: T, index: usize, name: &str) -> Result<(), FlowError> {
    if slot.replace(value).is_some() {
        return Err(refuse(index, format!("a rule has {name} only once; remove one")));
    }
    Ok(())
}

fn domain(attributes: &Attributes, index: usize, allowed: &[Domain]) -> Result<(), FlowError> {
    if allowed.contains(&attributes.domain) {
        return Ok(());
    }
    let name = attributes.domain.name();
    Err(refuse(index, format!("the action does not exist in {name} rules; change the domain")))
}

fn fate_of(
    attributes: &Attributes,
    index: usize,
    action: &Action,
    ports: &Ports,
) -> Result<Option<Fate>, FlowError> {
    let port = |id: u32| {
        domain(attributes, index, &[Domain::Transfer])?;
        u16::try_from(id).ok().filter(|id| ports.get(*id).is_some()).ok_or_else(|| {
            let message =
                format!("port {id} does not belong to this switch; name one of its ports");
            wrong(index, message)
        })
    };
    Ok(Some(match action {
        Action::Jump(group) if *group == attributes.group => {
            return Err(wrong(index, "a jump into the rule's own group never ends; name another"));
        }
        Action::Jump(group) => Fate::Jump(*group),
        Action::Drop => Fate::Drop,
        Action::Passthru => Fate::Passthru,
        Action::RepresentedPort(id) => Fate::Represented(port(u32::from(*id))?),
        Action::PortRepresentor(id) => Fate::Representor(port(u32::from(*id))?),
        Action::PortId(to) if to.original => {
            return Err(refuse(index, "PORT_ID original is not supported; name the port"));
        }
        Action::PortId(to) => Fate::Represented(port(to.id)?),
        Action::Queue(queue) => {
            domain(attributes, index, &[Domain::Ingress])?;
            Fate::Queues([*queue].into())
        }
        Action::Rss(rss) => {
            domain(attributes, index, &[Domain::Ingress])?;
            if rss.queues.is_empty() {
                return Err(wrong(index, "RSS without queues; name at least one"));
            }
            if matches!(rss.function, RssFunction::SimpleXor | RssFunction::SymmetricToeplitz) {
                return Err(FlowError::action(
                    index,
                    ErrorKind::ActionConf,
                    ENOTSUP,
                    "this RSS hash is not supported; use Toeplitz with a symmetric key",
                ));
            }
            Fate::Queues(rss.queues.as_slice().into())
        }
        _ => return Ok(None),
    }))
}

fn step(
    attributes: &Attributes,
    index: usize,
    action: &Action,
    steps: &mut Vec<Step>,
) -> Result<(), FlowError> {
    let set = |field: FieldId, number: u128| whole(&[field], ModifyOperation::Set, number);
    let set_either =
        |fields: &[FieldId; 2], number: u128| whole(fields, ModifyOperation::Set, number);
    steps.push(match action {
        Action::Void => return Ok(()),
        Action::Mark(mark) => Step::Mark(*mark),
        Action::Flag => Step::Flag,
        Action::VxlanEncap(_) | Action::RawEncap(_) => {
            domain(attributes, index, &[Domain::Transfer, Domain::Egress])?;
            Step::Encapsulate(encapsulation(index, action)?)
        }
        Action::VxlanDecap => {
            domain(attributes, index, &[Domain::Transfer, Domain::Ingress])?;
            Step::Decapsulate
        }
        Action::RawDecap(header) => {
            domain(attributes, index, &[Domain::Transfer, Domain::Ingress])?;
            if header.len() <= TUNNEL_DECAP_BYTES {
                return Err(refuse(
                    index,
                    "RAW_DECAP removes whole tunnels only; give Ethernet, IP, UDP and VXLAN headers",
                ));
            }
            Step::Decapsulate
        }
        Action::ModifyField(modify) => Step::Rewrite(modify_field(index, modify)?),
        Action::SetTag(tag) => {
            let block = tag_block(index, u32::from(tag.index))?;
            steps.extend(masked(block, tag.data, tag.mask));
            return Ok(());
        }
        Action::SetMeta(meta) => {
            if meta.mask == 0 {
                return Err(wrong(index, "SET_META with a mask of 0 sets nothing; set bits in it"));
            }
            steps.extend(masked(Block::Meta, meta.data, meta.mask));
            return Ok(());
        }
        Action::SetMacSrc(mac) => set(FieldId::MacSrc, number(&mac.0)),
        Action::SetMacDst(mac) => set(FieldId::MacDst, number(&mac.0)),
        Action::SetIpv4Src(ip) => set(FieldId::Ipv4Src, u128::from(ip.to_bits())),
        Action::SetIpv4Dst(ip) => set(FieldId::Ipv4Dst, u128::from(ip.to_bits())),
        Action::SetIpv6Src(ip) => set(FieldId::Ipv6Src, ip.to_bits()),
        Action::SetIpv6Dst(ip) => set(FieldId::Ipv6Dst, ip.to_bits()),
        Action::SetTpSrc(port) => {
            set_either(&[FieldId::TcpPortSrc, FieldId::UdpPortSrc], u128::from(*port))
        }
        Action::SetTpDst(port) => {
            set_either(&[FieldId::TcpPortDst, FieldId::UdpPortDst], u128::from(*port))
        }
        Action::SetTtl(ttl) => set_either(&TTL, u128::from(*ttl)),
        // What the card does: the addition wraps at 0 and nothing is dropped.
        Action::DecTtl => whole(&TTL, ModifyOperation::Add, 0xff),
        _ => {
            let message = format!("action {} is not supported; leave it out", action.kind().name());
            return Err(refuse(index, message));
        }
    });
    Ok(())
}

const TTL: [FieldId; 2] = [FieldId::Ipv4Ttl, FieldId::Ipv6HopLimit];

/// A `RAW_DECAP` of no more than Ethernet and IPv4 is about a link header, not a tunnel.
const TUNNEL_DECAP_BYTES: usize = 34;

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The headers that `VXLAN_ENCAP` or `RAW_ENCAP` prepends.
pub fn encapsulation(index: usize, action: &Action) -> Result<Arc<Encapsulation>, FlowError> {
    let header = match action {
        Action::VxlanEncap(items) => header_bytes(index, items)?,
        Action::RawEncap(raw) => {
            let whole = raw.preserve.as_ref().is_none_or(|mask| mask.iter().all(|b| *b == 0xff));
            if !whole {
                let message = "RAW_ENCAP with a preserve mask is not supported; drop the mask";
                return Err(refuse(index, message));
            }
            raw.data.clone()
        }
        _ => return Err(refuse(index, "the action prepends no header; choose an encapsulation")),
    };
    Encapsulation::new(&header).map(Arc::new).map_err(|problem| wrong(index, problem.to_string()))
}

/// The bytes of an encapsulation that is defined by items. Next-protocol fields that are 0 follow from the next item.
fn header_bytes(index: usize, items: &[Item]) -> Result<Vec<u8>, FlowError> {
    let mut header = Vec::new();
    let mut next_protocol = None;
    for item in items {
        let start = header.len();
        let (ether_type, protocol) = match item {
            Item::Void => continue,
            Item::Eth(_) | Item::Vxlan(_) => (None, None),
            Item::Vlan(_) => (Some(0x8100), None),
            Item::Ipv4(_) => (Some(0x0800), None),
            Item::Ipv6(_) => (Some(0x86dd), None),
            Item::Udp(_) => (None, Some(17)),
            _ => {
                let name = item.kind().name();
                let message = format!("an encapsulation cannot hold item {name}; remove it");
                return Err(wrong(index, message));
            }
        };
        if let Some(place) = next_protocol.take() {
            fill_next(&mut header, place, ether_type, protocol);
        }
        item.for_each_field(&mut |field| {
            // Derived bits are not part of the header.
            if !matches!(field.info.name, "has_vlan" | "has_more_vlan" | "extensions") {
                let bytes = field.spec.unwrap_or(0).to_be_bytes();
                let length = field.info.bits.div_ceil(8) as usize;
                header.extend_from_slice(bytes.get(16 - length.min(16)..).unwrap_or_default());
            }
        });
        complete(&mut header, start, item);
        next_protocol = match item {
            Item::Eth(_) => Some(start + 12),
            Item::Vlan(_) => Some(start + 2),
            Item::Ipv4(_) => Some(start + 9),
            Item::Ipv6(_) => Some(start + 6),
            _ => None,
        };
    }
    Ok(header)
}

/// Writes the type of the next header where a definition left it 0.
fn fill_next(header: &mut [u8], place: usize, ether_type: Option<u16>, protocol: Option<u8>) {
    let Some(rest) = header.get_mut(place..) else { return };
    match (rest, ether_type, protocol) {
        ([high, low, ..], Some(ether_type), _) if (*high, *low) == (0, 0) => {
            [*high, *low] = ether_type.to_be_bytes();
        }
        ([next, ..], None, Some(protocol)) if *next == 0 => *next = protocol,
        _ => {}
    }
}

/// Writes what every header of its kind has where a definition left it 0.
fn complete(header: &mut [u8], start: usize, item: &Item) {
    let Some(fields) = header.get_mut(start..) else { return };
    match (item, fields) {
        (Item::Ipv4(_), [version @ 0, _, _, _, _, _, _, _, ttl, ..]) => {
            *version = 0x45;
            if *ttl == 0 {
                *ttl = 64;
            }
        }
        (Item::Ipv6(_), [version, _, _, _, _, _, _, hops, ..]) => {
            *version = 0x60 | (*version & 0x0f);
            if *hops == 0 {
                *hops = 64;
            }
        }
        (Item::Udp(_), [_, _, high @ 0, low @ 0, ..]) => {
            [*high, *low] = packet::wire::vxlan::PORT.to_be_bytes();
        }
        (Item::Vxlan(_), [flags @ 0, ..]) => *flags = 0x08,
        _ => {}
    }
}

fn tag_block(index: usize, register: u32) -> Result<Block, FlowError> {
    match u8::try_from(register) {
        Ok(register) if usize::from(register) < TAGS => Ok(Block::Tag(register)),
        _ => {
            let message = format!("there is no TAG {register}; use one of 0 to {}", TAGS - 1);
            Err(wrong(index, message))
        }
    }
}

/// Sets the bits of a register that a mask names: one command for each run of bits.
fn masked(block: Block, data: u32, mask: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut offset = 0;
    while let Some(rest) = mask.checked_shr(offset).filter(|rest| *rest != 0) {
        offset += rest.trailing_zeros();
        let width = mask.checked_shr(offset).unwrap_or(0).trailing_ones();
        let places = [Some(Place { block, offset: 0, bytes: 4, shift: 0 }), None];
        steps.push(Step::Rewrite(Rewrite {
            operation: ModifyOperation::Set,
            destination: Bits { places, offset, width },
            source: Source::Immediate(u128::from(data.checked_shr(offset).unwrap_or(0))),
        }));
        offset += width;
    }
    steps
}

/// Changes a whole field of the outermost headers, whichever of the alternatives the packet has.
fn whole(fields: &[FieldId], operation: ModifyOperation, number: u128) -> Step {
    let mut places = [None; 2];
    for (place, field) in places.iter_mut().zip(fields) {
        *place = header_place(*field, Depth::Outer);
    }
    let width = fields.first().map_or(0, |field| field.bits());
    let destination = Bits { places, offset: 0, width };
    Step::Rewrite(Rewrite { operation, destination, source: Source::Immediate(number) })
}

fn modify_field(index: usize, modify: &ModifyField) -> Result<Rewrite, FlowError> {
    let destination = bits(index, &modify.destination, modify.width)?;
    let source = match &modify.source {
        ModifySource::Field(field) => Source::Field(bits(index, field, modify.width)?),
        ModifySource::Value(_) | ModifySource::Pointer(_) => {
            let number = modify.number().unwrap_or(0);
            Source::Immediate(number.checked_shr(destination.offset).unwrap_or(0))
        }
    };
    Ok(Rewrite { operation: modify.operation, destination, source })
}

fn bits(index: usize, field: &FieldRef, width: u32) -> Result<Bits, FlowError> {
    let name = field.field.name();
    let register = |block| Place { block, offset: 0, bytes: 4, shift: 0 };
    let depth = match (field.field, field.level) {
        (FieldId::Tag, _) | (_, 0 | 1) => Depth::Outer,
        (_, 2) => Depth::Inner,
        (_, level) => {
            let message = format!("{name} has no level {level}; use 0 to 2");
            return Err(wrong(index, message));
        }
    };
    let place = match field.field {
        FieldId::Tag => register(tag_block(index, field.level)?),
        FieldId::Mark => register(Block::Mark),
        FieldId::Meta => register(Block::Meta),
        other => header_place(other, depth).ok_or_else(|| {
            refuse(index, format!("MODIFY_FIELD cannot touch {name}; leave it to software"))
        })?,
    };
    let end = width.checked_add(field.offset);
    if width == 0 || end.is_none_or(|end| end > field.field.bits()) {
        let message = format!(
            "{width} bits from bit {} on do not lie in {name}, which has {}; correct width or offset",
            field.offset,
            field.field.bits()
        );
        return Err(wrong(index, message));
    }
    let offset = field.bits(width).trailing_zeros();
    Ok(Bits { places: [Some(place), None], offset, width })
}

/// Where a header field is; `None` for those that the card does not write.
fn header_place(field: FieldId, depth: Depth) -> Option<Place> {
    let (block, offset, bytes, shift) = match field {
        FieldId::MacDst => (Block::EthernetAddresses(depth), 0, 6, 0),
        FieldId::MacSrc => (Block::EthernetAddresses(depth), 6, 6, 0),
        FieldId::Ipv4Dscp => (Block::Ipv4(depth), 1, 1, 2),
        FieldId::Ipv4Ecn => (Block::Ipv4(depth), 1, 1, 0),
        FieldId::Ipv4Ttl => (Block::Ipv4(depth), 8, 1, 0),
        FieldId::Ipv4Src => (Block::Ipv4(depth), 12, 4, 0),
        FieldId::Ipv4Dst => (Block::Ipv4(depth), 16, 4, 0),
        FieldId::Ipv6Dscp => (Block::Ipv6(depth), 0, 2, 6),
        FieldId::Ipv6Ecn => (Block::Ipv6(depth), 0, 2, 4),
        FieldId::Ipv6HopLimit => (Block::Ipv6(depth), 7, 1, 0),
        FieldId::Ipv6Src => (Block::Ipv6(depth), 8, 16, 0),
        FieldId::Ipv6Dst => (Block::Ipv6(depth), 24, 16, 0),
        FieldId::TcpPortSrc => (Block::Tcp(depth), 0, 2, 0),
        FieldId::TcpPortDst => (Block::Tcp(depth), 2, 2, 0),
        FieldId::TcpSequence => (Block::Tcp(depth), 4, 4, 0),
        FieldId::TcpAcknowledgment => (Block::Tcp(depth), 8, 4, 0),
        FieldId::TcpFlags => (Block::Tcp(depth), 12, 2, 0),
        FieldId::UdpPortSrc => (Block::Udp(depth), 0, 2, 0),
        FieldId::UdpPortDst => (Block::Udp(depth), 2, 2, 0),
        FieldId::VxlanVni if depth == Depth::Outer => (Block::Vxlan, 4, 3, 0),
        _ => return None,
    };
    Some(Place { block, offset, bytes, shift })
}
