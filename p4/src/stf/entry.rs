//! Entries as written to entries of a table.

use super::LineError;
use super::line::{ActionText, EntryText, split_colon};
use super::value::{set, value};
use crate::interpreter::Machine;
use crate::interpreter::table::{EntryError, TableState};
use crate::program::{ActionScope, MatchKind, Program, Set};
use crate::value::Value;

/// Adds an entry to its table.
pub fn add(
    machine: &mut Machine<'_>,
    entry: &EntryText<'_>,
    written: &ActionText<'_>,
) -> Result<(), LineError> {
    let program = machine.program();
    let table = machine.table(entry.table)?;
    let sets = sets(program, table, &entry.keys)?;
    let (action, arguments) = action(program, table, written, ActionScope::Entries)?;
    Ok(table.add(entry.priority, &sets, action, arguments)?)
}

/// Removes an entry from its table.
pub fn remove(machine: &mut Machine<'_>, entry: &EntryText<'_>) -> Result<(), LineError> {
    let program = machine.program();
    let table = machine.table(entry.table)?;
    let sets = sets(program, table, &entry.keys)?;
    if table.remove(entry.priority, &sets)? {
        return Ok(());
    }
    Err(LineError::Syntax(format!("`{}` has no such entry", table.path)))
}

/// Sets what a table does on a miss.
pub fn set_default(
    machine: &mut Machine<'_>,
    table: &str,
    written: &ActionText<'_>,
) -> Result<(), LineError> {
    let program = machine.program();
    let table = machine.table(table)?;
    let (action, arguments) = action(program, table, written, ActionScope::Default)?;
    Ok(table.set_default(action, arguments)?)
}

/// One set a key; keys that may be anything may be left out.
fn sets(
    program: &Program,
    table: &TableState<'_>,
    written: &[(&str, &str)],
) -> Result<Vec<Set>, LineError> {
    let keys = &table.definition.keys;
    for (name, _) in written {
        if !keys.iter().any(|key| key.name == *name) {
            let known: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
            return Err(EntryError::NoKey {
                table: table.path.clone(),
                key: (*name).to_owned(),
                known: known.join(", "),
            }
            .into());
        }
    }
    keys.iter()
        .map(|key| match written.iter().find(|(name, _)| key.name == *name) {
            Some((_, text)) => set(program, key, text)
                .map_err(|problem| LineError::Syntax(format!("{}: {problem}", key.name))),
            None if key.kind == MatchKind::Exact => {
                Err(EntryError::MissingKey(table.path.clone(), key.name.clone()).into())
            }
            None => Ok(Set::Any),
        })
        .collect()
}

/// The action, and its arguments in the order of its parameters.
fn action(
    program: &Program,
    table: &TableState<'_>,
    written: &ActionText<'_>,
    scope: ActionScope,
) -> Result<(usize, Vec<Value>), LineError> {
    let (action, parameters) = table.action(written.name, scope)?;
    let wrong = || {
        let known: Vec<String> = parameters
            .iter()
            .map(|parameter| format!("{} {}", program.show_type(&parameter.ty), parameter.name))
            .collect();
        LineError::Entry(EntryError::Arguments(written.name.to_owned(), known.join(", ")))
    };
    if written.arguments.len() != parameters.len() {
        return Err(wrong());
    }
    let named: Vec<(Option<&str>, &str)> = written
        .arguments
        .iter()
        .map(|argument| match split_colon(argument) {
            (name, Some(value)) if parameters.iter().any(|parameter| parameter.name == name) => {
                (Some(name), value.trim())
            }
            _ => (None, *argument),
        })
        .collect();
    let values = parameters
        .iter()
        .enumerate()
        .map(|(place, parameter)| {
            let by_name = named.iter().find(|(name, _)| *name == Some(parameter.name.as_str()));
            let by_place = named.get(place).filter(|(name, _)| name.is_none());
            let (_, text) = by_name.or(by_place).ok_or_else(wrong)?;
            value(program, &parameter.ty, text)
                .map_err(|problem| LineError::Syntax(format!("{}: {problem}", parameter.name)))
        })
        .collect::<Result<_, LineError>>()?;
    Ok((action, values))
}
