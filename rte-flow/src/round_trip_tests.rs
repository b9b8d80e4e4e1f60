//! Encode and decode against each other, against DPDK's own deep copy, and against DPDK's default masks.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every pointer comes from an encoded rule that is alive"
)]

use std::convert::Infallible;
use std::ptr;

use dpdk_sys::{
    rte_flow_action, rte_flow_action_sample, rte_flow_attr, rte_flow_conv_rule, rte_flow_item,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::item::MatchSource;
use crate::*;

/// Structures from arbitrary bytes.
struct Bytes {
    spec: Option<[u8; 64]>,
    last: Option<[u8; 64]>,
    mask: Option<[u8; 64]>,
}

impl MatchSource for Bytes {
    type Error = Infallible;

    fn asked<H: Header>(&self) -> Result<Match<H>, Infallible> {
        let load = |bytes: &Option<[u8; 64]>| bytes.as_ref().map(|b| H::load(&b[..H::SIZE]));
        let mut asked =
            Match { spec: load(&self.spec), last: load(&self.last), mask: load(&self.mask) };
        let length = asked.spec.as_ref().map_or(0, |spec| H::tail_length(spec).unwrap_or(0));
        for (header, bytes) in [
            (&mut asked.spec, &self.spec),
            (&mut asked.last, &self.last),
            (&mut asked.mask, &self.mask),
        ] {
            if let (Some(header), Some(bytes)) = (header, bytes) {
                header.set_tail(&bytes.repeat(2)[..length]);
            }
        }
        Ok(asked)
    }
}

fn bytes64() -> impl Strategy<Value = [u8; 64]> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(a, b)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&a);
        bytes[32..].copy_from_slice(&b);
        bytes
    })
}

fn item() -> impl Strategy<Value = Item> {
    let optional = || proptest::option::of(bytes64());
    (select(ItemKind::ALL), optional(), optional(), optional()).prop_map(
        |(kind, mut spec, last, mask)| {
            if let (ItemKind::GeneveOpt, Some(spec)) = (kind, &mut spec) {
                // The option's length in words, which has five bits.
                spec[3] &= 0x1f;
            }
            let (last, mask) = if spec.is_some() { (last, mask) } else { (None, None) };
            let Ok(item) = Item::build(kind, &Bytes { spec, last, mask });
            item
        },
    )
}

fn field_ref() -> impl Strategy<Value = FieldRef> {
    (select(FieldId::ALL), any::<u32>(), any::<u32>()).prop_map(|(field, level, offset)| FieldRef {
        field,
        level,
        offset,
    })
}

fn modify_field() -> impl Strategy<Value = ModifyField> {
    let source = prop_oneof![
        field_ref().prop_map(|part| (Some(part), 0, false)),
        (any::<u128>(), any::<bool>()).prop_map(|(number, pointer)| (None, number, pointer)),
    ];
    (select(ModifyOperation::ALL), field_ref(), source, any::<u32>()).prop_map(
        |(operation, destination, (part, number, pointer), width)| {
            let value = destination.field.value_of(number);
            let source = match part {
                Some(part) => ModifySource::Field(part),
                None if pointer => ModifySource::Pointer(value),
                None => ModifySource::Value(value),
            };
            ModifyField { operation, destination, source, width }
        },
    )
}

fn direction() -> impl Strategy<Value = TcpDirection> {
    (0..16_u8, any::<[bool; 3]>(), any::<[u32; 4]>()).prop_map(|(scale, flags, numbers)| {
        TcpDirection {
            scale: WindowScale::new(scale).unwrap_or(WindowScale::DISABLED),
            close_initiated: flags[0],
            last_ack_seen: flags[1],
            data_unacked: flags[2],
            sent_end: numbers[0],
            reply_end: numbers[1],
            max_win: numbers[2],
            max_ack: numbers[3],
        }
    })
}

fn connection() -> impl Strategy<Value = Connection> {
    let kinds = (select(ConnectionState::ALL), select(LastSegment::ALL));
    let numbers = (any::<[u16; 2]>(), any::<[u8; 2]>(), any::<[u32; 3]>());
    (kinds, any::<[bool; 7]>(), direction(), direction(), numbers).prop_map(
        |((state, last_segment), flags, original, reply, (shorts, bytes, longs))| Connection {
            peer_port: shorts[0],
            direction: if flags[0] { Direction::Original } else { Direction::Reply },
            enable: flags[1],
            live_connection: flags[2],
            selective_ack: flags[3],
            challenge_ack_passed: flags[4],
            last_direction: if flags[5] { Direction::Original } else { Direction::Reply },
            liberal_mode: flags[6],
            state,
            max_ack_window: bytes[0],
            retransmission_limit: bytes[1],
            original,
            reply,
            last_window: shorts[1],
            last_segment,
            last_seq: longs[0],
            last_ack: longs[1],
            last_end: longs[2],
        },
    )
}

fn meter_mark() -> impl Strategy<Value = MeterMark> {
    let handle = || 1..usize::MAX;
    let color = proptest::option::of(select(Color::ALL));
    (handle(), proptest::option::of(handle()), color, any::<bool>()).prop_map(
        |(profile, policy, color_aware, enabled)| MeterMark {
            profile: MeterProfileHandle(profile),
            policy: policy.map(MeterPolicyHandle),
            color_aware,
            enabled,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let sample = (any::<u32>(), vec(simple_action(), 0..4))
        .prop_map(|(ratio, actions)| Action::Sample(Sample { ratio, actions }));
    prop_oneof![9 => simple_action(), 1 => sample]
}

/// Any action but SAMPLE.
fn simple_action() -> impl Strategy<Value = Action> {
    use Action as A;
    let function = select(vec![
        RssFunction::Default,
        RssFunction::Toeplitz,
        RssFunction::SimpleXor,
        RssFunction::SymmetricToeplitz,
    ]);
    let rss =
        (function, any::<u32>(), any::<u64>(), vec(any::<u8>(), 0..48), vec(any::<u16>(), 0..9))
            .prop_map(|(function, level, types, key, queues)| Rss {
                function,
                level,
                types: RssTypes::from_bits_retain(types),
                key,
                queues,
            });
    let raw_encap = vec(any::<(u8, u8)>(), 1..140).prop_flat_map(|bytes| {
        any::<bool>().prop_map(move |preserve| {
            let (data, bits): (Vec<u8>, Vec<u8>) = bytes.iter().copied().unzip();
            A::RawEncap(RawEncap { data, preserve: preserve.then_some(bits) })
        })
    });
    prop_oneof![
        select(vec![
            A::Void,
            A::Passthru,
            A::Flag,
            A::Drop,
            A::OfPopVlan,
            A::VxlanDecap,
            A::NvgreDecap,
            A::DecTtl
        ]),
        connection().prop_map(A::Conntrack),
        meter_mark().prop_map(A::MeterMark),
        select(Color::ALL).prop_map(A::MeterColor),
        any::<u32>().prop_map(A::Meter),
        any::<u16>().prop_map(A::OfPushVlan),
        any::<u16>().prop_map(A::OfSetVlanVid),
        any::<u8>().prop_map(A::OfSetVlanPcp),
        (any::<u32>(), 0..4_u8).prop_map(|(value, which)| match which {
            0 => A::IncTcpSeq(value),
            1 => A::DecTcpSeq(value),
            2 => A::IncTcpAck(value),
            _ => A::DecTcpAck(value),
        }),
        any::<(u8, bool)>().prop_map(|(dscp, v6)| if v6 {
            A::SetIpv6Dscp(dscp)
        } else {
            A::SetIpv4Dscp(dscp)
        }),
        any::<u32>().prop_map(A::Jump),
        any::<u32>().prop_map(A::Mark),
        any::<u16>().prop_map(A::Queue),
        any::<u32>().prop_map(A::Count),
        rss.prop_map(A::Rss),
        any::<(bool, u32)>().prop_map(|(original, id)| A::PortId(ToPortId { original, id })),
        any::<(u32, usize)>()
            .prop_map(|(t, context)| A::Age(Age { timeout: U24::truncate(t), context })),
        vec(item(), 0..5).prop_map(A::VxlanEncap),
        vec(item(), 0..5).prop_map(A::NvgreEncap),
        raw_encap,
        vec(any::<u8>(), 0..140).prop_map(A::RawDecap),
        modify_field().prop_map(A::ModifyField),
        any::<(u32, u32, u8)>().prop_map(|(data, mask, index)| A::SetTag(SetTag {
            data,
            mask,
            index
        })),
        any::<(u32, u32)>().prop_map(|(data, mask)| A::SetMeta(SetMeta { data, mask })),
        any::<([u8; 6], bool)>().prop_map(|(mac, source)| {
            if source { A::SetMacSrc(packet::Mac(mac)) } else { A::SetMacDst(packet::Mac(mac)) }
        }),
        any::<([u8; 4], bool)>().prop_map(|(ip, source)| {
            if source { A::SetIpv4Src(ip.into()) } else { A::SetIpv4Dst(ip.into()) }
        }),
        any::<([u8; 16], bool)>().prop_map(|(ip, source)| {
            if source { A::SetIpv6Src(ip.into()) } else { A::SetIpv6Dst(ip.into()) }
        }),
        any::<(u16, bool)>().prop_map(|(port, source)| {
            if source { A::SetTpSrc(port) } else { A::SetTpDst(port) }
        }),
        any::<u8>().prop_map(A::SetTtl),
        any::<u16>().prop_map(A::PortRepresentor),
        any::<u16>().prop_map(A::RepresentedPort),
        (1..usize::MAX).prop_map(|handle| A::Indirect(IndirectHandle(handle))),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let domain = select(vec![Domain::Ingress, Domain::Egress, Domain::Transfer]);
    (any::<u32>(), any::<u32>(), domain).prop_map(|(group, priority, domain)| Attributes {
        group,
        priority,
        domain,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    (attributes(), vec(item(), 0..8), vec(action(), 0..8))
        .prop_map(|(attributes, pattern, actions)| Rule { attributes, pattern, actions })
}

fn decode(
    attributes: *const rte_flow_attr,
    pattern: *const rte_flow_item,
    actions: *const rte_flow_action,
) -> Result<Rule, DecodeError> {
    unsafe { decode_rule(attributes, pattern, actions) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn decoding_an_encoded_rule_yields_the_rule(rule in rule()) {
        let encoded = EncodedRule::new(&rule);
        let decoded = decode(encoded.attributes(), encoded.pattern(), encoded.actions());
        prop_assert_eq!(decoded, Ok(rule));
    }

    #[test]
    fn dpdks_deep_copy_is_the_same_rule(mut rule in rule()) {
        // `rte_flow_conv` of 22.11 does not know this one.
        rule.actions.retain(|action| action.kind() != ActionKind::MeterColor);
        let encoded = EncodedRule::new(&rule);
        let mut source: rte_flow_conv_rule = unsafe { std::mem::zeroed() };
        source.__bindgen_anon_1.attr_ro = encoded.attributes();
        source.__bindgen_anon_2.pattern_ro = encoded.pattern();
        source.__bindgen_anon_3.actions_ro = encoded.actions();
        let convert = |to: *mut u64, size: usize| unsafe {
            dpdk_sys::rte_flow_conv(
                dpdk_sys::RTE_FLOW_CONV_OP_RULE, to.cast(), size, (&raw const source).cast(), ptr::null_mut(),
            )
        };
        let size = usize::try_from(convert(ptr::null_mut(), 0)).unwrap_or(0);
        prop_assert!(size > 0, "rte_flow_conv refuses the rule");
        // Aligned to 16, as `rte_flow_conv` wants.
        let mut memory = vec![0_u128; size / 16 + 1];
        prop_assert_eq!(convert(memory.as_mut_ptr().cast(), size), i32::try_from(size).unwrap_or(0));
        let copy: rte_flow_conv_rule = unsafe { memory.as_ptr().cast::<rte_flow_conv_rule>().read() };
        let decoded = unsafe {
            decode(copy.__bindgen_anon_1.attr_ro, copy.__bindgen_anon_2.pattern_ro, copy.__bindgen_anon_3.actions_ro)
        };
        prop_assert_eq!(decoded, Ok(rule));
    }

    #[test]
    fn decoding_an_encoded_actions_template_yields_the_template(
        actions in vec((action(), 0..3_u8), 0..8), attributes in attributes(), capacity: u32,
    ) {
        let entry = |(action, form): (Action, u8)| match (action, form) {
            (Action::Indirect(handle), form) => TemplateAction::Indirect {
                kind: (form > 0).then_some(ActionKind::Age),
                handle: (form > 1).then_some(handle),
            },
            // What is changed, and from which field, is every rule's.
            (Action::ModifyField(modify), form) => match modify.source {
                ModifySource::Value(_) | ModifySource::Pointer(_) if form > 0 => {
                    TemplateAction::Shaped(Action::ModifyField(modify))
                }
                _ => TemplateAction::Fixed(Action::ModifyField(modify)),
            },
            (action, 0) if action.kind().has_conf() => TemplateAction::PerRule(action.kind()),
            (action, 1) if action.kind().has_shape() => TemplateAction::Shaped(action),
            (action, _) => TemplateAction::Fixed(action),
        };
        let template =
            ActionsTemplate { domain: attributes.domain, actions: actions.into_iter().map(entry).collect() };
        // All zeros in a mask say "each rule's own", so an empty configuration with pointers cannot be fixed.
        prop_assume!(!template.actions.contains(&TemplateAction::Fixed(Action::RawDecap(Vec::new()))));
        let encoded = EncodedActionsTemplate::new(&template);
        let decoded = unsafe {
            decode_actions_template(encoded.attributes(), encoded.actions(), encoded.masks())
        };
        prop_assert_eq!(decoded, Ok(template));

        let table = TableAttributes { attributes, capacity };
        let encoded = encode_table(&table);
        prop_assert_eq!(unsafe { decode_table(&raw const encoded) }, Ok(table));
    }

    #[test]
    fn decoding_an_encoded_pattern_template_yields_the_template(
        pattern in vec(item(), 0..8), relaxed_matching: bool, attributes in attributes(), drop_spec: bool,
    ) {
        let pattern = pattern.into_iter().map(|item| match item {
            Item::Ipv4(m) if drop_spec => Item::Ipv4(Match { spec: None, last: None, ..m }),
            other => other,
        }).collect();
        let template = PatternTemplate { domain: attributes.domain, relaxed_matching, pattern };
        let encoded = EncodedPatternTemplate::new(&template);
        let decoded = unsafe { decode_pattern_template(encoded.attributes(), encoded.pattern()) };
        prop_assert_eq!(decoded, Ok(template));
    }

    #[test]
    fn every_rule_has_a_text(rule in rule()) {
        prop_assert!(rule.testpmd(0).ends_with("end\n"));
    }
}

#[test]
fn default_masks_are_dpdks() {
    struct DefaultMask;
    impl MatchSource for DefaultMask {
        type Error = Infallible;
        fn asked<H: Header>(&self) -> Result<Match<H>, Infallible> {
            Ok(Match::of(H::DEFAULT_MASK))
        }
    }
    let without = [ItemKind::Void, ItemKind::Ipv6FragExt, ItemKind::GreKey, ItemKind::GreOption];
    for kind in ItemKind::ALL {
        let mask = unsafe { dpdk_sys::dpdk_sys_default_mask(kind.number()) };
        assert_eq!(mask.is_null(), without.contains(kind), "{kind}: add it to wrapper.h");
        if mask.is_null() {
            continue;
        }
        let items = [
            rte_flow_item {
                type_: kind.number(),
                spec: mask,
                last: ptr::null(),
                mask: ptr::null(),
            },
            unsafe { std::mem::zeroed() },
        ];
        let decoded = unsafe { decode_items(items.as_ptr(), ItemsOf::Rule) };
        let Ok(expected) = Item::build(*kind, &DefaultMask);
        assert_eq!(decoded, Ok(vec![expected]), "{kind}");
    }
}

#[test]
fn bit_fields_are_where_the_c_compiler_puts_them() {
    let rule = |item| {
        EncodedRule::from_parts(
            &Attributes { group: 0, priority: 0, domain: Domain::Egress },
            &[item],
            &[],
        )
    };
    let eth = rule(Item::Eth(Match::default().has_vlan(true)));
    let spec = unsafe { &*(*eth.pattern()).spec.cast::<dpdk_sys::rte_flow_item_eth>() };
    assert_eq!(spec.has_vlan(), 1);
    let vlan = rule(Item::Vlan(Match::default().has_more_vlan(true)));
    let spec = unsafe { &*(*vlan.pattern()).spec.cast::<dpdk_sys::rte_flow_item_vlan>() };
    assert_eq!(spec.has_more_vlan(), 1);
    let ipv6 = rule(Item::Ipv6(Match::default().extensions(Ipv6Extensions::FRAGMENT)));
    let spec = unsafe { &*(*ipv6.pattern()).spec.cast::<dpdk_sys::rte_flow_item_ipv6>() };
    assert_eq!((spec.has_frag_ext(), spec.has_auth_ext()), (1, 0));
    let attributes = unsafe { &*ipv6.attributes() };
    assert_eq!((attributes.ingress(), attributes.egress(), attributes.transfer()), (0, 1, 0));
    let checks = IntegrityBits::L4_CHECKSUM_OK;
    let integrity = rule(Item::Integrity(Match::default().checks(checks)));
    let spec = unsafe { &*(*integrity.pattern()).spec.cast::<dpdk_sys::rte_flow_item_integrity>() };
    assert_eq!(unsafe { spec.__bindgen_anon_1.__bindgen_anon_1.l4_csum_ok() }, 1);
}

#[test]
fn what_is_wrong_in_c_is_named() {
    let eth = [0_u8; 64];
    let end = || unsafe { std::mem::zeroed::<rte_flow_item>() };
    let item = |type_, spec: bool, last: bool, mask: bool| {
        let pointer = |given: bool| if given { eth.as_ptr().cast() } else { ptr::null() };
        rte_flow_item { type_, spec: pointer(spec), last: pointer(last), mask: pointer(mask) }
    };
    let decode = |item: rte_flow_item, of| {
        let items = [end(), item, end()];
        // The first END would end the pattern: begin behind it.
        unsafe { decode_items(items[1..].as_ptr(), of) }
            .map_err(|error| (error.cause, error.reason))
    };
    // Its data is not looked at, wherever the pointer leads.
    let long = dpdk_sys::rte_flow_item_geneve_opt {
        option_class: 0,
        option_type: 0,
        option_len: 32,
        data: ptr::dangling_mut(),
    };
    let number = dpdk_sys::RTE_FLOW_ITEM_TYPE_ETH;
    assert_eq!(
        decode(item(number, false, false, true), ItemsOf::Rule),
        Err((Cause::Item(0), DecodeReason::MaskWithoutSpec))
    );
    assert!(decode(item(number, false, false, true), ItemsOf::Template).is_ok());
    assert_eq!(
        decode(item(number, false, true, false), ItemsOf::Rule),
        Err((Cause::Item(0), DecodeReason::LastWithoutSpec))
    );
    let option = dpdk_sys::RTE_FLOW_ITEM_TYPE_GENEVE_OPT;
    assert_eq!(
        decode(item(option, false, false, true), ItemsOf::Template),
        Err((Cause::Item(0), DecodeReason::OptionWithoutSpec))
    );
    assert_eq!(
        decode(
            rte_flow_item {
                type_: option,
                spec: (&raw const long).cast(),
                last: ptr::null(),
                mask: ptr::null()
            },
            ItemsOf::Rule
        ),
        Err((Cause::Item(0), DecodeReason::OptionLength(32)))
    );
    assert_eq!(
        decode(item(9999, true, false, false), ItemsOf::Rule),
        Err((Cause::Item(0), DecodeReason::UnknownItem(9999)))
    );
    let actions = [
        rte_flow_action { type_: dpdk_sys::RTE_FLOW_ACTION_TYPE_DROP, conf: ptr::null() },
        rte_flow_action { type_: dpdk_sys::RTE_FLOW_ACTION_TYPE_JUMP, conf: ptr::null() },
        unsafe { std::mem::zeroed() },
    ];
    let error = unsafe { decode_actions(actions.as_ptr()) }.map_err(FlowError::from);
    let error = error.expect_err("JUMP needs a group");
    assert_eq!(
        (error.kind, error.errno, error.cause),
        (ErrorKind::ActionConf, EINVAL, Cause::Action(1))
    );
    let sample = rte_flow_action_sample { ratio: 1, actions: [].as_ptr() };
    let looped = [
        rte_flow_action {
            type_: dpdk_sys::RTE_FLOW_ACTION_TYPE_SAMPLE,
            conf: (&raw const sample).cast(),
        },
        unsafe { std::mem::zeroed() },
    ];
    let sample = rte_flow_action_sample { actions: looped.as_ptr(), ..sample };
    let looped = [rte_flow_action { conf: (&raw const sample).cast(), ..looped[0] }, looped[1]];
    let nested = unsafe { decode_actions(looped.as_ptr()) }.map_err(|error| error.reason);
    assert_eq!(nested, Err(DecodeReason::Nested("sample")));
    let cause = error.cause_pointer(ptr::null(), ptr::null(), actions.as_ptr());
    assert_eq!(cause, (&raw const actions[1]).cast());
    assert!(unsafe { decode_attributes(ptr::null()) }.is_err());
}

#[test]
fn items_can_be_made_from_lists_of_fields() {
    for kind in ItemKind::ALL {
        assert_eq!(Item::asking(*kind, &[]).kind(), *kind);
        for (index, info) in kind.fields().iter().enumerate() {
            let asked = AskedField { index, spec: 1, last: Some(u128::MAX), mask: 1 };
            // Options of GENEVE have data when their length says so.
            let length = AskedField { index: 2, spec: 1, last: None, mask: 0 };
            let is_data = *kind == ItemKind::GeneveOpt && index > length.index;
            let list = if is_data { vec![length, asked] } else { vec![asked] };
            let mut seen = Vec::new();
            Item::asking(*kind, &list).for_each_field(&mut |field| {
                if field.mask != 0 {
                    seen.push((field.index, field.spec, field.mask));
                }
            });
            assert_eq!(seen, [(index, Some(1), 1)], "{kind}.{}", info.name);
        }
    }
    let address = AskedField { index: 0, spec: 0, last: None, mask: 0xffff_ffff_ffff };
    assert_eq!(Item::asking(ItemKind::Eth, &[address]).match_words(), 2);
    assert_eq!(Item::asking(ItemKind::Eth, &[]).match_words(), 0);
}

#[test]
fn actions_of_zeros_are_those_that_zeros_say() {
    for kind in ActionKind::ALL {
        if let Some(action) = Action::zeroed(*kind) {
            assert_eq!(action.kind(), *kind);
        }
    }
    assert_eq!(Action::zeroed(ActionKind::Drop), Some(Action::Drop));
    assert_eq!(Action::zeroed(ActionKind::SetTtl), Some(Action::SetTtl(0)));
    assert_eq!(Action::zeroed(ActionKind::MeterMark), None);
}
