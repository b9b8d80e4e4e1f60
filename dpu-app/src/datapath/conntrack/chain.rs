//! Doubly linked lists threaded through a fixed arena by index: push and removal in constant time, no pointers.

/// "No element".
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// The links of all elements of an arena. An element is in one [`Chain`] at most.
#[derive(Debug)]
pub(crate) struct Links(Vec<Link>);

/// One list: its two ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    tail: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl Chain {
    /// The element that was pushed first.
    pub(crate) fn first(self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.head == NONE
    }
}

impl Links {
    /// Room for `capacity` elements.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends `element` to `chain`; it must not be in any chain.
    pub(crate) fn push_back(&mut self, chain: &mut Chain, element: u32) {
        let at = element as usize;
        if at >= self.0.len() {
            self.0.resize(at.saturating_add(1), Link { previous: NONE, next: NONE });
        }
        let previous = chain.tail;
        if let Some(link) = self.0.get_mut(at) {
            *link = Link { previous, next: NONE };
        }
        match self.0.get_mut(previous as usize) {
            Some(link) => link.next = element,
            None => chain.head = element,
        }
        chain.tail = element;
    }

    /// Takes `element` out of `chain`, which it must be in.
    pub(crate) fn remove(&mut self, chain: &mut Chain, element: u32) {
        let Some(&Link { previous, next }) = self.0.get(element as usize) else {
            return;
        };
        match self.0.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => chain.head = next,
        }
        match self.0.get_mut(next as usize) {
            Some(link) => link.previous = previous,
            None => chain.tail = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_queue_with_removal(
            operations in prop::collection::vec((any::<bool>(), 0_u32..16), 0..200),
        ) {
            let (mut links, mut chain) = (Links::with_capacity(16), Chain::default());
            let mut model = std::collections::VecDeque::new();
            for (push, element) in operations {
                let present = model.contains(&element);
                if push && !present {
                    links.push_back(&mut chain, element);
                    model.push_back(element);
                } else if !push && present {
                    links.remove(&mut chain, element);
                    model.retain(|e| *e != element);
                }
                prop_assert_eq!(chain.first(), model.front().copied());
                prop_assert_eq!(chain.is_empty(), model.is_empty());
            }
            while let Some(first) = chain.first() {
                prop_assert_eq!(Some(first), model.pop_front());
                links.remove(&mut chain, first);
            }
            prop_assert!(model.is_empty());
        }
    }
}
