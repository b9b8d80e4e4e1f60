//! A rule: where it sits, what it asks, what it does.

use crate::action::Action;
use crate::attribute::Attributes;
use crate::item::Item;

/// One rule; the END of pattern and actions is implied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Domain, group and priority.
    pub attributes: Attributes,
    /// What a packet must be, from the outermost layer inwards.
    pub pattern: Vec<Item>,
    /// What happens to it, in order.
    pub actions: Vec<Action>,
}
