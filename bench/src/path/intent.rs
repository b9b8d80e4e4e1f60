//! The policy as Penstock's intent.

use std::fmt::Write;

use super::addresses::{
    FAR, Host, LOCAL, NODES, SERVICE, SERVICES, VNI, VTEP, VTEP_MAC, vtep, vtep_mac,
};

/// The node that is measured.
pub const NODE: &str = "measured";

/// All objects, as YAML.
pub fn intent() -> String {
    let mut text = String::new();
    let mut object = |kind: &str, name: &str, spec: &str| {
        // Into a String nothing fails.
        let _ = writeln!(
            text,
            "---\napiVersion: penstock.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}"
        );
    };
    let neighbors: Vec<String> =
        (0..NODES).map(|node| format!("{}: \"{}\"", vtep(node), vtep_mac(node))).collect();
    let underlay = "prefix: 172.16.0.0/16, mtu: 1600";
    let spec = format!(
        "{{vtep: {VTEP}, mac: \"{VTEP_MAC}\", underlay: {{{underlay}, neighbors: {{{}}}}}}}",
        neighbors.join(", ")
    );
    object("Node", NODE, &spec);
    for node in 0..NODES {
        let (vtep, mac) = (vtep(node), vtep_mac(node));
        let spec = format!("{{vtep: {vtep}, mac: \"{mac}\", underlay: {{{underlay}}}}}");
        object("Node", &format!("node-{node}"), &spec);
    }
    object("Vpc", "vpc", &format!("{{vni: {VNI}, cidrs: [10.0.0.0/8, \"fd00::/16\"]}}"));
    // As ordinary as groups are: a handful of services, each for a few prefixes.
    let rules = |peer: &str| {
        let mut rules = String::new();
        for protocol in ["tcp", "udp"] {
            for prefix in ["10.1.0.0/16", "10.2.0.0/16", "\"fd00:1::/32\"", "\"fd00:2::/32\""] {
                for ports in [
                    "22".to_owned(),
                    "443".to_owned(),
                    format!("\"{SERVICE}-{}\"", SERVICE + SERVICES - 1),
                ] {
                    let _ = write!(
                        rules,
                        "\n    - {{protocol: {protocol}, ports: {ports}, {peer}: {{cidr: {prefix}}}}}"
                    );
                }
            }
        }
        rules
    };
    let spec = format!("\n  vpc: vpc\n  ingress:{}\n  egress:{}", rules("from"), rules("to"));
    object("SecurityGroup", "group", &spec);
    let subnets = [
        ("here", "10.1.0.0/16", "fd00:1::/32", LOCAL.to_vec()),
        ("there", "10.2.0.0/16", "fd00:2::/32", (0..FAR).map(Host::far).collect()),
    ];
    for (subnet, v4, v6, hosts) in subnets {
        object("Subnet", subnet, &format!("{{vpc: vpc, cidrs: [{v4}, \"{v6}\"]}}"));
        for host in hosts {
            let number = host.number();
            let node =
                if subnet == "here" { NODE.to_owned() } else { format!("node-{}", host.node()) };
            let spec = format!(
                "{{subnet: {subnet}, node: {node}, vf: {number}, mac: \"{}\", addresses: [{}, \"{}\"], securityGroups: [group]}}",
                host.mac(),
                host.ipv4(),
                host.ipv6()
            );
            object("Interface", &format!("{subnet}-{number}"), &spec);
        }
    }
    text
}
