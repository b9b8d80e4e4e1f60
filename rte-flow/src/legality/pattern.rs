//! What a profile accepts of a pattern.

use super::{Api, Check};
use crate::error::{EINVAL, ENOTSUP, ErrorKind, FlowError};
use crate::field::{IntegrityBits, PacketState};
use crate::header::{
    Conntrack, GeneveOption, GeneveOptionId, Header, Integrity, Ipv4, Ipv6FragExt,
};
use crate::item::{FieldMatch, Item, ItemKind, Match};
use crate::layers::{Depth, Layers};
use crate::profile::{ConntrackItem, Fragments, ItemRule, Steering};

/// What can be wrong with a field.
#[derive(Clone, Copy)]
enum Wrong {
    /// The mask has bits that cannot be matched.
    Bits,
    /// The mask has some of the bits and should have all.
    Partial,
    /// Asked for by range.
    Range,
    /// Not asked for.
    Missing,
    /// A value that cannot be matched.
    Value,
}

/// Kind and errno as mlx5's validation reports them.
const fn reported(kind: ItemKind, wrong: Wrong) -> (ErrorKind, i32) {
    match (wrong, kind) {
        (Wrong::Bits, _) | (Wrong::Partial, ItemKind::GeneveOpt) => (ErrorKind::Item, ENOTSUP),
        (
            Wrong::Partial,
            ItemKind::PortId | ItemKind::PortRepresentor | ItemKind::RepresentedPort,
        ) => (ErrorKind::ItemMask, ENOTSUP),
        (Wrong::Partial | Wrong::Missing, ItemKind::Tag)
        | (Wrong::Missing, ItemKind::Meta | ItemKind::Mark) => (ErrorKind::ItemSpec, EINVAL),
        (Wrong::Partial, _) => (ErrorKind::ItemMask, EINVAL),
        (Wrong::Range, _) | (Wrong::Missing, ItemKind::RepresentedPort) => {
            (ErrorKind::Item, EINVAL)
        }
        (Wrong::Missing, _) => (ErrorKind::Item, ENOTSUP),
        (Wrong::Value, ItemKind::Vxlan) => (ErrorKind::ItemSpec, ENOTSUP),
        (Wrong::Value, _) => (ErrorKind::Item, EINVAL),
    }
}

/// Whether an item says nothing. In a template there is a mask and no spec: the rules have the values.
const fn lacks<H>(asked: &Match<H>) -> bool {
    asked.spec.is_none() && asked.mask.is_none()
}

fn has(set: u64, field: &FieldMatch) -> bool {
    set >> field.index & 1 == 1
}

fn of_field<'a, T>(list: &'a [(usize, T)], field: &FieldMatch) -> Option<&'a T> {
    list.iter().find(|(index, _)| *index == field.index).map(|(_, value)| value)
}

/// What layers a pattern names, for the checks of INTEGRITY.
#[derive(Default)]
struct Named {
    /// Of the outer and the inner stack: IPv4, a network layer, a transport layer.
    layers: [[bool; 3]; 2],
}

impl Named {
    fn note(&mut self, kind: ItemKind, depth: Depth) {
        let [outer, inner] = &mut self.layers;
        let [v4, network, transport] = match depth {
            Depth::Outer => outer,
            Depth::Inner => inner,
        };
        *v4 |= kind == ItemKind::Ipv4;
        *network |= matches!(kind, ItemKind::Ipv4 | ItemKind::Ipv6);
        *transport |= matches!(kind, ItemKind::Tcp | ItemKind::Udp);
    }
}

impl Check<'_> {
    pub(super) fn pattern(&self) -> Result<(), FlowError> {
        let words = self.items()?;
        if let Some(most) = self.profile.limits.match_words.filter(|most| words > *most) {
            let message = format!(
                "the pattern is {words} words of 32 bits wide, the card matches {most}; match fewer fields"
            );
            // The driver's matcher says so, which knows of no item.
            return Err(FlowError::other(ErrorKind::Unspecified, ENOTSUP, message));
        }
        Ok(())
    }

    /// Checks the items; returns how many words of 32 bits their matched fields take.
    pub(super) fn items(&self) -> Result<u32, FlowError> {
        let pattern = self.pattern.unwrap_or_default();
        if let Some(most) = self.profile.limits.items.filter(|most| pattern.len() > *most) {
            let message =
                format!("a pattern has at most {most} items; split the rule over two groups");
            return Err(FlowError::item(most, ErrorKind::ItemNumber, EINVAL, message));
        }
        let mut layers = Layers::new(&self.profile.matching);
        let mut named = Named::default();
        let mut words = 0;
        for (index, item) in pattern.iter().enumerate() {
            let accepted = self.accepted(index, item.kind())?;
            let position = layers.push(index, item)?;
            named.note(item.kind(), position.depth);
            words += self.fields(index, item, accepted)?;
            self.particular(index, item, accepted)?;
        }
        if self.profile.matching.integrity_needs_layers {
            checked_layers(pattern, &named)?;
        }
        self.options(pattern)?;
        Ok(words)
    }

    /// What the profile says of an item, if it accepts it here.
    fn accepted(&self, index: usize, kind: ItemKind) -> Result<&ItemRule, FlowError> {
        let refuse = |errno, message| Err(FlowError::item(index, ErrorKind::Item, errno, message));
        let Some(accepted) = self.profile.item(kind) else {
            let message = format!("item {kind} is not supported; match without it or in software");
            let (error_kind, errno) = match self.profile.steering {
                Steering::Hardware => (ErrorKind::Unspecified, EINVAL),
                Steering::None | Steering::Software => (ErrorKind::Item, ENOTSUP),
            };
            return Err(FlowError::item(index, error_kind, errno, message));
        };
        let is_port = matches!(
            kind,
            ItemKind::PortId | ItemKind::PortRepresentor | ItemKind::RepresentedPort
        );
        let errno = if is_port { EINVAL } else { ENOTSUP };
        match self.place(kind.name(), "item", &accepted.place) {
            Ok(()) => Ok(accepted),
            Err(message) => refuse(errno, message),
        }
    }

    /// Checks an item's fields; returns how many words of 32 bits they take.
    fn fields(&self, index: usize, item: &Item, accepted: &ItemRule) -> Result<u32, FlowError> {
        let (mut asked, mut bits, mut refused) = (0, 0, Ok(()));
        item.for_each_asked_field(&mut |field| {
            if refused.is_ok() && field.mask != 0 {
                asked |= 1 << field.index;
                bits += field.match_bits();
                refused = self.field(index, item.kind(), &field, accepted);
            }
        });
        refused?;
        let missing = (accepted.required & !asked).trailing_zeros() as usize;
        if let Some(info) = item.kind().fields().get(missing) {
            let (kind, name) = (item.kind(), info.name);
            let (error_kind, errno) = reported(kind, Wrong::Missing);
            let message = format!("item {kind} must match {name}; set its mask");
            return Err(FlowError::item(index, error_kind, errno, message));
        }
        if let Item::Tag(asked) = item {
            self.tag(asked.spec.map_or(0, |tag| u32::from(tag.index)))
                .map_err(|message| FlowError::item(index, ErrorKind::ItemSpec, EINVAL, message))?;
        }
        Ok(bits.div_ceil(32))
    }

    fn field(
        &self,
        index: usize,
        kind: ItemKind,
        field: &FieldMatch,
        accepted: &ItemRule,
    ) -> Result<(), FlowError> {
        let name = field.info.name;
        let refuse = |wrong, message| {
            let (error_kind, errno) = reported(kind, wrong);
            Err(FlowError::item(index, error_kind, errno, message))
        };
        if !has(accepted.fields, field) {
            let message = format!("{kind}.{name} cannot be matched; leave it out of the mask");
            return refuse(Wrong::Bits, message);
        }
        if let Some(bits) = of_field(&accepted.bits, field).filter(|bits| field.mask & !**bits != 0)
        {
            let message = format!(
                "of {kind}.{name} only the bits {bits:#x} can be matched; mask the others out"
            );
            return refuse(Wrong::Bits, message);
        }
        if has(accepted.whole, field) && !field.is_full() {
            let message =
                format!("{kind}.{name} is matched whole or not at all; set all its mask bits");
            return refuse(Wrong::Partial, message);
        }
        let Some(spec) = field.spec.map(|spec| spec & field.mask) else { return Ok(()) };
        if let Some(last) = field.last.map(|last| last & field.mask) {
            // How fragments are told apart is looked at as a whole.
            let by_flag = matches!(
                (kind, name),
                (ItemKind::Ipv4, "fragment_offset") | (ItemKind::Ipv6FragExt, "fragment_data")
            ) && self.by_flag();
            let is_accepted = has(accepted.ranges | accepted.ranges_ignored, field);
            if !is_accepted && !by_flag {
                let message = format!("{kind}.{name} cannot be matched by range; use a mask");
                return refuse(Wrong::Range, message);
            }
            if last < spec && !has(accepted.ranges_ignored, field) {
                let message =
                    format!("the range of {kind}.{name} ends before it begins; swap spec and last");
                return Err(FlowError::item(index, ErrorKind::ItemLast, EINVAL, message));
            }
        }
        if has(accepted.nonzero, field) && spec == 0 {
            let message = format!("{kind}.{name} cannot be matched against 0; use another value");
            return refuse(Wrong::Value, message);
        }
        if has(accepted.positive, field) && spec != field.mask {
            let message = format!(
                "{kind}.{name} is matched for bits that are set; clear the others in the mask"
            );
            return refuse(Wrong::Value, message);
        }
        let is_excluded = |values: &Vec<u64>| {
            field.is_full() && values.iter().any(|value| u128::from(*value) == spec)
        };
        if of_field(&accepted.excluded, field).is_some_and(is_excluded) {
            let message = format!(
                "{kind}.{name} cannot be matched against {spec}; match what follows that header"
            );
            return refuse(Wrong::Value, message);
        }
        let highest = of_field(&accepted.highest, field).filter(|most| spec > u128::from(**most));
        if let Some(highest) = highest {
            let message = format!("{kind}.{name} is {highest} at most; use a smaller value");
            return refuse(Wrong::Value, message);
        }
        Ok(())
    }

    fn by_flag(&self) -> bool {
        self.profile.matching.fragments == Fragments::Flag
    }

    /// What is particular to one item.
    fn particular(&self, index: usize, item: &Item, accepted: &ItemRule) -> Result<(), FlowError> {
        let refuse =
            |errno, message: String| Err(FlowError::item(index, ErrorKind::Item, errno, message));
        let kind = item.kind();
        let lacks_spec = match item {
            Item::Integrity(asked) => lacks(asked),
            Item::Conntrack(asked) => lacks(asked),
            Item::GeneveOpt(asked) => lacks(asked),
            Item::GreOption(asked) => lacks(asked),
            Item::Tag(asked) => asked.spec.is_none(),
            _ => false,
        };
        if accepted.spec && lacks_spec {
            let errno = match kind {
                ItemKind::GreOption | ItemKind::Tag => EINVAL,
                _ => ENOTSUP,
            };
            return refuse(errno, format!("item {kind} needs a spec; give it"));
        }
        let is_inner = |item: &Item| match item {
            Item::Integrity(asked) => asked.spec.is_some_and(|spec| spec.level > 1),
            _ => false,
        };
        let same = |other: &Item| is_inner(other) == is_inner(item);
        let mut before = self
            .pattern
            .unwrap_or_default()
            .iter()
            .take(index)
            .filter(|other| other.kind() == kind);
        if accepted.once && before.any(same) {
            let errno = if kind == ItemKind::Conntrack { EINVAL } else { ENOTSUP };
            return refuse(errno, format!("item {kind} is there already; merge the two"));
        }
        match item {
            Item::Ipv4(asked) if self.by_flag() => fragments(index, asked),
            Item::Ipv6FragExt(asked) if self.by_flag() => fragments_v6(index, asked),
            Item::Conntrack(asked)
                if self.profile.matching.conntrack == ConntrackItem::Syndrome =>
            {
                conntrack(index, asked)
            }
            _ => Ok(()),
        }
    }

    /// GENEVE's options, of which a device knows few.
    fn options(&self, pattern: &[Item]) -> Result<(), FlowError> {
        let limits = &self.profile.limits;
        if limits.geneve_options.is_none() && limits.geneve_option_words.is_none() {
            return Ok(());
        }
        let mut known: Vec<GeneveOptionId> = Vec::new();
        for (index, item) in pattern.iter().enumerate() {
            let Item::GeneveOpt(asked) = item else { continue };
            let refuse = |message: &str| {
                Err(FlowError::item(index, ErrorKind::Item, ENOTSUP, message.to_owned()))
            };
            let Some(spec) = &asked.spec else { continue };
            let length = GeneveOption::tail_length(spec).unwrap_or(0);
            let mask = asked.effective_mask();
            let bytes = spec.data.iter().zip(&mask.data).take(length);
            let is_asked = |(spec, mask): (&u8, &u8)| match self.context.api {
                Api::Synchronous => spec & mask != 0,
                Api::Template => *mask != 0,
            };
            if !bytes.into_iter().any(is_asked) {
                return refuse("an option is matched by data that is not 0; ask for some");
            }
            if known.contains(&spec.id()) {
                return refuse("the option is there already; merge the two items");
            }
            known.push(spec.id());
            if let Err(message) = limits.admit_options(&known) {
                return refuse(&message);
            }
        }
        Ok(())
    }
}

/// The bits of the fragment field that say whether a packet is one: "more fragments" and the offset.
const IPV4_FRAGMENT: u16 = 0x3fff;

/// A card that has one flag for fragments tells them from whole packets, and nothing else.
fn fragments(index: usize, asked: &Match<Ipv4>) -> Result<(), FlowError> {
    let mask = asked.effective_mask().fragment_offset;
    let spec = asked.spec.map_or(0, |spec| spec.fragment_offset & mask);
    if spec == 0 {
        return Ok(());
    }
    let refuse =
        |kind, errno, message: &'static str| Err(FlowError::item(index, kind, errno, message));
    if mask & IPV4_FRAGMENT != IPV4_FRAGMENT {
        let message = "fragment_offset is matched whole or not at all; set the mask to 0x3fff";
        return refuse(ErrorKind::ItemMask, EINVAL, message);
    }
    let what = "fragments are told from whole packets only; ask for 0, or for 1 to 0x3fff";
    match (spec, asked.last.map(|last| last.fragment_offset & mask)) {
        // The first fragment, or one at a certain place.
        (0x2000, _) | (_, None) => refuse(ErrorKind::Item, ENOTSUP, what),
        (1, Some(IPV4_FRAGMENT)) => Ok(()),
        _ => refuse(ErrorKind::ItemLast, ENOTSUP, what),
    }
}

/// The same for IPv6, where the item itself asks for a fragment.
fn fragments_v6(index: usize, asked: &Match<Ipv6FragExt>) -> Result<(), FlowError> {
    /// Offset and "more fragments".
    const USED: u16 = 0xfff9;
    let mask = asked.effective_mask().fragment_data;
    let spec = asked.spec.map_or(0, |spec| spec.fragment_data & mask);
    if spec == 0 {
        return Ok(());
    }
    let refuse =
        |kind, errno, message: &'static str| Err(FlowError::item(index, kind, errno, message));
    if mask & USED != USED {
        let message = "frag_data is matched whole or not at all; leave it out of the mask";
        return refuse(ErrorKind::ItemMask, EINVAL, message);
    }
    let what = "fragments are not told from each other; leave frag_data out of the mask";
    match (spec, asked.last.map(|last| last.fragment_data & mask)) {
        (1, _) => refuse(ErrorKind::Item, ENOTSUP, what),
        (_, None) => refuse(ErrorKind::Item, EINVAL, what),
        (9, Some(USED)) | (8, Some(0xfff8)) => refuse(ErrorKind::ItemLast, ENOTSUP, what),
        _ => refuse(ErrorKind::ItemLast, EINVAL, what),
    }
}

/// In the card's register a packet is either valid, or invalid, or was not tracked.
fn conntrack(index: usize, asked: &Match<Conntrack>) -> Result<(), FlowError> {
    let Some(spec) = &asked.spec else { return Ok(()) };
    let wanted = spec.flags & asked.effective_mask().flags;
    let others = PacketState::INVALID | PacketState::BAD | PacketState::DISABLED;
    if wanted.contains(PacketState::VALID) && wanted.intersects(others) {
        let message = "a packet is either valid or invalid, bad or not tracked; ask for one";
        return Err(FlowError::item(index, ErrorKind::Item, EINVAL, message));
    }
    Ok(())
}

/// Whether the pattern names the layers whose checks INTEGRITY asks for.
fn checked_layers(pattern: &[Item], named: &Named) -> Result<(), FlowError> {
    let [outer, inner] = named.layers;
    for (index, item) in pattern.iter().enumerate() {
        let Item::Integrity(asked) = item else { continue };
        let is_inner = asked.spec.is_some_and(|spec: Integrity| spec.level > 1);
        let [v4, network, transport] = if is_inner { inner } else { outer };
        let checks = asked.effective_mask().checks;
        let l4 = IntegrityBits::L4_OK | IntegrityBits::L4_CHECKSUM_OK;
        for (needed, named, name) in [
            (IntegrityBits::L3_OK, network, "an ipv4 or ipv6"),
            (IntegrityBits::IPV4_CHECKSUM_OK, v4, "an ipv4"),
            (l4, transport, "a tcp or udp"),
        ] {
            if checks.intersects(needed) && !named {
                let message =
                    format!("integrity checks a layer that the pattern lacks; add {name}");
                return Err(FlowError::item(index, ErrorKind::Item, EINVAL, message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
