//! Which functions of a DPU's card belong to which host: the DPU's own view, against which each VF that a host names is
//! checked.

use std::collections::{BTreeMap, BTreeSet};

use packet::Mac;
use serde::Deserialize;
use thiserror::Error;

use crate::identity::HostName;
use crate::vf::{CardSerial, VfId};

/// A PF with its VFs, as its host has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostFunction {
    /// Whose it is.
    pub host: HostName,
    /// The card's serial number; none for one that has none.
    #[serde(default)]
    pub serial: Option<CardSerial>,
    /// The PF's MAC.
    pub pf_mac: Mac,
    /// How many VFs it may have.
    pub vfs: u16,
    /// What intent calls the PF's first VF: the `vf` of an Interface.
    #[serde(default)]
    pub first_vf: u16,
}

/// Functions that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FunctionsError {
    /// Two have one name.
    #[error("two have serial {serial} and pfMac {mac}; VFs would have one name twice")]
    SameName {
        /// The card.
        serial: String,
        /// The PF.
        mac: Mac,
    },
    /// No PF has such an address.
    #[error("pfMac {0} must be a unicast address")]
    Group(Mac),
    /// Two have one VF of intent.
    #[error("VF {0} of intent is the VF of two; check vfs and firstVf")]
    Overlap(u16),
    /// There are not so many.
    #[error("firstVf {first} and vfs {vfs} are more than 65536")]
    TooMany {
        /// The first.
        first: u16,
        /// How many.
        vfs: u16,
    },
}

/// All functions of a DPU that hosts have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions(BTreeMap<(Option<CardSerial>, Mac), HostFunction>);

impl Functions {
    /// Checks them.
    ///
    /// # Errors
    /// When two contradict each other.
    pub fn new(functions: &[HostFunction]) -> Result<Self, FunctionsError> {
        let mut all = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for function in functions {
            let HostFunction { vfs, first_vf: first, .. } = *function;
            let mac =
                function.pf_mac.unicast().map_err(|_| FunctionsError::Group(function.pf_mac))?;
            if u32::from(first) + u32::from(vfs) > 1 << 16 {
                return Err(FunctionsError::TooMany { first, vfs });
            }
            for vf in (first..=u16::MAX).take(vfs.into()) {
                if !taken.insert(vf) {
                    return Err(FunctionsError::Overlap(vf));
                }
            }
            let key = (function.serial.clone(), mac);
            if all.insert(key, function.clone()).is_some() {
                let serial = function.serial.as_ref().map_or("-", CardSerial::as_str).to_owned();
                return Err(FunctionsError::SameName { serial, mac });
            }
        }
        Ok(Self(all))
    }

    /// Whose a VF is, and what intent calls it; none when the DPU has no such VF.
    #[must_use]
    pub fn find(&self, vf: &VfId) -> Option<(&HostName, u16)> {
        let function = self.0.get(&(vf.card.clone(), vf.pf))?;
        let number = vf.vf.0;
        (number < function.vfs).then(|| (&function.host, function.first_vf + number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(host: &str, mac: u8, vfs: u16, first_vf: u16) -> HostFunction {
        HostFunction {
            host: host.parse().unwrap(),
            serial: Some("S1".parse().unwrap()),
            pf_mac: Mac([2, 0, 0, 0, 0, mac]),
            vfs,
            first_vf,
        }
    }

    #[test]
    fn a_vf_has_one_host_and_one_name_in_intent() {
        let functions =
            Functions::new(&[function("one", 1, 2, 0), function("two", 2, 65_534, 2)]).unwrap();
        let find = |vf: &str| functions.find(&vf.parse().unwrap());
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        assert_eq!(find("S1/02:00:00:00:00:01/vf1"), Some((&one, 1)));
        assert_eq!(find("S1/02:00:00:00:00:02/vf0"), Some((&two, 2)));
        assert_eq!(find("S1/02:00:00:00:00:02/vf65533"), Some((&two, u16::MAX)));
        for absent in [
            "S1/02:00:00:00:00:01/vf2",
            "S1/02:00:00:00:00:03/vf0",
            "S2/02:00:00:00:00:01/vf0",
            "-/02:00:00:00:00:01/vf0",
        ] {
            assert_eq!(find(absent), None, "{absent}");
        }
    }

    #[test]
    fn contradictions_are_found() {
        let errors = |functions: &[_]| Functions::new(functions).unwrap_err().to_string();
        let twice = [function("one", 1, 2, 0), function("two", 1, 2, 2)];
        assert!(errors(&twice).contains("two have serial S1"));
        let overlap = [function("one", 1, 2, 0), function("two", 2, 2, 1)];
        assert!(errors(&overlap).contains("VF 1 of intent"));
        assert!(errors(&[function("one", 1, 2, u16::MAX)]).contains("more than 65536"));
        let group = HostFunction { pf_mac: Mac([1, 0, 0, 0, 0, 1]), ..function("one", 1, 1, 0) };
        assert!(errors(&[group]).contains("unicast"));
    }
}
