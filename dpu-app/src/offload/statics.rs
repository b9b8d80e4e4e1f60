//! What the rules of connections build upon: which static rules are wanted, and which are in the NIC.

use std::collections::{BTreeMap, BTreeSet};

use model::decision::Zone;
use model::snapshot::TunnelId;
use packet::{Family, Mac, Vni};
use rte_flow_compiler::{Destination, Entry, EthdevPort, Transport};

use super::records::Ticket;
use crate::datapath::Time;

/// What a static rule is for, whatever its content: a changed rule replaces the one with the same purpose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Purpose {
    VmDispatch(Zone, Family),
    TunnelDispatch(Zone),
    VmChecks(Family, Transport),
    TunnelChecks(Family, Transport),
    Encapsulation(TunnelId),
    /// A rule that those of several entries build upon, by its number.
    Shared(u32),
}

/// Most static rules that a connection's is of no use without, those that are shared aside.
pub(super) const STATIC_NEEDS: usize = 3;

/// The purpose of a static entry; `None` for the entry of a connection.
pub(super) fn purpose(entry: &Entry) -> Option<Purpose> {
    Some(match entry {
        Entry::VmDispatch { zone, family, .. } => Purpose::VmDispatch(*zone, *family),
        Entry::TunnelDispatch { zone, .. } => Purpose::TunnelDispatch(*zone),
        Entry::VmChecks { family, transport } => Purpose::VmChecks(*family, *transport),
        Entry::TunnelChecks { family, transport, .. } => Purpose::TunnelChecks(*family, *transport),
        Entry::Encapsulation { tunnel, .. } => Purpose::Encapsulation(*tunnel),
        Entry::VmConnection { .. } | Entry::TunnelConnection { .. } => return None,
    })
}

/// The static rules that a connection's entry is of no use without.
pub(super) fn needs(entry: &Entry) -> impl Iterator<Item = Purpose> + use<> {
    let needs: [_; STATIC_NEEDS] = match entry {
        Entry::VmConnection { zone, tuple, transport, .. } => [
            Some(Purpose::VmDispatch(*zone, tuple.family())),
            Some(Purpose::VmChecks(tuple.family(), *transport)),
            tunnel_of(entry),
        ],
        Entry::TunnelConnection { zone, tuple, transport, .. } => [
            Some(Purpose::TunnelDispatch(*zone)),
            Some(Purpose::TunnelChecks(tuple.family(), *transport)),
            None,
        ],
        _ => [None; STATIC_NEEDS],
    };
    needs.into_iter().flatten()
}

/// Whose packets a rule of the first stage is for: two interfaces that follow each other in a place cannot be told apart
/// while rules of both are in the NIC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Place {
    /// Behind a VF's port.
    Port(EthdevPort, Family),
    /// In a VPC.
    Vpc(Vni, Mac),
}

/// The place that a static entry is about.
pub(super) const fn place(entry: &Entry) -> Option<Place> {
    match entry {
        Entry::VmDispatch { port, family, .. } => Some(Place::Port(*port, *family)),
        Entry::TunnelDispatch { vni, destination_mac, .. } => {
            Some(Place::Vpc(*vni, *destination_mac))
        }
        _ => None,
    }
}

/// The encapsulation that a connection's entry jumps to.
fn tunnel_of(entry: &Entry) -> Option<Purpose> {
    match entry {
        Entry::VmConnection { destination: Destination::Tunnel(tunnel), .. } => {
            Some(Purpose::Encapsulation(*tunnel))
        }
        _ => None,
    }
}

/// A static rule's place in the manager's books.
#[derive(Debug, Default)]
pub(super) struct Static {
    /// The rule that is wanted now, whatever its phase.
    pub wanted: Option<Ticket>,
    /// All rules that are of no use without it.
    pub users: BTreeSet<Ticket>,
    /// How many of them may be in the NIC; it must not leave before they do.
    pub used: u32,
    /// Rules that go as soon as none is.
    pub leaving: Vec<Ticket>,
    /// Why the NIC has none, where it was refused.
    pub refusal: Option<String>,
    /// How often the rule was made anew, as none that builds upon it had an effect.
    pub renewals: u32,
    /// When it last was.
    pub renewed: Time,
}

impl Static {
    /// Whether nothing of it would be missed.
    pub fn is_idle(&self) -> bool {
        self.wanted.is_none()
            && self.users.is_empty()
            && self.used == 0
            && self.leaving.is_empty()
            && self.refusal.is_none()
    }
}

/// All static rules, by purpose. Sorted, so that the NIC sees requests in the same order from run to run.
pub(super) type Statics = BTreeMap<Purpose, Static>;
