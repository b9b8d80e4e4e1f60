//! Counters, ages, meters and connections that a port reserves.

use rte_flow::{
    Action, ActionKind, ActionsTemplate, Age, Attributes, Domain, EAGAIN, EINVAL, ENOENT, ENOMEM,
    ErrorKind, FlowError, Item, Match, MeterMark, MeterProfile, PatternTemplate, TableAttributes,
    TemplateAction, Udp,
};
use sim::eswitch::{Enqueue, Eswitch, FlowConfig, RuleId, TableId, TableRule, Time};

use crate::rig::{UPLINK, eth, from_entity, ipv4, profile, rule, stopped_switch_of};

const ENODEV: i32 = 19;
/// A refresh of the counters.
const CYCLE: u64 = 500_000_000;

fn configured(name: &str, config: &FlowConfig) -> Eswitch {
    let mut switch = stopped_switch_of(profile(name));
    let config = FlowConfig { queues: vec![64], ..config.clone() };
    switch.configure(UPLINK, &config).expect("stopped");
    switch.start(UPLINK).expect("configured");
    switch
}

fn actions_template(
    switch: &mut Eswitch,
    action: TemplateAction,
) -> Result<sim::eswitch::ActionsTemplateId, FlowError> {
    let domain = Domain::Transfer;
    let actions = vec![action, TemplateAction::Fixed(Action::Drop)];
    switch.actions_template_create(UPLINK, ActionsTemplate { domain, actions })
}

/// Rules of one table that do one thing and drop.
struct Rules {
    switch: Eswitch,
    table: TableId,
    action: Action,
    made: u16,
}

impl Rules {
    fn new(name: &str, config: &FlowConfig, action: Action) -> Self {
        let mut switch = configured(name, config);
        let template = match &action {
            Action::Indirect(_) => TemplateAction::Indirect { kind: None, handle: None },
            action => TemplateAction::PerRule(action.kind()),
        };
        let actions = actions_template(&mut switch, template).expect("reserved");
        let mask = Udp { dst: u16::MAX, ..Udp::default() };
        let port = Item::Udp(Match { spec: None, last: None, mask: Some(mask) });
        let pattern = PatternTemplate {
            domain: Domain::Transfer,
            relaxed_matching: false,
            pattern: vec![from_entity(1), eth(), ipv4(), port],
        };
        let pattern = switch.pattern_template_create(UPLINK, pattern).expect("a template");
        let attributes = Attributes { group: 1, priority: 0, domain: Domain::Transfer };
        let attributes = TableAttributes { attributes, capacity: 64 };
        let table = switch.table_create(UPLINK, attributes, &[pattern], &[actions]);
        Self { table: table.expect("a table"), switch, action, made: 0 }
    }

    fn create(&mut self, now: u64) -> Result<RuleId, FlowError> {
        self.made += 1;
        let port = Item::Udp(Match::of(Udp { dst: self.made, ..Udp::default() }));
        let new = TableRule {
            table: self.table,
            items: &[from_entity(1), eth(), ipv4(), port],
            pattern_template: 0,
            actions: &[self.action.clone(), Action::Drop],
            actions_template: 0,
        };
        let enqueue = Enqueue { queue: 0, postpone: false, user_data: 0 };
        let rule = self.switch.enqueue_create(UPLINK, enqueue, new, Time(now))?;
        self.pull(now + 1000);
        Ok(rule)
    }

    fn destroy(&mut self, rule: RuleId, now: u64) {
        let enqueue = Enqueue { queue: 0, postpone: false, user_data: 0 };
        self.switch.enqueue_destroy(UPLINK, enqueue, rule, Time(now)).expect("there");
        self.pull(now + 1000);
    }

    fn pull(&mut self, now: u64) {
        self.switch.pull(UPLINK, 0, 64, Time(now), &mut Vec::new()).expect("a queue");
    }

    /// Makes rules until one is refused; says how many there are, and why no more.
    fn fill(&mut self, now: u64) -> (Vec<RuleId>, FlowError) {
        let mut rules = Vec::new();
        loop {
            match self.create(now + 2000 * rules.len() as u64) {
                Ok(rule) => rules.push(rule),
                Err(error) => return (rules, error),
            }
        }
    }
}

fn age(seconds: u32) -> Action {
    Action::Age(Age { timeout: rte_flow::U24::truncate(seconds), context: 0 })
}

#[test]
fn counters_run_out_and_come_back_with_the_next_cycle() {
    for (name, none, stale) in
        [("bluefield3-hws-22.11", EINVAL, EINVAL), ("bluefield3-hws-24.11", ENOENT, EAGAIN)]
    {
        let config = FlowConfig { counters: 10, ..FlowConfig::default() };
        let mut rules = Rules::new(name, &config, Action::Count(0));
        let (made, error) = rules.fill(0);
        assert_eq!(made.len(), 12, "{name}: a fifth more than asked for");
        assert_eq!((error.kind, error.errno), (ErrorKind::Action, none), "{name}: {error}");
        assert_eq!(error.cause, rte_flow::Cause::Action(0), "{name}");
        assert!(error.message.contains("all 12 counters"), "{error}");
        rules.destroy(made[0], 100_000);
        let error = rules.create(200_000).expect_err("not read since");
        assert_eq!((error.errno, error.message.contains("next cycle")), (stale, true), "{error}");
        rules.create(CYCLE).expect("the card has read it");
        assert_eq!(rules.create(CYCLE + 9000).expect_err("all in use").errno, none);
    }
}

#[test]
fn what_is_not_reserved_is_refused_in_templates() {
    for name in ["bluefield3-hws-22.11", "bluefield3-hws-24.11"] {
        let mut switch = configured(name, &FlowConfig::default());
        for kind in [ActionKind::Count, ActionKind::Age, ActionKind::MeterMark] {
            let error = actions_template(&mut switch, TemplateAction::PerRule(kind));
            let error = error.expect_err("nothing is reserved");
            assert_eq!((error.kind, error.errno), (ErrorKind::Action, EINVAL), "{name}: {error}");
            assert!(error.message.contains("reserved nothing"), "{error}");
            let shared = TemplateAction::Indirect { kind: Some(kind), handle: None };
            assert_eq!(actions_template(&mut switch, shared).expect_err("shared").errno, EINVAL);
        }
        let shared = TemplateAction::Indirect { kind: Some(ActionKind::Conntrack), handle: None };
        actions_template(&mut switch, shared).expect("looked at when it is made");
    }
    let config = FlowConfig { ages: 1, ..FlowConfig::default() };
    let mut switch = stopped_switch_of(profile("bluefield3-hws-22.11"));
    let config = FlowConfig { queues: vec![1], ..config };
    let error = switch.configure(UPLINK, &config).expect_err("ages count");
    assert_eq!(error.errno, EINVAL);
    // A model without card reserves nothing.
    let mut switch = configured("unlimited", &FlowConfig::default());
    actions_template(&mut switch, TemplateAction::PerRule(ActionKind::Count)).expect("accepted");
}

#[test]
fn ages_take_counters_too() {
    let config = FlowConfig { counters: 5, ages: 3, ..FlowConfig::default() };
    let mut rules = Rules::new("bluefield3-hws-22.11", &config, age(1));
    let (made, error) = rules.fill(0);
    assert_eq!(made.len(), 4, "3 ages, rounded up");
    assert_eq!((error.kind, error.errno), (ErrorKind::Unspecified, EINVAL), "{error}");
    let config = FlowConfig { counters: 5, ages: 60, ..FlowConfig::default() };
    let mut rules = Rules::new("bluefield3-hws-24.11", &config, age(1));
    let (made, error) = rules.fill(0);
    assert_eq!((made.len(), error.errno), (6, ENOENT), "{error}");
}

#[test]
fn shared_actions_take_from_the_same_pools() {
    let of = |result: Result<rte_flow::IndirectHandle, FlowError>| {
        result.map_err(|error| (error.kind, error.errno))
    };
    let config = FlowConfig { counters: 2, ages: 1, ..FlowConfig::default() };
    let mut switch = configured("bluefield3-hws-22.11", &config);
    let mut count = |now| switch.indirect_create(UPLINK, &Action::Count(0), None, Time(now));
    let first = count(0).expect("reserved");
    count(0).expect("reserved");
    assert_eq!(of(count(0)), Err((ErrorKind::Action, ENODEV)));
    switch.indirect_destroy(UPLINK, first, Time(0)).expect("unused");
    let mut count = |now| switch.indirect_create(UPLINK, &Action::Count(0), None, Time(now));
    assert_eq!(of(count(1)), Err((ErrorKind::Action, ENODEV)));
    count(CYCLE).expect("read once more");
    let idle = switch.indirect_create(UPLINK, &age(1), None, Time(CYCLE)).expect("reserved");
    let again = switch.indirect_create(UPLINK, &age(1), None, Time(CYCLE));
    assert_eq!(of(again), Err((ErrorKind::Action, ENODEV)));
    switch.indirect_destroy(UPLINK, idle, Time(CYCLE)).expect("unused");
    switch.indirect_create(UPLINK, &age(1), None, Time(CYCLE)).expect("free at once");

    // A newer driver takes from the card what a port did not reserve, where it has no templates to think of.
    let mut switch = configured("bluefield3-hws-24.11", &FlowConfig::default());
    switch.indirect_create(UPLINK, &Action::Count(0), None, Time(0)).expect("on demand");
    let synchronous = rule(1, 0, &[from_entity(1), eth()], &[age(1), Action::Drop]);
    switch.create(UPLINK, &synchronous, Time(0)).expect("on demand");
    let queued = switch.indirect_create(UPLINK, &age(1), Some(0), Time(0));
    queued.expect("reserved by now");
}

#[test]
fn meters_and_connections_run_out() {
    let name = "bluefield3-hws-22.11";
    let config = FlowConfig { meters: 2, connections: 3, ..FlowConfig::default() };
    let mut switch = configured(name, &config);
    let algorithm = rte_flow::MeterAlgorithm::SingleRate { cir: 1000, cbs: 1000, ebs: 0 };
    switch
        .meter_profile_add(UPLINK, 0, MeterProfile { algorithm, packet_mode: false })
        .expect("number 0 is there");
    let profile = switch.meter_profile(UPLINK, 0).expect("added");
    let mark = MeterMark { profile, policy: None, color_aware: None, enabled: true };
    let mark = Action::MeterMark(mark);
    let first = switch.indirect_create(UPLINK, &mark, None, Time(0)).expect("reserved");
    switch.indirect_create(UPLINK, &mark, None, Time(0)).expect("reserved");
    let error = switch.indirect_create(UPLINK, &mark, None, Time(0)).expect_err("two");
    assert_eq!(error.errno, ENOMEM, "{error}");
    switch.indirect_destroy(UPLINK, first, Time(0)).expect("unused");
    switch.indirect_create(UPLINK, &mark, None, Time(0)).expect("free at once");

    let track = Action::Conntrack(rte_flow::Connection {
        peer_port: UPLINK,
        ..crate::objects::connection()
    });
    for _ in 0..4 {
        switch.indirect_create(UPLINK, &track, None, Time(0)).expect("3, rounded up");
    }
    let error = switch.indirect_create(UPLINK, &track, None, Time(0)).expect_err("four");
    assert_eq!((error.kind, error.errno), (ErrorKind::Action, ENOMEM), "{error}");
    let mut switch = configured(name, &FlowConfig::default());
    let error = switch.indirect_create(UPLINK, &track, None, Time(0)).expect_err("none");
    assert_eq!((error.kind, error.errno), (ErrorKind::Action, EINVAL), "{error}");
}

#[test]
fn stopping_a_port_gives_everything_back() {
    let config = FlowConfig { counters: 5, ..FlowConfig::default() };
    let mut rules = Rules::new("bluefield3-hws-24.11", &config, Action::Count(0));
    assert_eq!(rules.fill(CYCLE).0.len(), 6);
    rules.switch.stop(UPLINK).expect("a port");
    rules.switch.start(UPLINK).expect("configured");
    assert_eq!(rules.fill(2 * CYCLE).0.len(), 6);
}
