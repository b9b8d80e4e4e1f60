//! A frame inside a buffer with room before and after it, so that headers are added and removed in place.

use thiserror::Error;

/// There is no room in the buffer for what should be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the packet buffer has no room for {needed} more bytes")]
pub struct NoRoom {
    /// Bytes that were asked for.
    pub needed: usize,
}

/// One contiguous frame in a borrowed buffer: a DPDK mbuf's single segment, or a slice in tests and replay.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Frame<'a> {
    /// Headroom the datapath needs to encapsulate (outer Ethernet 14 + IPv6 40 + UDP 8 + VXLAN 8).
    pub const HEADROOM: usize = 70;

    /// A frame at `start..end` of `buffer`; `None` when that range lies outside it.
    #[inline]
    pub fn new(buffer: &'a mut [u8], start: usize, end: usize) -> Option<Self> {
        (start <= end && end <= buffer.len()).then_some(Self { buffer, start, end })
    }

    /// Offset of the frame's first byte in the buffer.
    #[must_use]
    #[inline]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Offset after the frame's last byte in the buffer.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> usize {
        self.end
    }

    /// Bytes that the frame has.
    #[must_use]
    #[inline]
    pub const fn length(&self) -> usize {
        // The start is never after the end.
        self.end.wrapping_sub(self.start)
    }

    /// The frame.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The frame, writable.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Puts `count` bytes (whatever the buffer holds there) before the frame.
    ///
    /// # Errors
    /// [`NoRoom`] when the headroom is smaller; the frame is unchanged.
    #[inline]
    pub fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.start = self.start.checked_sub(count).ok_or(NoRoom { needed: count })?;
        Ok(())
    }

    /// Takes `count` bytes, or all there are, off the front.
    #[inline]
    pub fn trim_front(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Makes the frame `length` bytes long by moving its end; new bytes are whatever the buffer holds there.
    ///
    /// # Errors
    /// [`NoRoom`] when the tailroom is too small; the frame is unchanged.
    pub fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        let end = self.start.saturating_add(length);
        if end > self.buffer.len() {
            return Err(NoRoom { needed: end - self.buffer.len() });
        }
        self.end = end;
        Ok(())
    }
}
