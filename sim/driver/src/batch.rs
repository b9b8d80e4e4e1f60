//! A burst of frames on its way from a link or the application through the eswitch.

/// Most frames of one burst: what DPDK programs usually poll for.
pub const BURST: usize = 32;

/// Bytes before a frame, for headers that rules add: more than the 132 that the modelled cards encapsulate.
const HEADROOM: usize = 192;
/// Largest frame: the largest MTU, Ethernet and two VLAN tags, and one byte more by which a longer one shows.
pub const MAX_FRAME: usize = crate::devargs::MAX_MTU as usize + 14 + 8;
/// Bytes after the headroom, so that a frame of `MAX_FRAME` bytes is told from a longer one.
const ROOM: usize = MAX_FRAME + 1;

/// One frame and the buffer it lies in.
#[derive(Clone)]
pub struct Slot {
    /// The buffer.
    pub buffer: Box<[u8]>,
    /// Offset of the frame's first byte.
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
    /// Metadata that the application sent with it.
    pub meta: Option<u32>,
}

impl Slot {
    fn new() -> Self {
        let buffer = vec![0; HEADROOM + ROOM].into();
        Self { buffer, start: HEADROOM, end: HEADROOM, meta: None }
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }
}

/// Frames that rules copied from a burst: as many as there are. Buffers are used again.
#[derive(Default)]
pub struct Spare {
    slots: Vec<Slot>,
    used: usize,
}

impl Spare {
    /// Adds a frame.
    pub fn push(&mut self, frame: &[u8]) {
        if self.used == self.slots.len() {
            self.slots.push(Slot::new());
        }
        if let Some(slot) = self.slots.get_mut(self.used)
            && let Some(room) = slot.buffer.get_mut(HEADROOM..HEADROOM + frame.len())
        {
            room.copy_from_slice(frame);
            (slot.start, slot.end) = (HEADROOM, HEADROOM + frame.len());
            self.used += 1;
        }
    }

    /// The frames, in the order in which they came.
    pub fn frames(&self) -> &[Slot] {
        self.slots.get(..self.used).unwrap_or_default()
    }
}

/// Up to [`BURST`] frames. Made once for each queue; its buffers are used again for every burst.
pub struct Batch {
    slots: Vec<Slot>,
    spare: Spare,
    filled: usize,
    /// Most frames of the present burst.
    limit: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        let slots = (0..BURST).map(|_| Slot::new()).collect();
        Self { slots, spare: Spare::default(), filled: 0, limit: BURST }
    }

    /// Forgets the frames and takes at most `limit`, or [`BURST`], from now on.
    pub fn clear(&mut self, limit: usize) {
        self.filled = 0;
        self.limit = limit.min(BURST);
    }

    /// Forgets the frames; the limit stays.
    pub fn restart(&mut self) {
        self.filled = 0;
    }

    /// The frames.
    pub fn frames(&mut self) -> &mut [Slot] {
        self.slots.get_mut(..self.filled).unwrap_or_default()
    }

    /// The frames, and room for copies of them.
    pub fn parts(&mut self) -> (&mut [Slot], &mut Spare) {
        self.spare.used = 0;
        (self.slots.get_mut(..self.filled).unwrap_or_default(), &mut self.spare)
    }

    /// Whether no frame came.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The room for each frame that the batch can still take, in order.
    pub fn rooms(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.slots
            .get_mut(self.filled..self.limit)
            .unwrap_or_default()
            .iter_mut()
            .map(|slot| slot.buffer.get_mut(HEADROOM..).unwrap_or_default())
    }

    /// The room for the next frame; `None` when the batch is full.
    pub fn next_room(&mut self) -> Option<&mut [u8]> {
        self.rooms().next()
    }

    /// Takes what was written into the next room as a frame of `length` bytes.
    ///
    /// Returns false, and the room stays free, when nothing was written or the frame is longer than [`MAX_FRAME`].
    pub fn commit(&mut self, length: usize) -> bool {
        if length == 0 || length > MAX_FRAME || self.filled >= self.limit {
            return false;
        }
        let Some(slot) = self.slots.get_mut(self.filled) else { return false };
        slot.start = HEADROOM;
        slot.end = HEADROOM + length;
        slot.meta = None;
        self.filled += 1;
        true
    }

    /// Takes what was written into the next room as [`Self::commit`] does, sent by the application with this metadata.
    pub fn commit_sent(&mut self, length: usize, meta: Option<u32>) -> bool {
        let at = self.filled;
        let taken = self.commit(length);
        if let (true, Some(slot)) = (taken, self.slots.get_mut(at)) {
            slot.meta = meta;
        }
        taken
    }

    /// Takes the frames written into the first rooms at once: `lengths` in the rooms' order.
    ///
    /// Returns how many were left out because they are empty or longer than [`MAX_FRAME`].
    pub fn commit_all(&mut self, lengths: impl IntoIterator<Item = usize>) -> usize {
        let mut refused = 0;
        for (written, length) in (self.filled..).zip(lengths) {
            // A refused frame leaves its room free: the following frame's buffer moves there.
            self.slots.swap(self.filled, written);
            refused += usize::from(!self.commit(length));
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(room: &mut [u8], frame: &[u8]) {
        room[..frame.len()].copy_from_slice(frame);
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut batch = Batch::new();
        batch.clear(2);
        for text in [b"one".as_slice(), b"second"] {
            write(batch.next_room().unwrap(), text);
            assert!(batch.commit(text.len()));
        }
        assert!(batch.next_room().is_none());
        let frames: Vec<_> = batch.frames().iter().map(|slot| slot.bytes().to_vec()).collect();
        assert_eq!(frames, [b"one".to_vec(), b"second".to_vec()]);
    }

    #[test]
    fn metadata_stays_with_its_frame() {
        let mut batch = Batch::new();
        batch.clear(BURST);
        assert!(batch.commit_sent(1, Some(7)) && batch.commit(1));
        assert!(!batch.commit_sent(0, Some(8)));
        let sent: Vec<_> = batch.frames().iter().map(|slot| slot.meta).collect();
        assert_eq!(sent, [Some(7), None]);
        batch.clear(BURST);
        assert!(batch.commit(1));
        assert_eq!(batch.frames()[0].meta, None, "its room is used again");
    }

    #[test]
    fn refused_frames_leave_no_gap() {
        let mut batch = Batch::new();
        batch.clear(BURST);
        for (room, text) in batch.rooms().zip([b"a".as_slice(), b"", b"b", b"c"]) {
            write(room, text);
        }
        assert_eq!(batch.commit_all([1, 0, MAX_FRAME + 1, 1]), 2);
        let frames: Vec<_> = batch.frames().iter().map(|slot| slot.bytes().to_vec()).collect();
        assert_eq!(frames, [b"a".to_vec(), b"c".to_vec()]);
    }
}
