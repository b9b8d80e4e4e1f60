//! The dump: what is in a NIC's tables, and what the node knows of ports, interfaces and connections. JSON lines; the format is
//! told in `docs/reference/verify.md`.

mod action;
mod item;

use std::io::{self, BufRead, Write};
use std::net::IpAddr;

use packet::Mac;
use rte_flow::{Attributes, Domain, Rule};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use action::ActionText;
use item::ItemText;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// What the node knows.
    pub node: Node,
    /// The rules.
    pub rules: Vec<DumpedRule>,
}

/// The first line: the node and its NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Node {
    /// [`FORMAT`].
    pub format: u32,
    /// The node's name.
    pub name: String,
    /// The NIC's profile.
    pub profile: String,
    /// The ethdev port of the wire; the rules were made through it.
    pub uplink: u16,
    /// The ethdev ports of VFs.
    pub vfs: Vec<VfPort>,
    /// The node's VTEP.
    pub vtep: IpAddr,
    /// MAC of the uplink: the outer source.
    #[serde(with = "mac")]
    pub mac: Mac,
    /// The VPCs.
    pub vpcs: Vec<Vpc>,
    /// The node's own interfaces.
    pub interfaces: Vec<Interface>,
    /// The tunnels to other nodes.
    pub tunnels: Vec<Tunnel>,
}

/// A VF's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VfPort {
    /// The VF.
    pub vf: u16,
    /// Its representor's ethdev port.
    pub port: u16,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vpc {
    /// Its name.
    pub name: String,
    /// Its VNI.
    pub vni: u32,
}

/// An interface of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its VPC's name.
    pub vpc: String,
    /// Its VF.
    pub vf: u16,
    /// Its MAC.
    #[serde(with = "mac")]
    pub mac: Mac,
    /// Whether it may use only its own MAC and addresses.
    pub anti_spoof: bool,
    /// Whether it takes part at all.
    pub enabled: bool,
}

/// A tunnel: one remote node, for one VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tunnel {
    /// Its number.
    pub id: u32,
    /// The remote node.
    pub node: String,
    /// Its VTEP.
    pub vtep: IpAddr,
    /// VNI of the VPC.
    pub vni: u32,
    /// DSCP of the outer header.
    pub dscp: u8,
    /// The next hop's MAC, where it is known.
    #[serde(with = "mac::maybe", default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Mac>,
}

/// A rule that packets may meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpedRule {
    /// Where it is on its way.
    pub phase: Phase,
    /// What it is for.
    pub serves: Serves,
    /// The rule.
    pub rule: Rule,
}

/// Where a rule is on its way into the NIC and out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The NIC has acknowledged it, and it is to stay.
    Installed,
    /// It is on its way in or out, or nobody knows: what it was made for may hold no longer.
    Moving,
}

/// What a rule is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Serves {
    /// A direction of a connection.
    Connection(Box<Connection>),
    /// All packets of an interface.
    Interface(String),
    /// All packets into a tunnel.
    Tunnel(u32),
    /// All interfaces.
    All,
    /// Something that is no more.
    Gone,
}

/// One direction of a connection, as software holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Connection {
    /// The interface at which its packets meet the pipeline.
    pub interface: String,
    /// From which side they do.
    pub side: Side,
    /// The IP protocol.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: u16,
    /// The VTEP they come from, on the network side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer_source: Option<IpAddr>,
    /// The MACs that they leave with, where those are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<Macs>,
    /// Where they go.
    pub output: Output,
    /// The longest IP packet that may go there, bytes.
    pub mtu: u16,
}

/// A side of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Its VM.
    Vm,
    /// The network.
    Network,
}

/// Both MACs of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Macs {
    /// Source.
    #[serde(with = "mac")]
    pub source: Mac,
    /// Destination.
    #[serde(with = "mac")]
    pub destination: Mac,
}

/// Where a connection's packets go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Output {
    /// To an interface of the node.
    Interface(String),
    /// Into a tunnel.
    Tunnel(u32),
}

/// Why a dump cannot be read.
#[derive(Debug, Error)]
pub enum DumpError {
    /// The file.
    #[error("the dump cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line.
    #[error("line {line} of the dump: {error}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// There is nothing.
    #[error(
        "the dump is empty; `penstock verify --save FILE` and `penstock replay --dump-rules FILE` write one"
    )]
    Empty,
    /// Another version.
    #[error(
        "the dump has format {0}, and this command reads format {FORMAT}; write it with the same version"
    )]
    Format(u32),
    /// Part of a rule that is no item or action.
    #[error("line {line} of the dump: {message}")]
    Rule {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

/// A rule's line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleLine {
    phase: Phase,
    serves: Serves,
    group: u32,
    priority: u32,
    domain: DomainText,
    pattern: Vec<ItemText>,
    actions: Vec<ActionText>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DomainText {
    Ingress,
    Egress,
    Transfer,
}

impl From<Domain> for DomainText {
    fn from(domain: Domain) -> Self {
        match domain {
            Domain::Ingress => Self::Ingress,
            Domain::Egress => Self::Egress,
            Domain::Transfer => Self::Transfer,
        }
    }
}

impl From<DomainText> for Domain {
    fn from(text: DomainText) -> Self {
        match text {
            DomainText::Ingress => Self::Ingress,
            DomainText::Egress => Self::Egress,
            DomainText::Transfer => Self::Transfer,
        }
    }
}

impl Node {
    /// The line, with its end.
    ///
    /// # Panics
    /// Never: it has a JSON form.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("a node has a JSON form") + "\n"
    }
}

impl DumpedRule {
    /// The line, with its end.
    ///
    /// # Panics
    /// Never: it has a JSON form.
    #[must_use]
    pub fn line(&self) -> String {
        let Attributes { group, priority, domain } = self.rule.attributes;
        let line = RuleLine {
            phase: self.phase,
            serves: self.serves.clone(),
            group,
            priority,
            domain: domain.into(),
            pattern: self.rule.pattern.iter().map(ItemText::from).collect(),
            actions: self.rule.actions.iter().map(ActionText::from).collect(),
        };
        serde_json::to_string(&line).expect("a rule has a JSON form") + "\n"
    }

    fn read(text: &str, line: usize) -> Result<Self, DumpError> {
        let read: RuleLine =
            serde_json::from_str(text).map_err(|error| DumpError::Line { line, error })?;
        let wrong = |message| DumpError::Rule { line, message };
        let RuleLine { phase, serves, group, priority, domain, pattern, actions } = read;
        let rule = Rule {
            attributes: Attributes { group, priority, domain: domain.into() },
            pattern: pattern.iter().map(ItemText::item).collect::<Result<_, _>>().map_err(wrong)?,
            actions: actions
                .iter()
                .map(ActionText::action)
                .collect::<Result<_, _>>()
                .map_err(wrong)?,
        };
        Ok(Self { phase, serves, rule })
    }
}

impl Dump {
    /// Reads what [`Self::write`] writes.
    ///
    /// # Errors
    /// [`DumpError`] says where and what is wrong; nothing of it is used then.
    pub fn read(input: impl BufRead) -> Result<Self, DumpError> {
        let mut lines = input.lines().enumerate();
        let (_, first) = lines.next().ok_or(DumpError::Empty)?;
        let first = first?;
        let wrong = |error| DumpError::Line { line: 1, error };
        let versioned: Versioned = serde_json::from_str(&first).map_err(wrong)?;
        if versioned.format != FORMAT {
            return Err(DumpError::Format(versioned.format));
        }
        let node = serde_json::from_str(&first).map_err(wrong)?;
        let rules = lines
            .map(|(number, line)| DumpedRule::read(&line?, number + 1))
            .collect::<Result<_, _>>()?;
        Ok(Self { node, rules })
    }

    /// Writes the lines.
    ///
    /// # Errors
    /// The output's.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(self.node.line().as_bytes())?;
        for rule in &self.rules {
            output.write_all(rule.line().as_bytes())?;
        }
        Ok(())
    }
}

/// What is read of any version.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// MACs as text.
mod mac {
    use packet::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| de::Error::custom(format!("`{text}` is no MAC address")))
    }

    pub mod maybe {
        use packet::Mac;
        use serde::{Deserialize, Deserializer, Serializer, de};

        #[expect(
            clippy::ref_option,
            clippy::trivially_copy_pass_by_ref,
            reason = "serde hands out references"
        )]
        pub fn serialize<S: Serializer>(
            mac: &Option<Mac>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match mac {
                Some(mac) => super::serialize(mac, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Mac>, D::Error> {
            let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
            let wrong = |_| de::Error::custom(format!("`{text}` is no MAC address"));
            text.parse().map(Some).map_err(wrong)
        }
    }
}
