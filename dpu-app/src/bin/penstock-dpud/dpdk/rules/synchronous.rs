//! Rules through the synchronous calls of `rte_flow`: each is done when its call returns.

use std::collections::VecDeque;
use std::ptr::NonNull;

use ::rte_flow::{EncodedRule, FlowError, Rule};
use dpu_app::offload::{Reply, Request, Ticket};

use super::refusal::Refusal;
use super::{Proxy, RuleHandle, query_count};
use crate::dpdk::Port;

/// See the module. Dropped, all rules are removed.
pub struct SynchronousRules<'port> {
    proxy: Proxy<'port>,
    replies: VecDeque<(Ticket, Reply<RuleHandle>)>,
}

impl<'port> SynchronousRules<'port> {
    /// The transfer rules that `proxy` manages.
    pub fn new(proxy: &'port Port<'_>) -> Self {
        Self { proxy: Proxy::new(proxy), replies: VecDeque::new() }
    }

    /// Carries out a request.
    pub(super) fn execute(&mut self, ticket: Ticket, request: Request<RuleHandle>) {
        let reply = match request {
            Request::Insert(rule) => Reply::Inserted(self.insert(&rule)),
            Request::Remove(handle) => {
                // A rule without a counter is none the worse.
                let last = query_count(&self.proxy, handle).ok();
                Reply::Removed(self.remove(handle).map(|()| last))
            }
            Request::Count(handle) => Reply::Counted(query_count(&self.proxy, handle)),
        };
        self.replies.push_back((ticket, reply));
    }

    /// What came of a request.
    pub(super) fn next_reply(&mut self) -> Option<(Ticket, Reply<RuleHandle>)> {
        self.replies.pop_front()
    }

    fn insert(&mut self, rule: &Rule) -> Result<RuleHandle, FlowError> {
        let encoded = EncodedRule::new(rule);
        let mut refusal = Refusal::default();
        // SAFETY: the port is started; the rule lives until the call is over, and DPDK copies what it keeps.
        let flow = unsafe {
            dpdk_sys::rte_flow_create(
                self.proxy.id,
                encoded.attributes(),
                encoded.pattern(),
                encoded.actions(),
                refusal.as_mut_ptr(),
            )
        };
        let created = NonNull::new(flow).map(RuleHandle);
        created.ok_or_else(|| refusal.last(Some((rule, &encoded))))
    }

    /// Removes a rule, which is still there when that is refused.
    fn remove(&mut self, rule: RuleHandle) -> Result<(), FlowError> {
        let mut refusal = Refusal::default();
        // SAFETY: the manager removes each rule once, and uses its handle no more when that succeeded.
        let result = unsafe {
            dpdk_sys::rte_flow_destroy(self.proxy.id, rule.0.as_ptr(), refusal.as_mut_ptr())
        };
        if result == 0 { Ok(()) } else { Err(refusal.read(-result, None)) }
    }
}

impl Drop for SynchronousRules<'_> {
    fn drop(&mut self) {
        // Nothing that was begun needs to be ended first.
        self.proxy.flush();
    }
}
