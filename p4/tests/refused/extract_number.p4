#include <core.p4>
parser P(packet_in packet, out bit<8> a) {
    state start { packet.extract(a); transition accept; }
}
