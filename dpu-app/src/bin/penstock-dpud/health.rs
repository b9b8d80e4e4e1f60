//! Whether the datapath works: a packet is sent through it now and then, as a loop that moves may still answer nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dpu_app::datapath::Outcome;
use metrics::gauge;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::question::{Asker, NoAnswer};
use crate::shared::Shared;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the last packet met with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// None was sent yet.
    #[default]
    Unknown,
    /// There is no intent to answer by.
    NoIntent,
    /// It was answered, in this time.
    Answered(Duration),
    /// It was not, and why.
    Unanswered(String),
}

impl Health {
    /// What is wrong, if anything is.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Unanswered(why) => Some(why),
            Self::Unknown | Self::NoIntent | Self::Answered(_) => None,
        }
    }
}

fn problem(outcome: Outcome) -> String {
    match outcome {
        Outcome::Drop(reason) => format!("the datapath drops its own probe: {}", reason.name()),
        other => format!("the datapath does not answer its own probe: {other:?}"),
    }
}

/// Sends packets and keeps what became of the last, for ever.
pub async fn keep_up(shared: Arc<Shared>, asker: Arc<Asker>) {
    loop {
        let start = Instant::now();
        let health = match timeout(PATIENCE, asker.probe()).await {
            Ok(Ok(Some(Ok(())))) => Health::Answered(start.elapsed()),
            Ok(Ok(Some(Err(outcome)))) => Health::Unanswered(problem(outcome)),
            Ok(Ok(None)) => Health::NoIntent,
            Ok(Err(NoAnswer)) => Health::Unanswered(NoAnswer.to_string()),
            Err(_) => Health::Unanswered(format!("no answer within {PATIENCE:?}")),
        };
        gauge!("penstock_datapath_probe_answered")
            .set(f64::from(u8::from(matches!(health, Health::Answered(_)))));
        let before = shared.health.swap(Arc::new(health.clone()));
        match (before.problem(), health.problem()) {
            (None, Some(why)) => error!("the datapath does not work: {why}"),
            (Some(_), None) => info!("the datapath works again"),
            _ => {}
        }
        sleep(INTERVAL).await;
    }
}
