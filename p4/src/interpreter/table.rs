//! Tables and their entries.

use crate::bits::Bits;
use crate::program::{ActionScope, BlockDefinition, MatchKind, Parameter, Set, Table};
use crate::value::Value;

/// Why an entry is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// No table of this name.
    #[error("there is no table `{0}`")]
    NoTable(String),
    /// Several tables of this name.
    #[error("several tables are called `{0}`: {1}; write more of the path")]
    Ambiguous(String, String),
    /// No such meter, or cell of it.
    #[error("there is no meter `{0}` with a cell {1}")]
    NoMeter(String, u32),
    /// The program's own entries are all there are.
    #[error("the entries of `{0}` are part of the program")]
    Constant(String),
    /// The default action is the program's.
    #[error("the default action of `{0}` is part of the program")]
    ConstantDefault(String),
    /// The table does not have this key.
    #[error("`{table}` has no key `{key}`; it has {known}")]
    NoKey {
        /// The table.
        table: String,
        /// What was written.
        key: String,
        /// Its keys.
        known: String,
    },
    /// A key is missing.
    #[error("`{0}`: the key `{1}` is missing")]
    MissingKey(String, String),
    /// A key is matched in another way.
    #[error("`{table}`: the key `{key}` is {kind}, which `{set}` is not")]
    WrongSet {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// How it is matched.
        kind: &'static str,
        /// What was written.
        set: String,
    },
    /// A table of ternary or optional keys needs priorities, others have none.
    #[error("`{0}` {1}")]
    Priority(String, &'static str),
    /// The table does not have this action.
    #[error("`{table}` has no action `{action}` here; it has {known}")]
    NoAction {
        /// The table.
        table: String,
        /// What was written.
        action: String,
        /// Its actions.
        known: String,
    },
    /// Not the arguments of the action.
    #[error("`{0}` takes ({1})")]
    Arguments(String, String),
    /// The same entry is there.
    #[error("`{0}` has such an entry already")]
    Duplicate(String),
    /// The table is full.
    #[error("`{0}` is full: it holds {1} entries")]
    Full(String, u32),
}

/// What applying a table did.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    /// Whether an entry matched.
    pub hit: bool,
    /// Which of the block's actions was run.
    pub action: usize,
}

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    /// Value and mask of each key.
    matches: Vec<(Bits, Bits)>,
    priority: u32,
    action: usize,
    arguments: Vec<Value>,
}

impl Entry {
    fn matches(&self, keys: &[Bits]) -> bool {
        self.matches.iter().zip(keys).all(|((value, mask), key)| key.and(*mask) == *value)
    }

    /// Of entries that match, the largest wins: by priority, then by the length of prefixes.
    fn rank(&self) -> (u32, u32) {
        (self.priority, self.matches.iter().map(|(_, mask)| mask.value().count_ones()).sum())
    }
}

/// A table with its entries.
pub struct TableState<'p> {
    /// Its path: blocks from the outside in, and its name.
    pub path: String,
    /// As the program declares it.
    pub definition: &'p Table,
    block: &'p BlockDefinition,
    entries: Vec<Entry>,
    default_action: (usize, Vec<Value>),
}

impl<'p> TableState<'p> {
    /// A table with the program's own entries.
    #[must_use]
    pub fn new(block: &'p BlockDefinition, definition: &'p Table, path: String) -> Self {
        let entries = definition.entries.iter().flatten().map(|entry| Entry {
            matches: definition
                .keys
                .iter()
                .zip(&entry.sets)
                .map(|(key, set)| match_of(set, key.width))
                .collect(),
            priority: entry.priority,
            action: entry.action,
            arguments: entry.arguments.clone(),
        });
        let entries = entries.collect();
        Self { path, definition, block, entries, default_action: definition.default_action.clone() }
    }

    /// One of the table's actions, by its name or by its path, and its parameters.
    ///
    /// # Errors
    /// The table has no such action, or not there.
    pub fn action(
        &self,
        name: &str,
        scope: ActionScope,
    ) -> Result<(usize, Vec<&'p Parameter>), EntryError> {
        let block = self.path.rsplit_once('.').map_or("", |(block, _)| block);
        let listed = self.definition.actions.iter().find(|listed| {
            let own = &self.block.actions[listed.action].name;
            (own == name || format!(".{block}.{own}").ends_with(&format!(".{name}")))
                && (listed.scope == ActionScope::Anywhere || listed.scope == scope)
        });
        let listed = listed.ok_or_else(|| EntryError::NoAction {
            table: self.path.clone(),
            action: name.to_owned(),
            known: self.action_names().join(", "),
        })?;
        let parameters = &self.block.actions[listed.action].parameters;
        Ok((listed.action, parameters.iter().map(|(parameter, _)| parameter).collect()))
    }

    fn action_names(&self) -> Vec<&'p str> {
        self.definition.actions.iter().map(|a| self.block.actions[a.action].name.as_str()).collect()
    }

    /// Adds an entry. Sets are in the order of the keys; arguments are those of the action.
    ///
    /// # Errors
    /// A set that the key's match kind does not have, a priority where none may be or none where one must be, an
    /// entry that is there already, a full table.
    pub fn add(
        &mut self,
        priority: Option<u32>,
        sets: &[Set],
        action: usize,
        arguments: Vec<Value>,
    ) -> Result<(), EntryError> {
        let path = || self.path.clone();
        if self.definition.entries.is_some() {
            return Err(EntryError::Constant(path()));
        }
        for (key, set) in self.definition.keys.iter().zip(sets) {
            if !fits(set, key.kind, key.width) {
                return Err(EntryError::WrongSet {
                    table: path(),
                    key: key.name.clone(),
                    kind: key.kind.name(),
                    set: format!("{set:?}"),
                });
            }
        }
        let priority = self.priority(priority)?;
        let matches: Vec<_> = self
            .definition
            .keys
            .iter()
            .zip(sets)
            .map(|(key, set)| match_of(set, key.width))
            .collect();
        if self.entries.iter().any(|e| e.matches == matches && e.priority == priority) {
            return Err(EntryError::Duplicate(path()));
        }
        if let Some(size) = self.definition.size
            && self.entries.len() as u32 >= size
        {
            return Err(EntryError::Full(path(), size));
        }
        self.entries.push(Entry { matches, priority, action, arguments });
        Ok(())
    }

    /// An entry's priority. Where only prefixes compete, the longest wins whatever is written.
    fn priority(&self, written: Option<u32>) -> Result<u32, EntryError> {
        let wrong = |problem| Err(EntryError::Priority(self.path.clone(), problem));
        let prefixes = self.definition.keys.iter().any(|key| key.kind == MatchKind::LongestPrefix);
        match (written, self.definition.has_priorities()) {
            (Some(priority), true) => Ok(priority),
            (None, true) => wrong("needs a priority"),
            (Some(_), false) if !prefixes => wrong("has no priorities"),
            (_, false) => Ok(0),
        }
    }

    /// Removes the entry with these sets and this priority; false when there is none.
    ///
    /// # Errors
    /// A priority where none may be, or none where one must be.
    pub fn remove(&mut self, priority: Option<u32>, sets: &[Set]) -> Result<bool, EntryError> {
        let priority = self.priority(priority)?;
        let widths = self.definition.keys.iter().map(|key| key.width);
        let matches: Vec<_> = sets.iter().zip(widths).map(|(set, w)| match_of(set, w)).collect();
        let before = self.entries.len();
        self.entries.retain(|e| e.matches != matches || e.priority != priority);
        Ok(self.entries.len() < before)
    }

    /// Sets the action of a miss.
    ///
    /// # Errors
    /// The program has made it a constant.
    pub fn set_default(&mut self, action: usize, arguments: Vec<Value>) -> Result<(), EntryError> {
        if self.definition.default_is_constant {
            return Err(EntryError::ConstantDefault(self.path.clone()));
        }
        self.default_action = (action, arguments);
        Ok(())
    }

    /// The action for these keys, and its arguments.
    #[must_use]
    pub fn find(&self, keys: &[Bits]) -> (Applied, Vec<Value>) {
        let best = self.entries.iter().filter(|e| e.matches(keys)).max_by_key(|e| e.rank());
        if let Some(entry) = best {
            return (Applied { hit: true, action: entry.action }, entry.arguments.clone());
        }
        let (action, arguments) = &self.default_action;
        (Applied { hit: false, action: *action }, arguments.clone())
    }
}

fn match_of(set: &Set, width: u32) -> (Bits, Bits) {
    match set {
        Set::Value(value) => {
            let value = value.as_key().expect("keys are checked to be comparable");
            (value, Bits::ones(width))
        }
        Set::Mask(value, mask) => (value.and(*mask), *mask),
        Set::Any | Set::Range(..) => (Bits::truncate(width, 0_u8), Bits::truncate(width, 0_u8)),
    }
}

fn fits(set: &Set, kind: MatchKind, width: u32) -> bool {
    match (set, kind) {
        (Set::Value(_), _)
        | (Set::Any, MatchKind::Ternary | MatchKind::LongestPrefix | MatchKind::Optional)
        | (Set::Mask(..), MatchKind::Ternary) => true,
        (Set::Mask(_, mask), MatchKind::LongestPrefix) => {
            Bits::prefix_mask(width, mask.value().count_ones()) == *mask
        }
        _ => false,
    }
}
