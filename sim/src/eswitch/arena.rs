//! Objects named by handles that stay distinct after the object is gone.

use std::marker::PhantomData;
use std::num::NonZeroU32;

/// The name of an object in an [`Arena`]; never 0 as a number.
pub struct Id<T> {
    index: u32,
    /// Odd, unless somebody made it up.
    generation: NonZeroU32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The handle as a number that is not 0, for C.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation.get() as u64) << 32 | self.index as u64
    }

    /// The handle of a number; whether there is such an object shows when it is used.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        // No object has an even generation.
        const NOBODYS: NonZeroU32 = NonZeroU32::new(2).unwrap();
        let generation = match NonZeroU32::new((bits >> 32) as u32) {
            Some(generation) => generation,
            None => NOBODYS,
        };
        Self { index: bits as u32, generation, of: PhantomData }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl<T> Eq for Id<T> {}

impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}

impl<T> std::fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[derive(Debug)]
struct Slot<T> {
    /// Of the present object, or the next.
    generation: NonZeroU32,
    value: Option<T>,
}

impl<T> Slot<T> {
    fn holds(&self, id: Id<T>) -> bool {
        self.generation == id.generation
    }
}

/// A growing store of objects.
#[derive(Debug)]
pub struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts an object in.
    pub fn insert(&mut self, value: T) -> Id<T> {
        let mut generation = NonZeroU32::MIN;
        let free = self.free.pop();
        let index = free.unwrap_or(self.slots.len() as u32);
        match free.and_then(|index| self.slots.get_mut(index as usize)) {
            Some(slot) => {
                generation = slot.generation;
                slot.value = Some(value);
            }
            None => self.slots.push(Slot { generation, value: Some(value) }),
        }
        Id { index, generation, of: PhantomData }
    }

    /// The object.
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.holds(id))?;
        slot.value.as_ref()
    }

    /// The object, to change it.
    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.holds(id))?;
        slot.value.as_mut()
    }

    /// Takes the object out.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.holds(id))?;
        let value = slot.value.take()?;
        // From one odd number to the next; after the last one comes the first again.
        slot.generation = NonZeroU32::new(slot.generation.get().wrapping_add(2) | 1)?;
        self.free.push(id.index);
        Some(value)
    }

    /// Takes out all objects but those that shall stay.
    pub fn retain(&mut self, stays: impl Fn(&T) -> bool) {
        let leaves = self.iter().filter(|(_, value)| !stays(value));
        let leaves: Vec<_> = leaves.map(|(id, _)| id).collect();
        for id in leaves {
            self.remove(id);
        }
    }

    /// All objects, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    /// All objects, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = Id { index: index as u32, generation: slot.generation, of: PhantomData };
            slot.value.as_ref().map(|value| (id, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_dies_with_its_object() {
        let mut arena = Arena::default();
        let first = arena.insert('a');
        assert_ne!(first.to_bits(), 0);
        assert_eq!(arena.remove(first), Some('a'));
        let second = arena.insert('b');
        assert_eq!((arena.get(first), arena.get(second)), (None, Some(&'b')));
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(Id::from_bits(0)), None);
        assert_eq!(Id::from_bits(second.to_bits()), second);
        assert_eq!((arena.len(), arena.iter().count()), (1, 1));
        let third = arena.insert('c');
        arena.retain(|letter| *letter == 'c');
        assert_eq!((arena.get(second), arena.get(third)), (None, Some(&'c')));
    }
}
