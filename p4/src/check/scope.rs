//! Names and what they mean.

use std::collections::HashMap;

use crate::diagnostic::Problem;
use crate::program::{MatchKind, Signature, Type};
use crate::syntax::ast::{Action, Name};
use crate::value::Value;

/// What a name means.
#[derive(Clone)]
pub enum Symbol {
    /// A type.
    Type(Type),
    /// `parser name(...);` or `control name(...);`
    BlockType(Signature),
    /// `package name(...);`: for each block its type, and the arguments of that.
    Package(Vec<(Signature, Vec<Type>)>),
    /// A constant.
    Constant(Value, Type),
    /// Functions of the architecture with this name.
    ExternFunction(Vec<Signature>),
    /// A function.
    Function(usize),
    /// A parser or control.
    Block(usize),
    /// An action outside of controls: each control that uses it has its own.
    GlobalAction(Action),
    /// An extern object outside of blocks.
    GlobalInstance(usize),
    /// A match kind.
    MatchKind(MatchKind),
    /// A variable or parameter.
    Variable { slot: usize, ty: Type, writable: bool },
    /// An extern object that a parameter stands for: the packet.
    Object(usize),
    /// One of the block's actions.
    Action(usize),
    /// One of the block's tables.
    Table(usize),
    /// One of the block's instances.
    Instance(usize),
    /// One of the parser's states.
    State,
}

impl Symbol {
    /// Whether it names a type.
    pub fn is_type(&self) -> bool {
        matches!(self, Self::Type(_) | Self::BlockType(_) | Self::Package(_) | Self::Block(_))
    }

    /// What it is, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Type(_) | Self::BlockType(_) | Self::Package(_) => "a type",
            Self::Constant(..) => "a constant",
            Self::ExternFunction(_) | Self::Function(_) => "a function",
            Self::Block(_) => "a parser or control",
            Self::GlobalAction(_) | Self::Action(_) => "an action",
            Self::GlobalInstance(_) | Self::Object(_) | Self::Instance(_) => "an object",
            Self::MatchKind(_) => "a match kind",
            Self::Variable { .. } => "a variable",
            Self::Table(_) => "a table",
            Self::State => "a state",
        }
    }
}

/// Names that are visible together.
#[derive(Default)]
pub struct Scope {
    names: HashMap<String, Symbol>,
    /// Which of them are parameters.
    parameters: Vec<String>,
}

impl Scope {
    /// What a name means here.
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.names.get(name)
    }

    /// Gives a name a meaning.
    pub fn declare(&mut self, name: &Name, symbol: Symbol) -> Result<(), Problem> {
        if let Some(first) = self.names.get(&name.text) {
            return Err(Problem::new(
                name.span,
                format!("`{}` is declared twice", name.text),
                format!("is already {}", first.what()),
            ));
        }
        self.names.insert(name.text.clone(), symbol);
        Ok(())
    }

    /// Makes a name a parameter.
    pub fn declare_parameter(&mut self, name: &Name, symbol: Symbol) -> Result<(), Problem> {
        self.declare(name, symbol)?;
        self.parameters.push(name.text.clone());
        Ok(())
    }

    /// Whether a name is a parameter's.
    pub fn has_parameter(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter == name)
    }

    /// Gives a name another meaning.
    pub fn replace(&mut self, name: &str, symbol: Symbol) {
        self.names.insert(name.to_owned(), symbol);
    }

    /// The declared name that is most like this one, if one is.
    pub fn similar(&self, name: &str) -> Option<&str> {
        most_similar(name, self.names.keys().map(String::as_str))
    }
}

/// The name that differs least, by at most a third of its letters.
pub fn most_similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.len() / 3).max(1);
    known
        .map(|other| (distance(name.as_bytes(), other.as_bytes()), other))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, other)| other)
}

/// How many letters must be inserted, removed or replaced (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_proposed() {
        let known = ["source", "destination", "protocol"];
        assert_eq!(most_similar("destinaton", known.into_iter()), Some("destination"));
        assert_eq!(most_similar("xyz", known.into_iter()), None);
    }
}
