//! The outer headers of tunnels, made when a packet first needs them.

use std::time::Duration;

use model::decision::DropReason;
use model::snapshot::{Snapshot, TunnelId};
use packet::VxlanHeader;

use super::Time;
use super::effects::Effects;
use super::execute::{outer_header, solicit};
use super::underlay::{Resolution, Underlay};

/// Headers that are kept, a power of two.
const PLACES: usize = 4096;
/// After this time the neighbour table is told again that somebody needs the next hop.
const FRESH: Duration = Duration::from_secs(1);

/// Where a tunnel's headers are, until headers are looked for again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TunnelPlace(usize);

/// Headers by tunnel. Each tunnel has one place, which it shares with few others, if any.
#[derive(Debug)]
pub(crate) struct Tunnels(Vec<Option<Made>>);

/// A header, and what it was made from.
#[derive(Debug)]
struct Made {
    tunnel: TunnelId,
    epoch: u64,
    neighbors: u64,
    at: Time,
    header: VxlanHeader,
}

impl Tunnels {
    /// Without any.
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| None).collect())
    }

    /// Finds or makes the headers of a tunnel.
    ///
    /// # Errors
    /// The reason why there are none. The next hop is then asked for its MAC, at most once a second.
    #[inline]
    pub(crate) fn find(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        underlay: &mut Underlay,
        tunnel: TunnelId,
        effects: &mut Effects,
    ) -> Result<TunnelPlace, DropReason> {
        let place = tunnel.0 as usize % PLACES;
        if self.ready(now, snapshot.epoch, underlay.version(), tunnel).is_some() {
            return Ok(TunnelPlace(place));
        }
        let header = make(now, snapshot, underlay, tunnel, effects)?;
        let made =
            Made { tunnel, epoch: snapshot.epoch, neighbors: underlay.version(), at: now, header };
        if let Some(place) = self.0.get_mut(place) {
            *place = Some(made);
        }
        Ok(TunnelPlace(place))
    }

    /// The headers of a tunnel, if they are made and still right, and the neighbour table need not be told again.
    #[inline]
    pub(crate) fn ready(
        &self,
        now: Time,
        epoch: u64,
        neighbors: u64,
        tunnel: TunnelId,
    ) -> Option<&VxlanHeader> {
        let made = self.0.get(tunnel.0 as usize % PLACES)?.as_ref()?;
        let is_right = made.tunnel == tunnel
            && made.epoch == epoch
            && made.neighbors == neighbors
            && now.0.wrapping_sub(made.at.0) < FRESH.as_nanos() as u64;
        is_right.then_some(&made.header)
    }

    /// What was found.
    #[inline]
    pub(crate) fn header(&self, TunnelPlace(place): TunnelPlace) -> Option<&VxlanHeader> {
        self.0.get(place)?.as_ref().map(|made| &made.header)
    }
}

#[cold]
fn make(
    now: Time,
    snapshot: &Snapshot,
    underlay: &mut Underlay,
    id: TunnelId,
    effects: &mut Effects,
) -> Result<VxlanHeader, DropReason> {
    let (node, tunnel) = (&snapshot.node, snapshot.tunnel(id).ok_or(DropReason::NoMapping)?);
    let mac = match underlay.resolve(now, node, tunnel.vtep.ip()) {
        Resolution::Known(mac) => Some(mac),
        Resolution::Solicit(hop) => {
            solicit(node, hop, effects);
            None
        }
        Resolution::Unresolved => None,
    };
    mac.and_then(|mac| outer_header(node, tunnel, mac)).ok_or(DropReason::UnresolvedNeighbor)
}
