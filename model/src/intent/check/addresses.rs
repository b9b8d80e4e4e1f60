//! Prefixes and addresses: nested as they must be, and nothing twice.

use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;
use packet::Mac;

use super::{Checker, Links};
use crate::intent::address::{PrefixSet, gateway_of};
use crate::intent::draft::{InterfaceDraft, SubnetDraft};
use crate::intent::name::Name;
use crate::intent::object::{InterfaceSpec, SubnetSpec, VpcSpec};
use crate::intent::report::{At, Position};
use crate::snapshot::VfIndex;

/// A prefix and the object that has it.
struct Owned<'c> {
    cidr: At<IpNet>,
    owner: &'c Name,
}

/// What may be there once only, and where it was first.
struct Seen {
    vfs: HashMap<(usize, VfIndex), Position>,
    macs: HashMap<(usize, Mac), Position>,
    addresses: HashMap<(usize, IpAddr), Position>,
}

impl Checker<'_> {
    /// The VPCs' prefixes do not overlap; the subnets' are within their VPC's and do not overlap.
    pub(super) fn prefixes(&mut self, links: &Links) {
        let drafts = self.drafts;
        let mut of_subnets: Vec<Vec<Owned<'_>>> = drafts.vpcs.iter().map(|_| Vec::new()).collect();
        for (subnet, vpc) in drafts.subnets.iter().zip(&links.vpc_of_subnet) {
            let cidrs = subnet.spec.iter().flat_map(|spec| &spec.cidrs);
            if let Some(list) = vpc.and_then(|vpc| of_subnets.get_mut(vpc)) {
                list.extend(cidrs.map(|cidr| Owned { cidr: *cidr, owner: &subnet.name.value }));
            }
        }
        for (vpc, subnets) in drafts.vpcs.iter().zip(of_subnets) {
            let Some(spec) = &vpc.spec else { continue };
            let own = spec.cidrs.iter().map(|cidr| Owned { cidr: *cidr, owner: &vpc.name.value });
            for (cidr, other) in overlaps(own.collect()) {
                let message = format!("{} overlaps {}", cidr.cidr.value, other.cidr.value);
                let hint = "keep the larger one".to_owned();
                self.error::<VpcSpec>(cidr.owner, cidr.cidr.at, message, hint);
            }
            let vpc_cidrs: PrefixSet = spec.cidrs.iter().map(|cidr| cidr.value).collect();
            // Where a VPC has no prefix that could be read, all else would be noise.
            let outside = subnets
                .iter()
                .filter(|s| !spec.cidrs.is_empty() && !vpc_cidrs.covers(s.cidr.value));
            for Owned { cidr, owner } in outside {
                let message = format!(
                    "{} is not within the CIDRs of VPC {} ({vpc_cidrs})",
                    cidr.value, vpc.name.value
                );
                let hint = "take a part of the VPC's CIDRs, or add one to the VPC";
                self.error::<SubnetSpec>(owner, cidr.at, message, hint);
            }
            for (cidr, other) in overlaps(subnets) {
                let whose = if cidr.owner == other.owner {
                    format!("{} of the same subnet", other.cidr.value)
                } else {
                    format!("{} of subnet {}", other.cidr.value, other.owner)
                };
                let hint = format!("the other is at {}", self.place(other.cidr.at));
                let message = format!("{} overlaps {whose}", cidr.cidr.value);
                self.error::<SubnetSpec>(cidr.owner, cidr.cidr.at, message, hint);
            }
        }
    }

    /// VFs, MACs and addresses: each once, and the addresses within their subnet.
    pub(super) fn interfaces(&mut self, links: &Links) {
        let drafts = self.drafts;
        let sets: Vec<PrefixSet> = drafts
            .subnets
            .iter()
            .map(|subnet| subnet.spec.iter().flat_map(|s| &s.cidrs).map(|c| c.value).collect())
            .collect();
        let count = drafts.interfaces.len();
        let mut seen = Seen {
            vfs: HashMap::with_capacity(count),
            macs: HashMap::with_capacity(count),
            addresses: HashMap::with_capacity(count),
        };
        for (index, interface) in drafts.interfaces.iter().enumerate() {
            let name = &interface.name.value;
            let Some(spec) = &interface.spec else { continue };
            let node = links.node_of_interface.get(index).copied().flatten();
            if let (Some(node), Some(vf)) = (node, &spec.vf) {
                let what = || format!("VF {} of the node is another interface's", vf.value.0);
                self.once(&mut seen.vfs, (node, vf.value), name, vf.at, what);
            }
            if let (Some(vpc), Some(mac)) = (links.vpc_of_interface(index), &spec.mac) {
                let what = || format!("MAC {} is another interface's in the VPC", mac.value);
                self.once(&mut seen.macs, (vpc, mac.value), name, mac.at, what);
            }
            for address in &spec.addresses {
                if let Some(vpc) = links.vpc_of_interface(index) {
                    let what = || format!("address {} is given before in the VPC", address.value);
                    self.once(&mut seen.addresses, (vpc, address.value), name, address.at, what);
                }
            }
            let subnet = links.subnet_of_interface.get(index).copied().flatten();
            if let Some(subnet) = subnet
                && let (Some(draft), Some(set)) = (drafts.subnets.get(subnet), sets.get(subnet))
                && let Some(subnet) = &draft.spec
            {
                self.interface_in_subnet(name, spec, (&draft.name.value, subnet), set);
            }
        }
    }

    fn once<K: std::hash::Hash + Eq>(
        &mut self,
        seen: &mut HashMap<K, Position>,
        key: K,
        owner: &Name,
        at: Position,
        what: impl FnOnce() -> String,
    ) {
        match seen.entry(key) {
            hashbrown::hash_map::Entry::Vacant(place) => {
                place.insert(at);
            }
            hashbrown::hash_map::Entry::Occupied(first) => {
                let hint = format!("give another; the first is at {}", self.place(*first.get()));
                self.error::<InterfaceSpec>(owner, at, what(), hint);
            }
        }
    }

    fn interface_in_subnet(
        &mut self,
        name: &Name,
        spec: &InterfaceDraft,
        (subnet_name, subnet): (&Name, &SubnetDraft),
        cidrs: &PrefixSet,
    ) {
        if let Some(mac) = &spec.mac
            && subnet.gateway_mac == Some(mac.value)
        {
            let message = format!("MAC {} is that of its subnet's gateway", mac.value);
            self.error::<InterfaceSpec>(name, mac.at, message, "give another");
        }
        // Where a subnet has no prefix that could be read, all else would be noise.
        let addresses = if subnet.cidrs.is_empty() { &[] } else { &spec.addresses[..] };
        for At { value: address, at } in addresses {
            let message = match Misplaced::of(*address, cidrs) {
                Some(Misplaced::Outside) => {
                    format!("address {address} is outside its subnet {subnet_name} ({cidrs})")
                }
                Some(Misplaced::Gateway) => {
                    format!("address {address} is the gateway of its subnet {subnet_name}")
                }
                Some(Misplaced::Network(cidr)) => {
                    format!("address {address} is the network address of {cidr}")
                }
                Some(Misplaced::Broadcast(cidr)) => {
                    format!("address {address} is the broadcast address of {cidr}")
                }
                None => continue,
            };
            let hint =
                format!("give a host address of {cidrs}; the first of a CIDR is its gateway");
            self.error::<InterfaceSpec>(name, *at, message, hint);
        }
    }
}

/// Why no interface of a subnet can have an address.
pub(in crate::intent) enum Misplaced {
    Outside,
    Gateway,
    Network(IpNet),
    Broadcast(IpNet),
}

impl Misplaced {
    pub(in crate::intent) fn of(address: IpAddr, cidrs: &PrefixSet) -> Option<Self> {
        match cidrs.around(address) {
            None => Some(Self::Outside),
            Some(cidr) if gateway_of(cidr) == address => Some(Self::Gateway),
            Some(cidr) if cidr.network() == address => Some(Self::Network(cidr)),
            Some(cidr @ IpNet::V4(v4)) if IpAddr::V4(v4.broadcast()) == address => {
                Some(Self::Broadcast(cidr))
            }
            Some(_) => None,
        }
    }
}

/// Each prefix that overlaps one before it in the order of addresses, with that one.
fn overlaps(mut list: Vec<Owned<'_>>) -> Vec<(Owned<'_>, Owned<'_>)> {
    // Stable: of equal prefixes the later one in the files is the one to mend.
    list.sort_by_key(|owned| (owned.cidr.value.network(), owned.cidr.value.prefix_len()));
    let mut found = Vec::new();
    let mut around: Option<Owned<'_>> = None;
    for owned in list {
        match &around {
            Some(outer) if outer.cidr.value.contains(&owned.cidr.value) => {
                let outer = Owned { cidr: outer.cidr, owner: outer.owner };
                found.push((owned, outer));
            }
            _ => around = Some(owned),
        }
    }
    found
}
