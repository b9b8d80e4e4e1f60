//! Intents that are fine: parsed, shown, parsed again, compiled.

use std::fs;

use model::intent::{Intent, Objects, Source, Spec};
use model::snapshot::Snapshot;

fn parse(name: &str, text: &str) -> Intent {
    Intent::parse(&[Source { name, bytes: text.as_bytes() }])
        .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render()))
}

/// All objects as JSON documents.
fn show(intent: &Intent) -> String {
    fn documents<S: Spec>(objects: &Objects<S>, text: &mut String) {
        for object in objects.sorted() {
            *text += "---\n";
            *text += &serde_json::to_string_pretty(object).expect("objects serialise");
            *text += "\n";
        }
    }
    let mut text = String::new();
    documents(intent.nodes(), &mut text);
    documents(intent.vpcs(), &mut text);
    documents(intent.subnets(), &mut text);
    documents(intent.interfaces(), &mut text);
    documents(intent.security_groups(), &mut text);
    documents(intent.route_tables(), &mut text);
    text
}

#[test]
fn each_is_accepted_and_means_the_same_when_shown() {
    let mut files = 0;
    for file in fs::read_dir("tests/accepted").expect("the directory of cases") {
        let path = file.expect("a readable directory").path();
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).expect("a readable file");
        let intent = parse(&name, &text);
        let shown = show(&intent);
        assert_eq!(parse("shown", &shown), intent, "{name}: shown as\n{shown}");
        for node in intent.nodes() {
            let first = Snapshot::compile(&intent, node.name(), None).expect("the node exists");
            let second = Snapshot::compile(&intent, node.name(), Some(&first)).expect("as before");
            assert_eq!(first.epoch, second.epoch, "{name}");
        }
        files += 1;
    }
    assert!(files > 0);
}

#[test]
fn an_alias_is_the_value_of_its_anchor() {
    let aliased = r"
apiVersion: &version penstock.dev/v1alpha1
kind: Vpc
metadata: {name: &name blue, labels: {role: *name}}
spec: {cidrs: &cidrs [10.0.0.0/16]}
---
apiVersion: penstock.dev/v1alpha1
kind: SecurityGroup
metadata: {name: &name web}
spec:
  vpc: blue
  ingress:
    - {protocol: &protocol tcp, ports: 80, from: &peer {securityGroup: *name}}
    - {protocol: *protocol, ports: 443, from: *peer}
  egress: [{protocol: tcp, ports: 80, to: *peer}]
";
    let written_out = r"
apiVersion: penstock.dev/v1alpha1
kind: Vpc
metadata: {name: blue, labels: {role: blue}}
spec: {cidrs: [10.0.0.0/16]}
---
apiVersion: penstock.dev/v1alpha1
kind: SecurityGroup
metadata: {name: web}
spec:
  vpc: blue
  ingress:
    - {protocol: tcp, ports: 80, from: {securityGroup: web}}
    - {protocol: tcp, ports: 443, from: {securityGroup: web}}
  egress: [{protocol: tcp, ports: 80, to: {securityGroup: web}}]
";
    assert_eq!(parse("aliased", aliased), parse("written out", written_out));
}

#[test]
fn json_objects_in_a_list_or_one_after_another() {
    let vpc = |name: &str| {
        format!(
            "{{\"apiVersion\": \"penstock.dev/v1alpha1\", \"kind\": \"Vpc\",\n  \"metadata\": {{\"name\": \"{name}\", \
             \"annotations\": {{\"note\": \"}}\\\"{{ # '\"}}}},\n \"spec\": {{\n \"cidrs\": [\n\"10.0.0.0/16\"]}}}}"
        )
    };
    let (a, b, c) = (vpc("a"), vpc("b"), vpc("c"));
    let divided = parse("divided", &format!("{a}\n---\n{b}\n---\n{c}\n"));
    assert_eq!(divided.vpcs().len(), 3);
    assert_eq!(parse("list", &format!("[{a},\n{b}, {c}]")), divided);
    assert_eq!(parse("stream", &format!("{a}\n{b}\n\n  {c}")), divided);
    assert_eq!(parse("no objects", "[]"), parse("nothing", ""));
}
