//! Figures of several runs.

/// What the runs of one case measured.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// One more run.
    pub fn add(&mut self, sample: f64) {
        let at = self.0.partition_point(|other| *other < sample);
        self.0.insert(at, sample);
    }

    /// The one in the middle; the mean of the two in the middle where they are even in number; 0 without runs.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        let at = |index: usize| self.0.get(index).copied().unwrap_or_default();
        if self.0.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        }
    }

    /// The smallest and the largest.
    pub fn spread(&self) -> (f64, f64) {
        let or_zero = |sample: Option<&f64>| sample.copied().unwrap_or_default();
        (or_zero(self.0.first()), or_zero(self.0.last()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(all: &[f64]) -> Samples {
        let mut samples = Samples::default();
        for sample in all {
            samples.add(*sample);
        }
        samples
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(samples(&[]).median().to_bits(), 0_f64.to_bits());
        assert_eq!(samples(&[5.0, 1.0, 100.0]).median().to_bits(), 5_f64.to_bits());
        assert_eq!(samples(&[4.0, 1.0, 2.0, 100.0]).median().to_bits(), 3_f64.to_bits());
        assert_eq!(samples(&[5.0, 1.0, 100.0]).spread(), (1.0, 100.0));
    }
}
