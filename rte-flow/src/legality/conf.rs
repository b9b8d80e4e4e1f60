//! What a profile accepts of the configuration of an action.

use super::Check;
use super::actions::{Known, Value};
use crate::action::{Action, ActionKind, Sample};
use crate::attribute::Domain;
use crate::error::{EINVAL, ENOTSUP, ErrorKind, FlowError};
use crate::header::{Header, Udp};
use crate::item::{Item, ItemKind};
use crate::modify::{FieldId, ModifyField, ModifyOperation, ModifySource};
use crate::profile::Steering;

fn without_effect(index: usize) -> FlowError {
    let text = "a mask of 0 sets nothing; set bits";
    FlowError::action(index, ErrorKind::Action, EINVAL, text)
}

impl Check<'_> {
    /// The configuration of one action.
    pub(super) fn conf(&self, known: &Known<'_>) -> Result<(), FlowError> {
        let Known { index, kind, .. } = *known;
        let refuse = |errno, message: String| {
            Err(FlowError::action(index, ErrorKind::ActionConf, errno, message))
        };
        if kind.is_encap() || kind.is_decap() || kind.is_tag() {
            self.tunnel_port(index, kind)?;
        }
        let has_item = || {
            let is_vxlan = |item: &Item| item.kind() == ItemKind::Vxlan;
            self.pattern.is_none_or(|pattern| pattern.iter().any(is_vxlan))
        };
        if kind == ActionKind::VxlanDecap && self.profile.encap.decap_needs_item && !has_item() {
            let text = "vxlan_decap needs the item vxlan in the same pattern; add it";
            return Err(FlowError::action(index, ErrorKind::Unspecified, ENOTSUP, text));
        }
        let is_root_modify = self.is_root && kind == ActionKind::ModifyField;
        if is_root_modify && known.value != Value::Given && !self.profile.modify.root_per_rule {
            let text = "in the root group every rule has the template's value; mask it fully";
            return Err(FlowError::action(index, ErrorKind::Action, EINVAL, text));
        }
        let Some(action) = known.conf else { return Ok(()) };
        match action {
            Action::Jump(group) if known.value == Value::Given => self.jump(index, *group),
            Action::Mark(mark) => match self.profile.limits.highest_mark {
                Some(highest) if *mark > highest && known.value == Value::Given => {
                    refuse(EINVAL, format!("mark {mark} is too high; use 0 to {highest}"))
                }
                _ => Ok(()),
            },
            Action::Age(age) if known.value == Value::Given => {
                if age.timeout.get() == 0 && !self.profile.age.zero_timeout {
                    let text = "an age of 0 seconds never ends; set a timeout";
                    return Err(FlowError::action(index, ErrorKind::Action, EINVAL, text));
                }
                Ok(())
            }
            Action::Rss(rss) => self
                .profile
                .rss
                .admit(rss)
                .map_err(|text| FlowError::action(index, ErrorKind::ActionConf, ENOTSUP, text)),
            Action::SetTag(set) if set.mask == 0 && self.is_card() => Err(without_effect(index)),
            Action::SetMeta(set) if set.mask == 0 && self.is_card() => Err(without_effect(index)),
            Action::SetTag(set) => self
                .tag(u32::from(set.index))
                .map_err(|text| FlowError::action(index, ErrorKind::ActionConf, EINVAL, text)),
            Action::ModifyField(modify) => self.modify(index, modify),
            Action::Sample(sample) => self.sample(index, sample),
            Action::VxlanEncap(definition) | Action::NvgreEncap(definition) => {
                let checksum = definition.iter().find_map(|item| match item {
                    Item::Udp(asked) => asked.spec.map(|udp| udp.checksum),
                    _ => None,
                });
                self.encap(index, definition.iter().map(header_bytes).sum(), checksum)
            }
            Action::RawEncap(encap) => {
                self.encap(index, encap.data.len(), outer_udp(&encap.data).map(|udp| udp.checksum))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a card, whose driver refuses what does nothing.
    fn is_card(&self) -> bool {
        self.profile.steering != Steering::None
    }

    /// What happens to copies.
    fn sample(&self, index: usize, sample: &Sample) -> Result<(), FlowError> {
        let refuse = |errno, message: String| {
            Err(FlowError::action(index, ErrorKind::Action, errno, message))
        };
        if sample.ratio == 0 {
            return refuse(EINVAL, "a ratio of 0 copies nothing; use 1 for all packets".to_owned());
        }
        let rules = &self.profile.sample;
        if self.domain() == Domain::Transfer
            && rules.bare_in_transfer
            && sample.ratio > 1
            && !sample.actions.is_empty()
        {
            let text =
                "a transfer rule has sub-actions for the copies of all packets only; use ratio 1";
            return refuse(ENOTSUP, text.to_owned());
        }
        let actions = || sample.actions.iter().filter(|action| **action != Action::Void);
        for action in actions() {
            let kind = action.kind();
            if rules.of(self.domain()).is_some_and(|accepted| !accepted.contains(&kind)) {
                return refuse(ENOTSUP, format!("{kind} cannot be a sub-action; leave it out"));
            }
            let known = Known::rule(index, action, self.context.objects)?;
            self.known_action(&known)?;
            self.conf(&known)?;
        }
        let destination = |kind: ActionKind| match self.domain() {
            Domain::Ingress => matches!(kind, ActionKind::Queue | ActionKind::Rss),
            Domain::Egress => true,
            Domain::Transfer => {
                matches!(kind, ActionKind::PortId | ActionKind::RepresentedPort)
            }
        };
        let is_bare = sample.actions.is_empty() && self.domain() == Domain::Transfer;
        if rules.needs_destination
            && !is_bare
            && !actions().any(|action| destination(action.kind()))
        {
            let text = "the copies have no destination; add a queue or, in transfer rules, a port";
            return refuse(EINVAL, text.to_owned());
        }
        if actions().filter(|action| action.kind().is_fate()).count() > 1 {
            let text = "a copy has one fate action; remove the others";
            return refuse(EINVAL, text.to_owned());
        }
        Ok(())
    }

    fn jump(&self, index: usize, group: u32) -> Result<(), FlowError> {
        let refuse =
            |message| Err(FlowError::action(index, ErrorKind::ActionConf, EINVAL, message));
        if group == self.attributes.group {
            return refuse(format!("group {group} is the rule's own; jump to another"));
        }
        if self.profile.is_root(self.domain(), group) && !self.profile.jump_to_root {
            return refuse(format!(
                "group {group} is the root, which no rule may jump to; use another"
            ));
        }
        match self.profile.limits.highest_group {
            Some(highest) if group > highest => {
                refuse(format!("group {group} is too high; use 0 to {highest}"))
            }
            _ => Ok(()),
        }
    }

    fn tunnel_port(&self, index: usize, kind: ActionKind) -> Result<(), FlowError> {
        if self.domain() == Domain::Transfer
            || self.context.is_proxy
            || self.profile.encap.on_representors
        {
            return Ok(());
        }
        let message = format!("{kind} on a representor works in transfer rules only; use one");
        Err(FlowError::action(index, ErrorKind::Unspecified, ENOTSUP, message))
    }

    fn encap(&self, index: usize, length: usize, checksum: Option<u16>) -> Result<(), FlowError> {
        let refuse =
            |message| Err(FlowError::action(index, ErrorKind::ActionConf, EINVAL, message));
        let encap = &self.profile.encap;
        if let Some(most) = encap.max_bytes.filter(|most| length > *most) {
            return refuse(format!(
                "the header has {length} bytes, the card takes {most}; shorten it"
            ));
        }
        if encap.zero_udp_checksum && checksum.is_some_and(|checksum| checksum != 0) {
            return refuse("the outer UDP checksum must be 0; clear it".to_owned());
        }
        Ok(())
    }

    fn modify(&self, index: usize, modify: &ModifyField) -> Result<(), FlowError> {
        let refuse = |errno, message: String| {
            Err(FlowError::action(index, ErrorKind::Action, errno, message))
        };
        let destination = modify.destination;
        let rules = &self.profile.modify;
        if modify.width == 0 {
            return refuse(
                EINVAL,
                "a width of 0 changes nothing; give the bits' number".to_owned(),
            );
        }
        let source = match modify.source {
            ModifySource::Field(source) => Some(source),
            ModifySource::Value(_) | ModifySource::Pointer(_) => None,
        };
        for part in std::iter::once(&destination).chain(&source) {
            let (name, bits) = (part.field.name(), part.field.bits());
            let end = part.offset.checked_add(modify.width);
            if end.is_none_or(|end| end > bits) {
                let message =
                    format!("offset and width exceed the {bits} bits of {name}; correct them");
                return refuse(EINVAL, message);
            }
            if part.field == FieldId::Tag {
                self.tag(part.level).map_err(|text| {
                    FlowError::action(index, ErrorKind::ActionConf, EINVAL, text)
                })?;
            } else if part.level > 0 && !rules.inner {
                let message =
                    format!("{name} has no level {}; use 0, or decapsulate first", part.level);
                return refuse(ENOTSUP, message);
            }
        }
        if source.is_some_and(|source| {
            !rules.within_field
                && (source.field, source.level) == (destination.field, destination.level)
        }) {
            return refuse(EINVAL, "a field cannot be copied to itself; use another".to_owned());
        }
        if !self.profile.can_modify(destination.field) {
            let name = destination.field.name();
            return refuse(ENOTSUP, format!("{name} cannot be modified; leave it to software"));
        }
        if modify.operation == ModifyOperation::Sub && !rules.sub {
            let text = "subtraction is not supported; add the complement";
            return refuse(ENOTSUP, text.to_owned());
        }
        Ok(())
    }
}

/// How many bytes of header an item of an encapsulation's definition stands for.
fn header_bytes(item: &Item) -> usize {
    match item {
        Item::Eth(_) => 14,
        Item::Vlan(_) => 4,
        Item::Ipv4(_) | Item::Tcp(_) => 20,
        Item::Ipv6(_) => 40,
        Item::Udp(_) | Item::Vxlan(_) | Item::Nvgre(_) => 8,
        _ => 0,
    }
}

/// The UDP header of an encapsulation: Ethernet, at most two VLAN tags, IPv4 or IPv6, UDP.
fn outer_udp(data: &[u8]) -> Option<Udp> {
    let type_at = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let mut at = 12;
    while matches!(type_at(at)?, 0x8100 | 0x88a8) && at < 20 {
        at += 4;
    }
    let (protocol, length) = match type_at(at)? {
        0x0800 => (data.get(at + 11)?, usize::from(data.get(at + 2)? & 0x0f) * 4),
        0x86dd => (data.get(at + 8)?, 40),
        _ => return None,
    };
    let from = at + 2 + length;
    (*protocol == 17).then(|| data.get(from..from + Udp::SIZE).map(Udp::load)).flatten()
}
