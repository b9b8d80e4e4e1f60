//! The C structures that `rte_flow_*()` get, back to typed rules.
//!
//! C gives no lengths: what the pointers lead to is the caller's promise. Everything that can be checked is.

use std::ffi::c_void;

use dpdk_sys::{rte_flow_action, rte_flow_attr, rte_flow_item};

use crate::action::{Action, ActionKind};
use crate::attribute::{Attributes, Domain};
use crate::error::{Cause, DecodeError, DecodeReason};
use crate::header::Header;
use crate::item::{Item, ItemKind, Match, MatchSource};
use crate::rule::Rule;

/// More items or actions than any rule has.
pub(crate) const MAX_ENTRIES: usize = 128;

/// What a pattern belongs to: a template's items may have a mask without a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemsOf {
    /// A rule, or an encapsulation's definition.
    Rule,
    /// A pattern template.
    Template,
}

/// A copy of the bytes at `from`; empty for length 0.
///
/// # Safety
/// `len` bytes can be read at `from`, or `len` is 0.
pub(crate) unsafe fn bytes_at(from: *const u8, len: usize) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(from, len) }.to_vec()
}

/// Reads attributes.
///
/// # Errors
/// A null pointer, or not exactly one direction.
///
/// # Safety
/// `attributes` is null or points to a valid structure.
pub unsafe fn decode_attributes(
    attributes: *const rte_flow_attr,
) -> Result<Attributes, DecodeError> {
    let wrong = |reason| DecodeError { cause: Cause::Attributes, reason };
    // SAFETY: the caller's promise.
    let attr = unsafe { attributes.as_ref() }.ok_or(wrong(DecodeReason::Null("attr")))?;
    let domain = domain(attr.ingress(), attr.egress(), attr.transfer()).map_err(wrong)?;
    Ok(Attributes { group: attr.group, priority: attr.priority, domain })
}

/// The domain of the three bits.
pub(crate) fn domain(ingress: u32, egress: u32, transfer: u32) -> Result<Domain, DecodeReason> {
    match (ingress, egress, transfer) {
        (1, 0, 0) => Ok(Domain::Ingress),
        (0, 1, 0) => Ok(Domain::Egress),
        (0, 0, 1) => Ok(Domain::Transfer),
        _ => Err(DecodeReason::Domain),
    }
}

/// Reads a pattern up to its END.
///
/// # Errors
/// A null pointer, an unknown item, a mask or last without a spec, no END; the error names the item.
///
/// # Safety
/// `items` is null or points to an array that ends with END; spec, last and mask of each are null or point to the
/// structure of the item's type, which leads to as many bytes as the spec says.
pub unsafe fn decode_items(
    items: *const rte_flow_item,
    of: ItemsOf,
) -> Result<Vec<Item>, DecodeError> {
    if items.is_null() {
        return Err(DecodeError { cause: Cause::Item(0), reason: DecodeReason::Null("pattern") });
    }
    // Small enough for what the allocator has at hand.
    let mut pattern = Vec::with_capacity(5);
    for index in 0..MAX_ENTRIES {
        // SAFETY: no END so far, so the array goes on.
        let item = unsafe { &*items.add(index) };
        if item.type_ == dpdk_sys::RTE_FLOW_ITEM_TYPE_END {
            return Ok(pattern);
        }
        let wrong = |reason| DecodeError { cause: Cause::Item(index), reason };
        let kind = ItemKind::from_number(item.type_)
            .ok_or(wrong(DecodeReason::UnknownItem(item.type_)))?;
        pattern.push(Item::build(kind, &Pointers { item, of }).map_err(wrong)?);
    }
    let reason = DecodeReason::NoEnd(MAX_ENTRIES);
    // The last that was looked at: nobody knows whether the array goes on behind it.
    Err(DecodeError { cause: Cause::Item(MAX_ENTRIES - 1), reason })
}

/// Reads actions up to their END.
///
/// # Errors
/// A null pointer, an unknown action, a missing or impossible configuration, no END; the error names the action.
///
/// # Safety
/// `actions` is null or points to an array that ends with END, each with the `conf` that DPDK asks of its type.
pub unsafe fn decode_actions(actions: *const rte_flow_action) -> Result<Vec<Action>, DecodeError> {
    // SAFETY: the caller's promise.
    unsafe { decode_entries(actions, |index, action| decode_action(index, action)) }
}

/// Reads the actions inside an action. Such a list holds no lists itself: one that led back to where it came from would
/// have no end.
///
/// # Safety
/// As for [`decode_actions`].
pub(crate) unsafe fn decode_sub_actions(
    actions: *const rte_flow_action,
) -> Result<Vec<Action>, DecodeReason> {
    if actions.is_null() {
        return Err(DecodeReason::BadLength("list of sub-actions"));
    }
    let decode = |index, action: &rte_flow_action| {
        if action.type_ == dpdk_sys::RTE_FLOW_ACTION_TYPE_SAMPLE {
            let reason = DecodeReason::Nested("sample");
            return Err(DecodeError { cause: Cause::Action(index), reason });
        }
        // SAFETY: the caller's promise.
        unsafe { decode_action(index, action) }
    };
    // SAFETY: the caller's promise.
    unsafe { decode_entries(actions, decode) }.map_err(|error| error.reason)
}

/// Calls `decode` with every action before END.
///
/// # Safety
/// `actions` is null or points to an array that ends with END.
pub(crate) unsafe fn decode_entries<T>(
    actions: *const rte_flow_action,
    mut decode: impl FnMut(usize, &rte_flow_action) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    if actions.is_null() {
        return Err(DecodeError { cause: Cause::Action(0), reason: DecodeReason::Null("actions") });
    }
    let mut list = Vec::with_capacity(8);
    for index in 0..MAX_ENTRIES {
        // SAFETY: no END so far, so the array goes on.
        let action = unsafe { &*actions.add(index) };
        if action.type_ == dpdk_sys::RTE_FLOW_ACTION_TYPE_END {
            return Ok(list);
        }
        list.push(decode(index, action)?);
    }
    let reason = DecodeReason::NoEnd(MAX_ENTRIES);
    Err(DecodeError { cause: Cause::Action(MAX_ENTRIES - 1), reason })
}

/// The kind of an action.
pub(crate) fn action_kind(
    index: usize,
    action: &rte_flow_action,
) -> Result<ActionKind, DecodeError> {
    ActionKind::from_number(action.type_).ok_or(DecodeError {
        cause: Cause::Action(index),
        reason: DecodeReason::UnknownAction(action.type_),
    })
}

/// Reads one action.
///
/// # Safety
/// The action has the `conf` that DPDK asks of its type.
pub(crate) unsafe fn decode_action(
    index: usize,
    action: &rte_flow_action,
) -> Result<Action, DecodeError> {
    let kind = action_kind(index, action)?;
    // SAFETY: the caller's promise.
    unsafe { Action::decode_conf(kind, action.conf) }
        .map_err(|reason| DecodeError { cause: Cause::Action(index), reason })
}

/// Reads a rule.
///
/// # Errors
/// As [`decode_attributes`], [`decode_items`] and [`decode_actions`].
///
/// # Safety
/// As for those three.
pub unsafe fn decode_rule(
    attributes: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
) -> Result<Rule, DecodeError> {
    // SAFETY: the caller's promises.
    unsafe {
        Ok(Rule {
            attributes: decode_attributes(attributes)?,
            pattern: decode_items(pattern, ItemsOf::Rule)?,
            actions: decode_actions(actions)?,
        })
    }
}

/// The structures of one C item; its kind decides their type.
struct Pointers<'a> {
    item: &'a rte_flow_item,
    of: ItemsOf,
}

impl MatchSource for Pointers<'_> {
    type Error = DecodeReason;

    fn asked<H: Header>(&self) -> Result<Match<H>, DecodeReason> {
        let rte_flow_item { spec, last, mask, .. } = *self.item;
        if spec.is_null() && !last.is_null() {
            return Err(DecodeReason::LastWithoutSpec);
        }
        if spec.is_null() && !mask.is_null() && self.of == ItemsOf::Rule {
            return Err(DecodeReason::MaskWithoutSpec);
        }
        let load = |from: *const c_void| {
            // SAFETY: `decode_items` was promised the structure of the item's type, and is the only one to make this.
            (!from.is_null()).then(|| unsafe { std::slice::from_raw_parts(from.cast(), H::SIZE) })
        };
        let header = |from| load(from).map(H::load);
        let mut asked = Match { spec: header(spec), last: header(last), mask: header(mask) };
        let Some(place) = H::TAIL_POINTER else { return Ok(asked) };
        let Some(values) = &asked.spec else {
            return if mask.is_null() { Ok(asked) } else { Err(DecodeReason::OptionWithoutSpec) };
        };
        let length = H::tail_length(values)?;
        for (from, header) in
            [(spec, &mut asked.spec), (last, &mut asked.last), (mask, &mut asked.mask)]
        {
            let Some((bytes, header)) = load(from).zip(header.as_mut()) else { continue };
            let pointer = bytes.get(place..).and_then(|rest| rest.first_chunk());
            let tail = pointer.map_or(0, |pointer| usize::from_ne_bytes(*pointer)) as *const u8;
            if !tail.is_null() {
                // SAFETY: as many bytes as the spec says lie behind the pointers of all three structures.
                header.set_tail(&unsafe { bytes_at(tail, length) });
            }
        }
        Ok(asked)
    }
}
