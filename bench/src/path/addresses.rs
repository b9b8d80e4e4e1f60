//! Who is who in all scenarios: one VM whose packets are measured, a second one beside it, and 256 behind 16 other nodes.

/// The two VMs of the node: VF 0 and VF 1.
pub const LOCAL: [Host; 2] = [Host { number: 0, far: false }, Host { number: 1, far: false }];
/// VMs of other nodes.
pub const FAR: u16 = 256;
/// The other nodes.
pub const NODES: u16 = 16;
/// The node's own VTEP, and its MAC.
pub const VTEP: &str = "172.16.0.1";
pub const VTEP_MAC: &str = "02:00:00:00:aa:01";
/// The virtual network.
pub const VNI: u32 = 100;
/// The service that security groups allow, of UDP and of TCP; so many ports from here on.
pub const SERVICE: u16 = 4000;
pub const SERVICES: u16 = 16;

/// A VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Host {
    number: u16,
    far: bool,
}

impl Host {
    /// A VM of another node.
    pub const fn far(number: u16) -> Self {
        Self { number: number % FAR, far: true }
    }

    pub const fn number(self) -> u16 {
        self.number
    }

    pub fn mac(self) -> String {
        let [high, low] = self.number.to_be_bytes();
        format!("02:00:00:{:02x}:{high:02x}:{low:02x}", u8::from(self.far) + 1)
    }

    pub fn ipv4(self) -> String {
        let [high, low] = self.host_part().to_be_bytes();
        format!("10.{}.{high}.{low}", u8::from(self.far) + 1)
    }

    pub fn ipv6(self) -> String {
        format!("fd00:{}::{:x}", u8::from(self.far) + 1, self.host_part())
    }

    /// The lowest addresses of a subnet are its network's and its gateway's.
    const fn host_part(self) -> u16 {
        self.number + 10
    }

    /// The number of the node that has it.
    pub const fn node(self) -> u16 {
        self.number % NODES
    }
}

/// VTEP of another node.
pub fn vtep(node: u16) -> String {
    format!("172.16.1.{}", node + 1)
}

/// MAC of another node on the underlay.
pub fn vtep_mac(node: u16) -> String {
    format!("02:00:00:00:bb:{node:02x}")
}
