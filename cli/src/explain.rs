//! `penstock explain-offload`: how a connection becomes rules of a NIC, or why it does not.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use dpu_app::api::v1::ExplainOffloadRequest;
use dpu_app::offload::{
    Asked, ExplainedDirection, Explanation, NoEnd, Place, explain, tunnel_header,
};
use model::snapshot::{InterfaceId, Snapshot, VfIndex};
use packet::Tuple;
use rte_flow::{Profile, ProfileError};
use rte_flow_compiler::Nic;
use thiserror::Error;

use crate::daemon::{Daemon, DaemonError, Output};
use crate::intent_files::{self, IntentError};
use crate::replay::{NodeMissing, Timeline, simulated_ports};

/// Arguments of `penstock explain-offload`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// An interface of the node at one of the connection's ends: its name, or vf0, vf1, ...
    pub interface: String,
    /// Protocol: tcp, udp, or a number
    pub protocol: Protocol,
    /// Where it begins: ADDRESS:PORT, [ADDRESS]:PORT, or an address alone
    pub source: End,
    /// Where it leads, written likewise
    pub destination: End,
    /// Ask no daemon, but take this intent: a file, a directory, or `-` for standard input
    #[arg(long, requires = "node")]
    pub intent: Option<PathBuf>,
    /// The node of that intent
    #[arg(long, requires = "intent")]
    pub node: Option<String>,
    /// The NIC that it is to have
    #[arg(long, value_name = "NAME", requires = "intent", default_value = "unlimited")]
    pub profile: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Whom to ask, unless there is intent
    #[command(flatten)]
    pub daemon: Daemon,
}

/// An IP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol(pub u8);

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tcp" => Ok(Self(6)),
            "udp" => Ok(Self(17)),
            _ => text.parse().map(Self).map_err(|_| "use tcp, udp, or a number up to 255".into()),
        }
    }
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Its port; 0 where none was written.
    pub port: u16,
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { address, port: 0 });
        }
        let end: SocketAddr = text
            .parse()
            .map_err(|_| "use ADDRESS:PORT, for IPv6 [ADDRESS]:PORT, or an address".to_owned())?;
        Ok(Self { address: end.ip(), port: end.port() })
    }
}

/// Why nothing was explained.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// One end is IPv4, the other IPv6.
    #[error("source and destination are of one family; both IPv4 or both IPv6")]
    Families,
    /// The daemon did not answer, or refused.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Intent cannot be read or is wrong.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// Intent lacks the node.
    #[error(transparent)]
    Node(#[from] NodeMissing),
    /// There is no such profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The node has no such interface.
    #[error("node {node} has no interface `{interface}`; its interfaces are: {}", known.join(", "))]
    Interface {
        /// The node.
        node: String,
        /// What was asked for.
        interface: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The connection is another interface's.
    #[error(transparent)]
    NoEnd(#[from] NoEnd),
}

/// Explains a connection, by a daemon or by intent alone.
///
/// # Errors
/// [`ExplainError`].
pub fn run(arguments: &Arguments) -> Result<String, ExplainError> {
    let (source, destination) = (arguments.source, arguments.destination);
    if source.address.is_ipv4() != destination.address.is_ipv4() {
        return Err(ExplainError::Families);
    }
    let explanation = match (&arguments.intent, &arguments.node) {
        (Some(intent), Some(node)) => {
            let intent = intent_files::read([intent])?;
            let profile = Profile::named(&arguments.profile)?;
            let timeline = Timeline::compile(node, &intent, Vec::new())?;
            by_intent(&timeline.into_first(), profile, arguments)?
        }
        _ => by_daemon(arguments)?,
    };
    Ok(match arguments.output {
        Output::Table => text(&explanation),
        Output::Json => serde_json::to_string_pretty(&explanation)
            .map_err(|error| DaemonError::Nonsense(error.to_string()))?,
    })
}

fn by_daemon(arguments: &Arguments) -> Result<Explanation, DaemonError> {
    let request = ExplainOffloadRequest {
        interface: arguments.interface.clone(),
        protocol: arguments.protocol.0.into(),
        source: arguments.source.address.to_string(),
        destination: arguments.destination.address.to_string(),
        source_port: arguments.source.port.into(),
        destination_port: arguments.destination.port.into(),
    };
    let answer = arguments
        .daemon
        .call(async |mut client| Ok(client.explain_offload(request).await?.into_inner()))?;
    serde_json::from_str(&answer.explanation)
        .map_err(|error| DaemonError::Nonsense(error.to_string()))
}

fn by_intent(
    snapshot: &Snapshot,
    profile: Profile,
    arguments: &Arguments,
) -> Result<Explanation, ExplainError> {
    let interface = interface(snapshot, &arguments.interface).ok_or_else(|| {
        let mut known: Vec<String> =
            snapshot.interfaces.values().map(|interface| interface.name.clone()).collect();
        known.sort_unstable();
        ExplainError::Interface {
            node: snapshot.node.name.clone(),
            interface: arguments.interface.clone(),
            known,
        }
    })?;
    let (source, destination) = (arguments.source, arguments.destination);
    let tuple = Tuple::new(
        source.address,
        destination.address,
        arguments.protocol.0,
        source.port,
        destination.port,
    );
    let vfs = snapshot.interfaces.values().map(|interface| interface.vf);
    let nic = Nic::new(Arc::new(profile), simulated_ports(vfs));
    let header = |tunnel| tunnel_header(snapshot, &HashMap::<_, _>::new(), tunnel);
    Ok(explain(&nic, snapshot, header, &Asked { interface, tuple })?)
}

/// The interface of a name, or of a VF.
fn interface(snapshot: &Snapshot, name: &str) -> Option<InterfaceId> {
    let by_name = snapshot.interfaces.values().find(|interface| interface.name == name);
    let by_vf = || {
        let vf = name.strip_prefix("vf")?.parse().ok()?;
        snapshot.interface_of_vf(VfIndex(vf))
    };
    by_name.or_else(by_vf).map(|interface| interface.id)
}

/// For people.
fn text(explanation: &Explanation) -> String {
    let mut text = format!("profile {}", explanation.profile);
    if let Some(reason) = &explanation.dropped {
        let _ = write!(text, "\nthe connection does not come about: {reason}");
    }
    for direction in &explanation.directions {
        text.push_str("\n\n");
        text.push_str(&of_direction(direction));
    }
    text
}

fn of_direction(direction: &ExplainedDirection) -> String {
    let mut text = format!(
        "{}, from {}\n  decision: {}",
        direction.packets, direction.from, direction.decision
    );
    let mut list = |title: &str, rules: &[String]| {
        if !rules.is_empty() {
            let _ = write!(text, "\n  {title}:");
            for rule in rules {
                let _ = write!(text, "\n    {rule}");
            }
        }
    };
    list("the contract's rule", direction.contract.as_slice());
    for pass in &direction.passes {
        list(&format!("after {}", pass.name), &pass.rules);
    }
    let unchanged: Vec<&str> = direction
        .passes
        .iter()
        .filter(|pass| pass.rules.is_empty())
        .map(|pass| pass.name.as_str())
        .collect();
    list("it builds upon", &direction.builds_upon);
    if !unchanged.is_empty() {
        let _ = write!(text, "\n  without change: {}", unchanged.join(", "));
    }
    let verdict = match direction.verdict {
        Place::Hardware => "hardware",
        Place::Software => "software",
        Place::Nowhere => "dropped",
    };
    let _ = write!(text, "\n  verdict: {verdict}");
    if let Some(reason) = &direction.reason {
        let _ = write!(text, ", {reason}");
    }
    if let Some(message) = &direction.message {
        let _ = write!(text, ": {message}");
    }
    if let Some(now) = &direction.now {
        let _ = write!(text, "\n  now: {now}");
    }
    text
}
