//! Typed rules to the C structures that `rte_flow_*()` take, in memory that the result owns.

use std::ffi::c_void;
use std::mem::{MaybeUninit, align_of, size_of};
use std::ptr::{self, NonNull};

use dpdk_sys::{rte_flow_action, rte_flow_attr, rte_flow_item};

use crate::action::Action;
use crate::attribute::{Attributes, Domain};
use crate::header::Header;
use crate::item::{Item, Match, MatchVisitor};
use crate::rule::Rule;

/// The unit of the arena: the strictest alignment of any structure it holds.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
struct Word(MaybeUninit<[u8; 16]>);

/// How many words a block has at least: 1 KiB, which holds a usual rule whole.
const BLOCK_WORDS: usize = 64;

/// A block of zeroed memory that never moves.
struct Block {
    memory: NonNull<[Word]>,
    used: usize,
}

impl Block {
    fn new(words: usize) -> Self {
        let memory = vec![Word(MaybeUninit::zeroed()); words].into_boxed_slice();
        Self { memory: NonNull::from(Box::leak(memory)), used: 0 }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the memory came from a box in `new` and is given back once.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

/// Memory for C structures that point at each other: addresses stay until the arena is dropped.
#[derive(Default)]
pub(crate) struct Arena {
    blocks: Vec<Block>,
}

// SAFETY: nothing but the arena's owner writes its memory, and pointers inside lead into the arena itself or are
// addresses the application passes through (age context, indirect handle), which are not followed here.
unsafe impl Send for Arena {}
// SAFETY: shared access only reads.
unsafe impl Sync for Arena {}

impl Arena {
    /// Zeroed memory of `bytes` bytes, aligned to 16.
    fn reserve(&mut self, bytes: usize) -> NonNull<u8> {
        let words = bytes.div_ceil(size_of::<Word>()).max(1);
        if self.blocks.last().is_none_or(|block| block.memory.len() - block.used < words) {
            self.blocks.push(Block::new(words.max(BLOCK_WORDS)));
        }
        match self.blocks.last_mut() {
            Some(block) => {
                let at = block.used;
                block.used += words;
                // SAFETY: `at + words` is within the block, checked or freshly allocated above.
                unsafe { block.memory.cast::<Word>().add(at).cast() }
            }
            None => NonNull::dangling(),
        }
    }

    /// Places a value.
    pub(crate) fn put<T: Copy>(&mut self, value: T) -> *const c_void {
        const { assert!(align_of::<T>() <= align_of::<Word>()) };
        let place = self.reserve(size_of::<T>()).cast::<T>();
        // SAFETY: reserved just now, large and aligned enough, and nobody else's.
        unsafe { place.write(value) };
        place.as_ptr().cast_const().cast()
    }

    /// Places the values of a slice, one after another; an empty one is null.
    pub(crate) fn slice<T: Copy>(&mut self, values: &[T]) -> *mut T {
        const { assert!(align_of::<T>() <= align_of::<Word>()) };
        if values.is_empty() {
            return ptr::null_mut();
        }
        let place = self.reserve(size_of_val(values)).cast::<T>();
        // SAFETY: reserved just now for as many values, and not overlapping them.
        unsafe { place.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        place.as_ptr()
    }

    /// Places a header's C structure, and `tail` bytes that it leads to.
    fn header<H: Header>(&mut self, header: &H, tail: usize) -> *const c_void {
        const { assert!(H::ALIGN <= align_of::<Word>()) };
        let place = self.reserve(H::SIZE);
        // SAFETY: reserved just now, zeroed, and nobody else's.
        let bytes = unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), H::SIZE) };
        header.store(bytes);
        let pointer = H::TAIL_POINTER.and_then(|at| bytes.get_mut(at..)?.first_chunk_mut());
        if let (Some(pointer), Some(tail)) = (pointer, header.tail().get(..tail)) {
            *pointer = (self.slice(tail) as usize).to_ne_bytes();
        }
        place.as_ptr().cast_const().cast()
    }

    /// Places a pattern, its END included.
    pub(crate) fn pattern(&mut self, pattern: &[Item]) -> *mut rte_flow_item {
        let place = self.reserve((pattern.len() + 1) * size_of::<rte_flow_item>());
        let place = place.cast::<rte_flow_item>().as_ptr();
        for (index, item) in pattern.iter().enumerate() {
            let (spec, last, mask) = item.visit(&mut Place(self));
            let encoded = rte_flow_item { type_: item.kind().number(), spec, last, mask };
            // SAFETY: `index` is below the reserved length.
            unsafe { place.add(index).write(encoded) };
        }
        // The memory is zeroed, and so is END.
        const { assert!(dpdk_sys::RTE_FLOW_ITEM_TYPE_END == 0) };
        place
    }

    /// Places a list of actions, its END included.
    pub(crate) fn actions(&mut self, actions: &[Action]) -> *mut rte_flow_action {
        let encode = |action: &Action, arena: &mut Self| rte_flow_action {
            type_: action.kind().number(),
            conf: action.encode_conf(arena),
        };
        self.actions_with(actions, encode)
    }

    /// Places a list of actions made by `encode`, its END included.
    pub(crate) fn actions_with<T>(
        &mut self,
        entries: &[T],
        encode: impl Fn(&T, &mut Self) -> rte_flow_action,
    ) -> *mut rte_flow_action {
        let place = self.reserve((entries.len() + 1) * size_of::<rte_flow_action>());
        let place = place.cast::<rte_flow_action>().as_ptr();
        for (index, entry) in entries.iter().enumerate() {
            let encoded = encode(entry, self);
            // SAFETY: `index` is below the reserved length.
            unsafe { place.add(index).write(encoded) };
        }
        const { assert!(dpdk_sys::RTE_FLOW_ACTION_TYPE_END == 0) };
        place
    }
}

/// Places an item's spec, last and mask.
struct Place<'a>(&'a mut Arena);

impl MatchVisitor for Place<'_> {
    type Output = (*const c_void, *const c_void, *const c_void);

    fn void(&mut self) -> Self::Output {
        (ptr::null(), ptr::null(), ptr::null())
    }

    fn asked<H: Header>(&mut self, asked: &Match<H>) -> Self::Output {
        let tail = asked.spec.as_ref().and_then(|spec| H::tail_length(spec).ok()).unwrap_or(0);
        let mut place =
            |header: &Option<H>| header.as_ref().map_or(ptr::null(), |h| self.0.header(h, tail));
        (place(&asked.spec), place(&asked.last), place(&asked.mask))
    }
}

/// The C form of attributes.
#[must_use]
pub fn encode_attributes(attributes: &Attributes) -> rte_flow_attr {
    let (ingress, egress, transfer) = domain_bits(attributes.domain);
    rte_flow_attr {
        group: attributes.group,
        priority: attributes.priority,
        _bitfield_1: rte_flow_attr::new_bitfield_1(ingress, egress, transfer, 0),
    }
}

/// The bits ingress, egress and transfer.
pub(crate) const fn domain_bits(domain: Domain) -> (u32, u32, u32) {
    match domain {
        Domain::Ingress => (1, 0, 0),
        Domain::Egress => (0, 1, 0),
        Domain::Transfer => (0, 0, 1),
    }
}

/// A rule in C form. It owns everything the pointers lead to; they hold as long as it lives.
pub struct EncodedRule {
    attributes: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
    _arena: Arena,
}

// SAFETY: the pointers lead into the arena, which may move between threads and be read by several.
unsafe impl Send for EncodedRule {}
// SAFETY: as above.
unsafe impl Sync for EncodedRule {}

impl EncodedRule {
    /// Encodes a rule.
    #[must_use]
    pub fn new(rule: &Rule) -> Self {
        Self::from_parts(&rule.attributes, &rule.pattern, &rule.actions)
    }

    /// Encodes a rule from its parts.
    #[must_use]
    pub fn from_parts(attributes: &Attributes, pattern: &[Item], actions: &[Action]) -> Self {
        let mut arena = Arena::default();
        Self {
            attributes: arena.put(encode_attributes(attributes)).cast(),
            pattern: arena.pattern(pattern),
            actions: arena.actions(actions),
            _arena: arena,
        }
    }

    /// The attributes.
    #[must_use]
    pub fn attributes(&self) -> *const rte_flow_attr {
        self.attributes
    }

    /// The pattern, ended by END.
    #[must_use]
    pub fn pattern(&self) -> *const rte_flow_item {
        self.pattern
    }

    /// The actions, ended by END.
    #[must_use]
    pub fn actions(&self) -> *const rte_flow_action {
        self.actions
    }
}
