//! VNIs for VPCs that do not say theirs.
//!
//! A VPC's VNI follows from the set of VPCs alone, so that every daemon and every restart finds the same one without
//! keeping any state:
//!
//! 1. VNIs that intent gives are taken.
//! 2. The other VPCs are served in the order of their names. Each begins at `1 + FNV-1a64(name) mod 16777215` and takes
//!    the first free VNI from there on, upwards, with 1 behind 16777215.
//!
//! Adding or removing a VPC therefore moves another's VNI only where their hashes collide; with 1,000 VPCs one more
//! collides with a probability of 0.006 %. Who cannot accept that gives `vni`.

use hashbrown::HashSet;
use packet::Vni;

/// VNIs for `names`, which are to be sorted, around those that are `given`. Nothing when there are too few.
pub(crate) fn allocate<'n>(
    given: impl IntoIterator<Item = Vni>,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<Vec<Vni>> {
    allocate_up_to(Vni::MAX, given, names)
}

fn allocate_up_to<'n>(
    largest: Vni,
    given: impl IntoIterator<Item = Vni>,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<Vec<Vni>> {
    let mut taken: HashSet<Vni> = given.into_iter().collect();
    let all = u64::from(largest.get());
    let mut allocate_one = |name: &str| {
        let start = hash(name) % all;
        let free = (start..all)
            .chain(0..start)
            .filter_map(|index| Vni::try_from(index + 1).ok())
            .find(|vni| !taken.contains(vni))?;
        taken.insert(free);
        Some(free)
    };
    names.into_iter().map(&mut allocate_one).collect()
}

/// FNV-1a, 64 bits (RFC 9923).
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn vni(number: u64) -> Vni {
        Vni::try_from(number).expect("in range")
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_collision_takes_the_next_free_one() {
        let first = allocate([], ["blue"]).expect("room")[0];
        let second = allocate([first], ["blue"]).expect("room")[0];
        assert_eq!(u64::from(second.get()), u64::from(first.get()) % 16_777_215 + 1);
    }

    #[test]
    fn when_none_is_left_there_is_none() {
        let three = || allocate_up_to(vni(3), [vni(2)], ["blue", "red"]);
        let mut vnis = three().expect("room for two");
        assert_eq!(three(), Some(vnis.clone()));
        vnis.sort_unstable();
        assert_eq!(vnis, [vni(1), vni(3)]);
        assert_eq!(allocate_up_to(vni(3), [vni(2)], ["blue", "green", "red"]), None);
    }

    proptest! {
        #[test]
        fn an_additional_name_moves_no_other_without_a_collision(
            names in prop::collection::btree_set("[a-z]{1,6}", 1..40),
            additional in "[a-z0-9]{1,6}",
        ) {
            let allocated = |names: &BTreeSet<String>| -> BTreeMap<String, Vni> {
                let vnis = allocate([], names.iter().map(String::as_str)).expect("room");
                names.iter().cloned().zip(vnis).collect()
            };
            let before = allocated(&names);
            prop_assert_eq!(before.values().collect::<BTreeSet<_>>().len(), names.len());
            let mut more = names.clone();
            more.insert(additional.clone());
            let after = allocated(&more);
            let starts: BTreeSet<u64> = more.iter().map(|n| hash(n) % 16_777_215).collect();
            if starts.len() == more.len() {
                for (name, vni) in before {
                    prop_assert_eq!(after[&name], vni);
                }
            }
        }
    }
}
