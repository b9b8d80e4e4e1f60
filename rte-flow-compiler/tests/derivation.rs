//! A key or an action that one side has and the other has not fails the build, with a line that says where.

#[path = "../build/derive.rs"]
mod derive;

use std::path::Path;

use rte_flow_compiler::vocabulary;

fn schema() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/pipeline.schema.json");
    std::fs::read_to_string(path).expect("the schema is committed")
}

/// What is said of the contract's schema when some of its text is another.
fn problems(from: &str, to: &str) -> Vec<String> {
    let schema = schema();
    assert!(schema.contains(from), "the schema has {from}");
    derive::layout(&schema.replacen(from, to, 1)).expect_err("it is refused")
}

#[test]
fn the_contract_has_a_layout() {
    let layout = derive::layout(&schema()).expect("a layout");
    assert!(layout.contains("Table::TunnelConnections"), "{layout}");
}

#[test]
fn an_unknown_key_is_named() {
    assert_eq!(
        problems(r#""name": "outer_not_ect""#, r#""name": "outer_ecn""#),
        [
            "the contract's table Pipeline.offload.tunnel_dispatch has the key `outer_ecn` (exact, 1 bits), which \
             vocabulary.rs does not know so: say what it is in rte_flow",
            "no table of the contract's offload stage has the key `outer_not_ect`, which vocabulary.rs knows as \
             OuterNotEct",
        ]
    );
}

#[test]
fn a_key_of_another_width_is_unknown() {
    let vni = "\"name\": \"vni\",\n          \"match\": \"exact\",\n          \"width\": 24";
    let problems = problems(vni, &vni.replace("24", "32"));
    assert!(problems[0].contains("`vni` (exact, 32 bits)"), "{problems:?}");
}

#[test]
fn part_of_a_register_is_unknown() {
    let problems = problems("zone.from_network", "zone.side");
    assert!(problems[0].contains("vm_connections has the key `zone.interface`"), "{problems:?}");
}

#[test]
fn an_unknown_effect_is_named() {
    assert_eq!(
        problems(r#""headers.ethernet.source""#, r#""headers.ip.ipv4.ttl""#),
        [
            "the contract's action Pipeline.offload.vm_connections.deliver does `headers.ip.ipv4.ttl`, which vocabulary.rs \
          does not know: say what it is in rte_flow"
        ]
    );
}

#[test]
fn an_action_has_one_fate() {
    let problems = problems(r#""on_hit": "vm_connections""#, r#""on_hit": "policy""#);
    assert_eq!(
        problems,
        [
            "the contract's action Pipeline.offload.vm_checks.go_on sends the packet neither to a port nor on to a table of \
          the NIC"
        ]
    );
}
