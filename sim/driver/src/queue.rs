//! Receive and transmit queues of an ethdev: the calls of the packet path.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use dpdk_sys::rte_mbuf;

use crate::batch::{BURST, Batch};
use crate::device::{Device, PortIndex, Receiver};
use crate::mbuf::{self, Metadata, NoMbuf, Pool};
use crate::software::QueueIndex;

/// A receive queue. DPDK lets one thread at a time use it.
pub struct ReceiveQueue {
    device: Arc<Device>,
    place: (PortIndex, QueueIndex),
    port_id: u16,
    pool: Pool,
    batch: Batch,
}

impl ReceiveQueue {
    /// The queue `place` of ethdev `port_id`.
    pub fn new(
        device: Arc<Device>,
        place: (PortIndex, QueueIndex),
        port_id: u16,
        pool: Pool,
    ) -> Self {
        Self { device, place, port_id, pool, batch: Batch::new() }
    }

    fn receive(&mut self, packets: &mut [MaybeUninit<*mut rte_mbuf>]) -> usize {
        let (index, queue) = self.place;
        let Some(port) = self.device.port(index) else { return 0 };
        let mut burst = Burst {
            place: self.place,
            port_id: self.port_id,
            pool: &self.pool,
            counters: &port.counters,
            packets,
            count: 0,
        };
        while burst.room() > 0
            && let Some((frame, metadata)) = port.software.take(queue)
        {
            burst.deliver(&frame, metadata);
        }
        let room = burst.room();
        self.device.poll(index, &mut self.batch, room, &mut burst);
        burst.count
    }
}

/// The application's array, being filled.
struct Burst<'a> {
    place: (PortIndex, QueueIndex),
    port_id: u16,
    pool: &'a Pool,
    counters: &'a crate::counters::PortCounters,
    packets: &'a mut [MaybeUninit<*mut rte_mbuf>],
    count: usize,
}

impl Burst<'_> {
    fn room(&self) -> usize {
        self.packets.len() - self.count
    }
}

impl Receiver for Burst<'_> {
    fn place(&self) -> (PortIndex, QueueIndex) {
        self.place
    }

    fn deliver(&mut self, frame: &[u8], metadata: Metadata) {
        let Some(entry) = self.packets.get_mut(self.count) else {
            self.counters.software_rx_missed.add(1);
            return;
        };
        match self.pool.packet(frame, self.port_id, metadata) {
            Ok(packet) => {
                entry.write(packet.as_ptr());
                self.count += 1;
                self.counters.software_rx.count(frame.len());
            }
            Err(NoMbuf::Exhausted) => self.counters.software_rx_no_mbuf.add(1),
            Err(NoMbuf::TooLong) => self.counters.software_rx_errors.add(1),
        }
    }
}

/// A transmit queue. DPDK lets one thread at a time use it.
pub struct TransmitQueue {
    device: Arc<Device>,
    port: PortIndex,
    batch: Batch,
}

impl TransmitQueue {
    /// A queue of the port.
    pub fn new(device: Arc<Device>, port: PortIndex) -> Self {
        Self { device, port, batch: Batch::new() }
    }

    fn send(&mut self, packets: &mut [*mut rte_mbuf]) {
        let Some(port) = self.device.port(self.port) else { return };
        for burst in packets.chunks_mut(BURST) {
            self.batch.clear(BURST);
            for &packet in &*burst {
                let Some(room) = self.batch.next_room() else { break };
                // SAFETY: what the application sends is a valid packet, which it gave away.
                let (length, meta) =
                    unsafe { (mbuf::copy_out(packet, room), mbuf::sent_meta(packet)) };
                if length.is_some_and(|length| self.batch.commit_sent(length, meta)) {
                    port.counters.software_tx.count(length.unwrap_or(0));
                } else {
                    port.counters.software_tx_errors.add(1);
                }
            }
            // SAFETY: the packets are ours to free.
            unsafe { mbuf::free(burst) };
            if !self.batch.is_empty() {
                self.device.send(self.port, &mut self.batch);
            }
        }
    }
}

/// `eth_rx_burst_t`.
///
/// # Safety
/// `queue` is a [`ReceiveQueue`] that no other thread uses, `packets` has room for `count` pointers.
pub unsafe extern "C" fn receive_burst(
    queue: *mut c_void,
    packets: *mut *mut rte_mbuf,
    count: u16,
) -> u16 {
    let Some(mut queue) = NonNull::new(queue.cast::<ReceiveQueue>()) else { return 0 };
    // SAFETY: by the caller's promise; nothing is assumed of what the array holds.
    let (queue, packets) =
        unsafe { (queue.as_mut(), slice::from_raw_parts_mut(packets.cast(), count.into())) };
    queue.receive(packets) as u16
}

/// `eth_tx_burst_t`: takes every packet; what does not reach a link is counted and lost, as in a card.
///
/// # Safety
/// `queue` is a [`TransmitQueue`] that no other thread uses, `packets` has `count` valid packets.
pub unsafe extern "C" fn send_burst(
    queue: *mut c_void,
    packets: *mut *mut rte_mbuf,
    count: u16,
) -> u16 {
    let Some(mut queue) = NonNull::new(queue.cast::<TransmitQueue>()) else { return 0 };
    // SAFETY: by the caller's promise.
    let (queue, packets) =
        unsafe { (queue.as_mut(), slice::from_raw_parts_mut(packets, count.into())) };
    queue.send(packets);
    count
}
