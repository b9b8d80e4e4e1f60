//! Small worlds: two VPCs with the same few addresses, spread over three nodes, and changes of them.

use model::intent::{Intent, Source};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::intent::documents;

/// The node whose datapath runs.
pub const NODE: &str = "a";
/// Interfaces of a VPC.
pub const INTERFACES: usize = 4;
/// VNIs of the two VPCs.
pub const VNIS: [u32; 2] = [100, 200];

/// All that intent says.
#[derive(Debug, Clone)]
pub struct World {
    pub underlay_v6: bool,
    /// Last octets of the VTEPs of b and c.
    pub vteps: [u8; 2],
    /// What a knows of the MACs of b and c: a variant, or nothing.
    pub neighbors: [Option<u8>; 2],
    pub vpcs: [Vpc; 2],
}

#[derive(Debug, Clone)]
pub struct Vpc {
    pub mtu: Option<u16>,
    pub dscp: u8,
    /// Whether 0 and 2, which are of one subnet, have each other's addresses.
    pub swapped: bool,
    /// Of each of the two subnets.
    pub routes: [Vec<Route>; 2],
    pub interfaces: [Interface; INTERFACES],
}

#[expect(clippy::struct_excessive_bools, reason = "as intent has them")]
#[derive(Debug, Clone)]
pub struct Interface {
    pub present: bool,
    /// 0 is the node whose datapath runs.
    pub node: usize,
    pub v4: bool,
    pub v6: bool,
    /// Bits: open, web, peers, quiet, stamp.
    pub groups: u8,
    pub anti_spoof: bool,
    pub enabled: bool,
    pub mac: u8,
    /// Which of its possible addresses it has.
    pub shift: u8,
}

/// To an interface's addresses or to all, by a way.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub to: Option<usize>,
    pub via: Via,
}

#[derive(Debug, Clone, Copy)]
pub enum Via {
    Interface(usize),
    Blackhole,
}

/// Something an operator changes.
#[derive(Debug, Clone)]
pub enum Change {
    Interface(usize, usize, Interface),
    Enabled(usize, usize),
    AntiSpoof(usize, usize),
    Groups(usize, usize, u8),
    Move(usize, usize, usize),
    Mac(usize, usize),
    Shift(usize, usize),
    Swap(usize),
    Remove(usize, usize),
    Mtu(usize, Option<u16>),
    Dscp(usize, u8),
    Routes(usize, usize, Vec<Route>),
    Neighbor(usize, Option<u8>),
    Vtep(usize, u8),
    SwapVteps,
}

pub fn vf(vpc: usize, interface: usize) -> usize {
    vpc * INTERFACES + interface
}

/// An interface's name, the same part in both VPCs.
fn name(vpc: usize, interface: usize) -> String {
    format!("{}{interface}", ["red", "blue"][vpc])
}

impl World {
    /// Address of an interface, or of a host that is in no VPC.
    pub fn address(&self, vpc: usize, interface: Option<usize>, v6: bool) -> String {
        let Some(i) = interface else {
            return if v6 { "2001:db8:f::9" } else { "203.0.113.9" }.to_owned();
        };
        let place = if self.vpcs[vpc].swapped && i % 2 == 0 { i ^ 2 } else { i };
        let host =
            8 * (i % 2) + 2 + place / 2 + 2 * usize::from(self.vpcs[vpc].interfaces[i].shift);
        if v6 { format!("fd00::{host:x}") } else { format!("10.0.0.{host}") }
    }

    /// A VPC's MTU: what is left of the underlay's when it says none itself.
    pub fn mtu(&self, vpc: usize) -> u16 {
        self.vpcs[vpc].mtu.unwrap_or(if self.underlay_v6 { 1430 } else { 1450 })
    }

    pub fn mac(&self, vpc: usize, interface: usize) -> String {
        format!("02:00:00:00:{:02x}:{interface:02x}", self.vpcs[vpc].interfaces[interface].mac)
    }

    pub fn node_mac(&self, node: usize) -> String {
        let variant = if node == 0 { 1 } else { self.neighbors[node - 1].unwrap_or(1) };
        format!("02:00:00:00:{:02x}:{variant:02x}", 0xaa + 0x11 * node)
    }

    pub fn vtep(&self, node: usize) -> String {
        let last = if node == 0 { 1 } else { self.vteps[node - 1] };
        if self.underlay_v6 { format!("2001:db8::{last:x}") } else { format!("192.0.2.{last}") }
    }

    /// The intent, as cases write it.
    pub fn objects(&self) -> Value {
        let mut all = Map::new();
        let prefix = if self.underlay_v6 { "2001:db8::/64" } else { "192.0.2.0/24" };
        for (node, name) in ["a", "b", "c"].iter().enumerate() {
            let neighbors: Map<String, Value> = (1..3)
                .filter(|of| node == 0 && self.neighbors[of - 1].is_some())
                .map(|of| (self.vtep(of), self.node_mac(of).into()))
                .collect();
            let underlay = json!({"prefix": prefix, "neighbors": neighbors});
            let spec =
                json!({"vtep": self.vtep(node), "mac": self.node_mac(node), "underlay": underlay});
            all.insert(format!("Node/{name}"), spec);
        }
        for (v, vpc) in self.vpcs.iter().enumerate() {
            self.add_vpc(v, vpc, &mut all);
        }
        Value::Object(all)
    }

    fn add_vpc(&self, v: usize, vpc: &Vpc, all: &mut Map<String, Value>) {
        let vpc_name = ["red", "blue"][v];
        let mut spec =
            json!({"vni": VNIS[v], "cidrs": ["10.0.0.0/28", "fd00::/124"], "dscp": vpc.dscp});
        if let Some(mtu) = vpc.mtu {
            spec["mtu"] = mtu.into();
        }
        all.insert(format!("Vpc/{vpc_name}"), spec);
        for (group, rules) in [
            ("open", json!({"ingress": [{"protocol": "any"}]})),
            ("web", json!({"ingress": [{"protocol": "tcp", "ports": 80}]})),
            (
                "peers",
                json!({"ingress": [
                    {"protocol": "udp", "from": {"securityGroup": format!("{vpc_name}-open")}},
                ]}),
            ),
            (
                "stamp",
                json!({"ingress": [
                    {"protocol": "icmp", "icmpType": 13}, {"protocol": "icmpv6", "icmpType": 130},
                ]}),
            ),
            ("quiet", json!({"ingress": [{"protocol": "any"}], "egress": [{"protocol": "udp"}]})),
        ] {
            let mut spec = rules;
            spec["vpc"] = vpc_name.into();
            all.insert(format!("SecurityGroup/{vpc_name}-{group}"), spec);
        }
        for (s, routes) in vpc.routes.iter().enumerate() {
            let subnet = format!("{vpc_name}-s{s}");
            let cidrs = [format!("10.0.0.{}/29", 8 * s), format!("fd00::{:x}/125", 8 * s)];
            let mut spec = json!({"vpc": vpc_name, "cidrs": cidrs});
            if !routes.is_empty() {
                spec["routeTable"] = subnet.clone().into();
                let routes: Vec<Value> = [false, true]
                    .iter()
                    .flat_map(|v6| routes.iter().map(|r| self.route(v, *r, *v6)))
                    .collect();
                all.insert(
                    format!("RouteTable/{subnet}"),
                    json!({"vpc": vpc_name, "routes": routes}),
                );
            }
            all.insert(format!("Subnet/{subnet}"), spec);
        }
        for (i, interface) in vpc.interfaces.iter().enumerate().filter(|(_, i)| i.present) {
            let families = [(interface.v4, false), (interface.v6, true)];
            let addresses: Vec<String> = families
                .iter()
                .filter(|(has, _)| *has)
                .map(|(_, v6)| self.address(v, Some(i), *v6))
                .collect();
            let groups: Vec<String> = ["open", "web", "peers", "quiet", "stamp"]
                .iter()
                .enumerate()
                .filter(|(bit, _)| interface.groups >> bit & 1 == 1)
                .map(|(_, group)| format!("{vpc_name}-{group}"))
                .collect();
            let node = ["a", "b", "c"][interface.node];
            all.insert(
                format!("Interface/{}", name(v, i)),
                json!({
                    "subnet": format!("{vpc_name}-s{}", i % 2), "node": node,
                    "vf": vf(v, i), "mac": self.mac(v, i), "addresses": addresses,
                    "securityGroups": groups, "antiSpoof": interface.anti_spoof,
                    "enabled": interface.enabled,
                }),
            );
        }
    }

    fn route(&self, vpc: usize, route: Route, v6: bool) -> Value {
        let destination = match route.to {
            None => if v6 { "::/0" } else { "0.0.0.0/0" }.to_owned(),
            to => format!("{}/{}", self.address(vpc, to, v6), if v6 { 128 } else { 32 }),
        };
        let via = match route.via {
            Via::Interface(i) => json!({"interface": name(vpc, i)}),
            Via::Blackhole => json!({"blackhole": {}}),
        };
        json!({"destination": destination, "via": via})
    }

    /// What the operator's tools make of it; `None` when they refuse it.
    pub fn intent(&self) -> Option<Intent> {
        let text = documents(&self.objects()).expect("objects are Kind/name");
        Intent::parse(&[Source { name: "intent", bytes: text.as_bytes() }]).ok()
    }

    /// The world after a change.
    pub fn changed(&self, change: &Change) -> Self {
        let mut world = self.clone();
        let interfaces = |world: &mut Self, v: usize, i: usize, change: &dyn Fn(&mut Interface)| {
            change(&mut world.vpcs[v].interfaces[i]);
        };
        match change {
            Change::Interface(v, i, new) => world.vpcs[*v].interfaces[*i] = new.clone(),
            Change::Enabled(v, i) => interfaces(&mut world, *v, *i, &|i| i.enabled ^= true),
            Change::AntiSpoof(v, i) => interfaces(&mut world, *v, *i, &|i| i.anti_spoof ^= true),
            Change::Groups(v, i, bits) => interfaces(&mut world, *v, *i, &|i| i.groups = *bits),
            Change::Move(v, i, node) => interfaces(&mut world, *v, *i, &|i| i.node = *node),
            Change::Mac(v, i) => interfaces(&mut world, *v, *i, &|i| i.mac ^= 1),
            Change::Shift(v, i) => interfaces(&mut world, *v, *i, &|i| i.shift ^= 1),
            Change::Swap(v) => world.vpcs[*v].swapped ^= true,
            Change::Remove(v, i) => interfaces(&mut world, *v, *i, &|i| i.present ^= true),
            Change::Mtu(v, mtu) => world.vpcs[*v].mtu = *mtu,
            Change::Dscp(v, dscp) => world.vpcs[*v].dscp = *dscp,
            Change::Routes(v, s, routes) => world.vpcs[*v].routes[*s].clone_from(routes),
            Change::Neighbor(n, known) => world.neighbors[*n] = *known,
            Change::Vtep(n, last) => world.vteps[*n] = *last,
            Change::SwapVteps => world.vteps.swap(0, 1),
        }
        world
    }
}

fn interface() -> BoxedStrategy<Interface> {
    (
        prop_oneof![12 => Just(true), 1 => Just(false)],
        prop_oneof![5 => Just(0), 2 => Just(1), 1 => Just(2usize)],
        prop_oneof![6 => Just((true, true)), 2 => Just((true, false)), 1 => Just((false, true))],
        prop_oneof![6 => Just(1u8), 1 => Just(16), 2 => 0..32u8],
        prop_oneof![3 => Just(true), 2 => Just(false)],
        prop_oneof![12 => Just(true), 1 => Just(false)],
    )
        .prop_map(|(present, node, (v4, v6), groups, anti_spoof, enabled)| Interface {
            present,
            node,
            v4,
            v6,
            groups,
            anti_spoof,
            enabled,
            mac: 0,
            shift: 0,
        })
        .boxed()
}

fn routes() -> BoxedStrategy<Vec<Route>> {
    let to = prop_oneof![2 => Just(None), 3 => (0..INTERFACES).prop_map(Some)];
    let via = prop_oneof![
        5 => (0..INTERFACES).prop_map(Via::Interface),
        1 => Just(Via::Blackhole),
    ];
    let route = (to, via).prop_map(|(to, via)| Route { to, via });
    prop_oneof![2 => Just(Vec::new()), 2 => prop::collection::vec(route, 1..3)].boxed()
}

fn mtu() -> BoxedStrategy<Option<u16>> {
    prop_oneof![Just(None), Just(Some(1280)), Just(Some(1400))].boxed()
}

fn known() -> BoxedStrategy<Option<u8>> {
    prop_oneof![6 => Just(Some(1)), 1 => Just(Some(2)), 1 => Just(None)].boxed()
}

/// A world in which everybody may talk to everybody: of each VPC two interfaces are on a, two on b.
pub fn plain_world(underlay_v6: bool) -> World {
    let interface = |node| Interface {
        present: true,
        node,
        v4: true,
        v6: true,
        groups: 1,
        anti_spoof: true,
        enabled: true,
        mac: 0,
        shift: 0,
    };
    let vpc = Vpc {
        mtu: None,
        dscp: 0,
        swapped: false,
        routes: [Vec::new(), Vec::new()],
        interfaces: [interface(0), interface(0), interface(1), interface(1)],
    };
    World { underlay_v6, vteps: [2, 3], neighbors: [Some(1), Some(1)], vpcs: [vpc.clone(), vpc] }
}

pub fn world() -> BoxedStrategy<World> {
    let vpc = || {
        let interfaces = prop::array::uniform4(interface());
        (mtu(), prop::sample::select(vec![0u8, 10]), [routes(), routes()], interfaces).prop_map(
            |(mtu, dscp, routes, interfaces)| Vpc { mtu, dscp, swapped: false, routes, interfaces },
        )
    };
    (any::<bool>(), [known(), known()], [vpc(), vpc()])
        .prop_map(|(v6, neighbors, vpcs)| World { underlay_v6: v6, vteps: [2, 3], neighbors, vpcs })
        .boxed()
}

pub fn change() -> BoxedStrategy<Change> {
    let (v, i) = (0..2usize, 0..INTERFACES);
    let vi = (v.clone(), i);
    prop_oneof![
        1 => (vi.clone(), interface()).prop_map(|((v, i), new)| Change::Interface(v, i, new)),
        2 => vi.clone().prop_map(|(v, i)| Change::Enabled(v, i)),
        2 => vi.clone().prop_map(|(v, i)| Change::AntiSpoof(v, i)),
        2 => (vi.clone(), 0..32u8).prop_map(|((v, i), bits)| Change::Groups(v, i, bits)),
        4 => (vi.clone(), 0..3usize).prop_map(|((v, i), node)| Change::Move(v, i, node)),
        2 => vi.clone().prop_map(|(v, i)| Change::Mac(v, i)),
        2 => vi.clone().prop_map(|(v, i)| Change::Shift(v, i)),
        1 => v.clone().prop_map(Change::Swap),
        1 => vi.prop_map(|(v, i)| Change::Remove(v, i)),
        2 => (v.clone(), mtu()).prop_map(|(v, mtu)| Change::Mtu(v, mtu)),
        1 => (v.clone(), 0..3u8).prop_map(|(v, dscp)| Change::Dscp(v, dscp)),
        3 => (v.clone(), v, routes()).prop_map(|(v, s, routes)| Change::Routes(v, s, routes)),
        3 => (0..2usize, known()).prop_map(|(n, known)| Change::Neighbor(n, known)),
        2 => (0..2usize, 4..6u8).prop_map(|(n, last)| Change::Vtep(n, last)),
        2 => Just(Change::SwapVteps),
    ]
    .boxed()
}
