//! The rules that packets may meet, with what they are for, as `penstock verify` reads them: what the NIC has acknowledged,
//! beside what software holds of the same connections.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::Range;

use model::decision::{Output, Path, Side, Step};
use model::snapshot::{InterfaceId, Snapshot};
use packet::Mac;
use rte_flow::Rule;
use rte_flow_compiler::Nic;
use verify::dump::{self, DumpedRule, FORMAT, Phase as DumpedPhase, Serves, VfPort};

use super::manager::Manager;
use super::records::{Owner, Phase, Record, Ticket};
use super::statics::Purpose;
use super::tunnels::next_hop_mac;
use crate::datapath::conntrack::Connection;
use crate::datapath::{ConnectionHandle, FlowDirection};

/// A rule that packets may meet.
#[derive(Debug, Clone)]
pub struct RuleInNic {
    /// The rule.
    pub rule: Rule,
    /// What it is for.
    pub owner: RuleOwner,
    /// Whether the NIC has acknowledged it and it is to stay as it is.
    pub is_settled: bool,
}

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOwner {
    /// One direction of a connection.
    Connection(ConnectionHandle, FlowDirection),
    /// An interface.
    Interface(InterfaceId),
    /// A tunnel.
    Tunnel(model::snapshot::TunnelId),
    /// All interfaces.
    All,
}

impl<H: Copy> Manager<H> {
    /// How many places for rules there are: to go through them in portions.
    #[must_use]
    pub fn places(&self) -> usize {
        self.records.places()
    }

    /// The rules in some of the places that packets may meet.
    pub fn rules_in_nic(&self, places: Range<usize>) -> impl Iterator<Item = RuleInNic> {
        self.records.within(places).filter_map(|ticket| self.rule_in_nic(ticket))
    }

    fn rule_in_nic(&self, ticket: Ticket) -> Option<RuleInNic> {
        let Record { content, owner, phase, doomed, .. } = self.records.get(ticket)?;
        if !phase.may_be_in_nic() {
            return None;
        }
        let owner = match (owner, content.purpose) {
            (Owner::Connection(connection, direction), _) => {
                RuleOwner::Connection(*connection, *direction)
            }
            (_, Some(Purpose::VmDispatch(zone, _) | Purpose::TunnelDispatch(zone))) => {
                RuleOwner::Interface(zone.interface())
            }
            (_, Some(Purpose::Encapsulation(tunnel))) => RuleOwner::Tunnel(tunnel),
            _ => RuleOwner::All,
        };
        let is_settled = matches!(phase, Phase::Installed(_))
            && !doomed
            && self.wanted_like(ticket) == Some(ticket);
        Some(RuleInNic { rule: content.rule.clone(), owner, is_settled })
    }
}

impl RuleInNic {
    /// The rule as a dump has it. `connection` is what software holds of the connection it is for; where it holds nothing any
    /// more, or drops its packets, the rule is on its way out.
    #[must_use]
    pub fn dumped(self, snapshot: &Snapshot, connection: Option<&Connection>) -> DumpedRule {
        let Self { rule, owner, is_settled } = self;
        let serves = match owner {
            RuleOwner::Connection(_, direction) => connection
                .and_then(|connection| dumped_connection(snapshot, connection, direction))
                .map(|connection| Serves::Connection(Box::new(connection))),
            RuleOwner::Interface(id) => interface_name(snapshot, id).map(Serves::Interface),
            RuleOwner::Tunnel(id) => snapshot.tunnel(id).map(|_| Serves::Tunnel(id.0)),
            RuleOwner::All => Some(Serves::All),
        };
        let is_settled = is_settled && serves.is_some();
        let phase = if is_settled { DumpedPhase::Installed } else { DumpedPhase::Moving };
        DumpedRule { phase, serves: serves.unwrap_or(Serves::Gone), rule }
    }
}

fn interface_name(snapshot: &Snapshot, id: InterfaceId) -> Option<String> {
    snapshot.interface(id).map(|interface| interface.name.clone())
}

/// One direction of a connection, as software would treat its next packet.
fn dumped_connection(
    snapshot: &Snapshot,
    connection: &Connection,
    direction: FlowDirection,
) -> Option<dump::Connection> {
    let key = connection.key(direction);
    let Path { steps, output, mtu } = connection.path(direction).ok()?;
    let mut macs = None;
    for step in steps {
        match step {
            Step::SetMacs { source, destination } => {
                macs = Some(dump::Macs { source: *source, destination: *destination });
            }
        }
    }
    let side = key.zone.side();
    Some(dump::Connection {
        interface: interface_name(snapshot, key.zone.interface())?,
        side: match side {
            Side::FromVm => dump::Side::Vm,
            Side::FromNetwork => dump::Side::Network,
        },
        protocol: key.tuple.protocol(),
        source: key.tuple.source(),
        source_port: key.tuple.source_port(),
        destination: key.tuple.destination(),
        destination_port: key.tuple.destination_port(),
        outer_source: connection.vtep().filter(|_| side == Side::FromNetwork),
        macs,
        output: match output {
            Output::Local(id) => dump::Output::Interface(interface_name(snapshot, *id)?),
            Output::Tunnel(id) => dump::Output::Tunnel(id.0),
        },
        mtu: *mtu,
    })
}

/// The node's part of a dump. `learned` are the neighbours on the underlay that answered.
#[must_use]
pub fn dumped_node<S: BuildHasher>(
    snapshot: &Snapshot,
    nic: &Nic,
    learned: &HashMap<IpAddr, Mac, S>,
) -> dump::Node {
    let node = &snapshot.node;
    let mut vpcs: Vec<dump::Vpc> = snapshot
        .vpcs()
        .map(|(_, vpc)| dump::Vpc { name: vpc.name.clone(), vni: vpc.vni.get() })
        .collect();
    vpcs.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let vpc_name = |index| snapshot.vpc(index).map_or_else(String::new, |vpc| vpc.name.clone());
    let mut interfaces: Vec<dump::Interface> = snapshot
        .interfaces
        .values()
        .map(|interface| dump::Interface {
            name: interface.name.clone(),
            vpc: vpc_name(interface.vpc),
            vf: interface.vf.0,
            mac: interface.mac,
            anti_spoof: interface.anti_spoof,
            enabled: interface.enabled,
        })
        .collect();
    interfaces.sort_unstable_by_key(|interface| interface.vf);
    let mut tunnels: Vec<dump::Tunnel> = snapshot
        .tunnels
        .iter()
        .map(|(id, tunnel)| dump::Tunnel {
            id: id.0,
            node: tunnel.node.clone(),
            vtep: tunnel.vtep.ip(),
            vni: tunnel.vni.get(),
            dscp: tunnel.dscp,
            next_hop: next_hop_mac(snapshot, learned, tunnel),
        })
        .collect();
    tunnels.sort_unstable_by_key(|tunnel| tunnel.id);
    dump::Node {
        format: FORMAT,
        name: node.name.clone(),
        profile: nic.profile().name.clone(),
        uplink: nic.uplink().0,
        vfs: nic.vfs().map(|(vf, port)| VfPort { vf: vf.0, port: port.0 }).collect(),
        vtep: node.vtep.ip(),
        mac: node.mac,
        vpcs,
        interfaces,
        tunnels,
    }
}
