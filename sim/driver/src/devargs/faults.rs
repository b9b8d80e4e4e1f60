//! The device arguments that switch faults on.

use std::num::NonZeroU64;
use std::time::Duration;

use sim::control::RuleFaults;
use sim::link_faults::{Carrier, FrameFaults, LinkFaults, Rates};

use super::{DeviceArgsError, number, vf_key};

/// Longest delay or period, in milliseconds.
const MAX_MS: u64 = 60_000;
/// All frames, per mille.
const MILLE: u64 = 1000;

/// What goes wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FaultArgs {
    /// With rule updates.
    pub rules: RuleFaults,
    /// Decides which frames are hit.
    pub seed: u64,
    /// The card resets by itself after this time.
    pub reset_after: Option<Duration>,
    links: Vec<LinkFault>,
}

/// One argument about links.
#[derive(Clone, PartialEq, Eq, Debug)]
struct LinkFault {
    key: String,
    value: String,
    /// The port's place, 0 for the uplink; all ports without.
    port: Option<u16>,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Drop(u16),
    Duplicate(u16),
    Reorder(u16),
    Corrupt(u16),
    Flap(Carrier),
}

impl FaultArgs {
    /// Takes an argument; false for one that is none of these.
    ///
    /// # Errors
    /// A value that is malformed or out of range.
    pub fn take(&mut self, key: &str, value: &str) -> Result<bool, DeviceArgsError> {
        let count = |value: &str| number(key, value, 1, u64::MAX).map(NonZeroU64::new);
        let per_mille = |value: &str| number(key, value, 0, MILLE).map(|rate| rate as u16);
        let rules = &mut self.rules;
        match key {
            "fail-insert" => rules.refuse = count(value)?,
            "fail-remove" => rules.refuse_removal = count(value)?,
            "refuse-every" => rules.refuse_every = count(value)?,
            "lose-every" => rules.lose_every = count(value)?,
            "fault-errno" => rules.errno = Some(number(key, value, 1, 4095)? as i32),
            "enospc-after" => {
                rules.enospc_after = Some(number(key, value, 0, u32::MAX.into())? as u32);
            }
            "late-completion-ms" => rules.late_ms = number(key, value, 0, MAX_MS)? as u32,
            "freeze-queue" => {
                rules.freeze_queue = Some(number(key, value, 0, u32::MAX.into())? as u32);
            }
            "fault-seed" => self.seed = number(key, value, 0, u64::MAX)?,
            "reset-after-ms" => {
                self.reset_after = Some(Duration::from_millis(number(key, value, 1, u64::MAX)?));
            }
            "link-drop" => self.link(key, value, |rate| per_mille(rate).map(What::Drop))?,
            "link-duplicate" => {
                self.link(key, value, |rate| Ok(What::Duplicate(per_mille(rate)?)))?;
            }
            "link-reorder" => self.link(key, value, |rate| per_mille(rate).map(What::Reorder))?,
            "link-corrupt" => self.link(key, value, |rate| per_mille(rate).map(What::Corrupt))?,
            "link-flap-ms" => self.link(key, value, |periods| {
                let (up, down) = periods.split_once('/').unwrap_or((periods, ""));
                let ms = |value| number(key, value, 1, MAX_MS).map(|ms| ms as u32);
                Ok(What::Flap(Carrier::Flapping { up_ms: ms(up)?, down_ms: ms(down)? }))
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes `[PORT:]FAULT`.
    fn link(
        &mut self,
        key: &str,
        value: &str,
        read: impl FnOnce(&str) -> Result<What, DeviceArgsError>,
    ) -> Result<(), DeviceArgsError> {
        let (port, fault) = match value.split_once(':') {
            None => (None, value),
            Some((port, fault)) => {
                let place = if port == "uplink" { Some(0) } else { vf_key(port).map(|vf| vf + 1) };
                let place = place.ok_or_else(|| DeviceArgsError::NoSuchPort {
                    key: key.to_owned(),
                    port: port.to_owned(),
                })?;
                (Some(place), fault)
            }
        };
        let (key, value) = (key.to_owned(), value.to_owned());
        self.links.push(LinkFault { port, what: read(fault)?, key, value });
        Ok(())
    }

    /// The faults of each link of a device with so many VFs, the uplink's first.
    ///
    /// # Errors
    /// A port that the device does not have, and more faults than frames.
    pub fn links(&self, vfs: u16) -> Result<Vec<LinkFaults>, DeviceArgsError> {
        let mut all = vec![(Rates::default(), Carrier::Up); usize::from(vfs) + 1];
        for LinkFault { key, value, port, what } in &self.links {
            let ports = match port {
                None => all.as_mut_slice(),
                Some(port) => {
                    let place = usize::from(*port);
                    all.get_mut(place..=place).ok_or_else(|| DeviceArgsError::NoSuchVf {
                        key: format!("{key}={value}"),
                        vf: port.saturating_sub(1),
                        vfs,
                    })?
                }
            };
            for (rates, carrier) in ports {
                match what {
                    What::Drop(rate) => rates.drop = *rate,
                    What::Duplicate(rate) => rates.duplicate = *rate,
                    What::Reorder(rate) => rates.reorder = *rate,
                    What::Corrupt(rate) => rates.corrupt = *rate,
                    What::Flap(flapping) => *carrier = *flapping,
                }
            }
        }
        let checked =
            |(rates, carrier)| Ok(LinkFaults { frames: FrameFaults::try_from(rates)?, carrier });
        all.into_iter().map(checked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceArgs, DeviceArgsError};
    use super::*;

    fn parse(text: &str) -> Result<DeviceArgs, DeviceArgsError> {
        DeviceArgs::parse(text)
    }

    #[test]
    fn rule_updates() {
        let args = parse(
            "fail-insert=3,fail-remove=2,refuse-every=7,lose-every=9,fault-errno=12,enospc-after=10,late-completion-ms=250,\
             freeze-queue=0,fault-seed=42,reset-after-ms=500",
        )
        .unwrap();
        let expected = RuleFaults {
            refuse: NonZeroU64::new(3),
            refuse_removal: NonZeroU64::new(2),
            refuse_every: NonZeroU64::new(7),
            errno: Some(12),
            lose_every: NonZeroU64::new(9),
            enospc_after: Some(10),
            late_ms: 250,
            freeze_queue: Some(0),
        };
        assert_eq!(args.rule_faults, expected);
        assert_eq!(args.fault_seed, 42);
        assert_eq!(args.reset_after, Some(Duration::from_millis(500)));
    }

    #[test]
    fn links_all_or_one() {
        let args =
            parse("vfs=2,link-drop=5,link-corrupt=vf1:7,link-flap-ms=uplink:900/100").unwrap();
        let faults = |rates: Rates, carrier| LinkFaults {
            frames: FrameFaults::try_from(rates).unwrap(),
            carrier,
        };
        let drop = Rates { drop: 5, ..Rates::default() };
        assert_eq!(
            args.link_faults,
            [
                faults(drop, Carrier::Flapping { up_ms: 900, down_ms: 100 }),
                faults(drop, Carrier::Up),
                faults(Rates { corrupt: 7, ..drop }, Carrier::Up),
            ]
        );
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, words) in [
            ("fail-insert=0", "fail-insert=0: expected a number from 1"),
            ("link-drop=1001", "link-drop=1001: expected a number from 0 to 1000"),
            ("link-drop=600,link-corrupt=500", "1100 of 1000 frames"),
            ("link-drop=vf0:5", "VF 0 does not exist, the device has vfs=0"),
            ("link-drop=moon:5", "link-drop: there is no port \"moon\""),
            ("link-flap-ms=5", "expected a number from 1 to 60000"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
