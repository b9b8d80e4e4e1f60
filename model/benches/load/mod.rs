//! Intent as text, as large as asked for.

use std::fmt::Write;

use model::intent::{Intent, Source};

/// The node that snapshots are compiled for.
pub const NODE: &str = "here";

/// YAML documents.
#[derive(Clone, Default)]
pub struct Load(pub String);

impl Load {
    /// The node, a VPC (`10.0.0.0/8` and `fd00::/16`) and its subnet, which refers to a table `routes` where there is one.
    pub fn new(with_table: bool) -> Self {
        let mut load = Self::default();
        load.node(NODE, 0);
        load.object("Vpc", "vpc", "{vni: 100, cidrs: [10.0.0.0/8, \"fd00::/16\"]}");
        let table = if with_table { ", routeTable: routes" } else { "" };
        let spec = format!("{{vpc: vpc, cidrs: [10.0.0.0/8, \"fd00::/16\"]{table}}}");
        load.object("Subnet", "subnet", &spec);
        load
    }

    /// Adds an object.
    pub fn object(&mut self, kind: &str, name: &str, spec: &str) {
        let _ = writeln!(
            self.0,
            "---\napiVersion: penstock.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}"
        );
    }

    /// Adds the node of a number, with a VTEP of its own.
    pub fn node(&mut self, name: &str, number: u32) {
        let [_, _, third, fourth] = (number + 1).to_be_bytes();
        let spec = format!(
            "{{vtep: 172.16.{third}.{fourth}, mac: \"02:01:00:00:{third:02x}:{fourth:02x}\", underlay: {{prefix: 172.16.0.0/16}}}}"
        );
        self.object("Node", name, &spec);
    }

    /// Adds the interface of a number, which has the number's place in the subnet.
    pub fn interface(&mut self, number: u32, node: &str, vf: u32, group: &str) {
        let [_, a, b, c] = (number + 2).to_be_bytes();
        let spec = format!(
            "{{subnet: subnet, node: {node}, vf: {vf}, mac: \"02:00:00:{a:02x}:{b:02x}:{c:02x}\", \
             addresses: [10.{a}.{b}.{c}], securityGroups: [{group}]}}"
        );
        self.object("Interface", &format!("interface-{number}"), &spec);
    }

    /// Adds a group with `ingress` rules, each in YAML's flow style.
    pub fn group(&mut self, name: &str, rules: impl Iterator<Item = String>) {
        let rules: Vec<String> = rules.map(|rule| format!("\n    - {rule}")).collect();
        let list = if rules.is_empty() { " []".to_owned() } else { rules.concat() };
        self.object("SecurityGroup", name, &format!("\n  vpc: vpc\n  ingress:{list}"));
    }

    /// What it says.
    pub fn intent(&self) -> Intent {
        let source = Source { name: "load", bytes: self.0.as_bytes() };
        Intent::parse(&[source]).unwrap_or_else(|errors| panic!("{}", errors.render()))
    }
}

/// Numbers that look like chance and are always the same (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next one below a limit.
    pub fn below(&mut self, limit: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u32
    }
}
