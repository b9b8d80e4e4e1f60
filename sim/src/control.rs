//! What goes over the control socket of a simulated NIC: requests and answers, one JSON value a line.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::eswitch::{Faults, RefusedInsertions, RefusedUpdate};
use crate::link_faults::{FaultCounters, LinkFaults};

/// What is asked of the device. What a request does not name is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Say how it is.
    Status,
    /// These are the faults of rule updates from now on. Insertions and removals are counted from here.
    Rules(RuleFaults),
    /// These are the faults of a link from now on.
    Link {
        /// `uplink`, `vf0`, ...
        port: String,
        /// What is wrong with it.
        #[serde(flatten)]
        faults: LinkFaults,
    },
    /// All faults end.
    Clear,
    /// The card resets: rules, templates and queues are gone, and it is away for a while.
    Reset {
        /// For how long, in milliseconds.
        outage_ms: u32,
    },
}

/// Faults of rule updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleFaults {
    /// This insertion, counted from 1, fails.
    pub refuse: Option<NonZeroU64>,
    /// Of every so many insertions the last fails.
    pub refuse_every: Option<NonZeroU64>,
    /// This removal, counted from 1, fails.
    pub refuse_removal: Option<NonZeroU64>,
    /// The errno of all three; `EREMOTEIO` unless named.
    pub errno: Option<i32>,
    /// Of every so many insertions the last is lost: reported as done, never hit.
    pub lose_every: Option<NonZeroU64>,
    /// Insertions fail with `ENOSPC` while so many rules are there.
    pub enospc_after: Option<u32>,
    /// Completions and synchronous returns come late by so many milliseconds.
    pub late_ms: u32,
    /// Queues of this number do nothing.
    pub freeze_queue: Option<u32>,
}

/// errno: what mlx5 reports when the card's firmware refuses a rule.
const EREMOTEIO: i32 = 121;

impl From<RuleFaults> for Faults {
    /// All but the frozen queue, which is a matter of when.
    fn from(faults: RuleFaults) -> Self {
        let errno = faults.errno.unwrap_or(EREMOTEIO);
        let refused = |number: NonZeroU64| RefusedUpdate { number: number.get() - 1, errno };
        Self {
            refused_insertion: faults.refuse.map(refused),
            refused_removal: faults.refuse_removal.map(refused),
            refused_insertions: faults.refuse_every.map(|every| RefusedInsertions { every, errno }),
            lost_insertions: faults.lose_every,
            full_at: faults.enospc_after.map(|rules| rules as usize),
            completion_delay: Duration::from_millis(faults.late_ms.into()),
        }
    }
}

/// The answer to every request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; this is how the device is now.
    Ok(Status),
    /// It was not done, and why, in one line.
    Error(String),
}

/// How the device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The device, as in `--vdev`.
    pub device: String,
    /// Its profile.
    pub profile: String,
    /// How many rules it has.
    pub rules: u64,
    /// Whether it is away because of a reset.
    pub is_away: bool,
    /// How many times it was reset.
    pub resets: u64,
    /// The faults of rule updates.
    pub rule_faults: RuleFaults,
    /// Its ports.
    pub ports: Vec<PortStatus>,
}

/// How a port is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// `uplink`, `vf0`, ...
    pub name: String,
    /// The ethdev's number; none for a VF without representor.
    pub ethdev: Option<u16>,
    /// Its link; none for a port that is connected to nothing.
    pub link: Option<LinkStatus>,
}

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Whether it is up.
    pub is_up: bool,
    /// What is wrong with it.
    pub faults: LinkFaults,
    /// What its faults did.
    pub counters: FaultCounters,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link_faults::{Carrier, FrameFaults, Rates};

    #[test]
    fn requests_read_as_the_reference_shows_them() {
        let rates = Rates { drop: 5, ..Rates::default() };
        let frames = FrameFaults::try_from(rates).expect("few");
        let carrier = Carrier::Flapping { up_ms: 900, down_ms: 100 };
        for (text, request) in [
            (r#""status""#, Request::Status),
            (r#"{"reset": {"outage_ms": 100}}"#, Request::Reset { outage_ms: 100 }),
            (
                r#"{"rules": {"refuse_every": 3, "errno": 12}}"#,
                Request::Rules(RuleFaults {
                    refuse_every: NonZeroU64::new(3),
                    errno: Some(12),
                    ..RuleFaults::default()
                }),
            ),
            (
                r#"{"link": {"port": "vf0", "frames": {"drop": 5},
                    "carrier": {"flapping": {"up_ms": 900, "down_ms": 100}}}}"#,
                Request::Link { port: "vf0".into(), faults: LinkFaults { frames, carrier } },
            ),
        ] {
            let read: Request = serde_json::from_str(text).expect(text);
            assert_eq!(read, request);
            let again = serde_json::to_string(&request).expect("as text");
            assert_eq!(serde_json::from_str::<Request>(&again).expect("its own text"), request);
        }
        for text in [
            r#"{"rules": {"refuse_every": 0}}"#,
            r#"{"rules": {"refuse_evry": 1}}"#,
            r#"{"link": {"port": "vf0", "frames": {"drop": 1001}}}"#,
            r#"{"explode": {}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
