//! The model's clock: an argument, never read.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since an arbitrary start. Calls on one eswitch pass times that never decrease.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// The start.
    pub const ZERO: Self = Self(0);
    /// Later than every time there is.
    pub const NEVER: Self = Self(u64::MAX);
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// How much later `self` is than `earlier`; zero when it is not.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
