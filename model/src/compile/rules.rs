//! Groups and rules of intent to those of the snapshot.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::intent;
use crate::policy::{self, Group, Members, Remote};

/// The members of groups that rules name, by the group's name.
pub(super) type Registry = HashMap<intent::Name, Arc<Members>>;

/// A group, compiled; the old one where that says the same.
pub(super) fn group(
    object: &intent::SecurityGroup,
    members: &Registry,
    old: Option<&Arc<Group>>,
) -> Arc<Group> {
    let spec = &object.spec;
    let ingress: Option<Vec<_>> = spec
        .ingress
        .as_ref()
        .map(|rules| rules.iter().map(|r| rule(r.traffic, r.from.as_ref(), members)).collect());
    let egress: Option<Vec<_>> = spec
        .egress
        .as_ref()
        .map(|rules| rules.iter().map(|r| rule(r.traffic, r.to.as_ref(), members)).collect());
    match old.filter(|old| old.is_compiled_from(ingress.as_deref(), egress.as_deref())) {
        Some(old) => Arc::clone(old),
        None => Arc::new(Group::compile(object.name().to_string(), ingress, egress)),
    }
}

/// The groups that a group's rules name.
pub(super) fn named(spec: &intent::SecurityGroupSpec) -> impl Iterator<Item = &intent::Name> {
    let ingress = spec.ingress.iter().flatten().filter_map(|rule| rule.from.as_ref());
    let egress = spec.egress.iter().flatten().filter_map(|rule| rule.to.as_ref());
    ingress.chain(egress).filter_map(|peer| match peer {
        intent::Peer::SecurityGroup(name) => Some(name),
        intent::Peer::Cidr(_) => None,
    })
}

/// The addresses of a group's interfaces; the old ones where they are the same.
pub(super) fn members(
    group: &str,
    mut addresses: Vec<IpAddr>,
    old: Option<&Arc<Members>>,
) -> Arc<Members> {
    addresses.sort_unstable();
    match old.filter(|old| old.addresses == addresses) {
        Some(old) => Arc::clone(old),
        None => Arc::new(Members { group: group.to_owned(), addresses }),
    }
}

/// A rule with its names resolved.
fn rule(traffic: intent::Traffic, peer: Option<&intent::Peer>, members: &Registry) -> policy::Rule {
    let remote = match peer {
        None => Remote::Any,
        Some(intent::Peer::Cidr(prefix)) => Remote::Prefix(*prefix),
        Some(intent::Peer::SecurityGroup(name)) => {
            members.get(name.as_str()).map_or_else(
                // No members: matches nothing.
                || {
                    Remote::Members(Arc::new(Members {
                        group: name.to_string(),
                        addresses: Vec::new(),
                    }))
                },
                |members| Remote::Members(Arc::clone(members)),
            )
        }
    };
    policy::Rule { service: traffic.into(), remote }
}

impl From<intent::Traffic> for policy::Service {
    fn from(traffic: intent::Traffic) -> Self {
        use intent::Traffic;
        use policy::{ICMP, ICMPV6, TCP, UDP};
        let ports = |protocol, ports: Option<intent::PortRange>| match ports {
            Some(range) => Self::ports(protocol, range.first(), range.last()),
            None => Self::protocol(protocol),
        };
        let types = |protocol, icmp: Option<intent::IcmpType>| match icmp {
            Some(icmp) => Self::icmp(protocol, icmp.kind, icmp.code),
            None => Self::protocol(protocol),
        };
        match traffic {
            Traffic::Any => Self::ANY,
            Traffic::Tcp(range) => ports(TCP, range),
            Traffic::Udp(range) => ports(UDP, range),
            Traffic::Icmp(icmp) => types(ICMP, icmp),
            Traffic::Icmpv6(icmp) => types(ICMPV6, icmp),
            Traffic::Protocol(number) => Self::protocol(number),
        }
    }
}
