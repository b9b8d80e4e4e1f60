//! `RouteTable`.

use hashbrown::HashMap;
use ipnet::IpNet;

use super::Field;
use crate::intent::name::Name;
use crate::intent::object::{Route, RouteTableSpec, Via};
use crate::intent::reader::{Known, Reader};
use crate::intent::report::{At, Position};
use crate::intent::yaml::Node;

pub(in crate::intent) struct RouteTableDraft {
    pub(in crate::intent) vpc: Field<Name>,
    pub(in crate::intent) routes: Vec<RouteDraft>,
}

pub(in crate::intent) struct RouteDraft {
    destination: Field<IpNet>,
    pub(in crate::intent) via: Field<Via>,
}

impl RouteTableDraft {
    pub(super) fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<2> = Known { fields: ["vpc", "routes"], later: &[] };
        let [vpc, routes] = reader.fields(node, &KNOWN)?;
        let vpc =
            reader.required(node, "vpc", vpc).and_then(|node| reader.parse(node, "a VPC's name"));
        let items = reader
            .required(node, "routes", routes)
            .and_then(|node| reader.list(node))
            .unwrap_or_default();
        let routes: Vec<_> =
            items.iter().filter_map(|item| RouteDraft::read(item, reader)).collect();
        let mut seen: HashMap<IpNet, Position> = HashMap::new();
        for destination in routes.iter().filter_map(|route| route.destination) {
            if let Some(first) = seen.get(&destination.value) {
                let message = format!("there are two routes to {}", destination.value);
                let hint = format!("keep one; the first is in line {}", first.line);
                reader.error_with_hint(destination.at, message, hint);
            } else {
                seen.insert(destination.value, destination.at);
            }
        }
        Some(Self { vpc, routes })
    }

    pub(in crate::intent) fn of(spec: &RouteTableSpec, at: Position) -> Self {
        let route = |route: &Route| RouteDraft {
            destination: Some(At { value: route.destination, at }),
            via: Some(At { value: route.via.clone(), at }),
        };
        Self {
            vpc: Some(At { value: spec.vpc.clone(), at }),
            routes: spec.routes.iter().map(route).collect(),
        }
    }

    pub(in crate::intent) fn finish(self) -> Option<RouteTableSpec> {
        let routes = self.routes.into_iter().map(|route| {
            Some(Route { destination: route.destination?.value, via: route.via?.value })
        });
        Some(RouteTableSpec { vpc: self.vpc?.value, routes: routes.collect::<Option<_>>()? })
    }
}

impl RouteDraft {
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        const KNOWN: Known<2> = Known { fields: ["destination", "via"], later: &[] };
        let [destination, via] = reader.fields(node, &KNOWN)?;
        let destination =
            reader.required(node, "destination", destination).and_then(|node| reader.cidr(node));
        let via = reader.required(node, "via", via).and_then(|node| read_via(node, reader));
        Some(Self { destination, via })
    }
}

fn read_via(node: &Node<'_>, reader: &mut Reader<'_>) -> Field<Via> {
    const EMPTY: Known<0> = Known { fields: [], later: &[] };
    const KNOWN: Known<3> = Known {
        fields: ["local", "interface", "blackhole"],
        later: &[
            "natGateway",
            "internetGateway",
            "peering",
            "transitGateway",
            "vpnGateway",
            "directConnect",
        ],
    };
    if let Some(text) = plain_word(node)
        && KNOWN.fields.contains(&text)
    {
        let hint = match text {
            "interface" => "write {interface: NAME}".to_owned(),
            other => format!("write {{{other}: {{}}}}"),
        };
        reader.error_with_hint(node.at, format!("`{text}` is not a map of fields"), hint);
        return None;
    }
    let [local, interface, blackhole] = reader.fields(node, &KNOWN)?;
    let entries = reader.map(node)?.len();
    if entries != 1 {
        let number = if entries == 0 { "no" } else { "more than one" };
        let hint = "give exactly one of {local: {}}, {interface: NAME} and {blackhole: {}}";
        reader.error_with_hint(node.at, format!("`via` names {number} target"), hint);
        return None;
    }
    let value = if let Some(node) = local {
        reader.fields(node, &EMPTY).map(|[]| Via::Local {})
    } else if let Some(node) = blackhole {
        reader.fields(node, &EMPTY).map(|[]| Via::Blackhole {})
    } else if let Some(node) = interface {
        let name = reader.parse::<Name>(node, "an interface's name")?;
        return Some(At { value: Via::Interface(name.value), at: name.at });
    } else {
        None
    };
    value.map(|value| At { value, at: node.at })
}

fn plain_word<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.value {
        crate::intent::yaml::Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}
