//! Interface.

use std::net::IpAddr;

use hashbrown::HashSet;
use packet::Mac;

use super::{Field, all_at, values};
use crate::intent::address::unusable;
use crate::intent::name::Name;
use crate::intent::object::InterfaceSpec;
use crate::intent::reader::{Known, Reader};
use crate::intent::report::{At, Position};
use crate::intent::yaml::Node;
use crate::snapshot::VfIndex;

pub(in crate::intent) struct InterfaceDraft {
    pub(in crate::intent) subnet: Field<Name>,
    pub(in crate::intent) node: Field<Name>,
    pub(in crate::intent) vf: Field<VfIndex>,
    pub(in crate::intent) mac: Field<Mac>,
    pub(in crate::intent) addresses: Vec<At<IpAddr>>,
    pub(in crate::intent) security_groups: Vec<At<Name>>,
    anti_spoof: bool,
    enabled: bool,
}

impl InterfaceDraft {
    pub(super) fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<8> = Known {
            fields: [
                "subnet",
                "node",
                "vf",
                "mac",
                "addresses",
                "securityGroups",
                "antiSpoof",
                "enabled",
            ],
            later: &["bandwidth", "mirror"],
        };
        let [subnet, on, vf, mac, addresses, groups, anti_spoof, enabled] =
            reader.fields(node, &KNOWN)?;
        let subnet = reader
            .required(node, "subnet", subnet)
            .and_then(|node| reader.parse(node, "a subnet's name"));
        let on =
            reader.required(node, "node", on).and_then(|node| reader.parse(node, "a node's name"));
        let vf = reader
            .required(node, "vf", vf)
            .and_then(|node| reader.integer(node, 0..=u16::MAX))
            .map(|vf| At { value: VfIndex(vf.value), at: vf.at });
        let mac = reader.required(node, "mac", mac).and_then(|node| reader.unicast_mac(node));
        let addresses = reader
            .required(node, "addresses", addresses)
            .and_then(|node| reader.list(node))
            .unwrap_or_default();
        let addresses = addresses.iter().filter_map(|node| read_address(node, reader)).collect();
        let groups = groups.and_then(|node| reader.list(node)).unwrap_or_default();
        let security_groups = read_groups(groups, reader);
        let mut truth = |node: Option<&Node<'_>>| node.and_then(|node| reader.truth(node));
        let anti_spoof = truth(anti_spoof).unwrap_or(true);
        let enabled = truth(enabled).unwrap_or(true);
        Some(Self { subnet, node: on, vf, mac, addresses, security_groups, anti_spoof, enabled })
    }

    pub(in crate::intent) fn of(spec: &InterfaceSpec, at: Position) -> Self {
        Self {
            subnet: Some(At { value: spec.subnet.clone(), at }),
            node: Some(At { value: spec.node.clone(), at }),
            vf: Some(At { value: spec.vf, at }),
            mac: Some(At { value: spec.mac, at }),
            addresses: all_at(&spec.addresses, at),
            security_groups: all_at(&spec.security_groups, at),
            anti_spoof: spec.anti_spoof,
            enabled: spec.enabled,
        }
    }

    pub(in crate::intent) fn finish(self) -> Option<InterfaceSpec> {
        Some(InterfaceSpec {
            subnet: self.subnet?.value,
            node: self.node?.value,
            vf: self.vf?.value,
            mac: self.mac?.value,
            addresses: values(self.addresses),
            security_groups: values(self.security_groups),
            anti_spoof: self.anti_spoof,
            enabled: self.enabled,
        })
    }
}

fn read_address(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<At<IpAddr>> {
    let address = reader.address(node)?;
    if let Some(what) = unusable(address.value) {
        let message = format!("{} is {what}; an interface cannot have it", address.value);
        reader.error_with_hint(node.at, message, "give a unicast address of the subnet");
        return None;
    }
    Some(address)
}

fn read_groups(items: &[Node<'_>], reader: &mut Reader<'_>) -> Vec<At<Name>> {
    let mut seen = HashSet::new();
    let mut groups: Vec<At<Name>> = Vec::with_capacity(items.len());
    for item in items {
        let Some(group) = reader.parse::<Name>(item, "a security group's name") else { continue };
        if seen.insert(group.value.clone()) {
            groups.push(group);
        } else {
            let message = format!("security group `{}` is given twice", group.value);
            reader.error_with_hint(group.at, message, "keep one of them");
        }
    }
    groups
}
