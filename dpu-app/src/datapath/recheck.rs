//! What a decision depended on, so that after a change of intent only those connections are decided again for which
//! something relevant changed.

use model::decision::{Decision, Key, Output, Verdict};
use model::snapshot::{InterfaceId, Snapshot};

/// Under which intent a connection was last found allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Checked {
    /// The snapshot's.
    pub(crate) epoch: u64,
    /// The last one that the snapshot, or one before it, gave out: what has a later one has changed since.
    pub(crate) generation: u32,
}

impl Checked {
    /// Under this one.
    pub(crate) const fn under(snapshot: &Snapshot) -> Self {
        Self { epoch: snapshot.epoch, generation: snapshot.last_generation() }
    }
}

/// The latest generation of everything that a decision for a forward key is made from; `None` when one of its interfaces
/// is gone.
pub(crate) fn latest_generation(
    snapshot: &Snapshot,
    key: &Key,
    decision: &Decision,
) -> Option<u32> {
    let initiator = key.zone.interface();
    let other = |output| match output {
        Output::Local(id) if id != initiator => generation_of(snapshot, id),
        Output::Local(_) | Output::Tunnel(_) => Some(0),
    };
    let receiver = other(decision.forward.output)?;
    let answered = match &decision.reverse {
        Verdict::Forward(path) => other(path.output)?,
        Verdict::Drop(_) => 0,
    };
    Some(generation_of(snapshot, initiator)?.max(receiver).max(answered))
}

/// The latest of an interface's policy, routes and mappings.
fn generation_of(snapshot: &Snapshot, id: InterfaceId) -> Option<u32> {
    let interface = snapshot.interface(id)?;
    let routes = snapshot.subnet(interface.subnet)?.routes_since;
    let mappings = snapshot.vpc(interface.vpc)?.mappings.generation;
    Some(interface.policy_generation.max(routes).max(mappings))
}
