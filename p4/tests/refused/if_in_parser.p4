#include <core.p4>
parser P(packet_in packet, inout bit<8> a) {
    state start { if (a == 1) { a = 2; } transition accept; }
}
