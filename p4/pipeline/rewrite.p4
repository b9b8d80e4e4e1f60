/*
 * Putting outer headers on and taking them off. What a tunnel means is one entry, whatever the number of connections: a
 * moved VTEP, or a new address of a gateway, changes this table and no other.
 */
#ifndef REWRITE_P4
#define REWRITE_P4

#include "headers.p4"
#include "checksum.p4"
#include "underlay.p4"

control Rewrite(inout headers_t headers, inout metadata_t metadata) {
    Resolve() resolve;
    bit<16> entropy = 0;
    address_t next_hop = 0;
    bool known = false;
    bit<48> mac = 0;
    bit<16> payload_length = 0;

    action outer_frame(bit<48> source_mac, bit<48> destination_mac, bit<24> vni, bit<16> ether_type) {
        headers.outer.ethernet.setValid();
        headers.outer.ethernet = { destination_mac, source_mac, ether_type };
        headers.outer.transport.udp.setValid();
        /* A checksum of 0 on IPv4, and on IPv6 as RFC 6935 allows it. */
        headers.outer.transport.udp = { 0xc000 | entropy, PORT_VXLAN, payload_length, 0 };
        headers.outer.vxlan.setValid();
        headers.outer.vxlan = { 0x08, 0, vni, 0 };
    }

    /* Identification 0 with DF, TTL 64, not-ECT (RFC 6040, compatibility mode): constants, as hardware writes them. */
    action encapsulate_ipv4(bit<32> source, bit<32> destination, bit<6> dscp, bit<24> vni, bit<48> source_mac,
            bit<48> destination_mac, port_t port) {
        outer_frame(source_mac, destination_mac, vni, ETHERTYPE_IPV4);
        headers.outer.ip.ipv4.setValid();
        headers.outer.ip.ipv4 = {
            4, 5, dscp, NOT_ECT, payload_length + 20, 0, 0, 1, 0, 0, 64, PROTOCOL_UDP, 0, source, destination
        };
        headers.outer.ip.ipv4.checksum = ipv4_checksum(headers.outer.ip.ipv4);
        metadata.out_port = port;
    }

    action encapsulate_ipv6(bit<128> source, bit<128> destination, bit<6> dscp, bit<24> vni, bit<48> source_mac,
            bit<48> destination_mac, port_t port) {
        outer_frame(source_mac, destination_mac, vni, ETHERTYPE_IPV6);
        headers.outer.ip.ipv6.setValid();
        headers.outer.ip.ipv6 = {
            6, dscp, NOT_ECT, 0, payload_length, PROTOCOL_UDP, 64, source, destination
        };
        metadata.out_port = port;
    }

    /* No next hop leads there, or its MAC is not known. */
    action unresolved() {
        metadata.decided = false;
        metadata.reason = drop_reason_t.unresolved_neighbor;
    }

    /* This table lives in the NIC too: with the same entries, as the last of the offload stage. */
    @rte_flow_group(5)
    table tunnels {
        key = { metadata.tunnel : exact @name("tunnel"); }
        actions = { encapsulate_ipv4; encapsulate_ipv6; unresolved; }
        default_action = unresolved();
        size = 65536;
    }

    action configured() { }
    action ask(address_t address) {
        next_hop = address;
    }
    /* The next hops of tunnels whose MAC is not configured: the node learns it, and asks for it. */
    table next_hops {
        key = { metadata.tunnel : exact @name("tunnel"); }
        actions = { ask; @defaultonly configured; }
        const default_action = configured();
        size = 65536;
    }

    /*
     * The same for software, contract and NIC, so that a flow does not change its path when it moves into hardware. It
     * sees IPv4 addresses as ::a.b.c.d.
     */
    action hash_entropy() {
        bool has_ports = (metadata.ip.protocol == PROTOCOL_TCP || metadata.ip.protocol == PROTOCOL_UDP)
            && !metadata.ip.first_fragment && !metadata.ip.later_fragment;
        entropy = tunnel_entropy(
            metadata.ip.destination[127:0],
            metadata.ip.source[127:0],
            metadata.ip.protocol,
            has_ports ? metadata.destination_port : 0,
            has_ports ? metadata.source_port : 0);
    }

    apply {
        if (metadata.rewrite == rewrite_t.decapsulate) {
            headers.outer.ethernet.setInvalid();
            headers.outer.ip.ipv4.setInvalid();
            headers.outer.ip.options.setInvalid();
            headers.outer.ip.ipv6.setInvalid();
            headers.outer.ip.extension_1.setInvalid();
            headers.outer.ip.extension_2.setInvalid();
            headers.outer.ip.extension_3.setInvalid();
            headers.outer.ip.extension_4.setInvalid();
            headers.outer.ip.extension_5.setInvalid();
            headers.outer.ip.extension_6.setInvalid();
            headers.outer.ip.extension_7.setInvalid();
            headers.outer.ip.extension_8.setInvalid();
            headers.outer.transport.udp.setInvalid();
            headers.outer.vxlan.setInvalid();
            /* A congestion mark may have come in from the underlay. */
            if (headers.ip.ipv6.isValid()) {
                headers.ip.ipv6.ecn = metadata.ip.ecn;
            } else if (headers.ip.ipv4.ecn != metadata.ip.ecn) {
                headers.ip.ipv4.ecn = metadata.ip.ecn;
                headers.ip.ipv4.checksum = 0;
                if (headers.ip.options.isValid()) {
                    headers.ip.ipv4.checksum = ipv4_checksum_with_options(headers.ip.ipv4, headers.ip.options);
                } else {
                    headers.ip.ipv4.checksum = ipv4_checksum(headers.ip.ipv4);
                }
            }
        } else if (metadata.rewrite == rewrite_t.encapsulate) {
            hash_entropy();
            payload_length = (bit<16>) metadata.frame_length + 16;
            tunnels.apply();
            if (metadata.decided && next_hops.apply().hit) {
                resolve.apply(next_hop, known, mac);
                if (known) {
                    headers.outer.ethernet.destination = mac;
                } else {
                    unresolved();
                }
            }
        }
    }
}

#endif
