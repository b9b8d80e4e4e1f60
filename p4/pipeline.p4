/*
 * Penstock's contract: what becomes of a packet, from the port it comes in by to the port it leaves by, or the reason
 * why it does not. Software, the rules in the NIC and this program are compared packet by packet.
 *
 *   parser.p4      headers, of a frame from a VM or of a tunnel packet and what is in it
 *   offload.p4     THE OFFLOAD STAGE: the tables that live in the NIC; a miss goes on to all that follows
 *   admission.p4   which interface is it of, may it be sent at all, does the network itself answer it?
 *   connection.p4  connection tracking
 *   policy.p4      security groups, routes, mappings
 *   rewrite.p4     tunnels: outer headers on and off
 *   checksum.p4    sums over headers
 *
 * arch/v1model_shim.p4 puts it on the v1model architecture, without connections.
 * IPv4 addresses are written ::ffff:a.b.c.d in all tables.
 */
#ifndef V1MODEL_SHIM
#include "arch/dpu_nic.p4"
#endif
#include "pipeline/headers.p4"
#include "pipeline/parser.p4"
#include "pipeline/connection.p4"
#include "pipeline/rewrite.p4"
#include "pipeline/offload.p4"
#include "pipeline/admission.p4"
#include "pipeline/policy.p4"

/* Behind the NIC's tables. Each step may end it: with a reason, or with an answer. The first reason wins. */
control Software(inout headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    Dispatch() dispatch;
    Interface() interface;
    FromVm() from_vm;
    FromWire() from_wire;
    FindConnection() find_connection;
    KeepConnection() keep_connection;
    ForgetConnection() forget_connection;
    EgressGroups() egress_groups;
    IngressGroups() ingress_groups;
    Routing() routing;

    apply {
        /* ---- Admission ---- */
        dispatch.apply(headers, metadata, input);
        if (!metadata.decided && metadata.reason == drop_reason_t.none) {
            interface.apply(headers, metadata);
        }
        if (!metadata.decided && metadata.reason == drop_reason_t.none) {
            if (metadata.zone.from_network) {
                from_wire.apply(headers, metadata);
            } else {
                from_vm.apply(headers, metadata);
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

        /* ---- Policy: egress, route and mapping, ingress ---- */
        egress_groups.apply(metadata);
        if (metadata.reason == drop_reason_t.none) {
            if (metadata.zone.from_network) {
                metadata.out_port = metadata.interface.port;
            } else {
                routing.apply(metadata);
                if (!metadata.known && metadata.receiver_is_local) {
                    metadata.connection.responder = metadata.receiver;
                }
            }
        }
        if (metadata.reason == drop_reason_t.none) {
            ingress_groups.apply(metadata);
        }
        if (metadata.reason != drop_reason_t.none) {
            forget_connection.apply(metadata);
            return;
        }
        if (!metadata.zone.from_network && metadata.ip.length > metadata.interface.mtu) {
            metadata.decided = true;
            metadata.verdict = verdict_t.reply;
            metadata.responder = responder_t.too_big;
            metadata.reason = drop_reason_t.too_big;
            return;
        }
        keep_connection.apply(metadata);
        if (metadata.reason != drop_reason_t.none) {
            return;
        }

        /* ---- What is to be rewritten ---- */
        if (metadata.zone.from_network) {
            /* The sender's node wrote the inner MACs. */
            metadata.rewrite = rewrite_t.decapsulate;
        } else {
            /* Within a subnet the sender's MAC, across subnets the gateway's. */
            headers.ethernet.destination = metadata.receiver_mac;
            headers.ethernet.source = metadata.receiver_subnet == metadata.interface.subnet
                ? metadata.interface.mac : metadata.receiver_gateway_mac;
            if (!metadata.receiver_is_local) {
                metadata.rewrite = rewrite_t.encapsulate;
            }
        }
        metadata.decided = true;
        metadata.verdict = verdict_t.forward;
    }
}

control Pipeline(inout headers_t headers, inout metadata_t metadata, in nic_input_t input, out nic_output_t output) {
    OffloadStage() offload;
    TouchConnection() touch_connection;
    Software() software;
    Rewrite() rewrite;
    /* By port and reason: 256 ports, 32 reasons. */
    counter(8192, CounterType.packets_and_bytes) drops;

    apply {
        offload.apply(headers, metadata, input);
        if (metadata.decided) {
            touch_connection.apply(metadata);
        } else {
            software.apply(headers, metadata, input);
        }
        if (metadata.decided && metadata.verdict == verdict_t.forward) {
            rewrite.apply(headers, metadata);
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
        packet.emit(headers.tcp);
        packet.emit(headers.udp);
        packet.emit(headers.icmp);
        packet.emit(headers.icmp_rest);
        packet.emit(headers.nd_target);
        packet.emit(headers.quoted_ip);
        packet.emit(headers.quoted_transport);
    }
}

#ifndef V1MODEL_SHIM
DpuNic(PenstockParser(), Pipeline(), PenstockDeparser()) main;
#endif
