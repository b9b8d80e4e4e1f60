#include <core.p4>
bool is_zero(in bit<8> value) { return value == 0; }
parser P(packet_in packet, out bit<8> a) {
    state start { a = 1; transition is_zero; }
    state is_zero { verify(is_zero(a), error.NoMatch); transition accept; }
}
