//! Addresses of the link and of the underlay, as types whose constructors check.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why a text or number is not an address of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not six hexadecimal octets separated by colons.
    #[error("`{0}` is not a MAC address; write six octets, for example 02:00:00:00:00:01")]
    MacSyntax(String),
    /// A group address where one station is meant.
    #[error("`{0}` is a group MAC address; an interface needs a unicast one")]
    MacNotUnicast(Mac),
    /// A VNI outside 1..=16777215.
    #[error("VNI {0} is outside 1..=16777215 (0 is reserved)")]
    Vni(u64),
    /// Not an address a tunnel can end at.
    #[error("`{0}` cannot be a VTEP address; it must be a unicast address of the underlay")]
    Vtep(IpAddr),
    /// Not an IP address.
    #[error("`{0}` is not an IP address")]
    IpSyntax(String),
}

/// An Ethernet address as it stands in a header (IEEE 802, 48 bits); any value.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
    Serialize,
    Deserialize,
)]
#[serde(try_from = "String", into = "String")]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set (multicast and broadcast).
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address itself when it can name one station: neither a group nor all zeros.
    ///
    /// # Errors
    /// [`AddressError::MacNotUnicast`] otherwise.
    pub fn unicast(self) -> Result<Self, AddressError> {
        if self.is_group() || self.0 == [0; 6] {
            Err(AddressError::MacNotUnicast(self))
        } else {
            Ok(self)
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|octet| write!(f, ":{octet:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AddressError::MacSyntax(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(wrong)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(octets)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// A VXLAN network identifier (RFC 7348): 24 bits, and never 0, which is reserved here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The smallest VNI.
    pub const MIN: Self = Self(1);
    /// The largest VNI.
    pub const MAX: Self = Self(0x00ff_ffff);

    /// The number, in 1..=16777215.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Vni {
    type Error = AddressError;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        match u32::try_from(number) {
            Ok(n) if (1..=Self::MAX.0).contains(&n) => Ok(Self(n)),
            _ => Err(AddressError::Vni(number)),
        }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The underlay address at which a tunnel ends: unicast, IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "IpAddr", into = "IpAddr")]
pub struct VtepAddr(IpAddr);

impl VtepAddr {
    /// The IP address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl TryFrom<IpAddr> for VtepAddr {
    type Error = AddressError;

    fn try_from(ip: IpAddr) -> Result<Self, Self::Error> {
        let usable = match ip {
            IpAddr::V4(a) => !(a.is_broadcast() || a.is_multicast() || a.octets()[0] == 0),
            IpAddr::V6(a) => {
                !(a.is_multicast() || a.is_unspecified()) && a.to_ipv4_mapped().is_none()
            }
        };
        if usable && !ip.is_loopback() { Ok(Self(ip)) } else { Err(AddressError::Vtep(ip)) }
    }
}

impl FromStr for VtepAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpAddr>().map_err(|_| AddressError::IpSyntax(text.to_owned()))?.try_into()
    }
}

impl From<VtepAddr> for IpAddr {
    fn from(vtep: VtepAddr) -> Self {
        vtep.0
    }
}

impl fmt::Display for VtepAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
