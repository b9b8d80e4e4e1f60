//! Where everything that a rule can look at lies among the variables, and cubes over them.
//!
//! A packet at one moment is a row of bits: where it came from, the registers, and two stacks of headers with a tunnel's
//! header between them. Headers that exclude each other (IPv4 and IPv6, TCP and UDP) share their bits; which of them is
//! there, the stack's kinds say. Bits are numbered from the first word's highest; a field's highest bit comes first.

use rte_flow::Depth;

/// How many words of 64 bits there are.
pub const WORDS: usize = 36;
/// How many bits there are, all of them BDD variables.
pub const BITS: u16 = (WORDS * 64) as u16;

const OUTER: u16 = 6;
const STACK_WORDS: u16 = 13;
const TUNNEL: u16 = OUTER + STACK_WORDS;
const TUNNEL_WORDS: u16 = 4;
const INNER: u16 = TUNNEL + TUNNEL_WORDS;

/// Some neighbouring bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Span {
    /// The number of the first, highest bit.
    pub start: u16,
    /// How many bits, at most 128.
    pub width: u16,
}

impl Span {
    const fn new(word: u16, bit: u16, width: u16) -> Self {
        Self { start: word * 64 + bit, width }
    }

    /// `width` of these bits, `skip` bits from the first.
    pub const fn part(self, skip: u16, width: u16) -> Self {
        Self { start: self.start + skip, width }
    }

    /// The numbers of the bits, the highest first.
    pub fn bits(self) -> impl DoubleEndedIterator<Item = u16> {
        self.start..self.start + self.width
    }
}

/// Whether software sent the packet.
pub const BY_SOFTWARE: Span = Span::new(0, 15, 1);
/// The ethdev port that it came in at.
pub const PORT: Span = Span::new(0, 16, 16);
/// The metadata register.
pub const META: Span = Span::new(0, 32, 32);
/// The mark register.
pub const MARK: Span = Span::new(1, 0, 32);
/// What connection tracking found.
pub const CONNTRACK: Span = Span::new(1, 32, 32);
/// How many TAG registers there are.
pub const TAGS: u8 = 8;

/// A TAG register, of which there are [`TAGS`].
pub const fn tag(register: u8) -> Span {
    Span::new(2 + register as u16 / 2, register as u16 % 2 * 32, 32)
}

/// Which tunnel leads from the outer headers to the inner ones: a [`Tunnel`].
pub const TUNNEL_KIND: Span = Span::new(TUNNEL, 0, 3);
/// The tunnel's header.
pub const TUNNEL_HEADER: Span = Span::new(TUNNEL + 1, 0, 64);

/// The kinds of tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Tunnel {
    None,
    Vxlan,
    VxlanGpe,
    Geneve,
    Gre,
    Gtp,
    IpInIp,
}

/// The kinds of transport header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Layer4 {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Esp,
}

/// The bits of one stack of headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stack(u16);

impl Stack {
    /// From the frame's first byte on.
    pub const OUTER: Self = Self(OUTER);
    /// Behind the tunnel's header.
    pub const INNER: Self = Self(INNER);

    /// The stack at a depth.
    pub const fn at(depth: Depth) -> Self {
        match depth {
            Depth::Outer => Self::OUTER,
            Depth::Inner => Self::INNER,
        }
    }

    /// Its words.
    pub fn words(self) -> std::ops::Range<usize> {
        usize::from(self.0)..usize::from(self.0 + STACK_WORDS)
    }

    const fn kind(self, bit: u16, width: u16) -> Span {
        Span::new(self.0, bit, width)
    }
    /// There is an Ethernet header.
    pub const fn has_ethernet(self) -> Span {
        self.kind(0, 1)
    }
    /// There is a VLAN tag.
    pub const fn has_vlan(self) -> Span {
        self.kind(1, 1)
    }
    /// There are two.
    pub const fn has_more_vlan(self) -> Span {
        self.kind(2, 1)
    }
    /// There is an ARP packet for IPv4 over Ethernet.
    pub const fn is_arp(self) -> Span {
        self.kind(3, 1)
    }
    /// There is an IP header.
    pub const fn is_ip(self) -> Span {
        self.kind(4, 1)
    }
    /// It is IPv6's.
    pub const fn is_v6(self) -> Span {
        self.kind(5, 1)
    }
    /// [`Self::is_ip`] and [`Self::is_v6`] together: 0b10 for IPv4, 0b11 for IPv6.
    pub const fn family(self) -> Span {
        self.kind(4, 2)
    }
    /// It is a fragment.
    pub const fn is_fragment(self) -> Span {
        self.kind(6, 1)
    }
    /// There is an IPv6 fragment header.
    pub const fn has_fragment_header(self) -> Span {
        self.kind(7, 1)
    }
    /// There is a transport header.
    pub const fn has_transport(self) -> Span {
        self.kind(8, 1)
    }
    /// Which one: a [`Layer4`].
    pub const fn transport_kind(self) -> Span {
        self.kind(9, 3)
    }
    /// The low byte of the integrity bits.
    pub const fn integrity(self) -> Span {
        self.kind(12, 8)
    }
    /// Which IPv6 extension headers there are.
    pub const fn extensions(self) -> Span {
        // Behind all else: a set that says which ones there are would be large if what follows depended on it.
        Span::new(self.0 + 12, 32, 9)
    }

    /// Destination MAC, source MAC, and the `EtherType` behind all tags.
    pub const fn link(self) -> Span {
        Span::new(self.0 + 1, 0, 112)
    }
    /// Destination MAC.
    pub const fn destination_mac(self) -> Span {
        self.link().part(0, 48)
    }
    /// Source MAC.
    pub const fn source_mac(self) -> Span {
        self.link().part(48, 48)
    }
    /// The `EtherType` behind all tags.
    pub const fn ether_type(self) -> Span {
        self.link().part(96, 16)
    }
    /// The control information of the first tag, or the second.
    pub const fn vlan(self, number: u8) -> Span {
        Span::new(self.0 + 3, number as u16 * 16, 16)
    }
    /// `bytes` bytes of the network header from byte `at` on: IPv4 without options, IPv6's fixed one, or ARP.
    pub const fn network(self, at: u16, bytes: u16) -> Span {
        Span::new(self.0 + 4, at * 8, bytes * 8)
    }
    /// `bytes` bytes of the IPv6 fragment header from byte `at` on.
    pub const fn fragment_header(self, at: u16, bytes: u16) -> Span {
        Span::new(self.0 + 9, at * 8, bytes * 8)
    }
    /// `bytes` bytes of the transport header from byte `at` on, without options.
    pub const fn transport(self, at: u16, bytes: u16) -> Span {
        Span::new(self.0 + 10, at * 8, bytes * 8)
    }
}

/// Bits of integrity, as in [`rte_flow::IntegrityBits`].
pub const L2: u128 = 1 << 1 | 1 << 4;
pub const L3_OK: u128 = 1 << 2;
pub const L4_OK: u128 = 1 << 3;
pub const IPV4_CHECKSUM_OK: u128 = 1 << 5;
pub const L4_CHECKSUM_OK: u128 = 1 << 6;
pub const L3_LENGTH_OK: u128 = 1 << 7;

/// One bit for each variable.
pub type Row = [u64; WORDS];
/// No bit.
pub const NOTHING: Row = [0; WORDS];

/// The word of a bit, and its place there.
pub const fn place(bit: u16) -> (usize, u64) {
    (bit as usize / 64, 1 << (63 - bit % 64))
}

/// Calls `visit` with each word that a span has part of: its number, the bits, and the number's bits laid out there.
fn in_words(span: Span, number: u128, mut visit: impl FnMut(usize, u64, u64)) {
    let mut left = span.width;
    while left > 0 {
        let at = span.start + (span.width - left);
        let (word, skip) = (usize::from(at / 64), at % 64);
        let width = left.min(64 - skip);
        let ones = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        let part = (number >> (left - width)) as u64 & ones;
        let shift = 64 - skip - width;
        visit(word, ones << shift, part << shift);
        left -= width;
    }
}

/// The bits of a span in a row, as a number.
pub fn read(row: &Row, span: Span) -> u128 {
    let mut number = 0;
    in_words(span, 0, |word, bits, _| {
        let shift = bits.trailing_zeros();
        number = number << bits.count_ones() | u128::from((row[word] & bits) >> shift);
    });
    number
}

/// Sets the bits of a span in a row to a number.
pub fn write(row: &mut Row, span: Span, number: u128) {
    in_words(span, number, |word, bits, part| row[word] = row[word] & !bits | part);
}

/// The packets of which some bits are known.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cube {
    /// Which bits are known.
    pub mask: Row,
    /// Their values; 0 where nothing is known.
    pub value: Row,
}

impl Cube {
    /// All packets.
    pub const ALL: Self = Self { mask: NOTHING, value: NOTHING };

    /// Those with these bits of a span.
    pub fn of(span: Span, number: u128) -> Self {
        let mut cube = Self::ALL;
        cube.set(span, number, u128::MAX);
        cube
    }

    /// Those that also have these bits of a span.
    #[must_use]
    pub fn and(mut self, span: Span, number: u128) -> Self {
        self.set(span, number, u128::MAX);
        self
    }

    /// Makes the bits under `mask` known, whatever was known of them.
    pub fn set(&mut self, span: Span, number: u128, mask: u128) {
        in_words(span, mask, |word, _, bits| self.mask[word] |= bits);
        let mut words = NOTHING;
        in_words(span, mask, |word, _, bits| words[word] = bits);
        in_words(span, number, |word, _, bits| {
            self.value[word] = self.value[word] & !words[word] | bits & words[word];
        });
    }

    /// Asks for the bits under `mask`; `false` when that contradicts what is known, and then nothing changes.
    #[must_use]
    pub fn ask(&mut self, span: Span, number: u128, mask: u128) -> bool {
        let mut asked = Self::ALL;
        asked.set(span, number, mask);
        match self.meet(&asked) {
            Some(met) => {
                *self = met;
                true
            }
            None => false,
        }
    }

    /// Those that are in both.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let mut met = self.clone();
        met.narrow(other).then_some(met)
    }

    /// Keeps those that are in the other too; `false` when there are none.
    pub fn narrow(&mut self, other: &Self) -> bool {
        for word in 0..WORDS {
            if (self.value[word] ^ other.value[word]) & self.mask[word] & other.mask[word] != 0 {
                return false;
            }
            self.mask[word] |= other.mask[word];
            self.value[word] |= other.value[word];
        }
        true
    }

    /// Whether all of these are in the other.
    pub fn is_within(&self, other: &Self) -> bool {
        (0..WORDS).all(|word| {
            let asked = other.mask[word];
            asked & !self.mask[word] == 0 && (self.value[word] ^ other.value[word]) & asked == 0
        })
    }

    /// The number in a span, where all its bits are known.
    pub fn known(&self, span: Span) -> Option<u128> {
        let all = if span.width == 128 { u128::MAX } else { (1 << span.width) - 1 };
        (read(&self.mask, span) == all).then(|| read(&self.value, span))
    }

    /// The bits that are known, with their values.
    pub fn bits(&self) -> impl Iterator<Item = (u16, bool)> {
        bits_of(&self.mask).map(|bit| {
            let (word, at) = place(bit);
            (bit, self.value[word] & at != 0)
        })
    }
}

/// The bits of a row that are set.
pub fn bits_of(row: &Row) -> impl Iterator<Item = u16> {
    row.iter().enumerate().flat_map(|(word, bits)| {
        let mut left = *bits;
        std::iter::from_fn(move || {
            let skip = left.leading_zeros();
            (skip < 64).then(|| {
                left &= !(1 << (63 - skip));
                (word as u32 * 64 + skip) as u16
            })
        })
    })
}

/// Whether two rows have a bit in common.
pub fn meets(one: &Row, other: &Row) -> bool {
    one.iter().zip(other).any(|(one, other)| one & other != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_was_written() {
        let spans = [PORT, tag(3), Stack::INNER.network(24, 16), Stack::OUTER.source_mac()];
        for span in spans {
            let ones = u128::MAX >> (128 - span.width);
            for number in [0, 1, 0x8000_0000_0000_0000_0000_0000_0000_0001 & ones, ones] {
                let mut row = [u64::MAX; WORDS];
                write(&mut row, span, number);
                assert_eq!(read(&row, span), number, "{span:?}");
                let zeros = row.iter().map(|word| word.count_zeros()).sum::<u32>();
                assert_eq!(zeros, (ones ^ number).count_ones(), "{span:?} changes others");
            }
        }
    }

    #[test]
    fn no_two_things_share_a_bit_but_those_that_exclude_each_other() {
        let mut all = vec![BY_SOFTWARE, PORT, META, MARK, CONNTRACK, TUNNEL_KIND, TUNNEL_HEADER];
        all.extend((0..TAGS).map(tag));
        for stack in [Stack::OUTER, Stack::INNER] {
            all.extend([
                stack.has_ethernet(),
                stack.has_vlan(),
                stack.has_more_vlan(),
                stack.is_arp(),
                stack.family(),
                stack.is_fragment(),
                stack.has_fragment_header(),
                stack.has_transport(),
                stack.transport_kind(),
                stack.integrity(),
                stack.extensions(),
                stack.link(),
                stack.vlan(0),
                stack.vlan(1),
                stack.fragment_header(0, 8),
            ]);
            all.extend((0..4).map(|part| stack.network(part * 10, 10)));
            all.extend((0..2).map(|part| stack.transport(part * 10, 10)));
        }
        let mut seen = [false; BITS as usize];
        for bit in all.into_iter().flat_map(Span::bits) {
            assert!(!std::mem::replace(&mut seen[usize::from(bit)], true), "{bit}");
        }
    }

    #[test]
    fn cubes_meet_where_they_do_not_contradict() {
        let web = Cube::of(PORT, 1).and(tag(0), 5);
        assert_eq!(web.meet(&Cube::of(PORT, 2)), None);
        let both = web.meet(&Cube::of(META, 7)).unwrap();
        assert!(both.is_within(&web) && !web.is_within(&both));
        assert_eq!((both.known(META), both.known(MARK)), (Some(7), None));
        assert_eq!(both.bits().count(), 16 + 32 + 32);
    }
}
