//! Rules in the NIC, through the synchronous calls of `rte_flow`.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use ::rte_flow::{ActionKind, Cause, EncodedRule, ErrorKind, FlowError, Rule};
use dpdk_sys::{
    rte_flow as Flow, rte_flow_action, rte_flow_error, rte_flow_item, rte_flow_query_count,
};

use dpu_app::offload::RuleCounters;

use super::Port;

/// A rule in the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleHandle(NonNull<Flow>);

// SAFETY: a handle is only a name here; nobody but DPDK looks behind it.
unsafe impl Send for RuleHandle {}

/// The transfer rules of a NIC. Dropped, they are all removed.
pub struct Rules<'port> {
    proxy: u16,
    port: PhantomData<&'port Port<'port>>,
}

impl<'port> Rules<'port> {
    /// The transfer rules of the NIC that `port` belongs to.
    ///
    /// # Errors
    /// When the port has no such rules.
    pub fn new(port: &'port Port<'_>) -> Result<Self, FlowError> {
        let mut proxy = 0;
        let mut refusal = Refusal::default();
        // SAFETY: there is room for the port's number and the error.
        let result = unsafe {
            dpdk_sys::rte_flow_pick_transfer_proxy(
                port.device().id,
                &raw mut proxy,
                refusal.as_mut_ptr(),
            )
        };
        if result < 0 {
            return Err(refusal.read(-result, None));
        }
        Ok(Self { proxy, port: PhantomData })
    }

    /// Inserts a rule.
    ///
    /// # Errors
    /// The NIC's refusal.
    pub fn insert(&mut self, rule: &Rule) -> Result<RuleHandle, FlowError> {
        let encoded = EncodedRule::new(rule);
        let mut refusal = Refusal::default();
        // SAFETY: the port is started; the rule lives until the call is over, and DPDK copies what it keeps.
        let flow = unsafe {
            dpdk_sys::rte_flow_create(
                self.proxy,
                encoded.attributes(),
                encoded.pattern(),
                encoded.actions(),
                refusal.as_mut_ptr(),
            )
        };
        NonNull::new(flow).map(RuleHandle).ok_or_else(|| {
            // SAFETY: reads a variable of this thread.
            let errno = unsafe { dpdk_sys::dpdk_sys_errno() };
            refusal.read(errno, Some((rule, &encoded)))
        })
    }

    /// Removes a rule. A handle is used once.
    ///
    /// # Errors
    /// The NIC's refusal; the rule is still there.
    pub fn remove(&mut self, rule: RuleHandle) -> Result<(), FlowError> {
        let mut refusal = Refusal::default();
        // SAFETY: the manager removes each rule once, and uses its handle no more when that succeeded.
        let result = unsafe {
            dpdk_sys::rte_flow_destroy(self.proxy, rule.0.as_ptr(), refusal.as_mut_ptr())
        };
        if result == 0 { Ok(()) } else { Err(refusal.read(-result, None)) }
    }

    /// Reads a rule's counter.
    ///
    /// # Errors
    /// When it cannot be read, at present or at all.
    pub fn count(&mut self, rule: RuleHandle) -> Result<RuleCounters, FlowError> {
        let mut refusal = Refusal::default();
        let mut count = MaybeUninit::<rte_flow_query_count>::zeroed();
        let action = [
            rte_flow_action { type_: ActionKind::Count.number(), conf: ptr::null() },
            // SAFETY: all-zero is END.
            unsafe { MaybeUninit::zeroed().assume_init() },
        ];
        // SAFETY: the rule is in the NIC; action, counter and error live until the call is over.
        let result = unsafe {
            dpdk_sys::rte_flow_query(
                self.proxy,
                rule.0.as_ptr(),
                action.as_ptr(),
                count.as_mut_ptr().cast(),
                refusal.as_mut_ptr(),
            )
        };
        if result != 0 {
            return Err(refusal.read(-result, None));
        }
        // SAFETY: all-zero is valid.
        let count = unsafe { count.assume_init() };
        Ok(RuleCounters { packets: count.hits, bytes: count.bytes })
    }
}

impl Drop for Rules<'_> {
    fn drop(&mut self) {
        let mut refusal = Refusal::default();
        // SAFETY: the port is started, and no handle is used any more. A failure changes nothing: the port is stopped
        // next, and no rule outlives that.
        unsafe { dpdk_sys::rte_flow_flush(self.proxy, refusal.as_mut_ptr()) };
    }
}

/// Room for what DPDK says about a failed call.
struct Refusal(rte_flow_error);

impl Default for Refusal {
    fn default() -> Self {
        let type_ = ErrorKind::Unspecified.number();
        Self(rte_flow_error { type_, cause: ptr::null(), message: ptr::null() })
    }
}

impl Refusal {
    const fn as_mut_ptr(&mut self) -> *mut rte_flow_error {
        &raw mut self.0
    }

    /// What was said; `rule` is what was refused, if its parts can be the cause.
    fn read(&self, errno: i32, rule: Option<(&Rule, &EncodedRule)>) -> FlowError {
        let message = NonNull::new(self.0.message.cast_mut()).map_or_else(
            || format!("refused without a message (errno {errno})"),
            // SAFETY: a message is a terminated text that the driver keeps at least until its next call.
            |message| unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned(),
        );
        FlowError {
            kind: ErrorKind::from_number(self.0.type_),
            errno,
            cause: rule.map_or(Cause::None, |(rule, encoded)| self.cause(rule, encoded)),
            message: message.into(),
        }
    }
    /// Which part of the rule the error points at.
    fn cause(&self, rule: &Rule, encoded: &EncodedRule) -> Cause {
        let cause = self.0.cause.addr();
        let place = |list: usize, size: usize, length: usize| {
            cause.checked_sub(list).map(|offset| offset / size).filter(|place| *place < length)
        };
        if cause == encoded.attributes().addr() {
            return Cause::Attributes;
        }
        let item = place(encoded.pattern().addr(), size_of::<rte_flow_item>(), rule.pattern.len());
        let action =
            place(encoded.actions().addr(), size_of::<rte_flow_action>(), rule.actions.len());
        item.map(Cause::Item).or(action.map(Cause::Action)).unwrap_or(Cause::None)
    }
}
