//! Malformed rules as C passes them, through DPDK to the driver: refused with a type, an errno, words and a cause that lies in
//! the caller's arrays, and never a crash.
//!
//! A panic under a C call ends the process, so the random calls run in a child process: proptest starts another one to shrink
//! what the first could not bear.
//!
//!     cargo test -p penstock-eswitch --test malformed
//!     PENSTOCK_HOSTILE_CASES=10000 PENSTOCK_HOSTILE_SEED=7 cargo test -p penstock-eswitch --test malformed

mod calls;
mod nic;
mod raw;
mod shapes;

use std::ffi::c_int;
use std::mem::zeroed;
use std::ptr;

use dpdk_sys as c;
use libc::{EINVAL, ENOENT, ENOTSUP};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use testbed::random::seed_and_cases;

use calls::Made;
use nic::{PROFILES, nic, refusal};
use raw::{List, Part, RawAction, RawConf, RawItem};
use shapes::{Call, RawAttributes, RawRule, TRANSFER, call, table};

/// The same calls in each run, unless the environment says otherwise.
fn config() -> ProptestConfig {
    let (seed, cases) = seed_and_cases("HOSTILE", 400);
    let (rng_seed, failure_persistence) = (RngSeed::Fixed(seed), None);
    ProptestConfig { cases, rng_seed, failure_persistence, fork: true, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_that_a_program_passes_crashes_the_driver(
        profile in 0..PROFILES.len(),
        calls in vec(call(), 1..16),
    ) {
        let nic = nic(profile);
        let mut made = Made::new(nic);
        for call in table().iter().chain(&calls) {
            // Whether it is accepted or refused.
            let _ = made.call(call).map_err(|complaint| {
                TestCaseError::fail(format!("{}: {complaint}: {call:?}", PROFILES[profile]))
            })?;
            nic.pull(0);
            nic.carry();
        }
    }
}

/// The group of the rules below.
const GROUP: u32 = 1;

/// A rule whose items, or else actions, are these, and all else as it should be.
fn transfer(pattern: Vec<RawItem>, actions: Vec<RawAction>) -> RawRule {
    let attributes = RawAttributes { is_null: false, group: GROUP, priority: 0, domain: TRANSFER };
    let (pattern, actions) = (List::Ended(pattern), List::Ended(actions));
    RawRule { on_representor: false, attributes, pattern, actions }
}

fn item(kind: u32) -> RawItem {
    RawItem { kind, spec: None, last: None, mask: None, option: [None; 3] }
}

fn action(kind: u32, conf: RawConf) -> RawAction {
    RawAction { kind, conf }
}

fn drop_it() -> RawAction {
    action(c::RTE_FLOW_ACTION_TYPE_DROP, RawConf::Null)
}

/// A queue that has no attributes is refused, too.
#[test]
fn a_queue_without_attributes_is_refused() {
    let nic = nic(PROFILES.iter().position(|name| *name == "unlimited").expect("a profile"));
    // SAFETY: the port exists and is stopped for it; the structures are whole.
    let refused = unsafe {
        assert_eq!(c::rte_eth_dev_stop(nic.representor), 0);
        let attributes: c::rte_flow_port_attr = zeroed();
        let mut queues = [ptr::null(); 2];
        let refused = refusal(
            |error| {
                let queues = queues.as_mut_ptr();
                c::rte_flow_configure(nic.representor, &raw const attributes, 2, queues, error)
            },
            |result| result < 0,
        );
        assert_eq!(c::rte_eth_dev_start(nic.representor), 0);
        refused.expect_err("there is none")
    };
    assert_eq!(refused.errno, EINVAL);
    assert!(refused.message.contains("null"), "{refused:?}");
}

/// A malformation by itself: its name, the rule, and the type and errno of the refusal.
type Malformation = (&'static str, RawRule, u32, c_int);

/// Passes each to the driver, which says where it is.
fn refuse_each(cases: Vec<Malformation>) {
    let profile = PROFILES.iter().position(|name| *name == "bluefield3-sws-22.11");
    let nic = nic(profile.expect("a profile"));
    for (name, rule, kind, errno) in cases {
        for call in [Call::Validate(rule.clone()), Call::Create(rule)] {
            let refused = Made::new(nic).call(&call);
            let refused = refused.unwrap_or_else(|complaint| panic!("{name}: {complaint}"));
            let refused = refused.expect_err(name);
            assert_eq!((refused.kind, refused.errno), (kind, errno), "{name}: {refused:?}");
            assert_ne!(refused.cause, 0, "{name}");
        }
    }
}

fn eth() -> RawItem {
    item(c::RTE_FLOW_ITEM_TYPE_ETH)
}

fn with_item(wrong: RawItem) -> RawRule {
    transfer(vec![eth(), wrong], vec![drop_it()])
}

fn with_action(kind: u32, conf: RawConf) -> RawRule {
    let group = 9_u32.to_ne_bytes().to_vec();
    let jump = action(c::RTE_FLOW_ACTION_TYPE_JUMP, RawConf::Bytes(group));
    transfer(vec![eth()], vec![action(kind, conf), jump])
}

#[test]
fn malformed_lists_and_items_are_refused_where_they_are() {
    const ITEM: u32 = c::RTE_FLOW_ERROR_TYPE_ITEM;
    const ITEMS: u32 = c::RTE_FLOW_ERROR_TYPE_ITEM_NUM;
    const ACTIONS: u32 = c::RTE_FLOW_ERROR_TYPE_ACTION_NUM;
    let ipv4 = |spec: bool, last: bool, mask: bool| {
        let given = |is_there: bool| is_there.then(|| vec![0xff; 20]);
        let (spec, last, mask) = (given(spec), given(last), given(mask));
        with_item(RawItem { spec, last, mask, ..item(c::RTE_FLOW_ITEM_TYPE_IPV4) })
    };
    let void = Box::new(item(c::RTE_FLOW_ITEM_TYPE_VOID));
    let endless_pattern = RawRule { pattern: List::Endless(void), ..with_item(eth()) };
    let void = Box::new(action(c::RTE_FLOW_ACTION_TYPE_VOID, RawConf::Null));
    let endless_actions = RawRule { actions: List::Endless(void), ..with_item(eth()) };
    refuse_each(vec![
        ("mask without spec", ipv4(false, false, true), ITEM, EINVAL),
        ("last without spec", ipv4(false, true, false), ITEM, EINVAL),
        ("unknown item", with_item(item(9999)), ITEM, ENOTSUP),
        ("item of no type", with_item(item(u32::MAX)), ITEM, ENOTSUP),
        ("no END of items", endless_pattern, ITEMS, EINVAL),
        ("no END of actions", endless_actions, ACTIONS, EINVAL),
        ("unknown action", with_action(9999, RawConf::Bytes(vec![1])), ACTION, ENOTSUP),
        ("action of no type", with_action(u32::MAX, RawConf::Null), ACTION, ENOTSUP),
    ]);
}

/// The type of a refusal for an action.
const ACTION: u32 = c::RTE_FLOW_ERROR_TYPE_ACTION;
/// The type of a refusal for what an action's configuration says.
const CONF: u32 = c::RTE_FLOW_ERROR_TYPE_ACTION_CONF;

#[test]
fn malformed_encapsulations_are_refused_where_they_are() {
    let encap = |header, size| {
        let conf = RawConf::RawEncap { header, preserve: None, size };
        with_action(c::RTE_FLOW_ACTION_TYPE_RAW_ENCAP, conf)
    };
    let of_size = |size| encap(Some(vec![]), size);
    let definition =
        |list| with_action(c::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP, RawConf::Definition(list));
    let unknown = List::Ended(vec![item(9999)]);
    refuse_each(vec![
        ("empty header", of_size(0), CONF, EINVAL),
        ("header longer than the card takes", of_size(133), CONF, EINVAL),
        ("header longer than memory", of_size(usize::MAX), CONF, EINVAL),
        ("header without data", encap(None, 50), CONF, EINVAL),
        ("no definition", definition(List::Null), CONF, EINVAL),
        ("empty definition", definition(List::Ended(vec![])), CONF, EINVAL),
        ("endless definition", definition(List::Endless(Box::new(eth()))), CONF, EINVAL),
        ("definition of unknown items", definition(unknown), CONF, EINVAL),
    ]);
}

#[test]
fn malformed_configurations_are_refused_where_they_are() {
    let rss = |queues, queue_count, key_length| {
        let (function, level, types, key) = (0, 0, 0, Some(1));
        let conf = RawConf::Rss { function, level, types, key, key_length, queues, queue_count };
        let rule = transfer(vec![eth()], vec![action(c::RTE_FLOW_ACTION_TYPE_RSS, conf)]);
        RawRule { attributes: RawAttributes { domain: 1, ..rule.attributes }, ..rule }
    };
    let modify = |field, offset, width| {
        let destination = Part { field, level: 0, offset };
        let source = Part { field: c::RTE_FLOW_FIELD_VALUE, level: 0, offset: 0 };
        let conf = RawConf::Modify { operation: 0, destination, source, value: None, width };
        with_action(c::RTE_FLOW_ACTION_TYPE_MODIFY_FIELD, conf)
    };
    let ttl = |offset, width| modify(c::RTE_FLOW_FIELD_IPV4_TTL, offset, width);
    let sample = |actions| RawConf::Sample { ratio: 1, actions };
    let with_sample = |list| with_action(c::RTE_FLOW_ACTION_TYPE_SAMPLE, sample(list));
    let inner = action(c::RTE_FLOW_ACTION_TYPE_SAMPLE, sample(List::Ended(vec![])));
    let never = RawConf::Handle(12345);
    let own_group = RawConf::Bytes(GROUP.to_ne_bytes().into());
    let own_group = action(c::RTE_FLOW_ACTION_TYPE_JUMP, own_group);
    refuse_each(vec![
        ("none", with_action(c::RTE_FLOW_ACTION_TYPE_MARK, RawConf::Null), CONF, EINVAL),
        ("no queues", rss(None, 1, 0), CONF, EINVAL),
        ("more queues than any card has", rss(Some(0), 4097, 0), CONF, EINVAL),
        ("more queues than memory", rss(Some(0), u32::MAX, 0), CONF, EINVAL),
        ("a longer key than any", rss(Some(0), 1, u32::MAX), CONF, EINVAL),
        ("a width of 0", ttl(0, 0), ACTION, EINVAL),
        ("a width beyond the field", ttl(0, 9), ACTION, EINVAL),
        ("an offset beyond all numbers", ttl(u32::MAX, 8), ACTION, EINVAL),
        ("an unknown field", modify(9999, 0, 8), CONF, ENOTSUP),
        ("no such action", with_action(c::RTE_FLOW_ACTION_TYPE_INDIRECT, never), ACTION, ENOENT),
        ("no actions of samples", with_sample(List::Null), CONF, EINVAL),
        ("samples of samples", with_sample(List::Ended(vec![inner])), CONF, EINVAL),
        ("a jump in a circle", transfer(vec![eth()], vec![own_group]), CONF, EINVAL),
    ]);
}
