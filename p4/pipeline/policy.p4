/*
 * Policy: who may talk to whom, and which way it goes. Nothing here remembers a packet: it can be asked again for a
 * connection that lives when policy changes.
 */
#ifndef POLICY_P4
#define POLICY_P4

#include "headers.p4"

/*
 * Security groups are allow-lists of the connections that may begin; an interface's groups add up, so entries name the
 * interface. One without groups has an entry for all egress and none for ingress. `remote` is the other side's address;
 * a port range is a few masks.
 */
control EgressGroups(inout metadata_t metadata) {
    action allow() { }
    action deny() {
        metadata.reason = drop_reason_t.security_group_egress;
    }

    table egress_rules {
        key = {
            metadata.connection.zone_interface : exact @name("interface");
            metadata.connection.destination : ternary @name("remote");
            metadata.connection.protocol : optional @name("protocol");
            metadata.connection.destination_port : ternary @name("port");
            metadata.connection.icmp_type : optional @name("icmp_type");
            metadata.connection.icmp_code : optional @name("icmp_code");
        }
        actions = { allow; @defaultonly deny; }
        const default_action = deny();
        size = 1048576;
    }

    apply {
        egress_rules.apply();
    }
}

control IngressGroups(inout metadata_t metadata, in interface_t receiver) {
    action allow() { }
    action deny() {
        metadata.reason = drop_reason_t.security_group_ingress;
    }

    table ingress_rules {
        key = {
            receiver : exact @name("interface");
            metadata.connection.source : ternary @name("remote");
            metadata.connection.protocol : optional @name("protocol");
            metadata.connection.destination_port : ternary @name("port");
            metadata.connection.icmp_type : optional @name("icmp_type");
            metadata.connection.icmp_code : optional @name("icmp_code");
        }
        actions = { allow; @defaultonly deny; }
        const default_action = deny();
        size = 1048576;
    }

    apply {
        ingress_rules.apply();
    }
}

/* The way of what an interface's VM sends to an address: its subnet's routes, then the interface that has the address. */
control Routing(in interface_info_t sender, in address_t destination, out way_t way, inout drop_reason_t reason) {
    bool by_address = false;

    action local() {
        by_address = true;
    }
    /* An appliance: it gets the packet whatever the destination. */
    action via(interface_t receiver) {
        way.receiver = receiver;
    }
    action blackhole() {
        reason = drop_reason_t.blackhole_route;
    }
    action no_route() {
        reason = drop_reason_t.no_route;
    }
    /* The VPC's own CIDRs are `local` routes. */
    table routes {
        key = {
            sender.route_table : exact @name("route_table");
            destination : lpm @name("destination");
        }
        actions = { local; via; blackhole; @defaultonly no_route; }
        const default_action = no_route();
        size = 65536;
    }

    action interface(interface_t receiver) {
        way.receiver = receiver;
    }
    action no_mapping() {
        reason = drop_reason_t.no_mapping;
    }
    table mappings {
        key = {
            sender.vni : exact @name("vni");
            destination : exact @name("address");
        }
        actions = { interface; @defaultonly no_mapping; }
        const default_action = no_mapping();
        size = 1048576;
    }

    action here(port_t port, bit<48> mac, bit<16> subnet, bit<48> gateway_mac) {
        way.local = true;
        way.port = port;
        way.mac = mac;
        way.subnet = subnet;
        way.gateway_mac = gateway_mac;
    }
    action elsewhere(bit<32> tunnel, bit<48> mac, bit<16> subnet, bit<48> gateway_mac) {
        way.tunnel = tunnel;
        way.mac = mac;
        way.subnet = subnet;
        way.gateway_mac = gateway_mac;
    }
    action down() {
        reason = drop_reason_t.interface_down;
    }
    table locations {
        key = { way.receiver : exact @name("interface"); }
        actions = { here; elsewhere; down; }
        const default_action = down();
        size = 1048576;
    }

    apply {
        way = { 0, false, 0, 0, 0, 0, 0 };
        by_address = false;
        routes.apply();
        if (by_address) {
            mappings.apply();
        }
        if (reason == drop_reason_t.none) {
            locations.apply();
        }
    }
}

#endif
