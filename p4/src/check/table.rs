//! Tables.

use super::body::BodyChecker;
use super::global::annotated_number;
use super::scope::Symbol;
use super::{known_annotations, mismatch};
use crate::diagnostic::{Problem, Span};
use crate::program::{ActionScope, Entry, Key, MatchKind, Set, Table, TableAction};
use crate::syntax::ast::{
    self, ActionReference, Annotation, Direction, Expression, ExpressionKind as E, Name, Property,
};
use crate::value::Value;

impl BodyChecker<'_> {
    /// A table. Keys and actions come first in the text, as entries and defaults refer to them.
    pub fn table(
        &mut self,
        written: &ast::Table,
        annotations: &[Annotation],
    ) -> Result<(), Problem> {
        let nic_group = annotated_number(self.checker, annotations, "rte_flow_group")?;
        let mut table = Table {
            name: written.name.text.clone(),
            keys: Vec::new(),
            actions: Vec::new(),
            default_action: (usize::MAX, Vec::new()),
            default_is_constant: false,
            size: None,
            entries: None,
            nic_group,
        };
        for property in &written.properties {
            match property {
                Property::Key(keys) => {
                    table.keys = keys.iter().map(|key| self.key(key)).collect::<Result<_, _>>()?;
                }
                Property::Actions(actions) => {
                    table.actions = actions
                        .iter()
                        .map(|action| self.listed(action))
                        .collect::<Result<_, _>>()?;
                }
                Property::Entries(entries) => {
                    let count = if table.has_priorities() { entries.len() as u32 } else { 0 };
                    let entries = entries.iter().zip(0..).map(|(entry, n)| {
                        let keys: Vec<_> =
                            table.keys.iter().map(|key| key.expression.clone()).collect();
                        let sets = self.sets(&entry.sets, &keys)?;
                        allowed(&sets, &table.keys, entry.action.span)?;
                        let (action, arguments) =
                            self.bound_action(&entry.action, &table, ActionScope::Entries)?;
                        Ok(Entry { sets, priority: count.saturating_sub(n), action, arguments })
                    });
                    table.entries = Some(entries.collect::<Result<_, Problem>>()?);
                }
                Property::Value { constant, name, value } => match name.text.as_str() {
                    "default_action" => {
                        table.default_action =
                            self.bound_action(value, &table, ActionScope::Default)?;
                        table.default_is_constant = *constant;
                    }
                    "size" => table.size = Some(self.size(value)?),
                    other => {
                        return Err(Problem::new(
                            name.span,
                            format!("unknown table property `{other}`"),
                            "means nothing here",
                        )
                        .help("key, actions, default_action, const entries, size"));
                    }
                },
            }
        }
        if table.default_action.0 == usize::MAX {
            return Err(Problem::new(
                written.name.span,
                format!("the table `{}` has no default action", table.name),
                "what does a miss do?",
            )
            .help("`default_action = NoAction();` if nothing"));
        }
        self.definition.tables.push(table);
        self.declare(&written.name, Symbol::Table(self.definition.tables.len() - 1))
    }

    fn key(&mut self, written: &ast::Key) -> Result<Key, Problem> {
        known_annotations(&written.annotations, &["name", "where_matchable"])?;
        let annotation =
            |name: &str| written.annotations.iter().find(|annotation| annotation.name.text == name);
        let expression = self.expression(&written.expression, None)?;
        let width = self.checker.program.key_width(&expression.ty).ok_or_else(|| {
            mismatch(expression.span, "a number", &self.checker.program.show_type(&expression.ty))
        })?;
        let kind = match self.lookup(&written.match_kind.text, written.match_kind.span)? {
            Symbol::MatchKind(kind) => kind,
            other => return Err(mismatch(written.match_kind.span, "a match kind", other.what())),
        };
        let name = match annotation("name") {
            None => key_name(&written.expression).ok_or_else(|| {
                Problem::new(written.expression.span, "the key has no name", "an expression")
                    .help("give it one: `... : exact @name(\"port\");`")
            })?,
            Some(Annotation { arguments, name }) => match arguments.as_slice() {
                [Expression { kind: E::Text(text), .. }] => text.clone(),
                _ => return Err(Problem::new(name.span, "`@name` has one text", "@name(\"...\")")),
            },
        };
        let where_matchable = match annotation("where_matchable") {
            None => false,
            Some(Annotation { arguments, .. }) if arguments.is_empty() => true,
            Some(Annotation { name, .. }) => {
                let what = "`@where_matchable` has no arguments";
                return Err(Problem::new(name.span, what, "@where_matchable"));
            }
        };
        Ok(Key { name, expression, width, kind, where_matchable })
    }

    fn listed(&mut self, written: &ActionReference) -> Result<TableAction, Problem> {
        known_annotations(&written.annotations, &["tableonly", "defaultonly"])?;
        let action = self.action_named(&written.name)?;
        let scope = match written.annotations.first().map(|a| a.name.text.as_str()) {
            Some("tableonly") => ActionScope::Entries,
            Some(_) => ActionScope::Default,
            None => ActionScope::Anywhere,
        };
        let parameters = &self.definition.actions[action].parameters;
        if let Some((directed, _)) = parameters.iter().find(|(p, _)| p.direction != Direction::None)
        {
            return Err(Problem::new(
                written.name.span,
                format!(
                    "the parameter `{}` of `{}` has a direction",
                    directed.name, written.name.text
                ),
                "a table's entries give it none",
            ));
        }
        Ok(TableAction { action, scope })
    }

    /// An action with constant arguments.
    fn bound_action(
        &mut self,
        written: &Expression,
        table: &Table,
        scope: ActionScope,
    ) -> Result<(usize, Vec<Value>), Problem> {
        let (name, arguments): (&str, &[Expression]) = match &written.kind {
            E::Name(name) => (name, &[]),
            E::Call(function, _, arguments) => match &function.kind {
                E::Name(name) => (name, arguments),
                _ => return Err(Problem::new(written.span, "an action is expected", "here")),
            },
            _ => return Err(Problem::new(written.span, "an action is expected", "here")),
        };
        let action = self.action_named(&Name { text: name.to_owned(), span: written.span })?;
        let Some(listed) = table.actions.iter().find(|listed| listed.action == action) else {
            return Err(Problem::new(
                written.span,
                format!("`{name}` is none of the table's actions"),
                "not in its list",
            )
            .help("`actions = { ... }` comes first"));
        };
        if listed.scope != ActionScope::Anywhere && listed.scope != scope {
            return Err(Problem::new(
                written.span,
                format!("`{name}` may not stand here"),
                "its annotation in the list says so",
            ));
        }
        let parameters = self.definition.actions[action].parameters.clone();
        if parameters.len() != arguments.len() {
            return Err(Problem::new(
                written.span,
                format!("`{name}` takes {} arguments", parameters.len()),
                format!("{} given", arguments.len()),
            ));
        }
        let values = parameters
            .iter()
            .zip(arguments)
            .map(|((p, _), argument)| Ok(self.checker.constant(argument, Some(&p.ty))?.0))
            .collect::<Result<_, Problem>>()?;
        Ok((action, values))
    }

    fn size(&mut self, written: &Expression) -> Result<u32, Problem> {
        let size = match self.checker.constant(written, None)?.0 {
            Value::Integer(size) => u32::try_from(size).ok(),
            Value::Bits(bits) => Some(bits.to_count()),
            _ => None,
        };
        size.filter(|size| size.is_power_of_two()).ok_or_else(|| {
            Problem::new(written.span, "the size is no power of two", "here")
                .help("hardware makes tables of powers of two")
        })
    }
}

/// The name of a key that is written as a path.
fn key_name(written: &Expression) -> Option<String> {
    match &written.kind {
        E::Name(name) => Some(name.clone()),
        E::Member(of, name) => Some(format!("{}.{}", key_name(of)?, name.text)),
        E::Call(function, _, arguments) if arguments.is_empty() => {
            key_name(function).map(|name| format!("{name}()"))
        }
        _ => None,
    }
}

/// Refuses sets that a key's match kind cannot have.
fn allowed(sets: &[Set], keys: &[Key], span: Span) -> Result<(), Problem> {
    for (set, key) in sets.iter().zip(keys) {
        let fits = match (set, key.kind) {
            (Set::Value(_), _)
            | (Set::Any, MatchKind::Ternary | MatchKind::LongestPrefix | MatchKind::Optional)
            | (Set::Mask(..), MatchKind::Ternary) => true,
            (Set::Mask(_, mask), MatchKind::LongestPrefix) => {
                crate::bits::Bits::prefix_mask(key.width, mask.value().count_ones()) == *mask
            }
            _ => false,
        };
        if !fits {
            return Err(Problem::new(
                span,
                format!("the key `{}` is {}", key.name, key.kind.name()),
                "this entry does not match like that",
            ));
        }
    }
    Ok(())
}
