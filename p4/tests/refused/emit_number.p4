#include <core.p4>
control D(packet_out packet, in bit<8> a) {
    apply { packet.emit(a); }
}
