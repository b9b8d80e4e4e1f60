//! The uplink's neighbours: which MAC the next hop towards a VTEP has, and answers for our own VTEP.

mod message;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use model::snapshot::Node;
use packet::{Frame, Mac, Network, Parsed};

use super::Time;
use message::Heard;
use table::{Entrant, Neighbor, Table};

pub use message::solicitation;

/// At most one solicitation a neighbour in this time.
const SOLICIT_INTERVAL: Duration = Duration::from_secs(1);
/// A neighbour that was not heard of for this long is asked again; its MAC stays in use meanwhile.
const REFRESH_AFTER: Duration = Duration::from_mins(1);
/// A neighbour that was not heard of for this long is gone.
const EXPIRE_AFTER: Duration = Duration::from_mins(20);

/// What is known of the next hop towards a VTEP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Its MAC.
    Known(Mac),
    /// Not known: send a [`solicitation`] for this address.
    Solicit(IpAddr),
    /// Not known, and there is nothing to send: it was asked less than a second ago, or no next hop leads there.
    Unresolved,
}

/// What a frame from the uplink was to the neighbour table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UplinkResponse {
    /// A question for our VTEP's MAC; the frame now holds the answer, to go back out of the uplink.
    Answered,
    /// ARP or neighbour discovery that confirmed or changed a neighbour; nothing to send.
    Learned,
    /// Nothing for the datapath; the frame is unchanged.
    NotForUs,
}

/// The uplink's neighbours, learned from ARP (RFC 826) and neighbour discovery (RFC 4861). Static ones stay in
/// [`Node::neighbors`], come first and are never overwritten. The table has a fixed size; when it is full, the
/// neighbour that nobody needed for the longest time gives way.
#[derive(Debug)]
pub struct Underlay {
    table: Table,
    version: u64,
}

impl Default for Underlay {
    fn default() -> Self {
        Self::new()
    }
}

impl Underlay {
    /// An empty table. All memory it will ever need is allocated here.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Table::new(), version: 0 }
    }

    /// Moves whenever [`Self::known`] would tell something new: a neighbour came, went, or changed its MAC.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// All learned neighbours and their MACs. Where [`Node::neighbors`] has the same address, that one counts.
    pub fn known(&self) -> impl Iterator<Item = (IpAddr, Mac)> {
        self.table.iter().filter_map(|neighbor| Some((neighbor.address, neighbor.mac?)))
    }

    /// The MAC of the next hop towards `vtep`, or what to do to get it. Whoever is told to solicit must do so: the
    /// next time it is said is a second later.
    pub fn resolve(&mut self, now: Time, node: &Node, vtep: IpAddr) -> Resolution {
        let Some(hop) = next_hop(node, vtep) else {
            return Resolution::Unresolved;
        };
        if let Some(mac) = node.neighbors.get(&hop) {
            return Resolution::Known(*mac);
        }
        let Some(neighbor) = self.table.enter(hop, Entrant::Wanted, now, &mut self.version) else {
            return Resolution::Unresolved;
        };
        if let Some(mac) = neighbor.mac {
            Resolution::Known(mac)
        } else if solicit_due(neighbor, now) {
            Resolution::Solicit(hop)
        } else {
            Resolution::Unresolved
        }
    }

    /// Drops neighbours that fell silent, and hands `solicit` the address of each one that is due to be asked again.
    ///
    /// Called about once a second, and the only place where a known neighbour is doubted: traffic that hardware carries
    /// never passes [`Self::resolve`], and must be treated like that which does.
    pub fn maintain(&mut self, now: Time, mut solicit: impl FnMut(IpAddr)) {
        for neighbor in self.table.iter_mut() {
            expire(neighbor, now, &mut self.version);
            if neighbor.wanted
                && neighbor.mac.is_some()
                && is_stale(neighbor, now)
                && solicit_due(neighbor, now)
            {
                solicit(neighbor.address);
            }
        }
    }

    /// Learns from a frame that came in on the uplink, and answers in place when it asks for our VTEP's MAC. `parsed`
    /// describes `frame`.
    ///
    /// Only a neighbour that was asked for, is known already, or asks for our VTEP itself is learned; only with a
    /// unicast MAC, from frames to us or to a group; and neighbour discovery only when it cannot have passed a router
    /// and its checksum is right (RFC 4861, section 7.1).
    pub fn handle(
        &mut self,
        now: Time,
        node: &Node,
        parsed: &Parsed,
        frame: &mut Frame,
    ) -> UplinkResponse {
        if parsed.destination_mac != node.mac && !parsed.destination_mac.is_group() {
            return UplinkResponse::NotForUs;
        }
        let heard = match &parsed.network {
            Network::Arp => message::hear_arp(node, frame.bytes()),
            Network::Ip(packet) => message::hear_nd(node, parsed.source_mac, packet, frame.bytes()),
        };
        let Some(heard) = heard else {
            return UplinkResponse::NotForUs;
        };
        let learned = self.learn(now, node, &heard);
        match heard.question {
            Some(question) if message::answer(node, &question, frame) => UplinkResponse::Answered,
            _ if learned => UplinkResponse::Learned,
            _ => UplinkResponse::NotForUs,
        }
    }

    /// Whether the neighbour table took notice of what was heard.
    fn learn(&mut self, now: Time, node: &Node, heard: &Heard) -> bool {
        let Some((address, claim)) = heard.claim else {
            return false;
        };
        let reachable = node.underlay_prefix.contains(&address)
            || node.gateway == Some(address)
            || matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if !reachable || address == node.vtep.ip() || node.neighbors.contains_key(&address) {
            return false;
        }
        if claim.mac.is_some_and(|mac| mac.unicast().is_err() || mac == node.mac) {
            return false;
        }
        let neighbor = if heard.question.is_some() {
            self.table.enter(address, Entrant::Stranger, now, &mut self.version)
        } else {
            self.table.get(address)
        };
        let Some(neighbor) = neighbor else {
            return false;
        };
        match (claim.mac, neighbor.mac) {
            (None, None) => return false,
            (Some(mac), Some(old)) if mac != old && !claim.replaces => return false,
            (Some(mac), old) if old != Some(mac) => {
                neighbor.mac = Some(mac);
                self.version = self.version.wrapping_add(1);
            }
            _ => {}
        }
        neighbor.confirmed = now;
        true
    }
}

/// The neighbour that takes packets for `vtep`: itself when it is on our link, the gateway otherwise.
#[must_use]
pub fn next_hop(node: &Node, vtep: IpAddr) -> Option<IpAddr> {
    if node.underlay_prefix.contains(&vtep) { Some(vtep) } else { node.gateway }
}

fn expire(neighbor: &mut Neighbor, now: Time, version: &mut u64) {
    if neighbor.mac.is_some() && now - neighbor.confirmed >= EXPIRE_AFTER {
        neighbor.mac = None;
        *version = version.wrapping_add(1);
    }
}

/// Whether the neighbour was not heard of for a while.
fn is_stale(neighbor: &Neighbor, now: Time) -> bool {
    now - neighbor.confirmed >= REFRESH_AFTER
}

/// Whether a neighbour may be asked now; if so, that is noted.
fn solicit_due(neighbor: &mut Neighbor, now: Time) -> bool {
    let due = neighbor.asked.is_none_or(|asked| now - asked >= SOLICIT_INTERVAL);
    if due {
        neighbor.asked = Some(now);
    }
    due
}
