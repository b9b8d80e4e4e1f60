/*
 * Connections. A packet's key is its zone and its tuple; each direction of a connection has its own. What policy is
 * asked about is always the connection as its first packet was, so that replies pass, and stop when it is forbidden.
 */
#ifndef CONNECTION_P4
#define CONNECTION_P4

#include "headers.p4"

#ifndef V1MODEL_SHIM

/* The tuple of packets that answer. The identifier of an ICMP echo stays where it is. */
tuple_t reversed(in tuple_t flow) {
    bool echo = flow.protocol == PROTOCOL_ICMP || flow.protocol == PROTOCOL_ICMPV6;
    return {
        flow.destination,
        flow.source,
        flow.protocol,
        echo ? flow.source_port : flow.destination_port,
        echo ? flow.destination_port : flow.source_port
    };
}

fragment_t fragment_of(in zone_t zone, in ip_info_t ip) {
    return { zone, ip.source, ip.destination, ip.protocol, ip.identification, ip.ipv6 };
}

/* As many connections as a node has, and as one interface may have of them. */
Conntrack(1048576, 65536) connections;

/* The connection that a packet belongs to, or would begin. */
control FindConnection(in headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    connection_key_t answer = { { 0, false }, { 0, 0, 0, 0, 0 } };
    connection_t found = { 0, 0, 0, 0, 0, 0, 0, 0, 0, false };
    bit<8> protocol = 0;

    apply {
        protocol = metadata.ip.protocol;
        if (metadata.ip.later_fragment) {
            if (!connections.find_fragment(fragment_of(metadata.zone, metadata.ip), metadata.source_port,
                    metadata.destination_port, protocol)) {
                metadata.reason = drop_reason_t.fragment_without_first;
                return;
            }
        }
        metadata.key = {
            metadata.zone,
            {
                metadata.ip.source, metadata.ip.destination, protocol, metadata.source_port,
                metadata.destination_port
            }
        };
        if (metadata.icmp_error) {
            /* An error comes to whoever sent the quoted packet, so an answer to that would come the same way. */
            answer = {
                metadata.zone,
                reversed({
                    metadata.quoted.source, metadata.quoted.destination, metadata.quoted.protocol,
                    metadata.quoted_source_port, metadata.quoted_destination_port
                })
            };
            metadata.known = input.parser_error == error.NoError && connections.related(answer, found);
            metadata.connection = found;
            if (!metadata.known) {
                metadata.reason = drop_reason_t.related_unknown;
            }
            return;
        }
        metadata.known = connections.lookup(metadata.key, metadata.tcp_flags, found);
        metadata.connection = found;
        if (!metadata.known) {
            if (metadata.ip.later_fragment) {
                metadata.reason = drop_reason_t.fragment_without_first;
                return;
            }
            metadata.connection = {
                metadata.zone.from_network ? 0 : metadata.zone.interface,
                metadata.zone.from_network ? metadata.zone.interface : 0,
                metadata.key.flow.source,
                metadata.key.flow.destination,
                metadata.key.flow.protocol,
                metadata.key.flow.source_port,
                metadata.key.flow.destination_port,
                metadata.icmp_type,
                metadata.icmp_code,
                false
            };
        }
    }
}

/* The packet will be forwarded: its connection is recorded, or goes on. */
control KeepConnection(inout metadata_t metadata) {
    connection_key_t reverse = { { 0, false }, { 0, 0, 0, 0, 0 } };
    bool pick_up = false;

    action allow_pick_up() {
        pick_up = true;
    }
    action syn_only() { }
    /* Whether TCP may be picked up in mid-stream: for a while after a restart, for example. */
    table pick_up_policy {
        key = { }
        actions = { allow_pick_up; syn_only; }
        default_action = syn_only();
    }

    apply {
        if (metadata.icmp_error) {
            /* Errors pass, and keep nothing alive. */
            return;
        }
        if (metadata.known) {
            connections.update(metadata.key, metadata.tcp_flags);
        } else {
            pick_up_policy.apply();
            /* Answers come from the receiver's VM if it is here, else from the network to the sender. */
            reverse = {
                { metadata.zone.from_network ? metadata.zone.interface
                    : (metadata.receiver_is_local ? metadata.receiver : metadata.zone.interface),
                    !metadata.zone.from_network && !metadata.receiver_is_local },
                reversed(metadata.key.flow)
            };
            created_t created = connections.create(metadata.key, reverse, metadata.connection.initiator,
                metadata.connection.responder, metadata.icmp_type, metadata.icmp_code, metadata.tcp_flags, pick_up);
            if (created == created_t.not_syn) {
                metadata.reason = drop_reason_t.tcp_not_syn;
            } else if (created == created_t.quota) {
                metadata.reason = drop_reason_t.interface_quota;
            }
        }
        if (metadata.reason == drop_reason_t.none && metadata.ip.first_fragment) {
            connections.remember_fragment(fragment_of(metadata.zone, metadata.ip), metadata.source_port,
                metadata.destination_port, metadata.ip.protocol);
        }
    }
}

/* Policy does not allow the connection any longer: it leaves, in both directions. */
control ForgetConnection(in metadata_t metadata) {
    apply {
        if (metadata.known && !metadata.icmp_error) {
            connections.remove(metadata.key);
        }
    }
}

/* The NIC forwarded a packet: traffic in hardware and in software is one clock. */
control TouchConnection(in metadata_t metadata) {
    apply {
        connections.update({ metadata.zone, {
            metadata.ip.source, metadata.ip.destination, metadata.ip.protocol, metadata.source_port,
            metadata.destination_port
        } }, metadata.tcp_flags);
    }
}

#endif

#endif
