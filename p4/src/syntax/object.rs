//! Parsers, controls, actions and tables.

use super::ast::{
    Action, ActionReference, Control, Declaration, DeclarationKind as K, Entry, Key, Parser,
    Property, Prototype, SelectCase, State, Table, Transition,
};
use super::cursor::Cursor;
use super::declaration::local;
use super::expression::{expression, sets};
use super::statement::{block, statement};
use super::types::{annotations, parameters};
use crate::diagnostic::Problem;

/// A parser's body, behind its parameters.
pub fn parser(cursor: &mut Cursor, prototype: Prototype) -> Result<K, Problem> {
    no_constructor(cursor, &prototype)?;
    cursor.expect("{")?;
    let mut locals = Vec::new();
    let mut states = Vec::new();
    while !cursor.take("}") {
        let annotations = annotations(cursor)?;
        if cursor.take("state") {
            states.push(state(cursor)?);
        } else if let Some(declaration) = local(cursor)? {
            locals.push(Declaration { annotations, ..declaration });
        } else {
            return Err(cursor.unexpected("a state"));
        }
    }
    Ok(K::Parser(Parser { name: prototype.name, parameters: prototype.parameters, locals, states }))
}

fn state(cursor: &mut Cursor) -> Result<State, Problem> {
    let name = cursor.name("a state's name")?;
    cursor.expect("{")?;
    let mut body = Vec::new();
    while !cursor.is("transition") && !cursor.is("}") {
        body.push(statement(cursor)?);
    }
    if cursor.is("}") {
        return Err(Problem::new(
            name.span,
            format!("the state `{}` has no transition", name.text),
            "where does it go?",
        )
        .help("end it with `transition accept;`, `transition NAME;` or `transition select(...) {...}`"));
    }
    cursor.expect("transition")?;
    let transition = if cursor.take("select") {
        cursor.expect("(")?;
        let keys = cursor.list(")", expression)?;
        cursor.expect("{")?;
        let mut cases = Vec::new();
        while !cursor.take("}") {
            let sets = sets(cursor)?;
            cursor.expect(":")?;
            let state = cursor.name("a state's name")?;
            cursor.expect(";")?;
            cases.push(SelectCase { sets, state });
        }
        Transition::Select(keys, cases)
    } else {
        let to = cursor.name("a state's name")?;
        cursor.expect(";")?;
        Transition::To(to)
    };
    cursor.expect("}")?;
    Ok(State { name, body, transition })
}

/// A control's body, behind its parameters.
pub fn control(cursor: &mut Cursor, prototype: Prototype) -> Result<K, Problem> {
    no_constructor(cursor, &prototype)?;
    cursor.expect("{")?;
    let mut locals = Vec::new();
    loop {
        let annotations = annotations(cursor)?;
        if cursor.take("apply") {
            break;
        }
        if cursor.is("action") {
            locals.push(Declaration { kind: action(cursor)?, annotations });
        } else if cursor.is("table") {
            locals.push(Declaration { kind: table(cursor)?, annotations });
        } else if let Some(declaration) = local(cursor)? {
            locals.push(Declaration { annotations, ..declaration });
        } else {
            return Err(cursor.unexpected("an action, a table, a variable, an instance or `apply`"));
        }
    }
    let apply = block(cursor)?;
    cursor.expect("}")?;
    Ok(K::Control(Control {
        name: prototype.name,
        parameters: prototype.parameters,
        locals,
        apply,
    }))
}

/// `action name(...) { ... }`.
pub fn action(cursor: &mut Cursor) -> Result<K, Problem> {
    cursor.expect("action")?;
    let name = cursor.name("an action's name")?;
    let parameters = parameters(cursor)?;
    Ok(K::Action(Action { name, parameters, body: block(cursor)? }))
}

fn table(cursor: &mut Cursor) -> Result<K, Problem> {
    cursor.expect("table")?;
    let name = cursor.name("a table's name")?;
    cursor.expect("{")?;
    let mut properties = Vec::new();
    while !cursor.take("}") {
        properties.push(property(cursor)?);
    }
    Ok(K::Table(Table { name, properties }))
}

fn property(cursor: &mut Cursor) -> Result<Property, Problem> {
    let unknown = annotations(cursor)?;
    if let Some(annotation) = unknown.first() {
        return Err(Problem::new(
            annotation.name.span,
            "properties have no annotations here",
            "unknown annotation",
        ));
    }
    let constant = cursor.take("const");
    let name = cursor.name("a property")?;
    cursor.expect("=")?;
    match name.text.as_str() {
        "key" => {
            cursor.expect("{")?;
            let mut keys = Vec::new();
            while !cursor.take("}") {
                let expression = expression(cursor)?;
                cursor.expect(":")?;
                let match_kind = cursor.name("a match kind")?;
                let annotations = annotations(cursor)?;
                cursor.expect(";")?;
                keys.push(Key { expression, match_kind, annotations });
            }
            Ok(Property::Key(keys))
        }
        "actions" => {
            cursor.expect("{")?;
            let mut actions = Vec::new();
            while !cursor.take("}") {
                let annotations = annotations(cursor)?;
                let name = cursor.name("an action's name")?;
                if cursor.take("(") && !cursor.take(")") {
                    return Err(Problem::new(
                        cursor.span(),
                        "arguments in a table's list of actions are not supported",
                        "here",
                    )
                    .help("let the action read the variable itself"));
                }
                cursor.expect(";")?;
                actions.push(ActionReference { name, annotations });
            }
            Ok(Property::Actions(actions))
        }
        "entries" if !constant => Err(Problem::new(
            name.span,
            "entries that the control plane may change are not supported",
            "`const` is missing",
        )),
        "entries" => {
            cursor.expect("{")?;
            let mut entries = Vec::new();
            while !cursor.take("}") {
                let sets = sets(cursor)?;
                cursor.expect(":")?;
                let action = expression(cursor)?;
                cursor.expect(";")?;
                entries.push(Entry { sets, action });
            }
            Ok(Property::Entries(entries))
        }
        _ => {
            let value = expression(cursor)?;
            cursor.expect(";")?;
            Ok(Property::Value { constant, name, value })
        }
    }
}

fn no_constructor(cursor: &Cursor, prototype: &Prototype) -> Result<(), Problem> {
    if cursor.is("(") {
        return Err(Problem::new(
            cursor.span(),
            format!("`{}` has constructor parameters", prototype.name.text),
            "not supported",
        )
        .help("write a constant beside it"));
    }
    if let Some(generic) = prototype.type_parameters.first() {
        return Err(Problem::new(
            generic.span,
            format!("`{}` has type parameters and a body", prototype.name.text),
            "only declarations without a body may be generic",
        ));
    }
    Ok(())
}
