//! From the contract's schema to the source of `layout.rs`: tables, their fields, their actions.

use std::fmt::Write;

use serde::Deserialize;

use crate::vocabulary::{Field, Meaning, Operation};

#[derive(Deserialize)]
struct Schema {
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    path: String,
    rte_flow_group: Option<u32>,
    keys: Vec<Key>,
    actions: Vec<Action>,
    on_hit: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    r#match: String,
    width: u32,
    #[serde(default)]
    where_matchable: bool,
}

#[derive(Deserialize)]
struct Action {
    name: String,
    only: Option<String>,
    #[serde(default)]
    does: Vec<String>,
}

/// What is wrong with it, in one line each.
type Problems = Vec<String>;

/// The source of the layout that a schema describes.
pub fn layout(schema: &str) -> Result<String, Problems> {
    let schema: Schema = serde_json::from_str(schema)
        .map_err(|e| vec![format!("the contract's schema is not what is expected: {e}")])?;
    let tables: Vec<(&Table, u32)> =
        schema.tables.iter().filter_map(|table| Some((table, table.rte_flow_group?))).collect();
    let mut problems = Problems::new();
    let mut used = Vec::new();
    let mut verbs: Vec<String> = Vec::new();
    let mut rows = String::new();
    for (table, group) in &tables {
        let fields = fields(table, &mut problems);
        used.extend(fields.iter().map(|(field, _)| *field));
        let _ = write!(
            rows,
            "    TableLayout {{\n        table: Table::{},\n        group: {group},\n        fields: &[",
            table.variant()
        );
        for (field, is_optional) in fields {
            let need = if is_optional { "WhereMatchable" } else { "Always" };
            let _ = write!(rows, "\n            (Field::{field:?}, Need::{need}),");
        }
        rows.push_str("\n        ],\n        actions: &[");
        for action in
            table.actions.iter().filter(|action| action.only.as_deref() != Some("default"))
        {
            let Some((operations, next)) = operations(table, action, &tables, &mut problems) else {
                continue;
            };
            let verb = camel_case(&action.name);
            let operations: Vec<_> =
                operations.iter().map(|operation| format!("Operation::{operation:?}")).collect();
            let next = next.map_or_else(|| "None".into(), |next| format!("Some(Table::{next})"));
            let _ = write!(
                rows,
                "\n            ActionLayout {{ verb: Verb::{verb}, operations: &[{}], next: {next} }},",
                operations.join(", ")
            );
            if !verbs.contains(&verb) {
                verbs.push(verb);
            }
        }
        rows.push_str("\n        ],\n    },\n");
    }
    for field in Field::ALL.iter().filter(|field| !used.contains(field)) {
        let keys: Vec<_> = field.keys().iter().map(|(name, ..)| *name).collect();
        problems.push(format!(
            "no table of the contract's offload stage has the key `{}`, which vocabulary.rs knows as {field:?}",
            keys.join("`, `")
        ));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut source = String::from("/// A table of the contract's offload stage, in its order.\n");
    source.push_str(DERIVES);
    source.push_str("pub enum Table {\n");
    for (table, _) in &tables {
        let _ = writeln!(source, "    /// `{}`\n    {},", table.path, table.variant());
    }
    source.push_str("}\n\n/// An action of such a table that entries have.\n");
    source.push_str(DERIVES);
    source.push_str("pub enum Verb {\n");
    for verb in verbs {
        let _ = writeln!(source, "    /// `{}`\n    {verb},", snake_case(&verb));
    }
    source.push_str("}\n\n/// All tables.\npub const TABLES: &[TableLayout] = &[\n");
    Ok(source + &rows + "];\n")
}

const DERIVES: &str = "#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]\n";

impl Table {
    fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    fn variant(&self) -> String {
        camel_case(self.name())
    }
}

/// The fields of a table's keys, and whether a NIC may leave them out.
fn fields(table: &Table, problems: &mut Problems) -> Vec<(Field, bool)> {
    let mut fields = Vec::new();
    let mut keys = table.keys.as_slice();
    while let Some(first) = keys.first() {
        let whole = Field::ALL.iter().find(|field| {
            let wanted = field.keys();
            let is = |(key, (name, kind, width)): (&Key, &(&str, &str, u32))| {
                key.name == *name && key.r#match == *kind && key.width == *width
            };
            keys.len() >= wanted.len() && keys.iter().zip(wanted).all(is)
        });
        let length = whole.map_or(1, |field| field.keys().len());
        let (these, rest) = keys.split_at(length);
        if let Some(field) = whole {
            fields.push((*field, these.iter().all(|key| key.where_matchable)));
        } else {
            problems.push(format!(
                "the contract's table {} has the key `{}` ({}, {} bits), which vocabulary.rs does not know so: say what \
                 it is in rte_flow",
                table.path, first.name, first.r#match, first.width
            ));
        }
        keys = rest;
    }
    fields
}

/// What an action of a table does, and the table that is next; nothing for one that no rule has.
fn operations(
    table: &Table,
    action: &Action,
    tables: &[(&Table, u32)],
    problems: &mut Problems,
) -> Option<(Vec<Operation>, Option<String>)> {
    let (mut operations, mut leads) = (Vec::new(), table.on_hit.as_deref());
    for effect in &action.does {
        match Meaning::of(effect) {
            Some(Meaning::Does(operation)) => {
                if !operations.contains(&operation) {
                    operations.push(operation);
                }
            }
            Some(Meaning::Leads(to)) => leads = Some(to),
            Some(Meaning::Software) => return None,
            None => problems.push(format!(
                "the contract's action {}.{} does `{effect}`, which vocabulary.rs does not know: say what it is in rte_flow",
                table.path, action.name
            )),
        }
    }
    let delivers = operations.contains(&Operation::Deliver);
    let next = tables.iter().find(|(next, _)| leads == Some(next.name()));
    match (delivers, next) {
        (true, None) => Some((operations, None)),
        (false, Some((next, _))) => Some((operations, Some(next.variant()))),
        (true, Some(_)) => {
            problems.push(format!(
                "the contract's action {}.{} sends the packet to a port and on to a table: a rule has one fate",
                table.path, action.name
            ));
            None
        }
        (false, None) => {
            problems.push(format!(
                "the contract's action {}.{} sends the packet neither to a port nor on to a table of the NIC",
                table.path, action.name
            ));
            None
        }
    }
}

fn camel_case(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
