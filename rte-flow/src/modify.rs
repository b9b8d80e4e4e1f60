//! `MODIFY_FIELD`: which field becomes what.

use dpdk_sys::{rte_flow_field_id, rte_flow_modify_op};

/// What happens to the field (`enum rte_flow_modify_op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModifyOperation {
    /// The source replaces it.
    Set,
    /// The source is added, without carry out of the field.
    Add,
    /// The source is subtracted, without borrow.
    Sub,
}

impl ModifyOperation {
    /// Every operation.
    pub const ALL: &'static [Self] = &[Self::Set, Self::Add, Self::Sub];

    /// DPDK's number.
    pub(crate) const fn number(self) -> rte_flow_modify_op {
        match self {
            Self::Set => dpdk_sys::RTE_FLOW_MODIFY_SET,
            Self::Add => dpdk_sys::RTE_FLOW_MODIFY_ADD,
            Self::Sub => dpdk_sys::RTE_FLOW_MODIFY_SUB,
        }
    }

    /// testpmd's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Add => "add",
            Self::Sub => "sub",
        }
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $number:ident, $name:literal, $bits:literal;)+) => {
        /// A field of a packet or of its metadata (`enum rte_flow_field_id`, without value and pointer).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FieldId {
            $($(#[$doc])* $field,)+
        }

        impl FieldId {
            /// Every field.
            pub const ALL: &'static [Self] = &[$(Self::$field),+];

            /// DPDK's number.
            #[must_use]
            pub const fn number(self) -> rte_flow_field_id {
                match self {
                    $(Self::$field => dpdk_sys::$number,)+
                }
            }

            /// The field of DPDK's number.
            #[must_use]
            pub const fn from_number(number: rte_flow_field_id) -> Option<Self> {
                match number {
                    $(dpdk_sys::$number => Some(Self::$field),)+
                    _ => None,
                }
            }

            /// testpmd's word, which profiles use too.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)+
                }
            }

            /// The width in bits; 0 for the packet's start, which has none.
            #[must_use]
            pub const fn bits(self) -> u32 {
                match self {
                    $(Self::$field => $bits,)+
                }
            }
        }
    };
}

fields! {
    /// The packet's start.
    Start = RTE_FLOW_FIELD_START, "start", 0;
    /// Destination MAC address.
    MacDst = RTE_FLOW_FIELD_MAC_DST, "mac_dst", 48;
    /// Source MAC address.
    MacSrc = RTE_FLOW_FIELD_MAC_SRC, "mac_src", 48;
    /// TPID of the VLAN tag.
    VlanType = RTE_FLOW_FIELD_VLAN_TYPE, "vlan_type", 16;
    /// VLAN identifier.
    VlanId = RTE_FLOW_FIELD_VLAN_ID, "vlan_id", 12;
    /// `EtherType`.
    MacType = RTE_FLOW_FIELD_MAC_TYPE, "mac_type", 16;
    /// IPv4 DSCP.
    Ipv4Dscp = RTE_FLOW_FIELD_IPV4_DSCP, "ipv4_dscp", 6;
    /// IPv4 TTL.
    Ipv4Ttl = RTE_FLOW_FIELD_IPV4_TTL, "ipv4_ttl", 8;
    /// IPv4 source address.
    Ipv4Src = RTE_FLOW_FIELD_IPV4_SRC, "ipv4_src", 32;
    /// IPv4 destination address.
    Ipv4Dst = RTE_FLOW_FIELD_IPV4_DST, "ipv4_dst", 32;
    /// IPv6 DSCP.
    Ipv6Dscp = RTE_FLOW_FIELD_IPV6_DSCP, "ipv6_dscp", 6;
    /// IPv6 hop limit.
    Ipv6HopLimit = RTE_FLOW_FIELD_IPV6_HOPLIMIT, "ipv6_hoplimit", 8;
    /// IPv6 source address.
    Ipv6Src = RTE_FLOW_FIELD_IPV6_SRC, "ipv6_src", 128;
    /// IPv6 destination address.
    Ipv6Dst = RTE_FLOW_FIELD_IPV6_DST, "ipv6_dst", 128;
    /// TCP source port.
    TcpPortSrc = RTE_FLOW_FIELD_TCP_PORT_SRC, "tcp_port_src", 16;
    /// TCP destination port.
    TcpPortDst = RTE_FLOW_FIELD_TCP_PORT_DST, "tcp_port_dst", 16;
    /// TCP sequence number.
    TcpSequence = RTE_FLOW_FIELD_TCP_SEQ_NUM, "tcp_seq_num", 32;
    /// TCP acknowledgment number.
    TcpAcknowledgment = RTE_FLOW_FIELD_TCP_ACK_NUM, "tcp_ack_num", 32;
    /// TCP flags, with NS.
    TcpFlags = RTE_FLOW_FIELD_TCP_FLAGS, "tcp_flags", 9;
    /// UDP source port.
    UdpPortSrc = RTE_FLOW_FIELD_UDP_PORT_SRC, "udp_port_src", 16;
    /// UDP destination port.
    UdpPortDst = RTE_FLOW_FIELD_UDP_PORT_DST, "udp_port_dst", 16;
    /// VXLAN network identifier.
    VxlanVni = RTE_FLOW_FIELD_VXLAN_VNI, "vxlan_vni", 24;
    /// GENEVE network identifier.
    GeneveVni = RTE_FLOW_FIELD_GENEVE_VNI, "geneve_vni", 24;
    /// GTP tunnel endpoint identifier.
    GtpTeid = RTE_FLOW_FIELD_GTP_TEID, "gtp_teid", 32;
    /// A register; the level is its index.
    Tag = RTE_FLOW_FIELD_TAG, "tag", 32;
    /// The mark.
    Mark = RTE_FLOW_FIELD_MARK, "mark", 32;
    /// The metadata.
    Meta = RTE_FLOW_FIELD_META, "meta", 32;
    /// IPv4 ECN.
    Ipv4Ecn = RTE_FLOW_FIELD_IPV4_ECN, "ipv4_ecn", 2;
    /// IPv6 ECN.
    Ipv6Ecn = RTE_FLOW_FIELD_IPV6_ECN, "ipv6_ecn", 2;
    /// GTP QFI.
    GtpPscQfi = RTE_FLOW_FIELD_GTP_PSC_QFI, "gtp_psc_qfi", 6;
    /// Meter colour.
    MeterColor = RTE_FLOW_FIELD_METER_COLOR, "meter_color", 2;
}

impl FieldId {
    /// Whether values of this field are in the machine's byte order, as in the item of the same name.
    #[must_use]
    pub const fn is_host_order(self) -> bool {
        matches!(self, Self::Tag | Self::Mark | Self::Meta | Self::MeterColor)
    }

    /// How many bytes a value of this field takes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        if self.is_host_order() { 4 } else { self.bits().div_ceil(8) as usize }
    }

    /// A number as this field's value, in the order and length of the item's field.
    #[must_use]
    pub fn value_of(self, number: u128) -> [u8; 16] {
        let mut value = [0; 16];
        if self.is_host_order() {
            for (to, from) in value.iter_mut().zip(number.to_le_bytes()).take(self.bytes()) {
                *to = from;
            }
        } else {
            let skip = 16_usize.saturating_sub(self.bytes());
            for (to, from) in value.iter_mut().zip(number.to_be_bytes().into_iter().skip(skip)) {
                *to = from;
            }
        }
        value
    }

    /// The number that a value of this field stands for.
    #[must_use]
    pub fn number_of(self, value: &[u8; 16]) -> u128 {
        let bytes = value.get(..self.bytes()).unwrap_or_default();
        let join = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
        if self.is_host_order() {
            bytes.iter().rev().fold(0, join)
        } else {
            bytes.iter().fold(0, join)
        }
    }
}

/// A field, or part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldRef {
    /// Which field.
    pub field: FieldId,
    /// Which of nested headers (0 and 1: the outermost); of a TAG, which register.
    pub level: u32,
    /// How many bits to skip: of a packet's field from its first (highest), of metadata from its lowest.
    pub offset: u32,
}

impl FieldRef {
    /// The whole field of the outermost header.
    #[must_use]
    pub const fn outermost(field: FieldId) -> Self {
        Self { field, level: 0, offset: 0 }
    }

    /// `width` bits of the field from the offset on, as a mask over the whole field; those beyond it are cut off.
    #[must_use]
    pub fn bits(&self, width: u32) -> u128 {
        let ones = |count: u32| 1_u128.checked_shl(count).map_or(u128::MAX, |bit| bit - 1);
        let all = ones(self.field.bits());
        let width = width.min(self.field.bits().saturating_sub(self.offset));
        let skip = if self.field.is_host_order() {
            self.offset
        } else {
            self.field.bits().saturating_sub(self.offset).saturating_sub(width)
        };
        ones(width).checked_shl(skip).unwrap_or(0) & all
    }
}

/// Where the new bits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModifySource {
    /// Another field.
    Field(FieldRef),
    /// An immediate value, laid out as the destination field's item has it.
    Value([u8; 16]),
    /// The same, behind a pointer in the C structure.
    Pointer([u8; 16]),
}

impl ModifySource {
    /// DPDK's number of the field or kind of memory.
    pub(crate) const fn number(self) -> rte_flow_field_id {
        match self {
            Self::Field(part) => part.field.number(),
            Self::Value(_) => dpdk_sys::RTE_FLOW_FIELD_VALUE,
            Self::Pointer(_) => dpdk_sys::RTE_FLOW_FIELD_POINTER,
        }
    }
}

/// Changes a field (`struct rte_flow_action_modify_field`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModifyField {
    /// Set, add or subtract.
    pub operation: ModifyOperation,
    /// What changes.
    pub destination: FieldRef,
    /// What it changes to or by.
    pub source: ModifySource,
    /// How many bits change.
    pub width: u32,
}

impl ModifyField {
    /// Sets a whole field of the outermost header to a number; bits beyond its width are cut off.
    #[must_use]
    pub fn set(field: FieldId, number: u128) -> Self {
        Self::immediate(ModifyOperation::Set, FieldRef::outermost(field), field.bits(), number)
    }

    /// Adds a number to a whole field of the outermost header.
    #[must_use]
    pub fn add(field: FieldId, number: u128) -> Self {
        Self::immediate(ModifyOperation::Add, FieldRef::outermost(field), field.bits(), number)
    }

    /// Copies `width` bits from one field to another.
    #[must_use]
    pub const fn copy(destination: FieldRef, source: FieldRef, width: u32) -> Self {
        Self {
            operation: ModifyOperation::Set,
            destination,
            source: ModifySource::Field(source),
            width,
        }
    }

    /// Changes `width` bits of `destination` by those bits of `number`, which is presented as the whole field.
    #[must_use]
    pub fn immediate(
        operation: ModifyOperation,
        destination: FieldRef,
        width: u32,
        number: u128,
    ) -> Self {
        let source = ModifySource::Value(destination.field.value_of(number));
        Self { operation, destination, source, width }
    }

    /// The immediate source as a number presented as the whole destination field, or `None` for a field source.
    #[must_use]
    pub fn number(&self) -> Option<u128> {
        match &self.source {
            ModifySource::Field(_) => None,
            ModifySource::Value(value) | ModifySource::Pointer(value) => {
                Some(self.destination.field.number_of(value))
            }
        }
    }

    /// The bits of the destination field that change.
    #[must_use]
    pub fn changed_bits(&self) -> u128 {
        self.destination.bits(self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_byte_order_of_the_items_field() {
        assert_eq!(FieldId::Ipv4Dst.value_of(0x0a00_0001)[..5], [10, 0, 0, 1, 0]);
        assert_eq!(FieldId::Tag.value_of(0x0102_0304)[..5], [4, 3, 2, 1, 0]);
        for field in FieldId::ALL.iter().filter(|field| field.bits() > 0) {
            assert_eq!(field.number_of(&field.value_of(3)), 3, "{}", field.name());
        }
    }

    #[test]
    fn changed_bits_stay_inside_the_field() {
        let part = FieldRef { field: FieldId::Tag, level: 1, offset: 8 };
        let modify = ModifyField::immediate(ModifyOperation::Set, part, 8, 0x4200);
        assert_eq!(modify.changed_bits(), 0xff00);
        assert_eq!(modify.number(), Some(0x4200));
        let too_wide = ModifyField { width: 4000, ..modify };
        assert_eq!(too_wide.changed_bits(), 0xffff_ff00);
        let network = FieldRef { field: FieldId::Ipv4Dst, level: 0, offset: 8 };
        assert_eq!(network.bits(8), 0x00ff_0000);
        assert_eq!(network.bits(99), 0x00ff_ffff);
        assert_eq!(FieldRef { offset: 99, ..network }.bits(8), 0);
        assert_eq!(ModifyField::set(FieldId::Ipv6Dst, 1).changed_bits(), u128::MAX);
    }
}
