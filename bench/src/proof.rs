//! `penstock verify`: reading a dump of a full table and proving what holds of it.

#[path = "../../verify/tests/suite/rig.rs"]
mod rig;

use std::time::Instant;

use miette::{IntoDiagnostic, Result, bail};
use rte_flow::Profile;
use verify::{Dump, verify};

use crate::{Case, Unit};
use rig::{Underlay, rig};

const PROFILE: &str = "bluefield3-sws-22.11";
/// Connections of each kind, 96 rules a time.
const COPIES: u16 = 1042;

struct Proof {
    underlay: Underlay,
    profile: Profile,
    dump: Vec<u8>,
    rules: usize,
}

/// All cases of this room.
///
/// # Errors
/// When no dump can be made.
pub fn cases() -> Result<Vec<Box<dyn Case>>> {
    let mut cases: Vec<Box<dyn Case>> = Vec::new();
    for underlay in [Underlay::V4, Underlay::V6] {
        let rig = rig(PROFILE, underlay, COPIES);
        let mut dump = Vec::new();
        rig.dump.write(&mut dump).into_diagnostic()?;
        let rules = rig.dump.rules.len();
        cases.push(Box::new(Proof { underlay, profile: rig.profile, dump, rules }));
    }
    Ok(cases)
}

impl Case for Proof {
    fn name(&self) -> String {
        format!("proof: {} rules, underlay {:?}, read and proven", self.rules, self.underlay)
    }

    fn unit(&self) -> Unit {
        Unit::Seconds
    }

    fn measure(&self) -> Result<f64> {
        let begun = Instant::now();
        let dump = Dump::read(self.dump.as_slice()).into_diagnostic()?;
        let report = verify(&dump, &self.profile);
        let time = begun.elapsed().as_secs_f64();
        if !report.holds() {
            bail!("{}", report.summary(begun.elapsed()));
        }
        Ok(time)
    }
}
