//! Chains of snapshots: handles stay, generations move with effects and only with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::net::IpAddr;

use model::UnknownNode;
use model::intent::{Intent, Peer, Source, Via};
use model::policy::FlowProperties;
use model::route::RouteTarget;
use model::snapshot::{InterfaceId, Location, Mapping, Snapshot, TunnelId, VfIndex};
use proptest::prelude::*;
use serde_json::{Value, json};

const VPCS: [&str; 2] = ["blue", "red"];
const SUBNETS: [(&str, usize, u8); 3] = [("blue-a", 0, 1), ("blue-b", 0, 2), ("red-a", 1, 1)];
const NODES: [&str; 3] = ["dpu-1", "dpu-2", "dpu-3"];
const HERE: &str = "dpu-1";

/// An intent in few numbers, each of which may change.
#[derive(Debug, Clone)]
struct State {
    /// For each possible interface: absent, or its features.
    interfaces: Vec<Option<InterfaceState>>,
    /// For each group of the VPCs, rules by number.
    groups: Vec<Vec<u8>>,
    /// For each VPC's table, routes by number.
    tables: Vec<BTreeSet<u8>>,
    gateway_mac: u8,
    mtu: u16,
    vtep: u8,
}

#[derive(Debug, Clone)]
struct InterfaceState {
    node: usize,
    mac: u8,
    groups: BTreeSet<usize>,
    anti_spoof: bool,
    enabled: bool,
}

fn interface() -> impl Strategy<Value = InterfaceState> {
    (0..3usize, 0..2u8, prop::collection::btree_set(0..2usize, 0..3), any::<bool>(), any::<bool>())
        .prop_map(|(node, mac, groups, anti_spoof, enabled)| InterfaceState {
            node,
            mac,
            groups,
            anti_spoof,
            enabled,
        })
}

fn state() -> impl Strategy<Value = State> {
    (
        prop::collection::vec(prop::option::of(interface()), 6),
        prop::collection::vec(prop::collection::vec(0..4u8, 0..4), 4),
        prop::collection::vec(prop::collection::btree_set(0..4u8, 0..3), 2),
        0..2u8,
        prop_oneof![Just(1400u16), Just(1450)],
        0..2u8,
    )
        .prop_map(|(interfaces, groups, tables, gateway_mac, mtu, vtep)| State {
            interfaces,
            groups,
            tables,
            gateway_mac,
            mtu,
            vtep,
        })
}

/// A state and those that follow it, each with few parts taken from elsewhere.
fn chain() -> impl Strategy<Value = Vec<State>> {
    let change = (state(), 0..16usize, any::<bool>());
    (state(), prop::collection::vec(change, 1..5)).prop_map(|(first, changes)| {
        let mut states = vec![first];
        for (other, part, also_nothing) in changes {
            let mut next = states.last().cloned().expect("begun with one");
            match part {
                _ if also_nothing && part == 0 => {}
                part @ 0..6 => next.interfaces[part].clone_from(&other.interfaces[part]),
                part @ 6..10 => next.groups[part - 6].clone_from(&other.groups[part - 6]),
                part @ 10..12 => next.tables[part - 10].clone_from(&other.tables[part - 10]),
                12 => next.gateway_mac = other.gateway_mac,
                13 => next.mtu = other.mtu,
                14 => next.vtep = other.vtep,
                _ => next.groups.iter_mut().for_each(|rules| rules.reverse()),
            }
            states.push(next);
        }
        states
    })
}

impl State {
    /// The interfaces' VPC, subnet and address follow from their number.
    fn documents(&self) -> Vec<Value> {
        let mut documents = Vec::new();
        let mut add = |kind: &str, name: &str, spec: Value| {
            documents.push(json!({
                "apiVersion": "penstock.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
            }));
        };
        for (index, node) in NODES.iter().enumerate() {
            let last = if index == 1 { 20 + self.vtep } else { 10 + index as u8 };
            add(
                "Node",
                node,
                json!({
                    "vtep": format!("192.0.2.{last}"), "mac": format!("02:00:00:00:01:0{index}"),
                    "underlay": {"prefix": "192.0.2.0/24"},
                }),
            );
        }
        for (index, vpc) in VPCS.iter().enumerate() {
            let mtu = if index == 0 { self.mtu } else { 1450 };
            add("Vpc", vpc, json!({"cidrs": ["10.0.0.0/16"], "mtu": mtu}));
            let routes: Vec<Value> = self.tables[index]
                .iter()
                .map(|route| {
                    let target = match self.interfaces.get(*route as usize) {
                        Some(Some(_)) if SUBNETS[*route as usize % 3].1 == index => {
                            json!({"interface": format!("if-{route}")})
                        }
                        _ => json!({"blackhole": {}}),
                    };
                    json!({"destination": format!("172.16.{route}.0/24"), "via": target})
                })
                .collect();
            add("RouteTable", &format!("{vpc}-routes"), json!({"vpc": vpc, "routes": routes}));
            for group in 0..2 {
                let rules: Vec<Value> = self.groups[index * 2 + group]
                    .iter()
                    .map(|rule| match rule {
                        0 => json!({"protocol": "any", "from": {"securityGroup": format!("{vpc}-0")}}),
                        port => json!({"protocol": "tcp", "ports": port}),
                    })
                    .collect();
                add(
                    "SecurityGroup",
                    &format!("{vpc}-{group}"),
                    json!({"vpc": vpc, "ingress": rules}),
                );
            }
        }
        for (index, (subnet, vpc, third)) in SUBNETS.iter().enumerate() {
            let mac = if index == 0 { self.gateway_mac } else { 0 };
            let vpc = VPCS[*vpc];
            let mut spec = json!({
                "vpc": vpc, "cidrs": [format!("10.0.{third}.0/24")], "gatewayMac": format!("02:00:00:00:09:0{mac}"),
            });
            if index != 1 {
                spec["routeTable"] = json!(format!("{vpc}-routes"));
            }
            add("Subnet", subnet, spec);
        }
        for (index, interface) in self.interfaces.iter().enumerate() {
            let Some(interface) = interface else { continue };
            let (subnet, vpc, third) = SUBNETS[index % 3];
            let groups: Vec<_> =
                interface.groups.iter().map(|group| format!("{}-{group}", VPCS[vpc])).collect();
            add(
                "Interface",
                &format!("if-{index}"),
                json!({
                    "subnet": subnet, "node": NODES[interface.node], "vf": index,
                    "mac": format!("02:00:00:00:{:02x}:{index:02x}", interface.mac),
                    "addresses": [format!("10.0.{third}.{}", index + 10)],
                    "securityGroups": groups, "antiSpoof": interface.anti_spoof, "enabled": interface.enabled,
                }),
            );
        }
        documents
    }

    fn intent(&self) -> Intent {
        parse(&self.documents())
    }
}

fn parse(documents: &[Value]) -> Intent {
    let text: Vec<String> = documents.iter().map(|document| format!("---\n{document}\n")).collect();
    let text = text.concat();
    Intent::parse(&[Source { name: "generated", bytes: text.as_bytes() }])
        .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render()))
}

/// What follows from intent about each subject that has a generation, computed the long way.
#[derive(Debug, PartialEq)]
struct Effects {
    policy: BTreeMap<String, String>,
    routes: BTreeMap<String, String>,
    mappings: BTreeMap<String, String>,
}

fn effects(intent: &Intent, snapshot: &Snapshot) -> Effects {
    let subnet = |name: &str| {
        intent.subnets().iter().find(|s| s.name().as_str() == name).expect("validated")
    };
    let place = |interface: &model::intent::Interface| {
        let spec = &interface.spec;
        let vtep = intent.node(&spec.node).expect("validated").spec.vtep;
        let id = local_id(snapshot, interface.name());
        format!("{:?} {} {} {} {vtep}", id, spec.node, spec.mac, spec.subnet)
    };
    let mut policy = BTreeMap::new();
    for interface in intent.interfaces().iter().filter(|i| i.spec.node.as_str() == HERE) {
        let mut content = format!("{:?}", (&interface.spec, local_id(snapshot, interface.name())));
        for group in intent.security_groups() {
            if !interface.spec.security_groups.contains(group.name()) {
                continue;
            }
            let rules: BTreeSet<String> = group.spec.ingress.iter().flatten().map(|rule| {
                let members: BTreeSet<IpAddr> = intent.interfaces().iter().filter(|member| {
                    matches!(&rule.from, Some(Peer::SecurityGroup(name)) if member.spec.security_groups.contains(name))
                }).flat_map(|member| member.spec.addresses.clone()).collect();
                format!("{rule:?} {members:?}")
            }).collect();
            write!(content, "{} {rules:?}", group.name()).expect("a string takes all");
        }
        policy.insert(interface.name().to_string(), content);
    }
    let mut routes = BTreeMap::new();
    for (_, compiled) in snapshot.subnets() {
        let table = subnet(&compiled.name).spec.route_table.as_ref();
        let table = intent.route_tables().iter().find(|t| Some(t.name()) == table);
        let content: Vec<String> = table
            .iter()
            .flat_map(|t| &t.spec.routes)
            .map(|route| {
                let target = match &route.via {
                    Via::Interface(name) => place(
                        intent.interfaces().iter().find(|i| i.name() == name).expect("validated"),
                    ),
                    other => format!("{other:?}"),
                };
                // A tunnel that was gone for a while is another one.
                let tunnel = match snapshot
                    .subnet_of(&compiled.name)
                    .routes
                    .lookup(route.destination.addr())
                {
                    Some(RouteTarget::Interface(mapping)) => format!("{:?}", mapping.location),
                    _ => String::new(),
                };
                format!("{} {target} {tunnel}", route.destination)
            })
            .collect();
        routes.insert(compiled.name.clone(), content.join("\n"));
    }
    let mut mappings = BTreeMap::new();
    for (_, vpc) in snapshot.vpcs() {
        let mut content = format!("{}", vpc.mtu);
        for (_, compiled) in snapshot.subnets() {
            let spec = &subnet(&compiled.name).spec;
            if spec.vpc.as_str() == vpc.name {
                write!(content, "{} {}", compiled.name, spec.gateway_mac)
                    .expect("a string takes all");
            }
        }
        let mut open = BTreeSet::new();
        for interface in intent.interfaces() {
            if subnet(&interface.spec.subnet).spec.vpc.as_str() != vpc.name {
                continue;
            }
            let location = vpc.mappings.lookup(interface.spec.addresses[0]).map(|m| m.location);
            writeln!(content, "{:?} {} {location:?}", interface.spec.addresses, place(interface))
                .expect("a string takes all");
            if !interface.spec.anti_spoof && interface.spec.node.as_str() != HERE {
                open.insert(
                    intent.node(&interface.spec.node).expect("validated").spec.vtep.to_string(),
                );
            }
        }
        mappings.insert(vpc.name.clone(), format!("{content} {open:?}"));
    }
    Effects { policy, routes, mappings }
}

trait ByName {
    fn subnet_of(&self, name: &str) -> &model::snapshot::Subnet;
}

impl ByName for Snapshot {
    fn subnet_of(&self, name: &str) -> &model::snapshot::Subnet {
        self.subnets().map(|(_, subnet)| subnet).find(|s| s.name == name).expect("compiled")
    }
}

fn local_id(snapshot: &Snapshot, name: &str) -> Option<InterfaceId> {
    snapshot.interfaces.values().find(|interface| interface.name == name).map(|i| i.id)
}

fn generations(snapshot: &Snapshot) -> Effects {
    let text = |generation: u32| generation.to_string();
    Effects {
        policy: snapshot
            .interfaces
            .values()
            .map(|i| (i.name.clone(), text(i.policy_generation)))
            .collect(),
        routes: snapshot
            .subnets()
            .map(|(_, s)| (s.name.clone(), text(s.routes.generation)))
            .collect(),
        mappings: snapshot
            .vpcs()
            .map(|(_, v)| (v.name.clone(), text(v.mappings.generation)))
            .collect(),
    }
}

fn same_subjects(
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
) -> BTreeMap<String, bool> {
    a.iter().filter_map(|(name, a)| Some((name.clone(), a == b.get(name)?))).collect()
}

/// Who has which handle: interfaces by what must stay the same, tunnels by node and VPC.
type Holders = (HashMap<InterfaceId, String>, HashMap<TunnelId, String>);

fn holders(snapshot: &Snapshot) -> Holders {
    let vpc = |index| &snapshot.vpc(index).expect("of this snapshot").name;
    let interfaces = snapshot.interfaces.iter().map(|(id, i)| {
        assert_eq!(*id, i.id);
        (*id, format!("{} {} {:?} {}", i.name, vpc(i.vpc), i.vf, i.mac))
    });
    let tunnels = snapshot.tunnels.iter().map(|(id, tunnel)| {
        let vpc = &snapshot.vpc_of_vni(tunnel.vni).expect("of this snapshot").name;
        (*id, format!("{} {vpc}", tunnel.node))
    });
    (interfaces.collect(), tunnels.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn handles_stay_and_generations_move_with_effects(states in chain()) {
        let mut given: Holders = (HashMap::new(), HashMap::new());
        let mut last: Option<(Intent, Snapshot)> = None;
        for state in states {
            let intent = state.intent();
            let snapshot = Snapshot::compile(&intent, HERE, last.as_ref().map(|(_, s)| s)).expect("a known node");
            let now = holders(&snapshot);
            if let Some((old_intent, old)) = &last {
                let before = holders(old);
                // Whoever stays keeps its handle.
                for (id, holder) in &before.0 {
                    let same = now.0.iter().find(|(_, other)| *other == holder);
                    prop_assert!(same.is_none_or(|(other, _)| other == id));
                }
                for (id, holder) in &before.1 {
                    let same = now.1.iter().find(|(_, other)| *other == holder);
                    prop_assert!(same.is_none_or(|(other, _)| other == id));
                }
                let (was, is) = (effects(old_intent, old), effects(&intent, &snapshot));
                let (old_generations, new_generations) = (generations(old), generations(&snapshot));
                prop_assert_eq!(
                    same_subjects(&was.policy, &is.policy),
                    same_subjects(&old_generations.policy, &new_generations.policy)
                );
                prop_assert_eq!(
                    same_subjects(&was.routes, &is.routes),
                    same_subjects(&old_generations.routes, &new_generations.routes)
                );
                prop_assert_eq!(
                    same_subjects(&was.mappings, &is.mappings),
                    same_subjects(&old_generations.mappings, &new_generations.mappings)
                );
                if intent == *old_intent {
                    prop_assert_eq!(snapshot.epoch, old.epoch);
                }
                if generations(old) != generations(&snapshot) {
                    prop_assert_eq!(snapshot.epoch, old.epoch + 1);
                }
            }
            // A handle never gets another holder.
            for (id, holder) in now.0 {
                prop_assert!(id.0 > 0);
                prop_assert_eq!(given.0.entry(id).or_insert(holder.clone()), &holder);
            }
            for (id, holder) in now.1 {
                prop_assert!(id.0 > 0);
                prop_assert_eq!(given.1.entry(id).or_insert(holder.clone()), &holder);
            }
            last = Some((intent, snapshot));
        }
    }

    #[test]
    fn the_order_of_documents_means_nothing(state in state(), seed in any::<prop::sample::Index>()) {
        let mut documents = state.documents();
        let intent = parse(&documents);
        let at = seed.index(documents.len());
        documents.rotate_left(at);
        let half = documents.len() / 2;
        documents[..half].reverse();
        prop_assert_eq!(parse(&documents), intent);
    }
}

fn accepted() -> Intent {
    let text = std::fs::read("tests/accepted/every-kind.yaml").expect("a readable file");
    Intent::parse(&[Source { name: "every-kind.yaml", bytes: &text }]).expect("accepted")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_snapshot_answers_what_intent_says() {
    let snapshot = Snapshot::compile(&accepted(), HERE, None).expect("a known node");
    let interface = snapshot.interface_of_vf(VfIndex(0)).expect("VF 0");
    assert_eq!((interface.name.as_str(), interface.anti_spoof), ("web-1", true));
    let vpc = snapshot.vpc(interface.vpc).expect("its VPC");
    assert_eq!((vpc.name.as_str(), vpc.mtu, vpc.dscp), ("blue", 1450, 0));
    assert_eq!(vpc.local_by_mac.get(&interface.mac), Some(&interface.id));

    // Its own address is here, the other's behind a tunnel, a third's nowhere.
    let here = vpc.mappings.lookup(ip("10.0.1.10")).expect("mapped");
    assert_eq!(here.location, Location::Local(interface.id));
    let there = *vpc.mappings.lookup(ip("10.0.1.11")).expect("mapped");
    let Mapping { location: Location::Remote(tunnel), .. } = there else {
        panic!("{there:?} is not remote");
    };
    let tunnel = snapshot.tunnel(tunnel).expect("the tunnel");
    assert_eq!((tunnel.node.as_str(), tunnel.vni), ("dpu-2", vpc.vni));
    assert_eq!(vpc.mappings.lookup(ip("10.0.1.12")), None);
    // The appliance's node may send for any address, others only for their own.
    assert!(vpc.mappings.admits(ip("203.0.113.9"), ip("192.0.2.2")));
    assert!(!vpc.mappings.admits(ip("203.0.113.9"), ip("192.0.2.1")));

    let subnet = snapshot.subnet(interface.subnet).expect("its subnet");
    assert_eq!(subnet.v4[0].1, ip("10.0.1.1"));
    assert_eq!(subnet.v6[0].1, ip("2001:db8:0:1::1"));
    let route = |to: &str| subnet.routes.lookup(ip(to)).copied();
    assert_eq!(route("10.0.200.1"), Some(RouteTarget::Local));
    assert_eq!(route("10.9.0.1"), Some(RouteTarget::Blackhole));
    assert_eq!(route("198.51.100.1"), Some(RouteTarget::Interface(there)));
    assert_eq!(route("2001:db9::1"), None);

    let flow = |remote: &str, port| FlowProperties {
        remote: ip(remote),
        protocol: 6,
        destination_port: port,
        icmp: None,
    };
    let group = &interface.groups[0];
    assert_eq!(group.explain_ingress(&flow("203.0.113.9", 80)), Some(0));
    assert_eq!(group.explain_ingress(&flow("203.0.113.9", 81)), None);
    assert_eq!(group.explain_ingress(&flow("10.0.1.10", 81)), Some(2));
    assert!(group.allows_egress(&flow("203.0.113.9", 81)));
}

#[test]
fn a_node_without_interfaces_has_no_vpcs() {
    let node = json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "Node", "metadata": {"name": HERE},
        "spec": {"vtep": "192.0.2.1", "mac": "02:00:00:00:00:01", "underlay": {"prefix": "192.0.2.0/24"}},
    });
    let vpc = json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": "Vpc", "metadata": {"name": "blue"},
        "spec": {"vni": 7, "cidrs": ["10.0.0.0/16"]},
    });
    let intent = parse(&[node, vpc]);
    let snapshot = Snapshot::compile(&intent, HERE, None).expect("a known node");
    assert_eq!(snapshot.vpcs().count(), 0);
    assert!(snapshot.vpc_of_vni(7u64.try_into().expect("a VNI")).is_none());
}

#[test]
fn an_unknown_node_is_an_error() {
    let error = Snapshot::compile(&accepted(), "dpu-9", None).expect_err("no such node");
    assert_eq!(error, UnknownNode("dpu-9".into()));
}
