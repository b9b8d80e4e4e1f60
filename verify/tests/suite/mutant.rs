//! What is not as it should be is found, and what is said to show it does.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use rte_flow::{Action, ItemKind, Profile};
use sim::eswitch::{DropCause, Verdict};
use verify::dump::{Dump, DumpedRule, Phase, Serves};
use verify::{Finding, Packet, Property, Report, verify};

use crate::mutation::{Mutation, all, field_name};
use crate::probe::probes;
use crate::rig::{Rig, Underlay, rig};
use crate::switch::Switch;

/// Profiles whose rules are made one by one, with which the switch can run any table.
const SYNCHRONOUS: [&str; 3] = ["unlimited", "bluefield3-sws-22.11", "bluefield2-sws-22.11"];

/// Whether forgetting a field changes nothing: what else the rule asks for implies it, or software does not look at it.
fn is_implied(rule: &DumpedRule, profile: &Profile, mutation: &Mutation) -> bool {
    let Mutation::Forget(item, field) = *mutation else { return false };
    let pattern = &rule.rule.pattern;
    let has = |kind: ItemKind| pattern.iter().any(|item| item.kind() == kind);
    let name = pattern.get(item).and_then(|item| field_name(item, field));
    match name {
        // No card finds a transport header in a fragment.
        Some((ItemKind::Ipv4, "fragment_offset")) => has(ItemKind::Tcp) || has(ItemKind::Udp),
        // What is parsed as VXLAN has its port.
        Some((ItemKind::Udp, "dst")) => {
            pattern.iter().skip(item).any(|item| item.kind() == ItemKind::Vxlan)
        }
        // Software steps over extension headers of the outer packet, too.
        Some((ItemKind::Ipv6, "protocol")) => {
            pattern.iter().skip(item).any(|item| item.kind() == ItemKind::Vxlan)
        }
        // The register that is asked for is the spec's, and 0 is the one that is meant.
        Some((ItemKind::Tag, "index")) => {
            matches!(&pattern[item], rte_flow::Item::Tag(tag) if tag.spec.is_some_and(|s| s.index == 0))
        }
        Some((ItemKind::Ipv4, "version_ihl")) => verify(
            &Dump { node: rig(&profile.name, Underlay::V4, 0).dump.node, rules: vec![] },
            profile,
        )
        .exemptions
        .iter()
        .any(|text| text.starts_with("IPv4 options")),
        _ => false,
    }
}

/// Whether a finding's packet does what is said of it.
fn check(dump: &Dump, profile: &Profile, finding: &Finding) -> Result<(), String> {
    let Some(packet) = finding.packet.as_ref().filter(|_| !finding.is_uncertain) else {
        return match finding.property {
            Property::Isolation | Property::Decision | Property::Whole if !finding.is_uncertain => {
                Err("there is no packet".to_owned())
            }
            _ => Ok(()),
        };
    };
    // Of two rules that take the same packet the switch runs one; the other one's turn is when that is not there.
    let mut without = Vec::new();
    let run = loop {
        let Some(mut switch) = Switch::new(dump, profile, &without) else {
            // The NIC does not take such a rule.
            return Ok(());
        };
        let run = switch.run(packet);
        let place = |rule: usize| {
            let attributes = dump.rules[rule].rule.attributes;
            (attributes.group, attributes.priority)
        };
        let differs = run.rules.iter().zip(&finding.rules).find(|(met, told)| met != told);
        match differs {
            Some((met, told))
                if finding.property != Property::Overlap && place(*met) == place(*told) =>
            {
                without.push(*met);
            }
            _ => break run,
        }
    };
    let wrong = |what: &str| Err(format!("{what}: met {:?}, {:?}", run.rules, run.verdict));
    if finding.property == Property::Overlap {
        let [one, other] = finding.rules[..] else { return wrong("not two rules") };
        let (first, second) = if run.rules.contains(&one) { (one, other) } else { (other, one) };
        if !run.rules.contains(&first) {
            return wrong("neither rule takes it");
        }
        let run = Switch::new(dump, profile, &[first]).map(|mut switch| switch.run(packet));
        return match run {
            Some(run) if !run.rules.contains(&second) => Err(format!("{second} does not take it")),
            _ => Ok(()),
        };
    }
    let is_circle = run.verdict == Verdict::Dropped(DropCause::Loop);
    if run.rules != finding.rules && !(is_circle && run.rules.starts_with(&finding.rules)) {
        return wrong("the packet meets other rules");
    }
    match (finding.property, run.verdict) {
        (Property::Isolation | Property::Decision, Verdict::Represented(_))
        | (Property::Decision, Verdict::Dropped(DropCause::Rule(_)))
        | (Property::Whole, Verdict::Dropped(DropCause::Loop)) => Ok(()),
        (Property::Whole, Verdict::Representor { .. }) if run.frame != packet.frame => Ok(()),
        // Metadata is lost on the way, and software's frames end at the entity.
        (Property::Whole, Verdict::Represented(_)) if packet.by_software => Ok(()),
        _ => wrong("the packet ends otherwise"),
    }
}

fn check_all(dump: &Dump, profile: &Profile, report: &Report) -> Result<(), String> {
    for finding in &report.findings {
        check(dump, profile, finding).map_err(|why| {
            let rules: Vec<String> =
                finding.rules.iter().map(|rule| dump.rules[*rule].rule.to_string()).collect();
            let packet = finding.packet.as_ref().map(|packet| {
                (packet.port, packet.by_software, testbed::notation::show(&packet.frame))
            });
            format!("{finding:?}\n{why}\nrules {rules:#?}\npacket {packet:?}")
        })?;
    }
    Ok(())
}

/// Each mutation of each rule of a table with one connection of every kind.
fn find_all(profile: &str, underlay: Underlay) {
    let Rig { profile, dump } = rig(profile, underlay, 1);
    let (mut mutants, mut seen) = (0, std::collections::HashSet::new());
    for rule in 0..dump.rules.len() {
        // One rule of each shape stands for all of them.
        let of = &dump.rules[rule].rule;
        let items: Vec<ItemKind> = of.pattern.iter().map(rte_flow::Item::kind).collect();
        let actions: Vec<_> = of.actions.iter().map(Action::kind).collect();
        if !seen.insert((of.attributes.group, items, actions)) {
            continue;
        }
        for mutation in all(&dump, rule) {
            let mut mutant = dump.clone();
            if mutation.apply(&mut mutant, rule).is_none() {
                continue;
            }
            mutants += 1;
            let report = verify(&mutant, &profile);
            let about = || format!("{} {mutation:?} of {}", profile.name, dump.rules[rule].rule);
            let implied = is_implied(&dump.rules[rule], &profile, &mutation);
            assert_eq!(report.holds(), implied, "{}", about());
            check_all(&mutant, &profile, &report).unwrap_or_else(|e| panic!("{}\n{e}", about()));
        }
    }
    assert!(mutants > 300, "only {mutants} mutants");
}

#[test]
fn mutants_without_limits_are_found() {
    find_all("unlimited", Underlay::V4);
}

#[test]
fn mutants_on_a_card_are_found() {
    find_all("bluefield3-sws-22.11", Underlay::V6);
}

/// A finding of a property, in a table that is clean but for a change.
fn finds(property: Property, change: impl FnOnce(&mut Dump)) {
    let Rig { profile, mut dump } = rig("unlimited", Underlay::V4, 1);
    assert!(verify(&dump, &profile).holds());
    change(&mut dump);
    let report = verify(&dump, &profile);
    assert!(report.of(property).next().is_some(), "{:#?}", report.findings);
    check_all(&dump, &profile, &report).unwrap_or_else(|error| panic!("{error}"));
}

fn rule(dump: &mut Dump, is_it: impl Fn(&DumpedRule) -> bool) -> &mut DumpedRule {
    dump.rules.iter_mut().find(|rule| is_it(rule)).expect("such a rule")
}

fn is_connection(rule: &DumpedRule) -> bool {
    matches!(rule.serves, Serves::Connection(_))
}

#[test]
fn a_port_of_another_vpc_is_a_breach_of_isolation() {
    finds(Property::Isolation, |dump| {
        let rule = rule(
            dump,
            |rule| matches!(&rule.serves, Serves::Connection(c) if c.interface == "red-a" && c.outer_source.is_none()),
        );
        // vf2 is blue-a's.
        *rule.rule.actions.last_mut().unwrap() = Action::RepresentedPort(3);
    });
}

#[test]
fn a_rule_of_lower_priority_that_takes_the_rest_is_seen() {
    // It takes what no other rule takes, and so only that is told of it.
    finds(Property::Decision, |dump| {
        let mut rest = rule(dump, is_connection).clone();
        rest.rule.attributes.priority = 1;
        rest.rule.pattern.retain(|item| matches!(item.kind(), ItemKind::Tag));
        rest.serves = Serves::All;
        rest.rule.actions = vec![Action::Drop];
        dump.rules.push(rest);
    });
}

#[test]
fn a_rule_in_the_shadow_of_another_is_unreachable() {
    finds(Property::Reachable, |dump| {
        let mut shadow = rule(dump, is_connection).clone();
        shadow.rule.attributes.priority = 3;
        dump.rules.push(shadow);
    });
}

#[test]
fn a_rule_that_shares_are_taken_from_by_two_is_unreachable() {
    // Neither of the two takes all of its packets.
    finds(Property::Reachable, |dump| {
        let connection = rule(dump, is_connection).clone();
        let group = connection.rule.attributes.group;
        let mut shadow = connection.clone();
        shadow.rule.attributes.priority = 1;
        dump.rules.retain(|rule| rule.rule != connection.rule);
        for value in [0x80, 0] {
            let mut half = connection.clone();
            for item in &mut half.rule.pattern {
                if let rte_flow::Item::Tcp(tcp) = item {
                    tcp.spec.get_or_insert_default().window = value << 8;
                    tcp.mask.get_or_insert_default().window = 0x8000;
                }
            }
            assert_eq!(half.rule.attributes.group, group);
            dump.rules.push(half);
        }
        dump.rules.push(shadow);
    });
}

#[test]
fn jumps_in_circles_are_seen() {
    finds(Property::Whole, |dump| {
        let own = rule(dump, is_connection).rule.attributes.group;
        let mut circle = rule(dump, is_connection).clone();
        let back = |group| DumpedRule {
            phase: Phase::Installed,
            serves: Serves::All,
            rule: rte_flow::Rule {
                attributes: rte_flow::Attributes { group, ..circle.rule.attributes },
                pattern: vec![],
                actions: vec![Action::Jump(if group == 90 { 91 } else { 90 })],
            },
        };
        let (there, again) = (back(90), back(91));
        *circle.rule.actions.last_mut().unwrap() = Action::Jump(90);
        dump.rules.retain(|rule| {
            rule.rule.pattern != circle.rule.pattern || rule.rule.attributes.group != own
        });
        dump.rules.extend([circle, there, again]);
    });
}

#[test]
fn what_is_not_followed_is_said_so() {
    finds(Property::Followed, |dump| {
        rule(dump, is_connection).rule.actions.insert(0, Action::Meter(1));
    });
}

#[test]
fn rules_on_their_way_are_held_to_isolation_alone() {
    let Rig { profile, mut dump } = rig("unlimited", Underlay::V4, 1);
    let mut double = rule(&mut dump, is_connection).clone();
    double.phase = Phase::Moving;
    dump.rules.push(double.clone());
    let report = verify(&dump, &profile);
    assert!(report.holds(), "{:#?}", report.findings);
    assert_eq!(report.counts.moving, 1);
    // Nothing excuses a breach.
    *double.rule.actions.last_mut().unwrap() = Action::RepresentedPort(3);
    double.rule.actions.retain(|action| !matches!(action, Action::Jump(_)));
    *dump.rules.last_mut().unwrap() = double;
    let report = verify(&dump, &profile);
    assert!(report.of(Property::Isolation).next().is_some(), "{:#?}", report.findings);
}

#[derive(Debug, Clone)]
struct Touch {
    rule: Index,
    kind: u8,
    places: [Index; 2],
    bit: u32,
}

fn touch() -> impl Strategy<Value = Touch> {
    (any::<Index>(), 0..10_u8, any::<[Index; 2]>(), 0..512_u32)
        .prop_map(|(rule, kind, places, bit)| Touch { rule, kind, places, bit })
}

impl Touch {
    /// The rule and what happens to it.
    fn mutation(&self, dump: &Dump) -> (usize, Mutation) {
        let rule = self.rule.index(dump.rules.len());
        let of = &dump.rules[rule].rule;
        let [one, two] = &self.places;
        let item = one.index(of.pattern.len().max(1));
        let field = two.index(4);
        let action = one.index(of.actions.len());
        let port = one.index(dump.node.vfs.len() + 1) as u16;
        let mutation = match self.kind {
            0 => Mutation::Forget(item, field),
            1..=3 => Mutation::Widen(item, field, self.bit % 128),
            4 | 5 => Mutation::Flip(item, field, self.bit % 128),
            6 => Mutation::Rewrite(action, self.bit % 48),
            7 => Mutation::Header(self.bit),
            8 => Mutation::Send(port),
            _ => Mutation::Jump(self.bit % 8),
        };
        (rule, mutation)
    }
}

/// Where a packet ends and what it is then, if the NIC does not leave it to software.
type End = Option<(Verdict, Vec<u8>)>;

/// Where a table's packets end, of those that the NIC forwards by itself.
fn forwarded(dump: &Dump, profile: &Profile, probes: &[Packet]) -> Option<Vec<End>> {
    let mut switch = Switch::new(dump, profile, &[])?;
    let ends = probes.iter().map(|probe| {
        let run = switch.run(probe);
        let is_forwarded = matches!(run.verdict, Verdict::Represented(_) | Verdict::Dropped(_));
        is_forwarded.then_some((run.verdict, run.frame))
    });
    Some(ends.collect())
}

/// A table, packets to try on it, and where those end.
struct Tried {
    rig: Rig,
    probes: Vec<Packet>,
    ends: Vec<End>,
}

/// Up to three rules are touched at random: what is found can be shown, and where nothing is found, the NIC does with no packet
/// what it did not do with it before.
#[test]
fn what_is_found_in_touched_tables_can_be_shown_and_what_is_not_does_no_harm() {
    let tables = SYNCHRONOUS.iter().flat_map(|profile| {
        [Underlay::V4, Underlay::V6].map(|underlay| {
            let rig = rig(profile, underlay, 1);
            let probes = probes(&rig.dump);
            let ends =
                forwarded(&rig.dump, &rig.profile, &probes).expect("the NIC takes the rules");
            assert!(ends.iter().flatten().count() > 100, "hardly anything is forwarded");
            Tried { rig, probes, ends }
        })
    });
    let tables: Vec<Tried> = tables.collect();
    let strategy = (any::<Index>(), prop::collection::vec(touch(), 1..4));
    testbed::random::check("VERIFY", 200, &strategy, |(which, touches)| {
        let Tried { rig: Rig { profile, dump }, probes, ends } = which.get(&tables);
        let mut mutant = dump.clone();
        for touch in &touches {
            let (rule, mutation) = touch.mutation(&mutant);
            let before = mutant.clone();
            if mutation.apply(&mut mutant, rule).is_none() {
                mutant = before;
            }
        }
        let report = verify(&mutant, profile);
        check_all(&mutant, profile, &report).map_err(TestCaseError::fail)?;
        if !report.holds() {
            return Ok(());
        }
        let Some(now) = forwarded(&mutant, profile, probes) else { return Ok(()) };
        for ((probe, before), now) in probes.iter().zip(ends).zip(&now) {
            if now.is_some() && now != before {
                let shown = testbed::notation::show(&probe.frame);
                let told =
                    format!("nothing was found, and {shown} at port {}: {now:?}", probe.port);
                return Err(TestCaseError::fail(told));
            }
        }
        Ok(())
    });
}
