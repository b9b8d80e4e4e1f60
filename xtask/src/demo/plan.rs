//! Who takes part, as `xtask/demo/network.yaml` has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Everything the demo writes lies here: root's own, as DPDK loads no driver from where others may write.
pub const DIRECTORY: &str = "/var/lib/penstock-demo";

/// A machine that ends tunnels.
pub struct Node {
    /// Its name in intent.
    pub name: &'static str,
    /// Its network namespace.
    pub namespace: &'static str,
    /// Where its tunnels end.
    pub vtep: Ipv4Addr,
    /// Its uplink's MAC.
    pub mac: &'static str,
    /// How many VFs its simulated NIC has; a node without is a plain Linux machine.
    pub vfs: u16,
}

impl Node {
    /// A file or directory of this node's.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(DIRECTORY).join(self.name).join(name)
    }
}

/// The first DPU.
pub const DPU_A: Node = Node {
    name: "dpu-a",
    namespace: "penstock-dpu-a",
    vtep: Ipv4Addr::new(192, 0, 2, 1),
    mac: "02:00:00:0a:00:01",
    vfs: 3,
};
/// The second DPU.
pub const DPU_B: Node = Node {
    name: "dpu-b",
    namespace: "penstock-dpu-b",
    vtep: Ipv4Addr::new(192, 0, 2, 2),
    mac: "02:00:00:0a:00:02",
    vfs: 2,
};
/// A Linux machine.
pub const NODE_C: Node = Node {
    name: "node-c",
    namespace: "penstock-node-c",
    vtep: Ipv4Addr::new(192, 0, 2, 3),
    mac: "02:00:00:0a:00:03",
    vfs: 0,
};
/// All of them.
pub const NODES: [&Node; 3] = [&DPU_A, &DPU_B, &NODE_C];
/// The namespace of the network between them.
pub const UNDERLAY: &str = "penstock-underlay";
/// Bits of the underlay's network.
pub const UNDERLAY_PREFIX: u8 = 24;

/// A VM: a namespace with a network stack of its own.
pub struct Vm {
    /// Its interface's name in intent.
    pub name: &'static str,
    /// Its network namespace.
    pub namespace: &'static str,
    /// Where it runs.
    pub node: &'static Node,
    /// Its VF there.
    pub vf: u16,
    /// Its MAC.
    pub mac: &'static str,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
    /// What DHCP says of its tenant's servers of DNS.
    pub dns: (&'static str, &'static str),
}

impl Vm {
    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// A file or directory of this VM's.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(DIRECTORY).join(self.name).join(name)
    }
}

const RED_DNS: (&str, &str) = ("10.1.0.53", "fd00:10:0:1::53");
const BLUE_DNS: (&str, &str) = ("10.1.0.54", "fd00:10:0:1::54");

const fn v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, host)
}

const fn v6(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x10, 0, 1, 0, 0, 0, host)
}

/// The red tenant's first VM, behind the first DPU.
pub const RED_1: Vm = Vm {
    name: "red-1",
    namespace: "penstock-red-1",
    node: &DPU_A,
    vf: 0,
    mac: "02:00:00:00:00:11",
    v4: v4(11),
    v6: v6(0x11),
    dns: RED_DNS,
};
/// Beside it, behind the same DPU.
pub const RED_2: Vm = Vm {
    name: "red-2",
    namespace: "penstock-red-2",
    node: &DPU_A,
    vf: 1,
    mac: "02:00:00:00:00:12",
    v4: v4(12),
    v6: v6(0x12),
    dns: RED_DNS,
};
/// Behind the other DPU.
pub const RED_3: Vm = Vm {
    name: "red-3",
    namespace: "penstock-red-3",
    node: &DPU_B,
    vf: 0,
    mac: "02:00:00:00:00:13",
    v4: v4(13),
    v6: v6(0x13),
    dns: RED_DNS,
};
/// Behind the Linux machine, without DHCP.
pub const RED_4: Vm = Vm {
    name: "red-4",
    namespace: "penstock-red-4",
    node: &NODE_C,
    vf: 0,
    mac: "02:00:00:00:00:14",
    v4: v4(14),
    v6: v6(0x14),
    dns: RED_DNS,
};
/// The blue tenant's twin of red-1.
pub const BLUE_1: Vm = Vm {
    name: "blue-1",
    namespace: "penstock-blue-1",
    node: &DPU_A,
    vf: 2,
    mac: "02:00:00:00:00:11",
    v4: v4(11),
    v6: v6(0x11),
    dns: BLUE_DNS,
};
/// The blue tenant's twin of red-3.
pub const BLUE_3: Vm = Vm {
    name: "blue-3",
    namespace: "penstock-blue-3",
    node: &DPU_B,
    vf: 1,
    mac: "02:00:00:00:00:13",
    v4: v4(13),
    v6: v6(0x13),
    dns: BLUE_DNS,
};
/// All of them.
pub const VMS: [&Vm; 6] = [&RED_1, &RED_2, &RED_3, &RED_4, &BLUE_1, &BLUE_3];
/// The red tenant's VNI.
pub const RED_VNI: u32 = 1001;
/// The gateway of both tenants' subnets.
pub const GATEWAY_V4: Ipv4Addr = v4(1);
/// The same for IPv6.
pub const GATEWAY_V6: Ipv6Addr = v6(1);
/// What router advertisements call it.
pub const GATEWAY_LINK_LOCAL: &str = "fe80::1";
/// The gateways' MAC.
pub const GATEWAY_MAC: &str = "02:50:4e:53:00:01";
/// Longest IP packet within a tenant: the underlay's 1500 less VXLAN over IPv4.
pub const MTU: u16 = 1450;

/// All namespaces, in the order in which they are removed.
pub fn namespaces() -> impl Iterator<Item = &'static str> {
    let vms = VMS.iter().map(|vm| vm.namespace);
    vms.chain(NODES.iter().map(|node| node.namespace)).chain([UNDERLAY])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document of intent that begins so.
    fn document(name: &str) -> &'static str {
        include_str!("../../demo/network.yaml")
            .split("---")
            .find(|text| text.contains(&format!("metadata: {{name: {name}}}\n")))
            .unwrap_or_else(|| panic!("{name} is not in network.yaml"))
    }

    #[test]
    fn the_plan_is_that_of_intent() {
        for node in NODES {
            let text = document(node.name);
            assert!(text.contains(&format!("vtep: {}, mac: \"{}\"", node.vtep, node.mac)));
        }
        for vm in VMS {
            let text = document(vm.name);
            for part in [
                format!("node: {}\n", vm.node.name),
                format!("vf: {}\n", vm.vf),
                format!("mac: \"{}\"\n", vm.mac),
                format!("addresses: [{}, \"{}\"]", vm.v4, vm.v6),
            ] {
                assert!(text.contains(&part), "{}: {part}", vm.name);
            }
            let tenant = vm.name.split('-').next().unwrap();
            let subnet = include_str!("../../demo/network.yaml")
                .lines()
                .find(|line| line.contains(&format!("vpc: {tenant},")))
                .unwrap();
            assert!(subnet.contains(&format!("dns: [{}, \"{}\"]", vm.dns.0, vm.dns.1)));
        }
    }
}
