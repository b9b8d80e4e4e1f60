//! The NIC that rules are made for: its profile and its ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::decision::{Side, Zone};
use model::snapshot::{InterfaceId, TunnelId, VfIndex};
use packet::{Family, Mac, Tuple, Vni, VtepAddr, VxlanHeader, VxlanTunnel};
use rte_flow::{Api, Attributes, Context, Domain, FlowError, NoObjects, Profile, Rule};

use crate::actions::actions;
use crate::entry::{Destination, Entry, EthdevPort, Macs, Transport};
use crate::layout::{Field, Need, TABLES, Table};
use crate::pattern::pattern;

/// The ethdev ports of the NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The uplink.
    pub uplink: EthdevPort,
    /// The representors, by VF.
    pub vfs: BTreeMap<VfIndex, EthdevPort>,
}

/// A NIC: what it accepts, and its ports.
#[derive(Debug)]
pub struct Nic {
    profile: Arc<Profile>,
    api: Api,
    ports: Ports,
    /// The fields that tables can do without, and that this NIC cannot match.
    unmatchable: BTreeSet<(Table, Field)>,
}

impl Nic {
    /// A NIC; finds out by trial which of the layout's optional fields its profile can match.
    #[must_use]
    pub fn new(profile: Arc<Profile>, ports: Ports) -> Self {
        let optional = |need: Need| need == Need::WhereMatchable;
        let all: BTreeSet<_> = TABLES
            .iter()
            .flat_map(|layout| {
                layout.fields.iter().map(|(field, need)| (layout.table, *field, *need))
            })
            .filter(|(.., need)| optional(*need))
            .map(|(table, field, _)| (table, field))
            .collect();
        let api = if profile.interface.synchronous { Api::Synchronous } else { Api::Template };
        let mut nic = Self { profile, api, ports, unmatchable: all.clone() };
        let mut refused = BTreeSet::new();
        for candidate in &all {
            nic.unmatchable.clone_from(&all);
            nic.unmatchable.remove(candidate);
            let samples = samples().into_iter().filter(|entry| entry.table() == candidate.0);
            if samples.into_iter().any(|entry| nic.rule(&entry).is_err()) {
                refused.insert(*candidate);
            }
        }
        nic.unmatchable = refused;
        nic
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The interface through which this NIC is programmed: the synchronous one where there is a choice.
    #[must_use]
    pub const fn api(&self) -> Api {
        self.api
    }

    /// The port of the wire.
    #[must_use]
    pub const fn uplink(&self) -> EthdevPort {
        self.ports.uplink
    }

    /// The port of a VF, if the NIC has it.
    #[must_use]
    pub fn port_of(&self, vf: VfIndex) -> Option<EthdevPort> {
        self.ports.vfs.get(&vf).copied()
    }

    /// Whether a table's optional field can be matched.
    pub(crate) fn can_match(&self, table: Table, field: Field) -> bool {
        !self.unmatchable.contains(&(table, field))
    }

    /// The optional fields of the layout that this NIC cannot match; see `docs/reference/offload-differences.md`.
    pub fn unmatchable(&self) -> impl Iterator<Item = (Table, Field)> {
        self.unmatchable.iter().copied()
    }

    /// The rule of an entry.
    ///
    /// # Errors
    /// The refusal that the NIC would answer with, where the profile knows it beforehand.
    pub fn rule(&self, entry: &Entry) -> Result<Rule, FlowError> {
        self.rule_for(entry, self.api)
    }

    /// [`Nic::rule`] through one interface.
    pub(crate) fn rule_for(&self, entry: &Entry, api: Api) -> Result<Rule, FlowError> {
        let group = entry.table().layout().group;
        let rule = Rule {
            attributes: Attributes { group, priority: 0, domain: Domain::Transfer },
            pattern: pattern(entry, self),
            actions: actions(entry),
        };
        let context = Context { api, is_proxy: true, objects: &NoObjects };
        rte_flow::check(&rule, &self.profile, context)?;
        Ok(rule)
    }
}

/// At least one entry of every table, variant and family.
pub(crate) fn samples() -> Vec<Entry> {
    let port = EthdevPort(0);
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let macs = Macs { source: mac, destination: mac };
    let zone = Zone::new(InterfaceId(1), Side::FromVm);
    let ips = [
        (Family::V4, Ipv4Addr::new(192, 0, 2, 1).into()),
        (Family::V6, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let vteps = ips.iter().filter_map(|(_, ip)| VtepAddr::try_from(*ip).ok());
    let mut entries: Vec<Entry> = vteps
        .clone()
        .filter_map(|vtep| {
            let tunnel = VxlanTunnel {
                source_mac: mac,
                destination_mac: mac,
                source: vtep,
                destination: vtep,
                vni: Vni::MIN,
                dscp: 0,
            };
            let header = VxlanHeader::new(&tunnel).ok()?.as_bytes().to_vec();
            Some(Entry::Encapsulation { tunnel: TunnelId(1), header, port })
        })
        .collect();
    entries.extend(vteps.clone().map(|vtep| Entry::TunnelDispatch {
        port,
        vtep,
        vni: Vni::MIN,
        destination_mac: mac,
        zone,
    }));
    for (family, ip) in ips {
        entries.extend([Some(mac), None].map(|source_mac| Entry::VmDispatch {
            port,
            source_mac,
            family,
            mtu: 1450,
            zone,
        }));
        for transport in Transport::ALL {
            let tuple = Tuple::new(ip, ip, transport.number(), 1, 1);
            entries.push(Entry::VmChecks { family, transport });
            entries.extend([Family::V4, Family::V6].map(|outer| Entry::TunnelChecks {
                outer,
                family,
                transport,
            }));
            entries.extend([Destination::Port(port), Destination::Tunnel(TunnelId(1))].map(
                |destination| Entry::VmConnection { zone, tuple, transport, macs, destination },
            ));
            entries.extend(vteps.clone().map(|outer_source| Entry::TunnelConnection {
                zone,
                outer_source,
                tuple,
                transport,
                port,
            }));
        }
    }
    entries
}
