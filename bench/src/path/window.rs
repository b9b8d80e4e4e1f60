//! From what the driver reports to what a packet costs.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use miette::{IntoDiagnostic, Result, bail};
use penstock_traffic::{Checkpoint, Report};

use super::scenario::Frames;

/// CPU time that is measured.
const MEASURED: Duration = Duration::from_secs(1);
/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(50);

/// Waits until enough has been measured; the cost of a packet, in nanoseconds. `check` says whether the program still
/// runs.
///
/// # Errors
/// When nothing happens any more, or packets are lost.
pub fn cost(report: &Path, frames: &Frames, mut check: impl FnMut() -> Result<()>) -> Result<f64> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        check()?;
        let checkpoints = match Report::read(report) {
            Ok(checkpoints) => checkpoints,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).into_diagnostic(),
        };
        if let Some((first, last)) = window(&checkpoints, frames) {
            return cost_between(first, last);
        }
        let received = checkpoints.last().map_or(0, |checkpoint| checkpoint.received);
        if received > last {
            (last, since) = (received, Instant::now());
        } else if since.elapsed() > PATIENCE {
            bail!("no packets for {PATIENCE:?}, after {received} of them");
        }
        thread::sleep(INTERVAL);
    }
}

/// What counts of a report: long enough, or to the end of the frames.
fn window(checkpoints: &[Checkpoint], frames: &Frames) -> Option<(Checkpoint, Checkpoint)> {
    let first = *checkpoints.iter().find(|checkpoint| checkpoint.received >= frames.warm_up)?;
    let last = *checkpoints.last()?;
    let is_over = frames.repeat.is_none() && last.received + Report::INTERVAL > frames.count;
    (last.cpu.saturating_sub(first.cpu) >= MEASURED || is_over).then_some((first, last))
}

fn cost_between(first: Checkpoint, last: Checkpoint) -> Result<f64> {
    let (received, sent) = (last.received - first.received, last.sent - first.sent);
    let packets = match u32::try_from(received) {
        Ok(packets @ 1..) => f64::from(packets),
        _ => bail!("{received} packets are not a number to measure anything with"),
    };
    // Those on their way between two checkpoints are few.
    if sent + Report::INTERVAL / 8 < received {
        bail!("of {received} packets only {sent} came out");
    }
    Ok(last.cpu.saturating_sub(first.cpu).as_secs_f64() * 1e9 / packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(number: u64, milliseconds: u64) -> Checkpoint {
        let received = number * Report::INTERVAL;
        Checkpoint { received, sent: received, cpu: Duration::from_millis(milliseconds) }
    }

    fn frames(repeat: Option<u64>) -> Frames {
        let count = 3 * Report::INTERVAL + 5;
        Frames { path: "frames".into(), repeat, warm_up: Report::INTERVAL, count, prime: None }
    }

    #[test]
    fn the_window_begins_behind_the_warm_up_and_is_long_enough() {
        let checkpoints = [checkpoint(1, 100), checkpoint(2, 900), checkpoint(3, 1100)];
        let whole = window(&checkpoints, &frames(Some(0)));
        assert_eq!(whole, Some((checkpoints[0], checkpoints[2])));
        assert_eq!(window(&checkpoints[..2], &frames(Some(0))), None);
        // All frames are through, however quickly.
        let quick = [checkpoint(1, 100), checkpoint(2, 101), checkpoint(3, 102)];
        assert_eq!(window(&quick, &frames(None)), Some((quick[0], quick[2])));
        let cost = cost_between(quick[0], quick[2]).expect("measured");
        assert!((cost - 2e6 / (2.0 * 65536.0)).abs() < 1e-9, "{cost}");
    }

    #[test]
    fn lost_packets_are_no_measurement() {
        let lost = Checkpoint { sent: Report::INTERVAL, ..checkpoint(3, 1100) };
        assert!(cost_between(checkpoint(1, 100), lost).is_err());
    }
}
