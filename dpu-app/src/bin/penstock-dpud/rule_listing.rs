//! Listing the NIC's rules: who asks, and the NIC's thread that answers, in portions between its rounds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dpu_app::offload::RuleInNic;
use thiserror::Error;
use tokio::sync::oneshot;
use verify::dump;

/// Rules of a portion.
const PORTION: usize = 512;
/// How long the NIC's thread may take for one: it may be waiting for the NIC.
const PATIENCE: Duration = Duration::from_secs(5);

/// A portion of the rules.
#[derive(Debug, Default)]
pub struct RulePortion {
    /// The place to go on at.
    next: usize,
    /// Whether these were the last ones.
    pub is_last: bool,
    /// The rules.
    pub rules: Vec<RuleInNic>,
    /// The node and its NIC, at the time; absent before there is intent.
    pub node: Option<dump::Node>,
}

impl RulePortion {
    /// The places of the rules to add, of all that there are.
    pub fn places(&mut self, all: usize) -> std::ops::Range<usize> {
        let from = self.next.min(all);
        self.next = from.saturating_add(PORTION).min(all);
        self.is_last = self.next == all;
        from..self.next
    }
}

/// Why rules are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the NIC's thread does not answer; see the daemon's log")]
pub struct NoAnswer;

/// A portion to be filled, and where it goes then.
type Question = (RulePortion, oneshot::Sender<RulePortion>);

/// The questions that wait. The datapath's loop has nothing to do with them.
#[derive(Debug, Default)]
pub struct RuleListing(Mutex<Vec<Question>>);

impl RuleListing {
    /// The rules after a portion, or the first ones. What comes and goes meanwhile may be missed; nothing is told twice.
    ///
    /// # Errors
    /// When nobody answers in time: there is no offload, or the NIC is gone.
    pub async fn ask(&self, after: Option<RulePortion>) -> Result<RulePortion, NoAnswer> {
        let (answer, wait) = oneshot::channel();
        let mut portion = after.unwrap_or_default();
        portion.rules.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((portion, answer));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(portion)) => Ok(portion),
            Ok(Err(_)) | Err(_) => Err(NoAnswer),
        }
    }

    /// Answers one question, if there is any, by filling its portion; whether there was.
    pub fn answer(&self, fill: impl FnOnce(&mut RulePortion)) -> bool {
        let question = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some((mut portion, answer)) = question else { return false };
        fill(&mut portion);
        // Whoever asked may have gone.
        let _ = answer.send(portion);
        true
    }
}
