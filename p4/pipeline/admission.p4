/*
 * Which interface is a packet of, and may it have been sent at all? From a VM by its port: addresses are the
 * interface's own, and what the network itself answers is answered. From the wire by VTEP, VNI and MAC.
 */
#ifndef ADMISSION_P4
#define ADMISSION_P4

#include "headers.p4"

/* Which interface is it of? A VM's frame by its port; one from the wire by VTEP, VNI and MAC. */
control Dispatch(in headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    meter(1, MeterType.bytes) host_rate;
    /* Green, yellow, red. */
    bit<2> color = 0;

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

    action to_host(port_t port) {
        metadata.decided = true;
        metadata.verdict = verdict_t.forward;
        metadata.out_port = port;
    }
    action not_ours() {
        metadata.reason = drop_reason_t.not_our_vtep;
    }
    /* The port of the node's kernel, where one is configured. */
    table host {
        key = { }
        actions = { to_host; not_ours; }
        default_action = not_ours();
    }

    action our_vtep() { }
    action another() { }
    table vteps {
        key = { metadata.outer.destination : exact @name("destination"); }
        actions = { our_vtep; @defaultonly another; }
        const default_action = another();
        size = 16;
    }

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
        if (metadata.part == part_t.frame && input.parser_error != error.NoError) {
            metadata.reason = drop_reason_t.malformed;
        } else if (input.port != WIRE_PORT) {
            ports.apply();
        } else if (!metadata.tunnelled || vteps.apply().miss) {
            /* Not for the VPCs: the node's own kernel may want it. */
            host.apply();
            if (metadata.decided) {
                host_rate.execute_meter(0, color);
                if (color == 2) {
                    metadata.decided = false;
                    metadata.reason = drop_reason_t.rate_limited;
                }
            }
        } else if (vnis.apply().hit) {
            if (metadata.part == part_t.inner_frame && input.parser_error != error.NoError) {
                metadata.reason = drop_reason_t.malformed;
            } else {
                macs.apply();
            }
        }
    }
}

/* What an interface is, and whether an address is its own: of a VM's frame the source, of one from the wire the destination. */
control Interface(in headers_t headers, inout metadata_t metadata) {
    address_t asked = 0;

    action interface(port_t port, bool anti_spoof, bit<48> mac, bit<24> vni, bit<16> subnet, bit<16> route_table,
            bit<32> mtu) {
        metadata.interface = { port, anti_spoof, mac, vni, subnet, route_table, mtu };
    }
    /* One that is switched off takes part in nothing. */
    action down() {
        metadata.reason = drop_reason_t.interface_down;
    }
    table interfaces {
        key = { metadata.zone.interface : exact @name("interface"); }
        actions = { interface; down; }
        const default_action = down();
        size = 65536;
    }

    action own() {
        metadata.own_address = true;
    }
    action foreign() { }
    table addresses {
        key = {
            metadata.zone.interface : exact @name("interface");
            asked : exact @name("address");
        }
        actions = { own; @defaultonly foreign; }
        const default_action = foreign();
        size = 1048576;
    }

    apply {
        interfaces.apply();
        if (headers.arp.isValid()) {
            asked = IPV4_MAPPED ++ headers.arp.sender_address;
        } else {
            asked = metadata.zone.from_network ? metadata.ip.destination : metadata.ip.source;
        }
        addresses.apply();
        if (metadata.reason == drop_reason_t.none && !headers.arp.isValid() && !headers.ip.ipv4.isValid()
                && !headers.ip.ipv6.isValid()) {
            metadata.reason = drop_reason_t.unsupported_ethertype;
        }
    }
}

/*
 * What VMs ask of the network itself: ARP, neighbour discovery, DHCP, and pings of the gateway. Answers come from the
 * node and bypass security groups; nothing is flooded.
 */
control Responders(inout headers_t headers, inout metadata_t metadata) {
    address_t target = 0;
    interface_t owner = 0;

    action respond(responder_t responder) {
        metadata.decided = true;
        metadata.verdict = verdict_t.reply;
        metadata.responder = responder;
    }
    action nobody() {
        metadata.reason = drop_reason_t.broadcast;
    }
    action pass() { }

    /* The interfaces of a subnet and its gateway, of interface 0: ARP and neighbour discovery are answered for them alone. */
    action neighbor(interface_t interface) {
        owner = interface;
    }
    action unknown() { }
    table neighbors {
        key = {
            metadata.interface.subnet : exact @name("subnet");
            target : exact @name("address");
        }
        actions = { neighbor; @defaultonly unknown; }
        const default_action = unknown();
        size = 1048576;
    }

    /* DHCP, and what of neighbour discovery has no target. */
    table services {
        key = {
            metadata.ip.ipv6 : exact @name("ipv6");
            metadata.ip.protocol : exact @name("protocol");
            metadata.source_port : ternary @name("source_port");
            metadata.destination_port : ternary @name("destination_port");
            metadata.icmp_type : ternary @name("icmp_type");
        }
        actions = { respond; nobody; @defaultonly pass; }
        const default_action = pass();
        const entries = {
            (false, PROTOCOL_UDP, 68, 67, _) : respond(responder_t.dhcpv4);
            (true, PROTOCOL_UDP, 546, 547, _) : respond(responder_t.dhcpv6);
            /* Router solicitation; advertisements and redirects are not the VM's to send. */
            (true, PROTOCOL_ICMPV6, _, _, 133) : respond(responder_t.neighbor_discovery);
            (true, PROTOCOL_ICMPV6, _, _, 134) : nobody();
            (true, PROTOCOL_ICMPV6, _, _, 137) : nobody();
        }
    }

    apply {
        if (headers.arp.isValid()) {
            target = IPV4_MAPPED ++ headers.arp.target_address;
        } else if (headers.nd_target.isValid()) {
            target = headers.nd_target.address;
        } else {
            target = metadata.ip.destination;
        }
        if (headers.arp.isValid() || headers.nd_target.isValid()) {
            /* A VM that asks for its own address wants to know whether another has it: nobody has. */
            if (neighbors.apply().hit && owner != metadata.zone.interface
                    && ((headers.arp.isValid() && headers.arp.operation == 1)
                        || (headers.nd_target.isValid() && headers.icmp.type_ == 135))) {
                respond(headers.arp.isValid() ? responder_t.arp : responder_t.neighbor_discovery);
            } else {
                nobody();
            }
        } else if (!metadata.ip.later_fragment) {
            services.apply();
            /* An echo request to the gateway. */
            if (headers.icmp.isValid() && ((metadata.ip.ipv6 && metadata.icmp_type == 128)
                    || (!metadata.ip.ipv6 && metadata.icmp_type == 8))) {
                if (neighbors.apply().hit && owner == 0) {
                    respond(responder_t.gateway_ping);
                }
            }
        }
    }
}

/* May a VM send this? */
control FromVm(inout headers_t headers, inout metadata_t metadata) {
    Responders() responders;

    /* Sources that are legal without an address: of who asks for one, and of link-local neighbour discovery. */
    action legal() {
        metadata.own_address = true;
    }
    action spoofed() { }
    table unaddressed_sources {
        key = {
            metadata.ip.ipv6 : exact @name("ipv6");
            metadata.ip.source : ternary @name("source");
            metadata.ip.protocol : exact @name("protocol");
            metadata.source_port : ternary @name("source_port");
            metadata.destination_port : ternary @name("destination_port");
            metadata.icmp_type : ternary @name("icmp_type");
        }
        actions = { legal; @defaultonly spoofed; }
        const default_action = spoofed();
        const entries = {
            /* DHCP from 0.0.0.0. */
            (false, 0xffff00000000, PROTOCOL_UDP, 68, 67, _) : legal();
            /* Router solicitation, and duplicate address detection, from ::. */
            (true, 0, PROTOCOL_ICMPV6, _, _, 133) : legal();
            (true, 0, PROTOCOL_ICMPV6, _, _, 135) : legal();
            /* Neighbour discovery (133 to 137) and DHCPv6 from fe80::/10. */
            (true, 0xfe800000000000000000000000000000 &&& 0xffc00000000000000000000000000000,
                PROTOCOL_ICMPV6, _, _, 133) : legal();
            (true, 0xfe800000000000000000000000000000 &&& 0xffc00000000000000000000000000000,
                PROTOCOL_ICMPV6, _, _, 134) : legal();
            (true, 0xfe800000000000000000000000000000 &&& 0xffc00000000000000000000000000000,
                PROTOCOL_ICMPV6, _, _, 135) : legal();
            (true, 0xfe800000000000000000000000000000 &&& 0xffc00000000000000000000000000000,
                PROTOCOL_ICMPV6, _, _, 136) : legal();
            (true, 0xfe800000000000000000000000000000 &&& 0xffc00000000000000000000000000000,
                PROTOCOL_ICMPV6, _, _, 137) : legal();
            (true, 0xfe800000000000000000000000000000 &&& 0xffc00000000000000000000000000000,
                PROTOCOL_UDP, 546, 547, _) : legal();
        }
    }

    /* Multicast and the limited broadcast. */
    action multicast() {
        metadata.reason = drop_reason_t.broadcast;
    }
    action unicast() { }
    table destinations {
        key = { metadata.ip.destination : ternary @name("destination"); }
        actions = { multicast; @defaultonly unicast; }
        const default_action = unicast();
        const entries = {
            /* 224.0.0.0/4, 255.255.255.255, ff00::/8 */
            0xffffe0000000 &&& 0xfffffffffffffffffffffffff0000000 : multicast();
            0xffffffffffff : multicast();
            0xff000000000000000000000000000000 &&& 0xff000000000000000000000000000000 : multicast();
        }
    }

    apply {
        if (metadata.interface.anti_spoof) {
            if (headers.arp.isValid()) {
                /* A probe (RFC 5227) has no sender address yet. */
                metadata.own_address = (metadata.own_address || headers.arp.sender_address == 0)
                    && headers.arp.sender_mac == metadata.interface.mac;
            } else if (!metadata.own_address && !metadata.ip.later_fragment) {
                unaddressed_sources.apply();
            }
            if (headers.ethernet.source != metadata.interface.mac || !metadata.own_address) {
                metadata.reason = drop_reason_t.spoofed_source;
                return;
            }
        }
        responders.apply(headers, metadata);
        if (!metadata.decided && metadata.reason == drop_reason_t.none) {
            destinations.apply();
        }
    }
}

/* May the network bring this? */
control FromWire(in headers_t headers, inout metadata_t metadata) {
    /*
     * The VTEPs from which an address of a VPC may come: its owner's, and for any address those of the interfaces that
     * may send as anyone.
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
            metadata.reason = drop_reason_t.broadcast;
        } else if (metadata.interface.anti_spoof && !metadata.own_address) {
            metadata.reason = drop_reason_t.unknown_destination;
        } else if (sources.apply().hit) {
            congestion.apply();
        }
    }
}

#endif
