//! What stands on IP: transport headers, ICMP, ESP.

use dpdk_sys::{
    rte_flow_item_esp, rte_flow_item_icmp, rte_flow_item_icmp6, rte_flow_item_sctp,
    rte_flow_item_tcp, rte_flow_item_udp,
};

use super::header;

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
    /// An SCTP header (`RTE_FLOW_ITEM_TYPE_SCTP`, RFC 9260).
    Sctp = rte_flow_item_sctp {
        /// Source port.
        src: u16 = wire(hdr.src_port), default u16::MAX, "src";
        /// Destination port.
        dst: u16 = wire(hdr.dst_port), default u16::MAX, "dst";
        /// Verification tag.
        tag: u32 = wire(hdr.tag), default 0, "tag";
        /// `CRC32c` of the packet.
        checksum: u32 = wire(hdr.cksum), default 0, "cksum";
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
    /// The head of an encapsulating security payload (`RTE_FLOW_ITEM_TYPE_ESP`, RFC 4303).
    Esp = rte_flow_item_esp {
        /// Security parameters index.
        spi: u32 = wire(hdr.spi), default u32::MAX, "spi";
        /// Sequence number.
        sequence: u32 = wire(hdr.seq), default 0, "seq";
    }
}
