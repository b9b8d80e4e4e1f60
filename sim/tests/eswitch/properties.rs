//! Properties: matching equals a naive reference, encapsulation is undone by decapsulation, nothing panics.

use packet::Frame;
use proptest::collection::vec;
use proptest::prelude::*;
use rte_flow::{
    Action, Eth, FieldId, FieldRef, Header, Icmp, Ipv4, Ipv6, Item, Match, ModifyField, RawEncap,
    SetTag, Tcp, U24, Udp, Vlan, Vxlan,
};
use sim::eswitch::{Ingress, Time, Trace, VISITS, Verdict};

use crate::rig::{
    DESTINATION, DESTINATION6, MACS, SOURCE, SOURCE6, UPLINK, VF0, VF1, add, from_entity, in_vxlan,
    rule, send, switch, tagged, tcp_segment, udp_datagram, v4, v6,
};

/// A packet's headers, from which both the frame and what rules must see of it are made.
#[derive(Debug, Clone)]
struct Headers {
    tci: Option<u16>,
    v6: bool,
    transport: Transport,
    inner: Option<Box<Headers>>,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Tcp { source: u16, destination: u16, flags: u8 },
    Udp { source: u16, destination: u16 },
    Icmp { kind: u8 },
}

const VNI: u32 = 0x00_1234;

impl Headers {
    fn frame(&self) -> Vec<u8> {
        let ip = |protocol: u8, payload: &[u8]| {
            if self.v6 { v6(protocol, payload) } else { v4(protocol, payload) }
        };
        let plain = match (&self.inner, self.transport) {
            (Some(inner), _) => in_vxlan(VNI, &inner.frame()),
            (None, Transport::Tcp { source, destination, flags }) => {
                ip(6, &tcp_segment(source, destination, flags, b""))
            }
            (None, Transport::Udp { source, destination }) => {
                ip(17, &udp_datagram(source, destination, b""))
            }
            (None, Transport::Icmp { kind }) => ip(1, &[kind, 0, 0, 0, 0, 1, 0, 2]),
        };
        self.tci.map_or(plain.clone(), |tci| tagged(&plain, tci))
    }

    /// What an item of each kind sees, from the outermost header inwards.
    fn seen(&self) -> Vec<Item> {
        let is_v6 = self.v6 && self.inner.is_none();
        let ether_type = if is_v6 { 0x86dd } else { 0x0800 };
        let (mut dst, mut src) = ([0; 6], [0; 6]);
        dst.copy_from_slice(&MACS[..6]);
        src.copy_from_slice(&MACS[6..]);
        let has_vlan = self.tci.is_some();
        let mut seen = vec![Item::Eth(Match::of(Eth { dst, src, ether_type, has_vlan }))];
        if let Some(tci) = self.tci {
            let vlan = Vlan { tci, inner_type: ether_type, has_more_vlan: false };
            seen.push(Item::Vlan(Match::of(vlan)));
        }
        let frame = self.frame();
        let at = if has_vlan { 18 } else { 14 };
        seen.push(if is_v6 {
            Item::Ipv6(Match::of(Ipv6 {
                vtc_flow: 0x6000_0000,
                payload_length: u16::from_be_bytes([frame[at + 4], frame[at + 5]]),
                protocol: frame[at + 6],
                hop_limit: 64,
                src: SOURCE6.to_bits(),
                dst: DESTINATION6.to_bits(),
                ..Ipv6::default()
            }))
        } else {
            Item::Ipv4(Match::of(Ipv4 {
                version_ihl: 0x45,
                total_length: u16::from_be_bytes([frame[at + 2], frame[at + 3]]),
                fragment_offset: 0x4000,
                ttl: 64,
                protocol: frame[at + 9],
                checksum: u16::from_be_bytes([frame[at + 10], frame[at + 11]]),
                src: SOURCE.to_bits(),
                dst: DESTINATION.to_bits(),
                ..Ipv4::default()
            }))
        });
        let transport = at + if is_v6 { 40 } else { 20 };
        match (&self.inner, self.transport) {
            (Some(inner), _) => {
                let length = u16::from_be_bytes([frame[transport + 4], frame[transport + 5]]);
                let udp = Udp { src: 50_000, dst: 4789, length, checksum: 0 };
                seen.push(Item::Udp(Match::of(udp)));
                let vxlan = Vxlan { flags: 8, vni: U24::truncate(VNI), ..Vxlan::default() };
                seen.push(Item::Vxlan(Match::of(vxlan)));
                seen.extend(inner.seen());
            }
            (None, Transport::Tcp { source, destination, flags }) => {
                seen.push(Item::Tcp(Match::of(Tcp {
                    src: source,
                    dst: destination,
                    sequence: 1,
                    acknowledgment: 2,
                    data_offset: 0x50,
                    flags,
                    window: 0x1000,
                    ..Tcp::default()
                })));
            }
            (None, Transport::Udp { source, destination }) => {
                let udp = Udp { src: source, dst: destination, length: 8, checksum: 0 };
                seen.push(Item::Udp(Match::of(udp)));
            }
            (None, Transport::Icmp { kind }) if !is_v6 => {
                let icmp = Icmp { icmp_type: kind, identifier: 1, sequence: 2, ..Icmp::default() };
                seen.push(Item::Icmp(Match::of(icmp)));
            }
            (None, Transport::Icmp { .. }) => {}
        }
        seen
    }
}

fn headers() -> impl Strategy<Value = Headers> {
    let port = || 1..4_u16;
    let transport = prop_oneof![
        (port(), port(), 0..4_u8).prop_map(|(source, destination, flags)| Transport::Tcp {
            source,
            destination,
            flags
        }),
        (port(), port()).prop_map(|(source, destination)| Transport::Udp { source, destination }),
        (0..3_u8).prop_map(|kind| Transport::Icmp { kind }),
    ];
    let tci = proptest::option::weighted(0.3, 0..3_u16);
    let plain = (tci, any::<bool>(), transport).prop_map(|(tci, v6, transport)| Headers {
        tci,
        v6,
        transport,
        inner: None,
    });
    (plain.clone(), proptest::option::weighted(0.4, plain))
        .prop_map(|(outer, inner)| Headers { inner: inner.map(Box::new), ..outer })
}

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
    each!(Eth, Vlan, Ipv4, Ipv6, Tcp, Udp, Icmp, Vxlan)
}

/// Whether the packet that shows `seen` is what the pattern asks for: layer by layer, over headers the pattern leaves out.
fn admitted(pattern: &[Item], seen: &[Item]) -> bool {
    let Some((item, rest)) = pattern.split_first() else { return true };
    macro_rules! each {
        ($($kind:ident),+) => {
            match (item, &seen[..]) {
                (_, []) => return false,
                $((Item::$kind(asked), [Item::$kind(actual), ..]) => {
                    asked.admits(actual.spec.as_ref().expect("headers have values"))
                        && admitted(rest, &seen[1..])
                })+
                // Beyond a VXLAN header everything is another layer: it cannot be left out by accident.
                (_, [Item::Vxlan(_), ..]) => false,
                (_, [_, after @ ..]) => admitted(pattern, after),
            }
        };
    }
    each!(Eth, Vlan, Ipv4, Ipv6, Tcp, Udp, Icmp, Vxlan)
}

/// Which of a packet's headers a pattern mentions: those that stand on each other, as the profile wants it.
fn chosen(seen: &[Item], omit_tag: bool, depth: usize) -> Vec<Item> {
    let kept = seen.iter().filter(|item| !(omit_tag && matches!(item, Item::Vlan(_))));
    kept.take(depth).cloned().collect()
}

fn rules() -> impl Strategy<Value = Vec<(u32, Vec<Item>)>> {
    let one = (headers(), any::<bool>(), 1..9_usize, vec(any::<u64>(), 9), 0..3_u32, 0..8_u8);
    let one = one.prop_map(|(headers, omit_tag, depth, picks, priority, range)| {
        let pattern = chosen(&headers.seen(), omit_tag, depth);
        let pattern = pattern
            .iter()
            .zip(picks)
            .map(|(item, pick)| pattern_item(item, pick, range == 0))
            .collect();
        (priority, pattern)
    });
    vec(one, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn matching_equals_a_naive_reference(rules in rules(), packets in vec(headers(), 1..8), gone in any::<u32>()) {
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
            prop_assert_eq!(trace.rules().next(), expected.map(|(.., rule)| *rule), "{:?}", packet);
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
