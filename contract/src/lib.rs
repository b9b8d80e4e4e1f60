//! What intent means to the contract: the entries of its policy tables (`p4/pipeline.p4`), from a node's snapshot.
//!
//! Nothing but the comparison of the contract with the datapath uses this, so that it can stay obviously right. Entries
//! are written as STF has them: what a comparison finds can be kept as a test as it is.

mod prefix;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use model::policy::{Allowed, AllowedService};
use model::route::RouteTarget;
use model::snapshot::{Interface, Location, Mapping, Snapshot, SubnetIndex, Tunnel, TunnelId, Vpc};

use prefix::port_prefixes;

/// Entries: what there is once (`table priority key:value ...`), and what it does (`action(argument, ...)`).
pub type Entries = BTreeMap<String, String>;

/// The commands that lead from one snapshot's entries to another's.
#[must_use]
pub fn difference(before: &Entries, after: &Entries) -> Vec<String> {
    let removed = before
        .iter()
        .filter(|(place, action)| after.get(*place) != Some(action))
        .map(|(place, _)| format!("remove {place}"));
    let added = after
        .iter()
        .filter(|(place, action)| before.get(*place) != Some(action))
        .map(|(place, action)| format!("add {place} {action}"));
    removed.chain(added).collect()
}

/// The entries of all policy tables for a node.
///
/// Interfaces and tunnels have their handles' numbers, interfaces of other nodes further ones. A subnet's number is its
/// handle's plus 1, and so is that of its route table.
#[must_use]
pub fn entries(snapshot: &Snapshot) -> Entries {
    let remote = remote_interfaces(snapshot);
    let mut writer = Writer { snapshot, remote, entries: Entries::new() };
    writer.node();
    snapshot.interfaces.values().for_each(|interface| writer.interface(interface));
    snapshot.vpcs().for_each(|(_, vpc)| writer.vpc(vpc));
    writer.subnets();
    writer.locations();
    snapshot.tunnels.iter().for_each(|(id, tunnel)| writer.tunnel(*id, tunnel));
    writer.entries
}

/// The first number of an interface of another node: further than handles come.
const FIRST_REMOTE: u32 = 1 << 31;

/// The interfaces of other nodes that this one knows, by what it knows of them, with their numbers.
fn remote_interfaces(snapshot: &Snapshot) -> BTreeMap<Mapping, u32> {
    let known: BTreeSet<Mapping> = snapshot
        .vpcs()
        .flat_map(|(_, vpc)| vpc.mappings.iter().map(|(_, mapping)| *mapping))
        .chain(snapshot.subnets().flat_map(|(_, subnet)| subnet.routes.routes()).filter_map(
            |(_, target)| match target {
                RouteTarget::Interface(mapping) => Some(*mapping),
                RouteTarget::Local | RouteTarget::Blackhole => None,
            },
        ))
        .filter(|mapping| matches!(mapping.location, Location::Remote(_)))
        .collect();
    known.into_iter().zip(FIRST_REMOTE..).collect()
}

fn number(subnet: SubnetIndex) -> u32 {
    subnet.0 + 1
}

struct Writer<'s> {
    snapshot: &'s Snapshot,
    remote: BTreeMap<Mapping, u32>,
    entries: Entries,
}

impl Writer<'_> {
    fn add(&mut self, place: String, action: impl Into<String>) {
        self.entries.insert(place, action.into());
    }

    fn number_of(&self, mapping: &Mapping) -> u32 {
        match mapping.location {
            Location::Local(interface) => interface.0,
            Location::Remote(_) => self.remote[mapping],
        }
    }

    fn node(&mut self) {
        let node = &self.snapshot.node;
        let vtep = node.vtep.ip();
        self.add(format!("vteps destination:{vtep}"), "our_vtep()");
        self.add(format!("our_addresses address:{vtep}"), "our_address()");
        self.add("uplinks for_the_node:true".to_owned(), format!("our_port({})", node.mac));
        // The most specific counts: it comes last.
        let link_local = "fe80::/10".parse().expect("a prefix");
        for prefix in
            [link_local, node.underlay_prefix].into_iter().chain(node.gateway.map(IpNet::from))
        {
            self.add(format!("neighbor_addresses address:{prefix}"), "neighbor()");
        }
        for known in node.neighbors.keys().copied().chain([vtep]).map(IpNet::from) {
            self.add(format!("neighbor_addresses address:{known}"), "stranger()");
        }
    }

    fn interface(&mut self, interface: &Interface) {
        let id = interface.id.0;
        let port = port(interface);
        self.add(format!("ports port:{port}"), format!("interface_of_port({id})"));
        let place = format!("interfaces interface:{id}");
        match self.snapshot.vpc(interface.vpc) {
            Some(vpc) if interface.enabled => {
                let subnet = number(interface.subnet);
                let action = format!(
                    "interface(port:{port}, anti_spoof:{}, mac:{}, vni:{}, subnet:{subnet}, route_table:{subnet}, \
                     mtu:{})",
                    interface.anti_spoof, interface.mac, vpc.vni, vpc.mtu
                );
                self.add(place, action);
            }
            _ => self.add(place, "down()"),
        }
        for address in &interface.addresses {
            self.add(format!("addresses interface:{id} address:{address}"), "own()");
        }
        self.groups(interface);
    }

    /// Groups add up. Without any: all out, nothing in. One without a list for egress: all out.
    fn groups(&mut self, interface: &Interface) {
        let id = interface.id.0;
        let everything = Allowed { remotes: None, service: AllowedService::Any };
        if interface.groups.is_empty() {
            self.rule("egress_rules", id, &everything);
        }
        for group in &interface.groups {
            match group.egress_rules() {
                None => self.rule("egress_rules", id, &everything),
                Some(rules) => rules.for_each(|rule| self.rule("egress_rules", id, &rule)),
            }
            group.ingress_rules().for_each(|rule| self.rule("ingress_rules", id, &rule));
        }
    }

    fn rule(&mut self, table: &str, interface: u32, rule: &Allowed) {
        let services = match &rule.service {
            AllowedService::Any => vec![String::new()],
            AllowedService::Protocol(protocol) => vec![format!(" protocol:{protocol}")],
            AllowedService::Ports(protocol, ports) => port_prefixes(ports.clone())
                .map(|(port, mask)| format!(" protocol:{protocol} port:{port}&&&{mask}"))
                .collect(),
            AllowedService::Icmp(protocol, kind, None) => {
                vec![format!(" protocol:{protocol} icmp_type:{kind}")]
            }
            AllowedService::Icmp(protocol, kind, Some(code)) => {
                vec![format!(" protocol:{protocol} icmp_type:{kind} icmp_code:{code}")]
            }
        };
        let remotes: Vec<String> = match &rule.remotes {
            None => vec![String::new()],
            Some(prefixes) => prefixes.iter().map(|prefix| format!(" remote:{prefix}")).collect(),
        };
        for remote in &remotes {
            for service in &services {
                self.add(format!("{table} 1 interface:{interface}{remote}{service}"), "allow()");
            }
        }
    }

    fn vpc(&mut self, vpc: &Vpc) {
        let vni = vpc.vni;
        let ours = self.snapshot.node.vtep;
        if !vpc.local_by_mac.is_empty() {
            self.add(format!("vnis vni:{vni}"), "our_vpc()");
        }
        for (mac, interface) in &vpc.local_by_mac {
            self.add(
                format!("macs vni:{vni} mac:{mac}"),
                format!("interface_of_mac({})", interface.0),
            );
        }
        // What we send ourselves does not come in by the wire.
        for vtep in vpc.mappings.open_vteps().iter().filter(|vtep| **vtep != ours) {
            self.add(format!("sources 1 vni:{vni} vtep:{}", vtep.ip()), "allowed()");
        }
        for (address, mapping) in vpc.mappings.iter() {
            let vtep = mapping.vtep.ip();
            if mapping.vtep != ours {
                self.add(format!("sources 2 vni:{vni} vtep:{vtep} source:{address}"), "allowed()");
            }
            let interface = self.number_of(mapping);
            self.add(
                format!("mappings vni:{vni} address:{address}"),
                format!("interface({interface})"),
            );
            let subnet = number(mapping.subnet);
            self.add(
                format!("neighbors subnet:{subnet} address:{address}"),
                format!("neighbor({interface})"),
            );
        }
    }

    fn subnets(&mut self) {
        for (index, subnet) in self.snapshot.subnets() {
            let id = number(index);
            let v4 = subnet.v4.iter().map(|(_, gateway)| IpAddr::from(*gateway));
            let v6 = subnet.v6.iter().map(|(_, gateway)| IpAddr::from(*gateway));
            let link_local = IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
            let link_local = (!subnet.v6.is_empty()).then_some(link_local);
            for gateway in v4.chain(v6).chain(link_local) {
                self.add(format!("neighbors subnet:{id} address:{gateway}"), "neighbor(0)");
                let ipv6 = gateway.is_ipv6();
                self.add(format!("gateways subnet:{id} ipv6:{ipv6}"), "answers()");
            }
            // RFC 3021: with 31 bits there is no broadcast address.
            for (prefix, _) in subnet.v4.iter().filter(|(prefix, _)| prefix.prefix_len() < 31) {
                let last = prefix.broadcast();
                self.add(format!("broadcasts subnet:{id} address:{last}"), "several()");
            }
            for (destination, target) in subnet.routes.routes() {
                let action = match target {
                    RouteTarget::Local => "local()".to_owned(),
                    RouteTarget::Interface(mapping) => format!("via({})", self.number_of(mapping)),
                    RouteTarget::Blackhole => "blackhole()".to_owned(),
                };
                self.add(format!("routes route_table:{id} destination:{destination}"), action);
            }
        }
    }

    fn locations(&mut self) {
        let gateway_mac = |subnet| self.snapshot.subnet(subnet).map(|subnet| subnet.gateway_mac);
        let mut locations = Vec::new();
        for interface in self.snapshot.interfaces.values() {
            let action = match gateway_mac(interface.subnet) {
                Some(gateway_mac) if interface.enabled => format!(
                    "here(port:{}, mac:{}, subnet:{}, gateway_mac:{gateway_mac})",
                    port(interface),
                    interface.mac,
                    number(interface.subnet)
                ),
                _ => "down()".to_owned(),
            };
            locations.push((interface.id.0, action));
        }
        for (mapping, id) in &self.remote {
            let Location::Remote(tunnel) = mapping.location else { continue };
            let Some(gateway_mac) = gateway_mac(mapping.subnet) else { continue };
            let action = format!(
                "elsewhere(tunnel:{}, mac:{}, subnet:{}, gateway_mac:{gateway_mac})",
                tunnel.0,
                mapping.mac,
                number(mapping.subnet)
            );
            locations.push((*id, action));
        }
        for (id, action) in locations {
            self.add(format!("locations interface:{id}"), action);
        }
    }

    fn tunnel(&mut self, id: TunnelId, tunnel: &Tunnel) {
        let node = &self.snapshot.node;
        let remote = tunnel.vtep.ip();
        let next_hop =
            if node.underlay_prefix.contains(&remote) { Some(remote) } else { node.gateway };
        let mac = next_hop.and_then(|next_hop| node.neighbors.get(&next_hop));
        if let (Some(next_hop), None) = (next_hop, mac) {
            self.add(format!("next_hops tunnel:{}", id.0), format!("ask({next_hop})"));
        }
        let action = if next_hop.is_some() {
            let family = if remote.is_ipv4() { "ipv4" } else { "ipv6" };
            format!(
                "encapsulate_{family}(source:{}, destination:{remote}, dscp:{}, vni:{}, source_mac:{}, \
                 destination_mac:{}, port:0)",
                node.vtep.ip(),
                tunnel.dscp,
                tunnel.vni,
                node.mac,
                mac.map_or_else(|| "0".to_owned(), ToString::to_string)
            )
        } else {
            "unresolved()".to_owned()
        };
        self.add(format!("tunnels tunnel:{}", id.0), action);
    }
}

/// The port of an interface's VF: 0 is the wire.
fn port(interface: &Interface) -> u32 {
    u32::from(interface.vf.0) + 1
}
