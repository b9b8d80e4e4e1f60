//! Where a function is on the PCI buses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Domain, bus, device and function, as in `0000:03:00.1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// A text that names no PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no PCI address; write domain, bus, device and function, for example 0000:03:00.1"
)]
pub struct PciAddressError(String);

impl PciAddress {
    /// The bus.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The domain.
    #[must_use]
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// The device's number on its bus.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function's number in its device.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.device, self.function)
    }
}

impl fmt::Debug for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PciAddress {
    type Err = PciAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        /// Exactly the digits that the kernel writes: a name in sysfs has one form.
        fn hexadecimal(text: &str, least: usize, most: usize) -> Option<u32> {
            let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let long = text.len() > least && text.starts_with('0');
            ((least..=most).contains(&text.len()) && plain && !long)
                .then(|| u32::from_str_radix(text, 16).ok())?
        }
        let parse = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            Some(Self {
                domain: hexadecimal(domain, 4, 8)?,
                bus: hexadecimal(bus, 2, 2)? as u8,
                device: hexadecimal(device, 2, 2).filter(|device| *device < 32)? as u8,
                function: hexadecimal(function, 1, 1).filter(|function| *function < 8)? as u8,
            })
        };
        parse().ok_or_else(|| PciAddressError(super::shortened(text)))
    }
}

impl TryFrom<String> for PciAddress {
    type Error = PciAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form_only() {
        for good in ["0000:03:00.1", "10000:e1:1f.7", "ffff:00:00.0"] {
            assert_eq!(good.parse::<PciAddress>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "03:00.1",
            "0000:03:00.8",
            "0000:03:20.0",
            "0000:03:0.0",
            "00000:03:00.0",
            "0000:0A:00.0",
            "pci0000:00",
        ] {
            assert!(bad.parse::<PciAddress>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,20}|[0-9a-f:.]{0,16}") {
            if let Ok(address) = text.parse::<PciAddress>() {
                prop_assert_eq!(address.to_string(), text);
            }
        }
    }
}
