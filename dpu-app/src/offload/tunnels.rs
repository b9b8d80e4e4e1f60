//! What the NIC is given to put in front of a tunnel's packets.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;

use model::snapshot::{Snapshot, Tunnel, TunnelId};
use packet::Mac;

use crate::datapath::outer_header;
use crate::datapath::underlay::next_hop;

/// The outer headers of a tunnel, where its next hop's MAC is configured or among `learned`.
#[must_use]
pub fn tunnel_header<S: BuildHasher>(
    snapshot: &Snapshot,
    learned: &HashMap<IpAddr, Mac, S>,
    tunnel: TunnelId,
) -> Option<Vec<u8>> {
    let tunnel = snapshot.tunnel(tunnel)?;
    let mac = next_hop_mac(snapshot, learned, tunnel)?;
    Some(outer_header(&snapshot.node, tunnel, mac)?.as_bytes().to_vec())
}

/// The MAC of a tunnel's next hop, where it is configured or among `learned`.
pub(super) fn next_hop_mac<S: BuildHasher>(
    snapshot: &Snapshot,
    learned: &HashMap<IpAddr, Mac, S>,
    tunnel: &Tunnel,
) -> Option<Mac> {
    let node = &snapshot.node;
    let hop = next_hop(node, tunnel.vtep.ip())?;
    node.neighbors.get(&hop).or_else(|| learned.get(&hop)).copied()
}
