//! Ctrl-C and requests to end: noticed wherever the demo waits, which then ends with an error, so that all is removed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use miette::{Diagnostic, IntoDiagnostic, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use thiserror::Error;

/// Someone asked us to end.
#[derive(Debug, Error, Diagnostic)]
#[error("interrupted; everything was removed")]
pub struct Interrupted;

/// How often something awaited is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

fn flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// From now on, signals end the demo in order.
///
/// # Errors
/// When the system refuses.
pub fn catch() -> Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, flag().clone()).into_diagnostic()?;
    }
    Ok(())
}

/// Goes on unless the demo should end.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    if flag().load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
}

/// Waits until `ready` has a value, at most for `patience`.
///
/// # Errors
/// [`Interrupted`], and what `ready` says.
pub fn wait_for<T>(
    patience: Duration,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + patience;
    loop {
        check()?;
        let value = ready()?;
        if value.is_some() || Instant::now() >= deadline {
            return Ok(value);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Does nothing for a while.
///
/// # Errors
/// [`Interrupted`].
pub fn sleep(duration: Duration) -> Result<()> {
    wait_for(duration, || Ok(None::<()>)).map(|_| ())
}
