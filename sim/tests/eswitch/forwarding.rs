//! Where packets go: the switch's defaults, groups, priorities, domains, ports.

use crate::rig::{
    UPLINK, VF0, VF1, add, eth, from_entity, from_software, in_domain, ipv4, rule, send, send_at,
    switch, switch_of, tcp, tcp4, udp4,
};
use rte_flow::{Action, Domain, Item, Match, Tag, Tcp};
use sim::eswitch::{Attached, DropCause, Ingress, RxQueue, Time, Trace, Verdict};

fn software(port: u16) -> Verdict {
    Verdict::Representor { port, queue: RxQueue::Default, attached: Attached::default() }
}

#[test]
fn without_rules_entities_reach_their_ethdev_and_ethdevs_their_entity() {
    let mut switch = switch();
    let frame = tcp4(1, 2, 2, b"");
    for port in [UPLINK, VF0, VF1] {
        let (verdict, after) = send(&mut switch, Ingress::Represented(port), &frame);
        assert_eq!((verdict, &after), (software(port), &frame));
        let (verdict, _) = send(&mut switch, Ingress::Representor(port), &frame);
        assert_eq!(verdict, Verdict::Represented(port));
    }
    let (verdict, _) = send(&mut switch, Ingress::Represented(9), &frame);
    assert_eq!(verdict, Verdict::Dropped(DropCause::UnknownPort(9)));
}

#[test]
fn groups_priorities_and_jumps() {
    let mut switch = switch();
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &[Action::Jump(5)]));
    add(&mut switch, VF0, &rule(5, 3, &[eth(), ipv4()], &[Action::RepresentedPort(UPLINK)]));
    let drop = add(&mut switch, VF0, &rule(5, 2, &[eth(), ipv4(), tcp()], &[Action::Drop]));
    let mut trace = Trace::default();
    let from = Ingress::Represented(VF0);
    let (verdict, _) = send_at(&mut switch, Time::ZERO, from, &tcp4(1, 2, 2, b""), &mut trace);
    assert_eq!(verdict, Verdict::Dropped(DropCause::Rule(drop)));
    assert_eq!(trace.visits().iter().map(|v| v.group).collect::<Vec<_>>(), [0, 5]);
    let (verdict, _) = send(&mut switch, from, &udp4(1, 2, b""));
    assert_eq!(verdict, Verdict::Represented(UPLINK));
    // Another origin does not enter group 5; a group without rules is a miss.
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF1), &udp4(1, 2, b""));
    assert_eq!(verdict, software(VF1));
    add(&mut switch, VF1, &rule(0, 0, &[from_entity(VF1)], &[Action::Jump(77)]));
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF1), &udp4(1, 2, b""));
    assert_eq!(verdict, software(VF1));
}

#[test]
fn a_catch_all_without_port_catches_what_software_sends_too() {
    let mut switch = switch();
    add(&mut switch, UPLINK, &rule(0, 1, &[eth()], &[Action::PortRepresentor(VF0)]));
    let frame = tcp4(1, 2, 2, b"");
    let (verdict, _) = send(&mut switch, Ingress::Representor(VF0), &frame);
    assert_eq!(verdict, software(VF0), "the frame comes straight back");
    add(&mut switch, VF0, &rule(0, 0, &[from_software(VF0)], &[Action::RepresentedPort(VF0)]));
    let (verdict, _) = send(&mut switch, Ingress::Representor(VF0), &frame);
    assert_eq!(verdict, Verdict::Represented(VF0));
}

#[test]
fn software_steering_ties_a_transfer_rule_to_its_port() {
    let mut switch = switch_of(crate::rig::profile("bluefield3-sws-22.11"));
    let forward = rule(0, 0, &[eth()], &[Action::RepresentedPort(UPLINK)]);
    switch.create(VF0, &forward, Time::ZERO).expect("accepted");
    let frame = tcp4(1, 2, 2, b"");
    let later = Time(1_000_000_000);
    for (from, expected) in [
        (Ingress::Represented(VF0), Verdict::Represented(UPLINK)),
        (Ingress::Represented(VF1), software(VF1)),
        (Ingress::Representor(VF0), Verdict::Represented(VF0)),
    ] {
        let (verdict, _) = send_at(&mut switch, later, from, &frame, &mut Trace::default());
        assert_eq!(verdict, expected, "{from:?}");
    }
}

#[test]
fn ingress_rules_act_on_what_reaches_the_ethdev() {
    let mut switch = switch();
    let pattern = [eth(), ipv4(), tcp()];
    let mark = rule(0, 0, &pattern, &[Action::Mark(7), Action::Queue(3)]);
    add(&mut switch, VF0, &in_domain(Domain::Ingress, mark));
    let frame = tcp4(1, 2, 2, b"");
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &frame);
    let queue = RxQueue::Rule(3);
    let attached = Attached { mark: Some(7), ..Attached::default() };
    let marked = Verdict::Representor { port: VF0, queue, attached };
    assert_eq!(verdict, marked);
    // Only there: neither another port's ethdev nor what the switch forwards by itself.
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF1), &frame);
    assert_eq!(verdict, software(VF1));
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &[Action::RepresentedPort(VF1)]));
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &frame);
    assert_eq!(verdict, Verdict::Represented(VF1));
}

#[test]
fn egress_rules_act_on_what_software_sends() {
    let mut switch = switch();
    let drop = rule(0, 0, &[eth(), ipv4(), tcp()], &[Action::Drop]);
    let id = add(&mut switch, VF0, &in_domain(Domain::Egress, drop));
    let (verdict, _) = send(&mut switch, Ingress::Representor(VF0), &tcp4(1, 2, 2, b""));
    assert_eq!(verdict, Verdict::Dropped(DropCause::Rule(id)));
    let (verdict, _) = send(&mut switch, Ingress::Representor(VF0), &udp4(1, 2, b""));
    assert_eq!(verdict, Verdict::Represented(VF0));
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &tcp4(1, 2, 2, b""));
    assert_eq!(verdict, software(VF0));
}

#[test]
fn registers_carry_from_group_to_group_and_marks_to_software() {
    let mut switch = switch();
    let set = Action::SetTag(rte_flow::SetTag { data: 0xab12, mask: 0xff00, index: 2 });
    let meta = Action::SetMeta(rte_flow::SetMeta { data: 5, mask: u32::MAX });
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &[set, meta, Action::Jump(1)]));
    let tag = Item::Tag(Match::of(Tag { data: 0xab00, index: 2 }));
    let actions = [Action::Mark(9), Action::PortRepresentor(VF1)];
    add(&mut switch, VF0, &rule(1, 0, &[tag], &actions));
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &udp4(1, 2, b""));
    let attached = Attached { mark: Some(9), meta: Some(5), ..Attached::default() };
    assert_eq!(verdict, Verdict::Representor { port: VF1, queue: RxQueue::Default, attached });
}

#[test]
fn circles_end_and_passthru_goes_on() {
    let mut switch = switch();
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &[Action::Jump(1)]));
    add(&mut switch, VF0, &rule(1, 0, &[eth()], &[Action::Jump(2)]));
    add(&mut switch, VF0, &rule(2, 0, &[eth()], &[Action::Jump(1)]));
    let mut trace = Trace::default();
    let from = Ingress::Represented(VF0);
    let (verdict, _) = send_at(&mut switch, Time::ZERO, from, &udp4(1, 2, b""), &mut trace);
    assert_eq!(verdict, Verdict::Dropped(DropCause::Loop));
    assert!(trace.is_truncated());
    let pattern = [from_entity(VF1)];
    let count = rule(0, 0, &pattern, &[Action::Count(0), Action::Passthru]);
    let first = add(&mut switch, VF1, &count);
    add(&mut switch, VF1, &rule(0, 1, &pattern, &[Action::RepresentedPort(VF0)]));
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF1), &udp4(1, 2, b""));
    assert_eq!(verdict, Verdict::Represented(VF0));
    let count = switch.query_count(VF1, first, false, Time::ZERO).expect("a counter");
    assert_eq!((count.packets, count.bytes), (1, 42));
}

#[test]
fn oversize_frames_die_at_the_port_and_are_counted_there() {
    let mut switch = switch();
    let forward = rule(0, 0, &[from_entity(VF0)], &[Action::RepresentedPort(UPLINK)]);
    add(&mut switch, VF0, &forward);
    switch.set_mtu(UPLINK, 100).expect("a port");
    let fits = udp4(1, 2, &[0; 72]);
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &fits);
    assert_eq!(verdict, Verdict::Represented(UPLINK));
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &crate::rig::tagged(&fits, 5));
    assert_eq!(verdict, Verdict::Represented(UPLINK), "tags do not count");
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &udp4(1, 2, &[0; 73]));
    assert_eq!(verdict, Verdict::Dropped(DropCause::Oversize(UPLINK)));
    assert_eq!(switch.port_counters(UPLINK).map(|counters| counters.oversize), Some(1));
}

#[test]
fn a_stopped_ethdev_neither_sends_nor_receives_and_has_no_rules() {
    let mut switch = switch();
    let syn = Item::Tcp(Match::<Tcp>::default().flags(2_u8));
    let rules = [
        rule(0, 0, &[from_entity(VF0), eth(), ipv4(), syn], &[Action::Drop]),
        rule(0, 1, &[from_entity(VF0)], &[Action::RepresentedPort(VF1)]),
    ];
    for rule in &rules {
        add(&mut switch, VF0, rule);
    }
    switch.stop(VF0).expect("a port");
    assert_eq!(switch.rule_count(), 0);
    let frame = tcp4(1, 2, 2, b"");
    for from in [Ingress::Represented(VF0), Ingress::Representor(VF0)] {
        let (verdict, _) = send(&mut switch, from, &frame);
        assert_eq!(verdict, Verdict::Dropped(DropCause::Stopped(VF0)));
    }
    let error = switch.create(VF0, &rules[0], Time::ZERO).expect_err("the port is stopped");
    assert!(error.message.contains("start it"), "{error}");
    switch.start(VF0).expect("a port");
    let (verdict, _) = send(&mut switch, Ingress::Represented(VF0), &frame);
    assert_eq!(verdict, software(VF0));
}
