//! One fault at a time.

use std::time::Duration;

use dpu_app::datapath::FlowDirection::{self, Forward, Reverse};
use dpu_app::datapath::conntrack::{Offload, WhySoftware};
use dpu_app::offload::{InDoubt, RuleTally};
use rte_flow::{Duplicates, EAGAIN, EINVAL, ENOSPC};
use rte_flow_compiler::NotOffloaded;

use crate::network::{Change, FLOWS, Flow, Kind};
use crate::nic::Fate;
use crate::rig::Rig;
use crate::{Card, profile};

/// Between the two local VMs, and to the remote one.
const LOCAL: usize = 0;
const REMOTE: usize = 2;

/// A NIC that has all static rules.
fn ready() -> Rig {
    let mut rig = Rig::new(profile(Duplicates::NewestWins));
    rig.settle().unwrap();
    rig
}

/// A NIC that has a flow as well.
fn carrying(flow: &'static Flow) -> Rig {
    let mut rig = ready();
    rig.open(flow);
    rig.settle().unwrap();
    rig
}

/// Everybody gets everything; the NIC sees to all requests in the same way. How many there were.
fn round(rig: &mut Rig, fate: Fate) -> usize {
    rig.deliver(usize::MAX);
    let asked = rig.ask(usize::MAX);
    for _ in 0..asked {
        rig.nic.execute(0, fate);
        rig.answer(0);
    }
    rig.tell(usize::MAX);
    rig.check().unwrap();
    asked
}

const fn software(why: WhySoftware) -> Offload {
    Offload::Software(why)
}

fn both(rig: &Rig, flow: &Flow) -> [Offload; 2] {
    FlowDirection::ALL.map(|direction| one(rig, flow, direction))
}

fn one(rig: &Rig, flow: &Flow, direction: FlowDirection) -> Offload {
    rig.offload_of(flow, direction).expect("the datapath knows it")
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

#[test]
fn a_refused_rule_is_tried_again_after_ever_longer_waits() {
    let flow = &FLOWS[LOCAL];
    for (errno, why) in [(ENOSPC, WhySoftware::TableFull), (EINVAL, WhySoftware::Refused)] {
        let mut rig = ready();
        rig.open(flow);
        for wait in [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            assert_eq!(round(&mut rig, Fate::Refused(errno)), 2);
            assert_eq!(both(&rig, flow), [software(why); 2]);
            rig.wait(milliseconds(wait - 1));
            assert_eq!(round(&mut rig, Fate::Done), 0, "{wait} ms are not over");
            rig.wait(milliseconds(1));
        }
        assert_eq!(round(&mut rig, Fate::Done), 2);
        assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
    }
}

#[test]
fn what_leaves_a_full_nic_makes_room_at_once() {
    let (first, second) = (&FLOWS[LOCAL], &FLOWS[REMOTE]);
    let mut full = profile(Duplicates::NewestWins);
    let RuleTally { statics, .. } = ready().tally();
    full.limits.rules = Some(statics as u64 + 2);
    let mut rig = Rig::new(full);
    for flow in [first, second] {
        rig.open(flow);
        while round(&mut rig, Fate::Done) > 0 {}
    }
    assert_eq!(both(&rig, first), [Offload::Hardware; 2]);
    assert_eq!(both(&rig, second), [software(WhySoftware::TableFull); 2]);
    rig.reset(first);
    while round(&mut rig, Fate::Done) > 0 {}
    assert_eq!(both(&rig, second), [Offload::Hardware; 2]);
}

#[test]
fn a_nic_that_puts_a_changed_rule_off_keeps_the_old_one_for_a_while() {
    let flow = &FLOWS[LOCAL];
    let mut rig = carrying(flow);
    // Where packets to the second VM come from: one of the two rules.
    rig.change(Change::Gateway(0xfd));
    rig.sweep();
    for wait in [100, 200, 400] {
        assert_eq!(round(&mut rig, Fate::Refused(EAGAIN)), 1);
        assert!(rig.is_carried(flow, Forward), "by the old rule");
        assert_eq!(one(&rig, flow, Forward), software(WhySoftware::Refused));
        rig.wait(milliseconds(wait));
    }
    assert_eq!(round(&mut rig, Fate::Refused(EAGAIN)), 1);
    assert_eq!(round(&mut rig, Fate::Done), 1, "the old rule goes");
    assert!(!rig.is_carried(flow, Forward));
    rig.settle().unwrap();
    assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
}

#[test]
fn a_rule_that_is_not_wanted_any_more_is_not_asked_for() {
    let flow = &FLOWS[LOCAL];
    let mut rig = ready();
    rig.open(flow);
    rig.deliver(usize::MAX);
    rig.reset(flow);
    assert_eq!(round(&mut rig, Fate::Done), 0);
    assert_eq!(both(&rig, flow), [software(WhySoftware::Ending); 2]);
}

#[test]
fn an_insertion_that_is_not_answered_is_in_doubt_until_it_is() {
    let flow = &FLOWS[LOCAL];
    let mut rig = ready();
    let RuleTally { statics, .. } = rig.tally();
    rig.open(flow);
    assert_eq!(round(&mut rig, Fate::Unanswered), 2);
    rig.wait(milliseconds(9_999));
    round(&mut rig, Fate::Done);
    assert_eq!(both(&rig, flow), [Offload::Pending; 2], "there is still time");
    rig.wait(milliseconds(1_000));
    round(&mut rig, Fate::Done);
    assert_eq!(both(&rig, flow), [software(WhySoftware::Unanswered); 2]);
    let in_doubt = InDoubt { inserting: 2, ..InDoubt::default() };
    assert_eq!(rig.tally(), RuleTally { statics, connections: 2, in_doubt });

    // A connection that closes meanwhile leaves a rule behind that nobody can remove; the other's is good in the end.
    rig.reset(flow);
    assert_eq!(round(&mut rig, Fate::Done), 0);
    assert_eq!(rig.tally().in_doubt, in_doubt);
    assert!(rig.is_carried(flow, Forward));
    rig.nic.remember();
    rig.settle().unwrap();
    assert_eq!(rig.tally(), RuleTally { statics, ..RuleTally::default() });

    let mut rig = ready();
    rig.open(flow);
    round(&mut rig, Fate::Unanswered);
    rig.wait(milliseconds(11_000));
    round(&mut rig, Fate::Done);
    rig.nic.remember();
    rig.settle().unwrap();
    assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
}

#[test]
fn flows_say_which_static_rule_they_wait_for() {
    let flow = &FLOWS[REMOTE];
    let mut rig = carrying(flow);
    rig.change(Change::Hop(Some(3)));
    assert_eq!(round(&mut rig, Fate::Unanswered), 1, "the tunnel's other rule");
    rig.wait(milliseconds(11_000));
    rig.settle().unwrap();
    let waits = software(WhySoftware::StaticPart);
    assert_eq!(both(&rig, flow), [waits, Offload::Hardware]);
    let why = Some(NotOffloaded::Unanswered.to_string());
    assert_eq!(rig.reason(flow, Forward), Some(NotOffloaded::StaticPart(why)));
    rig.nic.remember();
    rig.settle().unwrap();
    assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
}

#[test]
fn what_a_stranded_rule_leads_to_stays() {
    let flow = &FLOWS[REMOTE];
    let mut rig = carrying(flow);
    let before = rig.tally();
    rig.change(Change::Hop(None));
    assert_eq!(round(&mut rig, Fate::Stranded), 1);
    rig.settle().unwrap();
    // The rule goes on encapsulating, and is not missed by those that count.
    assert!(rig.is_carried(flow, Forward) && rig.is_carried(flow, Reverse));
    let in_doubt = InDoubt { stranded: 1, ..InDoubt::default() };
    assert_eq!(rig.tally(), RuleTally { in_doubt, ..before });
    assert_eq!(one(&rig, flow, Forward), software(WhySoftware::StaticPart));
}

#[test]
fn a_removal_that_is_not_answered_is_in_doubt() {
    let flow = &FLOWS[LOCAL];
    let mut rig = carrying(flow);
    rig.reset(flow);
    assert_eq!(round(&mut rig, Fate::Forgotten), 2);
    rig.wait(milliseconds(11_000));
    assert_eq!(rig.tally().in_doubt, InDoubt { removing: 2, ..InDoubt::default() });
    rig.nic.remember();
    rig.settle().unwrap();
    assert_eq!(rig.tally().in_doubt, InDoubt::default());
    assert!(!rig.is_carried(flow, Forward));
}

/// A second with a packet in each direction; the NIC sees to all requests in the same way. How many rules it was asked to insert.
fn second(rig: &mut Rig, flow: &'static Flow, insertions: Fate) -> usize {
    let before = rig.nic.insertions();
    for direction in FlowDirection::ALL {
        rig.send(flow, direction, Kind::Data);
    }
    rig.wait(milliseconds(1000));
    while !rig.is_quiet() {
        rig.deliver(usize::MAX);
        rig.ask(usize::MAX);
        while rig.nic.is_busy() {
            rig.nic.execute(0, insertions);
            rig.answer(0);
        }
        rig.tell(usize::MAX);
    }
    rig.nic.insertions() - before
}

#[test]
fn a_rule_that_no_packet_meets_is_tried_again_and_given_up() {
    let flow = &FLOWS[LOCAL];
    let mut rig = ready();
    // These show that the static rules are met: those of both VMs, and of TCP.
    let others = [&FLOWS[REMOTE], &FLOWS[REMOTE + 1]];
    for other in others {
        rig.open(other);
    }
    rig.settle().unwrap();
    for other in others {
        rig.send(other, Forward, Kind::Data);
        rig.send(other, Reverse, Kind::Data);
    }
    rig.open(flow);
    let (mut inserted, mut in_software) = (0, 0);
    for _ in 0..60 {
        inserted += second(&mut rig, flow, Fate::WithoutEffect);
        in_software += usize::from(both(&rig, flow) == [software(WhySoftware::NoEffect); 2]);
    }
    assert!(in_software > 30, "{in_software} of 60 seconds");
    assert_eq!(rig.reason(flow, Forward), Some(NotOffloaded::NoEffect));
    assert_eq!(both(&rig, flow), [software(WhySoftware::NoEffect); 2]);
    let RuleTally { connections, in_doubt, .. } = rig.tally();
    assert_eq!((connections, in_doubt), (4, InDoubt::default()), "the other flows'");
    assert_eq!(inserted, 8, "four times both rules");
    rig.check().unwrap();
    // Another decision is another rule, which may well have an effect.
    rig.change(Change::Gateway(0xfd));
    rig.settle().unwrap();
    assert_eq!(one(&rig, flow, Forward), Offload::Hardware);
}

#[test]
fn a_static_rule_that_no_packet_meets_is_made_anew() {
    let flow = &FLOWS[LOCAL];
    let mut rig = Rig::new(profile(Duplicates::NewestWins));
    while !rig.is_quiet() {
        rig.ask(usize::MAX);
        while rig.nic.is_busy() {
            rig.nic.execute(0, Fate::WithoutEffect);
            rig.answer(0);
        }
    }
    let statics = rig.tally().statics;
    rig.open(flow);
    for _ in 0..30 {
        second(&mut rig, flow, Fate::Done);
    }
    assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
    assert!(rig.is_carried(flow, Forward) && rig.is_carried(flow, Reverse));
    rig.check().unwrap();
    assert_eq!(rig.tally(), RuleTally { statics, connections: 2, ..RuleTally::default() });
}

#[test]
fn a_rule_that_packets_meet_stays_whatever_else_comes_to_software() {
    let flow = &FLOWS[LOCAL];
    let mut rig = carrying(flow);
    let before = rig.nic.insertions();
    for _ in 0..30 {
        // Rules leave fragments to software.
        for direction in FlowDirection::ALL {
            rig.send(flow, direction, Kind::Fragment);
        }
        assert_eq!(second(&mut rig, flow, Fate::Done), 0);
        assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
    }
    // Nor are they a sign by themselves.
    for _ in 0..30 {
        rig.send(flow, Forward, Kind::Fragment);
        rig.wait(milliseconds(1000));
        round(&mut rig, Fate::Done);
    }
    assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
    assert_eq!(rig.nic.insertions(), before);
}

#[test]
fn what_flows_share_is_in_the_nic_once_and_only_while_they_are() {
    // Both between the second VM and the remote one.
    let (tcp, udp) = (&FLOWS[3], &FLOWS[5]);
    for card in [Card::Narrow, Card::Narrower] {
        let mut rig = Rig::new(card.profile(Duplicates::NewestWins));
        rig.settle().unwrap();
        let before = rig.tally();
        rig.open(tcp);
        rig.settle().unwrap();
        assert_eq!(both(&rig, tcp), [Offload::Hardware; 2], "{card:?}");
        let with_one = rig.tally();
        assert!(with_one.statics > before.statics, "{card:?}: nothing was split");
        rig.open(udp);
        rig.settle().unwrap();
        assert_eq!(both(&rig, udp), [Offload::Hardware; 2], "{card:?}");
        assert_eq!(rig.tally(), RuleTally { connections: 4, ..with_one }, "{card:?}");
        rig.reset(tcp);
        rig.settle().unwrap();
        assert_eq!(rig.tally(), with_one, "{card:?}: the other one needs it");
        rig.change(Change::Enabled(false));
        rig.settle().unwrap();
        rig.change(Change::Enabled(true));
        rig.settle().unwrap();
        assert_eq!(rig.tally(), before, "{card:?}");
    }
}

#[test]
fn a_shared_rule_that_is_refused_keeps_what_needs_it_in_software() {
    let flow = &FLOWS[REMOTE];
    let mut rig = Rig::new(Card::Narrower.profile(Duplicates::NewestWins));
    rig.settle().unwrap();
    rig.open(flow);
    rig.deliver(usize::MAX);
    // What goes to the tunnel fits into one rule. Of the other direction the shared rule is asked for, and nothing that
    // builds upon it.
    assert_eq!(round(&mut rig, Fate::Refused(ENOSPC)), 2);
    assert_eq!(
        both(&rig, flow),
        [software(WhySoftware::TableFull), software(WhySoftware::StaticPart)]
    );
    assert!(matches!(rig.reason(flow, Reverse), Some(NotOffloaded::StaticPart(Some(_)))));
    rig.settle().unwrap();
    assert_eq!(both(&rig, flow), [Offload::Hardware; 2]);
}

#[test]
fn one_rule_in_the_root_table_leads_on() {
    let statics = |card: Card| {
        let mut rig = Rig::new(card.profile(Duplicates::NewestWins));
        rig.open_all();
        rig.settle().unwrap();
        for flow in &FLOWS {
            assert_eq!(both(&rig, flow), [Offload::Hardware; 2], "{card:?}: {flow:?}");
        }
        rig.tally().statics
    };
    assert_eq!(statics(Card::Rooted), statics(Card::Whole) + 1);
}
