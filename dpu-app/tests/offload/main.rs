//! The offload manager between a datapath and a NIC that refuses, is slow, and answers in any order.
//!
//! A failure is shrunk, and printed with the line for `proptest-regressions` that repeats it.

mod counts;
mod faults;
#[path = "../datapath/frames.rs"]
#[expect(dead_code, reason = "the datapath's tests need more of it")]
mod frames;
mod network;
mod nic;
mod rig;

use std::time::Duration;

use dpu_app::datapath::FlowDirection;
use proptest::prelude::*;
use rte_flow::{Duplicates, EAGAIN, EEXIST, EINVAL, ENOSPC, Profile};

use network::{Change, FLOWS, Kind, MACS};
use nic::Fate;
use rig::Rig;

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Send(usize, FlowDirection),
    Reset(usize),
    Change(Change),
    Sweep,
    Deliver(usize),
    Repeat,
    Ask(usize),
    Execute(usize, Fate),
    Answer(usize),
    Tell(usize),
    Wait(u64),
}

fn hop() -> impl Strategy<Value = Change> {
    (2..4_u8).prop_map(|hop| Change::Hop(Some(hop)))
}

fn dscp() -> impl Strategy<Value = Change> {
    (0..2_u8).prop_map(Change::Dscp)
}

fn gateway() -> impl Strategy<Value = Change> {
    (0xfd..0xff_u8).prop_map(Change::Gateway)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => Just(Change::Hop(None)),
        2 => hop(),
        1 => dscp(),
        2 => any::<bool>().prop_map(Change::Moved),
        1 => prop::sample::select(MACS.to_vec()).prop_map(Change::Mac),
        1 => gateway(),
        1 => any::<bool>().prop_map(Change::Swapped),
        1 => any::<bool>().prop_map(Change::Enabled),
        1 => any::<bool>().prop_map(Change::Open),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    let errno = prop::sample::select(vec![EAGAIN, ENOSPC, EINVAL, EEXIST]);
    prop_oneof![3 => Just(Fate::Done), 1 => errno.prop_map(Fate::Refused)]
}

/// Also what no good NIC does.
fn bad_fate() -> impl Strategy<Value = Fate> {
    let bad = prop::sample::select(vec![Fate::Unanswered, Fate::Forgotten, Fate::Stranded]);
    prop_oneof![4 => fate(), 1 => bad]
}

fn step(fate: impl Strategy<Value = Fate> + 'static) -> impl Strategy<Value = Step> {
    let direction = prop::sample::select(FlowDirection::ALL.to_vec());
    prop_oneof![
        1 => Just(Step::Repeat),
        2 => (0..FLOWS.len()).prop_map(Step::Open),
        1 => (0..FLOWS.len(), direction).prop_map(|(flow, direction)| Step::Send(flow, direction)),
        1 => (0..FLOWS.len()).prop_map(Step::Reset),
        2 => change().prop_map(Step::Change),
        12 => errand(),
        6 => (0..30_usize, fate).prop_map(|(which, fate)| Step::Execute(which, fate)),
        1 => prop::sample::select(vec![1, 100, 1000, 20_000]).prop_map(Step::Wait),
    ]
}

/// Somebody gets what is on its way.
fn errand() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Sweep),
        3 => (1..20_usize).prop_map(Step::Deliver),
        4 => (1..20_usize).prop_map(Step::Ask),
        6 => (0..30_usize).prop_map(Step::Answer),
        2 => (1..20_usize).prop_map(Step::Tell),
    ]
}

/// What leaves every connection as it is, though its rules change.
fn harmless() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Repeat),
        2 => prop_oneof![hop(), dscp(), gateway()].prop_map(Step::Change),
        8 => errand(),
        6 => (0..30_usize).prop_map(|which| Step::Execute(which, Fate::Done)),
        1 => Just(Step::Wait(100)),
    ]
}

fn take(rig: &mut Rig, step: &Step) -> Result<(), String> {
    match *step {
        Step::Open(flow) => rig.open(&FLOWS[flow]),
        Step::Send(flow, direction) => rig.send(&FLOWS[flow], direction, Kind::Data),
        Step::Reset(flow) => rig.reset(&FLOWS[flow]),
        Step::Change(change) => rig.change(change),
        Step::Sweep => rig.sweep(),
        Step::Deliver(most) => rig.deliver(most),
        Step::Repeat => rig.repeat()?,
        Step::Ask(most) => _ = rig.ask(most),
        Step::Execute(which, fate) => rig.nic.execute(which, fate),
        Step::Answer(which) => rig.answer(which),
        Step::Tell(most) => rig.tell(most),
        Step::Wait(milliseconds) => rig.wait(Duration::from_millis(milliseconds)),
    }
    rig.check()
}

fn profile(duplicates: Duplicates) -> Profile {
    Card::Whole.profile(duplicates)
}

/// How much a NIC takes in one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    /// Everything.
    Whole,
    /// Less than what comes from a tunnel.
    Narrow,
    /// So little that more is split, and in more parts.
    Narrower,
    /// Everything, but the first group is its root table.
    Rooted,
}

impl Card {
    const ALL: [Self; 4] = [Self::Whole, Self::Narrow, Self::Narrower, Self::Rooted];

    fn profile(self, duplicates: Duplicates) -> Profile {
        let mut profile = match self {
            Self::Rooted => {
                let text = include_str!("../../../rte-flow/profiles/unlimited.toml");
                let rooted = text
                    .replace("root_domains = []", r#"root_domains = ["transfer"]"#)
                    .replace("jump_to_root = true", "jump_to_root = false");
                Profile::from_toml("rooted", &rooted).expect("a profile")
            }
            _ => Profile::named("unlimited").expect("there is such a profile"),
        };
        profile.interface.duplicates = duplicates;
        profile.limits.match_words = match self {
            Self::Whole | Self::Rooted => None,
            Self::Narrow => Some(6),
            Self::Narrower => Some(5),
        };
        profile
    }
}

fn duplicates() -> impl Strategy<Value = Duplicates> {
    use Duplicates::{FirstWins, NewestWins, Refused};
    prop::sample::select(vec![FirstWins, NewestWins, Refused])
}

fn cards() -> impl Strategy<Value = Card> {
    prop::sample::select(Card::ALL.to_vec())
}

/// A quarter of the usual number of cases, as each is long.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases / 4, max_shrink_iters: 20_000, ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_the_nic_does_nothing_is_lost_and_what_is_said_of_flows_is_true(
        duplicates in duplicates(),
        card in cards(),
        // Whether all is well in the NIC before it begins.
        well in any::<bool>(),
        steps in prop::collection::vec(step(fate()), 1..150),
    ) {
        let mut rig = Rig::new(card.profile(duplicates));
        if well {
            rig.open_all();
            rig.settle().map_err(TestCaseError::fail)?;
        }
        for step in steps {
            take(&mut rig, &step).map_err(TestCaseError::fail)?;
        }
        rig.settle().map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_nic_that_does_not_answer_is_in_doubt_and_no_more_is_said_of_it(
        duplicates in duplicates(),
        card in cards(),
        steps in prop::collection::vec(step(bad_fate()), 1..150),
    ) {
        let mut rig = Rig::new(card.profile(duplicates));
        rig.open_all();
        for step in steps {
            take(&mut rig, &step).map_err(TestCaseError::fail)?;
        }
        rig.settle().map_err(TestCaseError::fail)?;
        // The answers come after all.
        rig.nic.remember();
        rig.settle().map_err(TestCaseError::fail)?;
    }

    #[test]
    fn changes_interrupt_nothing_that_a_good_nic_carries(
        newest_wins in any::<bool>(),
        card in cards(),
        steps in prop::collection::vec(harmless(), 1..150),
    ) {
        let duplicates =
            if newest_wins { Duplicates::NewestWins } else { Duplicates::FirstWins };
        let mut rig = Rig::new(card.profile(duplicates));
        rig.open_all();
        rig.settle().map_err(TestCaseError::fail)?;
        for step in steps {
            take(&mut rig, &step).map_err(TestCaseError::fail)?;
            for flow in &FLOWS {
                for direction in FlowDirection::ALL {
                    prop_assert!(rig.is_carried(flow, direction), "{flow:?}, {direction:?}");
                }
            }
        }
        rig.settle().map_err(TestCaseError::fail)?;
    }
}
