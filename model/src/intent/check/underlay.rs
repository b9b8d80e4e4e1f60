//! The underlay: VTEPs, and what fits through.

use hashbrown::HashMap;
use ipnet::IpNet;
use packet::VtepAddr;

use super::{Checker, Links};
use crate::intent::address::{AddressFamily, family};
use crate::intent::name::Name;
use crate::intent::object::{DEFAULT_UNDERLAY_MTU, NodeSpec, VpcSpec};
use crate::intent::report::Position;

/// What VXLAN takes of an underlay packet, bytes: inner Ethernet 14, VXLAN 8, UDP 8, and the outer IP header.
const fn overhead(outer: AddressFamily) -> u16 {
    match outer {
        AddressFamily::V4 => 14 + 8 + 8 + 20,
        AddressFamily::V6 => 14 + 8 + 8 + 40,
    }
}

/// The smallest MTU that IPv6 works with (RFC 8200 section 5).
const LEAST_V6: u16 = 1280;
/// The smallest that every IPv4 host takes whole (RFC 791).
const LEAST_V4: u16 = 576;

/// A node as a VPC's packets see it.
#[derive(Clone, Copy)]
struct Host<'c> {
    name: &'c Name,
    family: AddressFamily,
    underlay_mtu: u16,
}

impl Host<'_> {
    fn room(&self) -> u16 {
        self.underlay_mtu.saturating_sub(overhead(self.family))
    }
}

/// The longest IP packet of a VM that a node's underlay takes, bytes.
pub(in crate::intent) fn room(node: &NodeSpec) -> u16 {
    node.underlay.mtu.saturating_sub(overhead(family(node.vtep.ip())))
}

impl<'c> Checker<'c> {
    /// No VTEP twice.
    pub(super) fn vteps(&mut self) {
        let mut seen: HashMap<VtepAddr, Position> = HashMap::new();
        for node in &self.drafts.nodes {
            let Some(vtep) = node.spec.as_ref().and_then(|spec| spec.vtep) else { continue };
            if let Some(first) = seen.get(&vtep.value) {
                let hint = format!("give another; the first is at {}", self.place(*first));
                let message = format!("VTEP {} is another node's", vtep.value);
                self.error::<NodeSpec>(&node.name.value, vtep.at, message, hint);
            } else {
                seen.insert(vtep.value, vtep.at);
            }
        }
    }

    /// The MTU of each VPC: what was asked for, or what the underlay leaves.
    pub(super) fn mtus(&mut self, links: &Links) -> Vec<u16> {
        let hosts: Vec<Option<Host<'c>>> = self
            .drafts
            .nodes
            .iter()
            .map(|node| {
                let spec = node.spec.as_ref()?;
                Some(Host {
                    name: &node.name.value,
                    family: family(spec.vtep?.value.ip()),
                    underlay_mtu: spec.underlay.as_ref()?.mtu?,
                })
            })
            .collect();
        let anywhere = narrowest(hosts.iter().flatten().copied());
        // The narrowest host of each family; `None` for a VPC without interfaces.
        let mut of_vpcs: Vec<[Option<Host<'c>>; 2]> = vec![[None; 2]; self.drafts.vpcs.len()];
        for (interface, node) in links.node_of_interface.iter().enumerate() {
            if let Some(host) = node.and_then(|node| *hosts.get(node)?)
                && let Some(vpc) = links.vpc_of_interface(interface)
                && let Some([v4, v6]) = of_vpcs.get_mut(vpc)
            {
                let place = if host.family == AddressFamily::V4 { v4 } else { v6 };
                *place = narrowest(place.iter().copied().chain([host]));
            }
        }
        (0..).zip(of_vpcs).map(|(vpc, hosts)| self.mtu(vpc, hosts, anywhere)).collect()
    }

    fn mtu(
        &mut self,
        vpc: usize,
        [v4, v6]: [Option<Host<'c>>; 2],
        anywhere: Option<Host<'c>>,
    ) -> u16 {
        let default = DEFAULT_UNDERLAY_MTU - overhead(AddressFamily::V4);
        let Some(vpc) = self.drafts.vpcs.get(vpc) else { return default };
        let (name, Some(spec)) = (&vpc.name, &vpc.spec) else { return default };
        if let (Some(v4), Some(v6)) = (v4, v6) {
            let message = format!(
                "its interfaces are on nodes with IPv4 VTEPs (`{}`) and with IPv6 VTEPs (`{}`)",
                v4.name, v6.name
            );
            let hint =
                "keep a VPC on nodes whose VTEPs are of one family; they cannot reach the others";
            self.error::<VpcSpec>(&name.value, name.at, message, hint);
        }
        let host = narrowest(v4.into_iter().chain(v6)).or(anywhere);
        let room = host.map_or(default, |host| host.room());
        let why = host.map_or_else(String::new, |host| {
            let bytes = overhead(host.family);
            format!(" (node {}: {} of the underlay minus {bytes})", host.name, host.underlay_mtu)
        });
        let (mtu, at) = spec.mtu.map_or((room, name.at), |mtu| (mtu.value, mtu.at));
        let has_v6 = spec.cidrs.iter().any(|cidr| matches!(cidr.value, IpNet::V6(_)));
        let (least, protocol) = if has_v6 { (LEAST_V6, "IPv6") } else { (LEAST_V4, "IPv4") };
        let widen = || "give the underlay a larger MTU".to_owned();
        if mtu > room {
            let message = format!("MTU {mtu} does not fit the underlay: at most {room}{why}");
            let smaller = || format!("write {room}, or leave `mtu` out for the largest that fits");
            let hint = if room < least { widen() } else { smaller() };
            self.error::<VpcSpec>(&name.value, at, message, hint);
        }
        if mtu < least && spec.mtu.is_some() {
            let message = format!("MTU {mtu} is below {least}, the least for {protocol}");
            self.error::<VpcSpec>(&name.value, at, message, format!("write at least {least}"));
        } else if mtu < least {
            let message =
                format!("the underlay leaves an MTU of {mtu}, and {protocol} needs {least}{why}");
            self.error::<VpcSpec>(&name.value, at, message, widen());
        }
        mtu
    }
}

/// The host that leaves least room; of several the first.
fn narrowest<'c>(hosts: impl Iterator<Item = Host<'c>>) -> Option<Host<'c>> {
    hosts.min_by_key(Host::room)
}
