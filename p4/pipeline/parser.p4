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
    WrongOptions,
    ErrorInError
}

bool is_ipv4_over_ethernet(in arp_t arp) {
    return arp.hardware_type == 1 && arp.protocol_type == ETHERTYPE_IPV4 && arp.hardware_length == 6
        && arp.protocol_length == 4;
}

bool is_extension(in bit<8> protocol) {
    return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_FRAGMENT
        || protocol == PROTOCOL_AUTHENTICATION || protocol == PROTOCOL_DESTINATION_OPTIONS
        || protocol == PROTOCOL_MOBILITY || protocol == PROTOCOL_HIP || protocol == PROTOCOL_SHIM6;
}

/* One extension header, in an IP packet of which so many bytes are there. What comes next is left in `info.protocol`. */
parser ExtensionHeader(packet_in packet, out extension_t extension, inout ip_info_t info, in bit<32> available) {
    bit<16> head = 0;
    bit<32> bytes = 0;
    bool has_options = false;

    state start {
        head = packet.lookahead<bit<16>>();
        info.plain = false;
        transition select(info.protocol) {
            PROTOCOL_HOP_BY_HOP : hop_by_hop;
            PROTOCOL_FRAGMENT : fragment;
            PROTOCOL_AUTHENTICATION : authentication;
            PROTOCOL_DESTINATION_OPTIONS : options;
            default : plain;
        }
    }
    state hop_by_hop {
        /* RFC 8200, section 4.1: directly behind the IPv6 header, or not at all. */
        verify(info.header_length == 40, error.WrongHeaderOrder);
        transition options;
    }
    state options {
        has_options = true;
        transition plain;
    }
    state plain {
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
        verify(!info.fragment_header, error.WrongFragment);
        info.fragment_header = true;
        info.first_fragment = here.offset == 0 && here.more == 1;
        info.later_fragment = here.offset != 0;
        info.more_fragments = here.more == 1;
        info.fragment_offset = (bit<32>) here.offset << 3;
        info.identification = here.identification;
        verify(info.header_length + 8 <= info.length, error.WrongLength);
        verify(!info.more_fragments || (info.length - info.header_length)[2:0] == 0, error.WrongFragment);
        /* The reassembled packet does not count the fragment header (RFC 8200, section 4.5). */
        verify(info.fragment_offset + info.length <= 65535 + 48, error.WrongFragment);
        bytes = 8;
        transition take;
    }
    state take {
        info.header_length = info.header_length + bytes;
        verify(info.header_length <= info.length && info.header_length <= available, error.WrongLength);
        packet.extract(extension, (bytes << 3) - 16);
        verify(!has_options || options_are_well_formed(extension), error.WrongOptions);
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
        info = { false, 0, 0, 0, NOT_ECT, 0, 0, 0, true, false, false, 0, false, 0, false };
        transition select(ether_type) {
            ETHERTYPE_IPV4 : ipv4;
            ETHERTYPE_IPV6 : ipv6;
        }
    }
    state ipv4 {
        verify(available >= 20, error.PacketTooShort);
        packet.extract(ip.ipv4);
        info.source = IPV4 ++ ip.ipv4.source;
        info.destination = IPV4 ++ ip.ipv4.destination;
        info.protocol = ip.ipv4.protocol;
        info.ecn = ip.ipv4.ecn;
        info.ttl = ip.ipv4.ttl;
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
        verify(info.header_length <= available, error.PacketTooShort);
        packet.extract(ip.options, (info.header_length << 3) - 160);
        verify(ipv4_options_fit(ip.options), error.WrongOptions);
        whole = ipv4_is_whole_with_options(ip.ipv4, ip.options);
        transition ipv4_whole;
    }
    state ipv4_plain {
        whole = ipv4_is_whole(ip.ipv4);
        transition ipv4_whole;
    }
    state ipv4_whole {
        verify(quoted || whole, error.WrongChecksum);
        /* The last fragment may not end behind byte 65535, and all others bring multiples of 8 bytes. */
        verify(!info.later_fragment && !info.more_fragments || info.fragment_offset + info.length <= 65535,
            error.WrongFragment);
        verify(!info.more_fragments || (info.length - info.header_length)[2:0] == 0, error.WrongFragment);
        transition fragments;
    }
    state ipv6 {
        verify(available >= 40, error.PacketTooShort);
        packet.extract(ip.ipv6);
        info.ipv6 = true;
        info.source = IPV6 ++ ip.ipv6.source;
        info.destination = IPV6 ++ ip.ipv6.destination;
        info.protocol = ip.ipv6.next_header;
        info.ecn = ip.ipv6.ecn;
        info.ttl = ip.ipv6.hop_limit;
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
        read_extension_1.apply(packet, ip.extension_1, info, available);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_2;
            false : fragments;
        }
    }
    state extension_2 {
        read_extension_2.apply(packet, ip.extension_2, info, available);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_3;
            false : fragments;
        }
    }
    state extension_3 {
        read_extension_3.apply(packet, ip.extension_3, info, available);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_4;
            false : fragments;
        }
    }
    state extension_4 {
        read_extension_4.apply(packet, ip.extension_4, info, available);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_5;
            false : fragments;
        }
    }
    state extension_5 {
        read_extension_5.apply(packet, ip.extension_5, info, available);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_6;
            false : fragments;
        }
    }
    state extension_6 {
        read_extension_6.apply(packet, ip.extension_6, info, available);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_7;
            false : fragments;
        }
    }
    state extension_7 {
        read_extension_7.apply(packet, ip.extension_7, info, available);
        transition select(is_extension(info.protocol) && !info.later_fragment) {
            true : extension_8;
            false : fragments;
        }
    }
    state extension_8 {
        read_extension_8.apply(packet, ip.extension_8, info, available);
        verify(!is_extension(info.protocol) || info.later_fragment, error.TooManyHeaders);
        transition fragments;
    }
    state fragments {
        /* It would overwrite the TCP header of the first (RFC 1858, RFC 3128). */
        verify(!info.later_fragment || info.protocol != PROTOCOL_TCP || info.fragment_offset >= 20,
            error.WrongFragment);
        transition accept;
    }
}

/*
 * What stands behind the IP headers: its lengths against the packet's, ports, and whether its checksum is right. Only
 * the node itself minds the checksum: that of what it forwards is the endpoints' business.
 */
parser Transport(packet_in packet, out transport_headers_t headers, out transport_info_t info, in ip_info_t ip) {
    /* Bytes behind the IP headers. */
    bit<32> payload = 0;

    state start {
        info = { 0, 0, 0, 0, 0, false, false, false, false, 0 };
        payload = ip.length - ip.header_length;
        transition select(ip.later_fragment, ip.ipv6, ip.protocol) {
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
        info.tcp_flags = headers.tcp.flags;
        info.source_port = headers.tcp.source_port;
        info.destination_port = headers.tcp.destination_port;
        transition accept;
    }
    state udp {
        verify(payload >= 8, error.WrongLength);
        packet.extract(headers.udp);
        verify(headers.udp.length >= 8, error.WrongLength);
        verify(ip.first_fragment || (bit<32>) headers.udp.length <= payload, error.WrongLength);
        info.source_port = headers.udp.source_port;
        info.destination_port = headers.udp.destination_port;
        /* Without a checksum on IPv4, and in tunnels on IPv6 (RFC 6935). */
        info.intact = headers.udp.checksum == 0 || (!ip.first_fragment && udp_is_intact(ip, headers.udp));
        transition accept;
    }
    state icmp {
        verify(payload >= 8, error.WrongLength);
        info.intact = icmp_is_intact(ip, payload);
        packet.extract(headers.icmp);
        packet.extract(headers.icmp_rest);
        info.icmp_type = headers.icmp.type_;
        info.icmp_code = headers.icmp.code;
        info.destination_port = NOT_ECHO;
        transition select(headers.icmp.type_) {
            ICMP_ECHO_REPLY : echo;
            ICMP_ECHO : echo;
            /* Unreachable, quench, redirect; time exceeded, parameter problem (RFC 1122, section 3.2.2). */
            3 .. 5 : icmp_error;
            11 .. 12 : icmp_error;
            default : accept;
        }
    }
    state icmpv6 {
        verify(payload >= 4, error.WrongLength);
        info.intact = icmp_is_intact(ip, payload);
        packet.extract(headers.icmp);
        info.icmp_type = headers.icmp.type_;
        info.icmp_code = headers.icmp.code;
        info.destination_port = NOT_ECHO;
        transition select(headers.icmp.type_) {
            0 .. 127 : icmpv6_error;
            ICMPV6_ECHO : icmpv6_echo;
            ICMPV6_ECHO_REPLY : icmpv6_echo;
            ROUTER_SOLICITATION : router_solicitation;
            NEIGHBOR_SOLICITATION : neighbor;
            NEIGHBOR_ADVERTISEMENT : neighbor;
            default : accept;
        }
    }
    state icmpv6_echo {
        verify(payload >= 8, error.WrongLength);
        packet.extract(headers.icmp_rest);
        transition echo;
    }
    state echo {
        info.source_port = headers.icmp_rest.identifier;
        info.destination_port = (bit<16>) info.icmp_type;
        transition accept;
    }
    state icmpv6_error {
        verify(payload >= 8, error.WrongLength);
        packet.extract(headers.icmp_rest);
        transition icmp_error;
    }
    state icmp_error {
        info.icmp_error = true;
        transition accept;
    }

    /* Neighbour discovery that is cut short is not in order, but may be carried. */
    state router_solicitation {
        transition select(payload >= 8) {
            true : router_options;
            false : accept;
        }
    }
    state router_options {
        packet.extract(headers.icmp_rest);
        info.options_in_order = neighbor_options(1, payload - 8, info.has_link_layer, info.link_layer);
        transition accept;
    }
    state neighbor {
        transition select(payload >= 24) {
            true : neighbor_target;
            false : accept;
        }
    }
    state neighbor_target {
        packet.extract(headers.icmp_rest);
        packet.extract(headers.nd_target);
        info.options_in_order = neighbor_options(headers.icmp.type_ == NEIGHBOR_SOLICITATION ? 8w1 : 8w2,
            payload - 24, info.has_link_layer, info.link_layer);
        transition accept;
    }
}

parser PenstockParser(packet_in packet, out headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    IpPacket() read_outer_ip;
    Transport() read_outer_transport;
    IpPacket() read_ip;
    Transport() read_transport;
    IpPacket() read_quoted_ip;
    transport_info_t transport = { 0, 0, 0, 0, 0, false, false, false, false, 0 };
    /* Bytes of a message that quotes a packet. */
    bit<32> payload = 0;

    state start {
        metadata.part = part_t.frame;
        metadata.frame_length = input.length;
        transition select(input.port) {
            WIRE_PORT : outer_ethernet;
            KERNEL_PORT : accept;
            default : ethernet;
        }
    }

    /* ---- From the wire ---- */

    state outer_ethernet {
        packet.extract(headers.outer.ethernet);
        transition select(headers.outer.ethernet.ether_type) {
            ETHERTYPE_IPV4 : outer_ip;
            ETHERTYPE_IPV6 : outer_ip;
            ETHERTYPE_ARP : outer_arp;
            default : accept;
        }
    }
    state outer_arp {
        packet.extract(headers.outer.arp);
        verify(is_ipv4_over_ethernet(headers.outer.arp), error.WrongLength);
        transition accept;
    }
    state outer_ip {
        read_outer_ip.apply(packet, headers.outer.ip, metadata.outer, headers.outer.ethernet.ether_type,
            metadata.frame_length - 14, false);
        read_outer_transport.apply(packet, headers.outer.transport, metadata.outer_transport, metadata.outer);
        /* A VTEP does not fragment (RFC 7348, section 4.3). */
        transition select(metadata.outer.protocol, metadata.outer.first_fragment || metadata.outer.later_fragment,
                metadata.outer_transport.destination_port) {
            (PROTOCOL_UDP, false, PORT_VXLAN) : vxlan;
            default : accept;
        }
    }
    state vxlan {
        /* A sender that wrote a checksum wants it looked at. */
        verify(metadata.outer_transport.intact, error.WrongChecksum);
        verify(headers.outer.transport.udp.length >= 16, error.WrongLength);
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
        /* What trails the datagram is carried along, as it is when a NIC takes the outer headers off. */
        metadata.frame_length = metadata.frame_length - 30 - metadata.outer.header_length;
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
        verify(is_ipv4_over_ethernet(headers.arp), error.WrongLength);
        transition accept;
    }
    state ip {
        read_ip.apply(packet, headers.ip, metadata.ip, headers.ethernet.ether_type,
            metadata.frame_length - 14, false);
        read_transport.apply(packet, headers.transport, transport, metadata.ip);
        metadata.source_port = transport.source_port;
        metadata.destination_port = transport.destination_port;
        metadata.tcp_flags = transport.tcp_flags;
        metadata.icmp_type = transport.icmp_type;
        metadata.icmp_code = transport.icmp_code;
        metadata.icmp_error = transport.icmp_error;
        metadata.intact = transport.intact;
        metadata.options_in_order = transport.options_in_order;
        metadata.has_link_layer = transport.has_link_layer;
        payload = metadata.ip.length - metadata.ip.header_length;
        transition select(metadata.icmp_error) {
            true : quoted_packet;
            false : accept;
        }
    }

    /* ---- What an ICMP error quotes ---- */

    state quoted_packet {
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
        verify(metadata.quoted.length >= 8 + metadata.quoted.header_length, error.WrongLength);
        packet.extract(headers.quoted_transport);
        metadata.quoted_source_port = headers.quoted_transport.word_0;
        metadata.quoted_destination_port = headers.quoted_transport.word_1;
        transition accept;
    }
    state quoted_icmp {
        verify(payload >= 16 + metadata.quoted.header_length, error.PacketTooShort);
        verify(metadata.quoted.length >= 8 + metadata.quoted.header_length, error.WrongLength);
        packet.extract(headers.quoted_transport);
        metadata.quoted_destination_port = NOT_ECHO;
        transition select(metadata.quoted.ipv6, headers.quoted_transport.word_0[15:8]) {
            (false, ICMP_ECHO_REPLY) : quoted_echo;
            (false, ICMP_ECHO) : quoted_echo;
            (true, ICMPV6_ECHO) : quoted_echo;
            (true, ICMPV6_ECHO_REPLY) : quoted_echo;
            (false, 3 .. 5) : quoted_error;
            (false, 11 .. 12) : quoted_error;
            (true, 0 .. 127) : quoted_error;
            default : accept;
        }
    }
    /* Nobody tells of errors in errors (RFC 1122, section 3.2.2; RFC 4443, section 2.4 (e)). `reject` alone names no error. */
    state quoted_error {
        verify(false, error.ErrorInError);
        transition reject;
    }
    state quoted_echo {
        metadata.quoted_source_port = headers.quoted_transport.word_2;
        metadata.quoted_destination_port = (bit<16>) headers.quoted_transport.word_0[15:8];
        transition accept;
    }
}

#endif
