//! A NIC's table as the compiler makes it: a node with two VPCs that use the same addresses, and connections of every kind.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use model::decision::{Key, Output, Path, Side, Step, Zone};
use model::intent::{Intent, Source};
use model::snapshot::{Interface, Snapshot, TunnelId, VfIndex};
use packet::{Mac, Tuple, Vni, VtepAddr, VxlanHeader, VxlanTunnel};
use rte_flow::{Profile, Rule};
use rte_flow_compiler::{Entry, EthdevPort, Nic, Ports, Shared, connection, statics};
use verify::dump::{self, Dump, DumpedRule, FORMAT, Phase, Serves, VfPort};

/// Ethdev port of the uplink; VF n has the port n + 1.
pub const UPLINK: u16 = 0;
const HERE: &str = "here";
const GATEWAY: Mac = Mac([0x02, 0x50, 0x4e, 0x53, 0x00, 0x01]);

/// Interfaces: name, VPC, node, VF, last byte of MAC and addresses, `antiSpoof`.
const INTERFACES: [(&str, &str, &str, u16, u8, bool); 6] = [
    ("red-a", "red", "here", 0, 10, true),
    ("red-b", "red", "here", 1, 11, true),
    ("blue-a", "blue", "here", 2, 10, true),
    ("blue-open", "blue", "here", 3, 12, false),
    ("red-far", "red", "there", 0, 20, true),
    ("blue-far", "blue", "there", 1, 20, true),
];

/// Which addresses the underlay has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Underlay {
    V4,
    V6,
}

fn intent(underlay: Underlay) -> String {
    let (here, there, prefix) = match underlay {
        Underlay::V4 => ("192.0.2.1", "192.0.2.2", "192.0.2.0/24"),
        Underlay::V6 => ("2001:db8::1", "2001:db8::2", "2001:db8::/64"),
    };
    let mut objects = vec![
        object(
            "Node",
            HERE,
            &format!(
                "vtep: \"{here}\", mac: \"02:00:00:00:aa:01\", underlay: {{prefix: \"{prefix}\", neighbors: {{\"{there}\": \"02:00:00:00:bb:01\"}}}}"
            ),
        ),
        object(
            "Node",
            "there",
            &format!(
                "vtep: \"{there}\", mac: \"02:00:00:00:bb:01\", underlay: {{prefix: \"{prefix}\"}}"
            ),
        ),
    ];
    for (vpc, vni) in [("red", 100), ("blue", 200)] {
        objects.push(object(
            "Vpc",
            vpc,
            &format!("vni: {vni}, cidrs: [10.0.0.0/16, \"fd00::/32\"]"),
        ));
        objects.push(object(
            "Subnet",
            &format!("{vpc}-net"),
            &format!("vpc: {vpc}, cidrs: [10.0.1.0/24, \"fd00:0:0:1::/64\"]"),
        ));
    }
    for (name, vpc, node, vf, last, anti_spoof) in INTERFACES {
        objects.push(object(
            "Interface",
            name,
            &format!(
                "subnet: {vpc}-net, node: {node}, vf: {vf}, mac: \"02:00:00:00:01:{last:02x}\", \
             addresses: [10.0.1.{last}, \"fd00:0:0:1::{last:x}\"], antiSpoof: {anti_spoof}"
            ),
        ));
    }
    objects.join("---\n")
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: penstock.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// A NIC, and what is in it.
pub struct Rig {
    pub profile: Profile,
    pub dump: Dump,
}

struct Making {
    nic: Nic,
    snapshot: Snapshot,
    rules: Vec<DumpedRule>,
    /// The rules that several build upon, with their numbers.
    shared: HashMap<Shared, u32>,
}

/// A table for a profile with `copies` connections of every kind, each with a port of its own.
pub fn rig(profile: &str, underlay: Underlay, copies: u16) -> Rig {
    let profile = Profile::named(profile).expect("a built-in profile");
    let text = intent(underlay);
    let intent = Intent::parse(&[Source { name: "intent", bytes: text.as_bytes() }])
        .unwrap_or_else(|errors| panic!("{}", errors.render()));
    let snapshot = Snapshot::compile(&intent, HERE, None).expect("the node is there");
    let vfs = snapshot.interfaces.values().map(|interface| interface.vf);
    let vfs = vfs.map(|vf| (vf, EthdevPort(port(vf)))).collect();
    let nic = Nic::new(Arc::new(profile.clone()), Ports { uplink: EthdevPort(UPLINK), vfs });
    let mut making = Making { nic, snapshot, rules: Vec::new(), shared: HashMap::new() };
    making.statics();
    for copy in 0..copies {
        making.connections(40_000_u16.wrapping_add(copy));
    }
    let Making { nic, snapshot, rules, .. } = making;
    Rig { dump: Dump { node: node(&snapshot, &nic), rules }, profile }
}

fn port(vf: VfIndex) -> u16 {
    vf.0 + 1
}

/// What software prepends for a tunnel.
fn header(snapshot: &Snapshot, id: TunnelId) -> Vec<u8> {
    let tunnel = snapshot.tunnel(id).expect("a tunnel of the snapshot");
    let header = VxlanHeader::new(&VxlanTunnel {
        source_mac: snapshot.node.mac,
        destination_mac: Mac([2, 0, 0, 0, 0xbb, 1]),
        source: snapshot.node.vtep,
        destination: tunnel.vtep,
        vni: tunnel.vni,
        dscp: tunnel.dscp,
    });
    header.expect("both VTEPs are of one family").as_bytes().to_vec()
}

impl Making {
    fn statics(&mut self) {
        let snapshot = &self.snapshot;
        let entries = statics(&self.nic, snapshot, |tunnel| Some(header(snapshot, tunnel)));
        for entry in entries {
            let Some(rule) = self.rule(&entry) else { continue };
            let snapshot = &self.snapshot;
            let name = |zone: Zone| snapshot.interface(zone.interface()).unwrap().name.clone();
            let serves = match &entry {
                Entry::VmDispatch { zone, .. } | Entry::TunnelDispatch { zone, .. } => {
                    Serves::Interface(name(*zone))
                }
                Entry::Encapsulation { tunnel, .. } => Serves::Tunnel(tunnel.0),
                _ => Serves::All,
            };
            self.rules.push(DumpedRule { phase: Phase::Installed, serves, rule });
        }
    }

    /// The rule of an entry, where the profile takes it; what it builds upon is installed.
    fn rule(&mut self, entry: &Entry) -> Option<Rule> {
        let (shared, nic, rules) = (&mut self.shared, &self.nic, &mut self.rules);
        let rule = nic.rule(entry, |of| {
            let next = shared.len() as u32 + 1;
            *shared.entry(of).or_insert_with_key(|of| {
                let rule = of.rule(nic, next).expect("the NIC takes it");
                rules.push(DumpedRule { phase: Phase::Installed, serves: Serves::All, rule });
                next
            })
        });
        rule.ok()
    }

    fn interface(&self, name: &str) -> &Interface {
        self.snapshot.interfaces.values().find(|i| i.name == name).expect("an interface here")
    }

    fn address(last: u8, is_v6: bool) -> IpAddr {
        let text = if is_v6 { format!("fd00:0:0:1::{last:x}") } else { format!("10.0.1.{last}") };
        text.parse().expect("an address")
    }

    /// Between the interfaces of each VPC, in both directions.
    fn connections(&mut self, client: u16) {
        for (from, vpc, here, _, last, _) in INTERFACES {
            for (to, same, there, _, other, _) in INTERFACES {
                if vpc != same || from == to || (here != HERE && there != HERE) {
                    continue;
                }
                for is_v6 in [false, true] {
                    for protocol in [6, 17] {
                        let (source, destination) =
                            (Self::address(last, is_v6), Self::address(other, is_v6));
                        let out = Tuple::new(source, destination, protocol, client, 443);
                        // Answers have rules of their own.
                        self.connection(from, to, out);
                        let back = Tuple::new(source, destination, protocol, 443, client);
                        self.connection(from, to, back);
                    }
                }
            }
        }
    }

    /// The rule of one direction from one interface to another.
    fn connection(&mut self, from: &str, to: &str, tuple: Tuple) {
        let is_here = |name: &str| self.snapshot.interfaces.values().any(|i| i.name == name);
        let vpc_of = |name: &str| if name.starts_with("red") { 100 } else { 200 };
        let tunnel =
            self.snapshot.tunnels.iter().find(|(_, tunnel)| tunnel.vni.get() == vpc_of(from));
        let (tunnel, remote) = tunnel.map(|(id, tunnel)| (*id, tunnel.vtep)).expect("a tunnel");
        let last = |name: &str| INTERFACES.iter().find(|i| i.0 == name).unwrap().4;
        let mac = |name: &str| Mac([2, 0, 0, 0, 1, last(name)]);
        let macs = dump::Macs { source: GATEWAY, destination: mac(to) };
        let set = Step::SetMacs { source: macs.source, destination: macs.destination };
        let (key, path, outer) = if is_here(from) {
            let zone = Zone::new(self.interface(from).id, Side::FromVm);
            let output = if is_here(to) {
                Output::Local(self.interface(to).id)
            } else {
                Output::Tunnel(tunnel)
            };
            let steps = ArrayVec::from_iter([set]);
            (Key { zone, tuple }, Path { steps, output, mtu: self.mtu() }, None)
        } else {
            let interface = self.interface(to).id;
            let zone = Zone::new(interface, Side::FromNetwork);
            let path =
                Path { steps: ArrayVec::new(), output: Output::Local(interface), mtu: u16::MAX };
            (Key { zone, tuple }, path, Some(remote))
        };
        let entry = connection(&self.nic, &self.snapshot, &key, &path, outer).ok();
        // Not every profile takes every kind.
        let Some(rule) = entry.and_then(|entry| self.rule(&entry)) else { return };
        self.install(&key, &path, outer, rule, if outer.is_none() { Some(macs) } else { None });
    }

    fn mtu(&self) -> u16 {
        self.snapshot.vpcs().next().expect("a VPC").1.mtu
    }

    fn install(
        &mut self,
        key: &Key,
        path: &Path,
        outer: Option<VtepAddr>,
        rule: Rule,
        macs: Option<dump::Macs>,
    ) {
        let name = |id| self.snapshot.interface(id).unwrap().name.clone();
        let connection = dump::Connection {
            interface: name(key.zone.interface()),
            side: if key.zone.side() == Side::FromVm {
                dump::Side::Vm
            } else {
                dump::Side::Network
            },
            protocol: key.tuple.protocol(),
            source: key.tuple.source(),
            source_port: key.tuple.source_port(),
            destination: key.tuple.destination(),
            destination_port: key.tuple.destination_port(),
            outer_source: outer.map(VtepAddr::ip),
            macs,
            output: match path.output {
                Output::Local(id) => dump::Output::Interface(name(id)),
                Output::Tunnel(id) => dump::Output::Tunnel(id.0),
            },
            mtu: path.mtu,
        };
        let serves = Serves::Connection(Box::new(connection));
        self.rules.push(DumpedRule { phase: Phase::Installed, serves, rule });
    }
}

fn node(snapshot: &Snapshot, nic: &Nic) -> dump::Node {
    let interfaces = INTERFACES.iter().filter(|interface| interface.2 == HERE);
    let interface = |(name, vpc, _, vf, last, anti_spoof): &(&str, &str, &str, u16, u8, bool)| {
        dump::Interface {
            name: (*name).to_owned(),
            vpc: (*vpc).to_owned(),
            vf: *vf,
            mac: Mac([2, 0, 0, 0, 1, *last]),
            anti_spoof: *anti_spoof,
            enabled: true,
        }
    };
    let tunnels = snapshot.tunnels.iter().map(|(id, tunnel)| dump::Tunnel {
        id: id.0,
        node: tunnel.node.clone(),
        vtep: tunnel.vtep.ip(),
        vni: tunnel.vni.get(),
        dscp: tunnel.dscp,
        next_hop: Some(Mac([2, 0, 0, 0, 0xbb, 1])),
    });
    dump::Node {
        format: FORMAT,
        name: HERE.to_owned(),
        profile: nic.profile().name.clone(),
        uplink: UPLINK,
        vfs: (0..4).map(|vf| VfPort { vf, port: port(VfIndex(vf)) }).collect(),
        vtep: snapshot.node.vtep.ip(),
        mac: snapshot.node.mac,
        vpcs: [("blue", 200), ("red", 100)]
            .map(|(name, vni)| dump::Vpc {
                name: name.to_owned(),
                vni: Vni::try_from(vni).unwrap().get(),
            })
            .to_vec(),
        interfaces: interfaces.map(interface).collect(),
        tunnels: tunnels.collect(),
    }
}
