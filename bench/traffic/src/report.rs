//! What a run says of itself.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Packets that all ports have received.
    pub received: u64,
    /// Packets that all ports have sent.
    pub sent: u64,
    /// Time that the thread which polls has had on its core.
    pub cpu: Duration,
}

impl Checkpoint {
    fn line(self) -> String {
        format!("{} {} {}\n", self.received, self.sent, self.cpu.as_nanos())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(|number| number.parse().ok());
        let [received, sent, cpu] = [numbers.next()??, numbers.next()??, numbers.next()??];
        Some(Self { received, sent, cpu: Duration::from_nanos(cpu) })
    }
}

/// The file that gets a line for each 65536 packets received.
#[derive(Debug)]
pub struct Report(File);

impl Report {
    /// Packets between two lines.
    pub const INTERVAL: u64 = 1 << 16;

    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        File::create(path).map(Self)
    }

    /// Writes a line. That it may fail is no matter for the packets: whoever reads finds the line missing.
    pub(crate) fn add(&self, checkpoint: Checkpoint) {
        let _ = (&self.0).write_all(checkpoint.line().as_bytes());
    }

    /// What a report says so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> io::Result<Vec<Checkpoint>> {
        let text = std::fs::read_to_string(path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().filter_map(Checkpoint::parse).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_and_half_a_line_is_not() {
        let checkpoint = Checkpoint { received: 65_536, sent: 9, cpu: Duration::from_nanos(77) };
        let line = checkpoint.line();
        assert_eq!(Checkpoint::parse(line.trim_end()), Some(checkpoint));
        let path = std::env::temp_dir().join(format!("penstock-report-{}", std::process::id()));
        std::fs::write(&path, format!("{line}{line}6553")).unwrap();
        assert_eq!(Report::read(&path).unwrap(), [checkpoint, checkpoint]);
        std::fs::remove_file(path).unwrap();
    }
}
