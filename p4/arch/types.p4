/* What is the same on every architecture: ports, addresses, what comes in and goes out, and what connections are. */
#ifndef TYPES_P4
#define TYPES_P4

typedef bit<16> port_t;
/* The wire. The VF n is port n + 1. */
const port_t WIRE_PORT = 0;
/* The kernel beside us, on the Arm cores, where it has a port. */
const port_t KERNEL_PORT = 0xfffe;

/* An interface of the whole cloud; 0 is none. */
typedef bit<32> interface_t;
/*
 * An address of either family: the IP version, and the address in the last 32 or 128 bits. An IPv6 address is none of IPv4,
 * whatever it looks like (::ffff:a.b.c.d).
 */
typedef bit<136> address_t;
const bit<104> IPV4 = 0x04000000000000000000000000;
const bit<8> IPV6 = 0x06;

/* ---- What comes in, what goes out ---- */

enum verdict_t {
    drop,
    forward,
    reply,
    /* The node has learned from it, and nobody else gets it. */
    consume
}

/* Why a packet ends: the names that metrics, traces and captures show. Names are added, never changed. */
enum bit<8> drop_reason_t {
    none = 0,
    malformed = 1,
    unsupported_ethertype = 2,
    not_our_vtep = 3,
    unknown_vni = 4,
    unknown_destination = 5,
    overlay_source_mismatch = 6,
    spoofed_source = 7,
    broadcast = 8,
    security_group_egress = 9,
    security_group_ingress = 10,
    network_acl = 11,
    no_route = 12,
    blackhole_route = 13,
    no_mapping = 14,
    unresolved_neighbor = 15,
    tcp_not_syn = 16,
    fragment_without_first = 17,
    related_unknown = 18,
    ttl_expired = 19,
    too_big = 20,
    interface_down = 21,
    interface_quota = 22,
    rate_limited = 23,
    ecn_not_capable = 24
}

/* Who answers a packet in the network's stead. */
enum bit<8> responder_t {
    none = 0,
    arp = 1,
    neighbor_discovery = 2,
    dhcpv4 = 3,
    dhcpv6 = 4,
    gateway_ping = 5,
    too_big = 6
}

struct nic_input_t {
    port_t port;
    /* Bytes of the frame. */
    bit<32> length;
    error parser_error;
    /* There is no packet: entries have changed, and a connection is to be decided again. */
    bool recheck;
}

struct nic_output_t {
    verdict_t verdict;
    port_t port;
    drop_reason_t reason;
    responder_t responder;
}

/* ---- Connection tracking ---- */

/* Where a packet comes from: from the VM of an interface, or from the network to that interface. */
struct zone_t {
    interface_t interface;
    bool from_network;
}

/*
 * Ports are 0 where there are none. Of an ICMP echo the source port is the identifier and the destination port the
 * message type, so that a reply answers a request and no request another; of other ICMP messages the destination port
 * is NOT_ECHO.
 */
struct tuple_t {
    address_t source;
    address_t destination;
    bit<8> protocol;
    bit<16> source_port;
    bit<16> destination_port;
}

/* One direction of a connection. */
struct connection_key_t {
    zone_t zone;
    tuple_t flow;
}

/* A connection, as its first packet was. Compilers let externs give flat structs only. */
struct connection_t {
    /* The zone. */
    interface_t zone_interface;
    bool from_network;
    address_t source;
    address_t destination;
    bit<8> protocol;
    bit<16> source_port;
    bit<16> destination_port;
    bit<8> icmp_type;
    bit<8> icmp_code;
    /* The interface in the key of its answers. */
    interface_t answers_interface;
    /* This packet is an answer. */
    bool reply;
}

/* What the fragments of a packet have in common. The protocol counts for IPv4 only (RFC 791, RFC 8200). */
struct fragment_t {
    zone_t zone;
    address_t source;
    address_t destination;
    bit<8> protocol;
    bit<32> identification;
    bool ipv6;
}

/* Why a connection leaves that is not at its end. */
enum removal_t {
    /* It is no longer allowed. */
    policy,
    /* One of its interfaces is gone. */
    interface_removed
}

#endif
