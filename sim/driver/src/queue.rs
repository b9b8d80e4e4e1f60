//! Receive and transmit queues of an ethdev: the calls of the packet path.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys::{RTE_ETH_RX_DESC_AVAIL, RTE_ETH_RX_DESC_DONE, RTE_ETH_TX_DESC_DONE, rte_mbuf};

use crate::batch::{BURST, Batch};
use crate::counters::{PortCounters, Sum};
use crate::device::{Device, PortIndex, Receiver};
use crate::mbuf::{self, Metadata, NoMbuf, Pool};
use crate::software::QueueIndex;
use crate::transmit::Orders;

/// Bytes of the longest packet that can be cut into segments: the longest IP packet, Ethernet and two VLAN tags.
const LONGEST_PACKET: usize = u16::MAX as usize + 14 + 8;

/// A receive queue. DPDK lets one thread at a time use it.
pub struct ReceiveQueue {
    device: Arc<Device>,
    place: (PortIndex, QueueIndex),
    port_id: u16,
    pool: Pool,
    /// The checksum flags that the application wants to see in `ol_flags`.
    checksums: u64,
    batch: Batch,
}

impl ReceiveQueue {
    /// The queue `place` of ethdev `port_id`.
    pub fn new(
        device: Arc<Device>,
        place: (PortIndex, QueueIndex),
        port_id: u16,
        pool: Pool,
        checksums: u64,
    ) -> Self {
        Self { device, place, port_id, pool, checksums, batch: Batch::new() }
    }

    /// Where its mbufs come from.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How many frames wait, and how many there is room for.
    pub fn level(&self) -> (usize, usize) {
        let (index, queue) = self.place;
        self.device.port(index).map_or((0, 0), |port| port.software.level(queue))
    }

    fn receive(&mut self, packets: &mut [MaybeUninit<*mut rte_mbuf>]) -> usize {
        let (index, queue) = self.place;
        let Some(port) = self.device.port(index) else { return 0 };
        let mut burst = Burst {
            place: self.place,
            port_id: self.port_id,
            pool: &self.pool,
            checksums: self.checksums,
            strip: &port.software.vlan_strip,
            counters: &port.counters,
            packets,
            count: 0,
            received: Sum::default(),
        };
        while burst.room() > 0
            && let Some((frame, metadata)) = port.software.take(queue)
        {
            burst.deliver(&frame, metadata);
        }
        let room = burst.room();
        self.device.poll(index, &mut self.batch, room, &mut burst);
        port.counters.software_rx.add(burst.received);
        burst.count
    }
}

/// The application's array, being filled.
struct Burst<'a> {
    place: (PortIndex, QueueIndex),
    port_id: u16,
    pool: &'a Pool,
    checksums: u64,
    /// Asked for each frame: one that came after the application switched stripping on is stripped, however long this burst takes.
    strip: &'a AtomicBool,
    counters: &'a PortCounters,
    packets: &'a mut [MaybeUninit<*mut rte_mbuf>],
    count: usize,
    /// The frames of these packets.
    received: Sum,
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
            Ok(mut packet) => {
                let strip = self.strip.load(Ordering::Relaxed);
                mbuf::describe(&mut packet, frame, self.checksums, strip);
                entry.write(packet.into_raw());
                self.count += 1;
                self.received.count(frame.len());
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
    /// How many the application asked for.
    descriptors: u16,
    batch: Batch,
    /// A packet that is being cut into segments.
    whole: Vec<u8>,
}

impl TransmitQueue {
    /// A queue of the port.
    pub fn new(device: Arc<Device>, port: PortIndex, descriptors: u16) -> Self {
        Self { device, port, descriptors, batch: Batch::new(), whole: Vec::new() }
    }

    /// How many descriptors the application asked for.
    pub const fn descriptors(&self) -> u16 {
        self.descriptors
    }

    fn send(&mut self, packets: &mut [*mut rte_mbuf]) {
        let device = Arc::clone(&self.device);
        let Some(port) = device.port(self.port) else { return };
        self.batch.clear(BURST);
        for &packet in &*packets {
            // SAFETY: what the application sends is a valid packet, which it gave away.
            if unsafe { self.take(packet, &port.counters) }.is_none() {
                port.counters.software_tx_errors.add(1);
            }
        }
        self.flush();
        // SAFETY: the packets are ours to free.
        unsafe { mbuf::free(packets) };
    }

    /// Takes a packet into the batch, as one frame or as segments; `None` when one does not fit or is not as it says.
    ///
    /// # Safety
    /// `packet` is a valid packet that nobody changes meanwhile.
    unsafe fn take(&mut self, packet: *mut rte_mbuf, counters: &PortCounters) -> Option<()> {
        // SAFETY: by the caller's promise.
        let (orders, meta) = unsafe { (Orders::of(&*packet), mbuf::sent_meta(packet)) };
        let Some(orders) = orders.filter(Orders::is_segmentation) else {
            return self.put(counters, meta, |room| {
                // SAFETY: by the caller's promise.
                let length = unsafe { mbuf::copy_out(packet, room) }?;
                orders.map_or(Some(length), |orders| orders.complete(room, length))
            });
        };
        let mut whole = std::mem::take(&mut self.whole);
        whole.resize(LONGEST_PACKET, 0);
        // SAFETY: by the caller's promise.
        let length = unsafe { mbuf::copy_out(packet, &mut whole) };
        let segments = length.and_then(|length| whole.get(..length)).and_then(|packet| {
            (0..orders.segments(packet)).try_for_each(|number| {
                self.put(counters, meta, |room| orders.write_segment(packet, number, room))
            })
        });
        self.whole = whole;
        segments
    }

    /// Puts what `write` writes into the batch, of which it says the length, with the application's metadata.
    fn put(
        &mut self,
        counters: &PortCounters,
        meta: Option<u32>,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<()> {
        if self.batch.next_room().is_none() {
            self.flush();
        }
        let length = self.batch.next_room().and_then(write)?;
        self.batch.commit_sent(length, meta).then(|| counters.software_tx.count(length))
    }

    /// Lets the frames of the batch go their way.
    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.device.send(self.port, &mut self.batch);
        }
        self.batch.clear(BURST);
    }
}

/// `eth_rx_queue_count_t`: how many frames wait.
///
/// # Safety
/// `queue` is a [`ReceiveQueue`].
pub unsafe extern "C" fn receive_count(queue: *mut c_void) -> u32 {
    // SAFETY: by the caller's promise.
    let waiting = unsafe { queue.cast::<ReceiveQueue>().as_ref() }.map(|queue| queue.level().0);
    waiting.unwrap_or(0) as u32
}

/// `eth_rx_descriptor_status_t`: whether the descriptor `offset` places on holds a frame.
///
/// # Safety
/// `queue` is a [`ReceiveQueue`].
pub unsafe extern "C" fn receive_status(queue: *mut c_void, offset: u16) -> c_int {
    // SAFETY: by the caller's promise.
    let level = unsafe { queue.cast::<ReceiveQueue>().as_ref() }.map(ReceiveQueue::level);
    let (waiting, capacity) = level.unwrap_or((0, 0));
    let status = match usize::from(offset) {
        offset if offset < waiting => RTE_ETH_RX_DESC_DONE,
        offset if offset < capacity => RTE_ETH_RX_DESC_AVAIL,
        _ => return -libc::EINVAL,
    };
    status.cast_signed()
}

/// `eth_tx_descriptor_status_t`: frames leave at once, so that every descriptor is done.
///
/// # Safety
/// `queue` is a [`TransmitQueue`].
pub unsafe extern "C" fn transmit_status(queue: *mut c_void, offset: u16) -> c_int {
    // SAFETY: by the caller's promise.
    let descriptors = unsafe { queue.cast::<TransmitQueue>().as_ref() };
    if descriptors.is_some_and(|queue| offset < queue.descriptors) {
        RTE_ETH_TX_DESC_DONE.cast_signed()
    } else {
        -libc::EINVAL
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
