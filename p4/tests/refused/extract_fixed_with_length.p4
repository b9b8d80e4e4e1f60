#include <core.p4>
header word_t { bit<32> value; }
parser P(packet_in packet, out word_t word) {
    state start { packet.extract(word, 32); transition accept; }
}
