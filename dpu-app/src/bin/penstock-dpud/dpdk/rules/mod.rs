//! Transfer rules in the NIC. There are two interfaces to them, [`SynchronousRules`] and [`TemplateRules`]; either takes
//! requests of the offload manager and gives a reply to each.

mod queue;
mod refusal;
mod synchronous;
mod table;
mod templates;

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use ::rte_flow::{ActionKind, FlowError};
use dpdk_sys::{rte_flow as Flow, rte_flow_action, rte_flow_query_count};
use dpu_app::offload::{Reply, Request, RuleCounters, Ticket};

use super::{Port, StoppedPort};
use refusal::Refusal;

pub use queue::FlowQueue;
pub use synchronous::SynchronousRules;
pub use templates::TemplateRules;

/// A rule in the NIC, or on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleHandle(NonNull<Flow>);

// SAFETY: a handle is only a name here; nobody but DPDK looks behind it.
unsafe impl Send for RuleHandle {}

/// The number of the port that manages the transfer rules of the NIC that `port` belongs to.
///
/// # Errors
/// When the NIC has no such rules.
pub fn transfer_proxy(port: &StoppedPort<'_>) -> Result<u16, FlowError> {
    let mut proxy = 0;
    let mut refusal = Refusal::default();
    let id = port.device().id;
    // SAFETY: there is room for the port's number and the error.
    let result =
        unsafe { dpdk_sys::rte_flow_pick_transfer_proxy(id, &raw mut proxy, refusal.as_mut_ptr()) };
    if result < 0 { Err(refusal.read(-result, None)) } else { Ok(proxy) }
}

/// The transfer rules of a NIC. Dropped, they are all removed.
pub enum Rules<'port> {
    /// Through synchronous calls.
    Synchronous(SynchronousRules<'port>),
    /// Through templates and a queue.
    Templates(TemplateRules<'port>),
}

impl Rules<'_> {
    /// Whether it takes a request now.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Synchronous(_) => true,
            Self::Templates(rules) => rules.has_room(),
        }
    }

    /// Begins a request. Where there is no room ([`Self::has_room`]) it is refused with `EAGAIN`.
    pub fn execute(&mut self, ticket: Ticket, request: Request<RuleHandle>) {
        match self {
            Self::Synchronous(rules) => rules.execute(ticket, request),
            Self::Templates(rules) => rules.execute(ticket, request),
        }
    }

    /// Hands the NIC what was begun since the last call: to be called after a batch of requests.
    pub fn push(&mut self) {
        match self {
            Self::Synchronous(_) => {}
            Self::Templates(rules) => rules.push(),
        }
    }

    /// What came of a request; `None` when the NIC has nothing to say at present.
    pub fn next_reply(&mut self) -> Option<(Ticket, Reply<RuleHandle>)> {
        match self {
            Self::Synchronous(rules) => rules.next_reply(),
            Self::Templates(rules) => rules.next_reply(),
        }
    }
}

/// The started port that manages transfer rules.
struct Proxy<'port> {
    id: u16,
    port: PhantomData<&'port Port<'port>>,
}

impl<'port> Proxy<'port> {
    fn new(port: &'port Port<'_>) -> Self {
        Self { id: port.device().id, port: PhantomData }
    }

    /// Removes all rules.
    fn flush(&self) {
        let mut refusal = Refusal::default();
        // SAFETY: the port is started, and no handle is used any more. A failure changes nothing: the port is stopped
        // next, and no rule outlives that.
        unsafe { dpdk_sys::rte_flow_flush(self.id, refusal.as_mut_ptr()) };
    }
}

/// Reads a rule's counter, which fails when it cannot be read, at present or at all. The rule must be in the NIC.
fn query_count(proxy: &Proxy<'_>, rule: RuleHandle) -> Result<RuleCounters, FlowError> {
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
            proxy.id,
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
