//! Three VMs, two of them behind the NIC under test, what their network is meant to be, and their packets.

use dpu_app::datapath::{FlowDirection, Port};
use model::intent::{Intent, Source};
use model::snapshot::{Snapshot, VfIndex};
use packet::wire::protocol;
use packet::{Frame, Mac, VxlanHeader, VxlanTunnel};

use crate::frames::{Ip, ip, mac};

/// MACs that the second local VM may have: their last bytes.
pub const MACS: [u8; 2] = [0x0c, 0x0d];

/// What intent may say. Every combination is valid.
#[expect(clippy::struct_excessive_bools, reason = "things that are so or not")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// MAC of the next hop to the VTEP of the first remote node; `None`: not known.
    pub hop: Option<u8>,
    /// Outer DSCP.
    pub dscp: u8,
    /// Whether the remote VM is on the second remote node, whose next hop is always known.
    pub moved: bool,
    /// Last byte of the MAC of the second local VM.
    pub mac: u8,
    /// Last byte of the MAC of its subnet's gateway, which routed packets have as source.
    pub gateway: u8,
    /// Whether the local VMs have each other's VFs.
    pub swapped: bool,
    /// Whether the second local VM's interface is enabled.
    pub enabled: bool,
    /// Whether anybody may send to anybody.
    pub open: bool,
    /// Whether TCP is part of that.
    pub tcp: bool,
    /// Last byte of the VTEP of the first remote node.
    pub vtep: u8,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            hop: Some(2),
            dscp: 0,
            moved: false,
            mac: MACS[0],
            gateway: 0xfe,
            swapped: false,
            enabled: true,
            open: true,
            tcp: true,
            vtep: 2,
        }
    }
}

/// One thing that an operator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Hop(Option<u8>),
    Dscp(u8),
    Moved(bool),
    Mac(u8),
    Gateway(u8),
    Swapped(bool),
    Enabled(bool),
    Open(bool),
    Tcp(bool),
    Vtep(u8),
}

impl Plan {
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Hop(hop) => self.hop = hop,
            Change::Dscp(dscp) => self.dscp = dscp,
            Change::Moved(moved) => self.moved = moved,
            Change::Mac(mac) => self.mac = mac,
            Change::Gateway(gateway) => self.gateway = gateway,
            Change::Swapped(swapped) => self.swapped = swapped,
            Change::Enabled(enabled) => self.enabled = enabled,
            Change::Open(open) => self.open = open,
            Change::Tcp(tcp) => self.tcp = tcp,
            Change::Vtep(vtep) => self.vtep = vtep,
        }
    }

    /// The snapshot of the node under test.
    pub fn compile(&self, previous: Option<&Snapshot>) -> Snapshot {
        let text = self.intent();
        let intent = Intent::parse(&[Source { name: "plan", bytes: text.as_bytes() }])
            .unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        Snapshot::compile(&intent, "dpu1", previous).expect("the node is there")
    }

    fn intent(&self) -> String {
        let Self { dscp, mac, gateway, enabled, vtep, .. } = self;
        let hop = self.hop.map(|hop| format!("192.0.2.{vtep}: 02:00:00:00:02:{hop:02x},"));
        let hop = hop.unwrap_or_default();
        let far = if self.moved { "dpu3" } else { "dpu2" };
        let (first, second) = if self.swapped { (1, 0) } else { (0, 1) };
        let ingress = match (self.open, self.tcp) {
            (true, true) => "{protocol: tcp}, {protocol: udp}",
            (true, false) => "{protocol: udp}",
            (false, _) => "",
        };
        let objects = format!(
            r#"kind: Node
metadata: {{name: dpu1}}
spec:
  vtep: 192.0.2.1
  mac: 02:00:00:00:01:00
  underlay: {{prefix: 192.0.2.0/24, neighbors: {{{hop} 192.0.2.3: 02:00:00:00:03:00}}}}
---
kind: Node
metadata: {{name: dpu2}}
spec: {{vtep: 192.0.2.{vtep}, mac: 02:00:00:00:02:00, underlay: {{prefix: 192.0.2.0/24}}}}
---
kind: Node
metadata: {{name: dpu3}}
spec: {{vtep: 192.0.2.3, mac: 02:00:00:00:03:00, underlay: {{prefix: 192.0.2.0/24}}}}
---
kind: Vpc
metadata: {{name: red}}
spec: {{vni: 100, cidrs: [10.1.0.0/16], dscp: {dscp}}}
---
kind: Subnet
metadata: {{name: front}}
spec: {{vpc: red, cidrs: [10.1.1.0/24]}}
---
kind: Subnet
metadata: {{name: back}}
spec: {{vpc: red, cidrs: [10.1.2.0/24], gatewayMac: "02:00:00:00:00:{gateway:02x}"}}
---
kind: SecurityGroup
metadata: {{name: group}}
spec: {{vpc: red, ingress: [{ingress}], egress: [{{protocol: any}}]}}
---
kind: Interface
metadata: {{name: first}}
spec:
  subnet: front
  node: dpu1
  vf: {first}
  mac: 02:00:00:00:00:0a
  addresses: [10.1.1.10]
  securityGroups: [group]
---
kind: Interface
metadata: {{name: second}}
spec:
  subnet: back
  node: dpu1
  vf: {second}
  mac: "02:00:00:00:00:{mac:02x}"
  addresses: [10.1.2.10]
  securityGroups: [group]
  enabled: {enabled}
---
kind: Interface
metadata: {{name: far}}
spec:
  subnet: front
  node: {far}
  vf: 0
  mac: 02:00:00:00:00:0b
  addresses: [10.1.1.20]
  securityGroups: [group]
"#
        );
        objects.replace("kind:", "apiVersion: penstock.dev/v1alpha1\nkind:")
    }

    /// A packet of a flow: the port of the NIC that it comes in by, and the frame.
    pub fn packet(&self, flow: &Flow, direction: FlowDirection, kind: Kind) -> (Port, Vec<u8>) {
        let [from, to] = match direction {
            FlowDirection::Forward => [flow.from, flow.to],
            FlowDirection::Reverse => [flow.to, flow.from],
        };
        let ports = match direction {
            FlowDirection::Forward => (flow.port, 5000),
            FlowDirection::Reverse => (5000, flow.port),
        };
        let mut packet = Ip { source_mac: self.mac_of(from), ..ip(from.host(), to.host()) };
        if from == Vm::Far {
            // As its node has written it; that of a VM's own frame does not matter.
            packet.destination_mac = self.mac_of(to);
        }
        if kind == Kind::Fragment {
            packet.fragment = (7, 0, true);
        }
        let frame = match (flow.protocol, kind) {
            (protocol::UDP, _) => packet.udp(ports, 0),
            (_, Kind::Data | Kind::Fragment) => packet.tcp(ports, "PA"),
            (_, Kind::Open) => packet.tcp(ports, "S"),
            (_, Kind::Accept) => packet.tcp(ports, "SA"),
            (_, Kind::Reset) => packet.tcp(ports, "R"),
        };
        match from {
            Vm::First => (Port::Vf(VfIndex(self.swapped.into())), frame),
            Vm::Second => (Port::Vf(VfIndex((!self.swapped).into())), frame),
            Vm::Far => (Port::Uplink, self.encapsulated(&frame)),
        }
    }

    fn mac_of(&self, vm: Vm) -> Mac {
        mac(match vm {
            Vm::First => 0x0a,
            Vm::Second => self.mac,
            Vm::Far => 0x0b,
        })
    }

    /// As the remote VM's node puts it onto the wire.
    fn encapsulated(&self, inner: &[u8]) -> Vec<u8> {
        const ROOM: usize = 70;
        let source = if self.moved { "192.0.2.3".into() } else { format!("192.0.2.{}", self.vtep) };
        let header = VxlanHeader::new(&VxlanTunnel {
            source_mac: mac(0x22),
            destination_mac: Mac([2, 0, 0, 0, 1, 0]),
            source: source.parse().expect("a VTEP"),
            destination: "192.0.2.1".parse().expect("a VTEP"),
            vni: 100.try_into().expect("a VNI"),
            dscp: 0,
        });
        let mut buffer = [&[0; ROOM], inner].concat();
        let mut frame = Frame::new(&mut buffer, ROOM, ROOM + inner.len()).expect("there is room");
        header.expect("a tunnel").push(&mut frame, 50_000).expect("there is room");
        frame.bytes().to_vec()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vm {
    First,
    Second,
    Far,
}

impl Vm {
    /// The end of its address.
    const fn host(self) -> [u8; 2] {
        match self {
            Self::First => [1, 10],
            Self::Second => [2, 10],
            Self::Far => [1, 20],
        }
    }
}

/// What a packet is for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Open,
    Accept,
    Data,
    /// The first fragment of data.
    Fragment,
    Reset,
}

#[derive(Debug)]
pub struct Flow {
    pub from: Vm,
    pub to: Vm,
    pub protocol: u8,
    /// The initiator's; the other one is 5000.
    pub port: u16,
}

const fn flow(from: Vm, to: Vm, protocol: u8, port: u16) -> Flow {
    Flow { from, to, protocol, port }
}

pub static FLOWS: [Flow; 6] = [
    flow(Vm::First, Vm::Second, protocol::TCP, 1),
    flow(Vm::Second, Vm::First, protocol::UDP, 2),
    flow(Vm::First, Vm::Far, protocol::UDP, 3),
    flow(Vm::Second, Vm::Far, protocol::TCP, 4),
    flow(Vm::Far, Vm::First, protocol::TCP, 5),
    flow(Vm::Far, Vm::Second, protocol::UDP, 6),
];
