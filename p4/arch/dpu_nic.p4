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

#include "types.p4"

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
