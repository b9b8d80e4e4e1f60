//! What intent holds at which time, for one node.

use std::sync::Arc;
use std::time::Duration;

use dpu_app::datapath::Time;
use model::intent::Intent;
use model::snapshot::Snapshot;
use thiserror::Error;

/// One node's snapshots, each with the time from which it holds.
#[derive(Debug)]
pub struct Timeline {
    /// Holds from the start.
    pub(super) first: Arc<Snapshot>,
    /// In the order of time.
    pub(super) later: Vec<(Time, Arc<Snapshot>)>,
}

/// Intent lacks the node to replay.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the intent {when} has no Node `{node}`; its nodes are: {}", known.join(", "))]
pub struct NodeMissing {
    /// Which intent: from when it holds.
    pub when: String,
    /// The node asked for.
    pub node: String,
    /// Those there are.
    pub known: Vec<String>,
}

impl Timeline {
    /// What holds at the start.
    #[must_use]
    pub fn into_first(self) -> Arc<Snapshot> {
        self.first
    }

    /// Compiles what `node` sees of an intent and of those that replace it, each at its time. Of several at the same
    /// time the last one given stays.
    ///
    /// # Errors
    /// [`NodeMissing`] when one of them does not know the node.
    pub fn compile(
        node: &str,
        first: &Intent,
        mut later: Vec<(Time, Intent)>,
    ) -> Result<Self, NodeMissing> {
        let compile = |intent: &Intent, previous: Option<&Snapshot>, when: &dyn Fn() -> String| {
            Snapshot::compile(intent, node, previous).map(Arc::new).map_err(|_| NodeMissing {
                when: when(),
                node: node.to_owned(),
                known: intent.nodes().sorted().iter().map(|node| node.name().to_string()).collect(),
            })
        };
        let first = compile(first, None, &|| "at the start".to_owned())?;
        later.sort_by_key(|(time, _)| *time);
        let mut snapshots: Vec<(Time, Arc<Snapshot>)> = Vec::with_capacity(later.len());
        for (time, intent) in later {
            let previous = snapshots.last().map_or(&first, |(_, snapshot)| snapshot);
            let when = || format!("from {:?} on", Duration::from_nanos(time.0));
            let snapshot = compile(&intent, Some(previous), &when)?;
            snapshots.push((time, snapshot));
        }
        Ok(Self { first, later: snapshots })
    }
}
