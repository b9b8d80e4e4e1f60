//! Faults of rule updates that tests switch on.

use std::num::NonZeroU64;
use std::time::Duration;

/// What goes wrong. The default: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// One insertion fails.
    pub refused_insertion: Option<RefusedUpdate>,
    /// Insertions fail again and again.
    pub refused_insertions: Option<RefusedInsertions>,
    /// Of every so many insertions the last is lost: reported as done, but no packet ever hits the rule.
    pub lost_insertions: Option<NonZeroU64>,
    /// One removal fails, and the rule stays.
    pub refused_removal: Option<RefusedUpdate>,
    /// Insertions fail with `ENOSPC` while this many rules are there.
    pub full_at: Option<usize>,
    /// Every completion, and every return from a synchronous call, comes later by this; the rules themselves do not.
    pub completion_delay: Duration,
}

/// An insertion or removal that fails: at once where it is synchronous, in its completion where it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedUpdate {
    /// Which one of its kind, counted from 0 since the faults were set.
    pub number: u64,
    /// The errno.
    pub errno: i32,
}

/// Insertions that fail, as [`RefusedUpdate`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefusedInsertions {
    /// Of every so many the last.
    pub every: NonZeroU64,
    /// The errno.
    pub errno: i32,
}

/// What becomes of an insertion that a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsertionFault {
    /// It fails with this errno.
    Refused(i32),
    /// It seems to succeed.
    Lost,
}

impl Faults {
    /// The fault that hits an insertion, counted from 0 since the faults were set. One that is refused is not lost.
    #[must_use]
    pub fn of_insertion(&self, number: u64) -> Option<InsertionFault> {
        let is_last_of = |every: NonZeroU64| number % every == every.get() - 1;
        let once = self.refused_insertion.filter(|fault| fault.number == number);
        let again = self.refused_insertions.filter(|fault| is_last_of(fault.every));
        let errno = once.map(|fault| fault.errno).or(again.map(|fault| fault.errno));
        let lost = self.lost_insertions.filter(|every| is_last_of(*every));
        errno.map(InsertionFault::Refused).or(lost.map(|_| InsertionFault::Lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_hit_the_insertions_they_are_meant_for() {
        let every = |number| NonZeroU64::new(number).expect("not 0");
        let faults = Faults {
            refused_insertion: Some(RefusedUpdate { number: 0, errno: 5 }),
            refused_insertions: Some(RefusedInsertions { every: every(4), errno: 12 }),
            lost_insertions: Some(every(2)),
            ..Faults::default()
        };
        let seen: Vec<_> = (0..8).map(|number| faults.of_insertion(number)).collect();
        let (lost, refused) = (Some(InsertionFault::Lost), Some(InsertionFault::Refused(12)));
        let first = Some(InsertionFault::Refused(5));
        assert_eq!(seen, [first, lost, None, refused, None, lost, None, refused]);
    }
}
