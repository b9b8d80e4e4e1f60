/*
 * What VMs are answered by the node itself: questions to the network (ARP, neighbour discovery, DHCP, pings of the
 * gateway), and packets that are too big.
 */
#ifndef RESPONDERS_P4
#define RESPONDERS_P4

#include "headers.p4"

/*
 * What VMs ask of the network. Answers come from the node and bypass security groups; nothing is flooded. What DHCP says
 * is its server's business: whether a message is one, and how it is answered, is not told here.
 */
control Responders(in headers_t headers, inout metadata_t metadata, in bool many) {
    address_t target = 0;
    interface_t owner = 0;
    bool found = false;

    action respond(responder_t responder) {
        metadata.decided = true;
        metadata.verdict = verdict_t.reply;
        metadata.responder = responder;
    }
    action nobody() {
        metadata.reason = drop_reason_t.broadcast;
    }
    action malformed() {
        metadata.reason = drop_reason_t.malformed;
    }

    /* The interfaces of a subnet and its gateways, of interface 0: ARP and neighbour discovery are answered for them alone. */
    action neighbor(interface_t interface) {
        found = true;
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

    apply {
        if (headers.arp.isValid()) {
            target = IPV4 ++ headers.arp.target_address;
        } else if (headers.transport.nd_target.isValid()) {
            target = IPV6 ++ headers.transport.nd_target.address;
        } else if (is_router_solicitation(metadata)) {
            /* Where there is IPv6, fe80::1 is the gateway. */
            target = IPV6 ++ 128w0xfe800000000000000000000000000001;
        } else {
            target = metadata.ip.destination;
        }
        neighbors.apply();
        bool whole = !metadata.ip.first_fragment && !metadata.ip.later_fragment;

        if (headers.arp.isValid()) {
            /* A VM that asks for its own address wants to know whether another has it: nobody has. */
            if (headers.arp.operation == ARP_REQUEST && found && owner != metadata.zone.interface) {
                respond(responder_t.arp);
            } else {
                nobody();
            }
        } else if (is_neighbor_discovery(metadata) && !metadata.ip.later_fragment) {
            /* None of it leaves the link, so none may have come from elsewhere (RFC 4861, sections 6.1 and 7.1; RFC 6980). */
            if (metadata.ip.ttl != 255 || metadata.icmp_code != 0 || !whole || !metadata.intact) {
                malformed();
            } else if (metadata.icmp_type == ROUTER_SOLICITATION) {
                if (!metadata.options_in_order || (metadata.has_link_layer && is_unspecified(metadata.ip.source))) {
                    malformed();
                } else if (found) {
                    respond(responder_t.neighbor_discovery);
                } else {
                    nobody();
                }
            } else if (metadata.icmp_type == NEIGHBOR_SOLICITATION) {
                if (!metadata.options_in_order || is_group_address(target)
                        || (is_unspecified(metadata.ip.source)
                            && (metadata.has_link_layer || metadata.ip.destination != solicited_node(target)))) {
                    malformed();
                } else if (found && owner != metadata.zone.interface) {
                    respond(responder_t.neighbor_discovery);
                } else {
                    nobody();
                }
            } else {
                /* Advertisements and redirects tell nobody anything. */
                nobody();
            }
        } else if (whole && metadata.ip.protocol == PROTOCOL_UDP && !metadata.ip.ipv6
                && metadata.destination_port == 67
                && (metadata.ip.destination == IPV4_BROADCAST || (found && owner == 0))) {
            respond(responder_t.dhcpv4);
        } else if (whole && metadata.ip.protocol == PROTOCOL_UDP && metadata.ip.ipv6
                && metadata.destination_port == 547
                && (metadata.ip.destination == IPV6 ++ 128w0xff020000000000000000000000010002
                    || metadata.ip.destination == IPV6 ++ 128w0xff050000000000000000000000010003 || (found && owner == 0))) {
            respond(responder_t.dhcpv6);
        } else if (whole && found && owner == 0 && is_echo_request(metadata)
                && !is_unspecified(metadata.ip.source) && !is_group_address(metadata.ip.source)) {
            if (metadata.intact) {
                respond(responder_t.gateway_ping);
            } else {
                malformed();
            }
        } else if (many) {
            nobody();
        }
    }
}

/* A packet that is longer than its VPC carries. Its sender is told, as far as there may be an answer (RFC 1122, section 3.2.2). */
control TooBig(inout metadata_t metadata, in bool many) {
    meter(65536, MeterType.packets) too_big_rate;
    bit<2> color = 0;
    bool has_gateway = false;

    action answers() {
        has_gateway = true;
    }
    action silent() { }
    /* Who would answer: the gateway of a subnet, if it has an address of the family. */
    table gateways {
        key = {
            metadata.interface.subnet : exact @name("subnet");
            metadata.ip.ipv6 : exact @name("ipv6");
        }
        actions = { answers; @defaultonly silent; }
        const default_action = silent();
        size = 65536;
    }

    apply {
        metadata.reason = drop_reason_t.too_big;
        gateways.apply();
        if (has_gateway && !metadata.icmp_error && !metadata.ip.later_fragment && !many
                && !is_unspecified(metadata.ip.source) && !is_loopback(metadata.ip.source)) {
            too_big_rate.execute_meter((bit<32>) metadata.zone.interface[15:0], color);
            if (color != 2) {
                metadata.decided = true;
                metadata.verdict = verdict_t.reply;
                metadata.responder = responder_t.too_big;
            }
        }
    }
}

#endif
