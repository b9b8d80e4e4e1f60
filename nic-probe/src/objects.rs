//! Objects that actions name: a meter, and actions that rules share.

use std::mem::zeroed;
use std::ptr::{self, NonNull};

use ::rte_flow::{Action, ActionKind, Attributes, Domain, EncodedRule, IndirectHandle};
use dpdk_sys::rte_flow_indir_action_conf;

use crate::meters::{Meter, MeterPolicy, MeterProfile, USUAL, Wishes};
use crate::rules::Refusal;

/// The identifier of the meter and its policy.
const METER: u32 = 1;

/// Objects of a port, as far as the NIC has such. Dropped, they go, what others are made of last.
pub struct Objects {
    port: u16,
    /// Shared actions.
    pub shared: Vec<(ActionKind, IndirectHandle)>,
    /// The meter.
    pub meter: Option<Meter>,
    /// What happens to what it coloured: what is red is dropped, the rest goes on.
    pub meter_policy: Option<MeterPolicy>,
    /// How it meters.
    pub meter_profile: Option<MeterProfile>,
}

impl Objects {
    /// Makes what the NIC has of them.
    pub fn make(port: u16) -> Self {
        let meter_profile = MeterProfile::add(port, MeterProfile::NUMBER, USUAL);
        let meter_policy = MeterPolicy::add(port, METER, &[], &[Action::Drop]);
        let meter = Meter::create(port, METER, (MeterProfile::NUMBER, METER), Wishes::default());
        Self { port, shared: Vec::new(), meter, meter_policy, meter_profile }
    }

    /// Makes an action that rules can share, if the NIC takes it as such.
    pub fn share(&mut self, action: &Action) -> Option<IndirectHandle> {
        // A domain that has it will do.
        let handle = [Domain::Transfer, Domain::Ingress, Domain::Egress]
            .into_iter()
            .find_map(|domain| self.share_in(domain, action))?;
        self.shared.push((action.kind(), handle));
        Some(handle)
    }

    fn share_in(&self, domain: Domain, action: &Action) -> Option<IndirectHandle> {
        // SAFETY: all-zero is a configuration for no direction.
        let mut configuration: rte_flow_indir_action_conf = unsafe { zeroed() };
        match domain {
            Domain::Ingress => configuration.set_ingress(1),
            Domain::Egress => configuration.set_egress(1),
            Domain::Transfer => configuration.set_transfer(1),
        }
        let attributes = Attributes { group: 0, priority: 0, domain };
        let encoded = EncodedRule::from_parts(&attributes, &[], std::slice::from_ref(action));
        // SAFETY: the port is started; configuration and action live until the call is over.
        let handle = unsafe {
            dpdk_sys::rte_flow_action_handle_create(
                self.port,
                &raw const configuration,
                encoded.actions(),
                Refusal::new().get(),
            )
        };
        NonNull::new(handle).map(|handle| IndirectHandle(handle.as_ptr().expose_provenance()))
    }

    /// Whether a shared action takes an update: another RSS, or one that changes nothing.
    pub fn updates(&self, handle: IndirectHandle, action: &Action) -> bool {
        /// As large as any structure of updates, all of which consist of numbers and pointers.
        #[repr(align(16))]
        struct Nothing([u8; 512]);
        let nothing = Nothing([0; 512]);
        let attributes = Attributes { group: 0, priority: 0, domain: Domain::Ingress };
        let encoded = EncodedRule::from_parts(&attributes, &[], std::slice::from_ref(action));
        let update = match action {
            Action::Rss(_) => encoded.actions().cast(),
            _ => nothing.0.as_ptr().cast(),
        };
        // SAFETY: a handle of this port; the update lives until the call is over.
        let result = unsafe {
            dpdk_sys::rte_flow_action_handle_update(
                self.port,
                ptr::with_exposed_provenance_mut(handle.0),
                update,
                Refusal::new().get(),
            )
        };
        result == 0
    }

    /// The shared action of a kind.
    pub fn of_kind(&self, kind: ActionKind) -> Option<IndirectHandle> {
        self.shared.iter().find(|(shared, _)| *shared == kind).map(|(_, handle)| *handle)
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        for (_, handle) in &self.shared {
            // SAFETY: the handle came from the port, no rule uses it any more, and it is not used again.
            unsafe {
                dpdk_sys::rte_flow_action_handle_destroy(
                    self.port,
                    ptr::with_exposed_provenance_mut(handle.0),
                    Refusal::new().get(),
                );
            }
        }
    }
}
