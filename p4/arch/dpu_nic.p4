/*
 * The architecture of a DPU's NIC as Penstock's contract sees it: a packet comes in at a port, is parsed, decided
 * upon, and either leaves by one port, is answered by a responder of the node itself, or is dropped for a reason.
 *
 * What P4-16 leaves undefined is zero here: variables without a value, `out` parameters at first, and metadata at the
 * parser's start. Headers are invalid at first. To read or write a field of an invalid header is a fault.
 *
 * A packet that the parser rejects still comes to the main control, which sees the error and names the reason.
 * What the parser has not extracted follows what the deparser emits.
 */
#ifndef DPU_NIC_P4
#define DPU_NIC_P4

#include <core.p4>

match_kind {
    /* A value, or anything. */
    optional
}

typedef bit<16> port_t;
/* The wire. The VF n is port n + 1. */
const port_t WIRE_PORT = 0;

/* An interface of the whole cloud; 0 is none. */
typedef bit<32> interface_t;
/* IPv4 addresses are written ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2). */
typedef bit<128> address_t;

/* ---- What comes in, what goes out ---- */

enum verdict_t {
    drop,
    forward,
    reply
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
    error parser_error;
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
 * Ports are 0 where there are none. Of an ICMP echo and its reply the source port is the identifier and the destination
 * port is 1, in both directions.
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

/* A connection, as its first packet was. An interface of 0 is beyond the wire. */
struct connection_t {
    interface_t initiator;
    interface_t responder;
    tuple_t flow;
    bit<8> icmp_type;
    bit<8> icmp_code;
    /* This packet goes against the direction of the first. */
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

enum created_t {
    created,
    /* TCP in mid-stream, and no pick-up. */
    not_syn,
    /* As many connections as the interface, or the table, may have. */
    quota
}

/* All connections of a node. Time passes by itself: what was silent for its timeout is not found. */
extern Conntrack {
    Conntrack(bit<32> connections, bit<32> connections_of_an_interface);

    /* The connection of a packet. A SYN does not find one that is closing. Changes nothing. */
    bool lookup(in connection_key_t key, in bit<8> tcp_flags, out connection_t connection);
    /* The connection that an ICMP error belongs to, by the key of a packet that would answer the quoted one. */
    bool related(in connection_key_t key, out connection_t connection);
    /* Records a connection by the keys of both directions. */
    created_t create(in connection_key_t key, in connection_key_t reverse, in interface_t initiator,
        in interface_t responder, in bit<8> icmp_type, in bit<8> icmp_code, in bit<8> tcp_flags, in bool pick_up);
    /* A packet of the connection is forwarded. */
    void update(in connection_key_t key, in bit<8> tcp_flags);
    /* The connection is no longer allowed. */
    void remove(in connection_key_t key);

    /* A first fragment is forwarded: the others follow it. */
    void remember_fragment(in fragment_t fragment, in bit<16> source_port, in bit<16> destination_port,
        in bit<8> protocol);
    bool find_fragment(in fragment_t fragment, out bit<16> source_port, out bit<16> destination_port,
        out bit<8> protocol);
}

/* ---- Counters, meters, sums ---- */

/* Packets and bytes. */
extern Counter {
    Counter(bit<32> cells);
    void count(in bit<32> cell);
}

enum meter_color_t {
    green,
    yellow,
    red
}

/* RFC 2697 or RFC 2698, as its cells are configured; a cell without rates is always green. */
extern Meter {
    Meter(bit<32> cells);
    meter_color_t execute(in bit<32> cell);
}

/* RFC 1071. */
extern bit<16> internet_checksum<T>(in T data);

/* CRC-16 with the polynomial 0x100b: what the NIC puts into the source port of a tunnel packet, but for its two upper bits. */
extern bit<16> encapsulation_hash<T>(in T data);

/* ---- The blocks ---- */

parser PacketParser<H, M>(packet_in packet, out H headers, inout M metadata, in nic_input_t input);
control MainControl<H, M>(inout H headers, inout M metadata, in nic_input_t input, out nic_output_t output);
control PacketDeparser<H>(packet_out packet, in H headers);

package DpuNic<H, M>(
    PacketParser<H, M> packet_parser,
    MainControl<H, M> main_control,
    PacketDeparser<H> packet_deparser);

#endif
