//! What actions rewrite: header fields and registers.

use rte_flow::{
    Action, Depth, FieldId, FieldRef, FlowError, ModifyField, ModifyOperation, ModifySource,
    Profile,
};

use super::super::program::Step;
use super::super::rewrite::{Bits, Place, Rewrite, Source};
use super::super::subject::{Block, TAGS};
use super::{Plan, refuse, wrong};

const TTL: [FieldId; 2] = [FieldId::Ipv4Ttl, FieldId::Ipv6HopLimit];
const SOURCE_PORT: [FieldId; 2] = [FieldId::TcpPortSrc, FieldId::UdpPortSrc];
const DESTINATION_PORT: [FieldId; 2] = [FieldId::TcpPortDst, FieldId::UdpPortDst];

/// Adds the steps of an action that rewrites.
pub fn rewrites(
    index: usize,
    action: &Action,
    profile: &Profile,
    plan: &mut Plan,
) -> Result<(), FlowError> {
    use ModifyOperation::{Add, Set, Sub};
    let (fields, operation, number): (&[FieldId], _, u128) = match action {
        Action::ModifyField(modify) => {
            plan.push(Step::Rewrite(modify_field(index, modify, profile)?));
            return Ok(());
        }
        Action::SetTag(tag) => {
            let block = tag_block(index, u32::from(tag.index))?;
            masked(block, tag.data, tag.mask, plan);
            return Ok(());
        }
        Action::SetMeta(meta) if meta.mask == 0 => {
            return Err(wrong(index, "SET_META with a mask of 0 sets nothing; set bits in it"));
        }
        Action::SetMeta(meta) => {
            masked(Block::Meta, meta.data, meta.mask, plan);
            return Ok(());
        }
        Action::SetMacSrc(mac) => (&[FieldId::MacSrc], Set, number(&mac.0)),
        Action::SetMacDst(mac) => (&[FieldId::MacDst], Set, number(&mac.0)),
        Action::SetIpv4Src(ip) => (&[FieldId::Ipv4Src], Set, ip.to_bits().into()),
        Action::SetIpv4Dst(ip) => (&[FieldId::Ipv4Dst], Set, ip.to_bits().into()),
        Action::SetIpv6Src(ip) => (&[FieldId::Ipv6Src], Set, ip.to_bits()),
        Action::SetIpv6Dst(ip) => (&[FieldId::Ipv6Dst], Set, ip.to_bits()),
        // The two high bits are ignored (`struct rte_flow_action_set_dscp`).
        Action::SetIpv4Dscp(dscp) => (&[FieldId::Ipv4Dscp], Set, (*dscp).into()),
        Action::SetIpv6Dscp(dscp) => (&[FieldId::Ipv6Dscp], Set, (*dscp).into()),
        Action::SetTpSrc(port) => (&SOURCE_PORT, Set, (*port).into()),
        Action::SetTpDst(port) => (&DESTINATION_PORT, Set, (*port).into()),
        Action::SetTtl(ttl) => (&TTL, Set, (*ttl).into()),
        // What the card does: the addition wraps at 0 and nothing is dropped.
        Action::DecTtl => (&TTL, Add, 0xff),
        Action::IncTcpSeq(value) => (&[FieldId::TcpSequence], Add, (*value).into()),
        Action::DecTcpSeq(value) => (&[FieldId::TcpSequence], Sub, (*value).into()),
        Action::IncTcpAck(value) => (&[FieldId::TcpAcknowledgment], Add, (*value).into()),
        Action::DecTcpAck(value) => (&[FieldId::TcpAcknowledgment], Sub, (*value).into()),
        _ => {
            let message = format!("action {} is not supported; leave it out", action.kind().name());
            return Err(refuse(index, message));
        }
    };
    plan.push(whole(fields, operation, number));
    Ok(())
}

fn number(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
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
fn masked(block: Block, data: u32, mask: u32, plan: &mut Plan) {
    let mut offset = 0;
    while let Some(rest) = mask.checked_shr(offset).filter(|rest| *rest != 0) {
        offset += rest.trailing_zeros();
        let width = mask.checked_shr(offset).unwrap_or(0).trailing_ones();
        let number = data.checked_shr(offset).unwrap_or(0);
        plan.push(Step::Rewrite(Rewrite {
            operation: ModifyOperation::Set,
            destination: Bits {
                places: [Some(Place { block, offset: 0, bytes: 4, shift: 0 }), None],
                offset: offset as u8,
                width: width as u8,
            },
            source: Source::Immediate(u128::from(number).to_be_bytes()),
        }));
        offset += width;
    }
}

/// Changes a whole field of the outermost headers, whichever of the alternatives the packet has.
fn whole(fields: &[FieldId], operation: ModifyOperation, number: u128) -> Step {
    let mut places = [None; 2];
    for (place, field) in places.iter_mut().zip(fields) {
        *place = header_place(*field, Depth::Outer);
    }
    // No field has more than 128 bits.
    let width = fields.first().map_or(0, |field| field.bits() as u8);
    let destination = Bits { places, offset: 0, width };
    let source = Source::Immediate(number.to_be_bytes());
    Step::Rewrite(Rewrite { operation, destination, source })
}

fn modify_field(
    index: usize,
    modify: &ModifyField,
    profile: &Profile,
) -> Result<Rewrite, FlowError> {
    let destination = bits(index, &modify.destination, modify.width)?;
    let source = match &modify.source {
        ModifySource::Field(field) => Source::Field(bits(index, field, modify.width)?),
        ModifySource::Value(_) | ModifySource::Pointer(_) => {
            let number = modify.number().unwrap_or(0);
            let number = number.checked_shr(destination.offset.into()).unwrap_or(0);
            Source::Immediate(number.to_be_bytes())
        }
    };
    let operation = match source {
        Source::Field(_) if profile.modify.field_arithmetic_copies => ModifyOperation::Set,
        _ => modify.operation,
    };
    Ok(Rewrite { operation, destination, source })
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
        FieldId::MeterColor => register(Block::Color),
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
    // They lie in a field, which has 128 bits at most.
    Ok(Bits { places: [Some(place), None], offset: offset as u8, width: width as u8 })
}

/// Where a header field is; `None` for those that the card does not write.
fn header_place(field: FieldId, depth: Depth) -> Option<Place> {
    let (block, offset, bytes, shift) = match field {
        FieldId::MacDst => (Block::EthernetAddresses(depth), 0, 6, 0),
        FieldId::MacSrc => (Block::EthernetAddresses(depth), 6, 6, 0),
        FieldId::VlanId => (Block::Vlan(depth), 0, 2, 0),
        FieldId::MacType => (Block::EthernetType(depth), 0, 2, 0),
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
        FieldId::GeneveVni if depth == Depth::Outer => (Block::Geneve, 4, 3, 0),
        FieldId::GtpTeid if depth == Depth::Outer => (Block::Gtp, 4, 4, 0),
        _ => return None,
    };
    Some(Place { block, offset, bytes, shift })
}
