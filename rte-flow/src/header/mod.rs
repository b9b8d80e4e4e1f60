//! The structures that items carry, one table each: field, type, place in DPDK's structure, width, testpmd's word.
//!
//! A new item begins here: add its table to the file of its layer, then its row in [`crate::item`].

mod geneve_option;
mod link;
mod metadata;
mod network;
mod transport;
mod tunnel;

use std::fmt::Debug;

use crate::error::DecodeReason;
use crate::item::{FieldMatch, Match};

pub use geneve_option::{GeneveOption, GeneveOptionId};
pub use link::{ArpEthIpv4, Eth, Vlan};
pub use metadata::{Any, Conntrack, EthdevPort, Integrity, Mark, Meta, PortId, Tag};
pub use network::{Ipv4, Ipv6, Ipv6FragExt};
pub use transport::{Esp, Icmp, Icmp6, Sctp, Tcp, Udp};
pub use tunnel::{Geneve, Gre, GreKey, GreOption, Gtp, Nvgre, Vxlan, VxlanGpe};

/// What is known of a field besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// The name of the Rust field, as profiles write it.
    pub name: &'static str,
    /// The width in bits.
    pub bits: u32,
    /// How many bytes the fields before it take: where it is in a header, whose fields stand in the same order.
    pub place: usize,
    /// testpmd's words for parts of the field: word, lowest bit, width in bits.
    pub words: &'static [(&'static str, u32, u32)],
}

/// Fields with their places.
const fn placed<const N: usize>(mut fields: [FieldInfo; N]) -> [FieldInfo; N] {
    let (mut index, mut place) = (0, 0);
    while index < N {
        fields[index].place = place;
        place += fields[index].bits.div_ceil(8) as usize;
        index += 1;
    }
    fields
}

/// A structure of `rte_flow_item_*`: used as spec, last and mask alike.
pub trait Header: Copy + Default + PartialEq + Eq + Debug + Send + Sync + 'static {
    /// The size of the C structure in bytes.
    const SIZE: usize;
    /// The alignment of the C structure in bytes.
    const ALIGN: usize;
    /// The fields, in the order in which they are visited.
    const FIELDS: &'static [FieldInfo];
    /// The mask that applies where none is given (`rte_flow_item_*_mask`).
    const DEFAULT_MASK: Self;

    /// Writes the C structure; `out` has [`Header::SIZE`] bytes, all 0.
    fn store(&self, out: &mut [u8]);
    /// Reads the C structure from [`Header::SIZE`] bytes.
    fn load(bytes: &[u8]) -> Self;
    /// Calls `visit` with what is asked of every field.
    fn for_each_field(asked: &Match<Self>, visit: &mut dyn FnMut(FieldMatch));
    /// Calls `visit` with each field of which a bit of mask or spec is set, in order.
    fn for_each_asked_field(asked: &Match<Self>, visit: &mut dyn FnMut(FieldMatch)) {
        Self::for_each_field(asked, &mut |field| {
            if field.mask | field.spec.unwrap_or(0) != 0 {
                visit(field);
            }
        });
    }
    /// Gives the field at `index` of [`Header::FIELDS`] a value; bits beyond its width are cut off.
    fn set(&mut self, index: usize, value: u128);
    /// Whether `actual`, taken from a packet, is what `spec`, `last` and `mask` ask for.
    fn admits(spec: &Self, last: Option<&Self>, mask: &Self, actual: &Self) -> bool;

    /// Where the C structure has a pointer to bytes that belong to it; `None` for all but one.
    const TAIL_POINTER: Option<usize> = None;
    /// How many bytes lie there, in last and mask too, as the spec says.
    ///
    /// # Errors
    /// More than there can be.
    fn tail_length(_spec: &Self) -> Result<usize, DecodeReason> {
        Ok(0)
    }
    /// These bytes.
    fn tail(&self) -> &[u8] {
        &[]
    }
    /// Takes over these bytes.
    fn set_tail(&mut self, _bytes: &[u8]) {}
}

macro_rules! header {
    (
        $(#[$doc:meta])*
        $header:ident = $c:ident {
            $(
                $(#[$field_doc:meta])*
                $field:ident: $type:ty = $order:ident($($place:tt)+), default $default:expr, $words:tt;
            )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $header {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl $crate::header::Header for $header {
            const SIZE: usize = size_of::<$c>();
            const ALIGN: usize = align_of::<$c>();
            const FIELDS: &'static [$crate::header::FieldInfo] =
                &$crate::header::placed([$($crate::header::FieldInfo {
                    name: stringify!($field),
                    bits: <$type as $crate::field::Field>::BITS,
                    place: 0,
                    words: header!(@words $type, $words),
                }),+]);
            const DEFAULT_MASK: Self = Self { $($field: $default),+ };

            fn store(&self, out: &mut [u8]) {
                $({
                    let from = std::mem::offset_of!($c, $($place)+);
                    let len = <$type as $crate::field::Field>::BITS.div_ceil(8) as usize;
                    if let Some(out) = out.get_mut(from..from + len) {
                        header!(@store $order, self.$field, out);
                    }
                })+
            }
            fn load(bytes: &[u8]) -> Self {
                Self {$($field: {
                    let from = std::mem::offset_of!($c, $($place)+);
                    let len = <$type as $crate::field::Field>::BITS.div_ceil(8) as usize;
                    let bytes = bytes.get(from..from + len).unwrap_or_default();
                    header!(@load $order, $type, bytes)
                }),+}
            }
            fn for_each_field(asked: &$crate::item::Match<Self>, visit: &mut dyn FnMut($crate::item::FieldMatch)) {
                let mask = asked.effective_mask();
                let mut fields = Self::FIELDS.iter().enumerate();
                $(if let Some((index, info)) = fields.next() {
                    visit($crate::item::FieldMatch::new(
                        index,
                        info,
                        asked.spec.map(|spec| $crate::field::Field::to_bits(spec.$field)),
                        asked.last.map(|last| $crate::field::Field::to_bits(last.$field)),
                        $crate::field::Field::to_bits(mask.$field),
                    ));
                })+
            }
            fn set(&mut self, index: usize, value: u128) {
                let mut fields = 0..;
                $(if fields.next() == Some(index) {
                    self.$field = $crate::field::Field::from_bits(value);
                })+
            }
            fn for_each_asked_field(asked: &$crate::item::Match<Self>, visit: &mut dyn FnMut($crate::item::FieldMatch)) {
                let (all, mask) = (asked.spec.unwrap_or_default(), asked.effective_mask());
                let mut fields = Self::FIELDS.iter().enumerate();
                $(if let Some((index, info)) = fields.next() {
                    let spec = $crate::field::Field::to_bits(all.$field);
                    let mask = $crate::field::Field::to_bits(mask.$field);
                    if mask | spec != 0 {
                        let spec = asked.spec.map(|_| spec);
                        let last = asked.last.map(|last| $crate::field::Field::to_bits(last.$field));
                        visit($crate::item::FieldMatch::new(index, info, spec, last, mask));
                    }
                })+
            }
            fn admits(spec: &Self, last: Option<&Self>, mask: &Self, actual: &Self) -> bool {
                $($crate::field::Field::admits(spec.$field, last.map(|l| l.$field), mask.$field, actual.$field))&&+
            }
        }

        impl $crate::item::Match<$header> {
            $(
                $(#[$field_doc])*
                ///
                /// Asks for exactly this value: sets it in the spec and all its bits in the mask.
                #[must_use]
                pub fn $field(mut self, value: impl Into<$type>) -> Self {
                    self.spec.get_or_insert_default().$field = value.into();
                    self.mask.get_or_insert_default().$field = <$type as $crate::field::Field>::ONES;
                    self
                }
            )+
        }
    };
    (@words $type:ty, [$(($word:literal, $shift:literal, $width:literal)),+]) => {
        &[$(($word, $shift, $width)),+]
    };
    (@words $type:ty, $word:literal) => {
        &[($word, 0, <$type as $crate::field::Field>::BITS)]
    };
    (@store wire, $value:expr, $out:expr) => { $crate::field::Field::store_wire($value, $out) };
    (@store host, $value:expr, $out:expr) => { $crate::field::Field::store_host($value, $out) };
    (@load wire, $type:ty, $bytes:expr) => { <$type as $crate::field::Field>::load_wire($bytes) };
    (@load host, $type:ty, $bytes:expr) => { <$type as $crate::field::Field>::load_host($bytes) };
}
use header;
