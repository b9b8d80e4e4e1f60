//! A packet that asks the datapath whether it works: as from the wire, for the MAC of this node's own VTEP. It is answered
//! whatever intent says beyond the node itself, and nothing is learned from it.

use model::snapshot::Snapshot;
use packet::Frame;

use super::effects::Effects;
use super::underlay::solicitation;
use super::{Incoming, Outcome, Port, Shard, Time};

/// Room for the question, with what comes before frames of ports, and for the answer.
const BUFFER: usize = 512;
const HEADROOM: usize = 128;

/// Takes the packet through a shard, as all others go; whether it was answered, or what became of it.
///
/// # Errors
/// What became of it.
pub fn probe(
    now: Time,
    snapshot: &Snapshot,
    shard: &mut Shard,
    effects: &mut Effects,
) -> Result<(), Outcome> {
    let mut buffer = [0; BUFFER];
    let question = Frame::new(&mut buffer, HEADROOM, HEADROOM);
    let question = question.and_then(|mut frame| {
        solicitation(&snapshot.node, snapshot.node.vtep.ip(), &mut frame).then_some(frame)
    });
    let Some(frame) = question else { return Err(Outcome::Consumed) };
    let mut incoming = [Incoming::new(Port::Uplink, frame)];
    shard.process(now, snapshot, &mut incoming, effects);
    let [incoming] = incoming;
    match incoming.outcome {
        Outcome::Reply { port: Port::Uplink } => Ok(()),
        outcome => Err(outcome),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::datapath::settings::Settings;
    use crate::datapath::test_frames::snapshot;

    #[test]
    fn a_datapath_that_works_answers_in_either_family_and_learns_nothing() {
        let mut snapshot = snapshot();
        for (vtep, prefix) in [("192.0.2.1", "192.0.2.0/24"), ("2001:db8::1", "2001:db8::/64")] {
            let node = Arc::make_mut(&mut snapshot.node);
            (node.vtep, node.underlay_prefix) = (vtep.parse().unwrap(), prefix.parse().unwrap());
            let mut shard = Shard::new(Settings::default(), 7, Time(0));
            let mut effects = Effects::with_capacity(4);
            for second in 0..3 {
                let now = Time(second * 1_000_000_000);
                assert_eq!(probe(now, &snapshot, &mut shard, &mut effects), Ok(()), "{vtep}");
            }
            assert_eq!(shard.underlay().known().count(), 0);
            assert_eq!(shard.connection_count(), 0);
            assert_eq!(effects.drain().count(), 0);
        }
    }
}
