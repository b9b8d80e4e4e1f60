//! What each action carries, and how that lies in DPDK's `struct rte_flow_action_*`.
//!
//! The trait's parameter is the C structure, because the same Rust type serves several actions.

use std::ffi::c_void;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr;

use dpdk_sys as c;
use packet::Mac;

use crate::action::{Age, AgeUpdate, IndirectHandle, RawEncap, Sample, SetMeta, SetTag, ToPortId};
use crate::decode::{ItemsOf, bytes_at, decode_items, decode_sub_actions};
use crate::encode::Arena;
use crate::error::DecodeReason;
use crate::field::U24;
use crate::item::Item;
use crate::modify::{FieldId, FieldRef, ModifyField, ModifyOperation, ModifySource};

/// Longer than any stack of headers.
const MAX_RAW: usize = 1024;

/// A configuration with the C form `C`.
pub(crate) trait Conf<C>: Sized {
    /// The C form, in the arena's memory.
    fn encode(&self, arena: &mut Arena) -> *const c_void;

    /// Reads the C form.
    ///
    /// # Safety
    /// `conf` is null or points to a valid `C`, whose own pointers are as DPDK asks.
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason>;

    /// Writes testpmd's words, each with a space before it.
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// The structure at `conf`.
///
/// # Safety
/// `conf` is null or points to a valid `C` that outlives the use.
pub(crate) unsafe fn at<'a, C>(conf: *const c_void) -> Result<&'a C, DecodeReason> {
    // SAFETY: the caller's promise.
    unsafe { conf.cast::<C>().as_ref() }.ok_or(DecodeReason::MissingConf)
}

impl AgeUpdate {
    /// Reads the C form.
    ///
    /// # Errors
    /// A null pointer.
    ///
    /// # Safety
    /// `update` is null or points to a valid structure.
    pub unsafe fn decode(update: *const c::rte_flow_update_age) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let update = unsafe { at::<c::rte_flow_update_age>(update.cast()) }?;
        let timeout = (update.timeout_valid() != 0).then(|| U24::truncate(update.timeout()));
        Ok(Self { timeout, touch: update.touch() != 0 })
    }
}

/// A configuration of one number: its type, the C structure and field, the way in and out, testpmd's word.
macro_rules! number_conf {
    ($($type:ty, $c:ident.$field:ident, $word:literal, $into:expr, $from:expr;)+) => {$(
        impl Conf<c::$c> for $type {
            fn encode(&self, arena: &mut Arena) -> *const c_void {
                arena.put(c::$c { $field: $into(*self) })
            }
            unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
                // SAFETY: the caller's promise.
                Ok($from(unsafe { at::<c::$c>(conf) }?.$field))
            }
            fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, " {} {self}", $word)
            }
        }
    )+};
}

number_conf! {
    u32, rte_flow_action_jump.group, "group", u32::from, u32::from;
    u32, rte_flow_action_mark.id, "id", u32::from, u32::from;
    u16, rte_flow_action_queue.index, "index", u16::from, u16::from;
    u16, rte_flow_action_set_tp.port, "port", u16::to_be, u16::from_be;
    u32, rte_flow_action_meter.mtr_id, "mtr_id", u32::from, u32::from;
    u16, rte_flow_action_of_set_vlan_vid.vlan_vid, "vlan_vid", u16::to_be, u16::from_be;
    u8, rte_flow_action_of_set_vlan_pcp.vlan_pcp, "vlan_pcp", u8::from, u8::from;
    u8, rte_flow_action_set_dscp.dscp, "dscp_value", u8::from, u8::from;
    u8, rte_flow_action_set_ttl.ttl_value, "ttl_value", u8::from, u8::from;
    Ipv4Addr, rte_flow_action_set_ipv4.ipv4_addr, "ipv4_addr",
        |a: Ipv4Addr| u32::from(a).to_be(), |a: u32| Ipv4Addr::from(u32::from_be(a));
    Ipv6Addr, rte_flow_action_set_ipv6.ipv6_addr, "ipv6_addr", |a: Ipv6Addr| a.octets(), Ipv6Addr::from;
    Mac, rte_flow_action_set_mac.mac_addr, "mac_addr", |mac: Mac| mac.0, Mac;
}

/// `INC_TCP_*` and `DEC_TCP_*` point at the bare number.
impl Conf<c::rte_be32_t> for u32 {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(self.to_be())
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        Ok(Self::from_be(*unsafe { at::<c::rte_be32_t>(conf) }?))
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " value {self}")
    }
}

impl Conf<c::rte_flow_action_of_push_vlan> for u16 {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_of_push_vlan { ethertype: self.to_be() })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        Ok(Self::from_be(unsafe { at::<c::rte_flow_action_of_push_vlan>(conf) }?.ethertype))
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " ethertype {self:#06x}")
    }
}

impl Conf<c::rte_flow_action_sample> for Sample {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        let actions = arena.actions(&self.actions);
        arena.put(c::rte_flow_action_sample { ratio: self.ratio, actions })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise, which covers the sub-actions too.
        let sample = unsafe { at::<c::rte_flow_action_sample>(conf) }?;
        // SAFETY: as above.
        let actions = unsafe { decode_sub_actions(sample.actions) }?;
        Ok(Self { ratio: sample.ratio, actions })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // testpmd takes the sub-actions from a command before the rule; `text.rs` writes it.
        write!(f, " ratio {} index 0", self.ratio)
    }
}

impl Conf<c::rte_flow_action_count> for u32 {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_count { id: *self })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // Drivers take COUNT without a configuration for counter 0, and programs rely on it.
        // SAFETY: the caller's promise.
        Ok(unsafe { conf.cast::<c::rte_flow_action_count>().as_ref() }.map_or(0, |count| count.id))
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " identifier {self}")
    }
}

/// The ethdev port of the actions `PORT_REPRESENTOR` and `REPRESENTED_PORT`.
impl Conf<c::rte_flow_action_ethdev> for u16 {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_ethdev { port_id: *self })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        Ok(unsafe { at::<c::rte_flow_action_ethdev>(conf) }?.port_id)
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // testpmd's word differs between the two actions; `text.rs` writes it.
        write!(f, " {self}")
    }
}

impl Conf<c::rte_flow_action_age> for Age {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_age {
            _bitfield_1: c::rte_flow_action_age::new_bitfield_1(self.timeout.get(), 0),
            context: ptr::with_exposed_provenance_mut(self.context),
        })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let age = unsafe { at::<c::rte_flow_action_age>(conf) }?;
        let context = age.context.expose_provenance();
        Ok(Self { timeout: U24::truncate(age.timeout()), context })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " timeout {}", self.timeout)
    }
}

impl Conf<c::rte_flow_action_port_id> for ToPortId {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_port_id {
            _bitfield_1: c::rte_flow_action_port_id::new_bitfield_1(u32::from(self.original), 0),
            id: self.id,
        })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let port = unsafe { at::<c::rte_flow_action_port_id>(conf) }?;
        Ok(Self { original: port.original() != 0, id: port.id })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.original { f.write_str(" original on") } else { write!(f, " id {}", self.id) }
    }
}

/// Encapsulations that items define, each in a structure of its own.
macro_rules! definition_conf {
    ($($c:ident),+) => {$(
        impl Conf<c::$c> for Vec<Item> {
            fn encode(&self, arena: &mut Arena) -> *const c_void {
                let definition = arena.pattern(self);
                arena.put(c::$c { definition })
            }
            unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
                // SAFETY: the caller's promise, which covers the definition's items too.
                let encap = unsafe { at::<c::$c>(conf) }?;
                // SAFETY: as above.
                unsafe { decode_items(encap.definition, ItemsOf::Rule) }.map_err(|error| {
                    match error.cause {
                        crate::error::Cause::Item(index) => DecodeReason::Definition(index),
                        _ => DecodeReason::BadLength("definition"),
                    }
                })
            }
            fn text(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                // testpmd takes the headers from a command before the rule; `text.rs` writes it.
                Ok(())
            }
        }
    )+};
}

definition_conf! { rte_flow_action_vxlan_encap, rte_flow_action_nvgre_encap }

impl Conf<c::rte_flow_action_raw_encap> for RawEncap {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        let data = arena.slice(&self.data);
        let preserve = self.preserve.as_ref().map_or(ptr::null_mut(), |bits| arena.slice(bits));
        arena.put(c::rte_flow_action_raw_encap { data, preserve, size: self.data.len() })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let encap = unsafe { at::<c::rte_flow_action_raw_encap>(conf) }?;
        if encap.size == 0 || encap.size > MAX_RAW || encap.data.is_null() {
            return Err(DecodeReason::BadLength("header"));
        }
        // SAFETY: not null, and the caller promises `size` bytes at both.
        let data = unsafe { bytes_at(encap.data, encap.size) };
        let preserve = (!encap.preserve.is_null())
            // SAFETY: as above.
            .then(|| unsafe { bytes_at(encap.preserve, encap.size) });
        Ok(Self { data, preserve })
    }
    fn text(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Conf<c::rte_flow_action_raw_decap> for Vec<u8> {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        let data = arena.slice(self);
        arena.put(c::rte_flow_action_raw_decap { data, size: self.len() })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let decap = unsafe { at::<c::rte_flow_action_raw_decap>(conf) }?;
        if decap.size > MAX_RAW || (decap.size > 0 && decap.data.is_null()) {
            return Err(DecodeReason::BadLength("header"));
        }
        // SAFETY: checked above, and the caller promises `size` bytes.
        Ok(unsafe { bytes_at(decap.data, decap.size) })
    }
    fn text(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Conf<c::rte_flow_action_set_tag> for SetTag {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_set_tag {
            data: self.data,
            mask: self.mask,
            index: self.index,
        })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let set = unsafe { at::<c::rte_flow_action_set_tag>(conf) }?;
        Ok(Self { data: set.data, mask: set.mask, index: set.index })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " data {:#x} mask {:#x} index {}", self.data, self.mask, self.index)
    }
}

impl Conf<c::rte_flow_action_set_meta> for SetMeta {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(c::rte_flow_action_set_meta { data: self.data, mask: self.mask })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let set = unsafe { at::<c::rte_flow_action_set_meta>(conf) }?;
        Ok(Self { data: set.data, mask: set.mask })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " data {:#x} mask {:#x}", self.data, self.mask)
    }
}

/// The handle takes the place of the configuration's pointer.
impl Conf<c::rte_flow_action_handle> for IndirectHandle {
    fn encode(&self, _: &mut Arena) -> *const c_void {
        ptr::with_exposed_provenance(self.0)
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        if conf.is_null() {
            Err(DecodeReason::MissingConf)
        } else {
            Ok(Self(conf.expose_provenance()))
        }
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {}", self.0)
    }
}

/// One side of a `MODIFY_FIELD` in C form.
fn modify_data(
    field: c::rte_flow_field_id,
    content: c::rte_flow_action_modify_data__bindgen_ty_1,
) -> c::rte_flow_action_modify_data {
    // SAFETY: a structure of numbers, for which zero is a value; padding included.
    let mut data: c::rte_flow_action_modify_data = unsafe { std::mem::zeroed() };
    data.field = field;
    data.__bindgen_anon_1 = content;
    data
}

fn field_data(part: FieldRef) -> c::rte_flow_action_modify_data {
    type Content = c::rte_flow_action_modify_data__bindgen_ty_1;
    // SAFETY: a union of numbers and a pointer, for all of which zero is a value.
    let mut content: Content = unsafe { std::mem::zeroed() };
    content.__bindgen_anon_1.level = part.level;
    content.__bindgen_anon_1.offset = part.offset;
    modify_data(part.field.number(), content)
}

/// Reads a field reference; the union then holds level and offset.
fn field_ref(data: &c::rte_flow_action_modify_data) -> Result<FieldRef, DecodeReason> {
    let field =
        FieldId::from_number(data.field).ok_or(DecodeReason::UnknownValue("field", data.field))?;
    // SAFETY: every member of the union is plain numbers, and all its bytes are initialised.
    let place = unsafe { data.__bindgen_anon_1.__bindgen_anon_1 };
    Ok(FieldRef { field, level: place.level, offset: place.offset })
}

impl Conf<c::rte_flow_action_modify_field> for ModifyField {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        type Content = c::rte_flow_action_modify_data__bindgen_ty_1;
        let src = match self.source {
            ModifySource::Field(part) => field_data(part),
            ModifySource::Value(value) => modify_data(c::RTE_FLOW_FIELD_VALUE, Content { value }),
            ModifySource::Pointer(value) => {
                let pvalue = arena.slice(&value).cast();
                modify_data(c::RTE_FLOW_FIELD_POINTER, Content { pvalue })
            }
        };
        arena.put(c::rte_flow_action_modify_field {
            operation: self.operation.number(),
            dst: field_data(self.destination),
            src,
            width: self.width,
        })
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let modify = unsafe { at::<c::rte_flow_action_modify_field>(conf) }?;
        let operation = match modify.operation {
            c::RTE_FLOW_MODIFY_SET => ModifyOperation::Set,
            c::RTE_FLOW_MODIFY_ADD => ModifyOperation::Add,
            c::RTE_FLOW_MODIFY_SUB => ModifyOperation::Sub,
            other => return Err(DecodeReason::UnknownValue("operation", other)),
        };
        let destination = field_ref(&modify.dst)?;
        let source = match modify.src.field {
            c::RTE_FLOW_FIELD_VALUE => {
                // SAFETY: the field says which member of the union is set.
                ModifySource::Value(unsafe { modify.src.__bindgen_anon_1.value })
            }
            c::RTE_FLOW_FIELD_POINTER => {
                // SAFETY: the field says which member of the union is set.
                let pointer = unsafe { modify.src.__bindgen_anon_1.pvalue };
                if pointer.is_null() {
                    return Err(DecodeReason::BadLength("source pointer"));
                }
                // SAFETY: the caller promises a value of the destination field's length.
                let bytes = unsafe { bytes_at(pointer.cast(), destination.field.bytes()) };
                let mut value = [0; 16];
                for (to, from) in value.iter_mut().zip(bytes) {
                    *to = from;
                }
                ModifySource::Pointer(value)
            }
            _ => ModifySource::Field(field_ref(&modify.src)?),
        };
        Ok(Self { operation, destination, source, width: modify.width })
    }
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, destination, source, width } = self;
        write!(f, " op {}", operation.name())?;
        write!(f, " dst_type {} dst_level {}", destination.field.name(), destination.level)?;
        write!(f, " dst_offset {}", destination.offset)?;
        match source {
            ModifySource::Field(part) => {
                write!(f, " src_type {} src_level {}", part.field.name(), part.level)?;
                write!(f, " src_offset {}", part.offset)?;
            }
            ModifySource::Value(value) | ModifySource::Pointer(value) => {
                f.write_str(" src_type value src_value ")?;
                let length = destination.field.bytes();
                value.iter().take(length).try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
        }
        write!(f, " width {width}")
    }
}
