//! Objects behind actions: meters, copies, connections, shared ages; how many there are, and what becomes of them.

use std::time::Duration;

use packet::Frame;
use proptest::collection::vec;
use proptest::prelude::*;
use rte_flow::{
    Action, Age, Color, Connection, ConnectionState, Direction, Domain, ENOSPC, FieldId, FieldRef,
    Item, LastSegment, Match, MeterAlgorithm, MeterErrorKind, MeterMark, MeterMarkUpdate,
    MeterParams, MeterPolicy, MeterProfile, MeterStatistics, ModifyField, Nvgre, Sample, Tag,
    TcpDirection, U24, WindowScale,
};
use sim::eswitch::{
    COPIES, DropCause, Eswitch, IndirectState, IndirectUpdate, Ingress, Time, Trace, Verdict,
};

use crate::random_packets::headers;
use crate::rig::{
    UPLINK, VF0, VF1, add, eth, from_entity, in_domain, ipv4, profile, rule, send, send_at, switch,
    switch_of, udp4,
};

const FROM: Ingress = Ingress::Represented(VF0);

fn second(number: u64) -> Time {
    Time::ZERO + Duration::from_secs(number)
}

/// A profile that lets `burst` bytes through at once and one byte a second.
fn profile_of(burst: u64) -> MeterProfile {
    let algorithm = MeterAlgorithm::SingleRate { cir: 1, cbs: burst, ebs: 0 };
    MeterProfile { algorithm, packet_mode: false }
}

fn params(policy: u32) -> MeterParams {
    MeterParams {
        profile: 1,
        policy,
        uses_previous_color: false,
        dscp_table: None,
        vlan_table: None,
        enabled: true,
        statistics: MeterStatistics::all(),
        default_color: Color::Green,
    }
}

fn policy(green: &[Action], red: &[Action]) -> MeterPolicy {
    MeterPolicy { green: green.to_vec(), yellow: green.to_vec(), red: red.to_vec() }
}

/// A switch with meter profile 1, of 100 bytes, and policy 1, which drops red packets, at VF 0.
fn metering(mut switch: Eswitch) -> Eswitch {
    switch.meter_profile_add(VF0, 1, profile_of(100)).expect("a profile");
    switch.meter_policy_add(VF0, 1, &policy(&[], &[Action::Drop])).expect("a policy");
    switch
}

fn mark(switch: &Eswitch) -> MeterMark {
    MeterMark {
        profile: switch.meter_profile(VF0, 1).expect("profile 1"),
        policy: None,
        color_aware: None,
        enabled: true,
    }
}

#[test]
fn a_colour_reaches_the_application_and_later_rules() {
    let mut switch = switch();
    let colored = [Action::MeterColor(Color::Yellow), Action::Queue(0)];
    add(&mut switch, VF0, &in_domain(Domain::Ingress, rule(0, 0, &[eth()], &colored)));
    let (verdict, _) = send(&mut switch, FROM, &udp4(1, 2, b""));
    let Verdict::Representor { attached, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(attached.color, Some(Color::Yellow));

    // What a meter found is copied into a register, and there matched: 100 bytes are two packets of 42.
    let mut switch = metering(switch_of(profile("unlimited")));
    let meter = Action::MeterMark(mark(&switch));
    let tag = FieldRef { field: FieldId::Tag, level: 0, offset: 0 };
    let copy = ModifyField::copy(tag, FieldRef::outermost(FieldId::MeterColor), 2);
    let metered = [meter, Action::ModifyField(copy), Action::Jump(1)];
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &metered));
    let red = Item::Tag(Match::of(Tag { data: Color::Red.number(), index: 0 }));
    add(&mut switch, VF0, &rule(1, 0, &[red], &[Action::RepresentedPort(VF1)]));
    add(&mut switch, VF0, &rule(1, 1, &[eth()], &[Action::RepresentedPort(UPLINK)]));
    let ends: Vec<_> = (0..3).map(|_| send(&mut switch, FROM, &udp4(1, 2, b"")).0).collect();
    let [uplink, vf1] = [UPLINK, VF1].map(Verdict::Represented);
    assert_eq!(ends, [uplink, uplink, vf1]);
}

#[test]
fn a_shared_meter_changes_for_all_its_rules() {
    let mut switch = metering(switch());
    switch.meter_profile_add(VF0, 2, profile_of(0x1_0000)).expect("a profile");
    let policy = switch.meter_policy(VF0, 1).expect("policy 1");
    let marked = MeterMark { policy: Some(policy), ..mark(&switch) };
    let shared =
        switch.indirect_create(VF0, &Action::MeterMark(marked), None, Time::ZERO).expect("a meter");
    let to = [Action::Indirect(shared), Action::RepresentedPort(UPLINK)];
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &to));
    let passed = |switch: &mut Eswitch, at: Time| {
        let end = |_| send_at(switch, at, FROM, &udp4(1, 2, b""), &mut Trace::default()).0;
        (0..5).map(end).filter(|verdict| *verdict == Verdict::Represented(UPLINK)).count()
    };
    assert_eq!(passed(&mut switch, Time::ZERO), 2);
    let update = |switch: &mut Eswitch, update: MeterMarkUpdate| {
        let update = IndirectUpdate::Meter(update);
        switch.indirect_update(VF0, shared, &update, Time::ZERO).expect("an update");
    };
    update(&mut switch, MeterMarkUpdate { enabled: Some(false), ..MeterMarkUpdate::default() });
    assert_eq!(passed(&mut switch, Time::ZERO), 5);
    let other = switch.meter_profile(VF0, 2).expect("profile 2");
    let change =
        MeterMarkUpdate { profile: Some(other), enabled: Some(true), ..Default::default() };
    update(&mut switch, change);
    assert_eq!(passed(&mut switch, second(1)), 0, "tokens are not made up");
    assert_eq!(passed(&mut switch, second(43)), 1);
    let yellow = MeterMarkUpdate { color_aware: Some(Some(Color::Red)), ..Default::default() };
    update(&mut switch, yellow);
    assert_eq!(passed(&mut switch, second(9000)), 0, "packets come red");
}

#[test]
fn policies_do_not_lead_in_circles() {
    let mut switch = metering(switch());
    switch.meter_create(VF0, 1, &params(1), true, Time::ZERO).expect("a meter");
    switch.meter_policy_add(VF0, 2, &policy(&[Action::Meter(1)], &[])).expect("leads to meter 1");
    switch.meter_create(VF0, 2, &params(2), true, Time::ZERO).expect("a meter");
    let error = switch.meter_set_policy(VF0, 1, 2).expect_err("meter 1 would lead to itself");
    assert_eq!(error.kind, MeterErrorKind::PolicyId);
    switch.meter_policy_add(VF0, 3, &policy(&[Action::Meter(2)], &[])).expect("leads to meter 2");
    let error = switch.meter_set_policy(VF0, 1, 3).expect_err("and so to meter 1");
    assert_eq!(error.kind, MeterErrorKind::PolicyId);
}

#[test]
fn a_card_has_so_many_meters_and_connections() {
    let mut small = profile("unlimited");
    (small.limits.meters, small.limits.conntracks) = (Some(2), Some(1));
    let mut switch = metering(switch_of(small));
    let meter = Action::MeterMark(mark(&switch));
    switch.meter_create(VF0, 1, &params(1), true, Time::ZERO).expect("the first meter");
    let rule_of = |port| rule(0, 0, &[from_entity(port)], &[meter.clone(), Action::Drop]);
    let second = add(&mut switch, VF0, &rule_of(VF1));
    let error = switch.create(VF0, &rule_of(VF0), Time::ZERO).expect_err("the third meter");
    assert_eq!(error.errno, ENOSPC);
    let error = switch.meter_create(VF0, 2, &params(1), true, Time::ZERO).expect_err("the third");
    assert_eq!(error.errno, ENOSPC);
    switch.destroy(VF0, second, Time::ZERO).expect("a rule");
    switch.create(VF0, &rule_of(VF0), Time::ZERO).expect("a meter is free");

    let connection = Action::Conntrack(connection());
    let shared = switch.indirect_create(VF0, &connection, None, Time::ZERO).expect("the first");
    let error = switch.indirect_create(VF0, &connection, None, Time::ZERO).expect_err("the second");
    assert_eq!(error.errno, ENOSPC);
    switch.indirect_destroy(VF0, shared, Time::ZERO).expect("unused");
    switch.indirect_create(VF0, &connection, None, Time::ZERO).expect("there is room again");
}

pub fn connection() -> Connection {
    let end = TcpDirection {
        scale: WindowScale::DISABLED,
        close_initiated: false,
        last_ack_seen: false,
        data_unacked: false,
        sent_end: 1,
        reply_end: 1000,
        max_win: 1000,
        max_ack: 1,
    };
    Connection {
        peer_port: VF1,
        direction: Direction::Original,
        enable: true,
        live_connection: false,
        selective_ack: false,
        challenge_ack_passed: false,
        last_direction: Direction::Original,
        liberal_mode: false,
        state: ConnectionState::SynReceived,
        max_ack_window: 0,
        retransmission_limit: 0,
        original: end,
        reply: end,
        last_window: 0,
        last_segment: LastSegment::None,
        last_seq: 0,
        last_ack: 0,
        last_end: 0,
    }
}

#[test]
fn the_rules_of_both_ports_see_one_connection() {
    let mut switch = switch();
    let connection = Action::Conntrack(connection());
    let shared = switch.indirect_create(VF0, &connection, None, Time::ZERO).expect("an object");
    let tracked = |port| {
        let actions = [Action::Indirect(shared), Action::RepresentedPort(UPLINK)];
        rule(0, 0, &[from_entity(port)], &actions)
    };
    add(&mut switch, VF0, &tracked(VF0));
    let turned = rte_flow::ConnectionUpdate { direction: Some(Direction::Reply), connection: None };
    let turned = IndirectUpdate::Connection(turned);
    switch.indirect_update(VF0, shared, &turned, Time::ZERO).expect("an update");
    add(&mut switch, VF1, &tracked(VF1));
    let error = switch.create(UPLINK, &tracked(UPLINK), Time::ZERO).expect_err("neither port");
    assert!(error.message.contains("ports"), "{error}");
    let state = switch.indirect_query(VF0, shared, false, Time::ZERO).expect("a connection");
    let IndirectState::Connection(found) = state else { panic!("{state:?}") };
    assert_eq!((found.direction, found.peer_port), (Direction::Reply, VF1));
}

#[test]
fn of_one_packet_there_are_so_many_copies() {
    let mut switch = switch();
    let copy = Action::Sample(Sample { ratio: 1, actions: vec![Action::RepresentedPort(VF1)] });
    let mut actions = vec![copy; COPIES + 4];
    actions.push(Action::RepresentedPort(UPLINK));
    add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0)], &actions));
    let frame = udp4(1, 2, b"hello");
    let (verdict, after) = send(&mut switch, FROM, &frame);
    assert_eq!((verdict, &after), (Verdict::Represented(UPLINK), &frame));
    assert_eq!(switch.copies().len(), COPIES);
    for copy in switch.copies() {
        assert_eq!((copy.verdict(), copy.bytes()), (Verdict::Represented(VF1), &frame[..]));
    }
    let (_, _) = send(&mut switch, Ingress::Represented(VF1), &frame);
    assert_eq!(switch.copies().len(), 0, "the next packet has none");
}

#[test]
fn a_copy_may_be_counted_changed_and_dropped_by_itself() {
    let mut switch = switch();
    let inner = vec![Action::SetTtl(3), Action::Drop];
    let actions = [
        Action::Sample(Sample { ratio: 1, actions: inner }),
        Action::Sample(Sample { ratio: 1, actions: Vec::new() }),
        Action::RepresentedPort(UPLINK),
    ];
    let id = add(&mut switch, VF0, &rule(0, 0, &[from_entity(VF0), eth(), ipv4()], &actions));
    let frame = udp4(1, 2, b"hello");
    let (verdict, after) = send(&mut switch, FROM, &frame);
    assert_eq!((verdict, &after), (Verdict::Represented(UPLINK), &frame));
    let [changed, bare] = switch.copies() else { panic!("two copies") };
    assert_eq!(changed.verdict(), Verdict::Dropped(DropCause::Rule(id)));
    assert_eq!(changed.bytes()[22], 3);
    // Nobody sends it anywhere: it is for who manages the switch.
    assert!(matches!(bare.verdict(), Verdict::Representor { port: UPLINK, .. }));
}

#[test]
fn a_rule_that_leaves_may_look_like_a_packet_to_its_shared_age() {
    for (is_hit, idle) in [(false, 9), (true, 4)] {
        let mut profile = profile("unlimited");
        profile.age.destruction_is_hit = is_hit;
        let mut switch = switch_of(profile);
        let age = Action::Age(Age { timeout: U24::truncate(100), context: 0 });
        let shared = switch.indirect_create(VF0, &age, None, Time::ZERO).expect("an AGE");
        let actions = [Action::Indirect(shared), Action::Drop];
        let id = add(&mut switch, VF0, &rule(0, 0, &[eth()], &actions));
        switch.destroy(VF0, id, second(5)).expect("a rule");
        let state = switch.indirect_query(VF0, shared, false, second(9)).expect("an AGE");
        let IndirectState::Age(state) = state else { panic!("{state:?}") };
        assert_eq!(state.idle, Duration::from_secs(idle));
    }
}

#[test]
fn objects_of_rules_go_with_them() {
    let mut switch = metering(switch());
    let copy = Sample { ratio: 2, actions: vec![Action::Count(0), Action::Drop] };
    let actions = [
        Action::MeterMark(mark(&switch)),
        Action::Sample(copy),
        Action::Age(Age { timeout: U24::truncate(5), context: 7 }),
        Action::Drop,
    ];
    let before = switch.usage(Time::ZERO).to_string();
    let id = add(&mut switch, VF0, &rule(0, 0, &[eth()], &actions));
    assert_ne!(switch.usage(Time::ZERO).to_string(), before);
    assert!(switch.meter_profile_delete(VF0, 1, Time::ZERO).is_err(), "the rule's meter has it");
    switch.destroy(VF0, id, Time::ZERO).expect("a rule");
    assert_eq!(switch.usage(Time::ZERO).to_string(), before);
    switch.meter_profile_delete(VF0, 1, Time::ZERO).expect("nobody has it");
}

/// An action that has to do with objects, or makes packets longer or shorter.
fn action(
    kind: usize,
    number: u32,
    shared: &[rte_flow::IndirectHandle],
    marked: MeterMark,
) -> Action {
    let definition = || vec![eth(), ipv4(), Item::Nvgre(Match::<Nvgre>::default())];
    match kind {
        0 => Action::Meter(number % 3),
        1 => Action::MeterMark(marked),
        2 => Action::MeterColor(Color::ALL[number as usize % 3]),
        3 => Action::Indirect(shared[number as usize % shared.len()]),
        4 => Action::OfPushVlan(if number.is_multiple_of(2) { 0x8100 } else { 0x88a8 }),
        5 => Action::OfPopVlan,
        6 => Action::OfSetVlanVid(number as u16 & 0xfff),
        7 => Action::OfSetVlanPcp(number as u8 & 7),
        8 => Action::NvgreEncap(definition()),
        9 => Action::NvgreDecap,
        10 => Action::IncTcpSeq(number),
        11 => Action::DecTcpAck(number),
        12 => Action::SetIpv6Dscp(number as u8),
        13 => Action::Count(0),
        14 => Action::Age(Age { timeout: U24::truncate(number), context: 1 }),
        _ => Action::SetTtl(number as u8),
    }
}

proptest! {
    /// Whatever rules do to whatever packets: nothing panics, copies are bounded, and nothing outlives the rules.
    #[test]
    fn rules_leave_nothing_behind(
        packets in vec((headers(), 0..2_000_000_000_u64), 1..8),
        lists in vec((vec((0..16_usize, any::<u32>()), 0..5), any::<Option<u8>>(), 0..4_usize), 1..8),
        room in 0..80_usize,
    ) {
        let mut switch = metering(switch());
        switch.meter_create(VF0, 1, &params(1), true, Time::ZERO).expect("a meter");
        let second = policy(&[Action::RepresentedPort(VF1)], &[Action::Drop]);
        switch.meter_policy_add(VF0, 2, &second).expect("a policy");
        switch.meter_create(VF0, 2, &params(2), true, Time::ZERO).expect("a meter");
        let marked = mark(&switch);
        let objects = [
            Action::Conntrack(connection()),
            Action::MeterMark(marked),
            Action::Age(Age { timeout: U24::truncate(1), context: 9 }),
            Action::Count(0),
        ];
        let shared = objects.map(|object| {
            switch.indirect_create(VF0, &object, None, Time::ZERO).expect("an object")
        });
        let before = switch.usage(Time::ZERO).to_string();
        let mut made = Vec::new();
        for (group, (list, copies, fate)) in (0..).zip(&lists) {
            let mut actions: Vec<_> =
                list.iter().map(|(kind, number)| action(*kind, *number, &shared, marked)).collect();
            if let Some(ratio) = copies {
                let actions_of_copy = actions.clone();
                let copy = Sample { ratio: u32::from(*ratio), actions: actions_of_copy };
                actions.insert(0, Action::Sample(copy));
            }
            match fate {
                0 => actions.push(Action::Drop),
                1 => actions.push(Action::RepresentedPort(UPLINK)),
                2 => actions.push(Action::Jump(group + 1)),
                _ => {}
            }
            // Whatever is refused leaves nothing either.
            made.extend(switch.create(VF0, &rule(group, 0, &[eth()], &actions), Time::ZERO));
        }
        let mut now = Time::ZERO;
        for (packet, pause) in &packets {
            now = now + Duration::from_nanos(*pause);
            let mut buffer = vec![0; room];
            buffer.extend(packet.frame());
            let end = buffer.len();
            let mut frame = Frame::new(&mut buffer, room, end).expect("in range");
            let mut trace = Trace::default();
            switch.process(now, FROM, &mut frame, &mut trace);
            prop_assert!(switch.copies().len() <= COPIES);
        }
        for rule in made {
            switch.destroy(VF0, rule.rule, now).expect("a rule");
        }
        prop_assert_eq!(switch.usage(now).to_string(), before);
    }
}
