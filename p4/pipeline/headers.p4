/* What packets consist of, and what the pipeline knows of a packet. */
#ifndef HEADERS_P4
#define HEADERS_P4

const bit<16> ETHERTYPE_IPV4 = 0x0800;
const bit<16> ETHERTYPE_ARP = 0x0806;
const bit<16> ETHERTYPE_IPV6 = 0x86dd;

const bit<8> PROTOCOL_HOP_BY_HOP = 0;
const bit<8> PROTOCOL_ICMP = 1;
const bit<8> PROTOCOL_TCP = 6;
const bit<8> PROTOCOL_UDP = 17;
const bit<8> PROTOCOL_ROUTING = 43;
const bit<8> PROTOCOL_FRAGMENT = 44;
const bit<8> PROTOCOL_AUTHENTICATION = 51;
const bit<8> PROTOCOL_ICMPV6 = 58;
const bit<8> PROTOCOL_DESTINATION_OPTIONS = 60;
const bit<8> PROTOCOL_MOBILITY = 135;
const bit<8> PROTOCOL_HIP = 139;
const bit<8> PROTOCOL_SHIM6 = 140;

const bit<16> PORT_VXLAN = 4789;

/* The destination port of an ICMP message that is no echo. */
const bit<16> NOT_ECHO = 0xffff;

const bit<8> ICMP_ECHO_REPLY = 0;
const bit<8> ICMP_ECHO = 8;
const bit<8> ICMPV6_ECHO = 128;
const bit<8> ICMPV6_ECHO_REPLY = 129;
const bit<8> ROUTER_SOLICITATION = 133;
const bit<8> NEIGHBOR_SOLICITATION = 135;
const bit<8> NEIGHBOR_ADVERTISEMENT = 136;
const bit<8> REDIRECT = 137;

const bit<16> ARP_REQUEST = 1;
const bit<16> ARP_REPLY = 2;

const bit<2> NOT_ECT = 0;
const bit<2> ECT_1 = 1;
const bit<2> ECT_0 = 2;
const bit<2> CE = 3;

/* Addresses and prefixes with a meaning of their own, and the masks of the latter. */
const address_t IPV4_UNSPECIFIED = IPV4 ++ 32w0;
const address_t IPV4_BROADCAST = IPV4 ++ 32w0xffffffff;
const address_t IPV4_MULTICAST = IPV4 ++ 32w0xe0000000;
const address_t IPV6_UNSPECIFIED = IPV6 ++ 128w0;
const address_t IPV6_MULTICAST = IPV6 ++ 128w0xff000000000000000000000000000000;
const address_t LINK_LOCAL = IPV6 ++ 128w0xfe800000000000000000000000000000;
const address_t FIRST_4_OF_IPV4 = 0xfffffffffffffffffffffffffff0000000;
const address_t FIRST_8_OF_IPV6 = 0xffff000000000000000000000000000000;
const address_t FIRST_10_OF_IPV6 = 0xffffc00000000000000000000000000000;

/* ---- Headers ---- */

header ethernet_t {
    bit<48> destination;
    bit<48> source;
    bit<16> ether_type;
}

header arp_t {
    bit<16> hardware_type;
    bit<16> protocol_type;
    bit<8> hardware_length;
    bit<8> protocol_length;
    bit<16> operation;
    bit<48> sender_mac;
    bit<32> sender_address;
    bit<48> target_mac;
    bit<32> target_address;
}

header ipv4_t {
    bit<4> version;
    bit<4> header_length;
    bit<6> dscp;
    bit<2> ecn;
    bit<16> total_length;
    bit<16> identification;
    bit<1> reserved;
    bit<1> dont_fragment;
    bit<1> more_fragments;
    bit<13> fragment_offset;
    bit<8> ttl;
    bit<8> protocol;
    bit<16> checksum;
    bit<32> source;
    bit<32> destination;
}

header ipv4_options_t {
    varbit<320> bytes;
}

header ipv6_t {
    bit<4> version;
    bit<6> dscp;
    bit<2> ecn;
    bit<20> flow_label;
    bit<16> payload_length;
    bit<8> next_header;
    bit<8> hop_limit;
    bit<128> source;
    bit<128> destination;
}

/* Any IPv6 extension header, the fragment header included. */
header extension_t {
    bit<8> next_header;
    bit<8> length;
    varbit<16368> bytes;
}

header fragment_header_t {
    bit<8> next_header;
    bit<8> reserved;
    bit<13> offset;
    bit<2> reserved_too;
    bit<1> more;
    bit<32> identification;
}

header tcp_t {
    bit<16> source_port;
    bit<16> destination_port;
    bit<32> sequence;
    bit<32> acknowledgment;
    bit<4> data_offset;
    bit<4> reserved;
    bit<8> flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent;
}

header udp_t {
    bit<16> source_port;
    bit<16> destination_port;
    bit<16> length;
    bit<16> checksum;
}

header icmp_t {
    bit<8> type_;
    bit<8> code;
    bit<16> checksum;
}

/* The second word of an echo; of an error, what depends on its type. */
header icmp_rest_t {
    bit<16> identifier;
    bit<16> sequence;
}

/* What a neighbour solicitation asks for, or an advertisement tells of. */
header nd_target_t {
    bit<128> address;
}

/* The first 8 bytes behind a quoted IP header: all that a router must quote (RFC 792). */
header quoted_transport_t {
    bit<16> word_0;
    bit<16> word_1;
    bit<16> word_2;
    bit<16> word_3;
}

header vxlan_t {
    bit<8> flags;
    bit<24> reserved;
    bit<24> vni;
    bit<8> reserved_too;
}

/* An IP header with all that may stand between it and the transport. */
struct ip_headers_t {
    ipv4_t ipv4;
    ipv4_options_t options;
    ipv6_t ipv6;
    extension_t extension_1;
    extension_t extension_2;
    extension_t extension_3;
    extension_t extension_4;
    extension_t extension_5;
    extension_t extension_6;
    extension_t extension_7;
    extension_t extension_8;
}

/* What stands behind the IP headers. */
struct transport_headers_t {
    tcp_t tcp;
    udp_t udp;
    icmp_t icmp;
    icmp_rest_t icmp_rest;
    nd_target_t nd_target;
}

/* All that comes in by the wire; of a tunnel packet, what is around the inner frame. */
struct outer_headers_t {
    ethernet_t ethernet;
    arp_t arp;
    ip_headers_t ip;
    transport_headers_t transport;
    vxlan_t vxlan;
}

/* In the order in which they are on the wire. `outer` is there for what comes in by the wire or leaves by it. */
struct headers_t {
    outer_headers_t outer;
    ethernet_t ethernet;
    arp_t arp;
    ip_headers_t ip;
    transport_headers_t transport;
    ip_headers_t quoted_ip;
    quoted_transport_t quoted_transport;
}

/* ---- What is known of a packet ---- */

/* An IP packet, whatever its family. */
struct ip_info_t {
    bool ipv6;
    address_t source;
    address_t destination;
    bit<8> protocol;
    bit<2> ecn;
    bit<8> ttl;
    /* Bytes of the whole packet, and of all its headers before the transport. */
    bit<32> length;
    bit<32> header_length;
    /* No options and no extension headers. */
    bool plain;
    bool first_fragment;
    bool later_fragment;
    bit<32> fragment_offset;
    bool more_fragments;
    bit<32> identification;
    /* IPv6, and there was a fragment header, if only that of an atomic fragment (RFC 6946). */
    bool fragment_header;
}

/* What stands behind the IP header, whatever it is. */
struct transport_info_t {
    bit<16> source_port;
    bit<16> destination_port;
    bit<8> tcp_flags;
    bit<8> icmp_type;
    bit<8> icmp_code;
    bool icmp_error;
    /* The checksum of a UDP datagram or an ICMP message is right. */
    bool intact;
    /* Of neighbour discovery: its options are in order, and have a MAC. */
    bool options_in_order;
    bool has_link_layer;
    bit<48> link_layer;
}

/* What a message of ARP or neighbour discovery says. */
struct heard_t {
    /* It asks for the MAC of an address. */
    bool asks;
    address_t asked;
    /* It tells of an address: its MAC, or, without one, that what is known still holds. */
    bool tells;
    address_t told;
    bool has_mac;
    bit<48> mac;
    /* Another MAC than the known one takes its place. */
    bool replaces;
}

/* How far the parser came: an error says something of this part only. */
enum part_t {
    frame,
    inner_frame,
    quoted_packet
}

/* What is done to the headers of a packet that leaves. */
enum rewrite_t {
    nothing,
    /* Put on the outer headers of `metadata.tunnel`. */
    encapsulate,
    /* Take the outer headers off. */
    decapsulate
}

/* What an interface is. */
struct interface_info_t {
    bool exists;
    bool enabled;
    port_t port;
    bool anti_spoof;
    bit<48> mac;
    bit<24> vni;
    bit<16> subnet;
    bit<16> route_table;
    bit<32> mtu;
}

/* The way to a receiver: an interface here or elsewhere. */
struct way_t {
    interface_t receiver;
    bool local;
    port_t port;
    bit<32> tunnel;
    bit<16> subnet;
    bit<48> mac;
    bit<48> gateway_mac;
}

struct metadata_t {
    /* The parser's. */
    part_t part;
    /* Bytes of the frame; of a tunnel packet, of the inner one. */
    bit<32> frame_length;
    bool tunnelled;
    /* By the wire, and not for the VPCs. */
    bool for_the_node;
    /* The node has learned from it. */
    bool learned;
    ip_info_t outer;
    transport_info_t outer_transport;
    ip_info_t ip;
    ip_info_t quoted;
    bit<8> tcp_flags;
    bit<8> icmp_type;
    bit<8> icmp_code;
    bool icmp_error;
    /* As in `transport_info_t`. */
    bool intact;
    bool options_in_order;
    bool has_link_layer;
    bit<16> source_port;
    bit<16> destination_port;
    bit<16> quoted_source_port;
    bit<16> quoted_destination_port;

    /* Where the packet comes from: the interface whose VM sent it, or for which the wire brought it. */
    zone_t zone;
    interface_info_t interface;
    bool own_address;

    /* The key by which its connection is found, and whether it only tells of that: an ICMP error. */
    connection_key_t key;
    bool related;
    /* The connection, as its first packet was, or would be if this is the first. */
    bool known;
    connection_t connection;
    /* What its answers are found by. */
    connection_key_t answers;
    /* An ICMP message of another kind than the first: policy is asked about this one. */
    bool another_message;
    /* The first packet's way, and then the one of this packet. */
    way_t way;
    /* A connection is involved: it is recorded, or goes on. */
    bool tracked;

    /* What becomes of it. */
    bool decided;
    verdict_t verdict;
    drop_reason_t reason;
    responder_t responder;
    port_t out_port;
    bit<32> tunnel;
    rewrite_t rewrite;
}

/* ---- Words for addresses and messages ---- */

bool is_ipv6(in address_t address) {
    return address[135:128] == IPV6;
}

bool is_group(in bit<48> mac) {
    return mac[40:40] == 1;
}

/* Whether a MAC can be that of one station. */
bool is_station(in bit<48> mac) {
    return !is_group(mac) && mac != 0;
}

/* Multicast, or the broadcast address of all. */
bool is_group_address(in address_t address) {
    return is_ipv6(address)
        ? address[127:120] == 0xff
        : address[31:28] == 0xe || address[31:0] == 0xffffffff;
}

bool is_unspecified(in address_t address) {
    return address[127:0] == 0;
}

bool is_loopback(in address_t address) {
    return is_ipv6(address) ? address[127:0] == 1 : address[31:24] == 127;
}

/* The group in which the owner of an address listens (RFC 4291, section 2.7.1). */
address_t solicited_node(in address_t address) {
    return IPV6 ++ 104w0xff0200000000000000000001ff ++ address[23:0];
}

bool is_neighbor_discovery(in metadata_t metadata) {
    return metadata.ip.ipv6 && metadata.ip.protocol == PROTOCOL_ICMPV6 && metadata.icmp_type >= ROUTER_SOLICITATION
        && metadata.icmp_type <= REDIRECT;
}

bool is_router_solicitation(in metadata_t metadata) {
    return metadata.ip.ipv6 && metadata.ip.protocol == PROTOCOL_ICMPV6 && metadata.icmp_type == ROUTER_SOLICITATION;
}

bool is_icmp(in ip_info_t ip) {
    return ip.protocol == (ip.ipv6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP);
}

bool is_echo_request(in metadata_t metadata) {
    return is_icmp(metadata.ip) && metadata.icmp_type == (metadata.ip.ipv6 ? ICMPV6_ECHO : ICMP_ECHO);
}

bool is_supported(in headers_t headers) {
    return headers.arp.isValid() || headers.ip.ipv4.isValid() || headers.ip.ipv6.isValid();
}

#endif
