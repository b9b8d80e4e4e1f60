//! Packets in DPDK's buffers (mbufs).

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;
use packet::Frame;

use super::PacketPool;

/// Packets that are received or sent at a time.
pub const BURST: usize = 32;

/// A number of packets.
pub type Burst<'pool> = ArrayVec<Packet<'pool>, BURST>;

/// A packet that is ours alone. Dropped, its buffer goes back where it came from.
///
/// `repr(transparent)`: a slice of packets is an array of mbuf pointers.
#[repr(transparent)]
pub struct Packet<'pool> {
    mbuf: NonNull<rte_mbuf>,
    pool: PhantomData<&'pool PacketPool<'pool>>,
}

impl Packet<'_> {
    /// Takes over an mbuf.
    ///
    /// # Safety
    /// It is a packet's first segment, valid, and belongs to the caller.
    pub(super) const unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Self {
        Self { mbuf, pool: PhantomData }
    }

    /// The ethdev port it came in on.
    pub fn port(&self) -> u16 {
        // SAFETY: the mbuf is valid and ours.
        unsafe { (*self.mbuf.as_ptr()).port }
    }

    /// Its frame with the room before and after it. `None` unless it lies in one buffer that nobody else sees; see
    /// [`Self::copied`].
    pub fn frame(&mut self) -> Option<Frame<'_>> {
        // SAFETY: the mbuf is valid and ours.
        let mbuf = unsafe { self.mbuf.as_ref() };
        let alone = mbuf.nb_segs == 1
            && mbuf.refcnt == 1
            && mbuf.ol_flags & (dpdk_sys::RTE_MBUF_F_INDIRECT | dpdk_sys::RTE_MBUF_F_EXTERNAL) == 0;
        let buffer = NonNull::new(mbuf.buf_addr.cast::<u8>()).filter(|_| alone)?;
        let start = usize::from(mbuf.data_off);
        // SAFETY: `buf_len` bytes at `buf_addr` belong to the mbuf, which is not shared; they were initialised when the
        // pool's memory was mapped.
        let buffer =
            unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr(), usize::from(mbuf.buf_len)) };
        Frame::new(buffer, start, start.saturating_add(usize::from(mbuf.data_len)))
    }

    /// A copy that lies in one buffer of `pool`; `None` when it does not fit into one, or none is free.
    pub fn copied<'other>(&self, pool: &'other PacketPool<'_>) -> Option<Packet<'other>> {
        let mut copy = pool.packet(&[])?;
        // SAFETY: the mbuf is valid and ours.
        let length = unsafe { (*self.mbuf.as_ptr()).pkt_len };
        let mut frame = copy.frame()?;
        frame.resize(length as usize).ok()?;
        let target = frame.bytes_mut();
        let place = target.as_mut_ptr();
        // SAFETY: `target` has `length` bytes and is another packet's memory.
        let read =
            unsafe { dpdk_sys::rte_pktmbuf_read(self.mbuf.as_ptr(), 0, length, place.cast()) };
        let read = NonNull::new(read.cast_mut())?.cast::<u8>();
        if read.as_ptr() != place {
            // SAFETY: a packet that lies in one segment is not copied by the call; its `length` bytes start at `read`.
            unsafe { read.copy_to_nonoverlapping(NonNull::new(place)?, length as usize) };
        }
        let (start, end) = (frame.start(), frame.end());
        copy.place(start, end);
        // SAFETY: both mbufs are valid and ours.
        unsafe { (*copy.mbuf.as_ptr()).port = (*self.mbuf.as_ptr()).port };
        Some(copy)
    }

    /// Notes that the frame now lies at `start..end` of the buffer, as [`Frame::start`] and [`Frame::end`] of the frame
    /// that [`Self::frame`] gave say, and that nothing else of what the NIC told about the packet holds any more.
    pub fn place(&mut self, start: usize, end: usize) {
        // SAFETY: the mbuf is valid and ours.
        let mbuf = unsafe { self.mbuf.as_mut() };
        let length = end.saturating_sub(start);
        if mbuf.nb_segs != 1 || start.saturating_add(length) > usize::from(mbuf.buf_len) {
            return;
        }
        // Within `buf_len`, 16 bits.
        mbuf.data_off = start as u16;
        mbuf.data_len = length as u16;
        mbuf.pkt_len = length as u32;
        mbuf.ol_flags &= dpdk_sys::RTE_MBUF_F_INDIRECT | dpdk_sys::RTE_MBUF_F_EXTERNAL;
        mbuf.__bindgen_anon_3.tx_offload = 0;
    }

    /// Replaces the frame; `false` when it does not fit.
    pub(super) fn set(&mut self, bytes: &[u8]) -> bool {
        let Some(mut frame) = self.frame() else {
            return false;
        };
        if frame.resize(bytes.len()).is_err() {
            return false;
        }
        frame.bytes_mut().copy_from_slice(bytes);
        let (start, end) = (frame.start(), frame.end());
        self.place(start, end);
        true
    }

    /// Hands the mbuf over to somebody else.
    pub(super) fn into_raw(self) -> NonNull<rte_mbuf> {
        ManuallyDrop::new(self).mbuf
    }
}

impl Drop for Packet<'_> {
    fn drop(&mut self) {
        // SAFETY: the mbuf is valid and ours, and not used afterwards.
        unsafe { dpdk_sys::rte_pktmbuf_free(self.mbuf.as_ptr()) };
    }
}
