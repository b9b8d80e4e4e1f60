//! Refusals as cases expect them and as testpmd prints them.

use std::fmt;

use rustix::io::Errno;
use serde::{Deserialize, Deserializer, de::Error as _};

/// Errnos by the names that cases use.
const ERRNOS: [(&str, Errno); 16] = [
    ("E2BIG", Errno::TOOBIG),
    ("EAGAIN", Errno::AGAIN),
    ("EBUSY", Errno::BUSY),
    ("EEXIST", Errno::EXIST),
    ("EINVAL", Errno::INVAL),
    ("EIO", Errno::IO),
    ("ENODEV", Errno::NODEV),
    ("ENOENT", Errno::NOENT),
    ("ENOMEM", Errno::NOMEM),
    ("ENOSPC", Errno::NOSPC),
    ("ENOSYS", Errno::NOSYS),
    ("ENOTSUP", Errno::NOTSUP),
    ("ENXIO", Errno::NXIO),
    ("EPERM", Errno::PERM),
    ("ERANGE", Errno::RANGE),
    ("EREMOTEIO", Errno::REMOTEIO),
];

/// Sizes of the structures that testpmd lays out in a row, in bytes: `struct rte_flow_item`, `struct rte_flow_action`.
const ITEM: u64 = 32;
const ACTION: u64 = 16;

/// `enum rte_flow_error_type`; cases write the names in lower case, without `RTE_FLOW_ERROR_TYPE_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    None,
    Unspecified,
    Handle,
    AttrGroup,
    AttrPriority,
    AttrIngress,
    AttrEgress,
    AttrTransfer,
    Attr,
    ItemNum,
    ItemSpec,
    ItemLast,
    ItemMask,
    Item,
    ActionNum,
    ActionConf,
    Action,
    State,
}

/// What a refusal's cause points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Nothing.
    Nothing,
    /// The attributes.
    Attributes,
    /// An item of the pattern, from 0.
    Item(u64),
    /// An action, from 0.
    Action(u64),
}

/// What a case expects of a refusal.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The type.
    #[serde(rename = "type")]
    kind: Kind,
    /// The errno.
    #[serde(deserialize_with = "errno")]
    errno: Errno,
    /// What the cause points to, where the simulated NIC must say so.
    at: Option<At>,
    /// Words of the simulated NIC's message.
    says: Option<String>,
}

/// A refusal that testpmd printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Printed {
    /// The type's number.
    kind: u32,
    /// The address that the cause points to.
    cause: Option<u64>,
    /// The driver's message.
    message: String,
    /// The errno in words.
    errno: String,
}

/// Where testpmd keeps the pattern that it passes: at the same address for every command of a run.
///
/// The first cause that a case expects in a pattern or action list tells the address; all others must agree with it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Arrays {
    pattern: Option<u64>,
}

impl Printed {
    /// The refusal in what testpmd printed, if there is one.
    pub fn find(output: &str) -> Option<Self> {
        let line = output.lines().find_map(|line| line.split_once("Caught PMD error type "))?.1;
        let (kind, rest) = line.split_once(" (")?;
        let (_, rest) = rest.split_once("): ")?;
        let (rest, errno) = rest.rsplit_once(": ")?;
        let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let (cause, message) = match rest.strip_prefix("cause: ").and_then(|r| r.split_once(", ")) {
            Some((cause, message)) => (address(cause), message),
            None => (None, rest),
        };
        Some(Self {
            kind: kind.parse().ok()?,
            cause,
            message: message.to_owned(),
            errno: errno.trim().to_owned(),
        })
    }
}

impl Refusal {
    /// What of a refusal of this command is not as expected, in words.
    ///
    /// `strict`: message and cause are looked at too; those of a real NIC's driver are its own.
    pub fn differs(
        &self,
        printed: &Printed,
        command: &str,
        arrays: &mut Arrays,
        strict: bool,
    ) -> Option<String> {
        let kind = self.kind as u32;
        if printed.kind != kind {
            return Some(format!("type {}, expected {kind} ({:?})", printed.kind, self.kind));
        }
        let errno = words(self.errno);
        if printed.errno != errno {
            return Some(format!("errno \"{}\", expected \"{errno}\"", printed.errno));
        }
        if !strict {
            return None;
        }
        if let Some(says) = self.says.as_ref().filter(|says| !printed.message.contains(*says)) {
            return Some(format!("message \"{}\", expected \"{says}\" in it", printed.message));
        }
        let expected = self.at?;
        match (arrays.place(expected, command), printed.cause) {
            (Place::Nowhere, None) | (Place::Anywhere, Some(_)) => None,
            (Place::Address(expected), Some(cause)) if expected == cause => None,
            (Place::Below(top), Some(cause)) if cause < top && top - cause < 4096 => None,
            (Place::Unknown(offset), Some(cause)) => {
                arrays.pattern = cause.checked_sub(offset);
                None
            }
            (_, cause) => Some(format!(
                "cause {}, expected {expected:?}",
                cause.map_or("nothing".to_owned(), |cause| arrays.describe(cause, command))
            )),
        }
    }
}

/// Where a cause should point.
enum Place {
    Nowhere,
    Anywhere,
    Address(u64),
    /// Somewhere before this address.
    Below(u64),
    /// This far behind the pattern, whose address is not known yet.
    Unknown(u64),
}

impl Arrays {
    fn place(&self, at: At, command: &str) -> Place {
        let offset = match at {
            At::Nothing => return Place::Nowhere,
            At::Attributes => return self.pattern.map_or(Place::Anywhere, Place::Below),
            At::Item(index) => index * ITEM,
            At::Action(index) => actions_offset(command) + index * ACTION,
        };
        self.pattern.map_or(Place::Unknown(offset), |pattern| Place::Address(pattern + offset))
    }

    fn describe(&self, cause: u64, command: &str) -> String {
        let Some(offset) = self.pattern.and_then(|pattern| cause.checked_sub(pattern)) else {
            return format!("{cause:#x}");
        };
        let actions = actions_offset(command);
        match offset.checked_sub(actions) {
            Some(offset) => format!("action {} and {} bytes", offset / ACTION, offset % ACTION),
            None => format!("item {} and {} bytes", offset / ITEM, offset % ITEM),
        }
    }
}

/// How far behind the pattern the actions lie: behind all its items, END included.
fn actions_offset(command: &str) -> u64 {
    let mut words = command.split(' ').skip_while(|word| *word != "pattern");
    let items = words.by_ref().take_while(|word| *word != "actions").filter(|word| *word == "/");
    let slashes = items.count() as u64;
    // Without a pattern the actions lie in its place.
    if slashes == 0 { 0 } else { (slashes + 1) * ITEM }
}

/// An errno as `strerror` words it.
fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn errno<'de, D: Deserializer<'de>>(from: D) -> Result<Errno, D::Error> {
    let name = String::deserialize(from)?;
    ERRNOS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, errno)| *errno)
        .ok_or_else(|| D::Error::custom(format!("`{name}` is no errno that the suite knows")))
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let at = match text.split_once(' ') {
            None if text == "nothing" => Some(Self::Nothing),
            None if text == "attributes" => Some(Self::Attributes),
            Some(("item", index)) => index.parse().ok().map(Self::Item),
            Some(("action", index)) => index.parse().ok().map(Self::Action),
            _ => None,
        };
        at.ok_or_else(|| {
            D::Error::custom(format!("`{text}` is none of nothing, attributes, item N, action N"))
        })
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {}, {}: {}", self.kind, self.errno, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "flow create 1 transfer pattern eth / ipv4 / end actions count / drop / end";

    fn printed(cause: u64) -> Printed {
        let line = format!(
            "flow x\nport_flow_complain(): Caught PMD error type 16 (specific action): cause: {cause:#x}, \
             no: not here: Operation not supported\ntestpmd> "
        );
        Printed::find(&line).unwrap()
    }

    fn expected(at: At) -> Refusal {
        Refusal { kind: Kind::Action, errno: Errno::NOTSUP, at: Some(at), says: None }
    }

    #[test]
    fn a_refusal_is_taken_apart() {
        let seen = printed(0x7f00);
        assert_eq!((seen.kind, seen.cause), (16, Some(0x7f00)));
        assert_eq!(seen.message, "no: not here");
        assert_eq!(seen.errno, "Operation not supported");
        assert_eq!(Printed::find("Flow rule #0 created\n"), None);
        let bare = "port_flow_complain(): Caught PMD error type 1 (cause unspecified): no: Invalid argument";
        assert_eq!(Printed::find(bare).unwrap().cause, None);
    }

    #[test]
    fn causes_lie_where_testpmd_keeps_its_arrays() {
        let mut arrays = Arrays::default();
        let mut differs =
            |at, cause| expected(at).differs(&printed(cause), RULE, &mut arrays, true);
        assert_eq!(differs(At::Attributes, 0x0fd0), None, "not known yet");
        // The first one tells where the pattern is: three items before the actions.
        assert_eq!(differs(At::Action(1), 0x1000 + 3 * 32 + 16), None);
        assert_eq!(differs(At::Item(1), 0x1020), None);
        assert_eq!(differs(At::Action(0), 0x1060), None);
        assert_eq!(differs(At::Attributes, 0x0fd0), None);
        assert!(differs(At::Item(0), 0x1020).is_some_and(|text| text.contains("item 1 and 0")));
        assert!(differs(At::Nothing, 0x1020).is_some());
        assert!(differs(At::Attributes, 0x1020).is_some());
    }

    #[test]
    fn type_errno_and_words_are_compared() {
        let mut arrays = Arrays::default();
        let mut refusal = expected(At::Item(0));
        refusal.says = Some("elsewhere".to_owned());
        let differs = refusal.differs(&printed(0), RULE, &mut arrays, true);
        assert!(differs.is_some_and(|text| text.contains("elsewhere")));
        assert_eq!(refusal.differs(&printed(0), RULE, &mut arrays, false), None);
        refusal.errno = Errno::INVAL;
        assert!(refusal.differs(&printed(0), RULE, &mut arrays, false).is_some());
    }
}
