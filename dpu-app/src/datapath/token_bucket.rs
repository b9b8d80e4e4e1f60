//! A rate limit: so many packets a second, and so many at once.

use std::num::NonZeroU32;

use model::snapshot::InterfaceId;

use super::Time;
use super::by_interface::ByInterface;

/// What one packet costs. In this unit, a rate in packets a second fills in exactly what it says each nanosecond.
const PACKET: u64 = 1_000_000_000;

/// A token bucket that holds a burst and fills at a rate. Nothing is rounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    packets_per_second: u64,
    /// Full, in billionths of a packet. Below 2^62, as is all that is ever in it.
    capacity: u64,
    /// What is in it, in billionths of a packet.
    content: u64,
    /// When that was so.
    filled: Time,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(packets_per_second: NonZeroU32, burst: NonZeroU32, now: Time) -> Self {
        let capacity = u64::from(burst.get()).saturating_mul(PACKET);
        let packets_per_second = u64::from(packets_per_second.get());
        Self { packets_per_second, capacity, content: capacity, filled: now }
    }

    /// Takes a packet's worth out; `false` when there is less in it.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let elapsed = now.0.saturating_sub(self.filled.0);
        self.filled = self.filled.max(now);
        let filling = elapsed.saturating_mul(self.packets_per_second);
        self.content = self.content.saturating_add(filling).min(self.capacity);
        match self.content.checked_sub(PACKET) {
            Some(rest) => {
                self.content = rest;
                true
            }
            None => false,
        }
    }
}

/// The same limit for each interface by itself.
#[derive(Clone, Debug)]
pub(crate) struct InterfaceBuckets {
    packets_per_second: NonZeroU32,
    burst: NonZeroU32,
    buckets: ByInterface<TokenBucket>,
}

impl InterfaceBuckets {
    /// Full buckets.
    pub(crate) fn new(packets_per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self { packets_per_second, burst, buckets: ByInterface::default() }
    }

    /// Takes a packet's worth out of an interface's bucket; `false` when there is less in it.
    pub(crate) fn take(&mut self, now: Time, interface: InterfaceId) -> bool {
        let Self { packets_per_second, burst, .. } = *self;
        let full = || TokenBucket::new(packets_per_second, burst, now);
        self.buckets.entry(interface).or_insert_with(full).take(now)
    }

    /// Forgets interfaces that are gone.
    pub(crate) fn retain(&mut self, is_known: impl Fn(InterfaceId) -> bool) {
        self.buckets.retain(|id, _| is_known(*id));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(packets_per_second: u32, burst: u32) -> TokenBucket {
        let number = |number| NonZeroU32::new(number).unwrap();
        TokenBucket::new(number(packets_per_second), number(burst), Time::ZERO)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = bucket(3, 2);
        let mut at = |nanoseconds| bucket.take(Time(nanoseconds));
        assert_eq!([at(0), at(0), at(0)], [true, true, false]);
        // A third of a second, to the nanosecond.
        assert_eq!([at(333_333_333), at(333_333_334), at(333_333_334)], [false, true, false]);
        assert_eq!([at(666_666_666), at(666_666_667)], [false, true]);
        assert_eq!([at(u64::MAX), at(u64::MAX), at(u64::MAX)], [true, true, false]);
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = bucket(1, 1);
        assert!(bucket.take(Time(PACKET)));
        assert!(!bucket.take(Time(0)));
        assert!(!bucket.take(Time(2 * PACKET - 1)));
        assert!(bucket.take(Time(2 * PACKET)));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate_and_never_less_than_the_rate(
            rate in 1..=u32::MAX,
            burst in 1..=u32::MAX,
            gaps in prop::collection::vec(0..3_000_000_000u64, 1..100),
        ) {
            let (mut greedy, mut patient) = (bucket(rate, burst), bucket(rate, burst));
            let (mut now, mut taken) = (0u64, 0u128);
            for gap in gaps {
                now += gap;
                taken += u128::from(greedy.take(Time(now)));
                let most = u128::from(burst) * u128::from(PACKET) + u128::from(rate) * u128::from(now);
                prop_assert!(taken * u128::from(PACKET) <= most);
            }
            // Whoever keeps to the rate is never refused.
            let interval = PACKET.div_ceil(u64::from(rate));
            for number in 0..100 {
                prop_assert!(patient.take(Time(number * interval)));
            }
        }
    }
}
