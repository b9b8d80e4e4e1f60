//! Measures the time that this thread has a core for itself: other programs on the machine do not count.

use std::time::Duration;

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Time of the thread's own work.
pub struct CpuTime;

fn now() -> Duration {
    // The clock of a running thread is never before 0.
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        now()
    }

    fn end(&self, start: Duration) -> Duration {
        now().saturating_sub(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// So many things done in each iteration.
pub const fn each(things: usize) -> Throughput {
    Throughput::Elements(things as u64)
}
