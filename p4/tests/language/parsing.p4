#include "../../arch/dpu_nic.p4"

error { WrongVersion }

header version_t {
    bit<4> version;
    bit<4> length;
}
header options_t { varbit<64> bytes; }
header tail_t { bit<16> value; }

struct headers_t {
    version_t version;
    options_t options;
    tail_t tail;
}
struct metadata_t { bit<8> ahead; bit<32> total; }

parser ReadTail(packet_in packet, out tail_t tail) {
    state start {
        packet.extract(tail);
        transition accept;
    }
}

parser Read(packet_in packet, out headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    ReadTail() read_tail;
    state options {
        packet.extract(headers.options, (bit<32>) headers.version.length << 3);
        transition tail;
    }
    state start {
        metadata.ahead = packet.lookahead<bit<8>>();
        metadata.total = packet.length();
        packet.extract(headers.version);
        verify(headers.version.version != 0, error.WrongVersion);
        transition select(headers.version.version, headers.version.length) {
            (1, 0) : tail;
            (1, _) : options;
            (2 .. 3, 1 &&& 1) : skip;
            (4, default) : reject;
            (5, 0) : accept;
        }
    }
    state skip {
        packet.advance(8);
        transition tail;
    }
    state tail {
        read_tail.apply(packet, headers.tail);
        transition accept;
    }
}

/* The port tells the parser's error; the tail tells what it saw. */
control Tell(inout headers_t headers, inout metadata_t metadata, in nic_input_t input, out nic_output_t output) {
    action port(port_t number) { output.port = number; }
    table errors {
        key = { input.parser_error : exact @name("error"); }
        actions = { port; }
        const default_action = port(99);
        const entries = {
            error.NoError : port(1);
            error.PacketTooShort : port(2);
            error.NoMatch : port(3);
            error.WrongVersion : port(4);
            error.HeaderTooShort : port(5);
        }
    }
    apply {
        output = { verdict_t.drop, 0, drop_reason_t.none, responder_t.none };
        errors.apply();
        headers.tail.setValid();
        headers.tail.value = metadata.ahead ++ metadata.total[7:0];
        if (headers.options.isValid() && headers.version.length == 2) {
            headers.options.setInvalid();
        }
        output.verdict = verdict_t.forward;
    }
}

control Write(packet_out packet, in headers_t headers) {
    apply { packet.emit(headers); }
}

DpuNic(Read(), Tell(), Write()) main;
