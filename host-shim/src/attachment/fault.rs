//! Where an attachment can be cut off: before and after everything that stays. Enumerated, so that tests visit each.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::step::Step;

/// What is written about a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// That there is one.
    Created,
    /// That it is attached.
    Confirmed,
    /// That it is to go.
    Releasing,
    /// That it is gone.
    Removed,
}

/// How far a write has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Moment {
    /// Nothing was written.
    Before,
    /// It was written beside the file that is in force.
    Written,
    /// It is in force.
    Renamed,
}

/// A place where a program may die.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultPoint {
    /// Before a step.
    Before(Step),
    /// After a step.
    After(Step),
    /// While leases are written.
    Store(Record, Moment),
}

impl FaultPoint {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let steps = Step::ALL.into_iter().flat_map(|step| [Self::Before(step), Self::After(step)]);
        let records = [Record::Created, Record::Confirmed, Record::Releasing, Record::Removed];
        let moments = [Moment::Before, Moment::Written, Moment::Renamed];
        steps.chain(records.into_iter().flat_map(move |record| {
            moments.into_iter().map(move |moment| Self::Store(record, moment))
        }))
    }
}

impl fmt::Display for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(step) => write!(f, "before-{}", step.name()),
            Self::After(step) => write!(f, "after-{}", step.name()),
            Self::Store(record, moment) => {
                let record = match record {
                    Record::Created => "created",
                    Record::Confirmed => "confirmed",
                    Record::Releasing => "releasing",
                    Record::Removed => "removed",
                };
                let moment = match moment {
                    Moment::Before => "before",
                    Moment::Written => "written",
                    Moment::Renamed => "renamed",
                };
                write!(f, "{record}-{moment}")
            }
        }
    }
}

/// A text that names no fault point.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no fault point; they are before-STEP, after-STEP and created|confirmed|releasing|removed-before|written|renamed (docs/reference/host.md)"
)]
pub struct FaultPointError(String);

impl FromStr for FaultPoint {
    type Err = FaultPointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all()
            .find(|point| point.to_string() == text)
            .ok_or_else(|| FaultPointError(text.to_owned()))
    }
}

/// Is told where the program is, and may end it there.
pub trait Faults: Send + Sync {
    /// The program is at `point`.
    fn reach(&self, point: FaultPoint);
}

/// Lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn reach(&self, _: FaultPoint) {}
}

/// Ends the process at a point, as a kill would: nothing is cleaned up.
#[derive(Clone, Copy, Debug)]
pub struct AbortAt(pub FaultPoint);

impl Faults for AbortAt {
    fn reach(&self, point: FaultPoint) {
        if point == self.0 {
            std::process::abort();
        }
    }
}
