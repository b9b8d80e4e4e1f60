//! Meters as rules use them, and as they use profiles, policies and each other.

use hashbrown::HashSet;
use rte_flow::{
    Color, Domain, MeterError, MeterErrorKind, MeterMark, MeterMarkUpdate, MeterPolicyHandle,
    MeterProfileHandle, MeterRules,
};

use super::super::arena::Id;
use super::super::time::Time;
use super::bucket::Buckets;
use super::input::Input;
use super::objects::missing;
use super::{Meter, MeterStats, Meters, PolicyEntry, ProfileEntry};

impl Meters {
    /// The meter of a port with this identifier.
    pub fn find(&self, port: u16, id: u32) -> Option<Id<Meter>> {
        self.meter_ids.get(&(port, id)).copied()
    }

    /// Whether a rule of this domain may use a meter.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn admit(&self, id: Id<Meter>, domain: Domain) -> Result<(), String> {
        let Some(meter) = self.meters.get(id) else {
            return Err("the meter is gone; create it again".to_owned());
        };
        if !meter.shared && meter.users > 0 {
            return Err("the meter belongs to another rule; create it as shared".to_owned());
        }
        match meter.policy.and_then(|policy| self.policies.get(policy)) {
            Some(policy) if policy.program(domain, Color::Green).is_none() => {
                let name = domain.name();
                Err(format!("the meter's policy cannot be in {name} rules; use another meter"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the policy of a meter decides where packets go that are not red; `None` for an unknown meter.
    pub fn decides(&self, port: u16, id: u32, domain: Domain) -> Option<bool> {
        let meter = self.meters.get(self.find(port, id)?)?;
        let policy = meter.policy.and_then(|policy| self.policies.get(policy));
        Some(policy.is_some_and(|policy| policy.decides(domain)))
    }

    /// Whether what a `METER_MARK` names is there.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check_mark(&self, mark: &MeterMark, port: u16) -> Result<(), String> {
        self.check_names(Some(mark.profile), mark.policy, port)
    }

    /// Whether what an update of a `METER_MARK` names is there.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check_update(&self, update: &MeterMarkUpdate, port: u16) -> Result<(), String> {
        self.check_names(update.profile, update.policy, port)
    }

    fn check_names(
        &self,
        profile: Option<MeterProfileHandle>,
        policy: Option<MeterPolicyHandle>,
        port: u16,
    ) -> Result<(), String> {
        let is_profile = |MeterProfileHandle(handle)| {
            let entry = self.profiles.get(Id::from_bits(handle as u64));
            entry.is_some_and(|entry| entry.port == port)
        };
        let is_policy = |MeterPolicyHandle(handle)| {
            let entry = self.policies.get(Id::from_bits(handle as u64));
            entry.is_some_and(|entry| entry.port == port)
        };
        if !profile.is_none_or(is_profile) {
            return Err("no such meter profile; get it with rte_mtr_meter_profile_get".to_owned());
        }
        if !policy.is_none_or(is_policy) {
            return Err("no such meter policy; get it with rte_mtr_meter_policy_get".to_owned());
        }
        Ok(())
    }

    /// Makes the meter of a `METER_MARK` that was checked.
    pub fn mark(&mut self, mark: &MeterMark, rules: &MeterRules, now: Time) -> Option<Id<Meter>> {
        let profile = Id::from_bits(mark.profile.0 as u64);
        let policy = mark.policy.filter(|_| !rules.mark_ignores_policy);
        let policy = policy.map(|policy| Id::from_bits(policy.0 as u64));
        let input = Input::constant(mark.color_aware.unwrap_or_default());
        let meter = self.meter(profile, policy, input, rules, now)?;
        Some(self.meters.insert(Meter { enabled: mark.enabled, shared: true, ..meter }))
    }

    /// Changes the meter of a shared `METER_MARK`.
    pub fn update_mark(&mut self, id: Id<Meter>, mark: &MeterMarkUpdate, now: Time) {
        if let Some(MeterProfileHandle(profile)) = mark.profile {
            self.set_profile(id, Id::from_bits(profile as u64), now);
        }
        let policy = mark.policy.map(|MeterPolicyHandle(policy)| Id::from_bits(policy as u64));
        if let Some(policy) = policy {
            self.set_policy(id, Some(policy));
        }
        if let Some(meter) = self.meters.get_mut(id) {
            if let Some(color) = mark.color_aware {
                meter.input = Input::constant(color.unwrap_or_default());
            }
            meter.enabled = mark.enabled.unwrap_or(meter.enabled);
        }
    }

    pub(super) fn meter(
        &mut self,
        profile: Id<ProfileEntry>,
        policy: Option<Id<PolicyEntry>>,
        input: Input,
        rules: &MeterRules,
        now: Time,
    ) -> Option<Meter> {
        let entry = self.profiles.get_mut(profile)?;
        entry.users += 1;
        let buckets = Buckets::new(entry.profile, rules.excess_takes_overflow, now);
        if let Some(policy) = policy.and_then(|policy| self.policies.get_mut(policy)) {
            policy.users += 1;
        }
        let stats = MeterStats::default();
        Some(Meter {
            profile,
            policy,
            buckets,
            input,
            enabled: true,
            shared: true,
            users: 0,
            stats,
        })
    }

    pub(super) fn set_profile(&mut self, id: Id<Meter>, profile: Id<ProfileEntry>, now: Time) {
        let Some(meter) = self.meters.get_mut(id) else { return };
        let Some(entry) = self.profiles.get_mut(profile) else { return };
        entry.users += 1;
        meter.buckets.set_profile(entry.profile, now);
        let old = std::mem::replace(&mut meter.profile, profile);
        if let Some(entry) = self.profiles.get_mut(old) {
            entry.users = entry.users.saturating_sub(1);
        }
    }

    pub(super) fn set_policy(&mut self, id: Id<Meter>, policy: Option<Id<PolicyEntry>>) {
        let Some(meter) = self.meters.get_mut(id) else { return };
        let old = std::mem::replace(&mut meter.policy, policy);
        if let Some(entry) = policy.and_then(|policy| self.policies.get_mut(policy)) {
            entry.users += 1;
        }
        if let Some(entry) = old.and_then(|old| self.policies.get_mut(old)) {
            entry.users = entry.users.saturating_sub(1);
        }
    }

    /// Notes one more user of a meter: a rule, or a policy.
    pub fn acquire(&mut self, id: Id<Meter>) {
        if let Some(meter) = self.meters.get_mut(id) {
            meter.users += 1;
        }
    }

    /// Notes one user less.
    pub fn release(&mut self, id: Id<Meter>) {
        if let Some(meter) = self.meters.get_mut(id) {
            meter.users = meter.users.saturating_sub(1);
        }
    }

    /// Takes a meter out.
    pub fn remove(&mut self, id: Id<Meter>) {
        let Some(meter) = self.meters.remove(id) else { return };
        if let Some(entry) = self.profiles.get_mut(meter.profile) {
            entry.users = entry.users.saturating_sub(1);
        }
        if let Some(entry) = meter.policy.and_then(|policy| self.policies.get_mut(policy)) {
            entry.users = entry.users.saturating_sub(1);
        }
    }

    /// How many meters there are.
    pub fn len(&self) -> usize {
        self.meters.len()
    }

    pub(super) fn profile_id(&self, port: u16, id: u32) -> Result<Id<ProfileEntry>, MeterError> {
        let found = self.profile_ids.get(&(port, id)).copied();
        found.ok_or_else(|| missing(MeterErrorKind::ProfileId, "meter profile", id))
    }

    pub(super) fn policy_id(&self, port: u16, id: u32) -> Result<Id<PolicyEntry>, MeterError> {
        let found = self.policy_ids.get(&(port, id)).copied();
        found.ok_or_else(|| missing(MeterErrorKind::PolicyId, "meter policy", id))
    }

    pub(super) fn meter_id(&self, port: u16, id: u32) -> Result<Id<Meter>, MeterError> {
        let found = self.find(port, id);
        found.ok_or_else(|| missing(MeterErrorKind::MeterId, "meter", id))
    }

    pub(super) fn meter_mut(&mut self, port: u16, id: u32) -> Result<&mut Meter, MeterError> {
        let found = self.find(port, id).and_then(|id| self.meters.get_mut(id));
        found.ok_or_else(|| missing(MeterErrorKind::MeterId, "meter", id))
    }

    /// Whether packets that pass one of `from` can come to a meter.
    pub(super) fn reaches(&self, from: &[Id<Meter>], target: Id<Meter>) -> bool {
        let (mut waiting, mut seen) = (from.to_vec(), HashSet::new());
        while let Some(id) = waiting.pop() {
            if id == target {
                return true;
            }
            if seen.insert(id) {
                let policy = self.meters.get(id).and_then(|meter| meter.policy);
                let next = policy.and_then(|policy| self.policies.get(policy));
                waiting.extend(next.map_or(&[][..], |next| &next.meters));
            }
        }
        false
    }
}
