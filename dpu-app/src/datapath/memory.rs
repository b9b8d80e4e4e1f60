//! Memory of fixed size for records without pointers: reserved at once, used when it is touched, zero until then.
//!
//! Records are plain bytes, so that the same memory can be shared with, or handed to, another process.

use std::marker::PhantomData;

use memmap2::MmapMut;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// So many records, by number from 0.
#[derive(Debug)]
pub(crate) struct Memory<T> {
    map: MmapMut,
    records: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Memory<T> {
    /// Reserves memory, all of it zero. As with any memory, the process ends when there is none.
    pub(crate) fn zeroed(count: usize) -> Self {
        let bytes = count.max(1).saturating_mul(size_of::<T>());
        match MmapMut::map_anon(bytes) {
            Ok(map) => Self { map, records: PhantomData },
            Err(error) => panic!("cannot reserve {bytes} bytes of memory: {error}"),
        }
    }

    /// A record.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let start = (number as usize).wrapping_mul(size_of::<T>());
        T::ref_from_bytes(self.map.get(start..start.wrapping_add(size_of::<T>()))?).ok()
    }

    /// A record, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let start = (number as usize).wrapping_mul(size_of::<T>());
        T::mut_from_bytes(self.map.get_mut(start..start.wrapping_add(size_of::<T>()))?).ok()
    }

    /// Asks for huge pages, where the system has any: fewer misses of the address cache, more memory for few records.
    pub(crate) fn use_huge_pages(&self) {
        // A wish: without them everything works as well, only slower.
        let _ = self.map.advise(memmap2::Advice::HugePage);
    }
}

/// Has the processor fetch what is at `place` into its cache, to be read soon.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one instruction")]
pub(crate) fn prefetch<T>(place: &T) {
    let address = std::ptr::from_ref(place);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint to the processor: nothing is read or written as far as a program can see, and it never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}
