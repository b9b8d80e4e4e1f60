//! Actions in a dump: those that decide where a packet goes and what becomes of it.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use packet::Mac;
use rte_flow::{
    Action, ActionKind, FieldId, FieldRef, ModifyField, ModifyOperation, ModifySource, RawEncap,
    SetMeta, SetTag,
};
use serde::{Deserialize, Serialize};

/// An action, by testpmd's word.
#[derive(Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum ActionText {
    Void,
    Flag,
    Drop,
    Passthru,
    Count {
        identifier: u32,
    },
    Jump {
        group: u32,
    },
    Mark {
        id: u32,
    },
    RepresentedPort {
        port: u16,
    },
    PortRepresentor {
        port: u16,
    },
    VxlanDecap,
    RawEncap {
        data: String,
    },
    ModifyField {
        operation: Operation,
        destination: Part,
        width: u32,
        #[serde(flatten)]
        source: Source,
    },
    SetTag {
        index: u8,
        data: u32,
        mask: u32,
    },
    SetMeta {
        data: u32,
        mask: u32,
    },
    SetMacSrc {
        mac: String,
    },
    SetMacDst {
        mac: String,
    },
    SetIpv4Src {
        address: Ipv4Addr,
    },
    SetIpv4Dst {
        address: Ipv4Addr,
    },
    SetIpv6Src {
        address: Ipv6Addr,
    },
    SetIpv6Dst {
        address: Ipv6Addr,
    },
    /// One that is known by its name alone.
    Other {
        name: String,
    },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Set,
    Add,
    Sub,
}

/// A field, or part of one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    field: String,
    level: u32,
    offset: u32,
}

/// Where new bits come from.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A number, presented as the whole destination field.
    Value(String),
    /// A field.
    From(Part),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "data is an even number of hexadecimal digits".to_owned();
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(wrong());
    }
    let byte = |at: usize| text.get(at..at + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
    (0..text.len()).step_by(2).map(|at| byte(at).ok_or_else(wrong)).collect()
}

impl From<&FieldRef> for Part {
    fn from(part: &FieldRef) -> Self {
        let FieldRef { field, level, offset } = *part;
        Self { field: field.name().to_owned(), level, offset }
    }
}

impl Part {
    fn field(&self) -> Result<FieldRef, String> {
        let field = FieldId::ALL.iter().find(|field| field.name() == self.field);
        let field = *field.ok_or_else(|| format!("there is no field `{}`", self.field))?;
        Ok(FieldRef { field, level: self.level, offset: self.offset })
    }
}

impl From<&Action> for ActionText {
    fn from(action: &Action) -> Self {
        match action {
            Action::Void => Self::Void,
            Action::Flag => Self::Flag,
            Action::Drop => Self::Drop,
            Action::Passthru => Self::Passthru,
            Action::Count(identifier) => Self::Count { identifier: *identifier },
            Action::Jump(group) => Self::Jump { group: *group },
            Action::Mark(id) => Self::Mark { id: *id },
            Action::RepresentedPort(port) => Self::RepresentedPort { port: *port },
            Action::PortRepresentor(port) => Self::PortRepresentor { port: *port },
            Action::VxlanDecap => Self::VxlanDecap,
            Action::RawEncap(RawEncap { data, preserve: None }) => {
                Self::RawEncap { data: hex(data) }
            }
            Action::ModifyField(modify) => Self::ModifyField {
                operation: match modify.operation {
                    ModifyOperation::Set => Operation::Set,
                    ModifyOperation::Add => Operation::Add,
                    ModifyOperation::Sub => Operation::Sub,
                },
                destination: Part::from(&modify.destination),
                width: modify.width,
                source: match &modify.source {
                    ModifySource::Field(part) => Source::From(part.into()),
                    _ => Source::Value(format!("{:#x}", modify.number().unwrap_or(0))),
                },
            },
            Action::SetTag(SetTag { data, mask, index }) => {
                Self::SetTag { index: *index, data: *data, mask: *mask }
            }
            Action::SetMeta(SetMeta { data, mask }) => Self::SetMeta { data: *data, mask: *mask },
            Action::SetMacSrc(mac) => Self::SetMacSrc { mac: mac.to_string() },
            Action::SetMacDst(mac) => Self::SetMacDst { mac: mac.to_string() },
            Action::SetIpv4Src(address) => Self::SetIpv4Src { address: *address },
            Action::SetIpv4Dst(address) => Self::SetIpv4Dst { address: *address },
            Action::SetIpv6Src(address) => Self::SetIpv6Src { address: *address },
            Action::SetIpv6Dst(address) => Self::SetIpv6Dst { address: *address },
            other => Self::Other { name: other.kind().name().to_owned() },
        }
    }
}

impl ActionText {
    /// The action. One that is known by its name alone comes without its configuration; it is not followed anyway.
    pub fn action(&self) -> Result<Action, String> {
        let mac = |text: &String| -> Result<Mac, String> {
            text.parse().map_err(|_| format!("`{text}` is no MAC address"))
        };
        Ok(match self {
            Self::Void => Action::Void,
            Self::Flag => Action::Flag,
            Self::Drop => Action::Drop,
            Self::Passthru => Action::Passthru,
            Self::Count { identifier } => Action::Count(*identifier),
            Self::Jump { group } => Action::Jump(*group),
            Self::Mark { id } => Action::Mark(*id),
            Self::RepresentedPort { port } => Action::RepresentedPort(*port),
            Self::PortRepresentor { port } => Action::PortRepresentor(*port),
            Self::VxlanDecap => Action::VxlanDecap,
            Self::RawEncap { data } => {
                Action::RawEncap(RawEncap { data: bytes(data)?, preserve: None })
            }
            Self::ModifyField { operation, destination, width, source } => {
                let destination = destination.field()?;
                let operation = match operation {
                    Operation::Set => ModifyOperation::Set,
                    Operation::Add => ModifyOperation::Add,
                    Operation::Sub => ModifyOperation::Sub,
                };
                Action::ModifyField(match source {
                    Source::From(part) => ModifyField {
                        operation,
                        destination,
                        source: ModifySource::Field(part.field()?),
                        width: *width,
                    },
                    Source::Value(text) => {
                        let digits = text.strip_prefix("0x").unwrap_or_default();
                        let number = u128::from_str_radix(digits, 16)
                            .map_err(|_| format!("`{text}` is no number; write it like 0x1f"))?;
                        ModifyField::immediate(operation, destination, *width, number)
                    }
                })
            }
            Self::SetTag { index, data, mask } => {
                Action::SetTag(SetTag { data: *data, mask: *mask, index: *index })
            }
            Self::SetMeta { data, mask } => Action::SetMeta(SetMeta { data: *data, mask: *mask }),
            Self::SetMacSrc { mac: text } => Action::SetMacSrc(mac(text)?),
            Self::SetMacDst { mac: text } => Action::SetMacDst(mac(text)?),
            Self::SetIpv4Src { address } => Action::SetIpv4Src(*address),
            Self::SetIpv4Dst { address } => Action::SetIpv4Dst(*address),
            Self::SetIpv6Src { address } => Action::SetIpv6Src(*address),
            Self::SetIpv6Dst { address } => Action::SetIpv6Dst(*address),
            Self::Other { name } => {
                let kind = ActionKind::ALL.iter().find(|kind| kind.name() == name);
                let kind = kind.ok_or_else(|| format!("there is no action `{name}`"))?;
                Action::zeroed(*kind)
                    .ok_or_else(|| format!("action `{name}` says nothing without more"))?
            }
        })
    }
}
