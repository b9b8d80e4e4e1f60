//! From intent to the entries of the static part: dispatch, checks, tunnels.

use model::decision::{Side, Zone};
use model::snapshot::{Interface, Snapshot, TunnelId};
use packet::Family;

use crate::entry::{Entry, Transport};
use crate::nic::Nic;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// All entries of the static part, those that others build upon last.
///
/// `header` gives the outer headers of a tunnel whose next hop is known; tunnels without have no entry.
#[must_use]
pub fn statics(
    nic: &Nic,
    snapshot: &Snapshot,
    mut header: impl FnMut(TunnelId) -> Option<Vec<u8>>,
) -> Vec<Entry> {
    let outer = if snapshot.node.vtep.ip().is_ipv4() { Family::V4 } else { Family::V6 };
    let port = nic.uplink();
    let mut tunnels: Vec<TunnelId> = snapshot.tunnels.keys().copied().collect();
    tunnels.sort_unstable();
    let mut entries: Vec<Entry> = tunnels
        .into_iter()
        .filter_map(|tunnel| Some(Entry::Encapsulation { tunnel, header: header(tunnel)?, port }))
        .collect();
    for family in FAMILIES {
        for transport in Transport::ALL {
            entries.push(Entry::VmChecks { family, transport });
            entries.push(Entry::TunnelChecks { outer, family, transport });
        }
    }
    let mut interfaces: Vec<&Interface> =
        snapshot.interfaces.values().map(AsRef::as_ref).filter(|i| i.enabled).collect();
    interfaces.sort_unstable_by_key(|interface| interface.id);
    for interface in interfaces {
        entries.extend(dispatch(nic, snapshot, interface).into_iter().flatten());
    }
    entries
}

/// The dispatch entries of an interface; none when the NIC has no port for it.
fn dispatch(nic: &Nic, snapshot: &Snapshot, interface: &Interface) -> Option<Vec<Entry>> {
    let port = nic.port_of(interface.vf)?;
    let vpc = snapshot.vpc(interface.vpc)?;
    let from_vm = FAMILIES.map(|family| Entry::VmDispatch {
        port,
        source_mac: interface.anti_spoof.then_some(interface.mac),
        family,
        mtu: vpc.mtu,
        zone: Zone::new(interface.id, Side::FromVm),
    });
    let from_tunnel = Entry::TunnelDispatch {
        port: nic.uplink(),
        vtep: snapshot.node.vtep,
        vni: vpc.vni,
        destination_mac: interface.mac,
        zone: Zone::new(interface.id, Side::FromNetwork),
    };
    Some(from_vm.into_iter().chain([from_tunnel]).collect())
}
