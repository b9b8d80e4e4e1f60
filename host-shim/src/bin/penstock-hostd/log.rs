//! Logs: to standard error, and the last lines in memory for a support bundle.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that are kept.
const KEPT: usize = 256 << 10;

/// Why nothing can be logged.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct LogError(#[from] tracing_subscriber::filter::ParseError);

/// The last lines of the log.
#[derive(Clone, Debug, Default)]
pub struct RecentLog(Arc<Mutex<VecDeque<u8>>>);

impl RecentLog {
    /// Starts logging what `filter` lets through.
    ///
    /// # Errors
    /// When the filter is none.
    pub fn start(filter: &str) -> Result<Self, LogError> {
        let log = Self::default();
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(filter)?)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(log.clone())
            .init();
        Ok(log)
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }

    /// The last lines.
    pub fn text(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl<'a> MakeWriter<'a> for RecentLog {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &RecentLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.keep(bytes);
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let log = RecentLog::default();
        for _ in 0..KEPT / 1000 + 5 {
            log.keep(&[b'.'; 1000]);
        }
        log.keep(b"end");
        assert_eq!(log.text().len(), KEPT);
        assert!(log.text().ends_with(b".end"));
    }
}
