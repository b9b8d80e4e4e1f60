#include "../../arch/dpu_nic.p4"

/* Arguments are copied in, and copied out from the left to the right (P4-16 specification, section 6.8). */
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

void add_one(inout bit<8> first, inout bit<8> second) {
    first = first + 1;
    second = second + 2;
}

void widen(inout pair_t pair, inout bit<8> left) {
    pair.left = 7;
    pair.right = 7;
    left = left + 1;
}

control Nested(inout pair_t pair, inout bit<8> left) {
    apply { widen(pair, left); }
}

control Change(inout headers_t headers, inout metadata_t metadata, in nic_input_t input, out nic_output_t output) {
    Nested() nested;

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
        } else if (headers.pair.which == 1) {
            add_one(headers.pair.left, headers.pair.left);
        } else if (headers.pair.which == 2) {
            widen(headers.pair, headers.pair.left);
        } else if (headers.pair.which == 3) {
            nested.apply(headers.pair, headers.pair.left);
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
