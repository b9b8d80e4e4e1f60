/*
 * ================================ THE OFFLOAD STAGE: what lives in the NIC ================================
 *
 * A packet comes here first. If every table on its way has an entry for it, the NIC rewrites and delivers it by itself
 * and nobody else sees it; a miss anywhere hands it to the pipeline behind, as it came. The tables are rte_flow rules
 * of the transfer domain, in the groups that the annotations name; keys are patterns, actions are rte_flow actions. A NIC
 * that cannot match a key @where_matchable leaves it out. Keys stand in the order in which entries share them: a NIC that
 * cannot match all of them at once matches the first ones in one rule for many entries, and the others in a rule for each.
 *
 * Everything that the entries on a packet's way admit, together, the pipeline would have treated identically. Shared
 * checks stand in the first tables and change nothing; the last that looks at the tuple is the first that may write.
 */
#ifndef OFFLOAD_P4
#define OFFLOAD_P4

#include "headers.p4"

/* What a NIC can match, of what the parser found. */
struct nic_fields_t {
    bool no_vlan;
    bool plain;
    bool whole;
    bool no_tcp_transition;
    bool integrity;
    bool outer_no_vlan;
    bool outer_whole;
    bool outer_integrity;
    bool outer_not_ect;
    bool vni_valid;
    bit<24> vni;
}

control OffloadStage(inout headers_t headers, inout metadata_t metadata, in nic_input_t input) {
    nic_fields_t nic = { false, false, false, false, false, false, false, false, false, false, 0 };
    counter(65536, CounterType.packets_and_bytes) flows;

    /* ---- SetZone, Jump ---- */

    action checked_for(interface_t interface, bool from_network) {
        metadata.zone = { interface, from_network };
    }
    action go_on() { }
    action software() { }

    /* ---- Count, SetMacs, Deliver ---- */

    action deliver(bit<32> cell, bit<48> source_mac, bit<48> destination_mac, port_t port) {
        flows.count(cell);
        headers.ethernet.source = source_mac;
        headers.ethernet.destination = destination_mac;
        metadata.out_port = port;
    }

    /* ---- Count, SetMacs, SetTunnel, Jump ---- */

    action to_tunnel(bit<32> cell, bit<48> source_mac, bit<48> destination_mac, bit<32> tunnel) {
        flows.count(cell);
        headers.ethernet.source = source_mac;
        headers.ethernet.destination = destination_mac;
        metadata.tunnel = tunnel;
        metadata.rewrite = rewrite_t.encapsulate;
    }

    /* ---- Decapsulate, Count, Deliver ---- */

    action decapsulate_and_deliver(bit<32> cell, port_t port) {
        flows.count(cell);
        metadata.out_port = port;
        metadata.rewrite = rewrite_t.decapsulate;
    }

    /* ---- From a VM: VmDispatch, VmChecks, VmConnections, and Encapsulation, which is `tunnels` of rewrite.p4 ---- */

    @rte_flow_group(0)
    table vm_dispatch {
        key = {
            input.port : exact @name("ingress_port");
            headers.ethernet.source : ternary @name("source_mac");
            nic.no_vlan : exact @name("no_vlan");
            metadata.ip.length : ternary @name("length") @where_matchable;
        }
        actions = { checked_for; @defaultonly software; }
        const default_action = software();
        size = 65536;
    }

    @rte_flow_group(1)
    table vm_checks {
        key = {
            nic.integrity : exact @name("integrity");
            nic.plain : exact @name("header_length") @where_matchable;
            nic.whole : exact @name("whole");
            nic.no_tcp_transition : exact @name("no_tcp_transition");
        }
        actions = { go_on; @defaultonly software; }
        const default_action = software();
        size = 16;
    }

    @rte_flow_group(3)
    table vm_connections {
        key = {
            metadata.zone.interface : exact @name("zone.interface");
            metadata.zone.from_network : exact @name("zone.from_network");
            metadata.ip.source : exact @name("tuple.source");
            metadata.ip.destination : exact @name("tuple.destination");
            metadata.ip.protocol : exact @name("tuple.protocol");
            metadata.source_port : exact @name("tuple.source_port");
            metadata.destination_port : exact @name("tuple.destination_port");
        }
        actions = { deliver; to_tunnel; @defaultonly software; }
        const default_action = software();
        size = 1048576;
    }

    /* ---- From a tunnel: TunnelDispatch, TunnelChecks, TunnelConnections ---- */

    @rte_flow_group(0)
    table tunnel_dispatch {
        key = {
            input.port : exact @name("ingress_port");
            nic.outer_no_vlan : exact @name("outer_no_vlan");
            metadata.outer.destination : exact @name("outer_destination");
            nic.outer_not_ect : exact @name("outer_not_ect");
            nic.outer_whole : exact @name("outer_whole");
            nic.vni_valid : exact @name("vni_valid") @where_matchable;
            nic.vni : exact @name("vni");
            headers.ethernet.destination : exact @name("destination_mac");
            nic.no_vlan : exact @name("no_vlan");
        }
        actions = { checked_for; @defaultonly software; }
        const default_action = software();
        size = 65536;
    }

    @rte_flow_group(2)
    table tunnel_checks {
        key = {
            nic.outer_integrity : exact @name("outer_integrity");
            nic.integrity : exact @name("integrity");
            nic.plain : exact @name("header_length") @where_matchable;
            nic.whole : exact @name("whole");
            nic.no_tcp_transition : exact @name("no_tcp_transition");
        }
        actions = { go_on; @defaultonly software; }
        const default_action = software();
        size = 16;
    }

    @rte_flow_group(4)
    table tunnel_connections {
        key = {
            metadata.zone.interface : exact @name("zone.interface");
            metadata.zone.from_network : exact @name("zone.from_network");
            metadata.outer.source : exact @name("outer_source");
            metadata.ip.destination : exact @name("tuple.destination");
            metadata.ip.source : exact @name("tuple.source");
            metadata.ip.protocol : exact @name("tuple.protocol");
            metadata.source_port : exact @name("tuple.source_port");
            metadata.destination_port : exact @name("tuple.destination_port");
        }
        actions = { decapsulate_and_deliver; @defaultonly software; }
        const default_action = software();
        size = 1048576;
    }

    apply {
        /* Only IP has a tuple; what is cut short before it, the NIC does not recognise either. */
        if (!headers.ip.ipv4.isValid() && !headers.ip.ipv6.isValid()) {
            return;
        }
        nic.no_vlan = headers.ethernet.ether_type == ETHERTYPE_IPV4 || headers.ethernet.ether_type == ETHERTYPE_IPV6;
        nic.plain = metadata.ip.plain;
        nic.whole = !metadata.ip.first_fragment && !metadata.ip.later_fragment;
        /* FIN, SYN, RST. */
        nic.no_tcp_transition = (metadata.tcp_flags & 0x07) == 0;
        nic.integrity = input.parser_error == error.NoError;
        if (metadata.tunnelled) {
            nic.outer_no_vlan = true;
            nic.outer_whole = true;
            nic.outer_integrity = true;
            nic.outer_not_ect = metadata.outer.ecn == NOT_ECT;
            nic.vni_valid = true;
            nic.vni = headers.outer.vxlan.vni;
            if (tunnel_dispatch.apply().hit) {
                if (tunnel_checks.apply().hit) {
                    metadata.decided = tunnel_connections.apply().hit;
                }
            }
        } else if (vm_dispatch.apply().hit) {
            if (vm_checks.apply().hit) {
                metadata.decided = vm_connections.apply().hit;
            }
        }
        if (metadata.decided) {
            metadata.verdict = verdict_t.forward;
        }
    }
}

#endif
