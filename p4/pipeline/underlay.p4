/*
 * The underlay: who its neighbours are, and what comes in by the wire and is not for the VPCs. Questions for our VTEP's
 * MAC are answered here alone; what neighbours tell is learned; all else is of the kernel beside us.
 */
#ifndef UNDERLAY_P4
#define UNDERLAY_P4

#include "headers.p4"

#ifndef V1MODEL_SHIM

/* Neighbours that are not configured: those that packets are for, and those that asked for us. */
Neighbors() underlay_neighbors;

/* Takes notice of what a neighbour tells. */
control Hear(inout metadata_t metadata, in heard_t heard, in bool asks_for_us) {
    apply {
        metadata.learned = underlay_neighbors.hear(heard.told, heard.has_mac, heard.mac, heard.replaces, asks_for_us);
    }
}

/* The MAC of a next hop. One that is not known is asked for, once a second at most. */
control Resolve(in address_t next_hop, out bool known, out bit<48> mac) {
    apply {
        known = underlay_neighbors.resolve(next_hop, mac);
    }
}

#endif

/* What a message says, if it is one that counts. */
control ReadMessage(in headers_t headers, in metadata_t metadata, out heard_t heard) {
    apply {
        heard = { false, 0, false, 0, false, 0, false };
        transport_info_t message = metadata.outer_transport;
        if (headers.outer.arp.isValid()) {
            address_t sender = IPV4 ++ headers.outer.arp.sender_address;
            if ((headers.outer.arp.operation == ARP_REQUEST || headers.outer.arp.operation == ARP_REPLY)
                    && is_station(headers.outer.arp.sender_mac) && !is_group_address(sender) && !is_loopback(sender)) {
                heard.asks = headers.outer.arp.operation == ARP_REQUEST;
                heard.asked = IPV4 ++ headers.outer.arp.target_address;
                /* A probe (RFC 5227) tells of no address. */
                heard.tells = !is_unspecified(sender);
                heard.told = sender;
                heard.has_mac = true;
                heard.mac = headers.outer.arp.sender_mac;
                heard.replaces = true;
            }
        } else if (headers.outer.transport.nd_target.isValid() && message.icmp_code == 0 && message.intact
                && message.options_in_order && metadata.outer.ttl == 255 && !metadata.outer.first_fragment
                && !is_group_address(metadata.outer.source)
                && !is_group_address(IPV6 ++ headers.outer.transport.nd_target.address)) {
            /* RFC 4861, section 7.1. */
            address_t target = IPV6 ++ headers.outer.transport.nd_target.address;
            bool probe = is_unspecified(metadata.outer.source);
            bool solicited = headers.outer.transport.icmp_rest.identifier[14:14] == 1;
            if (message.icmp_type == NEIGHBOR_SOLICITATION) {
                if (is_station(message.has_link_layer ? message.link_layer : headers.outer.ethernet.source)
                        && (!probe || (!message.has_link_layer && metadata.outer.destination == solicited_node(target)))) {
                    heard.asks = true;
                    heard.asked = target;
                    heard.tells = message.has_link_layer;
                    heard.told = metadata.outer.source;
                    heard.has_mac = true;
                    heard.mac = message.link_layer;
                    heard.replaces = true;
                }
            } else if (!solicited || !is_group_address(metadata.outer.destination)) {
                heard.tells = message.has_link_layer || solicited;
                heard.told = target;
                heard.has_mac = message.has_link_layer;
                heard.mac = message.link_layer;
                heard.replaces = headers.outer.transport.icmp_rest.identifier[13:13] == 1;
            }
        }
    }
}

control Underlay(in headers_t headers, inout metadata_t metadata) {
    ReadMessage() read_message;
    Hear() hear;
    meter(1, MeterType.packets) kernel_rate;
    bit<2> color = 0;
    heard_t heard = { false, 0, false, 0, false, 0, false };
    bit<48> our_mac = 0;
    bool ours = false;
    bool is_neighbor = false;

    action our_port(bit<48> mac) {
        our_mac = mac;
    }
    action silent() { }
    /* The node's own MAC at the wire. */
    table uplinks {
        key = { metadata.for_the_node : exact @name("for_the_node"); }
        actions = { our_port; @defaultonly silent; }
        const default_action = silent();
        size = 2;
    }

    action our_address() {
        ours = true;
    }
    action another() { }
    /* The addresses whose MAC neighbours may ask for. */
    table our_addresses {
        key = { heard.asked : exact @name("address"); }
        actions = { our_address; @defaultonly another; }
        const default_action = another();
        size = 16;
    }

    action neighbor() {
        is_neighbor = true;
    }
    action stranger() { }
    /* Who can be a neighbour: our link and the gateway, and not ourselves nor those who are configured. */
    table neighbor_addresses {
        key = { heard.told : lpm @name("address"); }
        actions = { neighbor; stranger; }
        const default_action = stranger();
        size = 65536;
    }

    action to_kernel() {
        metadata.decided = true;
        metadata.verdict = verdict_t.forward;
        metadata.out_port = KERNEL_PORT;
    }
    action not_ours() {
        metadata.reason = drop_reason_t.not_our_vtep;
    }
    /* The port of the kernel beside us, where it has one. */
    table kernel {
        key = { }
        actions = { to_kernel; not_ours; }
        default_action = not_ours();
    }

    apply {
        uplinks.apply();
        read_message.apply(headers, metadata, heard);
        if (headers.outer.ethernet.isValid() && headers.outer.ethernet.destination != our_mac
                && !is_group(headers.outer.ethernet.destination)) {
            heard = { false, 0, false, 0, false, 0, false };
        }
        if (heard.asks) {
            our_addresses.apply();
        }
        if (heard.tells && (!heard.has_mac || (is_station(heard.mac) && heard.mac != our_mac))) {
            neighbor_addresses.apply();
            if (is_neighbor) {
                hear.apply(metadata, heard, ours);
            }
        }
        if (ours) {
            metadata.decided = true;
            metadata.verdict = verdict_t.reply;
            metadata.responder = headers.outer.arp.isValid() ? responder_t.arp : responder_t.neighbor_discovery;
            return;
        }
        /* The kernel may have asked, too. */
        kernel.apply();
        if (metadata.decided) {
            kernel_rate.execute_meter(0, color);
            if (color == 2) {
                metadata.decided = false;
                metadata.reason = drop_reason_t.rate_limited;
            }
        } else if (metadata.learned) {
            metadata.decided = true;
            metadata.verdict = verdict_t.consume;
            metadata.reason = drop_reason_t.none;
        }
    }
}

#endif
