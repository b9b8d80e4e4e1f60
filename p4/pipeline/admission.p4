/*
 * Which interface is a packet of, and may it have been sent at all? From a VM by its port: addresses are the
 * interface's own. From the wire by VTEP, VNI and MAC.
 */
#ifndef ADMISSION_P4
#define ADMISSION_P4

#include "headers.p4"

/* Which interface is it of? A VM's frame by its port; one from the wire by VTEP, VNI and MAC. */
control Dispatch(in headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    action interface_of_port(interface_t interface) {
        metadata.zone = { interface, false };
    }
    action nobody() {
        metadata.reason = drop_reason_t.interface_down;
    }
    table ports {
        key = { input.port : exact @name("port"); }
        actions = { interface_of_port; @defaultonly nobody; }
        const default_action = nobody();
        size = 1024;
    }

    action our_vtep() { }
    action another() { }
    table vteps {
        key = { metadata.outer.destination : exact @name("destination"); }
        actions = { our_vtep; @defaultonly another; }
        const default_action = another();
        size = 16;
    }

    /* VPCs that have an interface here. VNI 0 is nobody's. */
    action our_vpc() { }
    action unknown_vni() {
        metadata.reason = drop_reason_t.unknown_vni;
    }
    table vnis {
        key = { headers.outer.vxlan.vni : exact @name("vni"); }
        actions = { our_vpc; @defaultonly unknown_vni; }
        const default_action = unknown_vni();
        size = 65536;
    }

    action interface_of_mac(interface_t interface) {
        metadata.zone = { interface, true };
    }
    action unknown_destination() {
        metadata.reason = drop_reason_t.unknown_destination;
    }
    table macs {
        key = {
            headers.outer.vxlan.vni : exact @name("vni");
            headers.ethernet.destination : exact @name("mac");
        }
        actions = { interface_of_mac; @defaultonly unknown_destination; }
        const default_action = unknown_destination();
        size = 65536;
    }

    apply {
        if (input.port == KERNEL_PORT) {
            /* The DPU's own traffic: untouched, past policy, and to no VM. */
            metadata.decided = true;
            metadata.verdict = verdict_t.forward;
            metadata.out_port = WIRE_PORT;
        } else if (input.port != WIRE_PORT) {
            ports.apply();
        } else if (metadata.part == part_t.frame && input.parser_error != error.NoError) {
            metadata.reason = drop_reason_t.malformed;
        } else if (metadata.tunnelled && vteps.apply().hit) {
            if (vnis.apply().hit) {
                if (metadata.part == part_t.inner_frame && input.parser_error != error.NoError) {
                    metadata.reason = drop_reason_t.malformed;
                } else if (!is_supported(headers)) {
                    metadata.reason = drop_reason_t.unsupported_ethertype;
                } else if (is_group(headers.ethernet.destination)) {
                    metadata.reason = drop_reason_t.broadcast;
                } else {
                    macs.apply();
                }
            }
        } else {
            metadata.for_the_node = true;
        }
    }
}

/* What an interface is, and whether an address is its own. */
control Interface(in interface_t id, in address_t address, out interface_info_t info, out bool is_own) {
    action interface(port_t port, bool anti_spoof, bit<48> mac, bit<24> vni, bit<16> subnet, bit<16> route_table,
            bit<32> mtu) {
        info = { true, true, port, anti_spoof, mac, vni, subnet, route_table, mtu };
    }
    /* One that is switched off takes part in nothing. */
    action down() {
        info.exists = true;
    }
    action absent() { }
    table interfaces {
        key = { id : exact @name("interface"); }
        actions = { interface; down; @defaultonly absent; }
        const default_action = absent();
        size = 65536;
    }

    action own() {
        is_own = true;
    }
    action foreign() { }
    table addresses {
        key = {
            id : exact @name("interface");
            address : exact @name("address");
        }
        actions = { own; @defaultonly foreign; }
        const default_action = foreign();
        size = 1048576;
    }

    apply {
        info = { false, false, 0, false, 0, 0, 0, 0, 0 };
        is_own = false;
        interfaces.apply();
        addresses.apply();
    }
}

/* Whether an address is that of several stations: multicast, or the broadcast address of all or of a subnet. */
control Many(in bit<16> subnet, in address_t address, out bool many) {
    action several() {
        many = true;
    }
    action one() { }
    table groups {
        key = { address : ternary @name("address"); }
        actions = { several; @defaultonly one; }
        const default_action = one();
        const entries = {
            /* 224.0.0.0/4, 255.255.255.255, ff00::/8 */
            IPV4_MULTICAST &&& FIRST_4_OF_IPV4 : several();
            IPV4_BROADCAST : several();
            IPV6_MULTICAST &&& FIRST_8_OF_IPV6 : several();
        }
    }
    /* The last address of an IPv4 prefix, where that has more than two (RFC 3021). */
    table broadcasts {
        key = {
            subnet : exact @name("subnet");
            address : exact @name("address");
        }
        actions = { several; @defaultonly one; }
        const default_action = one();
        size = 65536;
    }

    apply {
        many = false;
        if (groups.apply().miss) {
            broadcasts.apply();
        }
    }
}

/* May a VM send this? Only as itself, unless its interface has `antiSpoof: false`. */
control AntiSpoof(in headers_t headers, inout metadata_t metadata) {
    /* Sources that are legal without an address: of who asks for one, and of link-local neighbour discovery. */
    action legal() {
        metadata.own_address = true;
    }
    action spoofed() { }
    table unaddressed_sources {
        key = {
            metadata.ip.ipv6 : exact @name("ipv6");
            metadata.ip.source : ternary @name("source");
            metadata.ip.destination : ternary @name("destination");
            metadata.ip.protocol : exact @name("protocol");
            metadata.ip.ttl : ternary @name("ttl");
            metadata.source_port : ternary @name("source_port");
            metadata.destination_port : ternary @name("destination_port");
            metadata.icmp_type : ternary @name("icmp_type");
        }
        actions = { legal; @defaultonly spoofed; }
        const default_action = spoofed();
        const entries = {
            /* DHCP from 0.0.0.0 to all. */
            (false, IPV4_UNSPECIFIED, IPV4_BROADCAST, PROTOCOL_UDP, _, 68, 67, _) : legal();
            /* Router solicitation, and duplicate address detection, from :: on this link. */
            (true, IPV6_UNSPECIFIED, _, PROTOCOL_ICMPV6, 255, _, _, 133) : legal();
            (true, IPV6_UNSPECIFIED, _, PROTOCOL_ICMPV6, 255, _, _, 135) : legal();
            /* Neighbour discovery from fe80::/10, and DHCPv6 to many or to fe80::/10. What a router sends is no VM's. */
            (true, LINK_LOCAL &&& FIRST_10_OF_IPV6, _,
                PROTOCOL_ICMPV6, _, _, _, 133) : legal();
            (true, LINK_LOCAL &&& FIRST_10_OF_IPV6, _,
                PROTOCOL_ICMPV6, _, _, _, 135) : legal();
            (true, LINK_LOCAL &&& FIRST_10_OF_IPV6, _,
                PROTOCOL_ICMPV6, _, _, _, 136) : legal();
            (true, LINK_LOCAL &&& FIRST_10_OF_IPV6,
                IPV6_MULTICAST &&& FIRST_8_OF_IPV6,
                PROTOCOL_UDP, _, 546, 547, _) : legal();
            (true, LINK_LOCAL &&& FIRST_10_OF_IPV6,
                LINK_LOCAL &&& FIRST_10_OF_IPV6,
                PROTOCOL_UDP, _, 546, 547, _) : legal();
        }
    }

    apply {
        if (metadata.interface.anti_spoof) {
            if (headers.arp.isValid()) {
                /* A probe (RFC 5227) has no sender address yet. */
                metadata.own_address = (metadata.own_address || headers.arp.sender_address == 0)
                    && headers.arp.sender_mac == metadata.interface.mac;
            } else if (!metadata.own_address && !metadata.ip.first_fragment && !metadata.ip.later_fragment) {
                unaddressed_sources.apply();
            }
            if (headers.ethernet.source != metadata.interface.mac || !metadata.own_address) {
                metadata.reason = drop_reason_t.spoofed_source;
            }
        }
    }
}

/* May the network bring this? */
control FromWire(in headers_t headers, inout metadata_t metadata, in bool many) {
    /*
     * The VTEPs from which an address of a VPC may come: its owner's, and for any address those of the interfaces that
     * may send as anyone. Never our own: what it sends does not come in by the wire.
     */
    action allowed() { }
    action mismatch() {
        metadata.reason = drop_reason_t.overlay_source_mismatch;
    }
    table sources {
        key = {
            headers.outer.vxlan.vni : exact @name("vni");
            metadata.outer.source : exact @name("vtep");
            metadata.ip.source : optional @name("source");
        }
        actions = { allowed; @defaultonly mismatch; }
        const default_action = mismatch();
        size = 1048576;
    }

    /* RFC 6040, figure 4: what becomes of the outer congestion mark. */
    action keep() { }
    action mark(bit<2> ecn) {
        metadata.ip.ecn = ecn;
    }
    action not_capable() {
        metadata.reason = drop_reason_t.ecn_not_capable;
    }
    table congestion {
        key = {
            metadata.ip.ecn : exact @name("inner");
            metadata.outer.ecn : exact @name("outer");
        }
        actions = { keep; mark; not_capable; }
        const default_action = keep();
        const entries = {
            (NOT_ECT, CE) : not_capable();
            (ECT_0, ECT_1) : mark(ECT_1);
            (ECT_0, CE) : mark(CE);
            (ECT_1, CE) : mark(CE);
        }
    }

    apply {
        if (headers.arp.isValid()) {
            metadata.reason = drop_reason_t.unsupported_ethertype;
        } else if (metadata.interface.anti_spoof && !metadata.own_address) {
            metadata.reason = drop_reason_t.unknown_destination;
        } else if (many) {
            metadata.reason = drop_reason_t.broadcast;
        } else if (sources.apply().hit) {
            congestion.apply();
        }
    }
}

#endif
