/*
 * The architecture of a DPU's NIC as Penstock's contract sees it: a packet comes in at a port, is parsed, decided
 * upon, and either leaves by one port, is answered by a responder of the node itself, or is dropped for a reason.
 *
 * What P4-16 leaves undefined is zero here: variables without a value, `out` parameters at first, and metadata at the
 * parser's start. Headers are invalid at first. To read or write a field of an invalid header is a fault.
 *
 * A packet that the parser rejects still comes to the main control, which sees the error and names the reason.
 * When entries have changed, the main control runs once for each connection, without a packet.
 * What the parser has not extracted follows what the deparser emits.
 */
#ifndef DPU_NIC_P4
#define DPU_NIC_P4

#include <core.p4>

match_kind {
    /* A value, or anything. */
    optional
}

#include "types.p4"

/*
 * All connections of a node. Time passes by itself: what was silent for its timeout is not found, and a packet at exactly
 * the timeout finds nothing. Timeouts can be configured; these are the usual ones.
 *
 *   TCP  half-open      30 s     from the SYN until the initiator acknowledges the responder's SYN
 *        established    7440 s   (RFC 5382)
 *        closing        60 s     one side has sent a FIN
 *        time-wait      60 s     both have; packets still pass
 *        reset          10 s     after a RST; traffic in both directions makes it established again
 *   UDP  one way        30 s     (RFC 4787)
 *        both ways      180 s
 *   ICMP echo           30 s
 *   all else            120 s
 *
 * Every packet that is forwarded breaks the silence, but for a SYN on an established connection, which changes nothing
 * (RFC 5961). Where an interface has its share of connections, its oldest half-open one makes room (of other
 * protocols than TCP: one without an answer), and nothing of another interface does.
 */
extern Conntrack {
    Conntrack(bit<32> connections, bit<32> connections_of_an_interface);

    /* The connection of a packet. A SYN finds none that is closing: it ends that one. */
    bool lookup(in connection_key_t key, in bit<8> tcp_flags, out connection_t connection);
    /* Records a connection by its first packet and the key of its answers. False when there is no room for it. */
    bool create(in connection_key_t key, in connection_key_t answers, in bit<8> icmp_type, in bit<8> icmp_code,
        in bit<8> tcp_flags);
    /* A packet of the connection is forwarded. */
    void update(in connection_key_t key, in bit<8> tcp_flags);
    /* The connection leaves. */
    void remove(in connection_key_t key, in removal_t reason);

    /* When entries have changed: the connection that is to be decided again. */
    bool due(out connection_t connection);
    /* The connection stays; its answers now have this key. */
    void follow(in connection_key_t key, in connection_key_t answers);

    /* A first fragment is forwarded, as a packet with this key or as an error about that: the others follow it for 30 s. */
    void remember_fragment(in fragment_t fragment, in connection_key_t key, in bool related);
    bool find_fragment(in fragment_t fragment, out tuple_t flow, out bool related);
}

/* The neighbours on the underlay that the node has heard of. How long it believes what it heard is not told here. */
extern Neighbors {
    Neighbors();

    /* The MAC of a neighbour. One that is not known is wanted from now on, and asked for, once a second at most. */
    bool resolve(in address_t address, out bit<48> mac);
    /*
     * A neighbour tells its MAC, or that what is known of it still holds; whether that is taken notice of. Who is neither
     * known nor wanted is heard when it asks for us. Another MAC than the known one counts if it replaces that.
     */
    bool hear(in address_t address, in bool has_mac, in bit<48> mac, in bool replaces, in bool asks_for_us);
}

/* ---- Counters, meters, sums ---- */

/* As v1model has them, so that the pipeline need not know where it runs. */

enum CounterType {
    packets,
    bytes,
    packets_and_bytes
}

/* Packets and bytes of each cell. */
extern counter {
    counter(bit<32> size, CounterType type);
    void count(in bit<32> index);
}

enum MeterType {
    packets,
    bytes
}

/* RFC 2697 or RFC 2698, as the cells are configured: 0 is green, 1 yellow, 2 red. A cell without rates is always green. */
extern meter {
    meter(bit<32> size, MeterType type);
    void execute_meter<T>(in bit<32> index, out T result);
}

/* RFC 1071. */
extern bit<16> internet_checksum<T>(in T data);
/* The same over data and the next bytes that the parser has not read yet. */
extern bit<16> internet_checksum_with_payload<T>(in T data, in bit<32> bytes);

/* Whether each option ends where the next begins: of IPv4 (RFC 791), of an IPv6 extension header (RFC 8200, section 4.2). */
extern bool ipv4_options_are_well_formed<T>(in T options);
extern bool ipv6_options_are_well_formed<T>(in T options);
/*
 * Whether the next bytes that the parser has not read yet are options of neighbour discovery (RFC 4861, section 4.6), and
 * the MAC in the first of this type.
 */
extern bool neighbor_options(in bit<8> type_, in bit<32> bytes, out bool has_link_layer, out bit<48> link_layer);

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
