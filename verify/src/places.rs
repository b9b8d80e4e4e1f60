//! Who is where: ports, interfaces, VPCs and tunnels of a dump, by what they are asked for.

use hashbrown::HashMap;

use crate::dump::{Interface, Node, Tunnel};

/// See the module.
#[derive(Debug)]
pub struct Places<'a> {
    /// All of it.
    pub node: &'a Node,
    interfaces: HashMap<&'a str, &'a Interface>,
    /// Of VFs.
    ports: HashMap<u16, u16>,
    by_port: HashMap<u16, &'a Interface>,
    vnis: HashMap<&'a str, u32>,
    tunnels: HashMap<u32, &'a Tunnel>,
}

impl<'a> Places<'a> {
    /// Those of a node.
    pub fn new(node: &'a Node) -> Self {
        let ports: HashMap<u16, u16> = node.vfs.iter().map(|vf| (vf.vf, vf.port)).collect();
        let by_port = node
            .interfaces
            .iter()
            .filter_map(|interface| Some((*ports.get(&interface.vf)?, interface)))
            .collect();
        Self {
            node,
            interfaces: node.interfaces.iter().map(|i| (i.name.as_str(), i)).collect(),
            ports,
            by_port,
            vnis: node.vpcs.iter().map(|vpc| (vpc.name.as_str(), vpc.vni)).collect(),
            tunnels: node.tunnels.iter().map(|tunnel| (tunnel.id, tunnel)).collect(),
        }
    }

    /// The interface of a name.
    pub fn interface(&self, name: &str) -> Result<&'a Interface, String> {
        self.interfaces
            .get(name)
            .copied()
            .ok_or_else(|| format!("the node has no interface `{name}`"))
    }

    /// The interface of a name, which takes part.
    pub fn enabled(&self, name: &str) -> Result<&'a Interface, String> {
        let interface = self.interface(name)?;
        if interface.enabled { Ok(interface) } else { Err(format!("{name} is disabled")) }
    }

    /// The port of the interface of a name.
    pub fn port_of(&self, name: &str) -> Result<u16, String> {
        let vf = self.interface(name)?.vf;
        self.ports.get(&vf).copied().ok_or_else(|| format!("vf{vf} has no port"))
    }

    /// The interface behind a port, if there is one.
    pub fn interface_at(&self, port: u16) -> Option<&'a Interface> {
        self.by_port.get(&port).copied()
    }

    /// The VNI of a VPC.
    pub fn vni_of(&self, vpc: &str) -> Result<u32, String> {
        self.vnis.get(vpc).copied().ok_or_else(|| format!("the node has no VPC `{vpc}`"))
    }

    /// A tunnel.
    pub fn tunnel(&self, id: u32) -> Result<&'a Tunnel, String> {
        self.tunnels.get(&id).copied().ok_or_else(|| format!("the node has no tunnel {id}"))
    }

    /// All ports: the uplink first.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        [self.node.uplink].into_iter().chain(self.node.vfs.iter().map(|vf| vf.port))
    }

    /// What a person calls a port.
    pub fn port_name(&self, port: u16) -> String {
        if port == self.node.uplink {
            return "uplink".to_owned();
        }
        let vf = self.node.vfs.iter().find(|vf| vf.port == port);
        vf.map_or_else(|| format!("port {port}, which is nobody's"), |vf| format!("vf{}", vf.vf))
    }

    /// What a person calls a port, with whose it is.
    pub fn describe(&self, port: u16) -> String {
        let name = self.port_name(port);
        match self.interface_at(port) {
            Some(interface) => {
                format!("{name} (interface {} of VPC {})", interface.name, interface.vpc)
            }
            None => name,
        }
    }
}
