//! What a decision depended on, so that after a change of intent only those connections are decided again for which
//! something relevant changed.

use model::decision::{Decision, Key, Output, Verdict};
use model::snapshot::{InterfaceId, Snapshot};

/// Under which intent a connection was last found allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Checked {
    /// The snapshot's.
    pub(crate) epoch: u64,
    /// What of it mattered.
    pub(crate) scope: Scope,
}

#[cfg(test)]
impl Checked {
    /// For connections whose intent does not matter.
    pub(crate) fn never() -> Self {
        let none = Generations { policy: 0, routes: 0, mappings: 0 };
        let scope = Scope { initiator: none, receiver: None, answered: None };
        Self { epoch: 0, scope }
    }
}

/// The generations of everything that a decision was made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scope {
    initiator: Generations,
    /// Of the interface that gets its packets, when that is another one of this node.
    receiver: Option<Generations>,
    /// Of the interface that gets the answers, when that is another one of this node.
    answered: Option<Generations>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Generations {
    policy: u32,
    routes: u32,
    mappings: u32,
}

impl Scope {
    /// The scope of a decision for a forward key in `snapshot`; `None` when one of its interfaces is gone.
    pub(crate) fn of(snapshot: &Snapshot, key: &Key, decision: &Decision) -> Option<Self> {
        let initiator = key.zone.interface();
        let other = |output| match output {
            Output::Local(id) if id != initiator => Generations::of(snapshot, id).map(Some),
            Output::Local(_) | Output::Tunnel(_) => Some(None),
        };
        Some(Self {
            initiator: Generations::of(snapshot, initiator)?,
            receiver: other(decision.forward.output)?,
            answered: match &decision.reverse {
                Verdict::Forward(path) => other(path.output)?,
                Verdict::Drop(_) => None,
            },
        })
    }
}

impl Generations {
    fn of(snapshot: &Snapshot, id: InterfaceId) -> Option<Self> {
        let interface = snapshot.interface(id)?;
        Some(Self {
            policy: interface.policy_generation,
            routes: snapshot.subnet(interface.subnet)?.routes.generation,
            mappings: snapshot.vpc(interface.vpc)?.mappings.generation,
        })
    }
}
