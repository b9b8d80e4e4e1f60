/* Sums over headers. */
#ifndef CHECKSUM_P4
#define CHECKSUM_P4

#include "headers.p4"

#ifndef V1MODEL_SHIM

/* The checksum of a header whose checksum is 0. */
bit<16> ipv4_checksum(in ipv4_t ip) {
    return internet_checksum({ ip });
}

bit<16> ipv4_checksum_with_options(in ipv4_t ip, in ipv4_options_t options) {
    return internet_checksum({ ip, options });
}

/* Whether a header has the right checksum: summed up with it, there is 0. */
bool ipv4_is_whole(in ipv4_t ip) {
    return internet_checksum({ ip }) == 0;
}

bool ipv4_is_whole_with_options(in ipv4_t ip, in ipv4_options_t options) {
    return internet_checksum({ ip, options }) == 0;
}

bit<16> tunnel_entropy(in address_t destination, in address_t source, in bit<8> protocol,
        in bit<16> destination_port, in bit<16> source_port) {
    return encapsulation_hash({ destination, source, protocol, destination_port, source_port });
}

#endif

#endif
