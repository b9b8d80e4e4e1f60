#include <core.p4>
header options_t { varbit<320> bytes; }
parser P(packet_in packet, out options_t options) {
    state start { packet.extract(options); transition accept; }
}
