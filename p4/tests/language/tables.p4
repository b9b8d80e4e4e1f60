#include "../../arch/dpu_nic.p4"

header lookup_t {
    bit<8> which;
    bit<32> address;
    bit<16> port;
}

struct headers_t { lookup_t lookup; }
struct metadata_t { bit<16> port; }

parser ReadLookup(packet_in packet, out headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    state start {
        packet.extract(headers.lookup);
        transition accept;
    }
}

control Inner(in headers_t headers, inout bit<16> port) {
    action found(bit<16> to) { port = to; }
    table routes {
        key = { headers.lookup.address : lpm @name("destination"); }
        actions = { found; NoAction; }
        default_action = NoAction();
        size = 4;
    }
    apply { routes.apply(); }
}

control Choose(inout headers_t headers, inout metadata_t metadata, in nic_input_t input, out nic_output_t output) {
    Inner() inner;
    counter(4, CounterType.packets_and_bytes) packets;
    meter(4, MeterType.bytes) rates;
    bit<2> color = 0;

    action found(bit<16> to) { metadata.port = to; }
    action nothing() { }
    action end() { output.reason = drop_reason_t.rate_limited; exit; }

    table exactly {
        key = { headers.lookup.address : exact; headers.lookup.port : exact; }
        actions = { found; @defaultonly nothing; }
        default_action = nothing();
    }
    table masked {
        key = { headers.lookup.address : ternary; headers.lookup.port : optional; }
        actions = { found; end; nothing; }
        default_action = nothing();
    }

    apply {
        output = { verdict_t.drop, 0, drop_reason_t.none, responder_t.none };
        bool hit = false;
        if (headers.lookup.which == 0) {
            if (exactly.apply().miss) { metadata.port = 9; }
        } else if (headers.lookup.which == 1) {
            switch (masked.apply().action_run) {
                found: { hit = true; }
                end:
                nothing: { metadata.port = 8; }
            }
            if (hit) { metadata.port = metadata.port + 1; }
        } else if (headers.lookup.which == 2) {
            inner.apply(headers, metadata.port);
        } else {
            packets.count((bit<32>) headers.lookup.which - 3);
            rates.execute_meter(1, color);
            if (color == 2) {
                output.reason = drop_reason_t.rate_limited;
                return;
            }
            metadata.port = 3;
        }
        output = { verdict = verdict_t.forward, port = metadata.port, reason = drop_reason_t.none,
            responder = responder_t.none };
    }
}

control WriteLookup(packet_out packet, in headers_t headers) {
    apply { packet.emit(headers.lookup); }
}

DpuNic(ReadLookup(), Choose(), WriteLookup()) main;
