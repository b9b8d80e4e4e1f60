/*
 * Connections. A packet's key is its zone and its tuple; each direction of a connection has its own. What policy is
 * asked about is always the connection as its first packet was, so that replies pass, and stop when it is forbidden.
 */
#ifndef CONNECTION_P4
#define CONNECTION_P4

#include "headers.p4"

/* The tuple of packets that answer. Of an ICMP echo, the identifier stays where it is, and a request becomes a reply. */
tuple_t reversed(in tuple_t flow, in bool ipv6) {
    bool icmp = flow.protocol == (ipv6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP);
    bit<16> request = ipv6 ? (bit<16>) ICMPV6_ECHO : (bit<16>) ICMP_ECHO;
    bit<16> reply = ipv6 ? (bit<16>) ICMPV6_ECHO_REPLY : (bit<16>) ICMP_ECHO_REPLY;
    bit<16> counterpart = flow.destination_port == request ? reply
        : (flow.destination_port == reply ? request : flow.destination_port);
    return {
        flow.destination,
        flow.source,
        flow.protocol,
        icmp ? flow.source_port : flow.destination_port,
        icmp ? counterpart : flow.source_port
    };
}

connection_key_t key_of(in connection_t connection) {
    return {
        { connection.zone_interface, connection.from_network },
        {
            connection.source, connection.destination, connection.protocol, connection.source_port,
            connection.destination_port
        }
    };
}

/* The key of the packets that answer: from the receiver's VM if it is here, else from the network to the sender. */
connection_key_t answers_of(in connection_t connection, in way_t way, in bool ipv6) {
    connection_key_t first = key_of(connection);
    return {
        { !connection.from_network && way.local ? way.receiver : connection.zone_interface,
            !connection.from_network && !way.local },
        reversed(first.flow, ipv6)
    };
}

/* The connection that a packet would begin. */
connection_t begun_by(in metadata_t metadata) {
    return {
        metadata.key.zone.interface, metadata.key.zone.from_network, metadata.key.flow.source,
        metadata.key.flow.destination, metadata.key.flow.protocol, metadata.key.flow.source_port,
        metadata.key.flow.destination_port, metadata.icmp_type, metadata.icmp_code, 0, false
    };
}

/* Whether TCP begins with this packet: a SYN without ACK, RST and FIN. Any first packet of another protocol begins something. */
control Begin(inout metadata_t metadata) {
    bool pick_up = false;

    action allow_pick_up() {
        pick_up = true;
    }
    action syn_only() { }
    /* Whether TCP may be picked up in mid-stream, by an ACK without SYN and RST: for a while after a restart, for example. */
    table pick_up_policy {
        key = { }
        actions = { allow_pick_up; syn_only; }
        default_action = syn_only();
    }

    apply {
        if (metadata.ip.protocol == PROTOCOL_TCP && (metadata.tcp_flags & 0x17) != 0x02) {
            pick_up_policy.apply();
            if (!pick_up || (metadata.tcp_flags & 0x16) != 0x10) {
                metadata.reason = drop_reason_t.tcp_not_syn;
            }
        }
    }
}

#ifndef V1MODEL_SHIM

fragment_t fragment_of(in zone_t zone, in ip_info_t ip) {
    return { zone, ip.source, ip.destination, ip.protocol, ip.identification, ip.ipv6 };
}

/* As many connections as a node has, and as one interface may have of them. */
Conntrack(1048576, 262144) connections;

/* The connection that a packet belongs to, or would begin. */
control FindConnection(in headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    connection_t found = { 0, false, 0, 0, 0, 0, 0, 0, 0, 0, false };
    tuple_t first = { 0, 0, 0, 0, 0 };
    bool about_first = false;

    apply {
        metadata.key = {
            metadata.zone,
            {
                metadata.ip.source, metadata.ip.destination, metadata.ip.protocol, metadata.source_port,
                metadata.destination_port
            }
        };
        if (metadata.ip.later_fragment) {
            /* What the first one was, the others are. */
            if (!connections.find_fragment(fragment_of(metadata.zone, metadata.ip), first, about_first)) {
                metadata.reason = drop_reason_t.fragment_without_first;
                return;
            }
            metadata.key.flow = first;
            metadata.related = about_first;
        } else if (metadata.icmp_error) {
            /* An error comes to whoever sent the quoted packet, and as an answer to that would come. */
            if (input.parser_error != error.NoError || metadata.quoted.source != metadata.ip.destination) {
                metadata.reason = drop_reason_t.related_unknown;
                return;
            }
            metadata.related = true;
            metadata.key.flow = reversed({
                metadata.quoted.source, metadata.quoted.destination, metadata.quoted.protocol,
                metadata.quoted_source_port, metadata.quoted_destination_port
            }, metadata.ip.ipv6);
        }
        metadata.known = connections.lookup(metadata.key, metadata.tcp_flags, found);
        metadata.connection = found;
        if (metadata.known) {
            /*
             * Keys do not hold the types and codes of ICMP, and policy speaks of them: about a message of another kind
             * than the first it is asked anew, for this message alone.
             */
            if (!metadata.connection.reply && !metadata.related && !metadata.ip.later_fragment
                    && is_icmp(metadata.ip)) {
                metadata.another_message = metadata.connection.icmp_type != metadata.icmp_type
                    || metadata.connection.icmp_code != metadata.icmp_code;
                metadata.connection.icmp_type = metadata.icmp_type;
                metadata.connection.icmp_code = metadata.icmp_code;
            }
        } else if (metadata.ip.later_fragment) {
            metadata.reason = drop_reason_t.fragment_without_first;
        } else if (metadata.related) {
            metadata.reason = drop_reason_t.related_unknown;
        } else {
            metadata.connection = begun_by(metadata);
        }
    }
}

/* The packet is forwarded: its connection is recorded, or goes on. */
control KeepConnection(inout metadata_t metadata) {
    apply {
        if (metadata.related) {
            /* Errors pass, and keep nothing alive. */
        } else if (metadata.known) {
            connections.update(metadata.key, metadata.tcp_flags);
        } else if (!connections.create(metadata.key, metadata.answers, metadata.icmp_type,
                metadata.icmp_code, metadata.tcp_flags)) {
            metadata.reason = drop_reason_t.interface_quota;
        }
        if (metadata.reason == drop_reason_t.none && metadata.ip.first_fragment) {
            connections.remember_fragment(fragment_of(metadata.zone, metadata.ip), metadata.key, metadata.related);
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

/* A connection that is to be decided again. */
control DueConnection(inout metadata_t metadata) {
    connection_t found = { 0, false, 0, 0, 0, 0, 0, 0, 0, 0, false };

    apply {
        metadata.known = connections.due(found);
        metadata.connection = found;
    }
}

/* It is still allowed. Its receiver may have moved, and its answers come from there. */
control FollowConnection(in metadata_t metadata) {
    apply {
        connections.follow(key_of(metadata.connection), metadata.answers);
    }
}

/* It is no longer allowed: it leaves, in both directions. */
control ForgetConnection(in metadata_t metadata, in bool interface_is_gone) {
    apply {
        if (interface_is_gone) {
            connections.remove(key_of(metadata.connection), removal_t.interface_removed);
        } else {
            connections.remove(key_of(metadata.connection), removal_t.policy);
        }
    }
}

#endif

#endif
