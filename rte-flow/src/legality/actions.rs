//! What a profile accepts of a list of actions: which, where, in which order and company.

use smallvec::SmallVec;

use super::{Check, Objects};
use crate::action::{Action, ActionKind};
use crate::attribute::Domain;
use crate::error::{EINVAL, ENOENT, ENOTSUP, ErrorKind, FlowError};
use crate::item::{Item, ItemKind};
use crate::layers::{Depth, Layers, protocol_of};
use crate::profile::{ActionClass, ActionSet, Fates};
use crate::template::TemplateAction;

/// How many actions nearly every rule makes do with.
pub(super) const USUAL: usize = 12;

/// Actions, as far as they are known.
pub(super) type KnownActions<'a> = SmallVec<[Known<'a>; USUAL]>;

/// Where an action's configuration comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// It is there.
    Given,
    /// It is there in shape: a rule has another value.
    Shape,
    /// A rule has it.
    Later,
}

/// An action, as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub index: usize,
    /// What it is; of a shared action, what is shared.
    pub kind: ActionKind,
    /// Whether it is a shared action.
    pub is_shared: bool,
    pub value: Value,
    /// The configuration, or its shape.
    pub conf: Option<&'a Action>,
}

fn unknown(index: usize) -> FlowError {
    let message = "no such indirect action; create it first";
    FlowError::action(index, ErrorKind::Action, ENOENT, message)
}

impl<'a> Known<'a> {
    /// An action of a rule.
    pub fn rule(
        index: usize,
        action: &'a Action,
        objects: &dyn Objects,
    ) -> Result<Self, FlowError> {
        let plain = Self {
            index,
            kind: action.kind(),
            is_shared: false,
            value: Value::Given,
            conf: Some(action),
        };
        match action {
            Action::Indirect(handle) => {
                let kind = objects.shared(*handle).ok_or_else(|| unknown(index))?;
                Ok(Self { kind, is_shared: true, conf: None, ..plain })
            }
            _ => Ok(plain),
        }
    }

    /// An action of a template.
    pub fn template(
        index: usize,
        action: &'a TemplateAction,
        objects: &dyn Objects,
    ) -> Result<Self, FlowError> {
        let later =
            |kind, is_shared| Self { index, kind, is_shared, value: Value::Later, conf: None };
        match action {
            TemplateAction::Fixed(action) => Self::rule(index, action, objects),
            TemplateAction::Shaped(action) => {
                Ok(Self { value: Value::Shape, ..Self::rule(index, action, objects)? })
            }
            TemplateAction::PerRule(kind) => Ok(later(*kind, false)),
            TemplateAction::Indirect { kind, handle } => {
                let named =
                    handle.map(|handle| objects.shared(handle).ok_or_else(|| unknown(index)));
                match (named.transpose()?, *kind) {
                    (Some(named), Some(kind)) if named != kind => {
                        let message =
                            format!("the mask says {kind}, the indirect action is {named}; agree");
                        Err(FlowError::action(index, ErrorKind::Action, EINVAL, message))
                    }
                    (Some(kind), _) => Ok(Self { value: Value::Given, ..later(kind, true) }),
                    (None, Some(kind)) => Ok(later(kind, true)),
                    (None, None) => {
                        let message =
                            "the mask does not say what is shared; give it the action's own type";
                        Err(FlowError::action(index, ErrorKind::Unspecified, ENOTSUP, message))
                    }
                }
            }
        }
    }
}

/// The longest buffer of `RAW_ENCAP` or `RAW_DECAP` that is a link header, in bytes: Ethernet and IPv4.
const LINK_BYTES: usize = 34;

/// Leaves out what a `RAW_DECAP` and the `RAW_ENCAP` behind it are not: of a link header that gives way to a tunnel only the
/// encapsulation counts, of a tunnel that gives way to a link header only the decapsulation.
fn without_links<'k, 'a>(actions: &'k [Known<'a>]) -> SmallVec<[&'k Known<'a>; USUAL]> {
    let is_link = |known: &Known<'_>| match known.conf {
        Some(Action::RawDecap(data)) => Some(data.len() <= LINK_BYTES),
        Some(Action::RawEncap(raw)) => Some(raw.data.len() <= LINK_BYTES),
        _ => None,
    };
    let pair = |first: &Known<'_>, second: &Known<'_>| {
        (first.kind, second.kind) == (ActionKind::RawDecap, ActionKind::RawEncap)
    };
    let mut others: SmallVec<[_; USUAL]> = SmallVec::new();
    let mut has_decap = false;
    for known in actions {
        if known.kind != ActionKind::Void {
            has_decap |= known.kind == ActionKind::RawDecap;
            others.push(known);
        }
    }
    if !has_decap {
        return others;
    }
    let is_part = |at: usize| {
        let (Some(known), before) = (others.get(at), at.checked_sub(1)) else { return false };
        let next = others.get(at + 1).filter(|next| pair(known, next));
        let last = before.and_then(|at| others.get(at)).filter(|last| pair(last, known));
        let other = next.or(last).and_then(|other| is_link(other));
        is_link(known) == Some(true) && other == Some(false)
    };
    let kept = others.iter().enumerate().filter(|(at, _)| !is_part(*at));
    kept.map(|(_, known)| *known).collect()
}

/// Kind and errno as mlx5's validation reports an action without what it needs.
const fn lacking(kind: ActionKind) -> (ErrorKind, i32) {
    match kind {
        ActionKind::Conntrack => (ErrorKind::Unspecified, EINVAL),
        ActionKind::OfPopVlan => (ErrorKind::Unspecified, ENOTSUP),
        ActionKind::OfSetVlanVid | ActionKind::OfSetVlanPcp => (ErrorKind::Action, ENOTSUP),
        _ => (ErrorKind::Action, EINVAL),
    }
}

/// The kind that mlx5's validation gives an action that a domain does not have.
const fn misplaced(kind: ActionKind, domain: Domain) -> ErrorKind {
    match (kind, domain) {
        (ActionKind::OfPushVlan, Domain::Ingress) => ErrorKind::Ingress,
        (ActionKind::OfPopVlan, Domain::Egress) => ErrorKind::Egress,
        (kind, Domain::Egress) if kind.is_decap() => ErrorKind::Egress,
        _ => ErrorKind::Action,
    }
}

impl Check<'_> {
    pub(super) fn actions(&self, all: &[Known<'_>]) -> Result<(), FlowError> {
        let actions = without_links(all);
        let mut fates = 0;
        let mut commands = 0;
        let mut kinds = ActionSet::default();
        for (at, known) in actions.iter().enumerate() {
            let before = actions.get(..at).unwrap_or_default();
            self.known_action(known)?;
            if kinds.intersects(self.profile.quarrels(known.kind)) {
                self.exclusive(known, before)?;
                self.order(known, before)?;
                self.company(known, before)?;
            }
            kinds.insert(known.kind);
            self.needs(known, before)?;
            self.without(known)?;
            let decides = self.decides(known)?;
            fates += u32::from(known.kind.is_fate() || decides);
            if fates > 1 {
                let message = "a rule has one fate action; remove the others";
                return Err(FlowError::action(known.index, ErrorKind::Action, EINVAL, message));
            }
            if let (true, Some(next)) = (decides, actions.get(at + 1)) {
                let message = "a meter with a policy is the last action; put it there";
                return Err(FlowError::action(next.index, ErrorKind::Action, ENOTSUP, message));
            }
            self.conf(known)?;
            commands += Self::modify_commands(known, before);
            self.commands(known.index, commands)?;
        }
        let is_optional = self.profile.optional_fate.contains(&self.domain());
        if fates == 0 && self.profile.fates == Fates::ExactlyOne && !is_optional {
            let message = "a rule needs one fate action; add jump, drop, a port or a queue";
            return Err(FlowError::other(ErrorKind::ActionNumber, EINVAL, message));
        }
        Ok(())
    }

    /// Whether there is such an action in this domain and group.
    pub(super) fn known_action(&self, known: &Known<'_>) -> Result<(), FlowError> {
        let Known { index, kind, is_shared, .. } = *known;
        let refuse = |message| FlowError::action(index, ErrorKind::Action, ENOTSUP, message);
        let Some(rule) = self.profile.action(kind) else {
            let message =
                format!("action {kind} is not supported; use another or leave it to software");
            return Err(refuse(message));
        };
        self.place(kind.name(), "action", &rule.place).map_err(|message| {
            match misplaced(kind, self.domain()) {
                ErrorKind::Action => refuse(message),
                attribute => FlowError::attributes(attribute, ENOTSUP, message),
            }
        })?;
        if let Some(shared) = self.profile.action(ActionKind::Indirect).filter(|_| is_shared) {
            self.place("indirect", "action", &shared.place).map_err(refuse)?;
        }
        let indirect = &self.profile.indirect;
        if is_shared && !(self.profile.knows(ActionKind::Indirect) && indirect.can_share(kind)) {
            return Err(refuse(format!("action {kind} cannot be shared; put it into the rule")));
        }
        if !is_shared && indirect.only.contains(&kind) {
            let message = format!("action {kind} works as an indirect action only; create one");
            return Err(refuse(message));
        }
        Ok(())
    }

    /// Whether a meter's policy decides where packets go.
    fn decides(&self, known: &Known<'_>) -> Result<bool, FlowError> {
        let Some(Action::Meter(id)) = known.conf else { return Ok(false) };
        let decides = self.context.objects.meter_decides(*id, self.domain());
        decides.filter(|_| known.value == Value::Given).ok_or_else(|| {
            let message = format!("there is no meter {id}; create it first");
            FlowError::action(known.index, ErrorKind::Action, EINVAL, message)
        })
    }

    /// Order and number against the actions before.
    pub(super) fn order(&self, known: &Known<'_>, before: &[&Known<'_>]) -> Result<(), FlowError> {
        let kind = known.kind;
        let refuse = |message: String| {
            Err(FlowError::action(known.index, ErrorKind::Action, EINVAL, message))
        };
        let single = self.profile.at_most_one.iter().find(|class| class.contains(kind));
        if let Some(class) = single
            && before.iter().any(|earlier| class.contains(earlier.kind))
        {
            return refuse(format!(
                "a rule has at most one {} action; remove {kind}",
                class.name()
            ));
        }
        let late =
            |earlier: ActionKind| format!("{kind} cannot come after {earlier}; put it before");
        let is_first = |pair: &&[ActionClass; 2]| pair[0].contains(kind);
        for [_, second] in self.profile.precedes.iter().filter(is_first) {
            if let Some(earlier) = before.iter().find(|earlier| second.contains(earlier.kind)) {
                return refuse(late(earlier.kind));
            }
        }
        let rank = |kind| self.profile.order_of(kind);
        let Some(mine) = rank(kind) else { return Ok(()) };
        match before.iter().find(|earlier| rank(earlier.kind).is_some_and(|theirs| theirs > mine)) {
            Some(earlier) => refuse(late(earlier.kind)),
            None => Ok(()),
        }
    }

    /// Actions that a rule does not have together.
    pub(super) fn exclusive(
        &self,
        known: &Known<'_>,
        before: &[&Known<'_>],
    ) -> Result<(), FlowError> {
        let Known { index, kind, .. } = *known;
        for classes in &self.profile.exclusive {
            let Some(mine) = classes.iter().find(|class| class.contains(kind)) else { continue };
            let other = before.iter().map(|earlier| earlier.kind).find(|earlier| {
                !mine.contains(*earlier) && classes.iter().any(|class| class.contains(*earlier))
            });
            if let Some(other) = other {
                let is_wrong = |kind: ActionKind| {
                    kind.is_label() || kind == ActionKind::Drop || kind.is_modify()
                };
                let errno = if is_wrong(kind) || is_wrong(other) { EINVAL } else { ENOTSUP };
                let message = format!("{kind} and {other} cannot be in one rule; remove one");
                return Err(FlowError::action(index, ErrorKind::Action, errno, message));
            }
        }
        Ok(())
    }

    /// What an action cannot stand beside itself.
    pub(super) fn company(
        &self,
        known: &Known<'_>,
        before: &[&Known<'_>],
    ) -> Result<(), FlowError> {
        let Known { index, kind, .. } = *known;
        let refuse =
            |(error, errno), message: String| Err(FlowError::action(index, error, errno, message));
        let is_shared_count =
            |known: &Known<'_>| known.is_shared && known.kind == ActionKind::Count;
        let mut pairs = before.iter().flat_map(|earlier| both_ways((*earlier, known)));
        if !self.profile.age.with_shared_count
            && pairs.any(|(one, another)| one.kind == ActionKind::Age && is_shared_count(another))
        {
            let message = "age and a shared count cannot be in one rule; give the rule its own";
            return refuse((ErrorKind::Action, EINVAL), message.to_owned());
        }
        for (one, another) in before.iter().map(|earlier| (earlier.kind, kind)).flat_map(both_ways)
        {
            let alone = self.profile.action(one).and_then(|rule| rule.with.as_ref());
            if alone.is_some_and(|accepted| !accepted.contains(&another)) {
                let message = format!("{one} stands alone, or with few others; remove {another}");
                return refuse((ErrorKind::Action, EINVAL), message);
            }
        }
        Ok(())
    }

    /// What an action needs beside itself.
    fn needs(&self, known: &Known<'_>, before: &[&Known<'_>]) -> Result<(), FlowError> {
        let Known { index, kind, .. } = *known;
        let Some(rule) = self.profile.action(kind) else { return Ok(()) };
        if rule.needs.is_empty() && rule.after.is_empty() {
            return Ok(());
        }
        let depth = if before.iter().any(|earlier| earlier.kind.is_decap()) {
            Depth::Inner
        } else {
            Depth::Outer
        };
        let has_item = match self.pattern {
            Some(pattern) => {
                let depth = (!rule.anywhere).then_some(depth);
                rule.needs.iter().any(|item| self.asks_for(pattern, *item, depth))
            }
            // Some pattern may have it.
            None => !rule.needs.is_empty(),
        };
        let has_action = before
            .iter()
            .any(|earlier| rule.after.iter().any(|class| class.contains(earlier.kind)));
        if has_item || has_action {
            return Ok(());
        }
        let items = rule.needs.iter().map(|item| item.name());
        let classes = rule.after.iter().map(|class| class.name());
        let needed: Vec<_> = items.chain(classes).collect();
        let message = format!("{kind} needs {} before it; add one", needed.join(" or "));
        let (error, errno) = lacking(kind);
        Err(FlowError::action(index, error, errno, message))
    }

    /// What an action does not stand in the pattern.
    fn without(&self, known: &Known<'_>) -> Result<(), FlowError> {
        let Known { index, kind, .. } = *known;
        let refused = self.profile.action(kind).map_or(&[][..], |rule| &rule.without);
        let pattern = self.pattern.unwrap_or_default();
        let is_there = |wrong: &&ItemKind| {
            pattern.iter().any(|item| item.kind() == **wrong || asks_by_number(item, **wrong))
        };
        match refused.iter().find(is_there) {
            Some(wrong) => {
                let message =
                    format!("{kind} cannot rewrite packets of {wrong}; leave them to software");
                Err(FlowError::action(index, ErrorKind::Action, ENOTSUP, message))
            }
            None => Ok(()),
        }
    }

    /// Whether the pattern has an item, in a stack of headers or in any.
    fn asks_for(&self, pattern: &[Item], kind: ItemKind, depth: Option<Depth>) -> bool {
        let mut layers = Layers::new(&self.profile.matching);
        pattern.iter().enumerate().any(|(index, item)| {
            let position = layers.push(index, item);
            let is_there = |found: Depth| depth.is_none_or(|depth| found == depth);
            item.kind() == kind && position.is_ok_and(|position| is_there(position.depth))
        })
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

    /// How many modify-header commands an action takes: one for each 32 bits of a field or part of them.
    fn modify_commands(known: &Known<'_>, before: &[&Known<'_>]) -> u32 {
        match (known.kind, known.conf) {
            (ActionKind::SetMacSrc | ActionKind::SetMacDst, _) => 2,
            (ActionKind::SetIpv6Src | ActionKind::SetIpv6Dst, _) => 4,
            (_, Some(Action::ModifyField(modify))) => modify.width.min(128).div_ceil(32),
            // Of a tag that is new, it is part of pushing it.
            (ActionKind::OfSetVlanVid, _) => {
                let is_new = before.iter().any(|earlier| earlier.kind == ActionKind::OfPushVlan);
                u32::from(!is_new)
            }
            // The colour goes into a register.
            (ActionKind::Meter, _) => 1,
            (kind, _) => u32::from(kind.is_modify()),
        }
    }
}

/// Whether an IP item asks for the protocol that another item stands for. As mlx5 does it, the value counts under any mask.
fn asks_by_number(item: &Item, kind: ItemKind) -> bool {
    let asked = match item {
        Item::Ipv4(asked) if asked.effective_mask().protocol != 0 => {
            asked.spec.map(|ip| ip.protocol)
        }
        Item::Ipv6(asked) if asked.effective_mask().protocol != 0 => {
            asked.spec.map(|ip| ip.protocol)
        }
        _ => None,
    };
    asked.is_some() && asked == protocol_of(kind)
}

fn both_ways<T: Copy>((one, another): (T, T)) -> [(T, T); 2] {
    [(one, another), (another, one)]
}
