//! The names of a host's network interfaces, which are its own: host and DPU call VFs by [`trust::vf`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text that is no name of a network interface.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no name of a network interface: 1 to 15 characters, no blanks and no `/`")]
pub struct InterfaceNameError(String);

/// The name of a network interface of the host.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if (1..=15).contains(&text.len()) && plain && text != "." && text != ".." {
            Ok(Self(text.to_owned()))
        } else {
            Err(InterfaceNameError(text.chars().take(80).flat_map(char::escape_debug).collect()))
        }
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InterfaceNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!("enp1s0f0np0".parse::<InterfaceName>().unwrap().as_str(), "enp1s0f0np0");
        for bad in ["", "..", "a b", "a/b", "sixteen-letters-"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
        }
    }
}
