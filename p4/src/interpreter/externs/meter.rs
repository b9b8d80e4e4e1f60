//! Meters: one rate and three colours (RFC 2697), two rates and three colours (RFC 2698), both colour-blind.

use crate::interpreter::Time;

/// What a meter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Packets, whatever their length.
    Packets,
    /// Bytes.
    Bytes,
}

/// Rates in units a second, bursts in units: packets or bytes, as the meter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rates {
    /// RFC 2697.
    Single {
        /// Committed information rate.
        committed: u64,
        /// Committed burst size.
        burst: u64,
        /// Excess burst size.
        excess: u64,
    },
    /// RFC 2698.
    Two {
        /// Committed information rate.
        committed: u64,
        /// Committed burst size.
        burst: u64,
        /// Peak information rate.
        peak: u64,
        /// Peak burst size.
        peak_burst: u64,
    },
}

/// What a meter makes of a packet. The numbers are those of v1model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    /// Within the committed rate.
    Green,
    /// Above it, within the excess burst or the peak rate.
    Yellow,
    /// Above all.
    Red,
}

/// Tokens are counted in units times 10^9, so that no time is lost by rounding.
const TOKEN: u128 = 1_000_000_000;

struct Cell {
    rates: Rates,
    /// Committed tokens, and excess or peak tokens.
    tokens: [u128; 2],
    filled: Time,
}

impl Cell {
    fn new(rates: Rates) -> Self {
        let (a, b) = match rates {
            Rates::Single { burst, excess, .. } => (burst, excess),
            Rates::Two { burst, peak_burst, .. } => (burst, peak_burst),
        };
        Self { rates, tokens: [u128::from(a) * TOKEN, u128::from(b) * TOKEN], filled: 0 }
    }

    fn color(&mut self, units: u32, now: Time) -> Color {
        let passed = u128::from(now.saturating_sub(self.filled));
        self.filled = self.filled.max(now);
        let needed = u128::from(units) * TOKEN;
        match self.rates {
            Rates::Single { committed, burst, excess } => {
                // What overflows the first bucket fills the second.
                let first = self.tokens[0] + passed * u128::from(committed);
                let limit = u128::from(burst) * TOKEN;
                self.tokens[1] =
                    (self.tokens[1] + first.saturating_sub(limit)).min(u128::from(excess) * TOKEN);
                self.tokens[0] = first.min(limit);
                if self.tokens[0] >= needed {
                    self.tokens[0] -= needed;
                    Color::Green
                } else if self.tokens[1] >= needed {
                    self.tokens[1] -= needed;
                    Color::Yellow
                } else {
                    Color::Red
                }
            }
            Rates::Two { committed, burst, peak, peak_burst } => {
                let fill = |tokens: u128, rate: u64, size: u64| {
                    (tokens + passed * u128::from(rate)).min(u128::from(size) * TOKEN)
                };
                self.tokens = [
                    fill(self.tokens[0], committed, burst),
                    fill(self.tokens[1], peak, peak_burst),
                ];
                if self.tokens[1] < needed {
                    return Color::Red;
                }
                self.tokens[1] -= needed;
                if self.tokens[0] < needed {
                    return Color::Yellow;
                }
                self.tokens[0] -= needed;
                Color::Green
            }
        }
    }
}

/// An array of meters. One without rates finds every packet green.
pub struct Meter {
    unit: Unit,
    cells: Vec<Option<Cell>>,
}

impl Meter {
    /// This many meters without rates.
    pub fn new(cells: u32, unit: Unit) -> Self {
        Self { unit, cells: (0..cells).map(|_| None).collect() }
    }

    /// Gives a meter its rates, and full buckets; none when there is no such cell.
    pub fn set(&mut self, cell: u32, rates: Rates) -> Option<()> {
        *self.cells.get_mut(cell as usize)? = Some(Cell::new(rates));
        Some(())
    }

    /// Colours a packet.
    pub fn execute(&mut self, cell: u32, bytes: u32, now: Time) -> Result<Color, String> {
        let count = self.cells.len();
        let cell = self
            .cells
            .get_mut(cell as usize)
            .ok_or_else(|| format!("there is no cell {cell}, only {count}"))?;
        let units = match self.unit {
            Unit::Packets => 1,
            Unit::Bytes => bytes,
        };
        Ok(cell.as_mut().map_or(Color::Green, |cell| cell.color(units, now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Time = 1_000_000_000;

    #[test]
    fn single_rate_spends_both_buckets_and_fills_the_first_first() {
        let mut meter = Meter::new(1, Unit::Bytes);
        meter.set(0, Rates::Single { committed: 100, burst: 100, excess: 50 }).unwrap();
        let mut color = |bytes, now| meter.execute(0, bytes, now).unwrap();
        assert_eq!(color(100, 0), Color::Green);
        assert_eq!(color(50, 0), Color::Yellow);
        assert_eq!(color(1, 0), Color::Red);
        // A second later only the first bucket is full.
        assert_eq!(color(100, SECOND), Color::Green);
        assert_eq!(color(1, SECOND), Color::Red);
        // After two more both are.
        assert_eq!(color(100, 3 * SECOND), Color::Green);
        assert_eq!(color(50, 3 * SECOND), Color::Yellow);
    }

    #[test]
    fn two_rates() {
        let mut meter = Meter::new(1, Unit::Bytes);
        meter
            .set(0, Rates::Two { committed: 100, burst: 100, peak: 200, peak_burst: 200 })
            .unwrap();
        let mut color = |bytes, now| meter.execute(0, bytes, now).unwrap();
        assert_eq!(color(100, 0), Color::Green);
        assert_eq!(color(100, 0), Color::Yellow);
        assert_eq!(color(1, 0), Color::Red);
        assert_eq!(color(50, SECOND / 2), Color::Green);
        assert_eq!(color(50, SECOND / 2), Color::Yellow);
    }

    #[test]
    fn packets_count_one_each() {
        let mut meter = Meter::new(1, Unit::Packets);
        meter.set(0, Rates::Single { committed: 1, burst: 2, excess: 0 }).unwrap();
        let mut color = |now| meter.execute(0, 1500, now).unwrap();
        assert_eq!([color(0), color(0), color(0)], [Color::Green, Color::Green, Color::Red]);
        assert_eq!([color(SECOND), color(SECOND)], [Color::Green, Color::Red]);
    }

    #[test]
    fn without_rates_all_is_green_and_there_are_no_other_cells() {
        let mut meter = Meter::new(1, Unit::Bytes);
        assert_eq!(meter.execute(0, u32::MAX, 0), Ok(Color::Green));
        assert!(meter.execute(1, 1, 0).is_err());
    }
}
