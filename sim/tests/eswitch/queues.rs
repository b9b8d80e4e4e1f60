//! The asynchronous API: templates, tables, queues, completions.

use std::num::NonZeroU64;
use std::time::Duration;

use rte_flow::{
    Action, ActionKind, ActionsTemplate, Attributes, Domain, EAGAIN, EBUSY, EINVAL, ENOENT, ENOMEM,
    ENOSPC, ENOTSUP, FieldId, Item, Match, ModifyField, PatternTemplate, TableAttributes,
    TemplateAction, Udp,
};
use sim::eswitch::{
    ActionsTemplateId, Completion, Enqueue, Eswitch, Faults, FlowConfig, Ingress,
    PatternTemplateId, RefusedUpdate, RuleId, TableId, TableRule, Time, Trace, Verdict,
};

use crate::rig::{
    UPLINK, VF0, VF1, engine, eth, from_entity, ipv4, profile, send_at, stopped_switch_of, switch,
    switch_of, udp4,
};

const QUEUE_SIZE: u32 = 4;

struct Rig {
    switch: Eswitch,
    pattern: PatternTemplateId,
    actions: ActionsTemplateId,
    table: TableId,
}

fn port_item(port: u16) -> Item {
    Item::Udp(Match::of(Udp { dst: port, ..Udp::default() }))
}

/// A table of UDP destination ports with room for 3 rules: set the source port, go to the wire.
fn rig(profile_name: &str) -> Rig {
    let mut switch = stopped_switch_of(profile(profile_name));
    for port in [UPLINK, VF0] {
        switch.configure(port, &engine(&[QUEUE_SIZE])).expect("stopped and unused");
        switch.start(port).expect("a port");
    }
    let mask = Udp { dst: u16::MAX, ..Udp::default() };
    let pattern = PatternTemplate {
        domain: Domain::Transfer,
        relaxed_matching: false,
        pattern: vec![
            from_entity(VF0),
            eth(),
            ipv4(),
            Item::Udp(Match { spec: None, last: None, mask: Some(mask) }),
        ],
    };
    let actions = ActionsTemplate {
        domain: Domain::Transfer,
        actions: vec![
            TemplateAction::PerRule(ActionKind::Count),
            TemplateAction::Shaped(Action::ModifyField(ModifyField::set(FieldId::UdpPortSrc, 0))),
            TemplateAction::Fixed(Action::RepresentedPort(UPLINK)),
        ],
    };
    let pattern = switch.pattern_template_create(UPLINK, pattern).expect("a template");
    let actions = switch.actions_template_create(UPLINK, actions).expect("a template");
    let attributes = Attributes { group: 0, priority: 0, domain: Domain::Transfer };
    let attributes = TableAttributes { attributes, capacity: 3 };
    let table = switch.table_create(UPLINK, attributes, &[pattern], &[actions]).expect("a table");
    Rig { switch, pattern, actions, table }
}

impl Rig {
    fn create(&mut self, port: u16, postpone: bool, now: u64) -> Result<RuleId, i32> {
        let items = [from_entity(VF0), eth(), ipv4(), port_item(port)];
        let set = ModifyField::set(FieldId::UdpPortSrc, u128::from(port) + 1000);
        let actions = [Action::Count(0), Action::ModifyField(set), Action::RepresentedPort(UPLINK)];
        let new = TableRule {
            table: self.table,
            items: &items,
            pattern_template: 0,
            actions: &actions,
            actions_template: 0,
        };
        let enqueue = Enqueue { queue: 0, postpone, user_data: u64::from(port) };
        self.switch.enqueue_create(UPLINK, enqueue, new, Time(now)).map_err(|error| error.errno)
    }

    fn destroy(&mut self, rule: RuleId, user_data: u64, now: u64) -> Result<(), i32> {
        let enqueue = Enqueue { queue: 0, postpone: false, user_data };
        self.switch.enqueue_destroy(UPLINK, enqueue, rule, Time(now)).map_err(|error| error.errno)
    }

    fn pull(&mut self, now: u64) -> Vec<Completion> {
        let mut completions = Vec::new();
        let count = self.switch.pull(UPLINK, 0, 64, Time(now), &mut completions);
        assert_eq!(count.expect("a queue"), completions.len());
        completions
    }

    /// The source port that a packet leaves the wire with, if it does.
    fn forwarded(&mut self, port: u16, now: u64) -> Option<u16> {
        let from = Ingress::Represented(VF0);
        let frame = udp4(1, port, b"");
        let (verdict, after) =
            send_at(&mut self.switch, Time(now), from, &frame, &mut Trace::default());
        (verdict == Verdict::Represented(UPLINK))
            .then(|| u16::from_be_bytes([after[34], after[35]]))
    }
}

fn done(user_data: u64) -> Completion {
    Completion { user_data, result: Ok(()) }
}

#[test]
fn a_rule_is_created_hit_and_destroyed() {
    let mut rig = rig("unlimited");
    let rule = rig.create(7, false, 0).expect("accepted");
    assert_eq!(rig.destroy(rule, 1, 0), Err(EBUSY), "its completion was not pulled");
    assert_eq!(rig.pull(0), [done(7)]);
    assert_eq!(rig.forwarded(7, 0), Some(1007));
    assert_eq!(rig.forwarded(8, 0), None);
    let count = rig.switch.query_count(UPLINK, rule, false, Time(0)).expect("a counter");
    assert_eq!(count.packets, 1);
    assert!(rig.switch.destroy(UPLINK, rule, Time(0)).is_err(), "a queue made it");
    assert_eq!(rig.destroy(rule, 2, 0), Ok(()));
    assert_eq!(rig.pull(0), [done(2)]);
    assert_eq!(rig.forwarded(7, 0), None);
    assert_eq!(rig.destroy(rule, 3, 0), Err(ENOENT));
}

#[test]
fn postponed_operations_wait_for_the_push_and_queues_fill_up() {
    let mut rig = rig("unlimited");
    rig.create(1, true, 0).expect("accepted");
    rig.create(2, true, 0).expect("accepted");
    assert_eq!((rig.pull(0), rig.forwarded(1, 0)), (vec![], None));
    let rule = rig.create(3, true, 0).expect("accepted");
    assert_eq!(rig.create(4, true, 0), Err(ENOSPC), "the table was made for 3");
    rig.switch.push(UPLINK, 0, Time(0)).expect("a queue");
    assert_eq!(rig.forwarded(1, 0), Some(1001));
    assert_eq!(rig.pull(0), [done(1), done(2), done(3)]);
    assert_eq!(rig.destroy(rule, 9, 0), Ok(()));
    rig.create(4, false, 0).expect("there is room again");
    rig.pull(0);

    // With hardware steering, rules leave their tables late.
    for (name, errno) in
        [("unlimited", EAGAIN), ("bluefield3-hws-22.11", ENOMEM), ("bluefield3-hws-24.11", EBUSY)]
    {
        let mut rig = self::rig(name);
        let second = 1_000_000_000;
        let rules = [1, 2, 3].map(|port| rig.create(port, false, 0).expect("accepted"));
        rig.pull(second);
        for rule in rules {
            assert_eq!(rig.destroy(rule, 0, second), Ok(()));
        }
        rig.create(5, false, 2 * second).expect("the fourth place");
        let refused = rig.create(6, false, 2 * second);
        assert_eq!(refused, Err(errno), "four operations are in flight");
        assert_eq!(rig.destroy(rules[0], 0, 2 * second), Err(errno));
        assert_eq!(rig.pull(3 * second).len(), 4);
        rig.create(6, false, 3 * second).expect("pulled");
    }
}

#[test]
fn sizes_of_queues_are_the_cards() {
    for (name, expected) in [
        ("unlimited", Ok(())),
        ("bluefield3-hws-22.11", Err(EINVAL)),
        ("bluefield3-hws-24.11", Err(EINVAL)),
    ] {
        let mut switch = stopped_switch_of(profile(name));
        let result = switch.configure(UPLINK, &engine(&[4, 8])).map_err(|error| error.errno);
        assert_eq!(result, expected, "{name}");
    }
}

#[test]
fn what_configuring_again_does_is_the_drivers() {
    let again = |name: &str, config: &FlowConfig| {
        let mut rig = rig(name);
        let rule = rig.create(1, false, 0).expect("accepted");
        rig.pull(1_000_000);
        rig.destroy(rule, 0, 1_000_000).expect("pulled");
        rig.pull(2_000_000);
        rig.switch.stop(VF0).expect("a port");
        rig.switch.stop(UPLINK).expect("a port");
        let result = rig.switch.configure(UPLINK, config).map_err(|error| error.errno);
        rig.switch.start(UPLINK).expect("configured");
        (result, rig.create(1, false, 3_000_000).map(|_| ()))
    };
    let (same, other) = (engine(&[QUEUE_SIZE]), engine(&[QUEUE_SIZE, QUEUE_SIZE]));
    assert_eq!(again("unlimited", &other), (Ok(()), Ok(())), "the table is there");
    assert_eq!(again("bluefield3-hws-22.11", &same), (Ok(()), Err(ENOENT)), "it is gone");
    assert_eq!(again("bluefield3-hws-24.11", &same), (Ok(()), Ok(())));
    assert_eq!(again("bluefield3-hws-24.11", &other), (Err(ENOTSUP), Ok(())));
}

#[test]
fn operations_complete_at_the_cards_rate_or_later() {
    let mut rig = rig("bluefield3-hws-22.11");
    rig.create(1, false, 0).expect("accepted");
    let insertion = 223;
    assert_eq!((rig.pull(insertion - 1), rig.forwarded(1, insertion - 1)), (vec![], None));
    assert_eq!(rig.forwarded(1, insertion), Some(1001));
    assert_eq!(rig.pull(insertion), [done(1)]);
    let delay = Duration::from_micros(50);
    rig.switch.set_faults(Faults { completion_delay: delay, ..Faults::default() });
    rig.create(2, false, 1000).expect("accepted");
    assert_eq!(rig.forwarded(2, 2000), Some(1002), "the rule is there before its completion");
    assert_eq!(rig.pull(50_000), []);
    assert_eq!(rig.pull(60_000), [done(2)]);
}

#[test]
fn a_failed_creation_shows_in_its_completion() {
    let mut rig = rig("unlimited");
    let refused_insertion = Some(RefusedUpdate { number: 0, errno: ENOMEM });
    rig.switch.set_faults(Faults { refused_insertion, ..Faults::default() });
    let rule = rig.create(1, false, 0).expect("enqueued");
    assert_eq!(rig.forwarded(1, 0), None);
    assert_eq!(rig.pull(0), [Completion { user_data: 1, result: Err(ENOMEM) }]);
    assert_eq!(rig.forwarded(1, 0), None);
    // The handle takes a place of the table until it is destroyed, like that of a rule.
    assert_eq!(rig.switch.rule_count(), 1);
    assert_eq!(rig.destroy(rule, 2, 0), Ok(()));
    assert_eq!(rig.pull(0), [done(2)]);
    assert_eq!(rig.switch.rule_count(), 0);
    rig.create(1, false, 0).expect("the fault hits once");
    assert_eq!(rig.pull(0), [done(1)]);
}

#[test]
fn a_failed_destruction_leaves_a_rule_without_a_handle() {
    let mut rig = rig("unlimited");
    let refused_removal = Some(RefusedUpdate { number: 0, errno: ENOMEM });
    rig.switch.set_faults(Faults { refused_removal, ..Faults::default() });
    let rule = rig.create(1, false, 0).expect("accepted");
    rig.pull(0);
    assert_eq!(rig.destroy(rule, 2, 0), Ok(()), "enqueued");
    assert_eq!(rig.pull(0), [Completion { user_data: 2, result: Err(ENOMEM) }]);
    assert_eq!(rig.forwarded(1, 0), Some(1001));
    assert_eq!(rig.destroy(rule, 3, 0), Err(ENOENT));
    assert!(rig.switch.query_count(UPLINK, rule, false, Time(0)).is_err());
    rig.switch.flush(UPLINK, Time(0)).expect("a port");
    assert_eq!(rig.forwarded(1, 0), Some(1001));
    rig.switch.stop(UPLINK).expect("a port");
    assert_eq!(rig.switch.rule_count(), 0);
}

#[test]
fn what_is_in_use_stays_and_what_does_not_fit_is_refused() {
    let mut rig = rig("unlimited");
    let rule = rig.create(1, false, 0).expect("accepted");
    rig.pull(0);
    let errno = |result: Result<(), rte_flow::FlowError>| result.map_err(|error| error.errno);
    let Rig { pattern, actions, table, .. } = rig;
    assert_eq!(errno(rig.switch.table_destroy(UPLINK, table)), Err(EBUSY));
    assert_eq!(errno(rig.switch.pattern_template_destroy(UPLINK, pattern)), Err(EBUSY));
    assert_eq!(errno(rig.switch.actions_template_destroy(UPLINK, actions)), Err(EBUSY));
    assert_eq!(
        errno(rig.switch.configure(UPLINK, &engine(&[4]))),
        Err(EINVAL),
        "the port is started"
    );
    assert_eq!(errno(rig.switch.push(UPLINK, 7, Time(0))), Err(ENOENT));
    assert_eq!(rig.destroy(rule, 0, 0), Ok(()));
    assert_eq!(errno(rig.switch.table_destroy(UPLINK, table)), Ok(()));
    assert_eq!(errno(rig.switch.pattern_template_destroy(UPLINK, pattern)), Ok(()));
    assert_eq!(errno(rig.switch.actions_template_destroy(UPLINK, actions)), Ok(()));
    assert_eq!(errno(rig.switch.table_destroy(UPLINK, table)), Err(ENOENT));

    let mut rig = self::rig("unlimited");
    let good = [from_entity(VF0), eth(), ipv4(), port_item(1)];
    let set = Action::ModifyField(ModifyField::set(FieldId::UdpPortSrc, 1));
    let fitting = [Action::Count(0), set.clone(), Action::RepresentedPort(UPLINK)];
    let short = &good[..3];
    let other = [from_entity(VF0), eth(), ipv4(), crate::rig::tcp()];
    let no_value = [from_entity(VF0), eth(), ipv4(), crate::rig::udp()];
    let swapped = [set, Action::Count(0), Action::RepresentedPort(UPLINK)];
    for (items, actions, pattern_template) in [
        (short, &fitting, 0),
        (&other, &fitting, 0),
        (&no_value, &fitting, 0),
        (&good, &swapped, 0),
        (&good, &fitting, 1),
    ] {
        let new =
            TableRule { table: rig.table, items, pattern_template, actions, actions_template: 0 };
        let enqueue = Enqueue { queue: 0, postpone: false, user_data: 0 };
        let error = rig.switch.enqueue_create(UPLINK, enqueue, new, Time(0)).expect_err("misfit");
        assert_eq!(error.errno, EINVAL, "{error}");
        assert!(error.message.contains("; "), "{error} says what to do");
    }
    rig.switch.stop(UPLINK).expect("a port");
    assert_eq!(rig.switch.rule_count(), 0);
    assert_eq!(rig.create(1, false, 0).map(|_| ()), Err(19), "the port is stopped");
}

#[test]
fn tables_have_few_templates_and_the_room_that_the_driver_makes() {
    for (name, most, full) in
        [("bluefield3-hws-22.11", 2, ENOSPC), ("bluefield3-hws-24.11", 32, ENOMEM)]
    {
        let mut rig = rig(name);
        // Room for 3 rules is made for 4.
        for port in 1..=4 {
            rig.create(port, false, 0).expect("room");
            rig.pull(1_000_000_000);
        }
        assert_eq!(rig.create(5, false, 0), Err(full), "{name}");
        let attributes = Attributes { group: 0, priority: 0, domain: Domain::Transfer };
        let attributes = TableAttributes { attributes, capacity: 3 };
        let Rig { mut switch, pattern, actions, .. } = rig;
        let mut table = |patterns: usize, templates: usize| {
            let (patterns, actions) = (vec![pattern; patterns], vec![actions; templates]);
            switch
                .table_create(UPLINK, attributes, &patterns, &actions)
                .map(drop)
                .map_err(|error| error.errno)
        };
        assert_eq!(table(most, 32), Ok(()), "{name}");
        assert_eq!(table(most + 1, 1), Err(EINVAL), "{name}");
        assert_eq!(table(1, 33), Err(EINVAL), "{name}");
    }
}

#[test]
fn with_hardware_steering_the_proxy_starts_first_and_stops_last() {
    fn errno(result: Result<(), rte_flow::FlowError>) -> Result<(), i32> {
        result.map_err(|error| error.errno)
    }
    let mut switch = stopped_switch_of(profile("bluefield3-hws-22.11"));
    assert_eq!(errno(switch.start(VF0)), Ok(()), "nobody configured anything");
    assert_eq!(errno(switch.stop(VF0)), Ok(()));
    switch.configure(UPLINK, &engine(&[QUEUE_SIZE])).expect("stopped");
    switch.configure(VF0, &engine(&[QUEUE_SIZE])).expect("stopped");
    assert_eq!(errno(switch.start(VF0)), Err(EAGAIN));
    assert_eq!(errno(switch.start(UPLINK)), Ok(()));
    assert_eq!(errno(switch.start(VF0)), Ok(()));
    assert_eq!(errno(switch.start(VF1)), Err(EINVAL), "it is not configured");
    assert_eq!(errno(switch.stop(UPLINK)), Err(EBUSY));
    assert_eq!(errno(switch.stop(VF0)), Ok(()));
    assert_eq!(errno(switch.stop(UPLINK)), Ok(()));
    switch.reset();
    assert_eq!(errno(switch.start(VF0)), Ok(()), "a reset takes the configuration too");

    // A newer driver configures what starts without.
    let mut switch = stopped_switch_of(profile("bluefield3-hws-24.11"));
    assert_eq!(errno(switch.start(UPLINK)), Ok(()));
    assert_eq!(errno(switch.start(VF1)), Ok(()));
    assert_eq!(errno(switch.stop(UPLINK)), Err(EBUSY));
    let mut software = switch_of(profile("bluefield3-sws-22.11"));
    assert_eq!(errno(software.stop(UPLINK)), Ok(()));
}

#[test]
fn each_steering_mode_has_its_api() {
    let mut software = switch_of(profile("bluefield3-sws-22.11"));
    software.stop(UPLINK).expect("a port");
    let error = software.configure(UPLINK, &engine(&[1])).expect_err("no queues");
    assert_eq!((error.errno, error.message.contains("incorrect steering mode")), (ENOTSUP, true));
    let mut hardware = switch_of(profile("bluefield3-hws-22.11"));
    let rule = crate::rig::rule(0, 0, &[eth()], &[Action::Drop]);
    let error = hardware.create(UPLINK, &rule, Time(0)).expect_err("templates only");
    assert_eq!(error.errno, ENOTSUP);
    switch().create(UPLINK, &rule, Time(0)).expect("the model has both");
}

#[test]
fn each_rule_of_a_table_can_name_its_own_port() {
    let mut rig = rig("bluefield3-hws-22.11");
    let domain = Domain::Transfer;
    let actions = vec![TemplateAction::PerRule(ActionKind::RepresentedPort)];
    let template = ActionsTemplate { domain, actions };
    let template = rig.switch.actions_template_create(UPLINK, template).expect("a template");
    let attributes = Attributes { group: 1, priority: 0, domain };
    let attributes = TableAttributes { attributes, capacity: 1 };
    let table = rig.switch.table_create(UPLINK, attributes, &[rig.pattern], &[template]);
    let items = [from_entity(VF0), eth(), ipv4(), port_item(1)];
    let new = |actions| TableRule {
        table: table.clone().expect("a table"),
        items: &items,
        pattern_template: 0,
        actions,
        actions_template: 0,
    };
    let enqueue = Enqueue { queue: 0, postpone: false, user_data: 1 };
    let foreign = [Action::RepresentedPort(77)];
    assert!(rig.switch.enqueue_create(UPLINK, enqueue, new(&foreign), Time(0)).is_err());
    let known = [Action::RepresentedPort(VF0)];
    assert!(rig.switch.enqueue_create(UPLINK, enqueue, new(&known), Time(0)).is_ok());
}

#[test]
fn a_lost_creation_seems_to_succeed() {
    let mut rig = rig("unlimited");
    let lost_insertions = NonZeroU64::new(2);
    rig.switch.set_faults(Faults { lost_insertions, ..Faults::default() });
    let rules = [1, 2, 3].map(|port| rig.create(port, false, 0).expect("accepted"));
    assert_eq!(rig.pull(0), [done(1), done(2), done(3)]);
    let forwarded = [1, 2, 3].map(|port| rig.forwarded(port, 9));
    assert_eq!(forwarded, [Some(1001), None, Some(1003)]);
    for rule in rules {
        assert_eq!(rig.destroy(rule, 0, 10), Ok(()));
    }
    assert_eq!((rig.pull(10).len(), rig.switch.rule_count()), (3, 0));
}

#[test]
fn a_frozen_queue_goes_on_where_it_stopped() {
    let mut rig = rig("unlimited");
    rig.create(1, false, 0).expect("accepted");
    rig.switch.freeze_queue(Some(0), Time(1));
    assert_eq!(rig.forwarded(1, 1), Some(1001), "the card has that rule");
    rig.create(2, false, 1).expect("accepted");
    rig.create(3, true, 1).expect("accepted");
    assert_eq!((rig.pull(2), rig.forwarded(2, 2)), (vec![], None));
    // A thaw is no push: the third is still the application's.
    rig.switch.freeze_queue(Some(7), Time(3));
    assert_eq!([2, 3].map(|port| rig.forwarded(port, 3)), [Some(1002), None]);
    assert_eq!(rig.pull(3), [done(1), done(2)]);
    rig.switch.push(UPLINK, 0, Time(4)).expect("a queue");
    assert_eq!(rig.pull(4), [done(3)]);
    rig.switch.freeze_queue(Some(0), Time(5));
    for _ in 0..4 {
        let rule = rig.create(9, false, 5);
        if rule == Err(ENOSPC) {
            break;
        }
    }
    rig.switch.stop(UPLINK).expect("a port");
    rig.switch.freeze_queue(None, Time(6));
    assert_eq!((rig.pull(6), rig.switch.rule_count()), (vec![], 0), "stopped, all is forgotten");
}
