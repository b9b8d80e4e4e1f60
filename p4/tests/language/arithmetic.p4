#include "../../arch/dpu_nic.p4"

/* Each packet is an operator's number and two operands; the result is put in place of both. */
header sum_t {
    bit<8> operation;
    bit<16> left;
    bit<16> right;
}

struct headers_t { sum_t sum; }
struct metadata_t { bit<1> unused; }

const bit<16> TWELVE = (3 + 1) * 3;

bit<16> twice(in bit<16> value) {
    return value << 1;
}

void swap(inout bit<16> a, inout bit<16> b) {
    bit<16> kept = a;
    a = b;
    b = kept;
}

parser ReadSum(packet_in packet, out headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    state start {
        packet.extract(headers.sum);
        transition accept;
    }
}

control Compute(inout headers_t headers, inout metadata_t metadata, in nic_input_t input, out nic_output_t output) {
    bit<16> a = headers.sum.left;
    bit<16> b = headers.sum.right;
    bit<16> result = 0;

    action add() { result = a + b; }
    action subtract() { result = a - b; }
    action multiply() { result = a * b; }
    action add_saturating() { result = a |+| b; }
    action subtract_saturating() { result = a |-| b; }
    action shift_left() { result = a << b; }
    action shift_right() { result = a >> b; }
    action logic() { result = ((a & b) | (a ^ b)) & ~(16w0xf000); }
    action concatenate() { result = a[7:0] ++ b[15:8]; }
    action slice() { result = a; result[11:4] = b[7:0]; }
    action compare() {
        result = (bit<16>)((bit<1>)(a < b) ++ (bit<1>)(a <= b) ++ (bit<1>)(a == b) ++ (bit<1>)(a != b)
            ++ (bit<1>)(a >= b) ++ (bit<1>)(a > b));
    }
    action choose() { result = (a > b || b == TWELVE) && !(a == 7) ? twice(a) : -b; }
    action swapped() { swap(a, b); result = a - b; }
    action checksum() { result = internet_checksum({ a, b }); }
    action hash() { result = encapsulation_hash({ a, b }); }
    action unknown() { }

    table operations {
        key = { headers.sum.operation : exact; }
        actions = {
            add; subtract; multiply; add_saturating; subtract_saturating; shift_left; shift_right; logic;
            concatenate; slice; compare; choose; swapped; checksum; hash; unknown;
        }
        const default_action = unknown();
        const entries = {
            0 : add();
            1 : subtract();
            2 : multiply();
            3 : add_saturating();
            4 : subtract_saturating();
            5 : shift_left();
            6 : shift_right();
            7 : logic();
            8 : concatenate();
            9 : slice();
            10 : compare();
            11 : choose();
            12 : swapped();
            13 : checksum();
            14 : hash();
        }
    }

    apply {
        operations.apply();
        headers.sum.left = result;
        headers.sum.right = 0;
        output = { verdict_t.forward, 1, drop_reason_t.none, responder_t.none };
    }
}

control WriteSum(packet_out packet, in headers_t headers) {
    apply { packet.emit(headers); }
}

DpuNic(ReadSum(), Compute(), WriteSum()) main;
