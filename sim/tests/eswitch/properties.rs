//! Properties: matching equals a naive reference, encapsulation is undone by decapsulation, nothing panics.

use packet::Frame;
use proptest::collection::vec;
use proptest::prelude::*;
use rte_flow::{Action, FieldId, FieldRef, Header, Item, Match, ModifyField, RawEncap, SetTag};
use sim::eswitch::{Ingress, RuleId, Time, Trace, VISITS, Verdict};

use crate::random_packets::{Headers, Seen, headers};
use crate::rig::{UPLINK, VF0, VF1, add, from_entity, in_vxlan, rule, send, switch};

/// A structure with some of its bits; `pick` decides field by field.
fn thinned<H: Header>(spec: H, pick: u64, ranges: bool) -> Match<H> {
    let mut mask_bytes = vec![0; H::SIZE];
    let mut last_bytes = vec![0; H::SIZE];
    let mut spec_bytes = vec![0; H::SIZE];
    spec.store(&mut spec_bytes);
    // The structures are looked at as bytes here: any byte mask is a mask.
    for (index, mask) in mask_bytes.iter_mut().enumerate() {
        *mask = match (pick >> (index * 5 % 59)) & 7 {
            0 => 0xff,
            1 => 0x0f,
            2 => 0xf0,
            _ => 0,
        };
    }
    if ranges {
        for (last, spec) in last_bytes.iter_mut().zip(&spec_bytes) {
            *last = spec.saturating_add((pick & 3) as u8);
        }
    }
    Match {
        spec: Some(spec),
        last: ranges.then(|| H::load(&last_bytes)),
        mask: Some(H::load(&mask_bytes)),
    }
}

/// Calls a macro with the items of headers.
macro_rules! each_header {
    ($each:ident) => {
        $each!(
            Eth,
            Vlan,
            ArpEthIpv4,
            Ipv4,
            Ipv6,
            Ipv6FragExt,
            Tcp,
            Udp,
            Sctp,
            Icmp,
            Icmp6,
            Esp,
            Vxlan,
            VxlanGpe,
            Geneve,
            Gre,
            GreKey,
            Nvgre
        )
    };
}

/// An item like what a packet shows, asking for some of it only.
fn pattern_item(seen: &Item, pick: u64, ranges: bool) -> Item {
    macro_rules! each {
        ($($kind:ident),+) => {
            match seen {
                $(Item::$kind(Match { spec: Some(spec), .. }) => {
                    Item::$kind(thinned(*spec, pick, ranges))
                })+
                other => other.clone(),
            }
        };
    }
    each_header!(each)
}

/// The headers that a rule's item is about: those of the same kind at the same place among its like.
fn header_of<'a>(item: &Item, before: &[Item], stack: &'a [Item]) -> Option<&'a Item> {
    let alike = |other: &&Item| other.kind() == item.kind();
    stack.iter().filter(alike).nth(before.iter().filter(alike).count())
}

/// Whether a stack of headers has all that these items ask of it.
fn fits(items: &[Item], stack: &[Item]) -> bool {
    items.iter().enumerate().all(|(index, item)| {
        let header = header_of(item, &items[..index], stack);
        macro_rules! each {
            ($($kind:ident),+) => {
                match (item, header) {
                    $((Item::$kind(asked), Some(Item::$kind(Match { spec: Some(actual), .. }))) => {
                        asked.admits(actual)
                    })+
                    _ => false,
                }
            };
        }
        each_header!(each)
    })
}

/// Whether a pattern asks for what the packet shows: its items up to the tunnel's of the outer headers, the others of the inner
/// ones. Without a tunnel's item, a second network layer is one inside the first.
fn admitted(pattern: &[Item], seen: &Seen) -> bool {
    let is_tunnel = |item: &Item| {
        matches!(
            item,
            Item::Vxlan(_)
                | Item::VxlanGpe(_)
                | Item::Geneve(_)
                | Item::Gre(_)
                | Item::GreKey(_)
                | Item::Nvgre(_)
        )
    };
    let is_network = |item: &Item| matches!(item, Item::Ipv4(_) | Item::Ipv6(_));
    let (border, carries) = if let Some(tunnel) = pattern.iter().rposition(is_tunnel) {
        (tunnel + 1, true)
    } else {
        let mut networks = (0..pattern.len()).filter(|at| is_network(&pattern[*at]));
        (networks.nth(1).unwrap_or(pattern.len()), seen.is_ip_in_ip)
    };
    let (outer, inner) = pattern.split_at(border);
    fits(outer, &seen.outer) && (inner.is_empty() || carries && fits(inner, &seen.inner))
}

/// Which headers a pattern leaves out.
#[derive(Debug, Clone, Copy)]
struct Leave {
    /// All VLAN tags behind so many.
    tags: usize,
    /// GRE's header and key where there is NVGRE's; else NVGRE's.
    gre: bool,
    /// GRE's key.
    key: bool,
}

/// A packet's headers that a pattern mentions, from the outermost inwards.
fn chosen(seen: &Seen, leave: Leave, depth: usize) -> Vec<Item> {
    let is_nvgre = leave.gre && seen.outer.iter().any(|item| matches!(item, Item::Nvgre(_)));
    let stack = |items: &[Item]| -> Vec<Item> {
        let mut tags = 0;
        let kept = items.iter().filter(|item| match item {
            Item::Vlan(_) => {
                tags += 1;
                tags <= leave.tags
            }
            Item::Gre(_) => !is_nvgre,
            Item::GreKey(_) => !is_nvgre && !leave.key,
            Item::Nvgre(_) => is_nvgre,
            _ => true,
        });
        kept.cloned().collect()
    };
    let all = [stack(&seen.outer), stack(&seen.inner)].concat();
    all.into_iter().take(depth).collect()
}

/// Rules, by priority and pattern, made from some of these packets.
fn rules_of(packets: Vec<Headers>) -> impl Strategy<Value = Vec<(u32, Vec<Item>)>> {
    let leave = (0..3_usize, any::<bool>(), any::<bool>());
    let leave = leave.prop_map(|(tags, gre, key)| Leave { tags, gre, key });
    let depth = prop_oneof![3 => Just(usize::MAX), 1 => 1..12_usize];
    let packet = prop::sample::select(packets);
    let one = (packet, leave, depth, vec(any::<u64>(), 12), 0..3_u32, 0..8_u8);
    let one = one.prop_map(|(headers, leave, depth, picks, priority, range)| {
        let pattern = chosen(&headers.seen(), leave, depth);
        let pattern = pattern
            .iter()
            .zip(picks)
            .map(|(item, pick)| pattern_item(item, pick, range == 0))
            .collect();
        (priority, pattern)
    });
    vec(one, 1..24)
}

/// Packets, and rules of which many hit some.
fn rules_and_packets() -> impl Strategy<Value = (Vec<(u32, Vec<Item>)>, Vec<Headers>)> {
    let packets = vec(headers(), 1..8);
    packets.prop_flat_map(|packets| (rules_of(packets.clone()), Just(packets)))
}

/// How many groups the rules are in that send packets from one to another.
const GROUPS: u32 = 3;

/// The rules that a packet meets from group 0 on, of rules that are there: each with its group, its fate and the rest, in the order in
/// which they were made.
fn way(there: &[(RuleId, u32, &Action, u32, &Vec<Item>)], seen: &Seen) -> Vec<RuleId> {
    let (mut group, mut way) = (0, Vec::new());
    while way.len() < VISITS {
        let mut rules: Vec<_> = there.iter().filter(|rule| rule.1 == group).collect();
        rules.sort_by_key(|(_, _, _, priority, _)| *priority);
        let Some((id, _, fate, ..)) = rules.iter().find(|rule| admitted(rule.4, seen)) else {
            break;
        };
        way.push(*id);
        match fate {
            Action::Jump(next) => group = *next,
            _ => break,
        }
    }
    way
}

fn rules() -> impl Strategy<Value = Vec<(u32, Vec<Item>)>> {
    rules_and_packets().prop_map(|(rules, _)| rules)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn matching_equals_a_naive_reference((rules, packets) in rules_and_packets(), gone in any::<u32>()) {
        let mut switch = switch();
        let mut reference = Vec::new();
        for (priority, pattern) in &rules {
            let new = rule(0, *priority, pattern, &[Action::RepresentedPort(VF1)]);
            if let Ok(created) = switch.create(VF0, &new, Time::ZERO) {
                reference.push((*priority, pattern.clone(), created.rule));
            }
        }
        let mut index = 0_u32;
        reference.retain(|(_, _, rule)| {
            index += 1;
            let goes = gone >> (index % 32) & 1 == 1;
            if goes {
                switch.destroy(VF0, *rule, Time::ZERO).expect("it is there");
            }
            !goes
        });
        reference.sort_by_key(|(priority, ..)| *priority);
        for packet in packets {
            let seen = packet.seen();
            let expected = reference.iter().find(|(_, pattern, _)| admitted(pattern, &seen));
            let mut trace = Trace::default();
            let from = Ingress::Represented(VF0);
            crate::rig::send_at(&mut switch, Time::ZERO, from, &packet.frame(), &mut trace);
            let found = trace.rules().next();
            let hit = reference.iter().find(|(.., rule)| Some(*rule) == found);
            let same = found == expected.map(|(.., rule)| *rule);
            prop_assert!(same, "{:?} hits {:?}, not {:?}", packet, hit, expected);
        }
    }

    /// Rules of several groups, which send packets from one to another, come and go; each packet goes the way of those that are there.
    #[test]
    fn packets_follow_rules_that_come_and_go(
        (rules, packets) in rules_and_packets(),
        places in vec((0..GROUPS, 0..5_u32), 24),
        changes in vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let mut switch = switch();
        let fates: Vec<Action> = places
            .iter()
            .map(|(group, kind)| match kind {
                // To one of the others, perhaps in a circle; the group may have no rules.
                0..=2 => Action::Jump((group + 1 + kind % (GROUPS - 1)) % GROUPS),
                3 => Action::RepresentedPort(VF1),
                _ => Action::Drop,
            })
            .collect();
        let mut there: Vec<(RuleId, u32, &Action, u32, &Vec<Item>)> = Vec::new();
        let mut made = vec![None; rules.len()];
        for change in changes {
            let at = change.index(rules.len());
            let ((priority, pattern), (group, _), fate) = (&rules[at], places[at], &fates[at]);
            if let Some(id) = made[at].take() {
                switch.destroy(VF0, id, Time::ZERO).expect("it is there");
                there.retain(|(other, ..)| *other != id);
            } else {
                let new = rule(group, *priority, pattern, std::slice::from_ref(fate));
                if let Ok(created) = switch.create(VF0, &new, Time::ZERO) {
                    made[at] = Some(created.rule);
                    there.push((created.rule, group, fate, *priority, pattern));
                }
            }
            for packet in &packets {
                let mut trace = Trace::default();
                let from = Ingress::Represented(VF0);
                crate::rig::send_at(&mut switch, Time::ZERO, from, &packet.frame(), &mut trace);
                let found: Vec<RuleId> = trace.rules().collect();
                prop_assert_eq!(found, way(&there, &packet.seen()), "{:?}", packet);
            }
        }
    }

    #[test]
    fn decapsulation_undoes_encapsulation(inner in vec(any::<u8>(), 14..300), vni in 1..0x00ff_ffff_u32) {
        let mut switch = switch();
        let header = in_vxlan(vni, b"");
        let encap = Action::RawEncap(RawEncap { data: header, preserve: None });
        add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &[encap, Action::RepresentedPort(UPLINK)]));
        let back = [Action::VxlanDecap, Action::RepresentedPort(VF0)];
        add(&mut switch, VF0, &rule(0, 0, &[from_entity(UPLINK)], &back));
        let (verdict, outer) = send(&mut switch, Ingress::Represented(VF0), &inner);
        prop_assert_eq!(verdict, Verdict::Represented(UPLINK));
        let (verdict, after) = send(&mut switch, Ingress::Represented(UPLINK), &outer);
        prop_assert_eq!(verdict, Verdict::Represented(VF0));
        prop_assert_eq!(after, inner);
    }

    #[test]
    fn no_packet_and_no_rule_panics(
        frame in prop_oneof![vec(any::<u8>(), 0..200), headers().prop_map(|h| h.frame())],
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        room in 0..80_usize,
        rules in rules(),
        actions in vec((0..13_usize, any::<u32>()), 24),
        from in 0..4_u16,
    ) {
        let mut switch = switch();
        for ((priority, pattern), (kind, number)) in rules.iter().zip(&actions) {
            let field = FieldId::ALL.get(*number as usize % FieldId::ALL.len());
            let field = *field.expect("in range");
            let action = match kind {
                0 => Action::VxlanDecap,
                1 => Action::RawEncap(RawEncap { data: in_vxlan(*number >> 8, b""), preserve: None }),
                2 => Action::ModifyField(ModifyField::set(field, u128::from(*number) << 64)),
                3 => Action::ModifyField(ModifyField::copy(
                    FieldRef { field, level: number % 4, offset: number % 9 },
                    FieldRef { field: FieldId::Tag, level: number % 9, offset: number % 33 },
                    number % 40,
                )),
                4 => Action::SetTag(SetTag { data: *number, mask: number.rotate_left(7), index: 1 }),
                5 => Action::DecTtl,
                6 => Action::SetTpSrc(*number as u16),
                7 => Action::Count(0),
                8 => Action::Mark(*number),
                9 => Action::SetIpv6Src((u128::from(*number) << 70).into()),
                10 => Action::Flag,
                11 => Action::RawDecap(vec![0; *number as usize % 80]),
                _ => Action::Passthru,
            };
            let fate = match number % 4 {
                0 => Action::Jump(number % 3),
                1 => Action::RepresentedPort(UPLINK),
                2 => Action::PortRepresentor(VF1),
                _ => Action::Drop,
            };
            // Whatever is refused: no rule, no panic.
            let _ = switch.create(VF0, &rule(number % 3, *priority, pattern, &[action, fate]), Time::ZERO);
        }
        let mut bytes = frame;
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let mut buffer = vec![0; room];
        buffer.extend(bytes);
        let end = buffer.len();
        let mut frame = Frame::new(&mut buffer, room, end).expect("in range");
        let mut trace = Trace::default();
        for ingress in [Ingress::Represented(from), Ingress::Representor(from)] {
            switch.process(Time::ZERO, ingress, &mut frame, &mut trace);
            prop_assert!(trace.visits().len() <= VISITS);
        }
    }
}
