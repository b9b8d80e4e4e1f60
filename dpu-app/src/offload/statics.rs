//! What the rules of connections build upon: which static rules are wanted, and which are in the NIC.

use std::collections::HashMap;

use model::decision::Zone;
use model::snapshot::TunnelId;
use packet::Family;
use rte_flow_compiler::{Destination, Entry, Transport};

use super::records::Ticket;

/// What a static rule is for, whatever its content: a changed rule replaces the one with the same purpose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Purpose {
    VmDispatch(Zone, Family),
    TunnelDispatch(Zone),
    VmChecks(Family, Transport),
    TunnelChecks(Family, Transport),
    Encapsulation(TunnelId),
}

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
pub(super) fn needs(entry: &Entry) -> impl Iterator<Item = Purpose> {
    let needs = match entry {
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
        _ => [None; 3],
    };
    needs.into_iter().flatten()
}

/// The encapsulation that a connection's entry jumps to.
pub(super) fn tunnel_of(entry: &Entry) -> Option<Purpose> {
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
    /// How many rules for the purpose are in the NIC (two while one replaces another).
    pub installed: u32,
    /// Connection rules that jump to it; it must not leave the NIC before they do.
    pub users: u32,
    /// Rules that go as soon as there are no users.
    pub leaving: Vec<Ticket>,
    /// Why the NIC has none, where it was refused.
    pub refusal: Option<String>,
}

/// All static rules, by purpose.
pub(super) type Statics = HashMap<Purpose, Static>;
