//! Ranges of ports as the contract's tables match them.

use std::ops::RangeInclusive;

/// Value and mask of the fewest aligned blocks that make up a range of ports.
pub fn port_prefixes(ports: RangeInclusive<u16>) -> impl Iterator<Item = (u16, u16)> {
    let (mut next, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
    std::iter::from_fn(move || {
        if next > last {
            return None;
        }
        let aligned = next.trailing_zeros().min(16);
        let bits = (0..=aligned).rev().find(|bits| next + (1 << bits) - 1 <= last)?;
        let block = (next as u16, !((1_u32 << bits) - 1) as u16);
        next += 1 << bits;
        Some(block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_its_blocks_and_nothing_else() {
        for range in [0..=0, 0..=65535, 1..=65535, 80..=80, 1000..=1999, 65535..=65535, 3..=12] {
            let blocks: Vec<_> = port_prefixes(range.clone()).collect();
            for port in 0..=u16::MAX {
                let inside = blocks.iter().filter(|(value, mask)| port & mask == *value).count();
                assert_eq!(inside, usize::from(range.contains(&port)), "{port} of {range:?}");
            }
        }
        assert_eq!(port_prefixes(0..=65535).count(), 1);
        assert_eq!(port_prefixes(1..=65534).count(), 30);
    }
}
