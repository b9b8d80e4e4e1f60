//! How fast the card takes rule updates: a token bucket in virtual time.

use super::time::Time;

/// The update engine's clock: when it will be done with what it was given.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    insertion: Cost,
    deletion: Cost,
    /// When the engine is done, in [`UNITS`] of a nanosecond.
    busy_until: u128,
}

/// Nanoseconds that an update takes, times [`UNITS`]; 0 for none.
#[derive(Clone, Copy, Debug)]
struct Cost(u64);

/// Parts of a nanosecond, so that high rates stay exact.
const UNITS: u64 = 1024;

impl Cost {
    fn of(per_second: Option<u64>) -> Self {
        Self(per_second.map_or(0, |rate| 1_000_000_000 * UNITS / rate.max(1)))
    }
}

impl Pace {
    /// An engine of so many updates a second; `None`: they take no time.
    pub fn new(insertions_per_second: Option<u64>, deletions_per_second: Option<u64>) -> Self {
        Self {
            insertion: Cost::of(insertions_per_second),
            deletion: Cost::of(deletions_per_second),
            busy_until: 0,
        }
    }

    /// Gives the engine an insertion at `now`; it is done at the returned time.
    pub fn insert(&mut self, now: Time) -> Time {
        self.take(self.insertion, now)
    }

    /// Gives the engine a deletion at `now`; it is done at the returned time.
    pub fn delete(&mut self, now: Time) -> Time {
        self.take(self.deletion, now)
    }

    fn take(&mut self, Cost(cost): Cost, now: Time) -> Time {
        let now = u128::from(now.0) * u128::from(UNITS);
        self.busy_until = self.busy_until.max(now) + u128::from(cost);
        Time(u64::try_from(self.busy_until.div_ceil(u128::from(UNITS))).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_queue_up_at_the_rate_and_cost_nothing_without_one() {
        let mut pace = Pace::new(Some(1_000_000), Some(2_000_000));
        assert_eq!(pace.insert(Time(0)), Time(1_000));
        assert_eq!(pace.delete(Time(100)), Time(1_500));
        assert_eq!(pace.insert(Time(9_000)), Time(10_000));
        let mut at_once = Pace::new(None, None);
        assert_eq!((at_once.insert(Time(7)), at_once.delete(Time(7))), (Time(7), Time(7)));
    }
}
