//! The one place that says what a profile accepts: the compiler asks before, the simulated NIC refuses by it.

mod pattern;
mod template;

pub use template::{check_actions_template, check_pattern_template};

use crate::action::{Action, ActionKind};
use crate::attribute::Domain;
use crate::error::{EINVAL, ENOTSUP, ErrorKind, FlowError};
use crate::header::{Header, Udp};
use crate::item::{Item, ItemKind};
use crate::modify::{FieldId, ModifyField, ModifyOperation, ModifySource};
use crate::profile::{Fates, Place, Profile, TransferPorts};
use crate::rule::Rule;

/// Through which interface a rule comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// `rte_flow_create`, `rte_flow_validate`.
    Synchronous,
    /// `rte_flow_async_create`, from templates.
    Template,
}

/// Where a rule is to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context {
    /// Through which interface.
    pub api: Api,
    /// Whether the port is the switch's transfer proxy; the others are representors.
    pub is_proxy: bool,
}

/// Whether a NIC of this profile accepts the rule.
///
/// # Errors
/// The first thing it refuses, as `rte_flow` reports it, with what to do.
pub fn check(rule: &Rule, profile: &Profile, context: Context) -> Result<(), FlowError> {
    let check = Check { rule, profile, api: context.api, is_root: is_root(rule, profile) };
    check.interface(context)?;
    check.attributes(context)?;
    check.pattern()?;
    check.actions(context)
}

fn is_root(rule: &Rule, profile: &Profile) -> bool {
    profile.is_root(rule.attributes.domain, rule.attributes.group)
}

/// One rule against one profile.
struct Check<'a> {
    rule: &'a Rule,
    profile: &'a Profile,
    api: Api,
    is_root: bool,
}

impl Check<'_> {
    fn domain(&self) -> Domain {
        self.rule.attributes.domain
    }

    fn interface(&self, context: Context) -> Result<(), FlowError> {
        let interface = &self.profile.interface;
        let refuse = |message| Err(FlowError::other(ErrorKind::Unspecified, ENOTSUP, message));
        match context.api {
            Api::Synchronous if !interface.synchronous => refuse(
                "this steering mode has no synchronous rules; use the asynchronous API with templates",
            ),
            Api::Template if !interface.templates => {
                refuse("incorrect steering mode: there are no templates; use rte_flow_create")
            }
            _ => Ok(()),
        }
    }

    /// Whether rules of this domain are made through such a port.
    fn ports(&self, is_proxy: bool) -> Result<(), FlowError> {
        if self.domain() == Domain::Transfer
            && !is_proxy
            && self.profile.interface.transfer_ports == TransferPorts::Proxy
        {
            let message =
                "transfer rules are the proxy port's; create it on rte_flow_pick_transfer_proxy's";
            return Err(FlowError::attributes(ErrorKind::Transfer, EINVAL, message));
        }
        Ok(())
    }

    fn attributes(&self, context: Context) -> Result<(), FlowError> {
        let limits = &self.profile.limits;
        let attributes = &self.rule.attributes;
        self.ports(context.is_proxy)?;
        if let Some(highest) = limits.highest_group.filter(|highest| attributes.group > *highest) {
            let message = format!("group {} is too high; use 0 to {highest}", attributes.group);
            return Err(FlowError::attributes(ErrorKind::Group, EINVAL, message));
        }
        let lowest =
            if self.is_root { limits.lowest_root_priority } else { limits.lowest_priority };
        if let Some(lowest) = lowest.filter(|lowest| attributes.priority > *lowest) {
            let message =
                format!("priority {} is out of range; use 0 to {lowest}", attributes.priority);
            return Err(FlowError::attributes(ErrorKind::Priority, ENOTSUP, message));
        }
        Ok(())
    }

    /// Whether an item or action is accepted in the rule's domain and group.
    fn place(&self, name: &str, what: &str, place: &Place) -> Result<(), String> {
        if !place.domains.contains(&self.domain()) {
            let domain = self.domain().name();
            return Err(format!(
                "{what} {name} is not supported in {domain} rules; use another domain"
            ));
        }
        if self.is_root && !place.root {
            return Err(format!(
                "{what} {name} is not supported in the root group; jump to another and use it there"
            ));
        }
        Ok(())
    }

    fn tag(&self, index: u32) -> Result<(), String> {
        match self.profile.limits.tags {
            Some(tags) if index >= tags => Err(format!(
                "there is no tag register {index}; use 0 to {}",
                tags.saturating_sub(1)
            )),
            _ => Ok(()),
        }
    }

    fn actions(&self, context: Context) -> Result<(), FlowError> {
        let mut commands = 0;
        for (index, action) in self.rule.actions.iter().enumerate() {
            let before = self.rule.actions.iter().take(index).map(Action::kind);
            self.kind(index, action.kind(), before)?;
            self.conf(index, action, context)?;
            commands += modify_commands(action);
            self.commands(index, commands)?;
        }
        self.fate(self.rule.actions.iter().map(Action::kind))
    }

    /// Whether an action is accepted here, behind these.
    fn kind(
        &self,
        index: usize,
        kind: ActionKind,
        mut before: impl Iterator<Item = ActionKind> + Clone,
    ) -> Result<(), FlowError> {
        let refuse = |message| FlowError::action(index, ErrorKind::Action, ENOTSUP, message);
        let Some(place) = self.profile.action(kind) else {
            let message =
                format!("action {kind} is not supported; use another or leave it to software");
            return Err(refuse(message));
        };
        self.place(kind.name(), "action", place).map_err(refuse)?;
        self.order(index, kind, &before)?;
        if kind.is_fate() && before.any(ActionKind::is_fate) {
            let message = "a rule has one fate action; remove the others";
            return Err(FlowError::action(index, ErrorKind::Action, EINVAL, message));
        }
        Ok(())
    }

    /// Whether there is a fate where there must be one.
    fn fate(&self, mut kinds: impl Iterator<Item = ActionKind>) -> Result<(), FlowError> {
        if self.profile.fates == Fates::ExactlyOne && !kinds.any(ActionKind::is_fate) {
            let message = "a rule needs one fate action; add jump, drop, a port or a queue";
            return Err(FlowError::other(ErrorKind::ActionNumber, EINVAL, message));
        }
        Ok(())
    }

    /// Order and number against the actions before.
    fn order(
        &self,
        index: usize,
        kind: ActionKind,
        before: &(impl Iterator<Item = ActionKind> + Clone),
    ) -> Result<(), FlowError> {
        let before = || before.clone();
        let refuse =
            |message: String| Err(FlowError::action(index, ErrorKind::Action, EINVAL, message));
        let single = self.profile.at_most_one.iter().find(|class| class.contains(kind));
        if let Some(class) = single.filter(|class| before().any(|earlier| class.contains(earlier)))
        {
            return refuse(format!(
                "a rule has at most one {} action; remove {kind}",
                class.name()
            ));
        }
        let rank = |kind: ActionKind| {
            let order = &self.profile.order;
            order.iter().position(|classes| classes.iter().any(|class| class.contains(kind)))
        };
        let Some(mine) = rank(kind) else { return Ok(()) };
        match before().find(|earlier| rank(*earlier).is_some_and(|theirs| theirs > mine)) {
            Some(earlier) => refuse(format!("{kind} cannot come after {earlier}; put it before")),
            None => Ok(()),
        }
    }

    /// The configuration of one action.
    fn conf(&self, index: usize, action: &Action, context: Context) -> Result<(), FlowError> {
        let refuse = |errno, message: String| {
            Err(FlowError::action(index, ErrorKind::ActionConf, errno, message))
        };
        match action {
            Action::Jump(group) => self.jump(index, *group),
            Action::SetTag(set) => self
                .tag(u32::from(set.index))
                .map_err(|text| FlowError::action(index, ErrorKind::ActionConf, EINVAL, text)),
            Action::ModifyField(modify) => self.modify(index, modify),
            Action::VxlanEncap(definition) => {
                self.tunnel_port(index, action.kind(), context)?;
                let checksum = definition.iter().find_map(|item| match item {
                    Item::Udp(asked) => asked.spec.map(|udp| udp.checksum),
                    _ => None,
                });
                self.encap(index, definition.iter().map(header_bytes).sum(), checksum)
            }
            Action::RawEncap(encap) => {
                self.tunnel_port(index, action.kind(), context)?;
                self.encap(index, encap.data.len(), outer_udp(&encap.data).map(|udp| udp.checksum))
            }
            Action::VxlanDecap | Action::RawDecap(_) => {
                self.tunnel_port(index, action.kind(), context)?;
                let has_item = self.rule.pattern.iter().any(|i| i.kind() == ItemKind::Vxlan);
                let needs = self.profile.encap.decap_needs_item;
                if needs && !has_item && action.kind() == ActionKind::VxlanDecap {
                    let text = "vxlan_decap needs the item vxlan in the same pattern; add it";
                    return refuse(ENOTSUP, text.to_owned());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn jump(&self, index: usize, group: u32) -> Result<(), FlowError> {
        let refuse =
            |message| Err(FlowError::action(index, ErrorKind::ActionConf, EINVAL, message));
        if group == self.rule.attributes.group {
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

    fn tunnel_port(
        &self,
        index: usize,
        kind: ActionKind,
        context: Context,
    ) -> Result<(), FlowError> {
        if self.domain() == Domain::Transfer
            || context.is_proxy
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
            Err(FlowError::action(index, ErrorKind::ActionConf, errno, message))
        };
        let destination = modify.destination;
        let name = destination.field.name();
        if !self.profile.can_modify(destination.field) {
            return refuse(ENOTSUP, format!("{name} cannot be modified; leave it to software"));
        }
        if destination.field == FieldId::Tag {
            self.tag(destination.level)
                .map_err(|text| FlowError::action(index, ErrorKind::ActionConf, EINVAL, text))?;
        } else if destination.level > 1 && !self.profile.modify_inner {
            let text = "fields of inner headers cannot be modified; decapsulate first";
            return refuse(ENOTSUP, text.to_owned());
        }
        let fits = |offset: u32, bits: u32| {
            offset.checked_add(modify.width).is_some_and(|end| end <= bits)
        };
        if modify.width == 0 || !fits(destination.offset, destination.field.bits()) {
            let bits = destination.field.bits();
            return refuse(
                EINVAL,
                format!("offset and width exceed the {bits} bits of {name}; correct them"),
            );
        }
        if let ModifySource::Field(source) = modify.source {
            if modify.operation != ModifyOperation::Set {
                let text = "only immediate values can be added or subtracted; use set";
                return refuse(ENOTSUP, text.to_owned());
            }
            if !fits(source.offset, source.field.bits()) {
                let (from, bits) = (source.field.name(), source.field.bits());
                return refuse(
                    EINVAL,
                    format!("offset and width exceed the {bits} bits of {from}; correct them"),
                );
            }
        }
        if modify.operation == ModifyOperation::Sub && !self.profile.modify_sub {
            let text = "subtraction is not supported; add the complement";
            return refuse(ENOTSUP, text.to_owned());
        }
        Ok(())
    }

    fn commands(&self, index: usize, commands: u32) -> Result<(), FlowError> {
        let limits = &self.profile.limits;
        let most = if self.is_root { limits.root_modify_commands } else { limits.modify_commands };
        match most {
            Some(most) if commands > most => {
                let message = format!(
                    "the rule needs over {most} modify-header commands; rewrite less or over two groups"
                );
                Err(FlowError::action(index, ErrorKind::Action, EINVAL, message))
            }
            _ => Ok(()),
        }
    }
}

/// How many bytes of header an item of an encapsulation's definition stands for.
fn header_bytes(item: &Item) -> usize {
    match item {
        Item::Eth(_) => 14,
        Item::Vlan(_) => 4,
        Item::Ipv4(_) | Item::Tcp(_) => 20,
        Item::Ipv6(_) => 40,
        Item::Udp(_) | Item::Vxlan(_) => 8,
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

/// How many modify-header commands an action takes: one for each 32 bits of a field or part of them.
fn modify_commands(action: &Action) -> u32 {
    match action {
        Action::SetMacSrc(_) | Action::SetMacDst(_) => 2,
        Action::SetIpv6Src(_) | Action::SetIpv6Dst(_) => 4,
        Action::ModifyField(modify) => modify.width.min(128).div_ceil(32),
        other if other.kind().is_modify() => 1,
        _ => 0,
    }
}

#[cfg(test)]
#[path = "legality_tests.rs"]
mod tests;
