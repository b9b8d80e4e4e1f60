//! A host's devices as a tree, for a terminal.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::device::config_space::ExpressKind;
use crate::device::{FunctionKind, Inventory, NetDevice, PciFunction, PfDevice};
use crate::sysfs::PciAddress;

/// A line of the tree and what is below it.
struct Branch {
    line: String,
    below: Vec<Branch>,
}

/// Draws NUMA nodes, root complexes, ports, NICs with their VFs, and GPUs; `holder` says who has a VF.
#[must_use]
pub fn draw(inventory: &Inventory, holder: impl Fn(PciAddress) -> Option<String>) -> String {
    let place = |f: &PciFunction| (f.numa_node.unwrap_or(u32::MAX), f.root.clone());
    let roots: BTreeSet<(u32, String)> =
        inventory.functions.iter().filter(|f| f.path.is_empty()).map(place).collect();
    let nodes: BTreeSet<u32> = roots.iter().map(|(node, _)| *node).collect();
    let mut text = String::new();
    for node in nodes {
        let line =
            if node == u32::MAX { "no NUMA node".into() } else { format!("NUMA node {node}") };
        let complexes = roots.iter().filter(|(of, _)| *of == node);
        let below = complexes
            .map(|(_, root)| Branch {
                line: format!("root complex {root}"),
                below: children(inventory, &holder, &|f: &PciFunction| {
                    f.path.is_empty() && place(f) == (node, root.clone())
                }),
            })
            .collect();
        write(&Branch { line, below }, "", None, &mut text);
    }
    let elsewhere: Vec<Branch> = inventory
        .physical_functions
        .iter()
        .filter(|pf| !matches!(pf.device, PfDevice::Pci(_)))
        .map(|pf| Branch {
            line: match net(pf.net.as_ref()) {
                Some(net) => format!("NIC {} {net}", pf.device),
                None => format!("NIC {}", pf.device),
            },
            below: pf
                .vfs
                .iter()
                .map(|vf| Branch {
                    line: match &vf.vhost_user {
                        Some(socket) => format!("{} {}", vf.number, socket.display()),
                        None => vf.number.to_string(),
                    },
                    below: Vec::new(),
                })
                .collect(),
        })
        .collect();
    if !elsewhere.is_empty() {
        write(&Branch { line: "no PCI bus".into(), below: elsewhere }, "", None, &mut text);
    }
    text
}

/// The branches of those functions; each with what is directly below it.
fn children(
    inventory: &Inventory,
    holder: &dyn Fn(PciAddress) -> Option<String>,
    belongs: &dyn Fn(&PciFunction) -> bool,
) -> Vec<Branch> {
    // VFs are drawn below their PF, although they are beside it on the bus.
    let own = |f: &&PciFunction| f.physical.is_none() && belongs(f);
    inventory
        .functions
        .iter()
        .filter(own)
        .map(|function| {
            let port = |f: &PciFunction| f.path.last() == Some(&function.address);
            let mut below = children(inventory, holder, &port);
            let vfs = inventory.functions.iter().filter(|f| f.physical == Some(function.address));
            below.extend(vfs.map(|vf| Branch {
                line: describe(inventory, vf, holder(vf.address)),
                below: Vec::new(),
            }));
            Branch { line: describe(inventory, function, None), below }
        })
        .collect()
}

fn describe(inventory: &Inventory, function: &PciFunction, holder: Option<String>) -> String {
    let address = function.address;
    let what = match (function.kind, function.express) {
        (FunctionKind::Gpu, _) => "GPU".into(),
        (FunctionKind::Network, _) if function.physical.is_some() => {
            let number = inventory.vfs().find(|(_, vf)| vf.address == Some(address));
            number.map_or_else(|| "VF".into(), |(_, vf)| vf.number.to_string())
        }
        (FunctionKind::Network, _) => "NIC".into(),
        (FunctionKind::Bridge, Some(ExpressKind::RootPort)) => "root port".into(),
        (FunctionKind::Bridge, Some(ExpressKind::UpstreamPort)) => "switch".into(),
        (FunctionKind::Bridge, Some(ExpressKind::DownstreamPort)) => "switch port".into(),
        (FunctionKind::Bridge, _) => "bridge".into(),
        (FunctionKind::Other, _) => format!("class {:06x}", function.class),
    };
    let mut parts = vec![what, address.to_string()];
    if let Some(group) = function.iommu_group {
        parts.push(format!("group {group}"));
    }
    if let Some(driver) = &function.driver {
        parts.push(format!("[{driver}]"));
    }
    let pf = inventory.physical_functions.iter().find(|pf| pf.device == PfDevice::Pci(address));
    if let Some(pf) = pf {
        parts.extend(net(pf.net.as_ref()));
        if let Some(card) = &pf.card {
            parts.push(format!("serial {card}"));
        }
    }
    if let Some(holder) = holder {
        parts.push(format!("-> {holder}"));
    }
    parts.join(" ")
}

fn net(net: Option<&NetDevice>) -> Option<String> {
    net.map(|net| match net.mac {
        Some(mac) => format!("{} {mac}", net.name),
        None => net.name.to_string(),
    })
}

/// Writes a branch: `indent` is what its children's lines begin with, `last` whether no other of its parent follows.
fn write(branch: &Branch, indent: &str, last: Option<bool>, text: &mut String) {
    let (own, below) = match last {
        None => ("", String::new()),
        Some(false) => ("├─ ", format!("{indent}│  ")),
        Some(true) => ("└─ ", format!("{indent}   ")),
    };
    // Writing to a text does not fail.
    let _ = writeln!(text, "{indent}{own}{}", branch.line);
    for (at, child) in branch.below.iter().enumerate() {
        write(child, &below, Some(at + 1 == branch.below.len()), text);
    }
}
