//! Where frames go in and come out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A port of the NIC under test; its number is that of its ethdev in testpmd.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Port {
    /// The wire; ethdev 0.
    Uplink,
    /// VF 0; represented by ethdev 1.
    Vf0,
    /// VF 1; represented by ethdev 2.
    Vf1,
}

impl Port {
    /// All of them, in the order of their ethdevs.
    pub const ALL: [Self; 3] = [Self::Uplink, Self::Vf0, Self::Vf1];

    /// The ethdev's number.
    #[must_use]
    pub const fn number(self) -> usize {
        match self {
            Self::Uplink => 0,
            Self::Vf0 => 1,
            Self::Vf1 => 2,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Vf0 => "vf0",
            Self::Vf1 => "vf1",
        }
    }
}

/// One of the two sides of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The entity that the ethdev represents, written `vf0`: frames that a VM or the wire sends and receives.
    Entity(Port),
    /// The application, written `app/vf0`: frames that it sends and receives through the ethdev.
    Application(Port),
}

impl Place {
    /// All of them; [`Self::index`] is the position here.
    pub const ALL: [Self; 6] = [
        Self::Entity(Port::Uplink),
        Self::Entity(Port::Vf0),
        Self::Entity(Port::Vf1),
        Self::Application(Port::Uplink),
        Self::Application(Port::Vf0),
        Self::Application(Port::Vf1),
    ];

    /// The position in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Entity(port) => port.number(),
            Self::Application(port) => Port::ALL.len() + port.number(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entity(port) => f.write_str(port.name()),
            Self::Application(port) => write!(f, "app/{}", port.name()),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(|place| place.to_string()).join(", ");
        Self::ALL
            .into_iter()
            .find(|place| place.to_string() == text)
            .ok_or_else(|| format!("`{text}` is no place; use one of {}", all()))
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
