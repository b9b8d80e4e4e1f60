//! Network headers.

use dpdk_sys::{rte_flow_item_ipv4, rte_flow_item_ipv6, rte_flow_item_ipv6_frag_ext};

use super::header;
use crate::field::Ipv6Extensions;

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
    /// An IPv6 fragment header (`RTE_FLOW_ITEM_TYPE_IPV6_FRAG_EXT`, RFC 8200 section 4.5). DPDK has no default mask for
    /// it: without one the item asks for the header alone.
    Ipv6FragExt = rte_flow_item_ipv6_frag_ext {
        /// The header that follows.
        next_header: u8 = wire(hdr.next_header), default 0, "next_hdr";
        /// Reserved.
        reserved: u8 = wire(hdr.reserved), default 0, "reserved";
        /// Offset in units of 8 bytes (0xfff8), two reserved bits, "more fragments" (0x0001).
        fragment_data: u16 = wire(hdr.frag_data), default 0, "frag_data";
        /// Identification.
        identification: u32 = wire(hdr.id), default 0, "packet_id";
    }
}
