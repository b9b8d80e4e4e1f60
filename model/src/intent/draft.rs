//! Objects as they are read: each field that could be understood, with its place.
//!
//! A draft may lack fields that were refused, so that everything else about the object can still be checked. Each
//! lacking field has been reported; without any report, each draft has all it needs to become its object.

mod interface;
mod node;
mod route_table;
mod security_group;
mod subnet;
mod vpc;

use std::collections::BTreeMap;
use std::slice;

pub(super) use interface::InterfaceDraft;
use ipnet::IpNet;
pub(super) use node::NodeDraft;
pub(super) use route_table::RouteTableDraft;
pub(super) use security_group::SecurityGroupDraft;
pub(super) use subnet::SubnetDraft;
pub(super) use vpc::VpcDraft;

use super::name::{Name, shortened};
use super::object::{
    API_VERSION, InterfaceSpec, Metadata, NodeSpec, Object, RouteTableSpec, SecurityGroupSpec,
    Spec, SubnetSpec, VpcSpec,
};
use super::reader::{Known, Reader, did_you_mean};
use super::report::{At, Position, Report};
use super::yaml::{Document, Entry, Node, Value};

/// Kinds that are planned.
const LATER: [&str; 10] = [
    "NetworkAcl",
    "Peering",
    "InternetGateway",
    "ElasticIp",
    "NatGateway",
    "LoadBalancer",
    "TransitGateway",
    "VpnGateway",
    "DirectConnect",
    "MirrorSession",
];

/// A field's value; `None` when it is absent or was refused.
pub(super) type Field<T> = Option<At<T>>;

/// An object that is read.
pub(super) struct Draft<S> {
    pub(super) name: At<Name>,
    metadata: Option<Metadata>,
    /// `None` when nothing of it could be understood.
    pub(super) spec: Option<S>,
}

impl<S> Draft<S> {
    fn broken(name: At<Name>) -> Self {
        Self { name, metadata: None, spec: None }
    }

    /// An object that was accepted before, to be checked with others.
    pub(super) fn of<T>(object: &Object<T>, at: Position, spec: S) -> Self {
        let name = At { value: object.name().clone(), at };
        Self { name, metadata: Some(object.metadata.clone()), spec: Some(spec) }
    }

    /// The object, when nothing was refused.
    pub(super) fn finish<T>(self, spec: impl FnOnce(S) -> Option<T>) -> Option<Object<T>> {
        Some(Object { metadata: self.metadata?, spec: spec(self.spec?)? })
    }
}

/// All objects that are read.
#[derive(Default)]
pub(super) struct Drafts {
    pub(super) nodes: Vec<Draft<NodeDraft>>,
    pub(super) vpcs: Vec<Draft<VpcDraft>>,
    pub(super) subnets: Vec<Draft<SubnetDraft>>,
    pub(super) interfaces: Vec<Draft<InterfaceDraft>>,
    pub(super) security_groups: Vec<Draft<SecurityGroupDraft>>,
    pub(super) route_tables: Vec<Draft<RouteTableDraft>>,
}

impl Drafts {
    /// Whether there are objects of kinds that all others stand on.
    pub(super) fn have_foundations(&self) -> bool {
        !(self.nodes.is_empty() && self.vpcs.is_empty() && self.subnets.is_empty())
    }

    /// Adds objects of documents further behind.
    pub(super) fn append(&mut self, mut other: Self) {
        self.nodes.append(&mut other.nodes);
        self.vpcs.append(&mut other.vpcs);
        self.subnets.append(&mut other.subnets);
        self.interfaces.append(&mut other.interfaces);
        self.security_groups.append(&mut other.security_groups);
        self.route_tables.append(&mut other.route_tables);
    }

    /// Adds the objects of a document: one, or those of a list, as JSON files have them.
    pub(super) fn add(&mut self, document: &Document<'_>, report: &mut Report) {
        let objects = match &document.root.value {
            // A document without anything, or of comments only, is no object.
            Value::Scalar { text, plain: true } if text.is_empty() => &[],
            Value::Sequence(objects) => {
                report.end_document(|| None);
                &objects[..]
            }
            _ => slice::from_ref(&document.root),
        };
        let Some((at, message)) = &document.broken else {
            for object in objects {
                self.add_object(object, report);
            }
            return;
        };
        let mut label = None;
        if let Some((last, whole)) = objects.split_last() {
            for object in whole {
                self.add_object(object, report);
            }
            // What is there may be half a value. Only its name counts, so that references to it are no errors.
            label = self.add_broken(last);
        }
        report.error(*at, None, message.clone(), None);
        report.end_document(|| label);
    }

    fn add_object(&mut self, root: &Node<'_>, report: &mut Report) {
        self.add_whole(root, &mut Reader::new(report));
        report.end_document(|| label(root));
    }

    fn add_whole(&mut self, root: &Node<'_>, reader: &mut Reader<'_>) {
        const KNOWN: Known<4> =
            Known { fields: ["apiVersion", "kind", "metadata", "spec"], later: &[] };
        let kind = scalar(root, "kind");
        if let Some(kind) = kind.filter(|kind| LATER.contains(kind)) {
            let at = entry(root, "kind").map_or(root.at, |entry| entry.value.at);
            return reader.not_supported_yet(at, format_args!("kind {kind}"));
        }
        let Some([version, kind, metadata, spec]) = reader.fields(root, &KNOWN) else { return };
        if let Some(version) = reader.required(root, "apiVersion", version)
            && let Some(text) = reader.text(version, "the version of the object")
            && text != API_VERSION
        {
            let message = format!("`{}` is not a known apiVersion", shortened(text));
            reader.error_with_hint(version.at, message, format!("write {API_VERSION}"));
        }
        let (name, metadata) = match reader.required(root, "metadata", metadata) {
            Some(node) => read_metadata(node, reader),
            None => (None, None),
        };
        let kind = reader.required(root, "kind", kind);
        let spec = reader.required(root, "spec", spec);
        let Some(kind) = kind else { return };
        let Some(text) = reader.text(kind, "the kind of the object") else { return };

        let mut read = Read { name, metadata, spec, reader };
        match text {
            NodeSpec::KIND => read.add_to(&mut self.nodes, NodeDraft::read),
            VpcSpec::KIND => read.add_to(&mut self.vpcs, VpcDraft::read),
            SubnetSpec::KIND => read.add_to(&mut self.subnets, SubnetDraft::read),
            InterfaceSpec::KIND => read.add_to(&mut self.interfaces, InterfaceDraft::read),
            SecurityGroupSpec::KIND => {
                read.add_to(&mut self.security_groups, SecurityGroupDraft::read);
            }
            RouteTableSpec::KIND => read.add_to(&mut self.route_tables, RouteTableDraft::read),
            other => {
                let message = format!("unknown kind `{}`", shortened(other));
                let hint = did_you_mean(other, KINDS.into_iter().chain(LATER))
                    .unwrap_or_else(|| format!("known kinds: {}", KINDS.join(", ")));
                read.reader.error_with_hint(kind.at, message, hint);
            }
        }
    }

    /// Adds the name, and returns how messages call the object.
    fn add_broken(&mut self, root: &Node<'_>) -> Option<String> {
        let kind = scalar(root, "kind")?;
        let metadata = entry(root, "metadata").map(|entry| &entry.value);
        let name = metadata.and_then(|node| {
            let value = scalar(node, "name")?.parse().ok()?;
            Some(At { value, at: entry(node, "name")?.value.at })
        });
        let Some(name) = name else { return Some(shortened(kind)) };
        let label = format!("{}/{}", shortened(kind), name.value);
        match kind {
            NodeSpec::KIND => self.nodes.push(Draft::broken(name)),
            VpcSpec::KIND => self.vpcs.push(Draft::broken(name)),
            SubnetSpec::KIND => self.subnets.push(Draft::broken(name)),
            InterfaceSpec::KIND => self.interfaces.push(Draft::broken(name)),
            SecurityGroupSpec::KIND => self.security_groups.push(Draft::broken(name)),
            RouteTableSpec::KIND => self.route_tables.push(Draft::broken(name)),
            _ => {}
        }
        Some(label)
    }
}

/// Kinds that are built.
const KINDS: [&str; 6] = [
    NodeSpec::KIND,
    VpcSpec::KIND,
    SubnetSpec::KIND,
    InterfaceSpec::KIND,
    SecurityGroupSpec::KIND,
    RouteTableSpec::KIND,
];

/// The parts of an object whose kind is known next.
struct Read<'d, 'n, 'a, 'r> {
    name: Option<At<Name>>,
    metadata: Option<Metadata>,
    spec: Option<&'n Node<'a>>,
    reader: &'d mut Reader<'r>,
}

impl<'a, 'r> Read<'_, '_, 'a, 'r> {
    fn add_to<S>(
        &mut self,
        list: &mut Vec<Draft<S>>,
        read: impl FnOnce(&Node<'a>, &mut Reader<'r>) -> Option<S>,
    ) {
        let spec = self.spec.and_then(|spec| read(spec, self.reader));
        if let Some(name) = self.name.take() {
            list.push(Draft { name, metadata: self.metadata.take(), spec });
        }
    }
}

/// How messages name the object of a document, from what can be made out of it: `Kind/name`, `Kind` or nothing.
fn label(root: &Node<'_>) -> Option<String> {
    let kind = shortened(scalar(root, "kind")?);
    let metadata = entry(root, "metadata");
    let name = metadata.and_then(|metadata| scalar(&metadata.value, "name"));
    Some(name.map_or_else(|| kind.clone(), |name| format!("{kind}/{}", shortened(name))))
}

fn entry<'n, 'a>(node: &'n Node<'a>, key: &str) -> Option<&'n Entry<'a>> {
    match &node.value {
        Value::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
        _ => None,
    }
}

fn scalar<'n>(node: &'n Node<'_>, key: &str) -> Option<&'n str> {
    match &entry(node, key)?.value.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn read_metadata(node: &Node<'_>, reader: &mut Reader<'_>) -> (Option<At<Name>>, Option<Metadata>) {
    const KNOWN: Known<3> = Known { fields: ["name", "labels", "annotations"], later: &[] };
    let Some([name, labels, annotations]) = reader.fields(node, &KNOWN) else {
        return (None, None);
    };
    let name: Option<At<Name>> =
        reader.required(node, "name", name).and_then(|name| reader.parse(name, "a name"));
    let mut notes = |field: Option<&Node<'_>>| -> BTreeMap<String, String> {
        let entries = field.and_then(|node| reader.map(node)).unwrap_or_default();
        entries
            .iter()
            .filter_map(|entry| {
                Some((entry.key.to_string(), reader.string(&entry.value)?.to_owned()))
            })
            .collect()
    };
    let (labels, annotations) = (notes(labels), notes(annotations));
    let metadata =
        name.as_ref().map(|name| Metadata { name: name.value.clone(), labels, annotations });
    (name, metadata)
}

/// A list of prefixes that must not be empty.
fn read_cidrs(node: &Node<'_>, whose: &str, reader: &mut Reader<'_>) -> Vec<At<IpNet>> {
    let items = reader.list(node).unwrap_or_default();
    if items.is_empty() && matches!(node.value, Value::Sequence(_)) {
        let message = format!("a {whose} needs at least one CIDR");
        reader.error_with_hint(node.at, message, "for example cidrs: [10.0.0.0/16]");
    }
    items.iter().filter_map(|item| reader.cidr(item)).collect()
}

/// The same place for each value.
fn all_at<T: Clone>(values: &[T], at: Position) -> Vec<At<T>> {
    values.iter().map(|value| At { value: value.clone(), at }).collect()
}

/// The values without their places.
fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|item| item.value).collect()
}
