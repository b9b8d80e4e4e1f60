#include <core.p4>
parser P(packet_in packet, inout bit<8> a) {
    state start { verify(a == 1, error.PacketToShort); transition accept; }
}
