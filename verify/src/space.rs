//! Which rows of bits are packets: what one header says of another.
//!
//! The parser of a card decides it: a TCP header is there only behind an IP header that says so, a fragment has none, and so
//! on. What is said here holds for every packet; what it leaves out makes a proof harder, never wrong.

use std::rc::Rc;

use biodivine_lib_bdd::{Bdd, BddPartialValuation, BddPointer, BddVariable, BddVariableSet};
use hashbrown::HashSet;

use crate::bits::{
    BITS, Cube, IPV4_CHECKSUM_OK, L2, L3_LENGTH_OK, L3_OK, L4_CHECKSUM_OK, L4_OK, Layer4, NOTHING,
    Row, Span, Stack, TUNNEL_KIND, Tunnel, meets, place,
};

/// Some bits of a word, and their values.
type Literals = Vec<(usize, u64, u64)>;

/// Packets with the first have the second too; without a second there are none with the first.
#[derive(Debug)]
struct Implication {
    when: Literals,
    then: Option<Literals>,
}

/// All packets.
#[derive(Debug)]
pub struct Space {
    variables: BddVariableSet,
    implications: Vec<Implication>,
    packets: Bdd,
    support: Row,
}

/// Numbers that stand for IPv6 extension headers, with their bit among [`Stack::extensions`] from the lowest.
pub const EXTENSIONS: [(u128, u16); 9] =
    [(0, 0), (43, 1), (44, 2), (51, 3), (50, 4), (60, 5), (135, 6), (139, 7), (140, 8)];
/// The fragment header's bit.
const FRAGMENT_EXTENSION: u16 = 2;

/// The protocol number of each transport.
pub const PROTOCOLS: [(Layer4, u128); 6] = [
    (Layer4::Tcp, 6),
    (Layer4::Udp, 17),
    (Layer4::Sctp, 132),
    (Layer4::Icmp, 1),
    (Layer4::Icmp6, 58),
    (Layer4::Esp, 50),
];

/// The UDP destination port that each tunnel over UDP has.
const TUNNEL_PORTS: [(Tunnel, u128); 4] =
    [(Tunnel::Vxlan, 4789), (Tunnel::VxlanGpe, 4790), (Tunnel::Geneve, 6081), (Tunnel::Gtp, 2152)];

fn literals(cube: &Cube) -> Literals {
    let words = cube.mask.iter().zip(&cube.value).enumerate();
    words
        .filter(|(_, (mask, _))| **mask != 0)
        .map(|(word, (mask, value))| (word, *mask, *value))
        .collect()
}

/// The packets with these numbers in these spans.
pub fn with(asked: &[(Span, u128)]) -> Cube {
    asked.iter().fold(Cube::ALL, |cube, (span, number)| cube.and(*span, *number))
}

/// What is said while it is collected.
#[derive(Default)]
struct Facts(Vec<(Cube, Option<Cube>)>);

impl Facts {
    fn implies(&mut self, when: &[(Span, u128)], then: &[(Span, u128)]) {
        self.0.push((with(when), Some(with(then))));
    }

    fn never(&mut self, when: &[(Span, u128)]) {
        self.0.push((with(when), None));
    }

    fn stack(&mut self, stack: Stack) {
        let no_ip = (stack.is_ip(), 0);
        let (v4, v6) = ((stack.family(), 0b10), (stack.family(), 0b11));
        let ethernet = (stack.has_ethernet(), 1);
        self.implies(&[(stack.has_more_vlan(), 1)], &[(stack.has_vlan(), 1)]);
        self.implies(&[(stack.has_vlan(), 1)], &[ethernet]);
        self.implies(&[(stack.is_arp(), 1)], &[no_ip, ethernet, (stack.ether_type(), 0x0806)]);
        self.implies(&[v4, ethernet], &[(stack.ether_type(), 0x0800)]);
        self.implies(&[v6, ethernet], &[(stack.ether_type(), 0x86dd)]);
        let version = stack.network(0, 1).part(0, 4);
        self.implies(&[v4], &[(version, 4), (stack.extensions(), 0)]);
        self.implies(&[v6], &[(version, 6)]);
        // An IPv4 header has at least five words.
        let words = stack.network(0, 1).part(4, 4);
        self.never(&[v4, (words.part(0, 2), 0)]);
        self.never(&[v4, (words, 4)]);
        self.implies(
            &[no_ip],
            &[
                (stack.is_v6(), 0),
                (stack.is_fragment(), 0),
                (stack.has_fragment_header(), 0),
                (stack.has_transport(), 0),
                (stack.extensions(), 0),
            ],
        );
        self.fragments(stack, v4, v6);
        self.transport(stack, v4, v6);
        self.integrity(stack, v4, v6);
    }

    fn fragments(&mut self, stack: Stack, v4: (Span, u128), v6: (Span, u128)) {
        let fragment = |is: u128| (stack.is_fragment(), is);
        // "More fragments" and the offset.
        let place = (stack.network(6, 2).part(2, 14), 0);
        self.implies(&[v4, fragment(0)], &[place]);
        self.implies(&[v4, place], &[fragment(0)]);
        let extension = |is: u128| (stack.extensions().part(8 - FRAGMENT_EXTENSION, 1), is);
        self.implies(&[v6, fragment(1)], &[extension(1)]);
        self.implies(&[v6, extension(1)], &[fragment(1)]);
        self.implies(&[(stack.has_fragment_header(), 1)], &[v6, fragment(1)]);
        self.implies(&[fragment(1)], &[(stack.has_transport(), 0)]);
    }

    fn transport(&mut self, stack: Stack, v4: (Span, u128), v6: (Span, u128)) {
        let (there, none) = ((stack.has_transport(), 1), (stack.has_transport(), 0));
        let kind = |kind: Layer4| (stack.transport_kind(), kind as u128);
        self.implies(&[none], &[(stack.transport_kind(), 0)]);
        // There are no kinds 6 and 7.
        self.never(&[(stack.transport_kind().part(0, 2), 0b11)]);
        self.implies(&[there, kind(Layer4::Icmp)], &[v4]);
        self.implies(&[there, kind(Layer4::Icmp6)], &[v6]);
        let (protocol, next) = (stack.network(9, 1), stack.network(6, 1));
        let no_extension = (stack.extensions(), 0);
        for (layer, number) in PROTOCOLS {
            self.implies(&[v4, there, kind(layer)], &[(protocol, number)]);
            self.implies(&[v4, there, (protocol, number)], &[kind(layer)]);
            if layer == Layer4::Esp {
                self.implies(&[v6, there, kind(layer)], &[(stack.extensions().part(4, 1), 1)]);
            } else {
                self.implies(&[v6, no_extension, there, kind(layer)], &[(next, number)]);
                self.implies(&[v6, there, (next, number)], &[kind(layer)]);
                self.implies(&[v6, (next, number)], &[no_extension]);
            }
        }
        for (number, bit) in EXTENSIONS {
            self.implies(&[v6, (next, number)], &[(stack.extensions().part(8 - bit, 1), 1)]);
        }
    }

    fn integrity(&mut self, stack: Stack, v4: (Span, u128), v6: (Span, u128)) {
        let bit =
            |bit: u128, is: u128| (stack.integrity().part(7 - bit.trailing_zeros() as u16, 1), is);
        let no_ip = (stack.is_ip(), 0);
        let (there, none) = ((stack.has_transport(), 1), (stack.has_transport(), 0));
        let (checksum, length) = (bit(IPV4_CHECKSUM_OK, 1), bit(L3_LENGTH_OK, 1));
        let layer3 = |is| bit(L3_OK, is);
        self.implies(&[no_ip], &[layer3(0), bit(L3_LENGTH_OK, 0), bit(IPV4_CHECKSUM_OK, 0)]);
        self.implies(&[v6], &[bit(IPV4_CHECKSUM_OK, 0)]);
        self.implies(&[layer3(1)], &[length]);
        self.implies(&[v4, layer3(1)], &[checksum]);
        self.implies(&[v4, checksum, length], &[layer3(1)]);
        self.implies(&[v6, length], &[layer3(1)]);
        let (layer4, sum) = (bit(L4_OK, 1), bit(L4_CHECKSUM_OK, 1));
        self.implies(&[none], &[bit(L4_OK, 0), bit(L4_CHECKSUM_OK, 0)]);
        self.implies(&[layer4], &[layer3(1), sum]);
        self.implies(&[layer3(1), sum], &[layer4]);
        for unchecked in [Layer4::Sctp, Layer4::Esp] {
            self.implies(
                &[there, (stack.transport_kind(), unchecked as u128)],
                &[bit(L4_OK, 0), bit(L4_CHECKSUM_OK, 0)],
            );
        }
        // A TCP header that is in order has at least five words.
        let words = stack.transport(12, 1).part(0, 4);
        let tcp = (stack.transport_kind(), Layer4::Tcp as u128);
        self.never(&[there, tcp, sum, (words.part(0, 2), 0)]);
        self.never(&[there, tcp, sum, (words, 4)]);
        for layer2 in [1_u128 << 1, 1 << 4] {
            debug_assert_ne!(layer2 & L2, 0);
            self.implies(&[(stack.is_ip(), 1)], &[bit(layer2, 1)]);
            self.implies(&[(stack.has_ethernet(), 1)], &[bit(layer2, 1)]);
        }
    }

    fn tunnels(&mut self) {
        let (outer, inner) = (Stack::OUTER, Stack::INNER);
        let tunnel = |kind: Tunnel| (TUNNEL_KIND, kind as u128);
        let (v4, v6) = ((outer.family(), 0b10), (outer.family(), 0b11));
        self.never(&[(TUNNEL_KIND, 7)]);
        self.implies(&[], &[(outer.has_ethernet(), 1)]);
        for (kind, port) in TUNNEL_PORTS {
            self.implies(
                &[tunnel(kind)],
                &[
                    (outer.has_transport(), 1),
                    (outer.transport_kind(), Layer4::Udp as u128),
                    (outer.transport(2, 2), port),
                ],
            );
        }
        for kind in [Tunnel::Gre, Tunnel::IpInIp] {
            let plain = [(outer.has_transport(), 0), (outer.is_ip(), 1), (outer.is_fragment(), 0)];
            self.implies(&[tunnel(kind)], &plain);
        }
        self.implies(&[tunnel(Tunnel::Gre), v4], &[(outer.network(9, 1), 47)]);
        self.implies(
            &[tunnel(Tunnel::Gre), v6, (outer.extensions(), 0)],
            &[(outer.network(6, 1), 47)],
        );
        let nothing_inside = [
            (inner.has_ethernet(), 0),
            (inner.is_ip(), 0),
            (inner.is_arp(), 0),
            (inner.integrity(), 0),
        ];
        self.implies(&[tunnel(Tunnel::None)], &nothing_inside);
        // What carries only Ethernet, and what carries only IP.
        self.implies(&[tunnel(Tunnel::Vxlan), (inner.has_ethernet(), 0)], &nothing_inside);
        for kind in [Tunnel::Gtp, Tunnel::IpInIp] {
            self.implies(&[tunnel(kind)], &[(inner.has_ethernet(), 0)]);
        }
    }
}

impl Space {
    /// All packets.
    pub fn new() -> Self {
        let variables = BddVariableSet::new_anonymous(BITS);
        let mut space = Self {
            packets: variables.mk_true(),
            variables,
            implications: Vec::new(),
            support: NOTHING,
        };
        // Each stack by itself: what is said of it is small, and so is all of it together.
        let stacks = [Stack::OUTER, Stack::INNER].map(|stack| {
            let mut facts = Facts::default();
            facts.stack(stack);
            space.learn(&facts).and(&space.extensions(stack))
        });
        let mut facts = Facts::default();
        facts.tunnels();
        let tunnels = space.learn(&facts);
        space.packets = stacks.iter().fold(tunnels, |all, stack| all.and(stack));
        space.support = support(&space.packets);
        space
    }

    /// Takes facts in, and gives them back as a set.
    fn learn(&mut self, facts: &Facts) -> Bdd {
        let mut set = self.variables.mk_true();
        for (when, then) in &facts.0 {
            let then_set = then.as_ref().map_or_else(|| self.none(), |then| self.bdd(then));
            set = set.and(&self.bdd(when).imp(&then_set));
            let (when, then) = (literals(when), then.as_ref().map(literals));
            self.implications.push(Implication { when, then });
        }
        set
    }

    /// An extension header is there exactly where the fixed header names one.
    fn extensions(&self, stack: Stack) -> Bdd {
        let is = |span: Span, number: u128| self.bdd(&Cube::of(span, number));
        let named = EXTENSIONS
            .iter()
            .fold(self.none(), |all, (number, _)| all.or(&is(stack.network(6, 1), *number)));
        is(stack.family(), 0b11).imp(&is(stack.extensions(), 0).xor(&named))
    }

    /// No packets.
    pub fn none(&self) -> Bdd {
        self.variables.mk_false()
    }

    /// A cube's packets, and rows that are none.
    pub fn bdd(&self, cube: &Cube) -> Bdd {
        self.variables.mk_conjunctive_clause(&valuation(cube.bits()))
    }

    /// One bit, set.
    pub fn bit(&self, bit: u16) -> Bdd {
        self.variables.mk_var(variable(bit))
    }

    /// Adds to what is known of packets what follows from it; `false` when there are none.
    pub fn settle(&self, cube: &mut Cube) -> bool {
        loop {
            let mut changed = false;
            for implication in &self.implications {
                match implication.apply(cube) {
                    Step::Nothing => {}
                    Step::Changed => changed = true,
                    Step::Contradiction => return false,
                }
            }
            if !changed {
                return true;
            }
        }
    }

    /// Whether there are packets in a cube.
    pub fn has_some(&self, cube: &Cube) -> bool {
        let mut dead = HashSet::new();
        path(&self.packets, self.packets.root_pointer(), cube, &mut dead)
    }

    /// The packets of a cube, in terms of what is not known of them.
    pub fn packets_in(&self, cube: &Cube) -> Bdd {
        restrict(&self.packets, &self.support, cube)
    }

    /// The bits of which something is said.
    pub const fn support(&self) -> &Row {
        &self.support
    }
}

enum Step {
    Nothing,
    Changed,
    Contradiction,
}

impl Implication {
    fn apply(&self, cube: &mut Cube) -> Step {
        let mut missing = 0;
        let mut last = None;
        for (word, mask, value) in &self.when {
            if (cube.value[*word] ^ value) & mask & cube.mask[*word] != 0 {
                return Step::Nothing;
            }
            let unknown = mask & !cube.mask[*word];
            if unknown != 0 {
                missing += unknown.count_ones();
                last = Some((*word, unknown, value & unknown));
            }
        }
        let then = self.then.as_deref().unwrap_or_default();
        let contradicts = self.then.is_none()
            || then.iter().any(|(word, mask, value)| {
                (cube.value[*word] ^ value) & mask & cube.mask[*word] != 0
            });
        match (missing, contradicts, last) {
            (0, true, _) => Step::Contradiction,
            (0, false, _) => {
                let mut step = Step::Nothing;
                for (word, mask, value) in then {
                    if mask & !cube.mask[*word] != 0 {
                        cube.mask[*word] |= mask;
                        cube.value[*word] |= value;
                        step = Step::Changed;
                    }
                }
                step
            }
            // The one bit that is missing must be the other way.
            (1, true, Some((word, bit, value))) => {
                cube.mask[word] |= bit;
                cube.value[word] |= bit & !value;
                Step::Changed
            }
            _ => Step::Nothing,
        }
    }
}

/// Whether a cube's packets can take a way from `node` to "true". `dead`: nodes without one.
fn path(bdd: &Bdd, node: BddPointer, cube: &Cube, dead: &mut HashSet<usize>) -> bool {
    if let Some(end) = node.as_bool() {
        return end;
    }
    if dead.contains(&node.to_index()) {
        return false;
    }
    let (word, bit) = place(bdd.var_of(node).to_index() as u16);
    let (low, high) = (bdd.low_link_of(node), bdd.high_link_of(node));
    let found = if cube.mask[word] & bit == 0 {
        path(bdd, low, cube, dead) || path(bdd, high, cube, dead)
    } else if cube.value[word] & bit == 0 {
        path(bdd, low, cube, dead)
    } else {
        path(bdd, high, cube, dead)
    };
    if !found {
        dead.insert(node.to_index());
    }
    found
}

fn variable(bit: u16) -> BddVariable {
    BddVariable::from_index(usize::from(bit))
}

fn valuation(bits: impl Iterator<Item = (u16, bool)>) -> BddPartialValuation {
    BddPartialValuation::from_values_iter(bits.map(|(bit, value)| (variable(bit), value)))
}

/// The bits that a set depends on.
pub fn support(bdd: &Bdd) -> Row {
    let mut row = NOTHING;
    for variable in bdd.support_set() {
        let (word, bit) = place(variable.to_index() as u16);
        row[word] |= bit;
    }
    row
}

/// What is left of a set that depends on `support` where a cube's bits are known.
pub fn restrict(bdd: &Bdd, support: &Row, cube: &Cube) -> Bdd {
    let mut known = Cube::ALL;
    for (word, bits) in support.iter().enumerate() {
        known.mask[word] = bits & cube.mask[word];
        known.value[word] = bits & cube.value[word];
    }
    if known.mask == NOTHING {
        return bdd.clone();
    }
    bdd.restrict_valuation(&valuation(known.bits()))
}

/// A set that is no cube, beside one; neither all packets nor none.
#[derive(Debug)]
struct Rest {
    bdd: Bdd,
    support: Row,
}

/// A set of packets: a cube, and what else holds of its packets, about bits that the cube leaves open.
#[derive(Clone, Debug)]
pub struct Region {
    /// The cube.
    pub cube: Cube,
    rest: Option<Rc<Rest>>,
}

impl Region {
    /// A cube's packets; `None` when there are none.
    pub fn new(space: &Space, mut cube: Cube) -> Option<Self> {
        space.settle(&mut cube).then_some(Self { cube, rest: None })
    }

    /// Those that are in a cube too; `None` when there are clearly none.
    pub fn meet(&self, space: &Space, other: &Cube) -> Option<Self> {
        if self.cube.is_within(other) {
            return Some(self.clone());
        }
        let mut cube = self.cube.meet(other)?;
        if !space.settle(&mut cube) {
            return None;
        }
        let Some(rest) = &self.rest else { return Some(Self { cube, rest: None }) };
        if !meets(&rest.support, &cube.mask) {
            return Some(Self { cube, rest: Some(Rc::clone(rest)) });
        }
        let bdd = restrict(&rest.bdd, &rest.support, &cube);
        Self::beside(cube, bdd)
    }

    fn beside(cube: Cube, bdd: Bdd) -> Option<Self> {
        let rest = match bdd.as_bool() {
            Some(false) => return None,
            Some(true) => None,
            None => {
                let support = support(&bdd);
                Some(Rc::new(Rest { bdd, support }))
            }
        };
        Some(Self { cube, rest })
    }

    /// Those that are in another set too; `None` when there are clearly none.
    pub fn meet_set(&self, set: &Bdd) -> Option<Self> {
        let set = restrict(set, &support(set), &self.cube);
        let both = match &self.rest {
            Some(rest) => rest.bdd.and(&set),
            None => set,
        };
        Self::beside(self.cube.clone(), both)
    }

    /// Whether there are such packets.
    pub fn has_some(&self, space: &Space) -> bool {
        match &self.rest {
            Some(rest) if meets(&rest.support, space.support()) => {
                !space.packets_in(&self.cube).and(&rest.bdd).is_false()
            }
            _ => space.has_some(&self.cube),
        }
    }

    /// Those that are not in a cube; `None` when there are none.
    pub fn outside(&self, space: &Space, cube: &Cube) -> Option<Self> {
        if self.cube.is_within(cube) {
            return None;
        }
        if self.cube.meet(cube).is_none() {
            return Some(self.clone()).filter(|region| region.has_some(space));
        }
        self.meet_set(&space.bdd(cube).not()).filter(|region| region.has_some(space))
    }

    /// All that decides which of the packets is chosen: what else holds of them, together with what holds of all.
    pub fn choices(&self, space: &Space) -> Bdd {
        let packets = space.packets_in(&self.cube);
        match &self.rest {
            Some(rest) => packets.and(&rest.bdd),
            None => packets,
        }
    }
}

/// The bits of a set's packets, chosen as near to `wished` as the order of bits allows; those that are chosen freely are
/// left out. `None` when there are no packets.
pub fn choose(choices: &Bdd, wished: &Row) -> Option<Cube> {
    let mut chosen = Cube::ALL;
    let mut node = choices.root_pointer();
    while node.as_bool().is_none() {
        let at = choices.var_of(node).to_index() as u16;
        let (word, bit) = place(at);
        let (low, high) = (choices.low_link_of(node), choices.high_link_of(node));
        let wants = wished[word] & bit != 0;
        let is_one = if wants { !high.is_zero() } else { low.is_zero() };
        chosen.mask[word] |= bit;
        if is_one {
            chosen.value[word] |= bit;
        }
        node = if is_one { high } else { low };
    }
    node.is_one().then_some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: Stack = Stack::OUTER;

    #[test]
    fn what_is_known_of_a_tcp_packet_follows() {
        let space = Space::new();
        let mut cube = with(&[
            (OUTER.family(), 0b10),
            (OUTER.has_transport(), 1),
            (OUTER.transport_kind(), Layer4::Tcp as u128),
        ]);
        assert!(space.settle(&mut cube));
        assert_eq!(cube.known(OUTER.network(9, 1)), Some(6));
        assert_eq!(cube.known(OUTER.ether_type()), Some(0x0800));
        assert_eq!(cube.known(OUTER.network(6, 2).part(2, 14)), Some(0));
        assert!(!cube.clone().ask(OUTER.network(9, 1), 17, 0xff));
    }

    #[test]
    fn a_set_of_no_packets_is_seen_as_such() {
        let space = Space::new();
        // IPv6's next header is neither TCP nor an extension header, and there is TCP.
        let tcp = with(&[
            (OUTER.family(), 0b11),
            (OUTER.has_transport(), 1),
            (OUTER.transport_kind(), Layer4::Tcp as u128),
            (OUTER.network(6, 1), 99),
        ]);
        assert!(!space.has_some(&tcp));
        let vlan = with(&[(OUTER.has_more_vlan(), 1), (OUTER.has_vlan(), 0)]);
        assert!(!space.has_some(&vlan));
        assert!(space.has_some(&Cube::ALL));
    }

    #[test]
    fn a_rest_goes_where_the_cube_decides_it() {
        let space = Space::new();
        let port = |number| Cube::of(crate::bits::PORT, number);
        let all = Region::new(&space, Cube::ALL).unwrap();
        let others = all.outside(&space, &port(3)).unwrap();
        assert!(others.meet(&space, &port(3)).is_none());
        let four = others.meet(&space, &port(4)).unwrap();
        assert!(four.rest.is_none());
        assert!(four.outside(&space, &port(4)).is_none());
    }

    #[test]
    fn the_space_stays_small() {
        let nodes = Space::new().packets.size();
        assert!(nodes < 20_000, "{nodes} nodes");
    }
}
