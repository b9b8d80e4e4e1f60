//! What happened to a packet, step by step.

use crate::bits::Bits;
use crate::value::Value;

/// A step.
#[derive(Clone, Debug)]
pub enum Event {
    /// A parser came into a state.
    State {
        /// The parser.
        parser: String,
        /// The state.
        state: String,
    },
    /// A header was read.
    Extract {
        /// As the program names it.
        header: String,
        /// What it holds.
        value: Value,
    },
    /// A table was applied.
    Table {
        /// Its path.
        path: String,
        /// Its keys and what they were.
        keys: Vec<(String, Bits)>,
        /// Whether an entry matched.
        hit: bool,
        /// The action that was run.
        action: String,
        /// Its parameters and arguments.
        arguments: Vec<(String, Value)>,
    },
    /// An extern was called.
    Call {
        /// The object; empty for a function.
        object: String,
        /// The method or function.
        method: String,
        /// The arguments, after the call.
        arguments: Vec<Value>,
        /// What it returned.
        result: Value,
    },
    /// The parser rejected the packet.
    Reject {
        /// The member of `error`.
        error: String,
    },
}
