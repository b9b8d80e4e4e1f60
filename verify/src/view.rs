//! What has become of a packet: each of its bits now, as a constant or as a bit of the packet that came in.
//!
//! So a set of packets on their way stays a set of packets that came in, whatever was rewritten, and a counterexample needs
//! no way back.

use biodivine_lib_bdd::Bdd;

use crate::bits::{
    Cube, Layer4, NOTHING, Row, Span, Stack, TUNNEL_HEADER, TUNNEL_KIND, Tunnel, WORDS, bits_of,
    place, write,
};
use crate::pattern::{Asked, Range};
use crate::space::{Region, Space, with};

/// The first word that is of headers, not of registers or the origin.
const HEADERS: usize = 6;

/// See the module.
#[derive(Clone, Debug)]
pub struct View {
    /// Which word of the packet that came in each word is.
    from: [u8; WORDS],
    /// The bits that are constants.
    made: Cube,
    /// The bits of which nobody knows what they are.
    lost: Row,
    /// Single bits that are others of the packet that came in.
    copied: Vec<(u16, u16)>,
    /// How many tunnels' headers were put on, less those that were taken off.
    pub encapsulations: i8,
}

/// A translation from bits now to bits of the packet that came in.
pub struct Origin {
    /// What is asked of that packet.
    pub cube: Cube,
    /// Something is asked of bits that are lost: maybe it does not hold.
    pub is_wider: bool,
}

/// What one bit is now.
enum Source {
    Constant(bool),
    Bit(u16),
    Lost,
}

impl View {
    /// A packet that has just come in.
    pub fn new() -> Self {
        Self {
            from: std::array::from_fn(|word| word as u8),
            made: Cube::ALL,
            lost: NOTHING,
            copied: Vec::new(),
            encapsulations: 0,
        }
    }

    /// Whether anything that leaves with the packet is not as it came.
    pub fn is_rewritten(&self) -> bool {
        (HEADERS..WORDS).any(|word| {
            usize::from(self.from[word]) != word || self.made.mask[word] | self.lost[word] != 0
        }) || self.copied.iter().any(|(bit, _)| usize::from(bit / 64) >= HEADERS)
    }

    /// The bits of a stack that are not those of `other` of the packet that came in, by place within the stack; `None` where
    /// nothing of it is.
    pub fn changes(&self, now: Stack, came: Stack) -> Option<Row> {
        let mut changed = NOTHING;
        for (at, word) in now.words().enumerate() {
            if usize::from(self.from[word]) != came.words().start + at {
                return None;
            }
            changed[word] = self.made.mask[word] | self.lost[word];
        }
        for (bit, _) in &self.copied {
            let (word, at) = place(*bit);
            if now.words().contains(&word) {
                changed[word] |= at;
            }
        }
        Some(changed)
    }

    /// The constants.
    pub const fn made(&self) -> &Cube {
        &self.made
    }

    fn source(&self, bit: u16) -> Source {
        let (word, at) = place(bit);
        if self.made.mask[word] & at != 0 {
            return Source::Constant(self.made.value[word] & at != 0);
        }
        if self.lost[word] & at != 0 {
            return Source::Lost;
        }
        if let Some((_, from)) = self.copied.iter().find(|(copy, _)| *copy == bit) {
            return Source::Bit(*from);
        }
        Source::Bit(u16::from(self.from[word]) * 64 + bit % 64)
    }

    /// What bits that are asked for now say of the packet that came in; `None` when constants contradict them.
    pub fn origin(&self, asked: &Cube) -> Option<Origin> {
        let mut origin = Origin { cube: Cube::ALL, is_wider: false };
        let copies = !self.copied.is_empty();
        for word in 0..WORDS {
            let mask = asked.mask[word];
            if mask == 0 {
                continue;
            }
            let constant = mask & self.made.mask[word];
            if (asked.value[word] ^ self.made.value[word]) & constant != 0 {
                return None;
            }
            origin.is_wider |= mask & !constant & self.lost[word] != 0;
            let open = mask & !constant & !self.lost[word];
            if open == 0 {
                continue;
            }
            let mut whole = open;
            if copies {
                for (bit, from) in &self.copied {
                    let (at, bit) = place(*bit);
                    if at == word && open & bit != 0 {
                        whole &= !bit;
                        let span = Span { start: *from, width: 1 };
                        let value = u128::from(asked.value[word] & bit != 0);
                        if !origin.cube.ask(span, value, 1) {
                            return None;
                        }
                    }
                }
            }
            let from = usize::from(self.from[word]);
            let value = asked.value[word] & whole;
            if (origin.cube.value[from] ^ value) & origin.cube.mask[from] & whole != 0 {
                return None;
            }
            origin.cube.mask[from] |= whole;
            origin.cube.value[from] |= value;
        }
        Some(origin)
    }

    /// What is known of the bits now, of packets of which `known` is.
    pub fn known(&self, known: &Cube) -> Cube {
        let mut now = self.made.clone();
        for word in 0..WORDS {
            let from = usize::from(self.from[word]);
            let open = !self.made.mask[word] & !self.lost[word];
            now.mask[word] |= known.mask[from] & open;
            now.value[word] |= known.value[from] & open;
        }
        for (bit, _) in &self.copied {
            let (word, at) = place(*bit);
            if self.made.mask[word] & at == 0 {
                now.mask[word] &= !at;
                now.value[word] &= !at;
            }
        }
        now
    }

    /// Those of the packets that are what is asked now, and whether some of them may not be; `None` when there are none.
    pub fn meet(&self, space: &Space, region: &Region, asked: &Asked) -> Option<(Region, bool)> {
        let origin = self.origin(&asked.cube)?;
        let mut is_wider = origin.is_wider | asked.is_wider;
        let mut met = region.meet(space, &origin.cube)?;
        for range in &asked.ranges {
            match self.range(space, range) {
                Some(set) => met = met.meet_set(&set)?,
                None => is_wider = true,
            }
        }
        Some((met, is_wider))
    }

    /// The packets, by what they were when they came in, that are not what is asked; `None` where that is not known exactly.
    pub fn others(&self, space: &Space, asked: &Asked) -> Option<Bdd> {
        let Some(origin) = self.origin(&asked.cube) else { return Some(space.none().not()) };
        if asked.is_wider || origin.is_wider {
            return None;
        }
        let mut those = space.bdd(&origin.cube);
        for range in &asked.ranges {
            those = those.and(&self.range(space, range)?);
        }
        Some(those.not())
    }

    /// The packets whose number lies in a range; `None` when it is lost.
    pub fn range(&self, space: &Space, range: &Range) -> Option<Bdd> {
        let (mut above, mut below) = (space.none().not(), space.none().not());
        for (at, bit) in range.span.bits().rev().enumerate() {
            if range.mask >> at & 1 == 0 {
                continue;
            }
            let set = match self.source(bit) {
                Source::Constant(true) => space.none().not(),
                Source::Constant(false) => space.none(),
                Source::Bit(bit) => space.bit(bit),
                Source::Lost => return None,
            };
            above = if range.low >> at & 1 == 1 { set.and(&above) } else { set.or(&above) };
            below = if range.high >> at & 1 == 1 {
                set.not().or(&below)
            } else {
                set.not().and(&below)
            };
        }
        Some(above.and(&below))
    }

    /// Whether all of the packets are now what is asked, or none (`Some`), or neither.
    pub fn decides(&self, region: &Region, asked: &Cube) -> Option<bool> {
        let Some(origin) = self.origin(asked) else { return Some(false) };
        if region.cube.meet(&origin.cube).is_none() {
            return Some(false);
        }
        (!origin.is_wider && region.cube.is_within(&origin.cube)).then_some(true)
    }

    /// Makes bits constants.
    pub fn set(&mut self, span: Span, number: u128, mask: u128) {
        self.made.set(span, number, mask);
        self.release(span, mask);
    }

    /// Takes bits out of the lost ones and the copies.
    fn release(&mut self, span: Span, mask: u128) {
        let mut bits = Cube::ALL;
        bits.set(span, 0, mask);
        for (word, bits) in bits.mask.iter().enumerate() {
            self.lost[word] &= !bits;
        }
        self.copied.retain(|(bit, _)| {
            let (word, at) = place(*bit);
            bits.mask[word] & at == 0
        });
    }

    /// Nobody knows any more what these bits are.
    pub fn lose(&mut self, span: Span, mask: u128) {
        self.release(span, mask);
        let mut bits = Cube::ALL;
        bits.set(span, 0, mask);
        for (word, bits) in bits.mask.iter().enumerate() {
            self.lost[word] |= bits;
            self.made.mask[word] &= !bits;
            self.made.value[word] &= !bits;
        }
    }

    fn lose_words(&mut self, words: std::ops::Range<usize>) {
        for word in words {
            self.lose(Span { start: word as u16 * 64, width: 64 }, u128::MAX);
        }
    }

    /// Nobody knows any more what is behind the outer headers.
    pub fn lose_inside(&mut self) {
        self.lose_words(Stack::OUTER.words().end..WORDS);
    }

    /// Nobody knows any more what a stack is but that it begins with Ethernet.
    pub fn lose_stack(&mut self, stack: Stack) {
        let has_ethernet = stack.has_ethernet();
        let kinds = Span { start: has_ethernet.start + 1, width: 63 };
        self.lose(kinds, u128::MAX);
        self.lose_words(stack.words().start + 4..stack.words().end);
    }

    /// Makes bits copies of others.
    pub fn copy(&mut self, to: Span, from: Span) {
        let sources: Vec<Source> = from.bits().map(|bit| self.source(bit)).collect();
        for (bit, source) in to.bits().zip(sources) {
            let span = Span { start: bit, width: 1 };
            match source {
                Source::Constant(value) => self.set(span, value.into(), 1),
                Source::Lost => self.lose(span, 1),
                Source::Bit(from) => {
                    self.set(span, 0, 1);
                    let (word, at) = place(bit);
                    self.made.mask[word] &= !at;
                    self.copied.push((bit, from));
                }
            }
        }
    }

    /// Adds a number to the one in a span, in which nobody carries out of it.
    pub fn add(&mut self, region: &Region, span: Span, number: u128) {
        let now = self.known(&region.cube);
        match now.known(span) {
            Some(before) => self.set(span, before.wrapping_add(number), u128::MAX),
            None => self.lose(span, u128::MAX),
        }
    }

    /// Takes the outer headers off; what is behind the inner ones is not known.
    pub fn decapsulate(&mut self) {
        self.shift(Stack::INNER, Stack::OUTER);
        self.lose_inside();
        self.encapsulations -= 1;
    }

    /// Moves what is known of one stack to another.
    fn shift(&mut self, from: Stack, to: Stack) {
        let copied = std::mem::take(&mut self.copied);
        for (source, target) in from.words().zip(to.words()) {
            self.from[target] = self.from[source];
            self.made.mask[target] = self.made.mask[source];
            self.made.value[target] = self.made.value[source];
            self.lost[target] = self.lost[source];
        }
        for (bit, source) in copied {
            let word = usize::from(bit / 64);
            if from.words().contains(&word) {
                let moved = to.words().start + word - from.words().start;
                self.copied.push((moved as u16 * 64 + bit % 64, source));
            } else if !to.words().contains(&word) {
                self.copied.push((bit, source));
            }
        }
    }

    /// Puts headers on.
    pub fn encapsulate(&mut self, header: &Header) {
        self.shift(Stack::OUTER, Stack::INNER);
        self.lose_words(Stack::OUTER.words().start..Stack::INNER.words().start);
        for (bit, value) in header.known.bits() {
            self.set(Span { start: bit, width: 1 }, value.into(), 1);
        }
        self.encapsulations += 1;
    }
}

/// The headers of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// All that is known of them.
    pub known: Cube,
}

impl Header {
    /// Ethernet, IP, UDP and VXLAN as the bytes say, but for what a card fills in: lengths, the IPv4 header's checksum, the
    /// UDP source port. `None` for other headers.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        /// `bytes` as bits of a span.
        fn put(known: &mut Cube, span: Span, bytes: &[u8]) {
            for (at, byte) in bytes.iter().enumerate() {
                known.set(span.part(at as u16 * 8, 8), u128::from(*byte), 0xff);
            }
        }
        let stack = Stack::OUTER;
        let (link, rest) = bytes.split_at_checked(14)?;
        let is_v6 = match link {
            [.., 0x08, 0x00] => false,
            [.., 0x86, 0xdd] => true,
            _ => return None,
        };
        let (network, rest) = rest.split_at_checked(if is_v6 { 40 } else { 20 })?;
        let (udp, vxlan) = rest.split_at_checked(8)?;
        let protocol = *network.get(if is_v6 { 6 } else { 9 })?;
        let is_whole = !is_v6
            && network.first() == Some(&0x45)
            && network.get(7) == Some(&0)
            && network.get(6).is_some_and(|flags| matches!(flags, 0 | 0x40 | 0x80 | 0xc0))
            || is_v6 && network.first().is_some_and(|first| first >> 4 == 6);
        if !is_whole || protocol != 17 || vxlan.len() != 8 || udp.get(2..4) != Some(&[0x12, 0xb5]) {
            return None;
        }
        let mut known = with(&[
            (stack.has_ethernet(), 1),
            (stack.has_vlan(), 0),
            (stack.has_more_vlan(), 0),
            (stack.is_arp(), 0),
            (stack.family(), if is_v6 { 0b11 } else { 0b10 }),
            (stack.is_fragment(), 0),
            (stack.has_fragment_header(), 0),
            (stack.has_transport(), 1),
            (stack.transport_kind(), Layer4::Udp as u128),
            (stack.extensions(), 0),
            (TUNNEL_KIND, Tunnel::Vxlan as u128),
        ]);
        put(&mut known, stack.link(), link);
        put(&mut known, stack.network(0, 16), network);
        put(&mut known, stack.transport(0, 8), udp);
        put(&mut known, TUNNEL_HEADER, vxlan);
        let filled_in: &[Span] = if is_v6 {
            &[stack.network(4, 2), stack.transport(0, 2), stack.transport(4, 2)]
        } else {
            &[
                stack.network(2, 2),
                stack.network(10, 2),
                stack.transport(0, 2),
                stack.transport(4, 2),
            ]
        };
        for span in filled_in {
            let mut bits = NOTHING;
            write(&mut bits, *span, u128::MAX);
            for bit in bits_of(&bits) {
                let (word, at) = place(bit);
                known.mask[word] &= !at;
                known.value[word] &= !at;
            }
        }
        Some(Self { known })
    }
}
