//! The device arguments: `vfs=N,representor=vf[0-M],uplink=LINK,vf0=LINK,...`.
//!
//! Pure: nothing is opened here. Every key appears once; an unknown key or a value that does not parse refuses the
//! whole device, because a typing error that silently leaves a port without its link costs hours.

mod faults;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rte_flow::{Profile, ProfileError};
use sim::control::RuleFaults;
use sim::link_faults::{LinkFaults, TooMany};
use thiserror::Error;

use crate::link::{InterfaceName, LinkSpec, LinkSpecError};
use faults::FaultArgs;

/// Most VFs of a device: far more than a process has port numbers for (`RTE_MAX_ETHPORTS` is 32 in Debian's build), as
/// only VFs with a representor need one.
pub const MAX_VFS: u16 = 256;

/// Smallest MTU of a port in bytes (RFC 791).
pub const MIN_MTU: u16 = 68;
/// Largest MTU of a port in bytes.
pub const MAX_MTU: u16 = 9600;
/// MTU of a port unless `mtu=` says otherwise, in bytes.
const DEFAULT_MTU: u16 = 1500;
/// The card unless `profile=` says otherwise.
const DEFAULT_PROFILE: &str = "bluefield3-sws-22.11";

/// What a device consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceArgs {
    /// The VFs' links by VF index; as many as the device has VFs.
    pub vf_links: Vec<Option<LinkSpec>>,
    /// VF indices that get a representor port.
    pub representors: BTreeSet<u16>,
    /// The uplink's link.
    pub uplink: Option<LinkSpec>,
    /// The kernel's interface of the uplink.
    pub kernel: Option<InterfaceName>,
    /// MTU that every port starts with, in bytes.
    pub mtu: u16,
    /// The card that is simulated.
    pub profile: Profile,
    /// What goes wrong with rule updates.
    pub rule_faults: RuleFaults,
    /// What goes wrong on each link, the uplink's first.
    pub link_faults: Vec<LinkFaults>,
    /// Decides which frames are hit.
    pub fault_seed: u64,
    /// The card resets by itself after this time.
    pub reset_after: Option<Duration>,
    /// Where the control socket is to be.
    pub control: Option<PathBuf>,
}

/// Why device arguments are refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DeviceArgsError {
    /// No `=` in an argument.
    #[error("\"{0}\" is not of the form key=value")]
    NotKeyValue(String),
    /// A key the driver does not know.
    #[error(
        "unknown argument \"{0}\"; known are vfs, representor, uplink, kernel, vf0, vf1, ..., profile, mtu, control, \
         fail-insert, fail-remove, refuse-every, lose-every, fault-errno, enospc-after, late-completion-ms, freeze-queue, link-drop, \
         link-duplicate, link-reorder, link-corrupt, link-flap-ms, fault-seed and reset-after-ms"
    )]
    UnknownKey(String),
    /// A key given twice.
    #[error("{0}= is given twice")]
    Twice(String),
    /// A number that is none or out of range.
    #[error("{key}={value}: expected a number from {min} to {max}")]
    Number {
        /// The argument's key.
        key: String,
        /// What stands there.
        value: String,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A profile that does not exist.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// More faults than frames.
    #[error(transparent)]
    TooManyFaults(#[from] TooMany),
    /// A port that no device has.
    #[error("{key}: there is no port \"{port}\"; ports are uplink, vf0, vf1, ...")]
    NoSuchPort {
        /// The argument's key.
        key: String,
        /// What stands there.
        port: String,
    },
    /// A representor list that does not parse.
    #[error("representor={0}: expected VFs such as vf0, vf[0-3] or vf[0-1,4]")]
    Representor(String),
    /// A VF that the device does not have.
    #[error("{key}: VF {vf} does not exist, the device has vfs={vfs}")]
    NoSuchVf {
        /// The argument's key.
        key: String,
        /// The VF named.
        vf: u16,
        /// How many the device has.
        vfs: u16,
    },
    /// A kernel's interface that is none.
    #[error("kernel={0}: expected tap:INTERFACE")]
    Kernel(String),
    /// A link that cannot be.
    #[error("{key}={value}: {problem}")]
    Link {
        /// The argument's key.
        key: String,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        problem: LinkSpecError,
    },
}

impl DeviceArgs {
    /// Reads the arguments as EAL hands them over, without the device's name.
    ///
    /// # Errors
    /// The first argument that is unknown, malformed, repeated or names a VF the device does not have.
    pub fn parse(text: &str) -> Result<Self, DeviceArgsError> {
        let mut seen = BTreeSet::new();
        let mut vfs = 0;
        let mut vf_links = Vec::new();
        let mut representors = None;
        let mut uplink = None;
        let mut kernel = None;
        let mut mtu = DEFAULT_MTU;
        let mut profile = DEFAULT_PROFILE;
        let mut faults = FaultArgs::default();
        let mut control = None;
        for argument in split_arguments(text) {
            let (key, value) = argument
                .split_once('=')
                .ok_or_else(|| DeviceArgsError::NotKeyValue(argument.to_owned()))?;
            if !seen.insert(key) {
                return Err(DeviceArgsError::Twice(key.to_owned()));
            }
            match key {
                "vfs" => vfs = small_number(key, value, 0, MAX_VFS)?,
                "mtu" => mtu = small_number(key, value, MIN_MTU, MAX_MTU)?,
                "representor" => representors = Some((value, vf_list(value)?)),
                "profile" => profile = value,
                "control" => control = Some(PathBuf::from(value)),
                "uplink" => uplink = Some(link(key, value)?),
                "kernel" => match link(key, value)? {
                    LinkSpec::Tap(name) => kernel = Some(name),
                    _ => return Err(DeviceArgsError::Kernel(value.to_owned())),
                },
                _ if faults.take(key, value)? => {}
                _ => {
                    let vf =
                        vf_key(key).ok_or_else(|| DeviceArgsError::UnknownKey(key.to_owned()))?;
                    vf_links.push((key, vf, link(key, value)?));
                }
            }
        }

        let exists = |key: &str, vf: u16| {
            if vf < vfs {
                Ok(())
            } else {
                Err(DeviceArgsError::NoSuchVf { key: key.to_owned(), vf, vfs })
            }
        };
        let mut links = vec![None; usize::from(vfs)];
        for (key, vf, spec) in vf_links {
            exists(key, vf)?;
            if let Some(slot) = links.get_mut(usize::from(vf)) {
                *slot = Some(spec);
            }
        }
        let representors = match representors {
            None => BTreeSet::new(),
            Some((value, list)) => {
                for &vf in &list {
                    exists(&format!("representor={value}"), vf)?;
                }
                list
            }
        };
        let profile = Profile::named(profile)?;
        Ok(Self {
            vf_links: links,
            representors,
            uplink,
            kernel,
            mtu,
            profile,
            rule_faults: faults.rules,
            link_faults: faults.links(vfs)?,
            fault_seed: faults.seed,
            reset_after: faults.reset_after,
            control,
        })
    }
}

/// Splits at commas, but not at those within brackets, which belong to a list.
pub fn split_arguments(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '[' => depth = depth.saturating_add(1),
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|argument| !argument.is_empty())
}

/// A decimal number within `min..=max`.
fn number(key: &str, value: &str, min: u64, max: u64) -> Result<u64, DeviceArgsError> {
    decimal(value).filter(|n| (min..=max).contains(n)).ok_or_else(|| DeviceArgsError::Number {
        key: key.to_owned(),
        value: value.to_owned(),
        min,
        max,
    })
}

/// As [`number`], for what fits 16 bits.
fn small_number(key: &str, value: &str, min: u16, max: u16) -> Result<u16, DeviceArgsError> {
    number(key, value, min.into(), max.into()).map(|number| number as u16)
}

/// Digits only: `str::parse` would accept a sign.
pub fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The VF of a key such as `vf3`.
fn vf_key(key: &str) -> Option<u16> {
    let digits = key.strip_prefix("vf")?;
    // One spelling for each VF, so that none is given twice.
    let canonical = digits == "0" || !digits.starts_with('0');
    canonical.then(|| decimal(digits))?
}

/// The VFs of `vf2`, `vf[0-3]`, `vf[0-1,4]`; DPDK takes the bare number or list for VFs as well.
fn vf_list(value: &str) -> Result<BTreeSet<u16>, DeviceArgsError> {
    let malformed = || DeviceArgsError::Representor(value.to_owned());
    let body = value.strip_prefix("vf").unwrap_or(value);
    let body = match body.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(malformed)?,
        None => body,
    };
    let mut vfs = BTreeSet::new();
    for range in body.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = decimal::<u16>(first)
            .zip(decimal(last))
            .filter(|(a, b)| a <= b)
            .ok_or_else(malformed)?;
        if last >= MAX_VFS {
            return Err(malformed());
        }
        vfs.extend(first..=last);
    }
    Ok(vfs)
}

/// What a port is connected to.
fn link(key: &str, value: &str) -> Result<LinkSpec, DeviceArgsError> {
    value.parse().map_err(|problem| DeviceArgsError::Link {
        key: key.to_owned(),
        value: value.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(text: &str) -> LinkSpec {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        DeviceArgs::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_is_an_uplink_without_link() {
        let args = DeviceArgs::parse("").unwrap();
        assert_eq!(args.uplink, None);
        assert!(args.vf_links.is_empty() && args.representors.is_empty());
        assert_eq!(args.mtu, 1500);
        assert_eq!(args.profile.name, "bluefield3-sws-22.11");
        assert_eq!(args.rule_faults, RuleFaults::default());
        assert_eq!(args.link_faults, [LinkFaults::default()]);
    }

    #[test]
    fn the_documented_form() {
        let args = DeviceArgs::parse(
            "vfs=3,representor=vf[0-1],uplink=packet:eth1,vf0=tap:vm0,vf2=pcap:in.pcap:out.pcap,mtu=9000",
        )
        .unwrap();
        assert_eq!(args.uplink, Some(link("packet:eth1")));
        assert_eq!(args.vf_links[0], Some(link("tap:vm0")));
        assert_eq!(args.vf_links[1], None);
        assert_eq!(args.vf_links[2], Some(link("pcap:in.pcap:out.pcap")));
        assert_eq!(args.representors, BTreeSet::from([0, 1]));
        assert_eq!(args.mtu, 9000);
    }

    #[test]
    fn profile_and_control_socket() {
        let args = DeviceArgs::parse("profile=unlimited,control=/run/nic.sock").unwrap();
        assert_eq!(args.profile.name, "unlimited");
        assert_eq!(args.control, Some("/run/nic.sock".into()));
    }

    #[test]
    fn representor_lists() {
        for (text, expected) in [
            ("vf0", vec![0]),
            ("vf[0-3]", vec![0, 1, 2, 3]),
            ("vf[0-1,4]", vec![0, 1, 4]),
            ("[2,0]", vec![0, 2]),
            ("3", vec![3]),
        ] {
            assert_eq!(vf_list(text).unwrap().into_iter().collect::<Vec<_>>(), expected, "{text}");
        }
        for text in ["", "vf", "vf[", "vf[0-", "vf[3-1]", "sf0", "pf0vf0", "vf0-1]", "vf[0-99999]"]
        {
            assert!(vf_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, words) in [
            ("vfs", "\"vfs\" is not of the form key=value"),
            ("vfs=-1", "vfs=-1: expected a number from 0 to 256"),
            ("vfs=+1", "vfs=+1"),
            ("vfs=257", "expected a number from 0 to 256"),
            ("vfs=1,vfs=1", "vfs= is given twice"),
            ("mtu=67", "from 68 to 9600"),
            ("colour=red", "unknown argument \"colour\""),
            ("vfs=11,vf01=tap:a", "unknown argument \"vf01\""),
            ("vf0=tap:a", "vf0: VF 0 does not exist, the device has vfs=0"),
            ("vfs=1,representor=vf[0-1]", "representor=vf[0-1]: VF 1 does not exist"),
            ("representor=x", "representor=x: expected VFs"),
            ("kernel=gen:", "kernel=gen:: expected tap:INTERFACE"),
            ("uplink=eth0", "uplink=eth0: unknown link"),
            ("uplink=gen:[size=64", "uplink=gen:[size=64: put a generator's arguments in brackets"),
            ("profile=bluefield9", "bluefield3-sws-22.11"),
            ("fail-insert=0", "fail-insert=0: expected a number from 1"),
            ("late-completion-ms=x", "late-completion-ms=x: expected a number from 0 to 60000"),
        ] {
            assert!(refusal(text).contains(words), "{text}: {}", refusal(text));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = DeviceArgs::parse(&text);
        }

        #[test]
        fn every_vf_takes_its_own_link(vfs in 1_u16..=MAX_VFS, vf in 0_u16..MAX_VFS) {
            prop_assume!(vf < vfs);
            let args = DeviceArgs::parse(&format!("vf{vf}=tap:t,vfs={vfs}")).unwrap();
            prop_assert_eq!(args.vf_links.len(), usize::from(vfs));
            for (index, spec) in args.vf_links.iter().enumerate() {
                prop_assert_eq!(spec.is_some(), index == usize::from(vf));
            }
        }
    }
}
