//! What a rule does to packets, as far as it is followed.

use rte_flow::{
    Action, Depth, FieldId, FieldRef, ModifyField, ModifyOperation, ModifySource, Profile,
};

use crate::bits::{Layer4, MARK, META, Span, Stack, TAGS, TUNNEL_HEADER, TUNNEL_KIND, Tunnel, tag};
use crate::pattern::Asked;
use crate::space::{Region, Space, with};
use crate::view::{Header, View};

/// A rule's actions.
#[derive(Debug, Clone)]
pub struct Program {
    /// What happens to the packet, in order.
    pub steps: Vec<Step>,
    /// Where it goes then.
    pub fate: Fate,
}

/// Where a rule sends packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// To another group.
    Jump(u32),
    /// To the entity behind a port.
    Port(u16),
    /// To software, as if from a port.
    Software(u16),
    /// Nowhere.
    Drop,
    /// Where packets go that no rule takes.
    Miss,
}

/// One change to a packet.
#[derive(Debug, Clone)]
pub enum Step {
    /// The outermost tunnel's headers go off.
    Decapsulate,
    /// Headers go on.
    Encapsulate(Box<Header>),
    /// A field changes, where the packet has it.
    Rewrite(Rewrite),
}

/// A change of a field.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// The packet must have this, or nothing happens.
    needs: Vec<(Span, u128)>,
    /// What changes.
    place: Span,
    /// How.
    change: Change,
    /// The stack whose parsing depends on it.
    reparses: Option<Stack>,
    /// Checksums that follow, each with the header that has it.
    follows: Vec<Checksum>,
}

/// What a packet must have, and the checksum that it then has.
type Checksum = (Vec<(Span, u128)>, Span);

#[derive(Debug, Clone)]
enum Change {
    /// To these bits, under a mask.
    Set(u128, u128),
    /// By this much.
    Add(u128),
    /// To another field, which the packet must have, too.
    Copy(Vec<(Span, u128)>, Span),
    /// To something that is not followed.
    Unknown,
}

/// Why a rule is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfollowed {
    /// An action.
    #[error("action {0} is not followed by this check")]
    Action(&'static str),
    /// Headers to prepend.
    #[error("encapsulation other than VXLAN over plain IPv4 or IPv6 is not followed by this check")]
    Header,
    /// A register or field that there is not.
    #[error("there is no such place to rewrite: {0}")]
    Place(&'static str),
}

impl Program {
    /// What the actions do.
    ///
    /// # Errors
    /// [`Unfollowed`] says which of them is not followed.
    pub fn new(actions: &[Action], profile: &Profile) -> Result<Self, Unfollowed> {
        let mut program = Self { steps: Vec::new(), fate: Fate::Miss };
        for action in actions {
            let step = match action {
                // Labels reach software only.
                Action::Void | Action::Count(_) | Action::Age(_) | Action::Flag => continue,
                Action::Jump(group) => {
                    program.fate = Fate::Jump(*group);
                    continue;
                }
                Action::Drop => {
                    program.fate = Fate::Drop;
                    continue;
                }
                Action::RepresentedPort(port) => {
                    program.fate = Fate::Port(*port);
                    continue;
                }
                Action::PortRepresentor(port) => {
                    program.fate = Fate::Software(*port);
                    continue;
                }
                Action::VxlanDecap => Step::Decapsulate,
                Action::RawEncap(encap) if encap.preserve.is_none() => {
                    Step::Encapsulate(Box::new(Header::new(&encap.data).ok_or(Unfollowed::Header)?))
                }
                Action::RawEncap(_) => return Err(Unfollowed::Header),
                other => Step::Rewrite(rewrite(other, profile)?),
            };
            program.steps.push(step);
        }
        Ok(program)
    }

    /// Lets the packets of a region run through the steps. What is left of them: those that are not lost on the way.
    pub fn run(&self, space: &Space, mut region: Region, view: &mut View) -> Option<Region> {
        for step in &self.steps {
            match step {
                Step::Decapsulate => {
                    let inner = Asked {
                        cube: with(&[(Stack::INNER.has_ethernet(), 1)]),
                        ranges: Vec::new(),
                        never: false,
                        is_wider: false,
                    };
                    // What has no frame inside is dropped.
                    region = view.meet(space, &region, &inner)?.0;
                    view.decapsulate();
                }
                Step::Encapsulate(header) => view.encapsulate(header),
                Step::Rewrite(rewrite) => rewrite.run(&region, view),
            }
        }
        Some(region)
    }
}

impl Rewrite {
    fn run(&self, region: &Region, view: &mut View) {
        let has = |view: &View, needs: &[(Span, u128)]| view.decides(region, &with(needs));
        let mut change = &self.change;
        match has(view, &self.needs) {
            Some(false) => return,
            Some(true) => {}
            None => change = &Change::Unknown,
        }
        if let Change::Copy(needs, _) = change {
            match has(view, needs) {
                Some(false) => return,
                Some(true) => {}
                None => change = &Change::Unknown,
            }
        }
        match change {
            Change::Set(number, mask) => view.set(self.place, *number, *mask),
            Change::Add(number) => view.add(region, self.place, *number),
            Change::Copy(_, from) => view.copy(self.place, *from),
            Change::Unknown => view.lose(self.place, u128::MAX),
        }
        for (needs, checksum) in &self.follows {
            if has(view, needs) != Some(false) {
                view.lose(*checksum, u128::MAX);
            }
        }
        if let Some(stack) = self.reparses {
            if self.place == stack.ether_type() {
                view.lose_stack(stack);
            }
            if stack == Stack::OUTER {
                view.lose_inside();
            }
        }
    }
}

/// Where a field is: what the packet must have, and its bits.
struct Place {
    needs: Vec<(Span, u128)>,
    span: Span,
    reparses: Option<Stack>,
    follows: Vec<Checksum>,
}

impl Place {
    fn register(span: Span) -> Self {
        Self { needs: Vec::new(), span, reparses: None, follows: Vec::new() }
    }
}

fn rewrite(action: &Action, profile: &Profile) -> Result<Rewrite, Unfollowed> {
    let outer = |field| place(FieldRef::outermost(field), field.name());
    let set = |field: FieldId, number: u128| {
        let place = outer(field)?;
        Ok(made(place, Change::Set(number, u128::MAX)))
    };
    let number = |octets: &[u8]| octets.iter().fold(0, |all, octet| all << 8 | u128::from(*octet));
    match action {
        Action::ModifyField(modify) => modify_field(modify, profile),
        Action::Mark(mark) => {
            Ok(made(Place::register(MARK), Change::Set((*mark).into(), u128::MAX)))
        }
        Action::SetTag(set) => Ok(made(
            Place::register(register(set.index.into())?),
            Change::Set(set.data.into(), set.mask.into()),
        )),
        Action::SetMeta(set) => {
            Ok(made(Place::register(META), Change::Set(set.data.into(), set.mask.into())))
        }
        Action::SetMacSrc(mac) => set(FieldId::MacSrc, number(&mac.0)),
        Action::SetMacDst(mac) => set(FieldId::MacDst, number(&mac.0)),
        Action::SetIpv4Src(ip) => set(FieldId::Ipv4Src, ip.to_bits().into()),
        Action::SetIpv4Dst(ip) => set(FieldId::Ipv4Dst, ip.to_bits().into()),
        Action::SetIpv6Src(ip) => set(FieldId::Ipv6Src, ip.to_bits()),
        Action::SetIpv6Dst(ip) => set(FieldId::Ipv6Dst, ip.to_bits()),
        other => Err(Unfollowed::Action(other.kind().name())),
    }
}

fn made(place: Place, change: Change) -> Rewrite {
    let Place { needs, span, reparses, follows } = place;
    Rewrite { needs, place: span, change, reparses, follows }
}

fn modify_field(modify: &ModifyField, profile: &Profile) -> Result<Rewrite, Unfollowed> {
    let name = modify.destination.field.name();
    let to = place(modify.destination, name)?;
    let bits = modify.changed_bits();
    let change = match (&modify.source, modify.operation) {
        (ModifySource::Field(from), operation) => {
            let copies =
                operation == ModifyOperation::Set || profile.modify.field_arithmetic_copies;
            let from_place = place(*from, from.field.name())?;
            if copies {
                let part = |place: &Place, field: &FieldRef| {
                    let mask = field.bits(modify.width);
                    let low = mask.trailing_zeros() as u16;
                    let width = mask.count_ones() as u16;
                    (width > 0).then(|| place.span.part(place.span.width - low - width, width))
                };
                let (Some(target), Some(source)) =
                    (part(&to, &modify.destination), part(&from_place, from))
                else {
                    return Err(Unfollowed::Place(name));
                };
                if target.width != source.width {
                    return Err(Unfollowed::Place(name));
                }
                let to = Place { span: target, ..to };
                return Ok(made(to, Change::Copy(from_place.needs, source)));
            }
            Change::Unknown
        }
        (_, ModifyOperation::Set) => Change::Set(modify.number().unwrap_or(0), bits),
        (_, ModifyOperation::Add) if modify.width >= modify.destination.field.bits() => {
            Change::Add(modify.number().unwrap_or(0))
        }
        _ => Change::Unknown,
    };
    Ok(made(to, change))
}

fn register(index: u32) -> Result<Span, Unfollowed> {
    u8::try_from(index).ok().filter(|index| *index < TAGS).map(tag).ok_or(Unfollowed::Place("tag"))
}

fn place(field: FieldRef, name: &'static str) -> Result<Place, Unfollowed> {
    let depth = match (field.field, field.level) {
        (FieldId::Tag, index) => return Ok(Place::register(register(index)?)),
        (FieldId::Mark, _) => return Ok(Place::register(MARK)),
        (FieldId::Meta, _) => return Ok(Place::register(META)),
        (_, 0 | 1) => Depth::Outer,
        (_, 2) => Depth::Inner,
        _ => return Err(Unfollowed::Place(name)),
    };
    let stack = Stack::at(depth);
    let (v4, v6) = (vec![(stack.family(), 0b10)], vec![(stack.family(), 0b11)]);
    let ethernet = vec![(stack.has_ethernet(), 1)];
    let transport =
        |kind: Layer4| vec![(stack.has_transport(), 1), (stack.transport_kind(), kind as u128)];
    let checksum = (v4.clone(), stack.network(10, 2));
    let sum = |kind, at| (transport(kind), stack.transport(at, 2));
    let sums = vec![sum(Layer4::Tcp, 16), sum(Layer4::Udp, 6), sum(Layer4::Icmp6, 2)];
    let sums_v4 = || [vec![checksum.clone()], sums.clone()].concat();
    let (needs, span, follows) = match field.field {
        FieldId::MacDst => (ethernet, stack.destination_mac(), vec![]),
        FieldId::MacSrc => (ethernet, stack.source_mac(), vec![]),
        FieldId::MacType => (ethernet, stack.ether_type(), vec![]),
        FieldId::VlanId => (vec![(stack.has_vlan(), 1)], stack.vlan(0).part(4, 12), vec![]),
        FieldId::Ipv4Dscp => (v4, stack.network(1, 1).part(0, 6), vec![checksum]),
        FieldId::Ipv4Ecn => (v4, stack.network(1, 1).part(6, 2), vec![checksum]),
        FieldId::Ipv4Ttl => (v4, stack.network(8, 1), vec![checksum]),
        FieldId::Ipv4Src => (v4, stack.network(12, 4), sums_v4()),
        FieldId::Ipv4Dst => (v4, stack.network(16, 4), sums_v4()),
        FieldId::Ipv6Dscp => (v6, stack.network(0, 2).part(4, 6), vec![]),
        FieldId::Ipv6Ecn => (v6, stack.network(0, 2).part(10, 2), vec![]),
        FieldId::Ipv6HopLimit => (v6, stack.network(7, 1), vec![]),
        FieldId::Ipv6Src => (v6, stack.network(8, 16), sums),
        FieldId::Ipv6Dst => (v6, stack.network(24, 16), sums),
        FieldId::TcpPortSrc => {
            (transport(Layer4::Tcp), stack.transport(0, 2), vec![sum(Layer4::Tcp, 16)])
        }
        FieldId::TcpPortDst => {
            (transport(Layer4::Tcp), stack.transport(2, 2), vec![sum(Layer4::Tcp, 16)])
        }
        FieldId::TcpSequence => {
            (transport(Layer4::Tcp), stack.transport(4, 4), vec![sum(Layer4::Tcp, 16)])
        }
        FieldId::TcpAcknowledgment => {
            (transport(Layer4::Tcp), stack.transport(8, 4), vec![sum(Layer4::Tcp, 16)])
        }
        FieldId::UdpPortSrc => {
            (transport(Layer4::Udp), stack.transport(0, 2), vec![sum(Layer4::Udp, 6)])
        }
        FieldId::UdpPortDst => {
            (transport(Layer4::Udp), stack.transport(2, 2), vec![sum(Layer4::Udp, 6)])
        }
        FieldId::VxlanVni if depth == Depth::Outer => {
            (vec![(TUNNEL_KIND, Tunnel::Vxlan as u128)], TUNNEL_HEADER.part(32, 24), vec![])
        }
        _ => return Err(Unfollowed::Place(name)),
    };
    let reparses = matches!(field.field, FieldId::MacType | FieldId::UdpPortDst).then_some(stack);
    Ok(Place { needs, span, reparses, follows })
}
