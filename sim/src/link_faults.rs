//! Faults of links: frames that are lost, doubled, late or damaged, and a carrier that comes and goes.
//!
//! What happens to a frame depends on the seed and on how many frames came before it, on nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::eswitch::Time;

/// Of 1000.
const MILLE: u16 = 1000;
/// How long a frame that is to be overtaken waits for another, at most.
const PATIENCE: Duration = Duration::from_millis(1);

/// More frames are hit than there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} of 1000 frames are to be hit; all faults of a link together can hit 1000 at most")]
pub struct TooMany(u32);

/// How many of 1000 frames meet which fate, on average; a frame meets one at most. The default: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Rates", into = "Rates")]
pub struct FrameFaults(Rates);

/// [`FrameFaults`], unchecked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Frames that are lost.
    pub drop: u16,
    /// Frames that come twice.
    pub duplicate: u16,
    /// Frames that the next one overtakes.
    pub reorder: u16,
    /// Frames with one wrong bit.
    pub corrupt: u16,
}

impl TryFrom<Rates> for FrameFaults {
    type Error = TooMany;

    fn try_from(rates: Rates) -> Result<Self, TooMany> {
        let all = [rates.drop, rates.duplicate, rates.reorder, rates.corrupt];
        let sum = all.into_iter().map(u32::from).sum();
        if sum > u32::from(MILLE) { Err(TooMany(sum)) } else { Ok(Self(rates)) }
    }
}

impl From<FrameFaults> for Rates {
    fn from(faults: FrameFaults) -> Self {
        faults.0
    }
}

/// Whether a link is up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Carrier {
    /// As what it is connected to.
    #[default]
    Up,
    /// Down.
    Down,
    /// By turns up and down, beginning with up when the device is made.
    Flapping {
        /// How long it is up, in milliseconds.
        up_ms: u32,
        /// How long it is down, in milliseconds.
        down_ms: u32,
    },
}

impl Carrier {
    /// Whether the link is up at a time of the device's.
    #[must_use]
    pub fn is_up(self, at: Time) -> bool {
        match self {
            Self::Up => true,
            Self::Down => false,
            Self::Flapping { up_ms, down_ms } => {
                let nanoseconds = |ms: u32| u64::from(ms) * 1_000_000;
                let (up, period) = (nanoseconds(up_ms), nanoseconds(up_ms) + nanoseconds(down_ms));
                at.0.checked_rem(period).is_none_or(|within| within < up)
            }
        }
    }
}

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkFaults {
    /// With its frames, in both directions.
    pub frames: FrameFaults,
    /// With its carrier.
    pub carrier: Carrier,
}

/// What faults have done to the frames of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCounters {
    /// Frames lost, also those while the link was down.
    pub dropped: u64,
    /// Frames doubled.
    pub duplicated: u64,
    /// Frames overtaken, or held back for nothing.
    pub reordered: u64,
    /// Frames damaged.
    pub corrupted: u64,
}

impl std::ops::AddAssign for FaultCounters {
    fn add_assign(&mut self, more: Self) {
        self.dropped += more.dropped;
        self.duplicated += more.duplicated;
        self.reordered += more.reordered;
        self.corrupted += more.corrupted;
    }
}

/// One direction of a link with faults.
#[derive(Debug)]
pub struct FaultyDirection {
    faults: FrameFaults,
    random: fastrand::Rng,
    /// A frame to be overtaken, and until when it waits for that.
    held: Option<(Time, Vec<u8>)>,
    counters: FaultCounters,
}

impl FaultyDirection {
    /// A direction without faults; `seed` decides which frames will meet some.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            faults: FrameFaults::default(),
            random: fastrand::Rng::with_seed(seed),
            held: None,
            counters: FaultCounters::default(),
        }
    }

    /// From the next frame on, these are the faults.
    pub fn set(&mut self, faults: FrameFaults) {
        self.faults = faults;
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> FaultCounters {
        self.counters
    }

    /// Whether a frame waits to be overtaken.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// A frame that the link loses because it is down.
    pub fn lose(&mut self) {
        self.counters.dropped += 1;
    }

    /// Takes a frame; what the other end gets next, `out` gets, in order.
    pub fn pass(&mut self, now: Time, frame: &[u8], out: &mut impl FnMut(&[u8])) {
        let FrameFaults(Rates { drop, duplicate, reorder, corrupt }) = self.faults;
        let mut left = self.random.u16(..MILLE);
        let mut is_hit = |rate: u16| {
            let hit = left < rate;
            left = left.saturating_sub(rate);
            // What is left of a number that hit is nobody's.
            left = if hit { MILLE } else { left };
            hit
        };
        if is_hit(drop) {
            self.counters.dropped += 1;
            return;
        }
        let (is_double, is_late, is_damaged) =
            (is_hit(duplicate), is_hit(reorder), is_hit(corrupt));
        if is_late && self.held.is_none() {
            self.counters.reordered += 1;
            self.held = Some((now + PATIENCE, frame.to_vec()));
            return;
        }
        if is_damaged {
            self.counters.corrupted += 1;
            let mut damaged = frame.to_vec();
            let bit = self.random.usize(..(frame.len() * 8).max(1));
            if let Some(byte) = damaged.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            out(&damaged);
        } else {
            out(frame);
        }
        if is_double {
            self.counters.duplicated += 1;
            out(frame);
        }
        if let Some((_, late)) = self.held.take() {
            out(&late);
        }
    }

    /// Lets a frame go that no other overtook in time.
    pub fn let_go(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        if let Some((_, late)) = self.held.take_if(|(until, _)| *until <= now) {
            out(&late);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rates: Rates) -> FrameFaults {
        FrameFaults::try_from(rates).expect("no more than all")
    }

    /// What comes out of 2000 frames, each of which carries its number.
    fn run(seed: u64, rates: Rates) -> (Vec<Vec<u8>>, FaultCounters) {
        let mut direction = FaultyDirection::new(seed);
        direction.set(faults(rates));
        let mut out = Vec::new();
        for number in 0..2000_u16 {
            direction.pass(Time(0), &number.to_be_bytes(), &mut |frame| out.push(frame.to_vec()));
        }
        direction.let_go(Time::NEVER, &mut |frame| out.push(frame.to_vec()));
        (out, direction.counters())
    }

    fn all() -> Vec<Vec<u8>> {
        (0..2000_u16).map(|number| number.to_be_bytes().to_vec()).collect()
    }

    /// 100 of 1000 are near 200 of 2000.
    fn near_200(count: u64) {
        assert!((140..260).contains(&count), "{count}");
    }

    #[test]
    fn each_fault_does_what_it_says_and_no_more() {
        assert_eq!(run(1, Rates::default()), (all(), FaultCounters::default()));

        let (out, counters) = run(1, Rates { drop: 100, ..Rates::default() });
        near_200(counters.dropped);
        assert_eq!(out.len() as u64, 2000 - counters.dropped);
        assert!(out.is_sorted());

        let (mut out, counters) = run(1, Rates { duplicate: 100, ..Rates::default() });
        near_200(counters.duplicated);
        assert_eq!(out.len() as u64, 2000 + counters.duplicated);
        out.dedup();
        assert_eq!(out, all());

        let (mut out, counters) = run(1, Rates { reorder: 100, ..Rates::default() });
        near_200(counters.reordered);
        let backwards = out.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
        assert!(backwards > 0 && backwards <= counters.reordered, "{backwards}");
        out.sort();
        assert_eq!(out, all());

        let (out, counters) = run(1, Rates { corrupt: 100, ..Rates::default() });
        near_200(counters.corrupted);
        let wrong_bits = |(got, sent): (&Vec<u8>, &Vec<u8>)| {
            got.iter().zip(sent).map(|(a, b)| u64::from((a ^ b).count_ones())).sum::<u64>()
        };
        assert_eq!(out.iter().zip(&all()).map(wrong_bits).sum::<u64>(), counters.corrupted);
        assert!(out.iter().zip(&all()).all(|pair| wrong_bits(pair) <= 1));
    }

    #[test]
    fn the_seed_decides() {
        let some = Rates { drop: 50, duplicate: 50, reorder: 50, corrupt: 50 };
        assert_eq!(run(7, some), run(7, some));
        assert_ne!(run(7, some).0, run(8, some).0);
        assert_eq!(run(7, Rates { drop: 1000, ..Rates::default() }).0.len(), 0);
    }

    #[test]
    fn a_late_frame_does_not_wait_for_ever() {
        let mut direction = FaultyDirection::new(0);
        direction.set(faults(Rates { reorder: 1000, ..Rates::default() }));
        let mut out = Vec::new();
        direction.pass(Time(5), b"a", &mut |frame| out.push(frame.to_vec()));
        direction.let_go(Time(6), &mut |frame| out.push(frame.to_vec()));
        assert!(out.is_empty());
        direction.let_go(Time(5) + PATIENCE, &mut |frame| out.push(frame.to_vec()));
        assert_eq!(out, [b"a"]);
    }

    #[test]
    fn carriers_flap_in_their_rhythm() {
        let ms = |ms: u64| Time(ms * 1_000_000);
        let flapping = Carrier::Flapping { up_ms: 10, down_ms: 5 };
        let states = [0, 9, 10, 14, 15, 24, 25].map(|at| flapping.is_up(ms(at)));
        assert_eq!(states, [true, true, false, false, true, true, false]);
        assert!(Carrier::Flapping { up_ms: 0, down_ms: 0 }.is_up(ms(1)), "no rhythm, no flapping");
        assert!(Carrier::Up.is_up(ms(1)) && !Carrier::Down.is_up(ms(1)));
    }

    #[test]
    fn more_than_all_frames_cannot_be_hit() {
        let rates = Rates { drop: 600, corrupt: 401, ..Rates::default() };
        assert_eq!(FrameFaults::try_from(rates), Err(TooMany(1001)));
    }
}
