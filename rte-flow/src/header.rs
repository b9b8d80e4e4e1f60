//! The structures that items carry, one table each: field, type, place in DPDK's structure, width, testpmd's word.
//!
//! A new item begins here: add its table, then its row in [`crate::item`].

use std::fmt::Debug;
use std::mem::offset_of;

use dpdk_sys::{
    rte_flow_item_any, rte_flow_item_eth, rte_flow_item_ethdev, rte_flow_item_icmp,
    rte_flow_item_icmp6, rte_flow_item_integrity, rte_flow_item_ipv4, rte_flow_item_ipv6,
    rte_flow_item_mark, rte_flow_item_meta, rte_flow_item_port_id, rte_flow_item_tag,
    rte_flow_item_tcp, rte_flow_item_udp, rte_flow_item_vlan, rte_flow_item_vxlan,
};

use crate::field::{Field, IntegrityBits, Ipv6Extensions, U24};
use crate::item::{FieldMatch, Match};

/// What is known of a field besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// The name of the Rust field, as profiles write it.
    pub name: &'static str,
    /// The width in bits.
    pub bits: u32,
    /// testpmd's words for parts of the field: word, lowest bit, width in bits.
    pub words: &'static [(&'static str, u32, u32)],
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
    /// Whether `actual`, taken from a packet, is what `spec`, `last` and `mask` ask for.
    fn admits(spec: &Self, last: Option<&Self>, mask: &Self, actual: &Self) -> bool;
}

macro_rules! words {
    ($type:ty, [$(($word:literal, $shift:literal, $width:literal)),+]) => {
        &[$(($word, $shift, $width)),+]
    };
    ($type:ty, $word:literal) => {
        &[($word, 0, <$type as Field>::BITS)]
    };
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

        impl Header for $header {
            const SIZE: usize = size_of::<$c>();
            const ALIGN: usize = align_of::<$c>();
            const FIELDS: &'static [FieldInfo] = &[$(FieldInfo {
                name: stringify!($field),
                bits: <$type as Field>::BITS,
                words: words!($type, $words),
            }),+];
            const DEFAULT_MASK: Self = Self { $($field: $default),+ };

            fn store(&self, out: &mut [u8]) {
                $({
                    let from = offset_of!($c, $($place)+);
                    let len = <$type as Field>::BITS.div_ceil(8) as usize;
                    if let Some(out) = out.get_mut(from..from + len) {
                        header!(@store $order, self.$field, out);
                    }
                })+
            }
            fn load(bytes: &[u8]) -> Self {
                Self {$($field: {
                    let from = offset_of!($c, $($place)+);
                    let len = <$type as Field>::BITS.div_ceil(8) as usize;
                    let bytes = bytes.get(from..from + len).unwrap_or_default();
                    header!(@load $order, $type, bytes)
                }),+}
            }
            fn for_each_field(asked: &Match<Self>, visit: &mut dyn FnMut(FieldMatch)) {
                let mask = asked.effective_mask();
                let mut fields = Self::FIELDS.iter().enumerate();
                $(if let Some((index, info)) = fields.next() {
                    visit(FieldMatch::new(
                        index,
                        info,
                        asked.spec.map(|spec| Field::to_bits(spec.$field)),
                        asked.last.map(|last| Field::to_bits(last.$field)),
                        Field::to_bits(mask.$field),
                    ));
                })+
            }
            fn admits(spec: &Self, last: Option<&Self>, mask: &Self, actual: &Self) -> bool {
                $(Field::admits(spec.$field, last.map(|l| l.$field), mask.$field, actual.$field))&&+
            }
        }

        impl Match<$header> {
            $(
                $(#[$field_doc])*
                ///
                /// Asks for exactly this value: sets it in the spec and all its bits in the mask.
                #[must_use]
                pub fn $field(mut self, value: impl Into<$type>) -> Self {
                    self.spec.get_or_insert_default().$field = value.into();
                    self.mask.get_or_insert_default().$field = <$type as Field>::ONES;
                    self
                }
            )+
        }
    };
    (@store wire, $value:expr, $out:expr) => { Field::store_wire($value, $out) };
    (@store host, $value:expr, $out:expr) => { Field::store_host($value, $out) };
    (@load wire, $type:ty, $bytes:expr) => { <$type as Field>::load_wire($bytes) };
    (@load host, $type:ty, $bytes:expr) => { <$type as Field>::load_host($bytes) };
}

header! {
    /// An Ethernet header (`RTE_FLOW_ITEM_TYPE_ETH`).
    Eth = rte_flow_item_eth {
        /// Destination MAC address.
        dst: [u8; 6] = wire(__bindgen_anon_1.hdr.dst_addr), default [0xff; 6], "dst";
        /// Source MAC address.
        src: [u8; 6] = wire(__bindgen_anon_1.hdr.src_addr), default [0xff; 6], "src";
        /// `EtherType` or TPID.
        ether_type: u16 = wire(__bindgen_anon_1.hdr.ether_type), default 0, "type";
        /// Whether a VLAN tag follows.
        has_vlan: bool = host(_bitfield_1), default false, "has_vlan";
    }
}

header! {
    /// An 802.1Q tag (`RTE_FLOW_ITEM_TYPE_VLAN`).
    Vlan = rte_flow_item_vlan {
        /// Priority, drop eligibility and VLAN identifier.
        tci: u16 = wire(__bindgen_anon_1.hdr.vlan_tci), default 0x0fff, "tci";
        /// `EtherType` of what follows.
        inner_type: u16 = wire(__bindgen_anon_1.hdr.eth_proto), default 0, "inner_type";
        /// Whether another tag follows.
        has_more_vlan: bool = host(_bitfield_1), default false, "has_more_vlan";
    }
}

header! {
    /// An IPv4 header (`RTE_FLOW_ITEM_TYPE_IPV4`).
    Ipv4 = rte_flow_item_ipv4 {
        /// Version in the high four bits, header length in words of four bytes in the low ones.
        version_ihl: u8 = wire(hdr.__bindgen_anon_1.version_ihl), default 0, "version_ihl";
        /// DSCP and ECN.
        tos: u8 = wire(hdr.type_of_service), default 0, "tos";
        /// Length of header and payload in bytes.
        total_length: u16 = wire(hdr.total_length), default 0, "length";
        /// Identification.
        packet_id: u16 = wire(hdr.packet_id), default 0, "packet_id";
        /// Flags (0x4000 DF, 0x2000 MF) and offset in units of 8 bytes.
        fragment_offset: u16 = wire(hdr.fragment_offset), default 0, "fragment_offset";
        /// Time to live.
        ttl: u8 = wire(hdr.time_to_live), default 0, "ttl";
        /// Protocol of the payload.
        protocol: u8 = wire(hdr.next_proto_id), default 0, "proto";
        /// Header checksum.
        checksum: u16 = wire(hdr.hdr_checksum), default 0, "hdr_checksum";
        /// Source address.
        src: u32 = wire(hdr.src_addr), default u32::MAX, "src";
        /// Destination address.
        dst: u32 = wire(hdr.dst_addr), default u32::MAX, "dst";
    }
}

header! {
    /// An IPv6 header and which extension headers follow it (`RTE_FLOW_ITEM_TYPE_IPV6`).
    Ipv6 = rte_flow_item_ipv6 {
        /// Version (4 bits), traffic class (8) and flow label (20).
        vtc_flow: u32 = wire(hdr.vtc_flow), default 0, [("tc", 20, 8), ("flow", 0, 20)];
        /// Length of what follows this header, in bytes.
        payload_length: u16 = wire(hdr.payload_len), default 0, "payload_len";
        /// The next header.
        protocol: u8 = wire(hdr.proto), default 0, "proto";
        /// Hop limit.
        hop_limit: u8 = wire(hdr.hop_limits), default 0, "hop";
        /// Source address.
        src: u128 = wire(hdr.src_addr), default u128::MAX, "src";
        /// Destination address.
        dst: u128 = wire(hdr.dst_addr), default u128::MAX, "dst";
        /// Which extension headers are present.
        extensions: Ipv6Extensions = host(_bitfield_1), default Ipv6Extensions::empty(), [
            ("has_hop_ext", 0, 1), ("has_route_ext", 1, 1), ("has_frag_ext", 2, 1), ("has_auth_ext", 3, 1),
            ("has_esp_ext", 4, 1), ("has_dest_ext", 5, 1), ("has_mobil_ext", 6, 1), ("has_hip_ext", 7, 1),
            ("has_shim6_ext", 8, 1)
        ];
    }
}

header! {
    /// A TCP header (`RTE_FLOW_ITEM_TYPE_TCP`).
    Tcp = rte_flow_item_tcp {
        /// Source port.
        src: u16 = wire(hdr.src_port), default u16::MAX, "src";
        /// Destination port.
        dst: u16 = wire(hdr.dst_port), default u16::MAX, "dst";
        /// Sequence number.
        sequence: u32 = wire(hdr.sent_seq), default 0, "seq";
        /// Acknowledgment number.
        acknowledgment: u32 = wire(hdr.recv_ack), default 0, "ack";
        /// Header length in words of four bytes in the high four bits.
        data_offset: u8 = wire(hdr.data_off), default 0, "data_off";
        /// CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the highest bit to the lowest.
        flags: u8 = wire(hdr.tcp_flags), default 0, "flags";
        /// Receive window.
        window: u16 = wire(hdr.rx_win), default 0, "rx_win";
        /// Checksum.
        checksum: u16 = wire(hdr.cksum), default 0, "cksum";
        /// Urgent pointer.
        urgent: u16 = wire(hdr.tcp_urp), default 0, "tcp_urp";
    }
}

header! {
    /// A UDP header (`RTE_FLOW_ITEM_TYPE_UDP`).
    Udp = rte_flow_item_udp {
        /// Source port.
        src: u16 = wire(hdr.src_port), default u16::MAX, "src";
        /// Destination port.
        dst: u16 = wire(hdr.dst_port), default u16::MAX, "dst";
        /// Length of header and payload in bytes.
        length: u16 = wire(hdr.dgram_len), default 0, "dgram_len";
        /// Checksum.
        checksum: u16 = wire(hdr.dgram_cksum), default 0, "dgram_cksum";
    }
}

header! {
    /// An ICMP header (`RTE_FLOW_ITEM_TYPE_ICMP`).
    Icmp = rte_flow_item_icmp {
        /// Type.
        icmp_type: u8 = wire(hdr.icmp_type), default 0xff, "type";
        /// Code.
        code: u8 = wire(hdr.icmp_code), default 0xff, "code";
        /// Checksum.
        checksum: u16 = wire(hdr.icmp_cksum), default 0, "cksum";
        /// Identifier of an echo.
        identifier: u16 = wire(hdr.icmp_ident), default 0, "ident";
        /// Sequence number of an echo.
        sequence: u16 = wire(hdr.icmp_seq_nb), default 0, "seq";
    }
}

header! {
    /// An `ICMPv6` header (`RTE_FLOW_ITEM_TYPE_ICMP6`).
    Icmp6 = rte_flow_item_icmp6 {
        /// Type.
        icmp_type: u8 = wire(type_), default 0xff, "type";
        /// Code.
        code: u8 = wire(code), default 0xff, "code";
        /// Checksum.
        checksum: u16 = wire(checksum), default 0, "checksum";
    }
}

header! {
    /// A VXLAN header (`RTE_FLOW_ITEM_TYPE_VXLAN`, RFC 7348).
    Vxlan = rte_flow_item_vxlan {
        /// Flags; 0x08 says that the VNI is valid.
        flags: u8 = wire(__bindgen_anon_1.__bindgen_anon_1.flags), default 0, "flags";
        /// The first reserved field.
        reserved: U24 = wire(__bindgen_anon_1.__bindgen_anon_1.rsvd0), default U24::truncate(0), "rsvd0";
        /// The network identifier.
        vni: U24 = wire(__bindgen_anon_1.__bindgen_anon_1.vni), default U24::MAX, "vni";
        /// The last reserved byte.
        last_reserved: u8 = wire(__bindgen_anon_1.__bindgen_anon_1.rsvd1), default 0, "last_rsvd";
    }
}

header! {
    /// Metadata that a rule or the application set (`RTE_FLOW_ITEM_TYPE_META`).
    Meta = rte_flow_item_meta {
        /// The value.
        data: u32 = host(data), default u32::MAX, "data";
    }
}

header! {
    /// A register that an earlier rule set (`RTE_FLOW_ITEM_TYPE_TAG`).
    Tag = rte_flow_item_tag {
        /// The value.
        data: u32 = host(data), default u32::MAX, "data";
        /// Which register.
        index: u8 = host(index), default 0xff, "index";
    }
}

header! {
    /// The mark that an earlier rule set (`RTE_FLOW_ITEM_TYPE_MARK`).
    Mark = rte_flow_item_mark {
        /// The value.
        id: u32 = host(id), default u32::MAX, "id";
    }
}

header! {
    /// The device's own checks of a packet (`RTE_FLOW_ITEM_TYPE_INTEGRITY`).
    Integrity = rte_flow_item_integrity {
        /// 0 or 1: the outermost headers; 2: those inside the tunnel.
        level: u32 = host(level), default 0, "level";
        /// What must hold.
        checks: IntegrityBits = host(__bindgen_anon_1.value), default IntegrityBits::empty(), "value";
    }
}

header! {
    /// An ethdev port: with `PORT_REPRESENTOR` the application's end, with `REPRESENTED_PORT` the represented entity's.
    EthdevPort = rte_flow_item_ethdev {
        /// The ethdev port identifier.
        port_id: u16 = host(port_id), default u16::MAX, "port_id";
    }
}

header! {
    /// An ethdev port in the deprecated form (`RTE_FLOW_ITEM_TYPE_PORT_ID`).
    PortId = rte_flow_item_port_id {
        /// The ethdev port identifier.
        id: u32 = host(id), default u32::MAX, "id";
    }
}

header! {
    /// Any protocol in place of the current layers (`RTE_FLOW_ITEM_TYPE_ANY`).
    Any = rte_flow_item_any {
        /// How many layers.
        num: u32 = host(num), default 0, "num";
    }
}
