//! Token buckets: the three-colour markers of RFC 2697, RFC 2698 and RFC 4115, exact and in virtual time.

use rte_flow::{Color, MeterAlgorithm, MeterProfile};

use super::super::time::Time;

/// Nanoseconds of a second, and so parts of a token: a rate times a time in nanoseconds is then a whole number of parts.
const PARTS: u128 = 1_000_000_000;

/// The buckets of one meter. Both begin full.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    profile: MeterProfile,
    /// Tokens of the committed bucket, in parts.
    committed: u128,
    /// Tokens of the other bucket (excess, or peak), in parts.
    other: u128,
    /// When they were filled last.
    filled: Time,
    /// What the committed bucket cannot hold goes to the other, also where RFC 4115 would lose it (MEF 10.2).
    overflows: bool,
}

/// What a full bucket holds, in parts.
fn full(size: u64) -> u128 {
    u128::from(size) * PARTS
}

impl Buckets {
    /// The buckets of a profile, full at `now`. `overflows`: whether a full committed bucket of RFC 4115 lets its tokens
    /// over to the excess bucket.
    pub fn new(profile: MeterProfile, overflows: bool, now: Time) -> Self {
        let (committed, other) = match profile.algorithm {
            MeterAlgorithm::None => (0, 0),
            MeterAlgorithm::SingleRate { cbs, ebs, .. }
            | MeterAlgorithm::TwoRateDifferentiated { cbs, ebs, .. } => (full(cbs), full(ebs)),
            MeterAlgorithm::TwoRate { cbs, pbs, .. } => (full(cbs), full(pbs)),
        };
        Self { profile, committed, other, filled: now, overflows }
    }

    /// Changes how it meters; tokens that still fit stay.
    pub fn set_profile(&mut self, profile: MeterProfile, now: Time) {
        self.fill(now);
        let fresh = Self::new(profile, self.overflows, now);
        self.profile = profile;
        self.committed = self.committed.min(fresh.committed);
        self.other = self.other.min(fresh.other);
    }

    /// The colour of a packet that came with the colour `input`; green for all in colour-blind mode.
    pub fn color(&mut self, now: Time, bytes: usize, input: Color) -> Color {
        self.fill(now);
        let size = if self.profile.packet_mode { 1 } else { bytes as u128 };
        let cost = size * PARTS;
        match self.profile.algorithm {
            MeterAlgorithm::None => input,
            // RFC 2697, section 3, and RFC 4115, section 3: the same but for how the buckets fill.
            MeterAlgorithm::SingleRate { .. } | MeterAlgorithm::TwoRateDifferentiated { .. } => {
                if input == Color::Green && take(&mut self.committed, cost) {
                    Color::Green
                } else if input != Color::Red && take(&mut self.other, cost) {
                    Color::Yellow
                } else {
                    Color::Red
                }
            }
            // RFC 2698, section 3.
            MeterAlgorithm::TwoRate { .. } => {
                if input == Color::Red || !take(&mut self.other, cost) {
                    Color::Red
                } else if input == Color::Green && take(&mut self.committed, cost) {
                    Color::Green
                } else {
                    Color::Yellow
                }
            }
        }
    }

    fn fill(&mut self, now: Time) {
        let elapsed = (now - self.filled).as_nanos();
        self.filled = self.filled.max(now);
        match self.profile.algorithm {
            MeterAlgorithm::None => {}
            MeterAlgorithm::SingleRate { cir, cbs, ebs } => {
                let over = pour(&mut self.committed, elapsed.saturating_mul(cir.into()), full(cbs));
                pour(&mut self.other, over, full(ebs));
            }
            MeterAlgorithm::TwoRate { cir, pir, cbs, pbs } => {
                pour(&mut self.committed, elapsed.saturating_mul(cir.into()), full(cbs));
                pour(&mut self.other, elapsed.saturating_mul(pir.into()), full(pbs));
            }
            MeterAlgorithm::TwoRateDifferentiated { cir, eir, cbs, ebs } => {
                let over = pour(&mut self.committed, elapsed.saturating_mul(cir.into()), full(cbs));
                let over = if self.overflows { over } else { 0 };
                let tokens = elapsed.saturating_mul(eir.into()).saturating_add(over);
                pour(&mut self.other, tokens, full(ebs));
            }
        }
    }
}

/// Takes tokens, if there are as many.
fn take(bucket: &mut u128, cost: u128) -> bool {
    match bucket.checked_sub(cost) {
        Some(rest) => {
            *bucket = rest;
            true
        }
        None => false,
    }
}

/// Adds tokens; returns those that do not fit.
fn pour(bucket: &mut u128, tokens: u128, size: u128) -> u128 {
    let sum = bucket.saturating_add(tokens);
    *bucket = sum.min(size);
    sum - *bucket
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use Color::{Green, Red, Yellow};

    const SRTCM: MeterAlgorithm = MeterAlgorithm::SingleRate { cir: 1000, cbs: 3000, ebs: 2000 };
    const TRTCM: MeterAlgorithm =
        MeterAlgorithm::TwoRate { cir: 1000, pir: 2000, cbs: 2000, pbs: 3000 };
    const RFC4115: MeterAlgorithm =
        MeterAlgorithm::TwoRateDifferentiated { cir: 1000, eir: 500, cbs: 1000, ebs: 1000 };

    fn buckets(algorithm: MeterAlgorithm) -> Buckets {
        Buckets::new(MeterProfile { algorithm, packet_mode: false }, false, Time::ZERO)
    }

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    /// The colours of as many packets of 1000 bytes as there are input colours.
    fn colors<const N: usize>(buckets: &mut Buckets, ms: u64, inputs: [Color; N]) -> [Color; N] {
        inputs.map(|input| buckets.color(at(ms), 1000, input))
    }

    #[test]
    fn single_rate_colour_blind() {
        let mut meter = buckets(SRTCM);
        assert_eq!(colors(&mut meter, 0, [Green; 6]), [Green, Green, Green, Yellow, Yellow, Red]);
        assert_eq!(colors(&mut meter, 1000, [Green; 2]), [Green, Red]);
        // Four seconds fill the committed bucket, and what is over goes into the other.
        assert_eq!(colors(&mut meter, 5000, [Green; 5]), [Green, Green, Green, Yellow, Red]);
        // A packet that is larger than what is there takes nothing.
        assert_eq!(meter.color(at(5500), 501, Green), Red);
        assert_eq!(meter.color(at(5500), 500, Green), Green);
    }

    #[test]
    fn single_rate_colour_aware() {
        let mut meter = buckets(SRTCM);
        let inputs = [Yellow, Yellow, Yellow, Red, Green, Green, Green, Green];
        let found = [Yellow, Yellow, Red, Red, Green, Green, Green, Red];
        assert_eq!(colors(&mut meter, 0, inputs), found);
    }

    #[test]
    fn two_rates_colour_blind() {
        let mut meter = buckets(TRTCM);
        assert_eq!(colors(&mut meter, 0, [Green; 4]), [Green, Green, Yellow, Red]);
        assert_eq!(colors(&mut meter, 1000, [Green; 3]), [Green, Yellow, Red]);
        assert_eq!(colors(&mut meter, 60_000, [Green; 4]), [Green, Green, Yellow, Red]);
    }

    #[test]
    fn two_rates_colour_aware() {
        let mut meter = buckets(TRTCM);
        // Red takes no tokens, yellow those of the peak bucket alone.
        let inputs = [Red, Yellow, Green, Green, Green];
        assert_eq!(colors(&mut meter, 0, inputs), [Red, Yellow, Green, Green, Red]);
    }

    #[test]
    fn the_rates_of_rfc_4115_do_not_lend_to_each_other_but_in_mef() {
        let mut meter = buckets(RFC4115);
        assert_eq!(colors(&mut meter, 0, [Green; 3]), [Green, Yellow, Red]);
        assert_eq!(colors(&mut meter, 1500, [Green; 2]), [Green, Red]);
        let profile = MeterProfile { algorithm: RFC4115, packet_mode: false };
        let mut meter = Buckets::new(profile, true, Time::ZERO);
        assert_eq!(colors(&mut meter, 0, [Green; 3]), [Green, Yellow, Red]);
        assert_eq!(colors(&mut meter, 1500, [Green; 3]), [Green, Yellow, Red]);
    }

    #[test]
    fn packets_may_count_instead_of_bytes() {
        let algorithm = MeterAlgorithm::SingleRate { cir: 2, cbs: 2, ebs: 0 };
        let profile = MeterProfile { algorithm, packet_mode: true };
        let mut meter = Buckets::new(profile, false, Time::ZERO);
        assert_eq!(colors(&mut meter, 0, [Green; 3]), [Green, Green, Red]);
        assert_eq!(colors(&mut meter, 499, [Green; 1]), [Red]);
        assert_eq!(colors(&mut meter, 500, [Green; 2]), [Green, Red]);
    }

    #[test]
    fn a_new_profile_takes_over_the_tokens_that_fit() {
        let mut meter = buckets(SRTCM);
        let algorithm = MeterAlgorithm::SingleRate { cir: 1000, cbs: 1000, ebs: 0 };
        meter.set_profile(MeterProfile { algorithm, packet_mode: false }, at(0));
        assert_eq!(colors(&mut meter, 0, [Green; 2]), [Green, Red]);
    }

    proptest! {
        /// Whatever comes when, no more passes than the rates and bursts allow.
        #[test]
        fn no_more_passes_than_the_rates_allow(
            rates in (1_u64..1 << 40, 0_u64..1 << 40),
            bursts in (1_u64..1 << 30, 0_u64..1 << 30),
            packets in prop::collection::vec((0_u64..2_000_000, 1_usize..9000), 1..200),
        ) {
            let ((cir, more), (cbs, ebs)) = (rates, bursts);
            let (pir, pbs) = (cir + more, cbs + ebs);
            let single = MeterAlgorithm::SingleRate { cir, cbs, ebs };
            let double = MeterAlgorithm::TwoRate { cir, pir, cbs, pbs };
            for (algorithm, highest) in [(single, cir), (double, pir)] {
                let mut meter = buckets(algorithm);
                let (mut now, mut green, mut passed) = (0_u64, 0_u128, 0_u128);
                for (pause, bytes) in &packets {
                    now += pause;
                    let color = meter.color(Time(now), *bytes, Green);
                    let size = *bytes as u128;
                    green += if color == Green { size } else { 0 };
                    passed += if color == Red { 0 } else { size };
                    let most = |rate: u64, burst: u64| {
                        u128::from(rate) * u128::from(now) / PARTS + u128::from(burst)
                    };
                    prop_assert!(green <= most(cir, cbs));
                    prop_assert!(passed <= most(highest, pbs));
                }
            }
        }
    }
}
