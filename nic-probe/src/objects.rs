//! Objects that actions name: a meter, and actions that rules share.

use std::mem::{MaybeUninit, zeroed};
use std::ptr::{self, NonNull};

use ::rte_flow::{
    Action, ActionKind, Attributes, Domain, EncodedRule, IndirectHandle, MeterPolicyHandle,
    MeterProfileHandle,
};
use dpdk_sys::{
    rte_flow_action, rte_flow_indir_action_conf, rte_mtr_error, rte_mtr_meter_policy_params,
    rte_mtr_meter_profile, rte_mtr_params,
};

use crate::rules::Refusal;

/// The identifier of the meter, its profile and its policy.
const METER: u32 = 1;

/// Objects of a port, as far as the NIC has such. Dropped, they go.
pub struct Objects {
    port: u16,
    has_profile: bool,
    has_policy: bool,
    /// The meter, if there is one.
    pub meter: Option<u32>,
    /// How it meters.
    pub meter_profile: Option<MeterProfileHandle>,
    /// What happens to what it coloured.
    pub meter_policy: Option<MeterPolicyHandle>,
    /// Shared actions.
    pub shared: Vec<(ActionKind, IndirectHandle)>,
}

/// Room for what DPDK says of a failed call on a meter.
struct MeterRefusal(MaybeUninit<rte_mtr_error>);

impl MeterRefusal {
    const fn new() -> Self {
        Self(MaybeUninit::zeroed())
    }

    const fn get(&mut self) -> *mut rte_mtr_error {
        self.0.as_mut_ptr()
    }
}

impl Objects {
    /// Makes what the NIC has of them.
    pub fn make(port: u16) -> Self {
        let mut objects = Self {
            port,
            has_profile: false,
            has_policy: false,
            meter: None,
            meter_profile: None,
            meter_policy: None,
            shared: Vec::new(),
        };
        objects.make_meter();
        objects
    }

    /// A meter of ten megabytes a second, which drops what is red and leaves the rest alone.
    fn make_meter(&mut self) {
        const RATE: u64 = 10_000_000;
        const BURST: u64 = 1_000_000;
        // SAFETY: all-zero is END.
        let end: rte_flow_action = unsafe { zeroed() };
        let nothing = [end];
        let drop = [
            rte_flow_action { type_: ActionKind::Drop.number(), conf: ptr::null() },
            // SAFETY: as above.
            unsafe { zeroed() },
        ];
        let mut policy = rte_mtr_meter_policy_params {
            actions: [nothing.as_ptr(), nothing.as_ptr(), drop.as_ptr()],
        };
        // SAFETY: structures of numbers and pointers, for all of which zero is a value; they live until the calls are over.
        unsafe {
            let mut profile: rte_mtr_meter_profile = zeroed();
            profile.alg = dpdk_sys::RTE_MTR_SRTCM_RFC2697;
            profile.__bindgen_anon_1.srtcm_rfc2697.cir = RATE;
            profile.__bindgen_anon_1.srtcm_rfc2697.cbs = BURST;
            let port = self.port;
            let added = dpdk_sys::rte_mtr_meter_profile_add(
                port,
                METER,
                &raw mut profile,
                MeterRefusal::new().get(),
            );
            self.has_profile = added == 0;
            let added = dpdk_sys::rte_mtr_meter_policy_add(
                port,
                METER,
                &raw mut policy,
                MeterRefusal::new().get(),
            );
            self.has_policy = added == 0;
            if !self.has_profile {
                return;
            }
            let handle =
                dpdk_sys::rte_mtr_meter_profile_get(port, METER, MeterRefusal::new().get());
            self.meter_profile = NonNull::new(handle)
                .map(|handle| MeterProfileHandle(handle.as_ptr().expose_provenance()));
            if !self.has_policy {
                return;
            }
            let handle = dpdk_sys::rte_mtr_meter_policy_get(port, METER, MeterRefusal::new().get());
            self.meter_policy = NonNull::new(handle)
                .map(|handle| MeterPolicyHandle(handle.as_ptr().expose_provenance()));
            let mut params: rte_mtr_params = zeroed();
            params.meter_profile_id = METER;
            params.meter_policy_id = METER;
            params.meter_enable = 1;
            let made = dpdk_sys::rte_mtr_create(
                port,
                METER,
                &raw mut params,
                1,
                MeterRefusal::new().get(),
            );
            self.meter = (made == 0).then_some(METER);
        }
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
        // SAFETY: what was made goes once, the meter before what it is made of.
        unsafe {
            if self.meter.is_some() {
                dpdk_sys::rte_mtr_destroy(self.port, METER, MeterRefusal::new().get());
            }
            if self.has_policy {
                dpdk_sys::rte_mtr_meter_policy_delete(self.port, METER, MeterRefusal::new().get());
            }
            if self.has_profile {
                dpdk_sys::rte_mtr_meter_profile_delete(self.port, METER, MeterRefusal::new().get());
            }
        }
    }
}
