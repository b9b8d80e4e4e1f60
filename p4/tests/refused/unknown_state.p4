#include <core.p4>
parser P(packet_in packet, out bit<8> a) {
    state start { a = 1; transition ipv4; }
}
