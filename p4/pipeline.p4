/*
 * Penstock's contract: what becomes of a packet, from the port it comes in by to the port it leaves by, or the reason
 * why it does not. Software, the rules in the NIC and this program are compared packet by packet.
 *
 *   parser.p4      headers, of a frame from a VM or of a tunnel packet and what is in it
 *   offload.p4     THE OFFLOAD STAGE: the tables that live in the NIC; a miss goes on to all that follows
 *   admission.p4   which interface is it of, and may it be sent at all?
 *   underlay.p4    neighbours on the wire, and what is for the node
 *   responders.p4  what VMs are answered by the node itself
 *   connection.p4  connection tracking
 *   policy.p4      security groups, routes, mappings
 *   rewrite.p4     tunnels: outer headers on and off
 *   checksum.p4    sums over headers and messages
 *
 * arch/v1model_shim.p4 puts it on the v1model architecture, without connections.
 */
#ifndef V1MODEL_SHIM
#include "arch/dpu_nic.p4"
#endif
#include "pipeline/headers.p4"
#include "pipeline/parser.p4"
#include "pipeline/connection.p4"
#include "pipeline/underlay.p4"
#include "pipeline/rewrite.p4"
#include "pipeline/offload.p4"
#include "pipeline/admission.p4"
#include "pipeline/responders.p4"
#include "pipeline/policy.p4"

/* Behind the NIC's tables. Each step may end it: with a reason, or with an answer. The first reason wins. */
control Software(inout headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    Dispatch() dispatch;
    Underlay() underlay;
    Interface() interface;
    Many() address_of_many;
    AntiSpoof() anti_spoof;
    Responders() responders;
    FromWire() from_wire;
    DueConnection() due_connection;
    FindConnection() find_connection;
    FollowConnection() follow_connection;
    ForgetConnection() forget_connection;
    EgressGroups() egress_groups;
    IngressGroups() ingress_groups;
    Routing() routing;
    Begin() begin;
    TooBig() too_big;
    /* Of the connection: the interface whose VM sent its first packet, or for which the wire brought it. */
    interface_info_t first = { false, false, 0, false, 0, 0, 0, 0, 0 };
    bool first_has_address = false;
    interface_info_t other = { false, false, 0, false, 0, 0, 0, 0, 0 };
    bool other_has_address = false;
    bool many = false;
    bool ipv6 = false;

    apply {
        if (input.recheck) {
            /* Entries have changed. There is no packet: each connection is decided again. */
            due_connection.apply(metadata);
        } else {
            /* ---- Admission ---- */
            dispatch.apply(headers, metadata, input);
            if (metadata.for_the_node) {
                underlay.apply(headers, metadata);
            }
            if (metadata.decided || metadata.reason != drop_reason_t.none || metadata.for_the_node) {
                return;
            }
            interface.apply(metadata.zone.interface,
                headers.arp.isValid() ? IPV4 ++ headers.arp.sender_address
                    : (metadata.zone.from_network ? metadata.ip.destination : metadata.ip.source),
                metadata.interface, metadata.own_address);
            if (!metadata.interface.enabled) {
                metadata.reason = drop_reason_t.interface_down;
            } else if (metadata.part == part_t.frame && input.parser_error != error.NoError) {
                metadata.reason = drop_reason_t.malformed;
            } else if (!is_supported(headers)) {
                metadata.reason = drop_reason_t.unsupported_ethertype;
            } else {
                address_of_many.apply(metadata.interface.subnet, metadata.ip.destination, many);
                if (metadata.zone.from_network) {
                    from_wire.apply(headers, metadata, many);
                } else {
                    anti_spoof.apply(headers, metadata);
                    if (metadata.reason == drop_reason_t.none) {
                        responders.apply(headers, metadata, many);
                    }
                }
            }
            if (metadata.decided || metadata.reason != drop_reason_t.none) {
                return;
            }

            /* ---- Connection ---- */
            find_connection.apply(headers, metadata, input);
            if (metadata.reason != drop_reason_t.none) {
                return;
            }
        }

        /* ---- Policy, about the connection as its first packet was: egress, route and mapping, ingress ---- */
        bool from_network = metadata.connection.from_network;
        ipv6 = is_ipv6(metadata.connection.source);
        interface.apply(metadata.connection.zone_interface,
            from_network ? metadata.connection.destination : metadata.connection.source,
            first, first_has_address);
        if (!first.enabled) {
            metadata.reason = drop_reason_t.interface_down;
        } else if (first.anti_spoof && !first_has_address) {
            metadata.reason = from_network ? drop_reason_t.unknown_destination : drop_reason_t.spoofed_source;
        } else if (from_network) {
            /* The sender's node did the first half. */
            metadata.way = { metadata.connection.zone_interface, true, first.port, 0, 0, 0, 0 };
            ingress_groups.apply(metadata, metadata.way.receiver);
        } else {
            egress_groups.apply(metadata);
            if (metadata.reason == drop_reason_t.none) {
                routing.apply(first, metadata.connection.destination, metadata.way, metadata.reason);
            }
            if (metadata.reason == drop_reason_t.none && metadata.way.local) {
                ingress_groups.apply(metadata, metadata.way.receiver);
            }
        }
        if (metadata.reason != drop_reason_t.none) {
            if (metadata.known && !metadata.another_message) {
                interface.apply(metadata.connection.answers_interface, 0, other, other_has_address);
                forget_connection.apply(metadata, !first.exists || !other.exists);
            }
            return;
        }
        if (input.recheck) {
            metadata.answers = answers_of(metadata.connection, metadata.way, ipv6);
            follow_connection.apply(metadata);
            return;
        }
        if (!metadata.known) {
            metadata.answers = answers_of(metadata.connection, metadata.way, ipv6);
            begin.apply(metadata);
        } else if (metadata.connection.reply) {
            /* Each direction has its own way: that of answers is their sender's. */
            if (metadata.zone.from_network) {
                metadata.way = { metadata.zone.interface, true, metadata.interface.port, 0, 0, 0, 0 };
            } else {
                interface.apply(metadata.zone.interface, metadata.connection.destination, other,
                    other_has_address);
                if (other.anti_spoof && !other_has_address) {
                    metadata.reason = drop_reason_t.spoofed_source;
                } else {
                    routing.apply(other, metadata.connection.source, metadata.way, metadata.reason);
                }
            }
        }
        if (metadata.reason != drop_reason_t.none) {
            return;
        }

        /* ---- The way out ---- */
        if (!metadata.zone.from_network && metadata.ip.length > metadata.interface.mtu) {
            address_of_many.apply(metadata.interface.subnet, metadata.ip.source, many);
            too_big.apply(metadata, many);
            return;
        }
        metadata.out_port = metadata.way.port;
        if (metadata.zone.from_network) {
            /* The sender's node wrote the inner MACs. */
            metadata.rewrite = rewrite_t.decapsulate;
        } else {
            /* Within a subnet the sender's MAC, across subnets the gateway's. */
            headers.ethernet.destination = metadata.way.mac;
            headers.ethernet.source = metadata.way.subnet == metadata.interface.subnet
                ? metadata.interface.mac : metadata.way.gateway_mac;
            if (!metadata.way.local) {
                metadata.tunnel = metadata.way.tunnel;
                metadata.rewrite = rewrite_t.encapsulate;
            }
        }
        metadata.tracked = true;
        metadata.decided = true;
        metadata.verdict = verdict_t.forward;
    }
}

control Pipeline(inout headers_t headers, inout metadata_t metadata, in nic_input_t input, out nic_output_t output) {
    OffloadStage() offload;
    Software() software;
    Rewrite() rewrite;
    TouchConnection() touch_connection;
    KeepConnection() keep_connection;
    /* By port and reason: 256 ports, 32 reasons. */
    counter(8192, CounterType.packets_and_bytes) drops;

    apply {
        if (input.recheck) {
            software.apply(headers, metadata, input);
            output = { verdict_t.drop, 0, drop_reason_t.none, responder_t.none };
            return;
        }
        offload.apply(headers, metadata, input);
        bool in_hardware = metadata.decided;
        if (!in_hardware) {
            software.apply(headers, metadata, input);
        }
        if (metadata.decided && metadata.verdict == verdict_t.forward) {
            rewrite.apply(headers, metadata);
        }
        /* Nothing is recorded before the packet is sure to leave: one that is dropped is no sign of life. */
        if (metadata.decided && in_hardware) {
            touch_connection.apply(metadata);
        } else if (metadata.decided && metadata.tracked) {
            keep_connection.apply(metadata);
            metadata.decided = metadata.reason == drop_reason_t.none;
        }

        /* Decided once, here. */
        if (metadata.decided) {
            output = { metadata.verdict, metadata.out_port, metadata.reason, metadata.responder };
        } else {
            output = { verdict_t.drop, 0, metadata.reason, responder_t.none };
            drops.count((bit<32>) (input.port[7:0] ++ ((bit<8>) metadata.reason)[4:0]));
        }
    }
}

control PenstockDeparser(packet_out packet, in headers_t headers) {
    apply {
        packet.emit(headers.outer);
        packet.emit(headers.ethernet);
        packet.emit(headers.arp);
        packet.emit(headers.ip);
        packet.emit(headers.transport);
        packet.emit(headers.quoted_ip);
        packet.emit(headers.quoted_transport);
    }
}

#ifndef V1MODEL_SHIM
DpuNic(PenstockParser(), Pipeline(), PenstockDeparser()) main;
#endif
