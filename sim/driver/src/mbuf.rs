//! Packets of the application: frames into mbufs, mbufs into frames.

use std::ptr::{NonNull, copy_nonoverlapping, null_mut};

use dpdk_sys::{
    RTE_MBUF_F_RX_FDIR, RTE_MBUF_F_RX_FDIR_ID, RTE_MBUF_F_RX_RSS_HASH,
    rte_flow_dynf_metadata_avail, rte_flow_dynf_metadata_get, rte_flow_dynf_metadata_mask,
    rte_flow_dynf_metadata_set, rte_mbuf, rte_mempool, rte_pktmbuf_alloc, rte_pktmbuf_free,
    rte_pktmbuf_free_bulk, rte_vlan_strip,
};

use rte_flow::Color;

use crate::description::Description;

/// How a rule marked a frame.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Not at all.
    #[default]
    None,
    /// Action FLAG.
    Flag,
    /// Action MARK; the value goes to `hash.fdir.hi`.
    Value(u32),
}

/// What rules attached to a frame for the application.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// The mark.
    pub mark: Mark,
    /// The hash by which the frame was spread, for `hash.rss`.
    pub rss: Option<u32>,
    /// The metadata (action `SET_META`), for the dynamic field `rte_flow_dynfield_metadata`.
    pub meta: Option<u32>,
    /// The colour (action `METER_COLOR`), for `hash.sched.color`, which a mark needs too and then has.
    pub color: Option<Color>,
}

/// Why a frame did not become a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoMbuf {
    /// The pool is empty.
    Exhausted,
    /// The frame is longer than an mbuf and the queue may not chain them.
    TooLong,
}

/// Where a receive queue takes its mbufs.
pub struct Pool {
    pool: NonNull<rte_mempool>,
    /// Whether a frame may be spread over several mbufs.
    scatter: bool,
}

// SAFETY: DPDK's mempools may be used by all threads of the process.
unsafe impl Send for Pool {}

impl Pool {
    /// Takes mbufs from `pool`.
    ///
    /// # Safety
    /// `pool` is a packet pool and outlives this value.
    pub unsafe fn new(pool: NonNull<rte_mempool>, scatter: bool) -> Self {
        Self { pool, scatter }
    }

    /// Copies a frame into new mbufs, received on ethdev `port_id`.
    ///
    /// # Errors
    /// [`NoMbuf`]; nothing stays allocated.
    pub fn packet(&self, frame: &[u8], port_id: u16, metadata: Metadata) -> Result<Packet, NoMbuf> {
        let first = self.segment()?;
        let head = Chain { first };
        let mut last = first;
        let mut rest = frame;
        let mut segments: u16 = 1;
        loop {
            // SAFETY: `last` was just allocated and is ours alone; behind `data_off` lie `buf_len - data_off` bytes.
            let room = unsafe {
                let m = last.as_mut();
                let length = usize::from(m.buf_len.saturating_sub(m.data_off)).min(rest.len());
                let (part, remaining) = rest.split_at(length);
                let to = m.buf_addr.cast::<u8>().add(usize::from(m.data_off));
                copy_nonoverlapping(part.as_ptr(), to, length);
                m.data_len = length as u16;
                rest = remaining;
                length
            };
            if rest.is_empty() {
                break;
            }
            if !self.scatter || room == 0 {
                return Err(NoMbuf::TooLong);
            }
            let next = self.segment()?;
            // SAFETY: as above; the chain frees what is linked to it.
            unsafe { last.as_mut().next = next.as_ptr() };
            last = next;
            segments += 1;
        }
        let mut first = head.keep();
        // SAFETY: the first segment is ours alone.
        let m = unsafe { first.as_mut() };
        m.pkt_len = frame.len() as u32;
        m.nb_segs = segments;
        m.port = port_id;
        if let Some(hash) = metadata.rss {
            m.ol_flags |= RTE_MBUF_F_RX_RSS_HASH;
            m.__bindgen_anon_2.hash.rss = hash;
        }
        if let Some(color) = metadata.color {
            m.__bindgen_anon_2.hash.sched.color = color.number() as u8;
        }
        match metadata.mark {
            Mark::None => {}
            Mark::Flag => m.ol_flags |= RTE_MBUF_F_RX_FDIR,
            Mark::Value(mark) => {
                m.ol_flags |= RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_FDIR_ID;
                m.__bindgen_anon_2.hash.fdir.hi = mark;
            }
        }
        if let Some(meta) = metadata.meta {
            // SAFETY: reads DPDK's variables; the field is written only where the application registered it.
            unsafe {
                if rte_flow_dynf_metadata_avail() != 0 {
                    rte_flow_dynf_metadata_set(m, meta);
                    m.ol_flags |= rte_flow_dynf_metadata_mask;
                }
            }
        }
        Ok(Packet(first))
    }

    /// The pool itself.
    pub const fn as_ptr(&self) -> *mut rte_mempool {
        self.pool.as_ptr()
    }

    /// Whether a frame may be spread over several mbufs.
    pub const fn scatters(&self) -> bool {
        self.scatter
    }

    /// An mbuf as the pool initialised it: no data, no next segment, no flags.
    fn segment(&self) -> Result<NonNull<rte_mbuf>, NoMbuf> {
        // SAFETY: the pool is a packet pool, by the promise at construction.
        NonNull::new(unsafe { rte_pktmbuf_alloc(self.pool.as_ptr()) }).ok_or(NoMbuf::Exhausted)
    }
}

/// A packet that was just made: one mbuf or a chain, the caller's alone. Whoever takes the pointer frees it.
pub struct Packet(NonNull<rte_mbuf>);

impl Packet {
    /// The first segment.
    pub const fn into_raw(self) -> *mut rte_mbuf {
        self.0.as_ptr()
    }
}

/// Writes what the card found out about a packet's `frame`, of the checksum flags only those asked for; with `strip`, an outer VLAN
/// tag moves from the frame into `vlan_tci`.
pub fn describe(packet: &mut Packet, frame: &[u8], checksums: u64, strip: bool) {
    let description = Description::of(frame);
    // SAFETY: the packet is the caller's alone.
    let m = unsafe { packet.0.as_mut() };
    m.__bindgen_anon_1.packet_type = description.packet_type();
    if checksums != 0 {
        m.ol_flags |= description.checksum_flags(frame) & checksums;
    }
    if strip && description.is_tagged() {
        // SAFETY: as above. It looks for a tag itself, in the first segment, which holds at least the smallest mbuf.
        unsafe { rte_vlan_strip(m) };
    }
}

/// Segments that go back to their pool unless they are kept.
struct Chain {
    first: NonNull<rte_mbuf>,
}

impl Chain {
    fn keep(self) -> NonNull<rte_mbuf> {
        let first = self.first;
        std::mem::forget(self);
        first
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: the segments are ours and linked through `next`, the last one's being null.
        unsafe { rte_pktmbuf_free(self.first.as_ptr()) };
    }
}

/// Copies a packet's bytes into `room` and returns how many there are; `None` when they do not fit.
///
/// # Safety
/// `packet` is a valid packet that nobody changes meanwhile.
pub unsafe fn copy_out(packet: *const rte_mbuf, room: &mut [u8]) -> Option<usize> {
    let mut written = 0_usize;
    let mut segment = packet;
    while !segment.is_null() {
        // SAFETY: segments of a valid packet are valid, and each holds `data_len` bytes behind `data_off`.
        let (data, next) = unsafe {
            let m = &*segment;
            let start = m.buf_addr.cast::<u8>().add(usize::from(m.data_off));
            (std::slice::from_raw_parts(start, usize::from(m.data_len)), m.next)
        };
        room.get_mut(written..)?.get_mut(..data.len())?.copy_from_slice(data);
        written += data.len();
        segment = next;
    }
    Some(written)
}

/// The metadata that the application sends with a packet, where it registered the field.
///
/// # Safety
/// `packet` is a valid packet that nobody changes meanwhile.
pub unsafe fn sent_meta(packet: *mut rte_mbuf) -> Option<u32> {
    // SAFETY: by the caller's promise; the field is read only where the application registered it, and then every mbuf has it.
    unsafe {
        let is_there = rte_flow_dynf_metadata_avail() != 0
            && (*packet).ol_flags & rte_flow_dynf_metadata_mask != 0;
        is_there.then(|| rte_flow_dynf_metadata_get(packet))
    }
}

/// Gives packets back to their pools.
///
/// # Safety
/// The packets are valid and belong to the caller.
pub unsafe fn free(packets: &mut [*mut rte_mbuf]) {
    // SAFETY: by the caller's promise.
    unsafe { rte_pktmbuf_free_bulk(packets.as_mut_ptr(), packets.len() as u32) };
    packets.fill(null_mut());
}
