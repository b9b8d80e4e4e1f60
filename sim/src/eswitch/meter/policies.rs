//! Meter policies: made, found and deleted (`rte_mtr`).

use std::sync::Arc;

use rte_flow::{
    Action, ActionKind, Attributes, Color, Domain, EBUSY, ENOTSUP, MeterError, MeterErrorKind,
    MeterPolicy, MeterPolicyHandle, MeterRules,
};

use super::super::actions::{self, ActionRules, Plan, Planned};
use super::super::arena::Id;
use super::super::program::{Program, Step};
use super::super::switch::Eswitch;
use super::super::time::Time;
use super::PolicyEntry;
use super::objects::{refuse, there};

/// errno: there is no such operation, as `rte_mtr` says of those that a driver lacks.
const ENOSYS: i32 = 38;

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
        self.has_policies()?;
        self.compile_policy(port, policy).map(|_| ())
    }

    /// Adds a meter policy.
    ///
    /// # Errors
    /// `EEXIST` for an identifier in use, `EINVAL` for one out of range, `ENOTSUP` for actions that no domain has together,
    /// `ENOSYS` where the driver has no policies.
    pub fn meter_policy_add(
        &mut self,
        port: u16,
        id: u32,
        policy: &MeterPolicy,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        self.has_policies()?;
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

    fn has_policies(&self) -> Result<(), MeterError> {
        if self.profile.limits.meter_policies != Some(0) {
            return Ok(());
        }
        let message = "there are no meter policies; use METER_MARK without one";
        Err(refuse(MeterErrorKind::Unspecified, ENOSYS, message))
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

    /// The policy of a port's meters without one.
    pub(super) fn default_policy(&mut self, port: u16) -> Result<Id<PolicyEntry>, MeterError> {
        if let Some(known) = self.meters.default_policies.get(&port) {
            return Ok(*known);
        }
        let policy = MeterPolicy { red: vec![Action::Drop], ..MeterPolicy::default() };
        let entry = self.compile_policy(port, &policy)?;
        let entry = self.meters.policies.insert(entry);
        self.meters.default_policies.insert(port, entry);
        Ok(entry)
    }
}
