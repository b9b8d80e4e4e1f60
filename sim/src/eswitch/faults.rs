//! Faults that tests switch on.

use std::time::Duration;

/// What goes wrong. The default: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// One insertion fails.
    pub refused_insertion: Option<RefusedInsertion>,
    /// Insertions fail with `ENOSPC` while this many rules are there.
    pub full_at: Option<usize>,
    /// Every completion, and every return from a synchronous call, comes later by this; the rules themselves do not.
    pub completion_delay: Duration,
}

/// An insertion that fails: at once where it is synchronous, in its completion where it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedInsertion {
    /// Which one, counted from 0 since the faults were set.
    pub number: u64,
    /// The errno.
    pub errno: i32,
}
