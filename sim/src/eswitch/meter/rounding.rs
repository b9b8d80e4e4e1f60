//! Rates and bursts as a card keeps them: with eight significant bits.

use rte_flow::{MeterAlgorithm, MeterProfile};

/// How much a packet is, to a card that meters bytes only.
const PACKET_SHIFT: u32 = 7;

/// The nearest rate of the form `m * 10^9 / 2^e`, `m` of 8 and `e` of 5 bits, as the card meters it.
fn rate(wanted: u64) -> u64 {
    if wanted == 0 {
        return 0;
    }
    // With the largest exponent at which the mantissa fits, the steps are finest.
    let exponent = (0..=31_u32)
        .rev()
        .find(|exponent| u128::from(wanted) << exponent <= 255 * 1_000_000_000)
        .unwrap_or(0);
    let mantissa = ((u128::from(wanted) << exponent) + 500_000_000) / 1_000_000_000;
    ((mantissa.clamp(1, 255) * 1_000_000_000) >> exponent) as u64
}

/// The next larger burst of the form `m * 2^e`, `m` of 8 bits.
fn burst(wanted: u64) -> u64 {
    let exponent = u64::BITS.saturating_sub(wanted.leading_zeros()).saturating_sub(8);
    wanted.div_ceil(1 << exponent) << exponent
}

/// A profile as the card keeps it.
pub fn round(profile: MeterProfile) -> MeterProfile {
    let shift = if profile.packet_mode { PACKET_SHIFT } else { 0 };
    let scaled = |number: u64, keep: fn(u64) -> u64| keep(number << shift) >> shift;
    let (r, b) = (|number| scaled(number, rate), |number| scaled(number, burst));
    let algorithm = match profile.algorithm {
        MeterAlgorithm::None => MeterAlgorithm::None,
        MeterAlgorithm::SingleRate { cir, cbs, ebs } => {
            MeterAlgorithm::SingleRate { cir: r(cir), cbs: b(cbs), ebs: b(ebs) }
        }
        MeterAlgorithm::TwoRate { cir, pir, cbs, pbs } => {
            MeterAlgorithm::TwoRate { cir: r(cir), pir: r(pir), cbs: b(cbs), pbs: b(pbs) }
        }
        MeterAlgorithm::TwoRateDifferentiated { cir, eir, cbs, ebs } => {
            MeterAlgorithm::TwoRateDifferentiated {
                cir: r(cir),
                eir: r(eir),
                cbs: b(cbs),
                ebs: b(ebs),
            }
        }
    };
    MeterProfile { algorithm, ..profile }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_bursts_keep_eight_bits() {
        // 125,000,000 bytes a second are exactly 10^9 / 8, and 1500 bytes 188 * 8 = 1504.
        assert_eq!((rate(125_000_000), burst(1500)), (125_000_000, 1504));
        assert_eq!((rate(0), burst(0), burst(255), burst(256), burst(257)), (0, 0, 255, 256, 258));
        for wanted in [1_000, 12_345, 1_000_000, 999_999_999, 40_000_000_000] {
            let kept = rate(wanted);
            assert!(kept.abs_diff(wanted) * 256 <= wanted + 256, "{wanted} is kept as {kept}");
        }
        assert!(rate(u64::MAX >> 20) <= 255 * 1_000_000_000);
    }
}
