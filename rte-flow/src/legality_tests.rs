//! What each profile accepts, case by case.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::slice::from_ref;

use super::*;
use crate::action::{Action, Age, RawEncap, Sample, SetTag};
use crate::attribute::Attributes;
use crate::error::Cause;
use crate::header::{Eth, EthdevPort, Ipv4, Tcp, Vxlan};
use crate::item::Match;
use crate::modify::{FieldId, FieldRef, ModifyField, ModifyOperation};

pub(super) const SWS: &str = "bluefield3-sws-22.11";
pub(super) const HWS: &str = "bluefield3-hws-22.11";

pub(super) fn connection() -> Rule {
    Rule {
        attributes: Attributes { group: 3, priority: 0, domain: Domain::Transfer },
        pattern: vec![
            Item::RepresentedPort(Match::<EthdevPort>::default().port_id(1_u16)),
            Item::Eth(Match::<Eth>::default().src([2, 0, 0, 0, 0, 1]).has_vlan(false)),
            Item::Ipv4(
                Match::<Ipv4>::default()
                    .src(Ipv4Addr::new(10, 0, 0, 1))
                    .dst(Ipv4Addr::new(10, 0, 0, 2)),
            ),
            Item::Tcp(Match::<Tcp>::default().src(40_000_u16).dst(443_u16)),
        ],
        actions: vec![Action::Count(0), Action::RepresentedPort(0)],
    }
}

pub(super) fn on(profile: &str, rule: &Rule) -> Result<(), FlowError> {
    let profile = Profile::named(profile).expect("a built-in profile");
    let api = if profile.interface.synchronous { Api::Synchronous } else { Api::Template };
    check(rule, &profile, Context { api, is_proxy: true, objects: &NoObjects })
}

/// The rule with one thing changed, on a profile.
pub(super) fn with(profile: &str, change: impl FnOnce(&mut Rule)) -> Result<(), FlowError> {
    let mut rule = connection();
    change(&mut rule);
    on(profile, &rule)
}

#[track_caller]
pub(super) fn refused(result: Result<(), FlowError>, kind: ErrorKind, errno: i32, cause: Cause) {
    let error = result.expect_err("refused");
    assert_eq!((error.kind, error.errno, error.cause), (kind, errno, cause), "{error}");
    assert!(error.message.contains(';'), "says what to do: {error}");
}

#[test]
fn a_connection_is_accepted_everywhere() {
    for profile in Profile::names() {
        assert_eq!(on(profile, &connection()), Ok(()), "{profile}");
    }
}

#[test]
fn each_steering_mode_has_its_interface() {
    let rule = connection();
    let on = |name, api| {
        let profile = Profile::named(name).expect("a built-in profile");
        check(&rule, &profile, Context { api, is_proxy: true, objects: &NoObjects })
    };
    refused(on(SWS, Api::Template), ErrorKind::Unspecified, ENOTSUP, Cause::None);
    refused(on(HWS, Api::Synchronous), ErrorKind::Unspecified, ENOTSUP, Cause::None);
    let hws = Profile::named(HWS).expect("a built-in profile");
    let elsewhere = Context { api: Api::Template, is_proxy: false, objects: &NoObjects };
    refused(check(&rule, &hws, elsewhere), ErrorKind::Transfer, EINVAL, Cause::Attributes);
}

#[test]
fn priorities_groups_and_roots() {
    let root = |rule: &mut Rule, domain, priority| {
        rule.attributes = Attributes { group: 0, priority, domain };
        rule.pattern.remove(0);
        rule.actions = vec![Action::Drop];
    };
    assert_eq!(with(SWS, |rule| root(rule, Domain::Ingress, 7)), Ok(()));
    refused(
        with(SWS, |rule| root(rule, Domain::Ingress, 8)),
        ErrorKind::Priority,
        ENOTSUP,
        Cause::Attributes,
    );
    // The driver keeps the eswitch's root: group 0 is as good as any.
    assert_eq!(with(SWS, |rule| root(rule, Domain::Transfer, 21_843)), Ok(()));
    refused(
        with(SWS, |rule| rule.attributes.priority = 21_844),
        ErrorKind::Priority,
        ENOTSUP,
        Cause::Attributes,
    );
    refused(
        with(SWS, |rule| rule.attributes.group = 65_535),
        ErrorKind::Group,
        EINVAL,
        Cause::Attributes,
    );
    refused(
        with(SWS, |rule| rule.actions = vec![Action::Jump(3)]),
        ErrorKind::ActionConf,
        EINVAL,
        Cause::Action(0),
    );
    let back = |rule: &mut Rule| {
        root(rule, Domain::Ingress, 0);
        rule.attributes.group = 4;
        rule.actions = vec![Action::Jump(0)];
    };
    refused(with(SWS, back), ErrorKind::ActionConf, EINVAL, Cause::Action(0));
    assert_eq!(with("unlimited", back), Ok(()));
    let modify = |rule: &mut Rule| {
        root(rule, Domain::Ingress, 0);
        rule.actions =
            vec![Action::ModifyField(ModifyField::set(FieldId::Ipv4Ttl, 3)), Action::Drop];
    };
    refused(with(SWS, modify), ErrorKind::Action, ENOTSUP, Cause::Action(0));
}

#[test]
fn fates_order_and_number_of_actions() {
    refused(
        with(SWS, |rule| rule.actions.push(Action::Drop)),
        ErrorKind::Action,
        EINVAL,
        Cause::Action(2),
    );
    refused(
        with(SWS, |rule| rule.actions.truncate(1)),
        ErrorKind::ActionNumber,
        EINVAL,
        Cause::None,
    );
    assert_eq!(with("unlimited", |rule| rule.actions.truncate(1)), Ok(()));
    refused(
        with(SWS, |rule| rule.actions.insert(0, Action::Count(1))),
        ErrorKind::Action,
        EINVAL,
        Cause::Action(1),
    );
    let encap = Action::RawEncap(RawEncap { data: vec![0; 50], preserve: None });
    let set = Action::ModifyField(ModifyField::set(FieldId::MacDst, 1));
    let actions = |first: &Action, second: &Action| {
        vec![first.clone(), second.clone(), Action::RepresentedPort(0)]
    };
    assert_eq!(with(SWS, |rule| rule.actions = actions(&set, &encap)), Ok(()));
    refused(
        with(SWS, |rule| rule.actions = actions(&encap, &set)),
        ErrorKind::Action,
        EINVAL,
        Cause::Action(1),
    );
    refused(with(HWS, |rule| rule.actions.reverse()), ErrorKind::Action, EINVAL, Cause::Action(1));
    refused(
        with(HWS, |rule| rule.actions.insert(0, Action::DecTtl)),
        ErrorKind::Action,
        ENOTSUP,
        Cause::Action(0),
    );
}

#[test]
fn modifications_fit_the_card() {
    let modify =
        |modify: ModifyField| with(SWS, |rule| rule.actions.insert(0, Action::ModifyField(modify)));
    assert_eq!(modify(ModifyField::add(FieldId::Ipv4Ttl, 255)), Ok(()));
    let cause = Cause::Action(0);
    refused(modify(ModifyField::set(FieldId::VxlanVni, 7)), ErrorKind::Action, ENOTSUP, cause);
    let inner = FieldRef { field: FieldId::MacDst, level: 2, offset: 0 };
    refused(
        modify(ModifyField::immediate(ModifyOperation::Set, inner, 48, 1)),
        ErrorKind::Action,
        ENOTSUP,
        cause,
    );
    let wide = ModifyField { width: 33, ..ModifyField::set(FieldId::Ipv4Dst, 1) };
    refused(modify(wide), ErrorKind::Action, EINVAL, cause);
    let sub =
        ModifyField { operation: ModifyOperation::Sub, ..ModifyField::set(FieldId::Ipv4Ttl, 1) };
    refused(modify(sub), ErrorKind::Action, ENOTSUP, cause);
    let many = |rule: &mut Rule| {
        let set = Action::SetIpv4Dst(Ipv4Addr::LOCALHOST);
        rule.actions.splice(0..0, vec![set; 33]);
    };
    refused(with(SWS, many), ErrorKind::Action, EINVAL, Cause::Action(32));
    refused(
        with(SWS, |rule| {
            rule.actions.insert(0, Action::SetTag(SetTag { data: 1, mask: 1, index: 4 }));
        }),
        ErrorKind::ActionConf,
        EINVAL,
        cause,
    );
}

#[test]
fn encapsulation_and_decapsulation_fit_the_card() {
    let raw = |data: Vec<u8>| {
        let encap = Action::RawEncap(RawEncap { data, preserve: None });
        with(SWS, |rule| rule.actions.insert(0, encap))
    };
    assert_eq!(raw(vec![0; 132]), Ok(()));
    refused(raw(vec![0; 133]), ErrorKind::ActionConf, EINVAL, Cause::Action(0));
    let mut header = vec![0; 50];
    header[12] = 0x08;
    header[14] = 0x45;
    header[23] = 17;
    assert_eq!(raw(header.clone()), Ok(()));
    header[41] = 1;
    refused(raw(header), ErrorKind::ActionConf, EINVAL, Cause::Action(0));
    for profile in Profile::names() {
        let ingress = with(profile, |rule| {
            rule.attributes.domain = Domain::Ingress;
            rule.pattern.remove(0);
            let encap = Action::RawEncap(RawEncap { data: vec![0; 50], preserve: None });
            rule.actions = vec![encap, Action::Queue(0)];
        });
        refused(ingress, ErrorKind::Action, ENOTSUP, Cause::Action(0));
    }
    let decap = |rule: &mut Rule| rule.actions.insert(0, Action::VxlanDecap);
    refused(with(SWS, decap), ErrorKind::Unspecified, ENOTSUP, Cause::Action(0));
    let tunnel = |vni: u32| {
        with(SWS, |rule| {
            rule.pattern.truncate(1);
            rule.pattern.extend([
                Item::Eth(Match::default()),
                Item::Ipv4(Match::default()),
                Item::Udp(Match::default()),
                Item::Vxlan(Match::<Vxlan>::default().vni(crate::field::U24::truncate(vni))),
            ]);
            rule.actions.insert(0, Action::VxlanDecap);
        })
    };
    assert_eq!(tunnel(7), Ok(()));
    refused(tunnel(0), ErrorKind::ItemSpec, ENOTSUP, Cause::Item(4));
    let egress = |rule: &mut Rule| {
        rule.attributes.domain = Domain::Egress;
        rule.pattern.remove(0);
        rule.actions = vec![Action::VxlanDecap, Action::Drop];
    };
    refused(with(SWS, egress), ErrorKind::Egress, ENOTSUP, Cause::Attributes);
}

#[test]
fn headers_are_set_where_the_pattern_has_them() {
    let with_actions = |pattern: &[Item], actions: &[Action]| {
        with(SWS, |rule| {
            rule.pattern.truncate(1);
            rule.pattern.extend_from_slice(pattern);
            rule.actions.splice(0..0, actions.iter().cloned());
        })
    };
    let (eth, v4, v6) =
        (Item::Eth(Match::default()), Item::Ipv4(Match::default()), Item::Ipv6(Match::default()));
    let (udp, vxlan) = (Item::Udp(Match::default()), Item::Vxlan(Match::default()));
    let set = [Action::SetIpv4Src(Ipv4Addr::LOCALHOST)];
    let (ttl, port) = ([Action::DecTtl], [Action::SetTpSrc(1)]);
    for (pattern, actions) in [
        (vec![eth.clone(), v4.clone()], &set),
        (vec![eth.clone(), v6.clone()], &ttl),
        (vec![eth.clone(), v4.clone(), udp.clone()], &port),
    ] {
        assert_eq!(with_actions(&pattern, actions), Ok(()), "{pattern:?} {actions:?}");
    }
    for (pattern, actions) in [
        (vec![eth.clone(), v6.clone()], &set),
        (vec![eth.clone()], &ttl),
        (vec![eth.clone(), v4.clone()], &port),
    ] {
        let result = with_actions(&pattern, actions);
        refused(result, ErrorKind::Action, EINVAL, Cause::Action(0));
    }
    // Behind a decapsulation it is the headers inside.
    let tunnel = [eth.clone(), v4.clone(), udp, vxlan, eth];
    let inside = |inner: &Item, action: Action| {
        let pattern = [tunnel.as_slice(), std::slice::from_ref(inner)].concat();
        with_actions(&pattern, &[Action::VxlanDecap, action])
    };
    assert_eq!(inside(&v4, Action::DecTtl), Ok(()));
    refused(
        inside(&v6, Action::SetIpv4Src(Ipv4Addr::LOCALHOST)),
        ErrorKind::Action,
        EINVAL,
        Cause::Action(1),
    );
    assert_eq!(inside(&v6, Action::SetIpv4Dscp(1)), Ok(()), "either will do");
}

#[test]
fn dropped_packets_are_counted_and_copied_only() {
    for action in [Action::DecTtl, Action::OfPushVlan(0x8100), shared(ActionKind::Conntrack)] {
        let result = acting(SWS, &[action, Action::Drop]);
        refused(result, ErrorKind::Action, EINVAL, Cause::Action(1));
    }
    assert_eq!(acting(SWS, &[Action::Count(0), age(), Action::Drop]), Ok(()));
    assert_eq!(acting("unlimited", &[Action::DecTtl, Action::Drop]), Ok(()));
}

#[test]
fn egress_rules_need_no_fate_with_software_steering() {
    let in_domain = |domain| {
        with(SWS, |rule| {
            rule.attributes.domain = domain;
            rule.pattern.remove(0);
            rule.actions = vec![Action::DecTtl];
        })
    };
    assert_eq!(in_domain(Domain::Egress), Ok(()));
    refused(in_domain(Domain::Ingress), ErrorKind::ActionNumber, EINVAL, Cause::None);
}

#[test]
fn tags_are_pushed_outwards_and_popped_inwards() {
    let in_domain = |domain, action: Action, end: Action| {
        with(SWS, |rule| {
            rule.attributes.domain = domain;
            rule.attributes.group = 1;
            rule.pattern = vec![Item::Eth(Match::default()), Item::Vlan(Match::default())];
            rule.actions = vec![action, end];
        })
    };
    let (push, pop) = (Action::OfPushVlan(0x8100), Action::OfPopVlan);
    assert_eq!(in_domain(Domain::Egress, push.clone(), Action::Jump(2)), Ok(()));
    assert_eq!(in_domain(Domain::Ingress, pop.clone(), Action::Queue(0)), Ok(()));
    let pushed = in_domain(Domain::Ingress, push, Action::Queue(0));
    refused(pushed, ErrorKind::Ingress, ENOTSUP, Cause::Attributes);
    let popped = in_domain(Domain::Egress, pop, Action::Jump(2));
    refused(popped, ErrorKind::Egress, ENOTSUP, Cause::Attributes);
}

#[test]
fn a_mask_of_0_sets_nothing() {
    let tag = SetTag { data: 1, mask: 0, index: 1 };
    let result = acting(SWS, &[Action::SetTag(tag), Action::RepresentedPort(0)]);
    refused(result, ErrorKind::Action, EINVAL, Cause::Action(0));
    assert_eq!(acting("unlimited", &[Action::SetTag(tag), Action::RepresentedPort(0)]), Ok(()));
}

/// One shared action of each kind, named by its kind's number, and meter 1 whose policy passes packets on, meter 2 whose
/// policy sends them somewhere.
struct AllObjects;

impl Objects for AllObjects {
    fn shared(&self, handle: IndirectHandle) -> Option<ActionKind> {
        ActionKind::ALL.get(handle.0).copied()
    }
    fn meter_decides(&self, meter: u32, _: Domain) -> Option<bool> {
        [None, Some(false), Some(true)].get(meter as usize).copied().flatten()
    }
}

/// The connection's rule with these actions, where all objects are there.
fn acting(profile: &str, actions: &[Action]) -> Result<(), FlowError> {
    let profile = Profile::named(profile).expect("a built-in profile");
    let api = if profile.interface.synchronous { Api::Synchronous } else { Api::Template };
    let rule = Rule { actions: actions.to_vec(), ..connection() };
    check(&rule, &profile, Context { api, is_proxy: true, objects: &AllObjects })
}

fn shared(kind: ActionKind) -> Action {
    Action::Indirect(IndirectHandle(kind as usize))
}

fn age() -> Action {
    Action::Age(Age { timeout: crate::field::U24::truncate(5), context: 0 })
}

#[test]
fn connections_are_shared_and_alone_of_their_kind() {
    let tracked = shared(ActionKind::Conntrack);
    let to = Action::RepresentedPort(0);
    for profile in Profile::names() {
        assert_eq!(acting(profile, &[tracked.clone(), to.clone()]), Ok(()), "{profile}");
    }
    let with_age = [age(), tracked.clone(), to.clone()];
    refused(acting(SWS, &with_age), ErrorKind::Action, ENOTSUP, Cause::Action(1));
    assert_eq!(acting("unlimited", &with_age), Ok(()));
    let behind = [to.clone(), tracked];
    refused(acting(SWS, &behind), ErrorKind::Action, EINVAL, Cause::Action(1));
    let unknown = [Action::Indirect(IndirectHandle(9999)), to];
    refused(acting(SWS, &unknown), ErrorKind::Action, crate::error::ENOENT, Cause::Action(0));
}

#[test]
fn an_age_has_no_shared_counter_with_hardware_steering() {
    let actions = [shared(ActionKind::Count), age(), Action::RepresentedPort(0)];
    assert_eq!(acting(SWS, &actions), Ok(()));
    refused(acting(HWS, &actions), ErrorKind::Action, EINVAL, Cause::Action(1));
    let own = [Action::Count(0), age(), Action::RepresentedPort(0)];
    assert_eq!(acting(HWS, &own), Ok(()));
}

#[test]
fn a_meter_passes_packets_on_or_is_the_last_action() {
    let to = Action::RepresentedPort(0);
    assert_eq!(acting(SWS, &[Action::Meter(1), to.clone()]), Ok(()));
    assert_eq!(acting(SWS, &[Action::Meter(2)]), Ok(()));
    let twice = [Action::Meter(2), to.clone()];
    refused(acting(SWS, &twice), ErrorKind::Action, ENOTSUP, Cause::Action(1));
    let unknown = [Action::Meter(7), to.clone()];
    refused(acting(SWS, &unknown), ErrorKind::Action, EINVAL, Cause::Action(0));
    let behind = [Action::Jump(5), Action::Meter(1)];
    refused(acting(SWS, &behind), ErrorKind::Action, EINVAL, Cause::Action(1));
    // With hardware steering there is METER_MARK alone.
    refused(acting(HWS, &[Action::Meter(1), to]), ErrorKind::Action, ENOTSUP, Cause::Action(0));
}

#[test]
fn copies_are_made_as_the_card_makes_them() {
    let to = Action::RepresentedPort(0);
    let sample = |ratio, actions: &[Action]| {
        let copy = Action::Sample(Sample { ratio, actions: actions.to_vec() });
        acting(SWS, &[copy, to.clone()])
    };
    let cause = Cause::Action(0);
    assert_eq!(sample(1, from_ref(&to)), Ok(()));
    assert_eq!(sample(5, &[]), Ok(()));
    refused(sample(5, from_ref(&to)), ErrorKind::Action, ENOTSUP, cause);
    refused(sample(0, &[]), ErrorKind::Action, EINVAL, cause);
    refused(sample(1, &[Action::Count(0)]), ErrorKind::Action, EINVAL, cause);
    refused(sample(1, &[Action::DecTtl, to.clone()]), ErrorKind::Action, ENOTSUP, cause);
    refused(sample(1, &[to.clone(), to.clone()]), ErrorKind::Action, EINVAL, cause);
    let copy = Action::Sample(Sample { ratio: 1, actions: vec![to.clone()] });
    refused(acting(HWS, &[copy, to.clone()]), ErrorKind::Action, ENOTSUP, cause);
}

#[test]
fn tags_come_before_the_port_and_one_at_a_time() {
    let to = Action::RepresentedPort(0);
    let push = [Action::OfPushVlan(0x8100), Action::OfSetVlanVid(5), Action::OfSetVlanPcp(3)];
    let pushed = [&push[..], from_ref(&to)].concat();
    for profile in Profile::names() {
        assert_eq!(acting(profile, &pushed), Ok(()), "{profile}");
    }
    let late = [to.clone(), Action::OfPushVlan(0x8100)];
    refused(acting(SWS, &late), ErrorKind::Action, EINVAL, Cause::Action(1));
    // The pattern has no tag.
    let popped = [Action::OfPopVlan, to.clone()];
    refused(acting(SWS, &popped), ErrorKind::Unspecified, ENOTSUP, Cause::Action(0));
    let set = [Action::OfSetVlanVid(5), to.clone()];
    refused(acting(SWS, &set), ErrorKind::Action, ENOTSUP, Cause::Action(0));
    assert_eq!(acting(HWS, &set), Ok(()));
    let alone = [Action::OfSetVlanPcp(5), to];
    refused(acting(HWS, &alone), ErrorKind::Action, ENOTSUP, Cause::Action(0));
}

#[test]
fn representors_have_no_egress_rules_with_software_steering() {
    let egress = |profile, is_proxy| {
        let attributes = Attributes { domain: Domain::Egress, group: 1, priority: 0 };
        let rule = Rule {
            attributes,
            pattern: vec![Item::Eth(Match::default())],
            actions: vec![Action::Drop],
        };
        let profile = Profile::named(profile).expect("built in");
        let api = if profile.interface.synchronous { Api::Synchronous } else { Api::Template };
        check(&rule, &profile, Context { api, is_proxy, objects: &NoObjects })
    };
    for profile in [SWS, "bluefield2-sws-22.11"] {
        assert_eq!(egress(profile, true), Ok(()), "{profile}");
        refused(egress(profile, false), ErrorKind::Item, EINVAL, Cause::None);
    }
    for profile in [HWS, "bluefield3-hws-24.11", "unlimited"] {
        assert_eq!(egress(profile, false), Ok(()), "{profile}");
    }
}

#[test]
fn numbers_of_tcp_move_one_way_and_icmpv6_keeps_its_addresses() {
    use crate::header::{Icmp6, Ipv6};
    let one_way = |profile, actions: [Action; 2]| {
        with(profile, |rule| drop(rule.actions.splice(0..0, actions)))
    };
    let seq = || [Action::IncTcpSeq(1), Action::DecTcpSeq(2)];
    refused(one_way(SWS, seq()), ErrorKind::Action, EINVAL, Cause::Action(1));
    let ack = [Action::DecTcpAck(1), Action::IncTcpAck(2)];
    refused(one_way(SWS, ack), ErrorKind::Action, EINVAL, Cause::Action(1));
    assert_eq!(one_way(SWS, [Action::IncTcpSeq(1), Action::DecTcpAck(2)]), Ok(()));
    assert_eq!(one_way("unlimited", seq()), Ok(()));

    let over = |profile, pattern: &[Item], action: Action| {
        with(profile, |rule| {
            rule.pattern = pattern.to_vec();
            rule.actions = vec![action, Action::RepresentedPort(0)];
        })
    };
    let eth = || Item::Eth(Match::default());
    let ipv6 = |protocol: u8| Item::Ipv6(Match::<Ipv6>::default().protocol(protocol));
    let item = [eth(), Item::Ipv6(Match::default()), Item::Icmp6(Match::<Icmp6>::default())];
    let address = || Action::SetIpv6Dst(Ipv6Addr::LOCALHOST);
    for pattern in [&item[..], &[eth(), ipv6(58)]] {
        let result = over(SWS, pattern, address());
        refused(result, ErrorKind::Action, ENOTSUP, Cause::Action(0));
        assert_eq!(over("unlimited", pattern, address()), Ok(()));
        assert_eq!(over(SWS, pattern, Action::DecTtl), Ok(()));
        // The driver looks at the old actions alone.
        let modify = Action::ModifyField(ModifyField::set(FieldId::Ipv6Dst, 1));
        assert_eq!(over(SWS, pattern, modify), Ok(()));
    }
    assert_eq!(over(SWS, &[eth(), ipv6(17)], address()), Ok(()));

    let mac = || Action::SetMacSrc(packet::Mac([2, 0, 0, 0, 0, 1]));
    refused(over(SWS, &[], mac()), ErrorKind::Action, EINVAL, Cause::Action(0));
    assert_eq!(over(SWS, &[eth()], mac()), Ok(()));
    assert_eq!(over("unlimited", &[], mac()), Ok(()));
}
