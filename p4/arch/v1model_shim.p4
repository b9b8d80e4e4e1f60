/*
 * The contract on v1model, for test generators: the same pipeline, without memory. Every packet is the first of its
 * connection, and an error or a later fragment belongs to none. Checksums are not looked at, and written as sums in
 * plain P4; over options, as 0. The entropy of tunnels is 0. Packets that are answered by the node end here.
 */
#define V1MODEL_SHIM

#include <v1model.p4>
#include "types.p4"
#include "../pipeline/headers.p4"
#include "../pipeline/connection.p4"

/* RFC 1071: the ones' complement of the ones' complement sum of all words. */
bit<16> ipv4_checksum(in ipv4_t ip) {
    bit<32> sum = (bit<32>) (ip.version ++ ip.header_length ++ ip.dscp ++ ip.ecn)
        + (bit<32>) ip.total_length
        + (bit<32>) ip.identification
        + (bit<32>) (ip.reserved ++ ip.dont_fragment ++ ip.more_fragments ++ ip.fragment_offset)
        + (bit<32>) (ip.ttl ++ ip.protocol)
        + (bit<32>) ip.checksum
        + (bit<32>) ip.source[31:16]
        + (bit<32>) ip.source[15:0]
        + (bit<32>) ip.destination[31:16]
        + (bit<32>) ip.destination[15:0];
    /* Ten words: after the first time at most 9 is left above them. */
    sum = (bit<32>) sum[31:16] + (bit<32>) sum[15:0];
    return ~(sum[31:16] + sum[15:0]);
}

bit<16> ipv4_checksum_with_options(in ipv4_t ip, in ipv4_options_t options) {
    return 0;
}

/* Wrong checksums and options are not noticed: generators take long to find right ones. */
bool ipv4_is_whole(in ipv4_t ip) {
    return true;
}

bool ipv4_is_whole_with_options(in ipv4_t ip, in ipv4_options_t options) {
    return true;
}

bit<16> tunnel_entropy(in bit<128> destination, in bit<128> source, in bit<8> protocol,
        in bit<16> destination_port, in bit<16> source_port) {
    return 0;
}

bool icmp_is_intact(in ip_info_t ip, in bit<32> bytes) {
    return true;
}

bool udp_is_intact(in ip_info_t ip, in udp_t udp) {
    return true;
}

bool ipv4_options_fit(in ipv4_options_t options) {
    return true;
}

bool options_are_well_formed(in extension_t extension) {
    return true;
}

bool neighbor_options(in bit<8> type_, in bit<32> bytes, out bool has_link_layer, out bit<48> link_layer) {
    has_link_layer = false;
    link_layer = 0;
    return true;
}

control FindConnection(in headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    apply {
        metadata.key = {
            metadata.zone,
            {
                metadata.ip.source, metadata.ip.destination, metadata.ip.protocol, metadata.source_port,
                metadata.destination_port
            }
        };
        if (metadata.ip.later_fragment) {
            metadata.reason = drop_reason_t.fragment_without_first;
        } else if (metadata.icmp_error) {
            metadata.reason = drop_reason_t.related_unknown;
        } else {
            metadata.connection = begun_by(metadata);
        }
    }
}

control KeepConnection(inout metadata_t metadata) {
    apply { }
}

control TouchConnection(in metadata_t metadata) {
    apply { }
}

control DueConnection(inout metadata_t metadata) {
    apply { }
}

control FollowConnection(in metadata_t metadata) {
    apply { }
}

control ForgetConnection(in metadata_t metadata, in bool interface_is_gone) {
    apply { }
}

control Hear(inout metadata_t metadata, in heard_t heard, in bool asks_for_us) {
    apply { }
}

control Resolve(in address_t next_hop, out bool known, out bit<48> mac) {
    apply {
        known = false;
        mac = 0;
    }
}

#include "../pipeline.p4"

parser V1Parser(packet_in packet, out headers_t headers, inout metadata_t metadata,
        inout standard_metadata_t standard_metadata) {
    PenstockParser() penstock;
    nic_input_t input = { 0, 0, error.NoError, false };

    state start {
        input.port = (port_t) standard_metadata.ingress_port;
        input.length = standard_metadata.packet_length;
        penstock.apply(packet, headers, metadata, input);
        transition accept;
    }
}

control V1Verify(inout headers_t headers, inout metadata_t metadata) {
    apply { }
}

control V1Ingress(inout headers_t headers, inout metadata_t metadata, inout standard_metadata_t standard_metadata) {
    Pipeline() pipeline;
    nic_input_t input = { 0, 0, error.NoError, false };
    nic_output_t output = { verdict_t.drop, 0, drop_reason_t.none, responder_t.none };

    apply {
        input.port = (port_t) standard_metadata.ingress_port;
        input.length = standard_metadata.packet_length;
        input.parser_error = standard_metadata.parser_error;
        pipeline.apply(headers, metadata, input, output);
        /* Once, and one or the other: a drop followed by a send differs between targets. */
        if (output.verdict == verdict_t.forward) {
            standard_metadata.egress_spec = (bit<9>) output.port;
        } else {
            mark_to_drop(standard_metadata);
        }
    }
}

control V1Egress(inout headers_t headers, inout metadata_t metadata, inout standard_metadata_t standard_metadata) {
    apply { }
}

control V1Compute(inout headers_t headers, inout metadata_t metadata) {
    apply { }
}

control V1Deparser(packet_out packet, in headers_t headers) {
    PenstockDeparser() penstock;

    apply {
        penstock.apply(packet, headers);
    }
}

V1Switch(V1Parser(), V1Verify(), V1Ingress(), V1Egress(), V1Compute(), V1Deparser()) main;
