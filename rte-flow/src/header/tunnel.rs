//! Tunnel headers; GENEVE's options are in [`super::geneve_option`].

use dpdk_sys::{
    rte_flow_item_geneve, rte_flow_item_gre, rte_flow_item_gre_opt, rte_flow_item_gtp,
    rte_flow_item_nvgre, rte_flow_item_vxlan, rte_flow_item_vxlan_gpe,
};

use super::header;
use crate::field::U24;

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
    /// A VXLAN-GPE header (`RTE_FLOW_ITEM_TYPE_VXLAN_GPE`, draft-ietf-nvo3-vxlan-gpe).
    VxlanGpe = rte_flow_item_vxlan_gpe {
        /// Flags; 0x08 says that the VNI is valid, 0x04 that the protocol is.
        flags: u8 = wire(flags), default 0, "flags";
        /// The first reserved field.
        reserved: u16 = wire(rsvd0), default 0, "rsvd0";
        /// What follows: 1 IPv4, 2 IPv6, 3 Ethernet.
        protocol: u8 = wire(protocol), default 0, "protocol";
        /// The network identifier.
        vni: U24 = wire(vni), default U24::MAX, "vni";
        /// The last reserved byte.
        last_reserved: u8 = wire(rsvd1), default 0, "rsvd1";
    }
}

header! {
    /// A GENEVE header without its options (`RTE_FLOW_ITEM_TYPE_GENEVE`, RFC 8926).
    Geneve = rte_flow_item_geneve {
        /// Version (0xc000), length of the options in words of four bytes (0x3f00), OAM (0x0080), critical options
        /// (0x0040), reserved.
        control: u16 = wire(ver_opt_len_o_c_rsvd0), default 0, [
            ("version", 14, 2), ("optlen", 8, 6), ("oam", 7, 1), ("critical", 6, 1), ("rsvd0", 0, 6)
        ];
        /// `EtherType` of what follows.
        protocol: u16 = wire(protocol), default 0, "protocol";
        /// The network identifier.
        vni: U24 = wire(vni), default U24::MAX, "vni";
        /// The last reserved byte.
        last_reserved: u8 = wire(rsvd1), default 0, "rsvd1";
    }
}

header! {
    /// The first word of a GRE header (`RTE_FLOW_ITEM_TYPE_GRE`, RFC 2784 and 2890).
    Gre = rte_flow_item_gre {
        /// Which optional fields there are (0x8000 checksum, 0x2000 key, 0x1000 sequence number), and the version.
        c_rsvd0_ver: u16 = wire(c_rsvd0_ver), default 0, "c_rsvd0_ver";
        /// `EtherType` of what follows.
        protocol: u16 = wire(protocol), default u16::MAX, "protocol";
    }
}

/// What lies behind the item `GRE_KEY`'s pointers, which DPDK has no structure for: a number in network byte order.
#[repr(C)]
struct GreKeyNumber {
    value: u32,
}

header! {
    /// The key of a GRE header (`RTE_FLOW_ITEM_TYPE_GRE_KEY`).
    GreKey = GreKeyNumber {
        /// The key.
        value: u32 = wire(value), default u32::MAX, "value";
    }
}

header! {
    /// The optional fields of a GRE header (`RTE_FLOW_ITEM_TYPE_GRE_OPTION`). DPDK has no default mask for it.
    GreOption = rte_flow_item_gre_opt {
        /// Checksum.
        checksum: u16 = wire(checksum_rsvd.checksum), default 0, "checksum";
        /// What is reserved behind the checksum.
        reserved: u16 = wire(checksum_rsvd.reserved1), default 0, "reserved1";
        /// Key.
        key: u32 = wire(key.key), default 0, "key";
        /// Sequence number.
        sequence: u32 = wire(sequence.sequence), default 0, "sequence";
    }
}

header! {
    /// An NVGRE header (`RTE_FLOW_ITEM_TYPE_NVGRE`, RFC 7637).
    Nvgre = rte_flow_item_nvgre {
        /// The first two bytes of GRE: 0x2000, a key and nothing else.
        c_k_s_rsvd0_ver: u16 = wire(c_k_s_rsvd0_ver), default 0, "c_k_s_rsvd0_ver";
        /// `EtherType` of what follows: 0x6558, Ethernet.
        protocol: u16 = wire(protocol), default 0, "protocol";
        /// The virtual subnet's identifier.
        tni: U24 = wire(tni), default U24::MAX, "tni";
        /// The flow identifier.
        flow_id: u8 = wire(flow_id), default 0, "flow_id";
    }
}

header! {
    /// The first eight bytes of a GTP header (`RTE_FLOW_ITEM_TYPE_GTP`, 3GPP TS 29.281).
    Gtp = rte_flow_item_gtp {
        /// Version (0xe0), protocol type (0x10), reserved (0x08), extension header (0x04), sequence number (0x02), N-PDU
        /// number (0x01).
        flags: u8 = wire(v_pt_rsv_flags), default 0, "v_pt_rsv_flags";
        /// Message type; 255 carries a user's packet.
        message_type: u8 = wire(msg_type), default 0, "msg_type";
        /// Length of what follows these eight bytes.
        length: u16 = wire(msg_len), default 0, "msg_len";
        /// Tunnel endpoint identifier.
        teid: u32 = wire(teid), default u32::MAX, "teid";
    }
}
