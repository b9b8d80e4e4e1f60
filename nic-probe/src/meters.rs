//! Meters of a port, and what it accepts of them. Each object is gone when its value is.

use std::mem::{MaybeUninit, zeroed};
use std::ptr::{self, NonNull};

use ::rte_flow::{
    Action, Attributes, Domain, EncodedRule, MeterPolicyHandle, MeterProfileHandle, MeterStatistics,
};
use dpdk_sys::{
    rte_color, rte_mtr_error, rte_mtr_meter_policy_params, rte_mtr_meter_profile, rte_mtr_params,
    rte_mtr_stats,
};

use crate::trial::largest;

/// Room for what DPDK says of a failed call on a meter.
struct Refusal(MaybeUninit<rte_mtr_error>);

impl Refusal {
    const fn new() -> Self {
        Self(MaybeUninit::zeroed())
    }

    const fn get(&mut self) -> *mut rte_mtr_error {
        self.0.as_mut_ptr()
    }
}

/// A rate and burst that every meter has: ten megabytes a second, one at once.
pub const USUAL: (u64, u64) = (10_000_000, 1_000_000);

/// How to meter: one rate, two bursts (RFC 2697).
pub struct MeterProfile {
    port: u16,
    id: u32,
}

impl MeterProfile {
    /// The identifier that all NICs have.
    pub const NUMBER: u32 = 0;

    /// Makes one of this committed rate in bytes a second and this committed burst in bytes.
    pub fn add(port: u16, id: u32, (rate, burst): (u64, u64)) -> Option<Self> {
        // SAFETY: a structure of numbers, for all of which zero is a value; it lives until the call is over.
        let result = unsafe {
            let mut profile: rte_mtr_meter_profile = zeroed();
            profile.alg = dpdk_sys::RTE_MTR_SRTCM_RFC2697;
            profile.__bindgen_anon_1.srtcm_rfc2697.cir = rate;
            profile.__bindgen_anon_1.srtcm_rfc2697.cbs = burst;
            let profile = &raw mut profile;
            dpdk_sys::rte_mtr_meter_profile_add(port, id, profile, Refusal::new().get())
        };
        (result == 0).then_some(Self { port, id })
    }

    /// The name by which `METER_MARK` knows it.
    pub fn handle(&self) -> Option<MeterProfileHandle> {
        // SAFETY: takes any numbers.
        let handle = unsafe {
            dpdk_sys::rte_mtr_meter_profile_get(self.port, self.id, Refusal::new().get())
        };
        NonNull::new(handle).map(|handle| MeterProfileHandle(handle.as_ptr().expose_provenance()))
    }
}

impl Drop for MeterProfile {
    fn drop(&mut self) {
        // SAFETY: it was made, and goes once.
        unsafe {
            dpdk_sys::rte_mtr_meter_profile_delete(self.port, self.id, Refusal::new().get());
        }
    }
}

/// What to do with packets of each colour.
pub struct MeterPolicy {
    port: u16,
    id: u32,
}

impl MeterPolicy {
    /// Makes one that does this with green packets, and with red ones that; yellow ones go on.
    pub fn add(port: u16, id: u32, green: &[Action], red: &[Action]) -> Option<Self> {
        let attributes = Attributes { group: 0, priority: 0, domain: Domain::Transfer };
        let [green, yellow, red] =
            [green, &[], red].map(|actions| EncodedRule::from_parts(&attributes, &[], actions));
        let actions = [green.actions(), yellow.actions(), red.actions()];
        let mut policy = rte_mtr_meter_policy_params { actions };
        // SAFETY: the lists live until the call is over.
        let result = unsafe {
            dpdk_sys::rte_mtr_meter_policy_add(port, id, &raw mut policy, Refusal::new().get())
        };
        (result == 0).then_some(Self { port, id })
    }

    /// The name by which `METER_MARK` knows it.
    pub fn handle(&self) -> Option<MeterPolicyHandle> {
        // SAFETY: takes any numbers.
        let handle =
            unsafe { dpdk_sys::rte_mtr_meter_policy_get(self.port, self.id, Refusal::new().get()) };
        NonNull::new(handle).map(|handle| MeterPolicyHandle(handle.as_ptr().expose_provenance()))
    }
}

impl Drop for MeterPolicy {
    fn drop(&mut self) {
        // SAFETY: it was made, and goes once.
        unsafe {
            dpdk_sys::rte_mtr_meter_policy_delete(self.port, self.id, Refusal::new().get());
        }
    }
}

/// A meter.
pub struct Meter {
    port: u16,
    /// Its identifier.
    pub id: u32,
}

/// What is asked of a meter besides.
#[derive(Default)]
pub struct Wishes<'a> {
    /// What it counts.
    pub statistics: MeterStatistics,
    /// The colours that packets bring with them, by DSCP.
    pub dscp: Option<&'a mut [rte_color; 64]>,
}

impl Meter {
    /// Makes one with a profile and a policy of these identifiers.
    pub fn create(
        port: u16,
        id: u32,
        (profile, policy): (u32, u32),
        wishes: Wishes<'_>,
    ) -> Option<Self> {
        // SAFETY: a structure of numbers and pointers, for all of which zero is a value; it lives until the call is over.
        let result = unsafe {
            let mut params: rte_mtr_params = zeroed();
            params.meter_profile_id = profile;
            params.meter_policy_id = policy;
            params.meter_enable = 1;
            params.stats_mask = wishes.statistics.bits();
            params.dscp_table = wishes.dscp.map_or(ptr::null_mut(), |table| table.as_mut_ptr());
            dpdk_sys::rte_mtr_create(port, id, &raw mut params, 1, Refusal::new().get())
        };
        (result == 0).then_some(Self { port, id })
    }

    /// What it counts.
    fn statistics(&self) -> MeterStatistics {
        let mut stats = MaybeUninit::<rte_mtr_stats>::zeroed();
        let mut mask = 0;
        // SAFETY: there is room for counters and mask.
        unsafe {
            dpdk_sys::rte_mtr_stats_read(
                self.port,
                self.id,
                stats.as_mut_ptr(),
                &raw mut mask,
                0,
                Refusal::new().get(),
            );
        }
        MeterStatistics::from_bits_truncate(mask)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // SAFETY: it was made, and goes once.
        unsafe {
            dpdk_sys::rte_mtr_destroy(self.port, self.id, Refusal::new().get());
        }
    }
}

/// What a port accepts of meters.
pub struct Meters {
    /// The highest committed rate in bytes a second, if there is a limit.
    pub highest_rate: Option<u64>,
    /// The largest committed burst in bytes, if there is a limit.
    pub largest_burst: Option<u64>,
    /// What they count, if any can be made.
    pub statistics: Option<MeterStatistics>,
    /// Packets may bring their colour in their headers.
    pub color_tables: bool,
    /// A policy drops red packets, and can do nothing else with them.
    pub red_drops: bool,
    /// Without a policy of number 0, there is one.
    pub default_policy: bool,
}

/// The identifier of the meters and policies that are tried.
const TRIED: u32 = 2;

/// Finds out about the meters of a port, if it has any. Nothing else of the port's may use a meter profile meanwhile.
pub fn examine(port: u16) -> Option<Meters> {
    let (rate, burst) = USUAL;
    let add = |numbers: (u64, u64)| MeterProfile::add(port, MeterProfile::NUMBER, numbers);
    let accepts = |numbers: (u64, u64)| add(numbers).is_some();
    let highest_rate = largest(u64::MAX, |rate| rate == 0 || accepts((rate, burst)));
    let largest_burst = largest(u64::MAX, |burst| burst == 0 || accepts((rate, burst)));
    let _profile = add(USUAL)?;
    // Some drivers have none.
    let _policy = MeterPolicy::add(port, TRIED, &[], &[Action::Drop]);
    let create = |policy: u32, wishes: Wishes<'_>| {
        Meter::create(port, TRIED, (MeterProfile::NUMBER, policy), wishes)
    };
    let counts = |statistics: MeterStatistics| {
        let meter = create(TRIED, Wishes { statistics, ..Wishes::default() });
        meter.is_some_and(|meter| meter.statistics().contains(statistics))
    };
    // Some cards meter in METER_MARK alone.
    let has_meters = create(TRIED, Wishes::default()).is_some();
    let statistics = MeterStatistics::all().iter().filter(|one| counts(*one)).collect();
    let statistics = has_meters.then_some(statistics);
    let mut green = [dpdk_sys::RTE_COLOR_GREEN; 64];
    let dscp = Some(&mut green);
    let color_tables = create(TRIED, Wishes { dscp, ..Wishes::default() }).is_some();
    let default_policy = create(0, Wishes::default()).is_some();
    let red_drops = MeterPolicy::add(port, TRIED + 1, &[], &[]).is_none();
    Some(Meters {
        highest_rate,
        largest_burst,
        statistics,
        color_tables,
        red_drops,
        default_policy,
    })
}

/// Whether a policy may do this with green packets.
pub fn policy_takes(port: u16, action: &Action) -> bool {
    MeterPolicy::add(port, TRIED, std::slice::from_ref(action), &[Action::Drop]).is_some()
}
