//! Meter profiles, policies and meters: made, changed, asked and destroyed (`rte_mtr`).

use std::sync::Arc;

use hashbrown::HashSet;
use rte_flow::{
    Action, ActionKind, Attributes, Color, ColorSource, Domain, EBUSY, EEXIST, EINVAL, ENOENT,
    ENOSPC, ENOTSUP, MeterAlgorithm, MeterError, MeterErrorKind, MeterMark, MeterMarkUpdate,
    MeterParams, MeterPolicy, MeterPolicyHandle, MeterProfile, MeterProfileHandle, MeterRules,
    MeterStatistics,
};

use super::super::actions::{self, ActionRules, Plan, Planned};
use super::super::arena::Id;
use super::super::program::{Program, Step};
use super::super::switch::Eswitch;
use super::super::time::Time;
use super::bucket::Buckets;
use super::input::Input;
use super::rounding;
use super::{Meter, MeterStats, Meters, PolicyEntry, ProfileEntry};

/// What a packet counts for, in bytes, where a card's limits are about bytes.
const PACKET_BYTES: u64 = 128;

/// What `rte_mtr_capabilities_get` tells of a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MeterCapabilities {
    /// How many meters there can be.
    pub meters: u64,
    /// How many policies a port can have.
    pub policies: u32,
    /// The highest rate in bytes a second.
    pub highest_rate: u64,
    /// What meters count.
    pub statistics: MeterStatistics,
    /// Whether the colour that packets bring may come from their headers.
    pub color_tables: bool,
    /// How many meters a packet can pass in one rule.
    pub chain: u32,
}

fn refuse(
    kind: MeterErrorKind,
    errno: i32,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> MeterError {
    MeterError::new(kind, errno, message)
}

fn missing(what: MeterErrorKind, name: &str, id: u32) -> MeterError {
    refuse(what, ENOENT, format!("there is no {name} {id}; add it first"))
}

fn there(what: MeterErrorKind, name: &str, id: u32) -> MeterError {
    refuse(what, EEXIST, format!("{name} {id} is there already; delete it or use another number"))
}

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

    fn meter(
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

    fn set_profile(&mut self, id: Id<Meter>, profile: Id<ProfileEntry>, now: Time) {
        let Some(meter) = self.meters.get_mut(id) else { return };
        let Some(entry) = self.profiles.get_mut(profile) else { return };
        entry.users += 1;
        meter.buckets.set_profile(entry.profile, now);
        let old = std::mem::replace(&mut meter.profile, profile);
        if let Some(entry) = self.profiles.get_mut(old) {
            entry.users = entry.users.saturating_sub(1);
        }
    }

    fn set_policy(&mut self, id: Id<Meter>, policy: Option<Id<PolicyEntry>>) {
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

    fn profile_id(&self, port: u16, id: u32) -> Result<Id<ProfileEntry>, MeterError> {
        let found = self.profile_ids.get(&(port, id)).copied();
        found.ok_or_else(|| missing(MeterErrorKind::ProfileId, "meter profile", id))
    }

    fn policy_id(&self, port: u16, id: u32) -> Result<Id<PolicyEntry>, MeterError> {
        let found = self.policy_ids.get(&(port, id)).copied();
        found.ok_or_else(|| missing(MeterErrorKind::PolicyId, "meter policy", id))
    }

    fn meter_id(&self, port: u16, id: u32) -> Result<Id<Meter>, MeterError> {
        let found = self.find(port, id);
        found.ok_or_else(|| missing(MeterErrorKind::MeterId, "meter", id))
    }

    fn meter_mut(&mut self, port: u16, id: u32) -> Result<&mut Meter, MeterError> {
        let found = self.find(port, id).and_then(|id| self.meters.get_mut(id));
        found.ok_or_else(|| missing(MeterErrorKind::MeterId, "meter", id))
    }

    /// Whether packets that pass one of `from` can come to a meter.
    fn reaches(&self, from: &[Id<Meter>], target: Id<Meter>) -> bool {
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

/// What a profile's numbers must be.
fn check_profile(profile: &MeterProfile, rules: &MeterRules) -> Result<(), MeterError> {
    let unit = if profile.packet_mode { PACKET_BYTES } else { 1 };
    let wrong = |message: String| refuse(MeterErrorKind::Params, ENOTSUP, message);
    let within = |name: &str, number: u64, most: Option<u64>, factor: u64| {
        let most = most.map_or(u64::MAX, |most| most.saturating_mul(factor)) / unit;
        if number > most {
            return Err(wrong(format!("{name} {number} is too high; use {most} at most")));
        }
        Ok(())
    };
    let positive = |name: &str, number: u64| {
        if number == 0 { Err(wrong(format!("{name} is 0; use 1 at least"))) } else { Ok(()) }
    };
    let (rate, burst) = (rules.highest_rate, rules.largest_burst);
    match profile.algorithm {
        MeterAlgorithm::None => Ok(()),
        MeterAlgorithm::SingleRate { cir, cbs, ebs } => {
            positive("cir", cir)?;
            positive("cbs", cbs)?;
            within("cir", cir, rate, 1)?;
            within("cbs", cbs, burst, 1)?;
            within("ebs", ebs, burst, 1)
        }
        MeterAlgorithm::TwoRate { cir, pir, cbs, pbs } => {
            positive("cir", cir)?;
            positive("cbs", cbs)?;
            within("cir", cir, rate, 1)?;
            within("pir", pir, rate, 2)?;
            within("cbs", cbs, burst, 1)?;
            within("pbs", pbs, burst, 2)?;
            if pir < cir || pbs < cbs {
                return Err(wrong("pir and pbs must reach cir and cbs; raise them".to_owned()));
            }
            Ok(())
        }
        MeterAlgorithm::TwoRateDifferentiated { cir, eir, cbs, ebs } => {
            positive("cir", cir)?;
            positive("cbs", cbs)?;
            within("cir", cir, rate, 1)?;
            within("eir", eir, rate, 1)?;
            within("cbs", cbs, burst, 1)?;
            within("ebs", ebs, burst, 1)
        }
    }
}

/// What a policy's actions must be.
fn check_policy(policy: &MeterPolicy, rules: &MeterRules) -> Result<(), MeterError> {
    let wrong = |message: String| refuse(MeterErrorKind::Policy, ENOTSUP, message);
    if rules.red_drops && policy.red != [Action::Drop] {
        return Err(wrong("red packets can be dropped only; give them DROP".to_owned()));
    }
    for color in [Color::Green, Color::Yellow] {
        let kinds = || policy.of(color).iter().map(Action::kind);
        if let Some(accepted) = &rules.policy_actions
            && let Some(other) = kinds().find(|kind| !accepted.contains(kind))
        {
            let message = format!("{other} cannot be in a policy; choose another action");
            return Err(wrong(message));
        }
        if kinds().any(|kind| kind == ActionKind::Drop) && kinds().count() > 1 {
            let message = format!("{} packets are dropped and more; remove the rest", color.name());
            return Err(wrong(message));
        }
    }
    Ok(())
}

/// The program of a policy's plan; a policy has no objects of its own.
fn program(plan: Plan) -> Result<Program, String> {
    let ready = |planned| match planned {
        Planned::Step(step) => Ok(step),
        Planned::Count | Planned::Age(_) | Planned::Meter(_) | Planned::Sample(..) => {
            Err("a policy cannot count, age, copy or mark; put that into the rule".to_owned())
        }
    };
    let steps = plan.steps.into_iter().map(ready).collect::<Result<Box<[Step]>, _>>()?;
    Ok(Program { steps, fate: plan.fate })
}

impl Eswitch {
    /// What a port's meters can do.
    ///
    /// # Errors
    /// An unknown port, a card without meters.
    pub fn meter_capabilities(&self, port: u16) -> Result<MeterCapabilities, MeterError> {
        self.meter_port(port)?;
        let rules = &self.profile.meter;
        Ok(MeterCapabilities {
            meters: self.profile.limits.meters.unwrap_or(u64::from(u32::MAX)),
            policies: self.profile.limits.meter_policies.unwrap_or(u32::MAX),
            highest_rate: rules.highest_rate.unwrap_or(u64::MAX),
            statistics: rules.statistics.unwrap_or(MeterStatistics::all()),
            color_tables: rules.color_tables,
            chain: if rules.color_tables { u32::MAX } else { 1 },
        })
    }

    fn meter_port(&self, port: u16) -> Result<(), MeterError> {
        let known = self
            .ports
            .known(port)
            .map_err(|error| refuse(MeterErrorKind::Unspecified, error.errno, error.message));
        known?;
        let kinds = [ActionKind::Meter, ActionKind::MeterMark];
        if kinds.iter().any(|kind| self.profile.knows(*kind)) {
            return Ok(());
        }
        let message = "the card has no meters; meter in software";
        Err(refuse(MeterErrorKind::Unspecified, ENOTSUP, message))
    }

    /// Adds a meter profile.
    ///
    /// # Errors
    /// `EEXIST` for an identifier in use, `EINVAL` for one out of range, `ENOTSUP` for rates and bursts that the card cannot have.
    pub fn meter_profile_add(
        &mut self,
        port: u16,
        id: u32,
        profile: MeterProfile,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        Self::below(self.profile.limits.meter_profiles, id, MeterErrorKind::ProfileId)?;
        if self.meters.profile_ids.contains_key(&(port, id)) {
            return Err(there(MeterErrorKind::ProfileId, "meter profile", id));
        }
        let rules = &self.profile.meter;
        check_profile(&profile, rules)?;
        let profile = if rules.rounded { rounding::round(profile) } else { profile };
        let entry = self.meters.profiles.insert(ProfileEntry { port, profile, users: 0 });
        self.meters.profile_ids.insert((port, id), entry);
        Ok(())
    }

    fn below(limit: Option<u32>, id: u32, kind: MeterErrorKind) -> Result<(), MeterError> {
        match limit {
            Some(limit) if id >= limit => {
                let message = format!("{id} is too high; use 0 to {}", limit.saturating_sub(1));
                Err(refuse(kind, EINVAL, message))
            }
            _ => Ok(()),
        }
    }

    /// Deletes a meter profile.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while meters use it.
    pub fn meter_profile_delete(
        &mut self,
        port: u16,
        id: u32,
        now: Time,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        // Rules that have left by now no longer use it.
        self.settle(now);
        let entry = self.meters.profile_id(port, id)?;
        if self.meters.profiles.get(entry).is_some_and(|profile| profile.users > 0) {
            let message = "meters use the profile; destroy them first";
            return Err(refuse(MeterErrorKind::ProfileId, EBUSY, message));
        }
        self.meters.profiles.remove(entry);
        self.meters.profile_ids.remove(&(port, id));
        Ok(())
    }

    /// The handle of a meter profile.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one.
    pub fn meter_profile(&self, port: u16, id: u32) -> Result<MeterProfileHandle, MeterError> {
        self.meter_port(port)?;
        Ok(MeterProfileHandle(self.meters.profile_id(port, id)?.to_bits() as usize))
    }

    /// What a policy does in each domain, where it can be in any.
    fn compile_policy(&self, port: u16, policy: &MeterPolicy) -> Result<PolicyEntry, MeterError> {
        check_policy(policy, &self.profile.meter)?;
        let mut entry = PolicyEntry {
            port,
            programs: [const { None }; 3],
            meters: Vec::new(),
            shared: Vec::new(),
            users: 0,
        };
        let mut problem = None;
        for domain in [Domain::Ingress, Domain::Egress, Domain::Transfer] {
            // No group has this number: rules jump from anywhere.
            let attributes = Attributes { group: u32::MAX, priority: 0, domain };
            let rules = ActionRules {
                attributes: &attributes,
                port,
                profile: &self.profile,
                ports: &self.ports,
                indirects: &self.indirects,
                meters: &self.meters,
            };
            let (mut meters, mut shared) = (Vec::new(), Vec::new());
            let mut compile = |color| {
                let draft = actions::lower(policy.of(color).iter().enumerate(), &rules)
                    .map_err(|error| error.message.into_owned())?;
                meters.extend(draft.meters);
                shared.extend(draft.shared);
                program(draft.plan).map(Arc::new)
            };
            let mut all =
                || Ok([compile(Color::Green)?, compile(Color::Yellow)?, compile(Color::Red)?]);
            match all() {
                Ok(programs) => {
                    if let Some(slot) = entry.programs.get_mut(domain as usize) {
                        *slot = Some(programs);
                    }
                    (entry.meters, entry.shared) = (meters, shared);
                }
                Err(message) => {
                    let _: &mut String = problem.get_or_insert(message);
                }
            }
        }
        match problem {
            Some(message) if entry.programs.iter().all(Option::is_none) => {
                Err(refuse(MeterErrorKind::Policy, ENOTSUP, message))
            }
            _ => Ok(entry),
        }
    }

    /// Whether [`Self::meter_policy_add`] would take a policy.
    ///
    /// # Errors
    /// What it would refuse it with.
    pub fn meter_policy_validate(&self, port: u16, policy: &MeterPolicy) -> Result<(), MeterError> {
        self.meter_port(port)?;
        self.compile_policy(port, policy).map(|_| ())
    }

    /// Adds a meter policy.
    ///
    /// # Errors
    /// `EEXIST` for an identifier in use, `EINVAL` for one out of range, `ENOTSUP` for actions that no domain has together.
    pub fn meter_policy_add(
        &mut self,
        port: u16,
        id: u32,
        policy: &MeterPolicy,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        Self::below(self.profile.limits.meter_policies, id, MeterErrorKind::PolicyId)?;
        if self.meters.policy_ids.contains_key(&(port, id)) {
            return Err(there(MeterErrorKind::PolicyId, "meter policy", id));
        }
        let entry = self.compile_policy(port, policy)?;
        for meter in &entry.meters {
            self.meters.acquire(*meter);
        }
        for handle in &entry.shared {
            self.indirects.acquire(*handle);
        }
        let entry = self.meters.policies.insert(entry);
        self.meters.policy_ids.insert((port, id), entry);
        Ok(())
    }

    /// Deletes a meter policy.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while meters use it.
    pub fn meter_policy_delete(&mut self, port: u16, id: u32, now: Time) -> Result<(), MeterError> {
        self.meter_port(port)?;
        // Rules that have left by now no longer use it.
        self.settle(now);
        let entry = self.meters.policy_id(port, id)?;
        if self.meters.policies.get(entry).is_some_and(|policy| policy.users > 0) {
            let message = "meters use the policy; destroy them first";
            return Err(refuse(MeterErrorKind::PolicyId, EBUSY, message));
        }
        self.meters.policy_ids.remove(&(port, id));
        if let Some(entry) = self.meters.policies.remove(entry) {
            for meter in entry.meters {
                self.meters.release(meter);
            }
            for handle in &entry.shared {
                self.indirects.release(*handle);
            }
        }
        Ok(())
    }

    /// The handle of a meter policy.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one.
    pub fn meter_policy(&self, port: u16, id: u32) -> Result<MeterPolicyHandle, MeterError> {
        self.meter_port(port)?;
        Ok(MeterPolicyHandle(self.meters.policy_id(port, id)?.to_bits() as usize))
    }

    /// Makes a meter; `shared`: for several rules.
    ///
    /// # Errors
    /// `EEXIST` for an identifier in use, `ENOENT` for an unknown profile or policy, `ENOSPC` when the card has no more, `ENOTSUP`
    /// for a card that has only `METER_MARK`, or takes no colours from headers.
    pub fn meter_create(
        &mut self,
        port: u16,
        id: u32,
        params: &MeterParams,
        shared: bool,
        now: Time,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        if !self.profile.knows(ActionKind::Meter) {
            let message = "meters have no numbers here; use the action METER_MARK";
            return Err(refuse(MeterErrorKind::Unspecified, ENOTSUP, message));
        }
        if self.meters.find(port, id).is_some() {
            return Err(there(MeterErrorKind::MeterId, "meter", id));
        }
        let profile = self.meters.profile_id(port, params.profile)?;
        let policy = match self.meters.policy_id(port, params.policy) {
            Err(_) if params.policy == 0 && self.profile.meter.default_policy => {
                self.default_policy(port)?
            }
            found => found?,
        };
        let rules = &self.profile.meter;
        let has_tables = params.dscp_table.is_some() || params.vlan_table.is_some();
        if has_tables && !rules.color_tables {
            let message = "packets bring no colour in their headers; leave the tables out";
            return Err(refuse(MeterErrorKind::Params, ENOTSUP, message));
        }
        if let Some(limit) =
            self.profile.limits.meters.filter(|limit| self.meters.len() as u64 >= *limit)
        {
            let message = format!("all {limit} meters are in use; destroy some");
            return Err(refuse(MeterErrorKind::MeterId, ENOSPC, message));
        }
        let mut input = Input {
            previous: params.uses_previous_color,
            sources: Vec::new(),
            dscp: params.dscp_table.clone(),
            vlan: params.vlan_table.clone(),
            default: params.default_color,
        };
        for (source, is_given) in [
            (ColorSource::OuterVlan, input.vlan.is_some()),
            (ColorSource::OuterIp, input.dscp.is_some()),
        ] {
            if is_given {
                input.set_source(source, 0);
            }
        }
        // Colour-blind, unless something says otherwise: `default_input_color` counts beside sources only.
        if input.sources.is_empty() {
            input.default = Color::Green;
        }
        let supported = rules.statistics.unwrap_or(MeterStatistics::all());
        let kept = params.statistics & supported;
        let Some(meter) = self.meters.meter(profile, Some(policy), input, rules, now) else {
            return Err(missing(MeterErrorKind::ProfileId, "meter profile", params.profile));
        };
        let stats = MeterStats { kept, ..MeterStats::default() };
        let meter = Meter { enabled: params.enabled, shared, stats, ..meter };
        let meter = self.meters.meters.insert(meter);
        self.meters.meter_ids.insert((port, id), meter);
        Ok(())
    }

    /// The policy of a port's meters without one.
    fn default_policy(&mut self, port: u16) -> Result<Id<PolicyEntry>, MeterError> {
        if let Some(known) = self.meters.default_policies.get(&port) {
            return Ok(*known);
        }
        let policy = MeterPolicy { red: vec![Action::Drop], ..MeterPolicy::default() };
        let entry = self.compile_policy(port, &policy)?;
        let entry = self.meters.policies.insert(entry);
        self.meters.default_policies.insert(port, entry);
        Ok(entry)
    }

    /// Destroys a meter.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while rules or policies use it.
    pub fn meter_destroy(&mut self, port: u16, id: u32, now: Time) -> Result<(), MeterError> {
        self.meter_port(port)?;
        // Rules that have left by now no longer use it.
        self.settle(now);
        let meter = self.meters.meter_id(port, id)?;
        if self.meters.meters.get(meter).is_some_and(|meter| meter.users > 0) {
            let message = "rules or policies use the meter; destroy them first";
            return Err(refuse(MeterErrorKind::Unspecified, EBUSY, message));
        }
        self.meters.remove(meter);
        self.meters.meter_ids.remove(&(port, id));
        Ok(())
    }

    /// Lets a meter meter, or give all packets the colour they come with.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one.
    pub fn meter_enable(&mut self, port: u16, id: u32, enabled: bool) -> Result<(), MeterError> {
        self.meter_port(port)?;
        self.meters.meter_mut(port, id)?.enabled = enabled;
        Ok(())
    }

    /// Gives a meter another profile.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter or profile.
    pub fn meter_set_profile(
        &mut self,
        port: u16,
        id: u32,
        profile: u32,
        now: Time,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        let profile = self.meters.profile_id(port, profile)?;
        let meter = self.meters.meter_id(port, id)?;
        self.meters.set_profile(meter, profile, now);
        Ok(())
    }

    /// Gives a meter another policy.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter or policy, `EINVAL` for one that leads back to the meter, `EBUSY` while rules use the meter
    /// that could not have this policy.
    pub fn meter_set_policy(&mut self, port: u16, id: u32, policy: u32) -> Result<(), MeterError> {
        self.meter_port(port)?;
        let policy = self.meters.policy_id(port, policy)?;
        let meter = self.meters.meter_id(port, id)?;
        let Some(next) = self.meters.policies.get(policy) else { return Ok(()) };
        let own = self.meters.meters.get(meter).and_then(|meter| meter.policy);
        if self.meters.reaches(&next.meters, meter) {
            let message = "the policy leads back to the meter; use one that does not";
            return Err(refuse(MeterErrorKind::PolicyId, EINVAL, message));
        }
        let in_use = self.meters.meters.get(meter).is_some_and(|meter| meter.users > 0);
        let old = own.and_then(|own| self.meters.policies.get(own));
        let narrower = old.is_some_and(|old| {
            let pairs = old.programs.iter().zip(&next.programs);
            pairs.clone().any(|(old, new)| old.is_some() && new.is_none())
        });
        if in_use && narrower {
            let message = "rules use the meter in domains that the policy is not for; use another";
            return Err(refuse(MeterErrorKind::PolicyId, EBUSY, message));
        }
        self.meters.set_policy(meter, Some(policy));
        Ok(())
    }

    fn colored(&mut self, port: u16, id: u32) -> Result<&mut Input, MeterError> {
        self.meter_port(port)?;
        if !self.profile.meter.color_tables {
            let message = "packets bring no colour in their headers; meter colour-blind";
            return Err(refuse(MeterErrorKind::Params, ENOTSUP, message));
        }
        Ok(&mut self.meters.meter_mut(port, id)?.input)
    }

    /// Sets the colours of DSCPs; `None`: all green.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_set_dscp_table(
        &mut self,
        port: u16,
        id: u32,
        table: Option<Box<[Color; 64]>>,
    ) -> Result<(), MeterError> {
        self.colored(port, id)?.dscp = table;
        Ok(())
    }

    /// Sets the colours of VLAN priorities; `None`: all green.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_set_vlan_table(
        &mut self,
        port: u16,
        id: u32,
        table: Option<Box<[Color; 16]>>,
    ) -> Result<(), MeterError> {
        self.colored(port, id)?.vlan = table;
        Ok(())
    }

    /// Lets a header say the colour that packets bring; of several, the one with the lowest number goes first.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_set_color_source(
        &mut self,
        port: u16,
        id: u32,
        source: ColorSource,
        priority: u32,
    ) -> Result<(), MeterError> {
        self.colored(port, id)?.set_source(source, priority);
        Ok(())
    }

    /// The headers that say the colour, with their priorities.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_color_sources(
        &mut self,
        port: u16,
        id: u32,
    ) -> Result<Vec<(ColorSource, u32)>, MeterError> {
        let sources = &self.colored(port, id)?.sources;
        Ok(sources.iter().map(|entry| (entry.source, entry.priority)).collect())
    }

    /// Changes what a meter counts; numbers that it keeps on counting stay.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter.
    pub fn meter_set_statistics(
        &mut self,
        port: u16,
        id: u32,
        statistics: MeterStatistics,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        let supported = self.profile.meter.statistics.unwrap_or(MeterStatistics::all());
        self.meters.meter_mut(port, id)?.stats.kept = statistics & supported;
        Ok(())
    }

    /// What a meter has counted; with `clear` it begins at 0 again.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter.
    pub fn meter_statistics(
        &mut self,
        port: u16,
        id: u32,
        clear: bool,
    ) -> Result<MeterStats, MeterError> {
        self.meter_port(port)?;
        let stats = &mut self.meters.meter_mut(port, id)?.stats;
        let fresh = MeterStats { kept: stats.kept, ..MeterStats::default() };
        Ok(if clear { std::mem::replace(stats, fresh) } else { *stats })
    }
}
