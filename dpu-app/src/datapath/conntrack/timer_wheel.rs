//! A hierarchical timer wheel with exact deadlines: timers fire in the order of their deadlines, to the nanosecond.
//!
//! Eleven wheels of 64 slots each cover all of [`Time`]. A timer lies in the wheel of the highest base-64 digit in which
//! its deadline differs from the wheel's clock, and comes down a wheel when the clock reaches its slot. Arming and
//! disarming take constant time; finding the next timer looks at eleven bitmaps.

use super::super::Time;
use super::chain::{Chain, Links};

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = 11;

/// Timers for the elements of an arena, one each at most.
#[derive(Debug)]
pub(crate) struct TimerWheel {
    /// No timer that is armed is earlier.
    clock: u64,
    occupied: [u64; LEVELS],
    slots: Vec<Chain>,
    links: Links,
    /// By element: what its timer is armed for.
    when: Vec<u64>,
    /// By element: the position in `slots`, or [`IDLE`].
    at: Vec<u16>,
}

/// The position of an element without a timer.
const IDLE: u16 = u16::MAX;

impl TimerWheel {
    /// A wheel for `capacity` elements, its clock at zero.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            clock: 0,
            occupied: [0; LEVELS],
            slots: vec![Chain::default(); SLOTS * LEVELS],
            links: Links::with_capacity(capacity),
            when: Vec::with_capacity(capacity),
            at: Vec::with_capacity(capacity),
        }
    }

    /// When the element's timer will fire, if it is armed.
    pub(crate) fn armed(&self, element: u32) -> Option<Time> {
        let is_armed = *self.at.get(element as usize)? != IDLE;
        is_armed.then(|| self.when(element)).flatten()
    }

    /// Arms (or moves) the element's timer. A time in the past fires at the next opportunity.
    pub(crate) fn arm(&mut self, element: u32, when: Time) {
        self.disarm(element);
        let at = element as usize;
        if at >= self.at.len() {
            self.at.resize(at.saturating_add(1), IDLE);
            self.when.resize(at.saturating_add(1), 0);
        }
        self.place(element, when.0.max(self.clock));
    }

    /// Stops the element's timer, if it runs.
    pub(crate) fn disarm(&mut self, element: u32) {
        let Some(slot) = self.at.get_mut(element as usize) else {
            return;
        };
        let slot = usize::from(std::mem::replace(slot, IDLE));
        if let Some(chain) = self.slots.get_mut(slot) {
            self.links.remove(chain, element);
            if chain.is_empty()
                && let Some(bits) = self.occupied.get_mut(slot / SLOTS)
            {
                *bits &= !(1 << (slot % SLOTS));
            }
        }
    }

    /// The element whose timer is the next one due by `now`, disarmed, with the time it was armed for.
    pub(crate) fn next_due(&mut self, now: Time) -> Option<(u32, Time)> {
        loop {
            let Some((level, slot, start)) = self.next_slot() else {
                self.clock = self.clock.max(now.0);
                return None;
            };
            if start > now.0 {
                self.clock = self.clock.max(now.0);
                return None;
            }
            self.clock = self.clock.max(start);
            if level == 0 {
                let element = self.first(slot)?;
                let when = self.when(element)?;
                self.disarm(element);
                return Some((element, when));
            }
            // All of them: none may stay behind in a slot that the clock has entered.
            while let Some(element) = self.first(slot) {
                let when = self.when(element)?;
                self.disarm(element);
                self.place(element, when.0);
            }
        }
    }

    /// A time that is not later than the next timer, and later than the last time given to [`Self::next_due`]; `None` when no
    /// timer is armed.
    pub(crate) fn next_time(&self) -> Option<Time> {
        self.next_slot().map(|(.., start)| Time(start.max(self.clock)))
    }

    fn when(&self, element: u32) -> Option<Time> {
        self.when.get(element as usize).copied().map(Time)
    }

    fn first(&self, slot: usize) -> Option<u32> {
        self.slots.get(slot).and_then(|chain| chain.first())
    }

    /// The earliest occupied slot: its level, its position and the time at which it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let (level, bits) = self.occupied.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        let digit = bits.trailing_zeros();
        let shift = DIGIT_BITS * level as u32;
        let above = shift + DIGIT_BITS;
        let high = self.clock.checked_shr(above).map_or(0, |high| high << above);
        Some((level, level * SLOTS + digit as usize, high | u64::from(digit) << shift))
    }

    fn place(&mut self, element: u32, when: u64) {
        let level = (when ^ self.clock).checked_ilog2().map_or(0, |bit| bit / DIGIT_BITS);
        let digit = (when >> (DIGIT_BITS * level)) as usize % SLOTS;
        let slot = level as usize * SLOTS + digit;
        if let (Some(armed), Some(at), Some(chain), Some(bits)) = (
            self.when.get_mut(element as usize),
            self.at.get_mut(element as usize),
            self.slots.get_mut(slot),
            self.occupied.get_mut(level as usize),
        ) {
            (*armed, *at) = (when, slot as u16);
            self.links.push_back(chain, element);
            *bits |= 1 << digit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Operation {
        Arm(u32, u64),
        Disarm(u32),
        Advance(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        // Delays of all magnitudes.
        let delay = (0_u32..64, any::<u64>()).prop_map(|(bits, value)| value >> bits >> 1);
        prop_oneof![
            (0_u32..12, delay.clone()).prop_map(|(e, d)| Operation::Arm(e, d)),
            (0_u32..12).prop_map(Operation::Disarm),
            delay.prop_map(|d| Operation::Advance(d >> 8)),
        ]
    }

    proptest! {
        #[test]
        fn fires_exactly_and_in_order(operations in prop::collection::vec(operation(), 0..120)) {
            let mut wheel = TimerWheel::with_capacity(12);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0_u64;
            for operation in operations {
                match operation {
                    Operation::Arm(element, delay) => {
                        let when = now.saturating_add(delay);
                        wheel.arm(element, Time(when));
                        model.insert(element, when);
                    }
                    Operation::Disarm(element) => {
                        wheel.disarm(element);
                        model.remove(&element);
                    }
                    Operation::Advance(delay) => {
                        now = now.saturating_add(delay);
                        let mut last = 0;
                        while let Some((element, when)) = wheel.next_due(Time(now)) {
                            prop_assert_eq!(model.remove(&element), Some(when.0));
                            prop_assert!(when.0 >= last && when.0 <= now);
                            last = when.0;
                        }
                        prop_assert!(model.values().all(|when| *when > now));
                        let next = wheel.next_time().map(|time| time.0);
                        prop_assert!(next.is_none_or(|next| next > now));
                        prop_assert_eq!(next.is_none(), model.is_empty());
                        prop_assert!(model.values().all(|when| next.is_some_and(|next| next <= *when)));
                    }
                }
                for element in 0..12 {
                    prop_assert_eq!(wheel.armed(element).map(|t| t.0), model.get(&element).copied());
                }
            }
        }
    }

    #[test]
    fn a_time_in_the_past_fires_at_once() {
        let mut wheel = TimerWheel::with_capacity(1);
        assert_eq!(wheel.next_due(Time(1_000_000)), None);
        wheel.arm(0, Time(5));
        assert_eq!(wheel.next_due(Time(1_000_000)), Some((0, Time(1_000_000))));
        assert_eq!(wheel.next_due(Time(u64::MAX)), None);
    }
}
