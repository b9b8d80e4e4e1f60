//! Rules through templates and a queue (`rte_flow_async_*`): begun here, done when their completion is pulled.
//!
//! Requests are begun with `postpone` and handed over in batches ([`TemplateRules::push`]). Completions may come in any
//! order; each brings back the slot of the operation it ends.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::thread;
use std::time::{Duration, Instant};

use ::rte_flow::{EAGAIN, ENOTSUP, EncodedRule, ErrorKind, FlowError, Rule};
use dpdk_sys::{RTE_FLOW_OP_SUCCESS, rte_flow_op_attr, rte_flow_op_result};
use dpu_app::offload::{Reply, Request, RuleCounters, Ticket};
use rte_flow_compiler::{Nic, TableTemplate, shape, templates};
use tracing::warn;

use super::queue::FlowQueue;
use super::refusal::Refusal;
use super::table::Table;
use super::{Proxy, RuleHandle, query_count};
use crate::dpdk::Port;

/// Completions that are pulled at a time.
const COMPLETIONS: usize = 64;
/// How long operations in flight are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// An operation in flight.
#[derive(Clone, Copy)]
enum Operation {
    Create(Ticket, RuleHandle),
    /// With the rule's last count.
    Destroy(Ticket, Option<RuleCounters>),
    /// Destroys the handle of a rule whose creation failed: it must be, though there is no rule.
    CleanUp,
}

/// A shape of rules, and the table for them or why the NIC has none.
type Shape = (TableTemplate, Result<Table, FlowError>);

/// See the module. Dropped, all rules are removed, then tables and templates.
pub struct TemplateRules<'port> {
    proxy: Proxy<'port>,
    shapes: Vec<Shape>,
    slots: Slots,
    /// Whether operations wait for a push.
    postponed: bool,
    /// Handles of rules that the NIC did not make, to be destroyed when there is room.
    stillborn: Vec<RuleHandle>,
    replies: VecDeque<(Ticket, Reply<RuleHandle>)>,
}

impl<'port> TemplateRules<'port> {
    /// The transfer rules that `proxy` manages, with a table for each shape of rule that `nic` takes.
    ///
    /// A shape whose table is refused takes no rules; the refusal is that of each of its rules.
    pub fn new(queue: &FlowQueue, proxy: &'port Port<'_>, nic: &Nic) -> Self {
        let table = |template: TableTemplate| {
            let table = Table::create(queue.port, nic, &template);
            if let Err(refusal) = &table {
                let group = template.attributes.group;
                warn!(group, "the NIC refuses a table; what needs it stays in software: {refusal}");
            }
            (template, table)
        };
        Self {
            proxy: Proxy::new(proxy),
            shapes: templates(nic).into_iter().map(table).collect(),
            slots: Slots::new(queue.size),
            postponed: false,
            stillborn: Vec::new(),
            replies: VecDeque::new(),
        }
    }

    /// Whether the queue takes a request.
    pub(super) fn has_room(&self) -> bool {
        self.slots.has_free()
    }

    /// Begins a request. One that the NIC does not begin is answered at once.
    pub(super) fn execute(&mut self, ticket: Ticket, request: Request<RuleHandle>) {
        let reply = match request {
            Request::Insert(rule) => match self.enqueue_create(ticket, &rule) {
                Ok(()) => return,
                Err(refusal) => Reply::Inserted(Err(refusal)),
            },
            Request::Remove(handle) => {
                // A rule without a counter is none the worse.
                let last = query_count(&self.proxy, handle).ok();
                match self.enqueue_destroy(Operation::Destroy(ticket, last), handle) {
                    Ok(()) => return,
                    Err(refusal) => Reply::Removed(Err(refusal)),
                }
            }
            Request::Count(handle) => Reply::Counted(query_count(&self.proxy, handle)),
        };
        self.replies.push_back((ticket, reply));
    }

    fn enqueue_create(&mut self, ticket: Ticket, rule: &Rule) -> Result<(), FlowError> {
        let wanted = shape(rule);
        let Some((_, table)) = self.shapes.iter().find(|(template, _)| *template == wanted) else {
            let message = "no template table has this shape of rule";
            return Err(FlowError::other(ErrorKind::Unspecified, ENOTSUP, message));
        };
        let table = table.as_ref().map_err(Clone::clone)?.as_ptr();
        let slot = self.slots.next_free().ok_or_else(no_room)?;
        let encoded = EncodedRule::new(rule);
        let postponed = postponed();
        let mut refusal = Refusal::default();
        // SAFETY: the port is started; table and rule live until the call is over, and DPDK copies what it keeps. The
        // queue is this thread's.
        let flow = unsafe {
            dpdk_sys::rte_flow_async_create(
                self.proxy.id,
                FlowQueue::NUMBER,
                &raw const postponed,
                table,
                encoded.pattern(),
                0,
                encoded.actions(),
                0,
                ptr::without_provenance_mut(slot),
                refusal.as_mut_ptr(),
            )
        };
        let flow = NonNull::new(flow).ok_or_else(|| refusal.last(Some((rule, &encoded))))?;
        self.slots.take(slot, Operation::Create(ticket, RuleHandle(flow)));
        self.postponed = true;
        Ok(())
    }

    /// Begins to remove a rule, which is still there when that is refused.
    fn enqueue_destroy(
        &mut self,
        operation: Operation,
        handle: RuleHandle,
    ) -> Result<(), FlowError> {
        let slot = self.slots.next_free().ok_or_else(no_room)?;
        let postponed = postponed();
        let mut refusal = Refusal::default();
        // SAFETY: the rule's creation has completed, it is destroyed once, and its handle is used no more when that was
        // accepted. The queue is this thread's.
        let result = unsafe {
            dpdk_sys::rte_flow_async_destroy(
                self.proxy.id,
                FlowQueue::NUMBER,
                &raw const postponed,
                handle.0.as_ptr(),
                ptr::without_provenance_mut(slot),
                refusal.as_mut_ptr(),
            )
        };
        if result != 0 {
            return Err(refusal.read(-result, None));
        }
        self.slots.take(slot, operation);
        self.postponed = true;
        Ok(())
    }

    /// Hands the NIC all that was begun.
    pub(super) fn push(&mut self) {
        if !self.postponed {
            return;
        }
        let mut refusal = Refusal::default();
        // SAFETY: the port is started, and the queue this thread's.
        let result = unsafe {
            dpdk_sys::rte_flow_push(self.proxy.id, FlowQueue::NUMBER, refusal.as_mut_ptr())
        };
        // What could not be handed over is with the next push.
        self.postponed = result != 0;
    }

    /// What came of a request.
    pub(super) fn next_reply(&mut self) -> Option<(Ticket, Reply<RuleHandle>)> {
        if self.replies.is_empty() {
            self.pull();
        }
        self.replies.pop_front()
    }

    /// Takes completions, and clears away what they say was not made.
    fn pull(&mut self) {
        while self.slots.in_use() > 0 && self.pull_some() == Some(COMPLETIONS) {}
        for handle in std::mem::take(&mut self.stillborn) {
            if let Err(FlowError { errno: EAGAIN, .. }) =
                self.enqueue_destroy(Operation::CleanUp, handle)
            {
                self.stillborn.push(handle);
            }
        }
    }

    /// Takes at most [`COMPLETIONS`]; returns how many came, and nothing when the queue is gone.
    fn pull_some(&mut self) -> Option<usize> {
        let mut results = [const { MaybeUninit::<rte_flow_op_result>::uninit() }; COMPLETIONS];
        let mut refusal = Refusal::default();
        // SAFETY: there is room for as many results; the port is started, and the queue this thread's.
        let count = unsafe {
            dpdk_sys::rte_flow_pull(
                self.proxy.id,
                FlowQueue::NUMBER,
                results.as_mut_ptr().cast(),
                COMPLETIONS as u16,
                refusal.as_mut_ptr(),
            )
        };
        let count = usize::try_from(count).ok()?.min(COMPLETIONS);
        for result in results.iter().take(count) {
            // SAFETY: the call has written as many results as it says.
            let result = unsafe { result.assume_init_ref() };
            if let Some(operation) = self.slots.release(result.user_data.addr()) {
                self.completed(operation, result.status == RTE_FLOW_OP_SUCCESS);
            }
        }
        Some(count)
    }

    fn completed(&mut self, operation: Operation, succeeded: bool) {
        let answer = match operation {
            Operation::Create(ticket, handle) if succeeded => (ticket, Reply::Inserted(Ok(handle))),
            Operation::Create(ticket, handle) => {
                self.stillborn.push(handle);
                let message = "the NIC did not make the rule, and does not say why";
                let refusal = FlowError::other(ErrorKind::Unspecified, libc::EIO, message);
                (ticket, Reply::Inserted(Err(refusal)))
            }
            Operation::Destroy(ticket, last) => {
                // The handle died with the call, so there is no second try.
                (ticket, if succeeded { Reply::Removed(Ok(last)) } else { Reply::Stranded(last) })
            }
            Operation::CleanUp => return,
        };
        self.replies.push_back(answer);
    }
}

impl Drop for TemplateRules<'_> {
    fn drop(&mut self) {
        // What is in flight must have ended before what it works with goes.
        let end = Instant::now() + PATIENCE;
        // A queue that went with the NIC's reset has nothing in flight.
        while self.pull_some().is_some() {
            self.pull();
            self.push();
            if (self.slots.in_use() == 0 && self.stillborn.is_empty()) || Instant::now() >= end {
                break;
            }
            thread::sleep(Duration::from_micros(100));
        }
        self.proxy.flush();
        // Then the fields: tables, each before its templates.
    }
}

/// Operations wait for a push.
fn postponed() -> rte_flow_op_attr {
    // SAFETY: a structure of bits, for which zero is a value.
    let mut attributes: rte_flow_op_attr = unsafe { std::mem::zeroed() };
    attributes.set_postpone(1);
    attributes
}

fn no_room() -> FlowError {
    FlowError::other(ErrorKind::Unspecified, EAGAIN, "the queue of operations is full")
}

/// Operations in flight, by the number that goes with them.
struct Slots {
    operations: Vec<Option<Operation>>,
    free: Vec<usize>,
}

impl Slots {
    fn new(size: u32) -> Self {
        let size = size as usize;
        Self { operations: vec![None; size], free: (0..size).collect() }
    }

    const fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    const fn in_use(&self) -> usize {
        self.operations.len() - self.free.len()
    }

    /// The slot that [`Self::take`] takes next.
    fn next_free(&self) -> Option<usize> {
        self.free.last().copied()
    }

    /// Takes the slot that [`Self::next_free`] named.
    fn take(&mut self, slot: usize, operation: Operation) {
        self.free.pop();
        if let Some(place) = self.operations.get_mut(slot) {
            *place = Some(operation);
        }
    }

    /// The operation of a slot, which is free again.
    fn release(&mut self, slot: usize) -> Option<Operation> {
        let operation = self.operations.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(operation)
    }
}
