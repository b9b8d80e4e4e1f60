/*
 * The contract on v1model, for test generators: the same pipeline, without memory. Every packet is the first of its
 * connection, and an error or a later fragment belongs to none. What v1model computes in blocks of its own (the
 * checksum of the outer header, of an inner one with a new mark) is left to them, and the entropy of tunnels is 0.
 * Packets that are answered by the node end here.
 */
#define V1MODEL_SHIM

#include <v1model.p4>
#include "types.p4"
#include "../pipeline/headers.p4"

/* A wrong checksum is not noticed. */
bit<16> ipv4_checksum(in ipv4_t ip) {
    return 0;
}

bit<16> ipv4_checksum_with_options(in ipv4_t ip, in ipv4_options_t options) {
    return 0;
}

bit<16> tunnel_entropy(in address_t destination, in address_t source, in bit<8> protocol,
        in bit<16> destination_port, in bit<16> source_port) {
    return 0;
}

control FindConnection(in headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    apply {
        if (metadata.ip.later_fragment) {
            metadata.reason = drop_reason_t.fragment_without_first;
        } else if (metadata.icmp_error) {
            metadata.reason = drop_reason_t.related_unknown;
        } else {
            metadata.connection = {
                metadata.zone.from_network ? 0 : metadata.zone.interface,
                metadata.zone.from_network ? metadata.zone.interface : 0,
                metadata.ip.source,
                metadata.ip.destination,
                metadata.ip.protocol,
                metadata.source_port,
                metadata.destination_port,
                metadata.icmp_type,
                metadata.icmp_code,
                false
            };
        }
    }
}

control KeepConnection(inout metadata_t metadata) {
    apply {
        /* SYN without ACK and RST. */
        if (metadata.ip.protocol == PROTOCOL_TCP && (metadata.tcp_flags & 0x16) != 0x02) {
            metadata.reason = drop_reason_t.tcp_not_syn;
        }
    }
}

control ForgetConnection(in metadata_t metadata) {
    apply { }
}

control TouchConnection(in metadata_t metadata) {
    apply { }
}

#include "../pipeline.p4"

parser V1Parser(packet_in packet, out headers_t headers, inout metadata_t metadata,
        inout standard_metadata_t standard_metadata) {
    PenstockParser() penstock;

    state start {
        penstock.apply(packet, headers, metadata,
            { (port_t) standard_metadata.ingress_port, standard_metadata.packet_length, error.NoError });
        transition accept;
    }
}

control V1Verify(inout headers_t headers, inout metadata_t metadata) {
    apply { }
}

control V1Ingress(inout headers_t headers, inout metadata_t metadata, inout standard_metadata_t standard_metadata) {
    Pipeline() pipeline;
    nic_output_t output = { verdict_t.drop, 0, drop_reason_t.none, responder_t.none };

    apply {
        pipeline.apply(headers, metadata,
            {
                (port_t) standard_metadata.ingress_port, standard_metadata.packet_length,
                standard_metadata.parser_error
            }, output);
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
    apply {
        /* Headers that the pipeline has written: their checksum is 0. */
        update_checksum(headers.outer.ip.ipv4.isValid() && headers.outer.ip.ipv4.checksum == 0, {
            headers.outer.ip.ipv4.version,
            headers.outer.ip.ipv4.header_length,
            headers.outer.ip.ipv4.dscp,
            headers.outer.ip.ipv4.ecn,
            headers.outer.ip.ipv4.total_length,
            headers.outer.ip.ipv4.identification,
            headers.outer.ip.ipv4.reserved,
            headers.outer.ip.ipv4.dont_fragment,
            headers.outer.ip.ipv4.more_fragments,
            headers.outer.ip.ipv4.fragment_offset,
            headers.outer.ip.ipv4.ttl,
            headers.outer.ip.ipv4.protocol,
            headers.outer.ip.ipv4.source,
            headers.outer.ip.ipv4.destination
        }, headers.outer.ip.ipv4.checksum, HashAlgorithm.csum16);
        update_checksum(headers.ip.ipv4.isValid() && headers.ip.ipv4.checksum == 0 && !headers.ip.options.isValid(), {
            headers.ip.ipv4.version,
            headers.ip.ipv4.header_length,
            headers.ip.ipv4.dscp,
            headers.ip.ipv4.ecn,
            headers.ip.ipv4.total_length,
            headers.ip.ipv4.identification,
            headers.ip.ipv4.reserved,
            headers.ip.ipv4.dont_fragment,
            headers.ip.ipv4.more_fragments,
            headers.ip.ipv4.fragment_offset,
            headers.ip.ipv4.ttl,
            headers.ip.ipv4.protocol,
            headers.ip.ipv4.source,
            headers.ip.ipv4.destination
        }, headers.ip.ipv4.checksum, HashAlgorithm.csum16);
    }
}

control V1Deparser(packet_out packet, in headers_t headers) {
    PenstockDeparser() penstock;

    apply {
        penstock.apply(packet, headers);
    }
}

V1Switch(V1Parser(), V1Verify(), V1Ingress(), V1Egress(), V1Compute(), V1Deparser()) main;
