/*
 * The parser. A frame from a VM is Ethernet and what follows; a tunnel packet has the same inside. Whatever is not in
 * order is rejected: header lengths against each other and the frame, the IPv4 header checksum, the geometry of
 * fragments, a first fragment without its whole transport header.
 *
 * Only what comes from the wire is looked at for tunnels: a VM may send VXLAN like anything else.
 */
#ifndef PARSER_P4
#define PARSER_P4

#include "headers.p4"
#include "checksum.p4"

error {
    WrongVersion,
    WrongLength,
    WrongChecksum,
    WrongHeaderOrder,
    TooManyHeaders,
    WrongFragment,
    NoVni
}

bool is_extension(in bit<8> protocol) {
    return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_FRAGMENT
        || protocol == PROTOCOL_AUTHENTICATION || protocol == PROTOCOL_DESTINATION_OPTIONS
        || protocol == PROTOCOL_MOBILITY || protocol == PROTOCOL_HIP || protocol == PROTOCOL_SHIM6;
}

/* One extension header. What comes next is left in `info.protocol`. */
parser ExtensionHeader(packet_in packet, out extension_t extension, inout ip_info_t info) {
    bit<16> head = 0;
    bit<32> bytes = 0;

    state start {
        head = packet.lookahead<bit<16>>();
        info.plain = false;
        transition select(info.protocol) {
            PROTOCOL_HOP_BY_HOP : hop_by_hop;
            PROTOCOL_FRAGMENT : fragment;
            PROTOCOL_AUTHENTICATION : authentication;
            default : options;
        }
    }
    state hop_by_hop {
        /* RFC 8200, section 4.1: directly behind the IPv6 header, or not at all. */
        verify(info.header_length == 40, error.WrongHeaderOrder);
        transition options;
    }
    state options {
        bytes = 8 + ((bit<32>) head[7:0] << 3);
        transition take;
    }
    state authentication {
        /* RFC 4302: in words of 4 bytes, less 2; the fixed part alone is 12 bytes. */
        verify(head[7:0] >= 1, error.WrongLength);
        bytes = 8 + ((bit<32>) head[7:0] << 2);
        transition take;
    }
    state fragment {
        fragment_header_t here = packet.lookahead<fragment_header_t>();
        /* A fragment of a fragment has no meaning. */
        verify(!info.first_fragment && !info.later_fragment, error.WrongFragment);
        info.first_fragment = here.offset == 0 && here.more == 1;
        info.later_fragment = here.offset != 0;
        info.more_fragments = here.more == 1;
        info.fragment_offset = (bit<32>) here.offset << 3;
        info.identification = here.identification;
        bytes = 8;
        transition take;
    }
    state take {
        info.header_length = info.header_length + bytes;
        verify(info.header_length <= info.length, error.WrongLength);
        packet.extract(extension, (bytes << 3) - 16);
        info.protocol = extension.next_header;
        transition accept;
    }
}

/*
 * An IP packet up to its transport header. `available` are the bytes that are there. A quoted packet may be cut, and
 * its checksum be stale.
 */
parser IpPacket(packet_in packet, out ip_headers_t ip, out ip_info_t info, in bit<16> ether_type,
        in bit<32> available, in bool quoted) {
    ExtensionHeader() read_extension_1;
    ExtensionHeader() read_extension_2;
    ExtensionHeader() read_extension_3;
    ExtensionHeader() read_extension_4;
    ExtensionHeader() read_extension_5;
    ExtensionHeader() read_extension_6;
    ExtensionHeader() read_extension_7;
    ExtensionHeader() read_extension_8;
    bool whole = false;

    state start {
        info = { false, 0, 0, 0, NOT_ECT, 0, 0, true, false, false, 0, false, 0 };
        transition select(ether_type) {
            ETHERTYPE_IPV4 : ipv4;
            ETHERTYPE_IPV6 : ipv6;
        }
    }
    state ipv4 {
        packet.extract(ip.ipv4);
        info.source = IPV4_MAPPED ++ ip.ipv4.source;
        info.destination = IPV4_MAPPED ++ ip.ipv4.destination;
        info.protocol = ip.ipv4.protocol;
        info.ecn = ip.ipv4.ecn;
        info.length = (bit<32>) ip.ipv4.total_length;
        info.header_length = (bit<32>) ip.ipv4.header_length << 2;
        info.first_fragment = ip.ipv4.fragment_offset == 0 && ip.ipv4.more_fragments == 1;
        info.later_fragment = ip.ipv4.fragment_offset != 0;
        info.more_fragments = ip.ipv4.more_fragments == 1;
        info.fragment_offset = (bit<32>) ip.ipv4.fragment_offset << 3;
        info.identification = (bit<32>) ip.ipv4.identification;
        verify(ip.ipv4.version == 4, error.WrongVersion);
        verify(ip.ipv4.header_length >= 5, error.HeaderTooShort);
        verify(info.header_length <= info.length, error.WrongLength);
        verify(quoted || info.length <= available, error.PacketTooShort);
        transition select(ip.ipv4.header_length) {
            5 : ipv4_plain;
            default : ipv4_options;
        }
    }
    state ipv4_options {
        info.plain = false;
        packet.extract(ip.options, (info.header_length << 3) - 160);
        whole = ipv4_is_whole_with_options(ip.ipv4, ip.options);
        transition ipv4_whole;
    }
    state ipv4_plain {
        whole = ipv4_is_whole(ip.ipv4);
        transition ipv4_whole;
    }
    state ipv4_whole {
        verify(quoted || whole, error.WrongChecksum);
        /* The last fragment may not end behind byte 65535. */
        verify(info.fragment_offset + info.length <= 65535, error.WrongFragment);
        transition fragments;
    }
    state ipv6 {
        packet.extract(ip.ipv6);
        info.ipv6 = true;
        info.source = ip.ipv6.source;
        info.destination = ip.ipv6.destination;
        info.protocol = ip.ipv6.next_header;
        info.ecn = ip.ipv6.ecn;
        info.length = 40 + (bit<32>) ip.ipv6.payload_length;
        info.header_length = 40;
        verify(ip.ipv6.version == 6, error.WrongVersion);
        verify(quoted || info.length <= available, error.PacketTooShort);
        transition select(is_extension(info.protocol)) {
            true : extension_1;
            false : fragments;
        }
    }
    /* The headers behind the fragment header of a later fragment are not headers but a piece of the payload. */
    state extension_1 {
        read_extension_1.apply(packet, ip.extension_1, info);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_2;
            false : ipv6_fragments;
        }
    }
    state extension_2 {
        read_extension_2.apply(packet, ip.extension_2, info);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_3;
            false : ipv6_fragments;
        }
    }
    state extension_3 {
        read_extension_3.apply(packet, ip.extension_3, info);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_4;
            false : ipv6_fragments;
        }
    }
    state extension_4 {
        read_extension_4.apply(packet, ip.extension_4, info);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_5;
            false : ipv6_fragments;
        }
    }
    state extension_5 {
        read_extension_5.apply(packet, ip.extension_5, info);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_6;
            false : ipv6_fragments;
        }
    }
    state extension_6 {
        read_extension_6.apply(packet, ip.extension_6, info);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_7;
            false : ipv6_fragments;
        }
    }
    state extension_7 {
        read_extension_7.apply(packet, ip.extension_7, info);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_8;
            false : ipv6_fragments;
        }
    }
    state extension_8 {
        read_extension_8.apply(packet, ip.extension_8, info);
        verify(!is_extension(info.protocol) || info.later_fragment, error.TooManyHeaders);
        transition ipv6_fragments;
    }
    state ipv6_fragments {
        /* The reassembled packet does not count the fragment header (RFC 8200, section 4.5). */
        verify(info.fragment_offset == 0 || info.fragment_offset + info.length <= 65535 + 48, error.WrongFragment);
        transition fragments;
    }
    state fragments {
        /* All but the last bring multiples of 8 bytes. */
        verify(!info.more_fragments || (info.length - info.header_length)[2:0] == 0, error.WrongFragment);
        /* It would overwrite the TCP header of the first (RFC 1858, RFC 3128). */
        verify(!info.later_fragment || info.protocol != PROTOCOL_TCP || info.fragment_offset >= 20,
            error.WrongFragment);
        transition accept;
    }
}

parser PenstockParser(packet_in packet, out headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    IpPacket() read_outer_ip;
    IpPacket() read_ip;
    IpPacket() read_quoted_ip;
    /* Bytes behind the IP header of the (inner) packet. */
    bit<32> payload = 0;

    state start {
        metadata.part = part_t.frame;
        metadata.frame_length = input.length;
        transition select(input.port) {
            WIRE_PORT : outer_ethernet;
            default : ethernet;
        }
    }

    /* ---- From the wire ---- */

    state outer_ethernet {
        packet.extract(headers.outer.ethernet);
        transition select(headers.outer.ethernet.ether_type) {
            ETHERTYPE_IPV4 : outer_ip;
            ETHERTYPE_IPV6 : outer_ip;
            default : accept;
        }
    }
    state outer_ip {
        read_outer_ip.apply(packet, headers.outer.ip, metadata.outer, headers.outer.ethernet.ether_type,
            metadata.frame_length - 14, false);
        /* A VTEP does not fragment (RFC 7348, section 4.3). */
        transition select(metadata.outer.protocol, metadata.outer.first_fragment || metadata.outer.later_fragment) {
            (PROTOCOL_UDP, false) : outer_udp;
            default : accept;
        }
    }
    state outer_udp {
        verify(metadata.outer.length - metadata.outer.header_length >= 8, error.WrongLength);
        packet.extract(headers.outer.udp);
        verify(headers.outer.udp.length >= 8, error.WrongLength);
        verify((bit<32>) headers.outer.udp.length <= metadata.outer.length - metadata.outer.header_length,
            error.WrongLength);
        transition select(headers.outer.udp.destination_port) {
            PORT_VXLAN : vxlan;
            default : accept;
        }
    }
    state vxlan {
        verify(headers.outer.udp.length >= 16, error.WrongLength);
        packet.extract(headers.outer.vxlan);
        /* Without this flag there is no VNI (RFC 7348, section 5). */
        transition select(headers.outer.vxlan.flags) {
            0x08 &&& 0x08 : inner_ethernet;
            default : accept;
        }
    }
    state inner_ethernet {
        metadata.tunnelled = true;
        metadata.part = part_t.inner_frame;
        metadata.frame_length = (bit<32>) headers.outer.udp.length - 16;
        verify(metadata.frame_length >= 14, error.WrongLength);
        transition ethernet;
    }

    /* ---- The frame of a VM, or for one ---- */

    state ethernet {
        packet.extract(headers.ethernet);
        transition select(headers.ethernet.ether_type) {
            ETHERTYPE_IPV4 : ip;
            ETHERTYPE_IPV6 : ip;
            ETHERTYPE_ARP : arp;
            default : accept;
        }
    }
    state arp {
        packet.extract(headers.arp);
        verify(headers.arp.hardware_type == 1 && headers.arp.protocol_type == ETHERTYPE_IPV4
            && headers.arp.hardware_length == 6 && headers.arp.protocol_length == 4, error.WrongLength);
        transition accept;
    }
    state ip {
        read_ip.apply(packet, headers.ip, metadata.ip, headers.ethernet.ether_type,
            metadata.frame_length - 14, false);
        payload = metadata.ip.length - metadata.ip.header_length;
        transition select(metadata.ip.later_fragment, metadata.ip.ipv6, metadata.ip.protocol) {
            (true, _, _) : accept;
            (false, _, PROTOCOL_TCP) : tcp;
            (false, _, PROTOCOL_UDP) : udp;
            (false, false, PROTOCOL_ICMP) : icmp;
            (false, true, PROTOCOL_ICMPV6) : icmpv6;
            default : accept;
        }
    }
    state tcp {
        verify(payload >= 20, error.WrongLength);
        packet.extract(headers.tcp);
        verify(headers.tcp.data_offset >= 5, error.HeaderTooShort);
        verify((bit<32>) headers.tcp.data_offset << 2 <= payload, error.WrongLength);
        metadata.tcp_flags = headers.tcp.flags;
        metadata.source_port = headers.tcp.source_port;
        metadata.destination_port = headers.tcp.destination_port;
        transition accept;
    }
    state udp {
        verify(payload >= 8, error.WrongLength);
        packet.extract(headers.udp);
        verify(headers.udp.length >= 8, error.WrongLength);
        verify(metadata.ip.first_fragment || (bit<32>) headers.udp.length <= payload, error.WrongLength);
        metadata.source_port = headers.udp.source_port;
        metadata.destination_port = headers.udp.destination_port;
        transition accept;
    }
    state icmp {
        verify(payload >= 8, error.WrongLength);
        packet.extract(headers.icmp);
        packet.extract(headers.icmp_rest);
        metadata.icmp_type = headers.icmp.type_;
        metadata.icmp_code = headers.icmp.code;
        transition select(headers.icmp.type_) {
            0 : echo;
            8 : echo;
            /* Unreachable, quench, redirect; time exceeded, parameter problem (RFC 1122, section 3.2.2). */
            3 .. 5 : quoted_packet;
            11 .. 12 : quoted_packet;
            default : accept;
        }
    }
    state icmpv6 {
        verify(payload >= 4, error.WrongLength);
        packet.extract(headers.icmp);
        metadata.icmp_type = headers.icmp.type_;
        metadata.icmp_code = headers.icmp.code;
        transition select(headers.icmp.type_) {
            0 .. 127 : icmpv6_error;
            128 .. 129 : icmpv6_echo;
            /* Neighbour solicitation and advertisement. */
            135 .. 136 : nd_target;
            default : accept;
        }
    }
    state icmpv6_echo {
        verify(payload >= 8, error.WrongLength);
        packet.extract(headers.icmp_rest);
        transition echo;
    }
    state echo {
        metadata.source_port = headers.icmp_rest.identifier;
        metadata.destination_port = 1;
        transition accept;
    }
    state nd_target {
        verify(payload >= 24, error.WrongLength);
        packet.extract(headers.icmp_rest);
        packet.extract(headers.nd_target);
        transition accept;
    }

    /* ---- What an ICMP error quotes ---- */

    state icmpv6_error {
        verify(payload >= 8, error.WrongLength);
        packet.extract(headers.icmp_rest);
        transition quoted_packet;
    }
    state quoted_packet {
        metadata.icmp_error = true;
        metadata.part = part_t.quoted_packet;
        read_quoted_ip.apply(packet, headers.quoted_ip, metadata.quoted, headers.ethernet.ether_type, payload - 8, true);
        verify(!metadata.quoted.later_fragment, error.WrongFragment);
        transition select(metadata.quoted.ipv6, metadata.quoted.protocol) {
            (_, PROTOCOL_TCP) : quoted_ports;
            (_, PROTOCOL_UDP) : quoted_ports;
            (false, PROTOCOL_ICMP) : quoted_icmp;
            (true, PROTOCOL_ICMPV6) : quoted_icmp;
            default : accept;
        }
    }
    state quoted_ports {
        verify(payload >= 16 + metadata.quoted.header_length, error.PacketTooShort);
        packet.extract(headers.quoted_transport);
        metadata.quoted_source_port = headers.quoted_transport.word_0;
        metadata.quoted_destination_port = headers.quoted_transport.word_1;
        transition accept;
    }
    state quoted_icmp {
        verify(payload >= 16 + metadata.quoted.header_length, error.PacketTooShort);
        packet.extract(headers.quoted_transport);
        transition select(metadata.quoted.ipv6, headers.quoted_transport.word_0[15:8]) {
            (false, 0) : quoted_echo;
            (false, 8) : quoted_echo;
            (true, 128 .. 129) : quoted_echo;
            default : accept;
        }
    }
    state quoted_echo {
        metadata.quoted_source_port = headers.quoted_transport.word_2;
        metadata.quoted_destination_port = 1;
        transition accept;
    }
}

#endif
