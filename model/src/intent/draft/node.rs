//! Node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use packet::{Mac, VtepAddr};

use super::Field;
use crate::intent::address::family;
use crate::intent::object::{DEFAULT_UNDERLAY_MTU, DEFAULT_UPLINK, NodeSpec, Underlay};
use crate::intent::reader::{Known, Reader};
use crate::intent::report::{At, Position};
use crate::intent::yaml::{Entry, Node};

pub(in crate::intent) struct NodeDraft {
    pub(in crate::intent) vtep: Field<VtepAddr>,
    mac: Field<Mac>,
    pub(in crate::intent) underlay: Option<UnderlayDraft>,
}

pub(in crate::intent) struct UnderlayDraft {
    prefix: Field<IpNet>,
    /// `None` when it was refused.
    pub(in crate::intent) mtu: Option<u16>,
    gateway: Field<IpAddr>,
    neighbors: BTreeMap<IpAddr, Mac>,
}

impl NodeDraft {
    pub(super) fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<4> =
            Known { fields: ["vtep", "mac", "underlay", "uplinks"], later: &[] };
        let [vtep, mac, underlay, uplinks] = reader.fields(node, &KNOWN)?;
        let vtep = reader
            .required(node, "vtep", vtep)
            .and_then(|node| reader.parse(node, "an IP address of the underlay"));
        let mac = reader.required(node, "mac", mac).and_then(|node| reader.unicast_mac(node));
        let underlay = reader
            .required(node, "underlay", underlay)
            .and_then(|node| UnderlayDraft::read(node, reader));
        if let Some(uplinks) = uplinks {
            read_uplinks(uplinks, reader);
        }
        let draft = Self { vtep, mac, underlay };
        draft.check(reader);
        Some(draft)
    }

    /// Whether the parts fit together.
    fn check(&self, reader: &mut Reader<'_>) {
        let (Some(vtep), Some(underlay)) = (&self.vtep, &self.underlay) else { return };
        let Some(prefix) = &underlay.prefix else { return };
        let ip = vtep.value.ip();
        if family(ip) != family(prefix.value.addr()) {
            reader.error_with_hint(
                prefix.at,
                format!("the underlay prefix {} is not of the VTEP's family", prefix.value),
                format!("the VTEP {ip} needs an {} underlay", family(ip)),
            );
        } else if !prefix.value.contains(&ip) && underlay.gateway.is_none() {
            reader.error_with_hint(
                vtep.at,
                format!("the VTEP {ip} is outside the underlay prefix {}", prefix.value.trunc()),
                "give an address of the prefix, or `underlay.gateway` to reach the others",
            );
        } else if is_reserved(ip, prefix.value) {
            let message = format!("{ip} is the network or broadcast address of its underlay");
            reader.error_with_hint(vtep.at, message, "give a host address");
        }
        if let Some(gateway) = underlay.gateway.filter(|gateway| gateway.value == ip) {
            let message = format!("the gateway {ip} is the node's own VTEP");
            reader.error_with_hint(gateway.at, message, "give the router's address");
        }
    }

    pub(in crate::intent) fn of(spec: &NodeSpec, at: Position) -> Self {
        let underlay = &spec.underlay;
        Self {
            vtep: Some(At { value: spec.vtep, at }),
            mac: Some(At { value: spec.mac, at }),
            underlay: Some(UnderlayDraft {
                prefix: Some(At { value: underlay.prefix, at }),
                mtu: Some(underlay.mtu),
                gateway: underlay.gateway.map(|value| At { value, at }),
                neighbors: underlay.neighbors.clone(),
            }),
        }
    }

    pub(in crate::intent) fn finish(self) -> Option<NodeSpec> {
        let underlay = self.underlay?;
        Some(NodeSpec {
            vtep: self.vtep?.value,
            mac: self.mac?.value,
            underlay: Underlay {
                prefix: underlay.prefix?.value,
                mtu: underlay.mtu?,
                gateway: underlay.gateway.map(|gateway| gateway.value),
                neighbors: underlay.neighbors,
            },
            uplinks: vec![DEFAULT_UPLINK.to_owned()],
        })
    }
}

impl UnderlayDraft {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<4> =
            Known { fields: ["prefix", "mtu", "gateway", "neighbors"], later: &[] };
        let [prefix, mtu, gateway, neighbors] = reader.fields(node, &KNOWN)?;
        let prefix =
            reader.required(node, "prefix", prefix).and_then(|node| reader.any_prefix(node));
        // Every IPv6 link carries 1280 bytes (RFC 8200 section 5), every IPv4 host takes 576 (RFC 791).
        let least = match prefix.map(|prefix| prefix.value) {
            Some(IpNet::V6(_)) => 1280,
            _ => 576,
        };
        let mtu = match mtu {
            None => Some(DEFAULT_UNDERLAY_MTU),
            Some(node) => reader.integer(node, least..=u16::MAX).map(|mtu| mtu.value),
        };
        let gateway = gateway.and_then(|node| reader.address(node));
        if let (Some(gateway), Some(prefix)) = (gateway, prefix) {
            let (ip, prefix) = (gateway.value, prefix.value);
            if !prefix.contains(&ip) {
                let message = format!("the gateway {ip} is outside the prefix {}", prefix.trunc());
                reader.error_with_hint(
                    gateway.at,
                    message,
                    "give an address on the uplink's network",
                );
            } else if is_reserved(ip, prefix) {
                let message = format!("{ip} is the network or broadcast address of its underlay");
                reader.error_with_hint(gateway.at, message, "give the router's address");
            }
        }
        let entries = neighbors.and_then(|node| reader.map(node)).unwrap_or_default();
        let neighbors = read_neighbors(entries, prefix.map(|prefix| prefix.value), reader);
        Some(Self { prefix, mtu, gateway, neighbors })
    }
}

fn read_neighbors(
    entries: &[Entry<'_>],
    prefix: Option<IpNet>,
    reader: &mut Reader<'_>,
) -> BTreeMap<IpAddr, Mac> {
    let mut neighbors = BTreeMap::new();
    for entry in entries {
        let mac = reader.unicast_mac(&entry.value);
        let Ok(ip) = entry.key.parse::<IpAddr>() else {
            let key = crate::intent::name::shortened(&entry.key);
            reader.error(entry.at, format!("`{key}` is not an IP address"));
            continue;
        };
        if let Some(prefix) = prefix.filter(|prefix| family(prefix.addr()) != family(ip)) {
            let message = format!("the neighbor {ip} is not of the family of {}", prefix.trunc());
            reader.error_with_hint(entry.at, message, "give addresses of the underlay");
        }
        if let Some(mac) = mac
            && neighbors.insert(ip, mac.value).is_some()
        {
            let message = format!("the neighbor {ip} is given twice");
            reader.error_with_hint(entry.at, message, "keep one of them");
        }
    }
    neighbors
}

fn read_uplinks(node: &Node<'_>, reader: &mut Reader<'_>) {
    let Some(items) = reader.list(node) else { return };
    let names: Vec<_> = items.iter().filter_map(|item| reader.text(item, "a name")).collect();
    if names.len() == items.len() && names != [DEFAULT_UPLINK] {
        let what = format_args!("`uplinks` other than [{DEFAULT_UPLINK}]");
        reader.not_supported_yet(node.at, what);
    }
}

/// Whether an address of a prefix names no host.
fn is_reserved(ip: IpAddr, prefix: IpNet) -> bool {
    match (ip, prefix) {
        (IpAddr::V4(ip), IpNet::V4(prefix)) => {
            prefix.prefix_len() <= 30 && (ip == prefix.network() || ip == prefix.broadcast())
        }
        // RFC 4291 section 2.6.1; RFC 6164 lifts it for /127.
        (IpAddr::V6(ip), IpNet::V6(prefix)) => prefix.prefix_len() <= 126 && ip == prefix.network(),
        _ => false,
    }
}
