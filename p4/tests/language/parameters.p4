#include "../../arch/dpu_nic.p4"

/* Arguments are copied in, and copied out at the end (P4-16 specification, section 6.8). */
header pair_t {
    bit<8> which;
    bit<8> left;
    bit<8> right;
}

struct headers_t { pair_t pair; }
struct metadata_t { bit<16> port; }

parser ReadPair(packet_in packet, out headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    state start {
        packet.extract(headers.pair);
        transition accept;
    }
}

control Change(inout headers_t headers, inout metadata_t metadata, in nic_input_t input, out nic_output_t output) {
    /* The argument is what the action itself reads, and writes past. */
    action see_through(inout bit<8> left) {
        headers.pair.right = headers.pair.left + left;
        headers.pair.left = 99;
        left = left + 1;
    }
    action set(out bit<8> value, in bit<8> from) { value = from; }

    apply {
        if (headers.pair.which == 0) {
            see_through(headers.pair.left);
        } else {
            set(headers.pair.left, headers.pair.left);
        }
        output = { verdict_t.forward, 1, drop_reason_t.none, responder_t.none };
    }
}

control WritePair(packet_out packet, in headers_t headers) {
    apply { packet.emit(headers.pair); }
}

DpuNic(ReadPair(), Change(), WritePair()) main;
