//! The NIC's layout is the offload stage of the contract: the same tables in the same groups, the same keys, the same
//! actions. A key or an action in one and not in the other fails here.

use std::path::Path;

use model::decision::DropReason;
use p4::program::Program;
use p4::schema::{Stage, TableSchema};
use rte_flow_compiler::layout::{Operation, TABLES, Table, TableLayout};

fn contract() -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/pipeline.p4");
    p4::compile(&path).expect("the contract is accepted")
}

fn offload_stage() -> Vec<TableSchema> {
    let tables = p4::schema::of(&contract()).tables;
    tables.into_iter().filter(|table| table.stage == Stage::Offload).collect()
}

/// A name of a variant, as the contract writes it.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn name_of(table: Table) -> String {
    match table {
        // Software rewrites by the same table.
        Table::Encapsulation => "tunnels".to_owned(),
        _ => snake_case(&format!("{table:?}")),
    }
}

/// The contract's keys; `tuple.source` and the others of `tuple` are one field.
fn keys_of(contract: &TableSchema) -> Vec<String> {
    let mut keys: Vec<String> = contract
        .keys
        .iter()
        .map(|key| key.name.split('.').next().unwrap_or_default().to_owned())
        .collect();
    keys.dedup();
    keys
}

/// What an action of the contract is in operations of the NIC; none for what only software does.
fn operations_of(action: &str, table: Table) -> Option<Vec<Operation>> {
    use Operation::{Count, Decapsulate, Deliver, Encapsulate, Jump, SetMacs, SetTunnel, SetZone};
    let next = match table {
        Table::VmDispatch => Table::VmChecks,
        Table::TunnelDispatch => Table::TunnelChecks,
        Table::VmChecks => Table::VmConnections,
        Table::TunnelChecks => Table::TunnelConnections,
        _ => Table::Encapsulation,
    };
    match action {
        "checked_for" => Some(vec![SetZone, Jump(next)]),
        "go_on" => Some(vec![Jump(next)]),
        "deliver" => Some(vec![Count, SetMacs, Deliver]),
        "to_tunnel" => Some(vec![Count, SetMacs, SetTunnel, Jump(next)]),
        "decapsulate_and_deliver" => Some(vec![Decapsulate, Count, Deliver]),
        "encapsulate_ipv4" | "encapsulate_ipv6" => Some(vec![Encapsulate, Deliver]),
        "unresolved" | "software" => None,
        other => panic!("the contract's action `{other}` is no operation of the NIC"),
    }
}

fn variants_of(contract: &TableSchema, table: Table) -> Vec<Vec<Operation>> {
    let mut variants: Vec<_> =
        contract.actions.iter().filter_map(|action| operations_of(&action.name, table)).collect();
    variants.dedup();
    variants
}

#[test]
fn the_layout_is_the_offload_stage_of_the_contract() {
    let contract = offload_stage();
    assert_eq!(contract.len(), TABLES.len(), "as many tables in one as in the other");
    for TableLayout { table, group, fields, variants, .. } in TABLES {
        let name = name_of(*table);
        let found = contract
            .iter()
            .find(|found| found.path.ends_with(&format!(".{name}")))
            .unwrap_or_else(|| panic!("the contract has no table `{name}`"));
        assert_eq!(found.rte_flow_group, Some(*group), "the group of {name}");
        let keys: Vec<_> =
            fields.iter().map(|(field, _)| snake_case(&format!("{field:?}"))).collect();
        assert_eq!(keys_of(found), keys, "the keys of {name}");
        let variants: Vec<_> = variants.iter().map(|variant| variant.to_vec()).collect();
        assert_eq!(variants_of(found, *table), variants, "the actions of {name}");
    }
}

#[test]
fn the_words_for_drops_are_those_of_the_contract() {
    let contract = contract();
    let reasons = contract.enumeration("drop_reason_t").expect("the contract has reasons");
    let names: Vec<&str> = reasons.members.iter().map(|(name, _)| name.as_str()).collect();
    let words: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names[0], "none", "what is not dropped");
    assert_eq!(names[1..], words);
}
