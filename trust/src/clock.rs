//! Time, given from outside, so that tests need not wait for certificates to expire.

use std::fmt::Debug;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use serde::{Deserialize, Serialize};

/// Seconds since 1970, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// How long from `earlier` to this; nothing when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// So long before.
    #[must_use]
    pub const fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_secs()))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_secs()))
    }
}

/// A clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<dyn TimeProvider>);

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(DefaultTimeProvider))
    }

    /// One that stands still until it is set.
    #[must_use]
    pub fn manual(now: Moment) -> (Self, Hands) {
        let hands = Hands(Arc::new(AtomicU64::new(now.0)));
        (Self(Arc::new(hands.clone())), hands)
    }

    /// What it shows. A clock that shows nothing shows 1970: then no certificate is valid yet.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.0.current_time().map_or(0, |time| time.as_secs()))
    }

    pub(crate) fn provider(&self) -> Arc<dyn TimeProvider> {
        self.0.clone()
    }
}

/// Sets a manual clock.
#[derive(Clone, Debug)]
pub struct Hands(Arc<AtomicU64>);

impl Hands {
    /// Sets it.
    pub fn set(&self, now: Moment) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves it on.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_secs(), Ordering::SeqCst);
    }
}

impl TimeProvider for Hands {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::SeqCst))))
    }
}
