//! Changes of some objects: the same as reading everything anew, in what is accepted, refused and compiled.

use std::collections::{BTreeMap, BTreeSet};

use model::intent::{Intent, ObjectName, Patch, Source};
use model::snapshot::Snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

const HERE: &str = "node-0";

/// An object that may be: its kind, its number in the kind, and numbers that its fields follow from.
type Possible = (usize, usize, [u8; 6]);

/// The objects there are, by kind and name.
type Documents = BTreeMap<(&'static str, String), Value>;

/// What one change asks for.
#[derive(Debug, Clone)]
struct Step {
    given: Vec<Possible>,
    removed: Vec<(usize, usize)>,
    taken_back: bool,
}

const KINDS: [(&str, usize); 6] = [
    ("Interface", 8),
    ("SecurityGroup", 5),
    ("RouteTable", 3),
    ("Subnet", 4),
    ("Vpc", 2),
    ("Node", 3),
];

/// Mostly of kinds that are changed in parts.
fn kind() -> impl Strategy<Value = usize> {
    prop_oneof![10 => Just(0_usize), 6 => Just(1), 3 => Just(2), 1 => 3..6_usize]
}

fn step() -> impl Strategy<Value = Step> {
    let given = (kind(), 0..8_usize, any::<[u8; 6]>());
    (
        prop::collection::vec(given, 0..4),
        prop::collection::vec((kind(), 0..8_usize), 0..2),
        any::<bool>(),
    )
        .prop_map(|(given, removed, taken_back)| Step { given, removed, taken_back })
}

/// Names and specs mostly fit together; where a number is rare, they do not.
fn document((kind, number, n): Possible) -> ((&'static str, String), Value) {
    let (kind_name, count) = KINDS[kind];
    let number = number % count;
    let rare = |at: usize| n[at] % 16 == 0;
    let vpc = |subnet: usize| subnet % 2;
    let spec = match kind_name {
        "Node" => json!({
            "vtep": format!("192.0.2.{}", if rare(0) { 10 } else { 10 + number }),
            "mac": format!("02:00:00:00:01:0{number}"),
            "underlay": {"prefix": "192.0.2.0/24", "mtu": if n[1] % 4 == 0 { 9000 } else { 1500 }},
        }),
        "Vpc" => {
            let mut spec = json!({"cidrs": ["10.0.0.0/16"]});
            if n[0] % 2 == 0 {
                spec["mtu"] = json!(if n[0] % 4 == 0 { 1400 } else { 1450 });
            }
            if n[1] % 2 == 0 {
                spec["vni"] = json!(if rare(1) { 100 } else { 100 + number });
            }
            spec
        }
        "Subnet" => {
            let third = if rare(0) { 0 } else { number };
            let mut spec = json!({"vpc": format!("vpc-{}", vpc(number)), "cidrs": [format!("10.0.{third}.0/24")]});
            if n[1] % 3 > 0 {
                spec["routeTable"] = json!(format!("routetable-{}", vpc(number)));
            }
            if n[2] % 4 == 0 {
                spec["gatewayMac"] = json!("02:00:00:00:00:09");
            }
            spec
        }
        "Interface" => {
            let subnet = if n[0] % 4 == 0 { n[0] as usize / 4 % 5 } else { number % 4 };
            let groups: BTreeSet<usize> =
                [n[1] as usize % 3 * 2 + vpc(subnet), n[2] as usize % 2 * 2 + vpc(subnet)].into();
            let groups = groups.into_iter().filter(|group| !n[1].is_multiple_of(5) && *group < 5);
            json!({
                "subnet": format!("subnet-{subnet}"),
                "node": format!("node-{}", n[3] % 3 + u8::from(rare(3)) * 3),
                "vf": if n[4] % 8 == 0 { 3 } else { number },
                "mac": format!("02:00:00:00:00:0{}", if rare(4) { 9 } else { 1 + number / 2 + 4 * usize::from(n[4] % 2 == 0) }),
                "addresses": [format!("10.0.{subnet}.{}", if rare(5) { n[5] as usize % 3 } else { 10 + number })],
                "securityGroups": groups.map(|group| format!("securitygroup-{group}")).collect::<Vec<_>>(),
                "antiSpoof": n[5] % 4 > 0,
            })
        }
        "SecurityGroup" => {
            let rule = |n: u8| match n % 5 {
                0 => {
                    json!({"protocol": "any", "from": {"securityGroup": format!("securitygroup-{}", n as usize / 5 % 2 * 2 + vpc(number))}})
                }
                1 if n.is_multiple_of(16) => {
                    json!({"protocol": "any", "from": {"securityGroup": "securitygroup-4"}})
                }
                _ => json!({"protocol": "tcp", "ports": n % 3, "from": {"cidr": "10.0.0.0/8"}}),
            };
            let rules: Vec<Value> = n[..n[5] as usize % 4].iter().map(|n| rule(*n)).collect();
            let vpc = if rare(4) { 1 - vpc(number) } else { vpc(number) };
            json!({"vpc": format!("vpc-{vpc}"), "ingress": rules})
        }
        _ => {
            let routes = n[..n[5] as usize % 4].iter().enumerate().map(|(place, n)| {
                let via = match n % 3 {
                    0 => json!({"blackhole": {}}),
                    _ => json!({"interface": format!("interface-{}", n / 3 % 4 * 2 + u8::from(number == 1))}),
                };
                json!({"destination": format!("172.16.{place}.0/24"), "via": via})
            });
            json!({"vpc": format!("vpc-{}", number % 2), "routes": routes.collect::<Vec<_>>()})
        }
    };
    let name = format!("{}-{number}", kind_name.to_lowercase());
    let document = json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": kind_name, "metadata": {"name": name}, "spec": spec,
    });
    ((kind_name, name), document)
}

/// What everything else stands on.
fn foundation() -> Documents {
    let all = KINDS.iter().enumerate().filter(|(kind, _)| *kind > 0);
    all.flat_map(|(kind, (_, count))| {
        (0..*count).map(move |number| (kind, number, [7, 7, 7, 7, 7, 8]))
    })
    .map(document)
    .collect()
}

fn text<'d>(documents: impl IntoIterator<Item = &'d Value>) -> String {
    let documents = documents.into_iter().map(|document| format!("---\n{document}\n"));
    documents.collect::<Vec<_>>().concat()
}

fn parse(text: &str) -> Result<Intent, BTreeSet<String>> {
    Intent::parse(&[Source { name: "all", bytes: text.as_bytes() }])
        .map_err(|diagnostics| messages(&diagnostics))
}

/// What is wrong with which object, without places and whatever names them.
fn messages(diagnostics: &model::diagnostic::Diagnostics) -> BTreeSet<String> {
    diagnostics.iter().map(|one| format!("{:?} {}", one.object, one.message)).collect()
}

/// Everything that a reader of a snapshot can see, and all numbers.
fn content(snapshot: &Snapshot) -> Vec<String> {
    let mut lines =
        vec![format!("{} {:?} {}", snapshot.epoch, snapshot.node, snapshot.last_generation())];
    for (id, interface) in &snapshot.interfaces {
        let groups: Vec<String> = interface
            .groups
            .iter()
            .map(|group| format!("{} {:?}", group.name, group.ingress_rules().collect::<Vec<_>>()))
            .collect();
        lines.push(format!(
            "{id:?} {} {:?} {} {:?} {:?} {:?} {} {} {} {groups:?}",
            interface.name,
            interface.vf,
            interface.mac,
            interface.addresses,
            interface.subnet,
            interface.vpc,
            interface.anti_spoof,
            interface.enabled,
            interface.policy_generation,
        ));
        assert_eq!(snapshot.interface_of_vf(interface.vf).map(|found| found.id), Some(*id));
    }
    lines.extend(snapshot.tunnels.iter().map(|tunnel| format!("{tunnel:?}")));
    for (index, vpc) in snapshot.vpcs() {
        let by_mac: BTreeMap<_, _> = vpc.local_by_mac.iter().collect();
        lines.push(format!(
            "{index:?} {} {} {} {} {by_mac:?} {} {:?}",
            vpc.name,
            vpc.vni,
            vpc.mtu,
            vpc.dscp,
            vpc.mappings.generation,
            vpc.mappings.open_vteps()
        ));
        lines.extend(vpc.mappings.iter().map(|mapping| format!("{index:?} {mapping:?}")));
        assert_eq!(snapshot.vpc_of_vni(vpc.vni).map(|found| &found.name), Some(&vpc.name));
    }
    for (index, subnet) in snapshot.subnets() {
        lines.push(format!(
            "{index:?} {} {:?} {:?} {:?} {} {} {} {:?}",
            subnet.name,
            subnet.vpc,
            subnet.v4,
            subnet.v6,
            subnet.gateway_mac,
            subnet.routes_since,
            subnet.routes.generation,
            subnet.routes.routes()
        ));
    }
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_change_is_the_same_as_everything_anew(steps in prop::collection::vec(step(), 1..25)) {
        let mut documents = foundation();
        let mut intent = parse(&text(documents.values())).expect("a foundation without errors");
        let mut snapshot = Snapshot::compile(&intent, HERE, None).expect("the node is there");
        for step in steps {
            let given: Vec<_> = step.given.iter().map(|possible| document(*possible)).collect();
            let removed: Vec<_> = step.removed.iter().map(|(kind, number)| {
                let (kind, count) = KINDS[*kind];
                (kind, format!("{}-{}", kind.to_lowercase(), number % count))
            }).collect();
            let patch_text = text(given.iter().map(|(_, document)| document));
            let sources = [Source { name: "patch", bytes: patch_text.as_bytes() }];
            let names: Vec<ObjectName> = removed.iter().map(|(kind, name)| ObjectName {
                kind: (*kind).to_owned(), name: name.clone(),
            }).collect();
            let patch = Patch { sources: &sources, removed: &names };

            let before = intent.clone();
            let patched = intent.patch(&patch);
            let sense = removed.iter().all(|object| {
                documents.contains_key(object) && given.iter().all(|(other, _)| other != object)
            });
            let mut after = documents.clone();
            after.retain(|object, _| !removed.contains(object) && given.iter().all(|(other, _)| other != object));
            let all = text(after.values().chain(given.iter().map(|(_, document)| document)));
            match (parse(&all), patched) {
                (Ok(expected), Ok(patched)) if sense => {
                    prop_assert_eq!(&intent, &expected);
                    prop_assert_eq!(patched.changes(), &expected.changes_since(&before)[..]);
                    let anew = Snapshot::compile(&expected, HERE, Some(&snapshot));
                    let follows = Snapshot::follow(&intent, &patched, HERE, &snapshot);
                    let (Ok(anew), Ok(follows)) = (anew, follows) else {
                        prop_assert!(intent.node(HERE).is_none());
                        intent.revert(patched);
                        prop_assert_eq!(&intent, &before);
                        continue;
                    };
                    prop_assert_eq!(content(&follows), content(&anew));
                    if step.taken_back {
                        intent.revert(patched);
                        prop_assert_eq!(&intent, &before);
                        continue;
                    }
                    snapshot = follows;
                    documents = after;
                    documents.extend(given);
                }
                (expected, Err(errors)) => {
                    prop_assert_eq!(&intent, &before);
                    match expected {
                        Err(expected) if sense => prop_assert_eq!(messages(&errors), expected),
                        Ok(_) => prop_assert!(!sense, "{}", errors.render()),
                        Err(_) => {}
                    }
                }
                (Ok(_), Ok(_)) => prop_assert!(false, "a removal of nothing was accepted"),
                (Err(errors), Ok(_)) => prop_assert!(false, "accepted, though {errors:?}"),
            }
        }
    }
}

#[test]
fn changes_of_groups_tables_and_interfaces_are_partial() {
    let mut intent = parse(&text(foundation().values())).expect("a foundation without errors");
    let mut change = |possible: &[Possible], removed: &[(&str, &str)]| {
        let documents: Vec<_> = possible.iter().map(|possible| document(*possible).1).collect();
        let text = text(&documents);
        let removed: Vec<ObjectName> = removed
            .iter()
            .map(|(kind, name)| ObjectName { kind: (*kind).to_owned(), name: (*name).to_owned() })
            .collect();
        let sources = [Source { name: "patch", bytes: text.as_bytes() }];
        let patched = intent.patch(&Patch { sources: &sources, removed: &removed });
        let patched = patched.unwrap_or_else(|errors| panic!("{}", errors.render()));
        (patched.is_partial(), patched.changes().len())
    };
    let n = [7, 7, 7, 7, 7, 7];
    // The first interfaces of both VPCs, on two nodes, one after the other and together.
    assert_eq!(change(&[(0, 0, n)], &[]), (true, 1));
    assert_eq!(change(&[(0, 1, n), (0, 2, [7, 7, 7, 8, 7, 7])], &[]), (true, 2));
    // The same again is no change.
    assert_eq!(change(&[(0, 0, n)], &[]), (true, 0));
    // Rules that name groups; routes to an interface; all of it gone again.
    assert_eq!(change(&[(1, 0, [0, 2, 2, 2, 7, 3])], &[]), (true, 1));
    assert_eq!(change(&[(2, 0, [1, 0, 0, 0, 0, 1])], &[]), (true, 1));
    assert_eq!(change(&[(2, 0, [1, 0, 0, 0, 0, 0])], &[("Interface", "interface-0")]), (true, 2));
    // What others stand on.
    assert_eq!(change(&[(4, 1, [4, 1, 1, 1, 1, 1])], &[]), (false, 1));
}
