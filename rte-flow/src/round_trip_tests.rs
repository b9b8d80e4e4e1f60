//! Encode and decode against each other, against DPDK's own deep copy, and against DPDK's default masks.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every pointer comes from an encoded rule that is alive"
)]

use std::convert::Infallible;
use std::ptr;

use dpdk_sys::{rte_flow_action, rte_flow_attr, rte_flow_conv_rule, rte_flow_item};
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
        Ok(Match { spec: load(&self.spec), last: load(&self.last), mask: load(&self.mask) })
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
        |(kind, spec, last, mask)| {
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

fn action() -> impl Strategy<Value = Action> {
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
                types,
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
        select(vec![A::Void, A::Passthru, A::Flag, A::Drop, A::VxlanDecap, A::DecTtl]),
        any::<u32>().prop_map(A::Jump),
        any::<u32>().prop_map(A::Mark),
        any::<u16>().prop_map(A::Queue),
        any::<u32>().prop_map(A::Count),
        rss.prop_map(A::Rss),
        any::<(bool, u32)>().prop_map(|(original, id)| A::PortId(ToPortId { original, id })),
        any::<(u32, usize)>()
            .prop_map(|(t, context)| A::Age(Age { timeout: U24::truncate(t), context })),
        vec(item(), 0..5).prop_map(A::VxlanEncap),
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
    fn dpdks_deep_copy_is_the_same_rule(rule in rule()) {
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
        let entry = |(action, form): (Action, u8)| match (action.kind().has_conf(), form) {
            (true, 0) => TemplateAction::PerRule(action.kind()),
            // A handle is a whole configuration, and COUNT needs none: neither has a shape.
            (true, 1) if action.kind() != ActionKind::Indirect => TemplateAction::Shaped(action),
            _ => TemplateAction::Fixed(action),
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
    for kind in ItemKind::ALL.iter().filter(|kind| **kind != ItemKind::Void) {
        let mask = unsafe { dpdk_sys::dpdk_sys_default_mask(kind.number()) };
        assert!(!mask.is_null(), "{kind}: add it to wrapper.h");
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
    let cause = error.cause_pointer(ptr::null(), ptr::null(), actions.as_ptr());
    assert_eq!(cause, (&raw const actions[1]).cast());
    assert!(unsafe { decode_attributes(ptr::null()) }.is_err());
}
