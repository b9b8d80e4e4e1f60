//! Rules of the synchronous API from creation to the end: time, sizes, duplicates, counters, ageing, sharing, faults.

use std::time::Duration;

use rte_flow::{
    Action, Age, Cause, Domain, EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, Item, Match,
    Profile, U24, Udp,
};
use sim::eswitch::{
    Aged, Count, Eswitch, Faults, Id, IndirectState, Ingress, RefusedUpdate, Time, Trace, Usage,
    Verdict,
};

use crate::rig::{
    UPLINK, VF0, VF1, add, eth, from_entity, ipv4, rule, send, send_at, switch, switch_of, udp4,
};

const FROM: Ingress = Ingress::Represented(VF0);
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// The unlimited profile with some of its text replaced.
fn adapted(changes: &[(&str, &str)]) -> Eswitch {
    let mut text = include_str!("../../../rte-flow/profiles/unlimited.toml").to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the profile has `{from}`");
        text = text.replace(from, to);
    }
    switch_of(Profile::from_toml("test", &text).expect("a valid profile"))
}

fn to_port(port: u16) -> [Item; 4] {
    let udp = Item::Udp(Match::<Udp>::default().dst(port));
    [from_entity(VF0), eth(), ipv4(), udp]
}

fn forward(port: u16, to: u16) -> rte_flow::Rule {
    rule(0, 0, &to_port(port), &[Action::Count(0), Action::RepresentedPort(to)])
}

fn is_offloaded(switch: &mut Eswitch, now: Time) -> bool {
    let (verdict, _) = send_at(switch, now, FROM, &udp4(1, 2, b""), &mut Trace::default());
    verdict == Verdict::Represented(UPLINK)
}

#[test]
fn updates_take_the_cards_time() {
    let timing = "[timing]\ninsertions_per_second = 1000\ndeletions_per_second = 500\n\n[encap]";
    let mut switch = adapted(&[("[encap]", timing)]);
    let first = switch.create(VF0, &forward(2, UPLINK), Time(0)).expect("accepted");
    let second = switch.create(VF0, &forward(3, UPLINK), Time(0)).expect("accepted");
    assert_eq!((first.done, second.done), (Time(MILLISECOND), Time(2 * MILLISECOND)));
    assert!(!is_offloaded(&mut switch, Time(MILLISECOND - 1)));
    assert!(is_offloaded(&mut switch, first.done));
    let start = Time(10 * MILLISECOND);
    let gone = switch.destroy(VF0, first.rule, start).expect("it is there");
    assert_eq!(gone, Time(12 * MILLISECOND));
    assert!(is_offloaded(&mut switch, Time(12 * MILLISECOND - 1)));
    assert_eq!(switch.rule_count(), 2);
    let again = switch.destroy(VF0, first.rule, start).expect_err("on its way out");
    assert_eq!(again.errno, EINVAL);
    assert!(!is_offloaded(&mut switch, gone));
    assert_eq!(switch.rule_count(), 1);
    let error = switch.destroy(VF0, first.rule, gone).expect_err("gone");
    assert_eq!(error.errno, ENOENT);
    assert_eq!(switch.flush(VF0, gone).expect("a port"), Time(14 * MILLISECOND));
}

#[test]
fn duplicates_are_what_the_profile_says() {
    let policy = "duplicates = \"first_wins\"";
    for (name, expected) in [
        ("first_wins", [Ok(UPLINK), Ok(VF1)]),
        ("newest_wins", [Ok(VF1), Ok(UPLINK)]),
        ("refused", [Err(EEXIST), Ok(UPLINK)]),
    ] {
        let mut switch = adapted(&[(policy, &format!("duplicates = \"{name}\""))]);
        let first = add(&mut switch, VF0, &forward(2, UPLINK));
        let second = switch.create(VF0, &forward(2, VF1), Time::ZERO);
        let verdict = |switch: &mut Eswitch| match send(switch, FROM, &udp4(1, 2, b"")).0 {
            Verdict::Represented(port) => port,
            other => panic!("{name}: {other:?}"),
        };
        let found = [second.as_ref().map(|_| verdict(&mut switch)).map_err(|error| error.errno), {
            // The rule that does not have the packets now, alone.
            let leaving = match (name, &second) {
                ("first_wins", _) => Some(first),
                (_, Ok(second)) => Some(second.rule),
                _ => None,
            };
            if let Some(rule) = leaving {
                switch.destroy(VF0, rule, Time::ZERO).expect("it is there");
            }
            Ok(verdict(&mut switch))
        }];
        assert_eq!(found, expected, "{name}");
    }
    // Another priority or group is no duplicate.
    let mut switch = adapted(&[(policy, "duplicates = \"refused\"")]);
    for (group, priority) in [(0, 0), (0, 1), (1, 0)] {
        add(&mut switch, VF0, &rule(group, priority, &to_port(2), &[Action::Drop]));
    }
}

#[test]
fn full_tables_and_counters_say_so() {
    let limits = "[limits]\nrules = 3\ncounters = 2\nroot_rules = 1";
    let mut switch =
        adapted(&[("[limits]", limits), ("root_domains = []", "root_domains = [\"transfer\"]")]);
    let counted =
        |group: u32, port: u16| rule(group, 0, &to_port(port), &[Action::Count(0), Action::Drop]);
    let errno = |switch: &mut Eswitch, rule: &rte_flow::Rule| {
        switch.create(VF0, rule, Time::ZERO).map(|_| ()).map_err(|error| error.errno)
    };
    assert_eq!(errno(&mut switch, &counted(0, 1)), Ok(()));
    assert_eq!(errno(&mut switch, &counted(0, 2)), Err(ENOSPC), "root");
    assert_eq!(errno(&mut switch, &counted(1, 2)), Ok(()));
    assert_eq!(errno(&mut switch, &counted(1, 3)), Err(ENOENT), "counters");
    let plain = |port| rule(1, 0, &to_port(port), &[Action::Drop]);
    assert_eq!(errno(&mut switch, &plain(3)), Ok(()));
    assert_eq!(errno(&mut switch, &plain(4)), Err(ENOSPC), "rules");
    switch.flush(VF0, Time::ZERO).expect("a port");
    assert_eq!(switch.rule_count(), 0);
    assert_eq!(errno(&mut switch, &counted(0, 1)), Ok(()), "all is given back");
}

#[test]
fn counters_show_what_they_were_at_the_last_refresh() {
    let mut exact = switch();
    let rule_id = add(&mut exact, VF0, &forward(2, UPLINK));
    let frame = udp4(1, 2, &[0; 58]);
    for _ in 0..3 {
        send(&mut exact, FROM, &frame);
    }
    let count = exact.query_count(VF0, rule_id, true, Time::ZERO).expect("a counter");
    assert_eq!((count.packets, count.bytes), (3, 300));
    send(&mut exact, FROM, &frame);
    let count = exact.query_count(VF0, rule_id, false, Time::ZERO).expect("a counter");
    assert_eq!((count.packets, count.bytes), (1, 100), "the query reset it");

    let refresh = ("[encap]", "[timing]\ncounter_refresh_ms = 500\n\n[encap]");
    let mut late = adapted(&[refresh]);
    let rule_id = add(&mut late, VF0, &forward(2, UPLINK));
    let send_packet = |late: &mut Eswitch, now| {
        send_at(late, Time(now), FROM, &frame, &mut Trace::default());
    };
    send_packet(&mut late, 100 * MILLISECOND);
    let early = late.query_count(VF0, rule_id, false, Time(499 * MILLISECOND));
    assert_eq!(early, Ok(Count::default()));
    for (now, packets) in [(500, 1), (900, 1), (1000, 2), (5000, 2)] {
        let count = late.query_count(VF0, rule_id, false, Time(now * MILLISECOND));
        assert_eq!(count.expect("a counter").packets, packets, "at {now} ms");
        if now == 500 {
            send_packet(&mut late, 600 * MILLISECOND);
        }
    }
    let without = add(&mut exact, VF0, &rule(3, 0, &[eth()], &[Action::Drop]));
    let error = exact.query_count(VF0, without, false, Time::ZERO).expect_err("no counter");
    assert_eq!(error.errno, EINVAL);
}

fn age(seconds: u32, context: usize) -> Action {
    Action::Age(Age { timeout: U24::truncate(seconds), context })
}

#[test]
fn idle_rules_are_reported_once_for_each_idleness() {
    let mut switch = switch();
    let to = Action::RepresentedPort(UPLINK);
    let ageing = rule(0, 0, &to_port(2), &[age(10, 0), to.clone()]);
    let rule_id = add(&mut switch, VF0, &ageing);
    let shared = switch.indirect_create(VF0, &age(10, 99), None, Time::ZERO).expect("an AGE");
    let sharing = rule(0, 0, &to_port(3), &[Action::Indirect(shared), to]);
    add(&mut switch, VF0, &sharing);
    let aged = |switch: &mut Eswitch, second: u64| {
        switch.aged(VF0, Time(second * SECOND)).expect("a port")
    };
    let own = Aged { rule: Some(rule_id), queue: None, context: 0 };
    let common = Aged { rule: None, queue: None, context: 99 };
    assert_eq!(aged(&mut switch, 9), []);
    send_at(&mut switch, Time(9 * SECOND), FROM, &udp4(1, 3, b""), &mut Trace::default());
    assert_eq!(aged(&mut switch, 10), [own]);
    assert_eq!(aged(&mut switch, 19), [common]);
    assert_eq!(aged(&mut switch, 100), []);
    let state = switch.query_age(VF0, rule_id, Time(12 * SECOND)).expect("an AGE");
    assert_eq!((state.aged, state.idle), (true, Duration::from_secs(12)));
    assert!(is_offloaded(&mut switch, Time(200 * SECOND)));
    let state = switch.query_age(VF0, rule_id, Time(201 * SECOND)).expect("an AGE");
    assert!(!state.aged);
    assert_eq!(aged(&mut switch, 210), [own]);
    let IndirectState::Age(state) =
        switch.indirect_query(VF0, shared, false, Time(10 * SECOND)).expect("an AGE")
    else {
        panic!("no AGE");
    };
    assert_eq!(state.idle, Duration::from_secs(1));
}

#[test]
fn shared_actions_count_together_and_outlive_their_rules() {
    let mut switch = switch();
    let shared = switch.indirect_create(VF0, &Action::Count(0), None, Time::ZERO).expect("a COUNT");
    let rules = [2, 3].map(|port| {
        let actions = [Action::Indirect(shared), Action::RepresentedPort(UPLINK)];
        add(&mut switch, VF0, &rule(0, 0, &to_port(port), &actions))
    });
    for port in [2, 3, 3] {
        send(&mut switch, FROM, &udp4(1, port, b""));
    }
    let count = |switch: &mut Eswitch| match switch.indirect_query(VF0, shared, false, Time::ZERO) {
        Ok(IndirectState::Count(count)) => count.packets,
        other => panic!("no COUNT: {other:?}"),
    };
    assert_eq!(count(&mut switch), 3);
    assert_eq!(switch.indirect_destroy(VF0, shared, Time(2)).expect_err("in use").errno, EBUSY);
    for rule in rules {
        switch.destroy(VF0, rule, Time::ZERO).expect("it is there");
    }
    assert_eq!(count(&mut switch), 3);
    switch.indirect_destroy(VF0, shared, Time(2)).expect("unused");
    assert_eq!(switch.indirect_destroy(VF0, shared, Time(2)).expect_err("gone").errno, ENOENT);
    let error =
        switch.indirect_create(VF0, &Action::Drop, None, Time::ZERO).expect_err("no object");
    assert!(error.message.contains("; "), "{error}");
}

#[test]
fn faults_hit_the_operation_they_name() {
    let mut switch = switch();
    let refused = RefusedUpdate { number: 1, errno: ENOMEM };
    switch.set_faults(Faults { refused_insertion: Some(refused), ..Faults::default() });
    let results = [2, 3, 4].map(|port| {
        switch.create(VF0, &forward(port, UPLINK), Time::ZERO).map(|_| ()).map_err(|e| e.errno)
    });
    assert_eq!(results, [Ok(()), Err(ENOMEM), Ok(())]);
    switch.set_faults(Faults { full_at: Some(3), ..Faults::default() });
    let results = [5, 6].map(|port| {
        switch.create(VF0, &forward(port, UPLINK), Time::ZERO).map(|_| ()).map_err(|e| e.errno)
    });
    assert_eq!(results, [Ok(()), Err(ENOSPC)]);
    switch.set_faults(Faults { refused_removal: Some(refused), ..Faults::default() });
    let [first, second] = [7, 8].map(|port| add(&mut switch, VF0, &forward(port, UPLINK)));
    let destroy = |switch: &mut Eswitch, rule| {
        switch.destroy(VF0, rule, Time::ZERO).map(|_| ()).map_err(|error| error.errno)
    };
    assert_eq!([destroy(&mut switch, first), destroy(&mut switch, second)], [Ok(()), Err(ENOMEM)]);
    assert_eq!(send(&mut switch, FROM, &udp4(1, 8, b"")).0, Verdict::Represented(UPLINK));
    assert_eq!(destroy(&mut switch, second), Ok(()), "the fault hits once");
    let delay = Duration::from_millis(5);
    switch.set_faults(Faults { completion_delay: delay, ..Faults::default() });
    let created = switch.create(VF0, &forward(9, UPLINK), Time(0)).expect("accepted");
    assert_eq!(created.done, Time(5 * MILLISECOND));
}

#[test]
fn a_reset_leaves_nothing_and_old_handles_are_dead() {
    let mut switch = switch();
    let rule_id = add(&mut switch, VF0, &forward(2, UPLINK));
    switch.reset();
    assert_eq!(switch.rule_count(), 0);
    switch.start(VF0).expect("a port");
    let error = switch.destroy(VF0, rule_id, Time::ZERO).expect_err("lost");
    assert_eq!(error.errno, ENOENT);
    let other = add(&mut switch, VF0, &forward(2, UPLINK));
    assert!(switch.query_count(VF0, rule_id, false, Time::ZERO).is_err() || rule_id == other);
    assert!(switch.destroy(VF1, other, Time::ZERO).is_err(), "another port's rule");
    assert!(switch.destroy(VF0, Id::from_bits(u64::MAX), Time::ZERO).is_err());
}

#[test]
fn nothing_is_in_use_once_rules_are_gone() {
    let mut switch = adapted(&[]);
    let rule = rule(
        0,
        0,
        &to_port(2),
        &[
            Action::Count(0),
            Action::Age(Age { timeout: U24::new(1).unwrap(), context: 0 }),
            Action::RepresentedPort(UPLINK),
        ],
    );
    let created = switch.create(VF0, &rule, Time(0)).expect("accepted");
    let shared = switch.indirect_create(VF0, &Action::Count(0), None, Time(0)).expect("accepted");
    let used = Usage {
        rules: 1,
        groups: 1,
        counters: 2,
        ages: 1,
        indirect_actions: 1,
        ..Usage::default()
    };
    assert_eq!(switch.usage(Time(1)), used);
    switch.destroy(VF0, created.rule, Time(1)).expect("it is there");
    switch.indirect_destroy(VF0, shared, Time(2)).expect("it is there");
    assert_eq!(switch.usage(Time(2)), Usage::default());
}

#[test]
fn rules_name_only_receive_queues_that_are_there() {
    let mut switch = adapted(&[]);
    let to_queue = |queue: u16| {
        let mut rule = rule(0, 0, &[eth()], &[Action::Queue(queue)]);
        rule.attributes.domain = Domain::Ingress;
        rule
    };
    assert!(switch.validate(VF0, &to_queue(9)).is_ok(), "nobody said how many there are");
    switch.set_receive_queues(VF0, 2).expect("it is there");
    assert!(switch.validate(VF0, &to_queue(1)).is_ok());
    let refusal = switch.validate(VF0, &to_queue(2)).expect_err("there are two");
    assert_eq!((refusal.errno, refusal.cause), (EINVAL, Cause::Action(0)));
}
