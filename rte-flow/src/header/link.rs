//! Link layer headers: Ethernet, VLAN tags, and ARP, which stands directly on them.

use dpdk_sys::{rte_flow_item_arp_eth_ipv4, rte_flow_item_eth, rte_flow_item_vlan};

use super::header;

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
    /// An ARP packet for Ethernet and IPv4 (`RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4`, RFC 826).
    ArpEthIpv4 = rte_flow_item_arp_eth_ipv4 {
        /// Hardware type; 1 is Ethernet.
        hardware_type: u16 = wire(hrd), default 0, "hrd";
        /// Protocol type; 0x0800 is IPv4.
        protocol_type: u16 = wire(pro), default 0, "pro";
        /// Length of a hardware address in bytes.
        hardware_length: u8 = wire(hln), default 0, "hln";
        /// Length of a protocol address in bytes.
        protocol_length: u8 = wire(pln), default 0, "pln";
        /// Operation: 1 request, 2 reply.
        operation: u16 = wire(op), default 0, "op";
        /// MAC address of the sender.
        sender_mac: [u8; 6] = wire(sha), default [0xff; 6], "sha";
        /// IPv4 address of the sender.
        sender_ip: u32 = wire(spa), default u32::MAX, "spa";
        /// MAC address that is asked for.
        target_mac: [u8; 6] = wire(tha), default [0xff; 6], "tha";
        /// IPv4 address that is asked for.
        target_ip: u32 = wire(tpa), default u32::MAX, "tpa";
    }
}
