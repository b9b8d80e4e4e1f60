//! How a connection becomes rules: what is decided about it, the contract's rule for each direction, what each pass of
//! legalisation makes of it, the static rules it builds upon, and the verdict with its reason.

use model::decision::{Key, Output, Path, Side, Step, Verdict, Zone};
use model::snapshot::{InterfaceId, Snapshot, TunnelId};
use packet::wire::protocol;
use packet::{Tuple, VtepAddr};
use rte_flow::Rule;
use rte_flow_compiler::{Entry, Nic, NotOffloaded, connection, statics};
use serde::{Deserialize, Serialize};

use super::statics::{Purpose, needs, purpose};
use crate::datapath::decide;

/// A connection, as its initiator sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// An interface of this node at one of its ends.
    pub interface: InterfaceId,
    /// Addresses and ports.
    pub tuple: Tuple,
}

/// Neither end of a connection is the interface's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither address is one of the interface's; name the interface of this node at one of the connection's ends"
)]
pub struct NoEnd;

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What rules are made for.
    pub profile: String,
    /// Why policy does not let it come about; then it has no directions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dropped: Option<String>,
    /// From the initiator, and to it.
    pub directions: Vec<ExplainedDirection>,
}

/// What becomes of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedDirection {
    /// Where its packets meet the pipeline.
    pub from: String,
    /// What they are.
    pub packets: String,
    /// What is decided about them.
    pub decision: String,
    /// The static rules that its rule builds upon, as the NIC has them.
    pub builds_upon: Vec<String>,
    /// The contract's rule.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contract: Option<String>,
    /// What passes made of it, those that changed nothing without rules.
    pub passes: Vec<ExplainedPass>,
    /// The rules that the NIC is given, those that are shared with others first.
    pub rules: Vec<String>,
    /// Where it is carried once it is worth it.
    pub verdict: Place,
    /// Why in software: a fixed name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Where it is now; of a connection that a daemon knows.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub now: Option<String>,
}

/// One pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedPass {
    /// Its name.
    pub name: String,
    /// The rules after it, if it changed any.
    pub rules: Vec<String>,
}

/// Who carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The NIC.
    Hardware,
    /// The datapath.
    Software,
    /// Nobody: they are dropped.
    Nowhere,
}

/// Explains a connection on a NIC.
///
/// `header` gives the outer headers of tunnels whose next hop is known.
///
/// # Errors
/// [`NoEnd`].
pub fn explain(
    nic: &Nic,
    snapshot: &Snapshot,
    header: impl FnMut(TunnelId) -> Option<Vec<u8>>,
    asked: &Asked,
) -> Result<Explanation, NoEnd> {
    let key = key(snapshot, asked).ok_or(NoEnd)?;
    let explainer = Explainer { nic, snapshot, statics: statics(nic, snapshot, header) };
    let profile = nic.profile().name.clone();
    Ok(match decide(snapshot, &key, None, None) {
        Ok(decision) => {
            let forward = explainer.direction(&key, &Verdict::Forward(decision.forward));
            let reverse = explainer.direction(&decision.reverse_key, &decision.reverse);
            Explanation { profile, dropped: None, directions: vec![forward, reverse] }
        }
        Err(reason) => {
            Explanation { profile, dropped: Some(reason.name().to_owned()), directions: Vec::new() }
        }
    })
}

/// How the connection's first packet is found.
fn key(snapshot: &Snapshot, asked: &Asked) -> Option<Key> {
    let Asked { interface, tuple } = *asked;
    let known = snapshot.interface(interface)?;
    let is_own = |address| known.addresses.contains(&address);
    let side = match (is_own(tuple.source()), is_own(tuple.destination())) {
        (true, _) => Side::FromVm,
        (false, true) => Side::FromNetwork,
        // It may have any address, as an appliance has.
        (false, false) if !known.anti_spoof => Side::FromVm,
        (false, false) => return None,
    };
    Some(Key { zone: Zone::new(interface, side), tuple })
}

struct Explainer<'a> {
    nic: &'a Nic,
    snapshot: &'a Snapshot,
    statics: Vec<Entry>,
}

impl Explainer<'_> {
    fn direction(&self, key: &Key, verdict: &Verdict) -> ExplainedDirection {
        let explained = ExplainedDirection {
            from: self.zone(key.zone),
            packets: packets(&key.tuple),
            decision: String::new(),
            builds_upon: Vec::new(),
            contract: None,
            passes: Vec::new(),
            rules: Vec::new(),
            verdict: Place::Nowhere,
            reason: None,
            message: None,
            now: None,
        };
        match verdict {
            Verdict::Drop(reason) => {
                ExplainedDirection { decision: format!("dropped: {}", reason.name()), ..explained }
            }
            Verdict::Forward(path) => {
                let decision = self.path(path);
                self.forwarded(key, path, ExplainedDirection { decision, ..explained })
            }
        }
    }

    fn forwarded(
        &self,
        key: &Key,
        path: &Path,
        mut explained: ExplainedDirection,
    ) -> ExplainedDirection {
        explained.verdict = Place::Software;
        let refused = |explained, why: &NotOffloaded| ExplainedDirection {
            reason: Some(why.name().to_owned()),
            message: Some(why.to_string()),
            ..explained
        };
        let outer_source = self.outer_source(key);
        let entry = match connection(self.nic, self.snapshot, key, path, outer_source) {
            Ok(entry) => entry,
            Err(why) => return refused(explained, &why),
        };
        let told = self.nic.explain(&entry);
        explained.contract = Some(told.contract.to_string());
        explained.passes = told
            .steps
            .into_iter()
            .map(|step| ExplainedPass {
                name: step.pass.to_owned(),
                rules: texts(step.changed.as_deref().unwrap_or_default()),
            })
            .collect();
        match told.verdict {
            Ok(rules) => explained.rules = texts(&rules),
            Err(refusal) => return refused(explained, &NotOffloaded::Illegal(refusal)),
        }
        for need in needs(&entry) {
            let found = self.statics.iter().find(|entry| purpose(entry) == Some(need));
            let rules = found.map(|entry| self.nic.explain(entry).verdict);
            match rules {
                Some(Ok(rules)) => explained.builds_upon.extend(texts(&rules)),
                Some(Err(refusal)) => {
                    let why = NotOffloaded::StaticPart(Some(refusal.to_string()));
                    return refused(explained, &why);
                }
                None => {
                    let why = match need {
                        Purpose::Encapsulation(_) => "the tunnel's next hop is not known",
                        _ => "the interface is disabled, or has no port of this NIC",
                    };
                    return refused(explained, &NotOffloaded::StaticPart(Some(why.to_owned())));
                }
            }
        }
        ExplainedDirection { verdict: Place::Hardware, ..explained }
    }

    /// The VTEP that packets with this key come from.
    fn outer_source(&self, key: &Key) -> Option<VtepAddr> {
        let interface = self.snapshot.interface(key.zone.interface())?;
        let mappings = &self.snapshot.vpc(interface.vpc)?.mappings;
        mappings.lookup(key.tuple.source()).map(|mapping| mapping.vtep)
    }

    fn name(&self, id: InterfaceId) -> String {
        self.snapshot.interface(id).map_or_else(|| "?".into(), |interface| interface.name.clone())
    }

    fn zone(&self, zone: Zone) -> String {
        let name = self.name(zone.interface());
        match zone.side() {
            Side::FromVm => format!("the VM of {name}"),
            Side::FromNetwork => format!("a tunnel, for {name}"),
        }
    }

    fn path(&self, path: &Path) -> String {
        let mut parts: Vec<String> = Vec::new();
        for step in &path.steps {
            let Step::SetMacs { source, destination } = step;
            parts.push(format!("source MAC {source}, destination MAC {destination}"));
        }
        if path.mtu < u16::MAX {
            parts.push(format!("at most {} bytes", path.mtu));
        }
        parts.push(match path.output {
            Output::Local(id) => format!("to {}", self.name(id)),
            Output::Tunnel(id) => {
                let node = self.snapshot.tunnel(id).map_or("?", |tunnel| tunnel.node.as_str());
                format!("into the tunnel to {node}")
            }
        });
        parts.join(", ")
    }
}

fn texts(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn packets(tuple: &Tuple) -> String {
    let (name, has_ports) = match tuple.protocol() {
        protocol::TCP => ("tcp".to_owned(), true),
        protocol::UDP => ("udp".to_owned(), true),
        other => (format!("protocol {other}"), false),
    };
    if has_ports {
        let end = |address, port| std::net::SocketAddr::new(address, port);
        let source = end(tuple.source(), tuple.source_port());
        format!("{name} {source} > {}", end(tuple.destination(), tuple.destination_port()))
    } else {
        format!("{name} {} > {}", tuple.source(), tuple.destination())
    }
}
