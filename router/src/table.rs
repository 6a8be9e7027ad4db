//! Sets of names that are known when the program is built: looked up by one hash, without allocation.
//!
//! The slots are computed by the compiler. The hash has no seed: the names are fixed, and an attacker who finds
//! texts that collide gains a few comparisons.

/// A hash of a name, to be used with any number of sets.
#[derive(Clone, Copy)]
pub(crate) struct NameHash(u32);

impl NameHash {
    /// FNV-1a.
    pub(crate) const fn of(name: &[u8]) -> Self {
        let mut hash = 0x811c_9dc5_u32;
        let mut at = 0;
        while at < name.len() {
            hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        Self(hash ^ (hash >> 15))
    }
}

/// A set of at most `SLOTS / 2` names; `SLOTS` is a power of two.
pub(crate) struct Names<const SLOTS: usize> {
    names: &'static [&'static str],
    /// The position of a name, and one; zero is free.
    slots: [u16; SLOTS],
}

impl<const SLOTS: usize> Names<SLOTS> {
    pub(crate) const fn new(names: &'static [&'static str]) -> Self {
        assert!(SLOTS.is_power_of_two() && names.len() * 2 <= SLOTS, "half of the slots stay free");
        let mut slots = [0; SLOTS];
        let mut position = 0;
        while position < names.len() {
            let mut slot = NameHash::of(names[position].as_bytes()).0 as usize & (SLOTS - 1);
            while slots[slot] != 0 {
                slot = (slot + 1) & (SLOTS - 1);
            }
            position += 1;
            slots[slot] = position as u16;
        }
        Self { names, slots }
    }

    /// Whether the set holds the name.
    pub(crate) fn contains(&self, hash: NameHash, name: &[u8]) -> bool {
        let mut slot = hash.0 as usize & (SLOTS - 1);
        while let Some(position) = usize::from(self.slots[slot]).checked_sub(1) {
            if self.names[position].as_bytes() == name {
                return true;
            }
            slot = (slot + 1) & (SLOTS - 1);
        }
        false
    }
}
