/* Sums over headers and messages, and what else walks over bytes. */
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

bit<16> tunnel_entropy(in bit<128> destination, in bit<128> source, in bit<8> protocol,
        in bit<16> destination_port, in bit<16> source_port) {
    return encapsulation_hash({ destination, source, protocol, destination_port, source_port });
}

/* Whether the next bytes are an ICMP message whose checksum is right; ICMPv6 counts addresses, too (RFC 4443, section 2.3). */
bool icmp_is_intact(in ip_info_t ip, in bit<32> bytes) {
    return ip.ipv6
        ? internet_checksum_with_payload({ ip.source[127:0], ip.destination[127:0], bytes, (bit<32>) ip.protocol }, bytes) == 0
        : internet_checksum_with_payload({ 16w0 }, bytes) == 0;
}

/* Whether the next bytes are what belongs to this UDP header. */
bool udp_is_intact(in ip_info_t ip, in udp_t udp) {
    return ip.ipv6
        ? internet_checksum_with_payload({ ip.source[127:0], ip.destination[127:0], (bit<32>) udp.length, (bit<32>) ip.protocol,
            udp }, (bit<32>) udp.length - 8) == 0
        : internet_checksum_with_payload({ ip.source[31:0], ip.destination[31:0], (bit<16>) ip.protocol, udp.length,
            udp }, (bit<32>) udp.length - 8) == 0;
}

bool ipv4_options_fit(in ipv4_options_t options) {
    return ipv4_options_are_well_formed(options);
}

bool options_are_well_formed(in extension_t extension) {
    return ipv6_options_are_well_formed(extension);
}

#endif

#endif
