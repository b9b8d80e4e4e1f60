//! Values that a document names once and uses again.

use hashbrown::HashMap;
use thiserror::Error;

use super::{Node, Value};

/// What is written with anchors in a document and its aliases put in, at most, in values: a few lines can otherwise
/// stand for more than any memory holds.
const MOST_COPIES: usize = 1_000_000;

/// Why an alias cannot be put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum AliasError {
    /// Its anchor is one of what it stands in.
    #[error("an alias stands within the value that it names")]
    Cycle,
    /// The value is too deep for this place.
    #[error("an alias makes too many lists and maps within each other")]
    TooDeep,
    /// All copies together are too much.
    #[error("the aliases of this document stand for more than {MOST_COPIES} values")]
    TooMuch,
}

/// The values with anchors that are complete. An anchor's name may be used again; each use has its own number.
#[derive(Default)]
pub(super) struct Anchors<'a> {
    values: HashMap<usize, Anchored<'a>>,
    copies: usize,
}

struct Anchored<'a> {
    /// `None` when there was no room for it.
    node: Option<Node<'a>>,
    size: Size,
}

impl<'a> Anchors<'a> {
    /// Keeps the value behind an anchor (0: there is none).
    pub(super) fn remember(&mut self, anchor: usize, node: &Node<'a>) {
        if anchor != 0 {
            let size = Size::of(node);
            let node = self.has_room(size).then(|| node.clone());
            self.values.insert(anchor, Anchored { node, size });
        }
    }

    /// The value of an alias at a place with room for so many lists and maps within each other.
    ///
    /// # Errors
    /// When it cannot be put there.
    pub(super) fn get(&mut self, anchor: usize, room: usize) -> Result<Node<'a>, AliasError> {
        let size = self.values.get(&anchor).ok_or(AliasError::Cycle)?.size;
        if size.depth > room {
            return Err(AliasError::TooDeep);
        }
        let has_room = self.has_room(size);
        let node = self.values.get(&anchor).and_then(|anchored| anchored.node.clone());
        node.filter(|_| has_room).ok_or(AliasError::TooMuch)
    }

    /// Counts copies, and says whether they may be made.
    fn has_room(&mut self, size: Size) -> bool {
        self.copies = self.copies.saturating_add(size.values);
        self.copies <= MOST_COPIES
    }
}

/// How much a value is.
#[derive(Clone, Copy)]
struct Size {
    /// Lists and maps within each other.
    depth: usize,
    /// Scalars, lists and maps.
    values: usize,
}

impl Size {
    fn of(node: &Node<'_>) -> Self {
        fn sum<'n, 'a: 'n>(parts: impl Iterator<Item = &'n Node<'a>>) -> Size {
            let inside = parts.map(Size::of).fold(Size { depth: 0, values: 0 }, |sum, part| Size {
                depth: sum.depth.max(part.depth),
                values: sum.values + part.values,
            });
            Size { depth: inside.depth + 1, values: inside.values + 1 }
        }
        match &node.value {
            Value::Scalar { .. } | Value::Refused => Self { depth: 0, values: 1 },
            Value::Sequence(items) => sum(items.iter()),
            Value::Mapping(entries) => sum(entries.iter().map(|entry| &entry.value)),
        }
    }
}
