//! Subnet.

use std::net::IpAddr;

use ipnet::IpNet;
use packet::Mac;

use super::{Field, all_at, read_cidrs, values};
use crate::intent::address::unusable;
use crate::intent::name::Name;
use crate::intent::object::{DEFAULT_GATEWAY_MAC, SubnetSpec};
use crate::intent::reader::{Known, Reader};
use crate::intent::report::{At, Position};
use crate::intent::yaml::Node;

pub(in crate::intent) struct SubnetDraft {
    pub(in crate::intent) vpc: Field<Name>,
    pub(in crate::intent) cidrs: Vec<At<IpNet>>,
    pub(in crate::intent) route_table: Field<Name>,
    dns: Vec<IpAddr>,
    /// `None` when it was refused.
    pub(in crate::intent) gateway_mac: Option<Mac>,
}

impl SubnetDraft {
    pub(super) fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<5> = Known {
            fields: ["vpc", "cidrs", "routeTable", "dns", "gatewayMac"],
            later: &["networkAcl"],
        };
        let [vpc, cidrs, route_table, dns, gateway_mac] = reader.fields(node, &KNOWN)?;
        let vpc =
            reader.required(node, "vpc", vpc).and_then(|node| reader.parse(node, "a VPC's name"));
        let mut cidrs = reader
            .required(node, "cidrs", cidrs)
            .map_or_else(Vec::new, |node| read_cidrs(node, "subnet", reader));
        cidrs.retain(|cidr| has_room(cidr, reader));
        let route_table = route_table.and_then(|node| reader.parse(node, "a route table's name"));
        let servers = dns.and_then(|node| reader.list(node)).unwrap_or_default();
        let dns = servers.iter().filter_map(|node| read_server(node, reader)).collect();
        let gateway_mac = match gateway_mac {
            None => Some(DEFAULT_GATEWAY_MAC),
            Some(node) => reader.unicast_mac(node).map(|mac| mac.value),
        };
        Some(Self { vpc, cidrs, route_table, dns, gateway_mac })
    }

    pub(in crate::intent) fn of(spec: &SubnetSpec, at: Position) -> Self {
        Self {
            vpc: Some(At { value: spec.vpc.clone(), at }),
            cidrs: all_at(&spec.cidrs, at),
            route_table: spec.route_table.clone().map(|value| At { value, at }),
            dns: spec.dns.clone(),
            gateway_mac: Some(spec.gateway_mac),
        }
    }

    pub(in crate::intent) fn finish(self) -> Option<SubnetSpec> {
        Some(SubnetSpec {
            vpc: self.vpc?.value,
            cidrs: values(self.cidrs),
            route_table: self.route_table.map(|table| table.value),
            dns: self.dns,
            gateway_mac: self.gateway_mac?,
        })
    }
}

/// Whether a gateway and a host fit into a prefix.
fn has_room(cidr: &At<IpNet>, reader: &mut Reader<'_>) -> bool {
    let longest = match cidr.value {
        IpNet::V4(_) => 30,
        IpNet::V6(_) => 126,
    };
    let fits = cidr.value.prefix_len() <= longest;
    if !fits {
        let message = format!("{} has no room for a gateway and a host", cidr.value);
        reader.error_with_hint(cidr.at, message, format!("give a /{longest} or larger"));
    }
    fits
}

fn read_server(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<IpAddr> {
    let server = reader.address(node)?.value;
    if let Some(what) = unusable(server) {
        reader.error(node.at, format!("{server} is {what}; no DNS server has it"));
        return None;
    }
    Some(server)
}
