//! What names a VF so that host and DPU mean the same one: names of interfaces and PCI addresses differ between them, and
//! change.

use std::fmt;
use std::str::FromStr;

use packet::Mac;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::name::{name, shortened};

/// A text that names no card and no VF.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VfIdError {
    /// Not a card's serial number.
    #[error("`{0}` is no serial number of a card: 1 to 64 letters, digits, `-`, `_`, `.` or `:`")]
    Serial(String),
    /// Not the number of a VF.
    #[error("`{0}` is no VF; write vf0, vf1, ...")]
    Vf(String),
    /// Not all of a VF's name.
    #[error(
        "`{0}` names no VF of a card; write SERIAL/PF-MAC/vfN, for example MT2334X00001/b8:3f:d2:00:00:01/vf3 (`-` for a card without a serial number)"
    )]
    VfId(String),
}

/// `-` alone stands for no serial number.
fn is_serial(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=64).contains(&text.len()) && text.bytes().all(plain) && text != "-"
}

name! {
    /// The serial number of a card, from its VPD or its Device Serial Number capability.
    CardSerial, is_serial, VfIdError::Serial as VfIdError
}

/// The number of a VF in its PF, from 0: the `vf` of an Interface in intent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VfNumber(pub u16);

impl fmt::Display for VfNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vf{}", self.0)
    }
}

impl FromStr for VfNumber {
    type Err = VfIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("vf").filter(|d| *d == "0" || !d.starts_with(['0', '+']));
        digits
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| VfIdError::Vf(shortened(text)))
    }
}

/// A VF, by what host and DPU both see of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VfId {
    /// The card; none where it has no serial number.
    pub card: Option<CardSerial>,
    /// The MAC address of the PF.
    pub pf: Mac,
    /// The VF's number in the PF.
    pub vf: VfNumber,
}

impl fmt::Display for VfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let card = self.card.as_ref().map_or("-", CardSerial::as_str);
        write!(f, "{card}/{}/{}", self.pf, self.vf)
    }
}

impl fmt::Debug for VfId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VfId {
    type Err = VfIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (card, rest) = text.split_once('/')?;
            let (pf, vf) = rest.split_once('/')?;
            Some(Self {
                card: if card == "-" { None } else { Some(card.parse().ok()?) },
                pf: pf.parse::<Mac>().ok()?.unicast().ok()?,
                vf: vf.parse().ok()?,
            })
        };
        parse().ok_or_else(|| VfIdError::VfId(shortened(text)))
    }
}

impl TryFrom<String> for VfId {
    type Error = VfIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<VfId> for String {
    fn from(id: VfId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form_of_each_name() {
        for good in ["MT2334X00001/b8:3f:d2:00:00:01/vf3", "-/b8:3f:d2:00:00:01/vf0"] {
            assert_eq!(good.parse::<VfId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "/b8:3f:d2:00:00:01/vf0",
            "S/b8:3f:d2:00:00:01/3",
            "S/01:00:5e:00:00:01/vf0",
            "S/b8:3f:d2:00:00:01/vf01",
            "S/b8:3f:d2:00:00:01/vf65536",
        ] {
            assert!(bad.parse::<VfId>().is_err(), "{bad}");
        }
        assert!("-".parse::<CardSerial>().is_err());
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,40}|[-A-Z0-9]{1,4}/[0-9a-f:]{17}/vf[0-9+]{1,6}") {
            if let Ok(id) = text.parse::<VfId>() {
                prop_assert_eq!(id.to_string().parse::<VfId>(), Ok(id));
            }
        }
    }
}
