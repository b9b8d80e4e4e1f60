//! Templates of the asynchronous API: the shape of rules, given once, so that a rule is only its values.

use std::ffi::c_void;
use std::ptr;

use dpdk_sys::{
    RTE_FLOW_FIELD_VALUE, rte_flow_action, rte_flow_action_conntrack, rte_flow_action_modify_data,
    rte_flow_action_modify_field, rte_flow_actions_template_attr, rte_flow_item,
    rte_flow_pattern_template_attr, rte_flow_template_table_attr,
};

use crate::action::{Action, ActionKind, IndirectHandle};
use crate::attribute::{Attributes, Domain};
use crate::decode::{
    ItemsOf, action_kind, decode_action, decode_attributes, decode_entries, decode_items, domain,
};
use crate::encode::{Arena, domain_bits, encode_attributes};
use crate::error::{Cause, DecodeError, DecodeReason};
use crate::item::Item;
use crate::modify::{ModifyField, ModifySource};

/// The items and masks that rules of a table have (`rte_flow_pattern_template_create`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternTemplate {
    /// Which packets.
    pub domain: Domain,
    /// Match only what the masks name, not also that the layers are present.
    pub relaxed_matching: bool,
    /// The items; their masks count, a spec where the driver needs one (the index of a TAG).
    pub pattern: Vec<Item>,
}

/// One action of an actions template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateAction {
    /// The same for every rule.
    Fixed(Action),
    /// Configured by each rule; this configuration shows its shape: what `MODIFY_FIELD` changes, an encapsulation's size.
    Shaped(Action),
    /// Configured by each rule.
    PerRule(ActionKind),
    /// A shared action.
    Indirect {
        /// What it is, where the template says so.
        kind: Option<ActionKind>,
        /// Which one, the same for every rule; else each rule names its own.
        handle: Option<IndirectHandle>,
    },
}

impl TemplateAction {
    /// Which action rules give here; INDIRECT for a shared one.
    #[must_use]
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Fixed(action) | Self::Shaped(action) => action.kind(),
            Self::PerRule(kind) => *kind,
            Self::Indirect { .. } => ActionKind::Indirect,
        }
    }
}

/// The actions that rules of a table have (`rte_flow_actions_template_create`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionsTemplate {
    /// Which packets.
    pub domain: Domain,
    /// The actions, in order.
    pub actions: Vec<TemplateAction>,
}

/// Where the rules of a table sit, and how many there can be (`rte_flow_template_table_create`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableAttributes {
    /// Domain, group and priority.
    pub attributes: Attributes,
    /// The number of rules the table has room for.
    pub capacity: u32,
}

/// A pattern template in C form.
pub struct EncodedPatternTemplate {
    attributes: rte_flow_pattern_template_attr,
    pattern: *const rte_flow_item,
    _arena: Arena,
}

// SAFETY: the pointer leads into the arena, which may move between threads.
unsafe impl Send for EncodedPatternTemplate {}

impl EncodedPatternTemplate {
    /// Encodes a template.
    #[must_use]
    pub fn new(template: &PatternTemplate) -> Self {
        let mut arena = Arena::default();
        let (ingress, egress, transfer) = domain_bits(template.domain);
        // SAFETY: a structure of numbers, for which zero is a value.
        let mut attributes: rte_flow_pattern_template_attr = unsafe { std::mem::zeroed() };
        attributes.set_relaxed_matching(u32::from(template.relaxed_matching));
        attributes.set_ingress(ingress);
        attributes.set_egress(egress);
        attributes.set_transfer(transfer);
        Self { attributes, pattern: arena.pattern(&template.pattern), _arena: arena }
    }

    /// The attributes.
    #[must_use]
    pub fn attributes(&self) -> *const rte_flow_pattern_template_attr {
        &raw const self.attributes
    }

    /// The pattern, ended by END.
    #[must_use]
    pub fn pattern(&self) -> *const rte_flow_item {
        self.pattern
    }
}

/// An actions template in C form.
pub struct EncodedActionsTemplate {
    attributes: rte_flow_actions_template_attr,
    actions: *const rte_flow_action,
    masks: *const rte_flow_action,
    _arena: Arena,
}

// SAFETY: the pointers lead into the arena, which may move between threads.
unsafe impl Send for EncodedActionsTemplate {}

impl EncodedActionsTemplate {
    /// Encodes a template.
    #[must_use]
    pub fn new(template: &ActionsTemplate) -> Self {
        let mut arena = Arena::default();
        let (ingress, egress, transfer) = domain_bits(template.domain);
        // SAFETY: a structure of numbers, for which zero is a value.
        let mut attributes: rte_flow_actions_template_attr = unsafe { std::mem::zeroed() };
        attributes.set_ingress(ingress);
        attributes.set_egress(egress);
        attributes.set_transfer(transfer);
        let actions = arena.actions_with(&template.actions, |entry, arena| rte_flow_action {
            type_: entry.kind().number(),
            conf: match entry {
                TemplateAction::Fixed(action) | TemplateAction::Shaped(action) => {
                    action.encode_conf(arena)
                }
                TemplateAction::Indirect { handle: Some(handle), .. } => {
                    Action::Indirect(*handle).encode_conf(arena)
                }
                TemplateAction::PerRule(_) | TemplateAction::Indirect { .. } => ptr::null(),
            },
        });
        let masks = arena.actions_with(&template.actions, |entry, arena| rte_flow_action {
            type_: match entry {
                TemplateAction::Indirect { kind: Some(kind), .. } => kind.number(),
                other => other.kind().number(),
            },
            conf: encode_mask(entry, arena),
        });
        Self { attributes, actions, masks, _arena: arena }
    }

    /// The attributes.
    #[must_use]
    pub fn attributes(&self) -> *const rte_flow_actions_template_attr {
        &raw const self.attributes
    }

    /// The actions, ended by END.
    #[must_use]
    pub fn actions(&self) -> *const rte_flow_action {
        self.actions
    }

    /// The masks, which say what of each action is the same for every rule; ended by END.
    #[must_use]
    pub fn masks(&self) -> *const rte_flow_action {
        self.masks
    }
}

/// As many bytes as the largest configuration that a mask stands for.
const MASK_BYTES: usize = {
    let (modify, connection) =
        (size_of::<rte_flow_action_modify_field>(), size_of::<rte_flow_action_conntrack>());
    if modify > connection { modify } else { connection }
};

/// The mask's configuration: set bits where the template's value is every rule's.
fn encode_mask(entry: &TemplateAction, arena: &mut Arena) -> *const c_void {
    match entry {
        TemplateAction::Indirect { handle: Some(handle), .. } => {
            Action::Indirect(*handle).encode_conf(arena)
        }
        // A mask with pointers must lead somewhere: the configuration itself serves.
        TemplateAction::Fixed(
            action @ (Action::Rss(_)
            | Action::Sample(_)
            | Action::MeterMark(_)
            | Action::VxlanEncap(_)
            | Action::NvgreEncap(_)
            | Action::RawEncap(_)
            | Action::RawDecap(_)),
        ) => action.encode_conf(arena),
        // What is changed is the template's always, and the mask repeats it. By what, may be the rule's.
        TemplateAction::Fixed(Action::ModifyField(modify)) => arena.put(modify_mask(modify, true)),
        TemplateAction::Shaped(Action::ModifyField(modify)) => {
            arena.put(modify_mask(modify, false))
        }
        TemplateAction::Fixed(action) if action.kind().has_conf() => {
            arena.put([0xff_u8; MASK_BYTES])
        }
        TemplateAction::Fixed(_)
        | TemplateAction::Shaped(_)
        | TemplateAction::PerRule(_)
        | TemplateAction::Indirect { .. } => ptr::null(),
    }
}

/// The mask of a `MODIFY_FIELD`, with or without its immediate value.
fn modify_mask(modify: &ModifyField, is_fixed: bool) -> rte_flow_action_modify_field {
    // SAFETY: a structure of numbers and a pointer, for all of which zero is a value.
    let mut mask: rte_flow_action_modify_field = unsafe { std::mem::zeroed() };
    mask.operation = modify.operation.number();
    mask.width = u32::MAX;
    mask.dst.field = modify.destination.field.number();
    mask.dst.__bindgen_anon_1.value = [0xff; 16];
    mask.src.field = modify.source.number();
    if is_fixed || matches!(modify.source, ModifySource::Field(_)) {
        mask.src.__bindgen_anon_1.value = [0xff; 16];
    }
    mask
}

/// Whether the mask of a `MODIFY_FIELD` is one that NICs take: what the action changes, how and how much of it, is the same
/// for every rule.
fn is_modify_mask(
    action: &rte_flow_action_modify_field,
    mask: &rte_flow_action_modify_field,
) -> bool {
    let whole = |data: &rte_flow_action_modify_data| {
        // SAFETY: every member of the union is plain numbers.
        let place = unsafe { data.__bindgen_anon_1.__bindgen_anon_1 };
        (place.level, place.offset) == (u32::MAX, u32::MAX)
    };
    let is_immediate =
        matches!(action.src.field, RTE_FLOW_FIELD_VALUE | dpdk_sys::RTE_FLOW_FIELD_POINTER);
    mask.operation == action.operation
        && mask.width == u32::MAX
        && mask.dst.field == action.dst.field
        && whole(&mask.dst)
        && mask.src.field == action.src.field
        && (is_immediate || whole(&mask.src))
}

/// Whether a mask's configuration makes the action the same for every rule.
///
/// # Safety
/// `conf` is null or what DPDK asks of a mask for an action of this kind.
unsafe fn is_fixed(kind: ActionKind, conf: *const c_void) -> bool {
    if conf.is_null() || !kind.has_conf() {
        return !kind.has_conf();
    }
    if kind == ActionKind::ModifyField {
        // SAFETY: the caller's promise.
        let mask = unsafe { &*conf.cast::<rte_flow_action_modify_field>() };
        // SAFETY: every member of the union is plain numbers.
        unsafe { mask.src.__bindgen_anon_1.value != [0; 16] }
    } else {
        // SAFETY: the caller's promise: a structure of this kind.
        let mask = unsafe { std::slice::from_raw_parts(conf.cast::<u8>(), kind.conf_size()) };
        mask.iter().any(|byte| *byte != 0)
    }
}

/// The C form of a table's attributes.
#[must_use]
pub fn encode_table(table: &TableAttributes) -> rte_flow_template_table_attr {
    rte_flow_template_table_attr {
        flow_attr: encode_attributes(&table.attributes),
        nb_flows: table.capacity,
    }
}

/// Reads a pattern template.
///
/// # Errors
/// As [`decode_items`], and for attributes without exactly one direction.
///
/// # Safety
/// `attributes` is null or valid; `pattern` as for [`decode_items`].
pub unsafe fn decode_pattern_template(
    attributes: *const rte_flow_pattern_template_attr,
    pattern: *const rte_flow_item,
) -> Result<PatternTemplate, DecodeError> {
    // SAFETY: the caller's promise.
    let attr = unsafe { attributes.as_ref() }.ok_or(wrong_attributes("template_attr"))?;
    Ok(PatternTemplate {
        domain: domain(attr.ingress(), attr.egress(), attr.transfer())
            .map_err(|reason| DecodeError { cause: Cause::Attributes, reason })?,
        relaxed_matching: attr.relaxed_matching() != 0,
        // SAFETY: the caller's promise.
        pattern: unsafe { decode_items(pattern, ItemsOf::Template) }?,
    })
}

/// Reads an actions template.
///
/// # Errors
/// As [`crate::decode_actions`], for masks of other actions, and for attributes without exactly one direction.
///
/// # Safety
/// `attributes` is null or valid; `actions` and `masks` are null or arrays of the same length that end with END, the
/// `conf` of each as DPDK asks of its type.
pub unsafe fn decode_actions_template(
    attributes: *const rte_flow_actions_template_attr,
    actions: *const rte_flow_action,
    masks: *const rte_flow_action,
) -> Result<ActionsTemplate, DecodeError> {
    // SAFETY: the caller's promise.
    let attr = unsafe { attributes.as_ref() }.ok_or(wrong_attributes("template_attr"))?;
    let domain = domain(attr.ingress(), attr.egress(), attr.transfer())
        .map_err(|reason| DecodeError { cause: Cause::Attributes, reason })?;
    if masks.is_null() {
        return Err(DecodeError { cause: Cause::Action(0), reason: DecodeReason::Null("masks") });
    }
    // A mask of another type ends the comparison before the shorter list does.
    // SAFETY: the caller's promise.
    let actions = unsafe {
        decode_entries(actions, |index, action| {
            let kind = action_kind(index, action)?;
            let mask = &*masks.add(index);
            if kind == ActionKind::Indirect && mask.type_ != dpdk_sys::RTE_FLOW_ACTION_TYPE_END {
                let kind = action_kind(index, mask)?;
                let is_fixed = !action.conf.is_null() && !mask.conf.is_null();
                return Ok(TemplateAction::Indirect {
                    kind: (kind != ActionKind::Indirect).then_some(kind),
                    handle: is_fixed.then(|| IndirectHandle(action.conf.expose_provenance())),
                });
            }
            if mask.type_ != action.type_ {
                let reason = DecodeReason::UnknownValue("mask type", mask.type_);
                return Err(DecodeError { cause: Cause::Action(index), reason });
            }
            if kind == ActionKind::ModifyField {
                type Conf = rte_flow_action_modify_field;
                let wrong = |reason| DecodeError { cause: Cause::Action(index), reason };
                let (conf, mask) = (action.conf.cast::<Conf>(), mask.conf.cast::<Conf>());
                let conf = conf.as_ref().ok_or(wrong(DecodeReason::MissingConf))?;
                if !mask.as_ref().is_some_and(|mask| is_modify_mask(conf, mask)) {
                    return Err(wrong(DecodeReason::ModifyMask));
                }
            }
            let is_shape = kind.has_shape() && !action.conf.is_null();
            Ok(match (is_fixed(kind, mask.conf), is_shape) {
                (true, _) => TemplateAction::Fixed(decode_action(index, action)?),
                (false, true) => TemplateAction::Shaped(decode_action(index, action)?),
                // Nobody looks at what rules give by themselves.
                (false, false) => TemplateAction::PerRule(kind),
            })
        })
    }?;
    Ok(ActionsTemplate { domain, actions })
}

/// Reads a table's attributes.
///
/// # Errors
/// As [`decode_attributes`].
///
/// # Safety
/// `table` is null or valid.
pub unsafe fn decode_table(
    table: *const rte_flow_template_table_attr,
) -> Result<TableAttributes, DecodeError> {
    // SAFETY: the caller's promise.
    let table = unsafe { table.as_ref() }.ok_or(wrong_attributes("table_attr"))?;
    // SAFETY: part of the same structure.
    let attributes = unsafe { decode_attributes(&raw const table.flow_attr) }?;
    Ok(TableAttributes { attributes, capacity: table.nb_flows })
}

fn wrong_attributes(name: &'static str) -> DecodeError {
    DecodeError { cause: Cause::Attributes, reason: DecodeReason::Null(name) }
}
