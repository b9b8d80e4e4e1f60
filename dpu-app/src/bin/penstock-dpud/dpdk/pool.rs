//! Memory for packets.

use std::marker::PhantomData;
use std::ptr::NonNull;

use dpdk_sys::rte_mempool;

use super::{DpdkError, Eal, Packet};

/// Packets that each lcore keeps at hand.
const CACHE: u32 = 256;

/// A pool of packet buffers, all of one size.
pub struct PacketPool<'eal> {
    pool: NonNull<rte_mempool>,
    eal: PhantomData<&'eal Eal>,
}

// SAFETY: DPDK's pools may be used by several threads at once, also by such that are no lcores ("Known issues" of the
// programmer's guide on EAL). Of the environment, only its lifetime is borrowed.
unsafe impl Sync for PacketPool<'_> {}

impl<'eal> PacketPool<'eal> {
    /// A pool of `packets` buffers that each hold a frame of `frame_room` bytes and DPDK's usual headroom before it.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn new(_eal: &'eal Eal, packets: u32, frame_room: u16) -> Result<Self, DpdkError> {
        let room = frame_room.saturating_add(dpdk_sys::RTE_PKTMBUF_HEADROOM as u16);
        // SAFETY: the name is a terminated text, the environment is initialised.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                c"packets".as_ptr(),
                packets,
                CACHE,
                0,
                room,
                dpdk_sys::SOCKET_ID_ANY,
            )
        };
        let pool = NonNull::new(pool).ok_or_else(|| {
            let mebibytes = (u64::from(packets) * u64::from(room)) >> 20;
            DpdkError::last(format!(
                "reserve {packets} packet buffers ({mebibytes} MiB); give DPDK more memory with [eal] arguments = [\"-m\", \"MEBIBYTES\"]"
            ))
        })?;
        Ok(Self { pool, eal: PhantomData })
    }

    /// A packet with a copy of `frame`; `None` when no buffer is free or it does not fit.
    pub fn packet(&self, frame: &[u8]) -> Option<Packet<'_>> {
        // SAFETY: the pool lives.
        let mbuf = NonNull::new(unsafe { dpdk_sys::rte_pktmbuf_alloc(self.pool.as_ptr()) })?;
        // SAFETY: freshly allocated and nobody else's.
        let mut packet = unsafe { Packet::from_raw(mbuf) };
        packet.set(frame).then_some(packet)
    }

    pub(super) fn as_ptr(&self) -> *mut rte_mempool {
        self.pool.as_ptr()
    }
}

impl Drop for PacketPool<'_> {
    fn drop(&mut self) {
        // SAFETY: ports and packets borrow from the pool, so none has a buffer of it any more.
        unsafe { dpdk_sys::rte_mempool_free(self.pool.as_ptr()) };
    }
}
