//! What is known of what the DPU agreed to. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use packet::Mac;
use trust::api::v1::{HeartbeatResponse, HeldLease};

use crate::attachment::step::ConsentState;
use crate::device::VfId;
use crate::lease::{Goal, Lease, LeaseKey};

/// A lease as the DPU has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub key: LeaseKey,
    /// The address it is for.
    pub mac: Mac,
    /// Why the DPU would not give it now; empty: it would.
    pub objection: String,
}

impl Held {
    /// What a DPU has that agreed to a lease.
    #[must_use]
    pub fn of(lease: &Lease) -> Self {
        Self { key: lease.key(), mac: lease.settings.mac, objection: String::new() }
    }

    fn read(lease: &HeldLease) -> Option<(VfId, Self)> {
        let held = Self {
            key: LeaseKey {
                vm: lease.vm.parse().ok()?,
                interface: lease.vm_interface.parse().ok()?,
            },
            mac: lease.mac.parse().ok()?,
            objection: lease.objection.clone(),
        };
        Some((lease.vf.parse().ok()?, held))
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last version of the desired state that was used.
    version: u64,
    /// The last one that the DPU said it applied.
    applied: u64,
    /// Whether the DPU said which versions it knows of: before that, none may be used.
    in_step: bool,
    held: BTreeMap<VfId, Held>,
    /// VFs of calls that had no answer.
    uncertain: BTreeSet<VfId>,
    /// When the DPU's last answer came.
    heard: Option<Instant>,
    /// Whether a call since then had no answer.
    failing: bool,
}

/// What to do after the answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Send another at once: this one's answer was not final.
    Again,
    /// Nothing has changed.
    AsBefore,
    /// Look at all leases.
    Changed,
}

impl Known {
    /// The last version that was used.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The last version that the DPU said it applied.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// How long ago the DPU was heard of.
    #[must_use]
    pub fn heard(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_duration_since(heard))
    }

    /// Whether the last call had no answer.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.failing
    }

    /// VFs that the DPU has leases of.
    pub fn held(&self) -> impl Iterator<Item = (&VfId, &Held)> {
        self.held.iter()
    }

    /// What the DPU has for a VF.
    #[must_use]
    pub fn of_vf(&self, vf: &VfId) -> Option<&Held> {
        self.held.get(vf)
    }

    /// A change is about to be asked for: its version. What it does is not known until it is answered.
    pub fn begin(&mut self, vf: &VfId) -> u64 {
        self.version += 1;
        self.uncertain.insert(vf.clone());
        self.version
    }

    /// The DPU has applied a change.
    pub fn confirm(&mut self, vf: &VfId, version: u64, held: Option<Held>) {
        self.uncertain.remove(vf);
        self.applied = version;
        match held {
            Some(held) => self.held.insert(vf.clone(), held),
            None => self.held.remove(vf),
        };
    }

    /// The DPU has refused a change: all is as it was.
    pub fn refuse(&mut self, vf: &VfId) {
        self.uncertain.remove(vf);
    }

    /// A call had no answer.
    pub const fn fail(&mut self) {
        self.failing = true;
    }

    /// The DPU does not want this host, or this host is another one now: nothing is known.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// A heartbeat was answered.
    pub fn hear(
        &mut self,
        answer: &HeartbeatResponse,
        now: Instant,
        gone_after: Duration,
    ) -> After {
        if !self.in_step {
            // What another run of this daemon sent may still be on its way. One more version makes it late.
            self.in_step = true;
            self.version = self.version.max(answer.version).saturating_add(1);
            return After::Again;
        }
        if answer.version > self.version {
            // Somebody else speaks for this host.
            self.in_step = false;
            return After::Again;
        }
        let was_away = self.failing || self.heard(now).is_none_or(|ago| ago >= gone_after);
        self.heard = Some(now);
        self.failing = false;
        self.uncertain.clear();
        self.applied = self.version;
        let held: BTreeMap<_, _> = answer.leases.iter().filter_map(Held::read).collect();
        let same = held == self.held;
        self.held = held;
        if same && !was_away { After::AsBefore } else { After::Changed }
    }

    /// What the DPU says of a lease.
    #[must_use]
    pub fn state(&self, lease: &Lease, now: Instant, gone_after: Duration) -> ConsentState {
        let Some(ago) = self.heard(now) else { return ConsentState::Unknown };
        if self.uncertain.contains(&lease.vf) {
            return ConsentState::Unknown;
        }
        let held = self.held.get(&lease.vf).filter(|held| held.key == lease.key());
        if ago >= gone_after || self.failing {
            // It gives nothing that it was not asked for.
            let never = lease.goal == Goal::Released && held.is_none();
            return if never { ConsentState::NotGiven } else { ConsentState::Unknown };
        }
        let given = match lease.goal {
            // It goes back whatever the DPU thinks of it now.
            Goal::Released => held.is_some(),
            Goal::Attached => held.is_some_and(|held| *held == Held::of(lease)),
        };
        if given { ConsentState::Given } else { ConsentState::NotGiven }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::testing::lease;

    const GONE: Duration = Duration::from_secs(10);

    fn answer(version: u64, leases: &[(&Lease, &str)]) -> HeartbeatResponse {
        let held = |(lease, objection): &(&Lease, &str)| HeldLease {
            vf: lease.vf.to_string(),
            vm: lease.vm.to_string(),
            vm_interface: lease.interface.to_string(),
            mac: lease.settings.mac.to_string(),
            objection: (*objection).to_owned(),
        };
        HeartbeatResponse {
            version,
            leases: leases.iter().map(held).collect(),
            ..HeartbeatResponse::default()
        }
    }

    #[test]
    fn versions_go_on_where_the_dpu_is() {
        let now = Instant::now();
        let mut known = Known::default();
        assert_eq!(known.state(&lease(1, 0), now, GONE), ConsentState::Unknown);
        assert_eq!(known.hear(&answer(41, &[(&lease(1, 0), "")]), now, GONE), After::Again);
        assert_eq!(known.version(), 42);
        assert_eq!(known.state(&lease(1, 0), now, GONE), ConsentState::Unknown, "not final");
        assert_eq!(known.hear(&answer(42, &[(&lease(1, 0), "")]), now, GONE), After::Changed);
        assert_eq!(known.state(&lease(1, 0), now, GONE), ConsentState::Given);
        assert_eq!(known.hear(&answer(42, &[(&lease(1, 0), "")]), now, GONE), After::AsBefore);
        assert_eq!(known.begin(&lease(1, 0).vf), 43);
        // A second daemon for the same host.
        assert_eq!(known.hear(&answer(50, &[]), now, GONE), After::Again);
        assert_eq!(known.hear(&answer(50, &[]), now, GONE), After::Again);
        assert_eq!((known.version(), known.applied()), (51, 42));
    }

    #[test]
    fn applied_is_what_the_dpu_said() {
        let now = Instant::now();
        let mut known = Known::default();
        let one = lease(1, 0);
        known.hear(&answer(0, &[]), now, GONE);
        known.hear(&answer(1, &[]), now, GONE);
        assert_eq!(known.state(&one, now, GONE), ConsentState::NotGiven);
        let version = known.begin(&one.vf);
        assert_eq!((version, known.applied()), (2, 1));
        assert_eq!(known.state(&one, now, GONE), ConsentState::Unknown);
        known.refuse(&one.vf);
        assert_eq!((known.state(&one, now, GONE), known.applied()), (ConsentState::NotGiven, 1));
        let version = known.begin(&one.vf);
        known.confirm(&one.vf, version, Some(Held::of(&one)));
        assert_eq!((known.state(&one, now, GONE), known.applied()), (ConsentState::Given, 3));

        // No answer: nobody knows, of this VF and whether the DPU is there, until a heartbeat says so.
        known.begin(&one.vf);
        known.fail();
        assert_eq!(known.state(&lease(2, 1), now, GONE), ConsentState::Unknown);
        assert_eq!(known.hear(&answer(4, &[(&one, "")]), now, GONE), After::Changed);
        assert_eq!((known.state(&one, now, GONE), known.applied()), (ConsentState::Given, 4));
    }

    #[test]
    fn a_lease_is_given_as_it_is_wanted() {
        let now = Instant::now();
        let mut known = Known::default();
        let one = lease(1, 0);
        let released = Lease { goal: Goal::Released, ..one.clone() };
        known.hear(&answer(0, &[]), now, GONE);
        known.hear(&answer(1, &[(&one, "wrong MAC")]), now, GONE);
        assert_eq!(known.state(&one, now, GONE), ConsentState::NotGiven);
        assert_eq!(known.state(&released, now, GONE), ConsentState::Given, "it has to go back");
        let mut other = one.clone();
        other.settings.mac = lease(9, 0).settings.mac;
        known.hear(&answer(1, &[(&other, "")]), now, GONE);
        assert_eq!(known.state(&one, now, GONE), ConsentState::NotGiven);
        // Of another VM of this host.
        known.hear(&answer(1, &[(&lease(2, 0), "")]), now, GONE);
        assert_eq!(known.state(&one, now, GONE), ConsentState::NotGiven);
        assert_eq!(known.state(&released, now, GONE), ConsentState::NotGiven);
    }

    #[test]
    fn a_dpu_is_gone_after_a_time_and_returns() {
        let now = Instant::now();
        let mut known = Known::default();
        let one = lease(1, 0);
        known.hear(&answer(0, &[]), now, GONE);
        known.hear(&answer(1, &[(&one, "")]), now, GONE);
        let late = now + GONE;
        let almost = now + GONE.mul_f64(0.99);
        assert_eq!(known.state(&one, almost, GONE), ConsentState::Given);
        assert_eq!(known.state(&one, late, GONE), ConsentState::Unknown);
        // What it was never asked for goes without it; what it has does not.
        let released = |lease: Lease| Lease { goal: Goal::Released, ..lease };
        assert_eq!(known.state(&released(lease(2, 1)), late, GONE), ConsentState::NotGiven);
        assert_eq!(known.state(&released(one.clone()), late, GONE), ConsentState::Unknown);
        assert_eq!(known.hear(&answer(1, &[(&one, "")]), late, GONE), After::Changed);
        // It has forgotten all: to be said again.
        assert_eq!(known.hear(&answer(0, &[]), late, GONE), After::Changed);
        assert_eq!(known.state(&one, late, GONE), ConsentState::NotGiven);
    }
}
