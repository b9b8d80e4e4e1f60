//! Lists and calls at random: some as programs make them, most with something wrong in them.

use std::ops::Range;

use dpdk_sys as c;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rte_flow::{ActionKind, FieldId, ItemKind};

use crate::raw::{Filling, List, Part, RawAction, RawConf, RawItem, Structure};

/// What a program asks of a NIC.
#[derive(Debug, Clone)]
pub enum Call {
    Validate(RawRule),
    Create(RawRule),
    PatternTemplate {
        attributes: Option<u8>,
        pattern: List<RawItem>,
    },
    ActionsTemplate {
        attributes: Option<u8>,
        actions: List<RawAction>,
        masks: List<RawAction>,
    },
    Table {
        attributes: RawAttributes,
        capacity: u32,
        /// Templates by their places.
        patterns: Vec<usize>,
        actions: Vec<usize>,
    },
    Enqueue {
        queue: u32,
        table: usize,
        pattern_index: u8,
        actions_index: u8,
        pattern: List<RawItem>,
        actions: List<RawAction>,
    },
    Share {
        domain: u8,
        action: RawAction,
    },
    /// Destroys and asks the same thing, which is there, was there or never was.
    Handle {
        number: usize,
        kind: u32,
    },
}

/// A rule.
#[derive(Debug, Clone)]
pub struct RawRule {
    /// On the representor, not on the uplink.
    pub on_representor: bool,
    pub attributes: RawAttributes,
    pub pattern: List<RawItem>,
    pub actions: List<RawAction>,
}

/// Attributes, or a null pointer.
#[derive(Debug, Clone, Copy)]
pub struct RawAttributes {
    pub is_null: bool,
    pub group: u32,
    pub priority: u32,
    /// The bits of ingress, egress and transfer.
    pub domain: u8,
}

/// The bit of a transfer rule.
pub const TRANSFER: u8 = 4;

/// Small numbers, limits and any.
fn number(usual: Range<u32>) -> impl Strategy<Value = u32> {
    prop_oneof![
        20 => usual,
        1 => select(vec![31, 32, 33, 64, 127, 128, 129, 512, 1024, 4096, u32::MAX - 1, u32::MAX]),
        1 => any::<u32>(),
    ]
}

fn structure() -> impl Strategy<Value = Structure> {
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Vec::new())),
        1 => Just(Some(vec![0xff; 128])),
        2 => vec(select(vec![0, 0, 0, 1, 2, 4, 8, 0x0f, 0x80, 0xff]), 0..80).prop_map(Some),
        1 => vec(any::<u8>(), 0..80).prop_map(Some),
    ]
}

fn filling() -> impl Strategy<Value = Filling> {
    option::weighted(0.8, select(vec![0, 1, 0x45, 0xff]))
}

/// An item that only asks for its header.
fn bare(kind: ItemKind) -> RawItem {
    let (spec, last, mask) = (None, None, None);
    RawItem { kind: kind.number(), spec, last, mask, option: [None; 3] }
}

pub fn item() -> impl Strategy<Value = RawItem> {
    let known = || select(ItemKind::ALL).prop_map(ItemKind::number);
    let kind = prop_oneof![12 => known(), 1 => 0..80_u32, 1 => any::<u32>()];
    let strange = (kind, structure(), structure(), structure(), [filling(), filling(), filling()]);
    let strange = strange.prop_map(|(kind, spec, last, mask, option)| RawItem {
        kind,
        spec,
        last,
        mask,
        option,
    });
    let usual = (known(), vec(any::<u8>(), 0..24)).prop_map(|(kind, bytes)| RawItem {
        kind,
        mask: Some(vec![0xff; bytes.len()]),
        spec: Some(bytes),
        ..bare(ItemKind::Void)
    });
    prop_oneof![2 => strange, 1 => usual, 1 => select(ItemKind::ALL).prop_map(bare)]
}

fn list<T: Clone + std::fmt::Debug + 'static>(
    usual: impl Strategy<Value = Vec<T>> + 'static,
    entry: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = List<T>> {
    let more = vec((any::<prop::sample::Index>(), entry.clone()), 1..3);
    let changed = (usual, prop_oneof![2 => Just(Vec::new()), 1 => more]);
    let changed = changed.prop_map(|(mut list, more)| {
        for (place, entry) in more {
            list.insert(place.index(list.len() + 1), entry);
        }
        List::Ended(list)
    });
    prop_oneof![
        40 => changed,
        4 => vec(entry.clone(), 0..8).prop_map(List::Ended),
        1 => entry.prop_map(|entry| List::Endless(Box::new(entry))),
        1 => Just(List::Null),
    ]
}

pub fn pattern() -> BoxedStrategy<List<RawItem>> {
    use ItemKind::{Eth, Geneve, Gre, Ipv4, Ipv6, Tcp, Udp, Vlan, Vxlan};
    let usual: &[&[ItemKind]] = &[
        &[Eth],
        &[Eth, Ipv4, Udp],
        &[Eth, Vlan, Ipv6, Tcp],
        &[Eth, Ipv4, Udp, Vxlan, Eth, Ipv4],
        &[Eth, Ipv6, Udp, Geneve, Eth],
        &[Eth, Ipv4, Gre, Ipv4, Tcp],
    ];
    let usual: Vec<Vec<RawItem>> =
        usual.iter().map(|kinds| kinds.iter().copied().map(bare).collect()).collect();
    list(select(usual), item().boxed()).boxed()
}

/// Ethernet, IPv4, UDP and VXLAN, as encapsulations have them.
fn header() -> Vec<u8> {
    let mut header = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    header.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2]);
    header.extend([0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0]);
    header
}

fn header_and_size() -> impl Strategy<Value = (Option<Vec<u8>>, usize)> {
    let length = header().len();
    let bytes = prop_oneof![4 => Just(header()), 1 => vec(any::<u8>(), 0..160)];
    let sizes = vec![0, 1, 14, 34, 132, 133, 1024, 1025, 1 << 40, usize::MAX];
    let size = prop_oneof![2 => Just(length), 1 => select(sizes)];
    (option::weighted(0.95, bytes), size)
}

fn part() -> impl Strategy<Value = Part> {
    let field = prop_oneof![
        12 => select(FieldId::ALL).prop_map(FieldId::number),
        4 => select(vec![c::RTE_FLOW_FIELD_VALUE, c::RTE_FLOW_FIELD_POINTER]),
        1 => any::<u32>(),
    ];
    (field, number(0..3), number(0..33)).prop_map(|(field, level, offset)| Part {
        field,
        level,
        offset,
    })
}

/// A configuration as an action of this kind has it, but for its values.
fn conf(kind: u32) -> BoxedStrategy<RawConf> {
    let shape = match kind {
        c::RTE_FLOW_ACTION_TYPE_RSS => {
            let numbers = (number(0..5), number(0..4), any::<u64>(), number(0..53), number(0..3));
            (numbers, filling(), filling())
                .prop_map(|((function, level, types, key_length, queue_count), key, queues)| {
                    RawConf::Rss { function, level, types, key, key_length, queues, queue_count }
                })
                .boxed()
        }
        c::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP | c::RTE_FLOW_ACTION_TYPE_NVGRE_ENCAP => {
            use ItemKind::{Eth, Ipv4, Ipv6, Nvgre, Udp, Vxlan};
            let usual: [&[ItemKind]; 3] =
                [&[Eth, Ipv4, Udp, Vxlan], &[Eth, Ipv6, Udp, Vxlan], &[Eth, Ipv4, Nvgre]];
            let usual: Vec<Vec<RawItem>> =
                usual.iter().map(|kinds| kinds.iter().copied().map(bare).collect()).collect();
            list(select(usual), item().boxed()).prop_map(RawConf::Definition).boxed()
        }
        c::RTE_FLOW_ACTION_TYPE_RAW_ENCAP => (header_and_size(), filling())
            .prop_map(|((header, size), preserve)| RawConf::RawEncap { header, preserve, size })
            .boxed(),
        c::RTE_FLOW_ACTION_TYPE_RAW_DECAP => {
            header_and_size().prop_map(|(header, size)| RawConf::RawDecap { header, size }).boxed()
        }
        c::RTE_FLOW_ACTION_TYPE_MODIFY_FIELD => {
            (number(0..3), part(), part(), filling(), number(1..33))
                .prop_map(|(operation, destination, source, value, width)| RawConf::Modify {
                    operation,
                    destination,
                    source,
                    value,
                    width,
                })
                .boxed()
        }
        c::RTE_FLOW_ACTION_TYPE_INDIRECT => {
            prop_oneof![0..4_usize, any::<usize>()].prop_map(RawConf::Handle).boxed()
        }
        c::RTE_FLOW_ACTION_TYPE_SAMPLE => {
            let actions = vec(any::<u32>().prop_map(simple), 0..4).prop_map(List::Ended);
            let actions = prop_oneof![
                8 => actions,
                1 => Just(List::Null),
                1 => Just(List::Endless(Box::new(simple(c::RTE_FLOW_ACTION_TYPE_VOID)))),
            ];
            (number(0..3), actions)
                .prop_map(|(ratio, actions)| RawConf::Sample { ratio, actions })
                .boxed()
        }
        _ => {
            let small = number(0..3).prop_map(|number| number.to_ne_bytes().into());
            let bytes = prop_oneof![6 => small, 1 => vec(any::<u8>(), 0..80)];
            bytes.prop_map(RawConf::Bytes).boxed()
        }
    };
    prop_oneof![40 => shape, 1 => Just(RawConf::Null)].boxed()
}

fn simple(kind: u32) -> RawAction {
    RawAction { kind: kind % 64, conf: RawConf::Null }
}

pub fn action() -> BoxedStrategy<RawAction> {
    let known = select(ActionKind::ALL).prop_map(ActionKind::number);
    let kind = prop_oneof![16 => known, 1 => 0..80_u32, 1 => any::<u32>()];
    kind.prop_flat_map(|kind| conf(kind).prop_map(move |conf| RawAction { kind, conf })).boxed()
}

/// Kinds of actions, their configurations left to chance.
fn actions_of(kinds: &'static [ActionKind]) -> impl Strategy<Value = Vec<RawAction>> {
    let one = |kind: &ActionKind| {
        let kind = kind.number();
        conf(kind).prop_map(move |conf| RawAction { kind, conf })
    };
    kinds.iter().map(one).collect::<Vec<_>>()
}

pub fn actions() -> BoxedStrategy<List<RawAction>> {
    use ActionKind::{
        Count, Drop, Jump, Mark, ModifyField, Queue, RawDecap, RawEncap, RepresentedPort, Rss,
        VxlanDecap, VxlanEncap,
    };
    let usual = prop_oneof![
        actions_of(&[Count, Drop]),
        actions_of(&[Jump]),
        actions_of(&[ModifyField, Jump]),
        actions_of(&[Count, VxlanEncap, RepresentedPort]),
        actions_of(&[RawEncap, RepresentedPort]),
        actions_of(&[VxlanDecap, ModifyField, RepresentedPort]),
        actions_of(&[RawDecap, RawEncap, RepresentedPort]),
        actions_of(&[Mark, Queue]),
        actions_of(&[Mark, Rss]),
    ];
    list(usual, action()).boxed()
}

fn domain() -> impl Strategy<Value = u8> {
    prop_oneof![12 => Just(TRANSFER), 4 => Just(1), 2 => Just(2), 1 => 0..8_u8]
}

fn attributes() -> impl Strategy<Value = RawAttributes> {
    (prop::bool::weighted(0.02), number(0..3), number(0..3), domain()).prop_map(
        |(is_null, group, priority, domain)| RawAttributes { is_null, group, priority, domain },
    )
}

pub fn rule() -> impl Strategy<Value = RawRule> {
    (any::<bool>(), attributes(), pattern(), actions()).prop_map(
        |(on_representor, attributes, pattern, actions)| RawRule {
            on_representor,
            attributes,
            pattern,
            actions,
        },
    )
}

/// The actions templates of the table that every case begins with.
const TABLE_ACTIONS: [&[ActionKind]; 3] =
    [&[ActionKind::Count, ActionKind::Drop], &[ActionKind::Jump], &[ActionKind::RepresentedPort]];

/// The pattern of that table, and of the operations on it.
fn table_pattern() -> Vec<RawItem> {
    let mut destination = vec![0; 16];
    destination.extend([0xff; 4]);
    let (spec, mask) = (Some(destination.clone()), Some(destination));
    vec![bare(ItemKind::Eth), RawItem { spec, mask, ..bare(ItemKind::Ipv4) }]
}

/// Makes a table, where the card has tables, by calls in which nothing is wrong.
pub fn table() -> Vec<Call> {
    let attributes = Some(TRANSFER);
    let pattern = List::Ended(table_pattern());
    let mut calls = vec![Call::PatternTemplate { attributes, pattern }];
    calls.extend(TABLE_ACTIONS.map(|kinds| {
        let of_rules = |kind: &ActionKind| RawAction { kind: kind.number(), conf: RawConf::Null };
        let actions = List::Ended(kinds.iter().map(of_rules).collect());
        Call::ActionsTemplate { attributes, masks: actions.clone(), actions }
    }));
    let attributes = RawAttributes { is_null: false, group: 1, priority: 0, domain: TRANSFER };
    calls.push(Call::Table {
        attributes,
        capacity: 8,
        patterns: vec![0],
        actions: (0..TABLE_ACTIONS.len()).collect(),
    });
    calls
}

/// An operation for a queue, mostly one that this table takes.
fn enqueue() -> impl Strategy<Value = Call> {
    let [first, second, third] = TABLE_ACTIONS.map(|kinds| list(actions_of(kinds), action()));
    let actions = prop_oneof![
        first.prop_map(|list| (0, list)),
        second.prop_map(|list| (1, list)),
        third.prop_map(|list| (2, list)),
        (0..4_u8, actions()),
    ];
    let pattern = prop_oneof![4 => list(Just(table_pattern()), item().boxed()), 1 => pattern()];
    let table = prop_oneof![4 => Just(0), 1 => 0..4_usize];
    let pattern_index = prop_oneof![8 => Just(0), 1 => any::<u8>()];
    (number(0..2), table, pattern_index, pattern, actions).prop_map(
        |(queue, table, pattern_index, pattern, (actions_index, actions))| Call::Enqueue {
            queue,
            table,
            pattern_index,
            actions_index,
            pattern,
            actions,
        },
    )
}

pub fn call() -> impl Strategy<Value = Call> {
    let template = || option::weighted(0.95, domain());
    let masks = prop_oneof![Just(None), actions().prop_map(Some)];
    prop_oneof![
        4 => rule().prop_map(Call::Validate),
        8 => rule().prop_map(Call::Create),
        2 => (template(), pattern())
            .prop_map(|(attributes, pattern)| Call::PatternTemplate { attributes, pattern }),
        2 => (template(), actions(), masks).prop_map(|(attributes, actions, masks)| {
            let masks = masks.unwrap_or_else(|| actions.clone());
            Call::ActionsTemplate { attributes, actions, masks }
        }),
        2 => (attributes(), number(0..9), vec(0..4_usize, 0..3), vec(0..6_usize, 0..3)).prop_map(
            |(attributes, capacity, patterns, actions)| Call::Table {
                attributes,
                capacity,
                patterns,
                actions,
            }
        ),
        6 => enqueue(),
        2 => (domain(), action()).prop_map(|(domain, action)| Call::Share { domain, action }),
        2 => (prop_oneof![0..8_usize, any::<usize>()], select(ActionKind::ALL))
            .prop_map(|(number, kind)| Call::Handle { number, kind: kind.number() }),
    ]
}
