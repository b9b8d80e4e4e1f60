//! The whole of a key space cut into ranges, each with a value: the index behind routes and policy.

mod map;
mod space;

use std::fmt::Debug;
use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use map::RangeMap;
pub(crate) use space::Space;

/// Keys from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Range<K> {
    pub(crate) first: K,
    pub(crate) last: K,
}

impl<K: Space> Range<K> {
    /// Every key.
    pub(crate) const ALL: Self = Self { first: K::FIRST, last: K::LAST };
}

/// The addresses of a prefix, as the numbers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum AddressRange {
    V4(Range<u32>),
    V6(Range<u128>),
}

impl From<IpNet> for AddressRange {
    fn from(prefix: IpNet) -> Self {
        match prefix {
            IpNet::V4(p) => {
                Self::V4(Range { first: p.network().to_bits(), last: p.broadcast().to_bits() })
            }
            IpNet::V6(p) => {
                Self::V6(Range { first: p.network().to_bits(), last: p.broadcast().to_bits() })
            }
        }
    }
}

/// The key space cut into ranges without gaps, in their order. Neighbouring ranges have different values.
#[derive(Debug)]
pub(crate) struct Ranges<K, V> {
    /// Each range's first key and its value.
    ranges: Vec<(K, V)>,
}

impl<K: Space, V: PartialEq + Copy + Debug> Ranges<K, V> {
    /// One range over everything.
    pub(crate) fn new(everywhere: V) -> Self {
        Self { ranges: vec![(K::FIRST, everywhere)] }
    }

    /// From `start` to the end of the space, `value`. To be called with ascending starts; the last of several calls
    /// with the same start counts.
    pub(crate) fn push(&mut self, start: K, value: V) {
        if self.ranges.last().is_some_and(|(last, _)| *last == start) {
            self.ranges.pop();
        }
        if self.ranges.last().is_none_or(|(_, last)| *last != value) {
            self.ranges.push((start, value));
        }
    }

    /// The same for look-ups.
    pub(crate) fn index(self) -> RangeMap<K, V> {
        RangeMap::new(&self.ranges)
    }
}

impl<K: Space, V: PartialEq + Copy + Default + Debug> Ranges<K, V> {
    /// Longest match: each key has the value of the narrowest range around it. Of two ranges one contains the other or
    /// they are disjoint, as prefixes are; of equal ones the first given counts. Keys in none have the default value.
    pub(crate) fn narrowest(mut ranges: Vec<(Range<K>, V)>) -> Self {
        ranges.sort_by_key(|(range, _)| (range.first, std::cmp::Reverse(range.last)));
        ranges.dedup_by_key(|(range, _)| *range);
        let mut map = Self::new(V::default());
        let mut around: Vec<(K, V)> = Vec::new();
        let close = |map: &mut Self, around: &mut Vec<(K, V)>, before: Option<K>| {
            while let Some((last, _)) =
                around.last().copied().filter(|(last, _)| before.is_none_or(|first| *last < first))
            {
                around.pop();
                if let Some(next) = last.next() {
                    map.push(next, around.last().map(|(_, value)| *value).unwrap_or_default());
                }
            }
        };
        for (range, value) in ranges {
            close(&mut map, &mut around, Some(range.first));
            around.push((range.last, value));
            map.push(range.first, value);
        }
        close(&mut map, &mut around, None);
        map
    }
}

/// Something for every IPv4 and every IPv6 address.
#[derive(Debug)]
pub(crate) struct AddressMap<V: Copy + Debug> {
    pub(crate) v4: RangeMap<u32, V>,
    pub(crate) v6: RangeMap<u128, V>,
}

impl<V: Copy + Debug> AddressMap<V> {
    /// The value of an address.
    #[inline]
    pub(crate) fn get(&self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(a) => self.v4.get(a.to_bits()),
            IpAddr::V6(a) => self.v6.get(a.to_bits()),
        }
    }
}

impl<V: PartialEq + Copy + Default + Debug> AddressMap<V> {
    /// Longest prefix match; of equal prefixes the first counts. Addresses in none have the default value.
    pub(crate) fn longest_prefix(prefixes: impl IntoIterator<Item = (IpNet, V)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in prefixes {
            match AddressRange::from(prefix) {
                AddressRange::V4(range) => v4.push((range, value)),
                AddressRange::V6(range) => v6.push((range, value)),
            }
        }
        Self { v4: Ranges::narrowest(v4).index(), v6: Ranges::narrowest(v6).index() }
    }
}
