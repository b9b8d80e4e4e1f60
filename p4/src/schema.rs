//! The tables of a program: what a control plane, or a compiler of rules, must know of them.

use serde::Serialize;

use crate::program::{
    ActionScope, BlockDefinition, Body, Call, Callee, Expression, ExpressionKind, InstanceOf,
    Program, Statement, Table,
};

/// All tables of a program, in the order of its blocks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Schema {
    /// The tables.
    pub tables: Vec<TableSchema>,
}

/// One table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TableSchema {
    /// Its path: blocks from the outside in, and its name.
    pub path: String,
    /// Where it lives.
    pub stage: Stage,
    /// The `rte_flow` group, of a table that lives in the NIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rte_flow_group: Option<u32>,
    /// How many entries it holds; none when nobody adds any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Its keys in order.
    pub keys: Vec<KeySchema>,
    /// Its actions.
    pub actions: Vec<ActionSchema>,
    /// Of a table that lives in the NIC: the table that is looked at after a hit, if the program says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_hit: Option<String>,
    /// What a miss does.
    pub default_action: String,
    /// Whether that is fixed.
    pub default_is_constant: bool,
    /// How many entries are part of the program; none when the control plane adds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant_entries: Option<usize>,
}

/// Where a table lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// In the NIC.
    Offload,
    /// In software.
    Software,
}

/// One key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeySchema {
    /// Its name.
    pub name: String,
    /// How it is matched.
    pub r#match: &'static str,
    /// Its width in bits.
    pub width: u32,
    /// Whether a NIC that cannot match it leaves it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub where_matchable: bool,
}

/// One action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ActionSchema {
    /// Its name.
    pub name: String,
    /// Where it may stand, if not anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<&'static str>,
    /// Its parameters in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterSchema>,
    /// Of a table that lives in the NIC: what it writes and calls, each once and in order. What is written a constant is
    /// `PLACE = CONSTANT`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub does: Vec<String>,
}

/// One parameter of an action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ParameterSchema {
    /// Its name.
    pub name: String,
    /// Its type, as P4 writes it.
    pub r#type: String,
}

/// The tables of a program.
#[must_use]
pub fn of(program: &Program) -> Schema {
    let mut tables = Vec::new();
    for block in program.main.iter().flat_map(|main| &main.blocks) {
        let definition = &program.blocks[*block];
        collect(program, definition, &definition.name, &mut tables);
    }
    Schema { tables }
}

fn collect(program: &Program, block: &BlockDefinition, path: &str, tables: &mut Vec<TableSchema>) {
    tables.extend(block.tables.iter().map(|table| describe(program, block, table, path)));
    for instance in &block.instances {
        if let InstanceOf::Block(inner) = instance.of {
            collect(program, &program.blocks[inner], &format!("{path}.{}", instance.name), tables);
        }
    }
}

fn describe(program: &Program, block: &BlockDefinition, table: &Table, path: &str) -> TableSchema {
    let actions = table.actions.iter().map(|listed| {
        let action = &block.actions[listed.action];
        let parameters = action.parameters.iter().map(|(parameter, _)| ParameterSchema {
            name: parameter.name.clone(),
            r#type: program.show_type(&parameter.ty),
        });
        ActionSchema {
            name: action.name.clone(),
            only: match listed.scope {
                ActionScope::Anywhere => None,
                ActionScope::Entries => Some("entries"),
                ActionScope::Default => Some("default"),
            },
            parameters: parameters.collect(),
            does: match table.nic_group {
                Some(_) => effects(program, block, &action.body),
                None => Vec::new(),
            },
        }
    });
    let keys = table.keys.iter().map(|key| KeySchema {
        name: key.name.clone(),
        r#match: key.kind.name(),
        width: key.width,
        where_matchable: key.where_matchable,
    });
    let on_hit = || match &block.body {
        Body::Control(body) => after_hit(block, body, &table.name),
        Body::Parser(_) => None,
    };
    TableSchema {
        path: format!("{path}.{}", table.name),
        stage: if table.nic_group.is_some() { Stage::Offload } else { Stage::Software },
        rte_flow_group: table.nic_group,
        size: table.size,
        keys: keys.collect(),
        actions: actions.collect(),
        on_hit: table.nic_group.and_then(|_| on_hit()),
        default_action: block.actions[table.default_action.0].name.clone(),
        default_is_constant: table.default_is_constant,
        constant_entries: table.entries.as_ref().map(Vec::len),
    }
}

/// What statements of an action write and call, each once.
fn effects(program: &Program, block: &BlockDefinition, body: &[Statement]) -> Vec<String> {
    let mut effects = Vec::new();
    for statement in body {
        let more = match statement {
            Statement::Assign(place, value) => vec![match &value.kind {
                ExpressionKind::Constant(constant) => {
                    format!("{} = {}", place.text, program.show_value(&value.ty, constant))
                }
                _ => place.text.clone(),
            }],
            Statement::SetValid(place, true) => vec![format!("{}.setValid()", place.text)],
            Statement::SetValid(place, false) => vec![format!("{}.setInvalid()", place.text)],
            Statement::Call(Call { callee: Callee::Action(action), .. }) => {
                effects_of_action(program, block, *action)
            }
            Statement::Call(Call { callee, .. }) => vec![match callee {
                Callee::Method(instance, method) => {
                    format!("{}.{method}()", block.instances[*instance].name)
                }
                Callee::GlobalMethod(instance, method) => {
                    format!("{}.{method}()", program.instances[*instance].name)
                }
                Callee::ExternFunction(name) => format!("{name}()"),
                Callee::Function(function) => format!("{}()", program.functions[*function].name),
                Callee::PacketMethod(method) => format!("{method:?}()"),
                Callee::Block(instance) => format!("{}.apply()", block.instances[*instance].name),
                Callee::Action(action) => format!("{}()", block.actions[*action].name),
            }],
            Statement::Apply(table) => vec![format!("{}.apply()", block.tables[*table].name)],
            Statement::If(..) => vec!["if".to_owned()],
            Statement::Switch { .. } => vec!["switch".to_owned()],
            Statement::Return(_) => vec!["return".to_owned()],
            Statement::Exit => vec!["exit".to_owned()],
        };
        for effect in more {
            if !effects.contains(&effect) {
                effects.push(effect);
            }
        }
    }
    effects
}

fn effects_of_action(program: &Program, block: &BlockDefinition, action: usize) -> Vec<String> {
    effects(program, block, &block.actions[action].body)
}

/// The table that statements look at first where `table` has hit.
fn after_hit(block: &BlockDefinition, body: &[Statement], table: &str) -> Option<String> {
    body.iter().find_map(|statement| {
        let Statement::If(condition, then, otherwise) = statement else { return None };
        match &condition.kind {
            ExpressionKind::TableHit(hit) if block.tables[*hit].name == table => {
                then.iter().find_map(|statement| looked_at(block, statement))
            }
            _ => after_hit(block, then, table).or_else(|| after_hit(block, otherwise, table)),
        }
    })
}

/// The table that a statement looks at, and where it depends on that what comes next.
fn looked_at(block: &BlockDefinition, statement: &Statement) -> Option<String> {
    let hit = |expression: &Expression| match &expression.kind {
        ExpressionKind::TableHit(table) => Some(block.tables[*table].name.clone()),
        _ => None,
    };
    match statement {
        Statement::Apply(table) => Some(block.tables[*table].name.clone()),
        Statement::If(value, ..) | Statement::Assign(_, value) => hit(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn home() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// `P4_WRITE=1 cargo test -p p4 schema` writes it anew.
    #[test]
    fn the_committed_schema_is_that_of_the_contract() {
        let program =
            crate::compile(&home().join("pipeline.p4")).expect("the contract is accepted");
        let found = serde_json::to_string_pretty(&of(&program)).expect("a schema is JSON") + "\n";
        let path = home().join("pipeline.schema.json");
        if std::env::var_os("P4_WRITE").is_some() {
            std::fs::write(&path, &found).expect("the schema is written");
        }
        let committed = std::fs::read_to_string(&path).expect("the schema is committed");
        assert!(
            committed == found,
            "p4/pipeline.schema.json is stale: `P4_WRITE=1 cargo test -p p4 schema` writes it"
        );
    }

    #[test]
    fn tables_of_the_nic_name_their_groups() {
        let program =
            crate::compile(&home().join("pipeline.p4")).expect("the contract is accepted");
        let groups: Vec<u32> =
            of(&program).tables.iter().filter_map(|table| table.rte_flow_group).collect();
        assert_eq!(groups, [0, 1, 3, 0, 2, 4, 5]);
    }

    #[test]
    fn tables_of_the_nic_say_what_they_do_and_what_comes_next() {
        let program =
            crate::compile(&home().join("pipeline.p4")).expect("the contract is accepted");
        let tables = of(&program).tables;
        let find = |name: &str| {
            tables.iter().find(|table| table.path.ends_with(name)).expect("such a table")
        };
        let next = |name| find(name).on_hit.as_deref();
        assert_eq!(next(".vm_dispatch"), Some("vm_checks"));
        assert_eq!(next(".tunnel_checks"), Some("tunnel_connections"));
        assert_eq!(next(".vm_connections"), None);
        assert_eq!(
            find(".vm_connections").actions[1].does,
            [
                "flows.count()",
                "headers.ethernet.source",
                "headers.ethernet.destination",
                "metadata.tunnel",
                "metadata.rewrite = encapsulate"
            ]
        );
        let optional = find(".tunnel_dispatch").keys.iter().filter(|key| key.where_matchable);
        assert_eq!(optional.map(|key| key.name.as_str()).collect::<Vec<_>>(), ["vni_valid"]);
        assert!(find(".egress_rules").actions.iter().all(|action| action.does.is_empty()));
    }
}
