//! What is as it should be.

use rte_flow::Profile;
use verify::{Dump, Finding, Property, verify};

use crate::rig::{Underlay, rig};

#[test]
fn tables_of_the_compiler_are_proven_on_every_profile() {
    for name in Profile::names() {
        for underlay in [Underlay::V4, Underlay::V6] {
            let rig = rig(name, underlay, 1);
            let report = verify(&rig.dump, &rig.profile);
            let rule = |rule: &usize| rig.dump.rules[*rule].rule.to_string();
            let shown =
                |f: &Finding| (f.what.clone(), f.rules.iter().map(rule).collect::<Vec<_>>());
            let shown: Vec<_> = report.findings.iter().map(shown).collect();
            assert!(report.holds(), "{name} {underlay:?}: {shown:#?}");
            assert!(report.counts.decisions > 0, "{name} {underlay:?} proves nothing");
            assert!(!report.is_cut_short);
        }
    }
}

#[test]
fn every_rule_of_a_connection_is_held_to_its_decision() {
    let rig = rig("unlimited", Underlay::V4, 2);
    let report = verify(&rig.dump, &rig.profile);
    let connections = rig
        .dump
        .rules
        .iter()
        .filter(|rule| matches!(rule.serves, verify::dump::Serves::Connection(_)));
    // Each is met on one way only.
    assert_eq!(report.counts.decisions, connections.count());
    assert_eq!(report.counts.deliveries, report.counts.decisions);
    assert_eq!((report.counts.moving, report.counts.idle), (0, 0));
    assert_eq!(report.exemptions, Vec::<&str>::new());
}

#[test]
fn what_a_profile_cannot_match_is_named() {
    let exemptions = |profile| {
        let rig = rig(profile, Underlay::V4, 0);
        verify(&rig.dump, &rig.profile).exemptions
    };
    let names = |profile| -> Vec<&str> {
        exemptions(profile).iter().filter_map(|text| text.split(':').next()).collect()
    };
    assert_eq!(names("bluefield3-sws-22.11"), ["oversize", "vni-flag"]);
    assert_eq!(names("bluefield2-sws-22.11"), ["oversize", "vni-flag", "IPv4 options"]);
    assert_eq!(names("bluefield3-hws-24.11"), ["oversize"]);
}

#[test]
fn tunnels_without_connections_are_idle_and_no_mistake() {
    let rig = rig("unlimited", Underlay::V4, 0);
    let report = verify(&rig.dump, &rig.profile);
    assert!(report.holds());
    assert_eq!(report.counts.idle, 2);
}

/// Work grows with the rules, not with their square.
#[test]
fn work_grows_with_the_rules() {
    let counts = |copies| {
        let rig = rig("unlimited", Underlay::V4, copies);
        let report = verify(&rig.dump, &rig.profile);
        assert!(report.holds());
        let connections = report.counts.decisions;
        (connections, report.counts.ways, report.counts.pairs)
    };
    let (few, few_ways, few_pairs) = counts(2);
    let (many, many_ways, many_pairs) = counts(20);
    assert_eq!(many, 10 * few);
    assert!(many_ways - few_ways <= 2 * (many - few), "{few_ways} ways, then {many_ways}");
    assert_eq!(few_pairs, many_pairs, "no two rules of connections look alike");
}

#[test]
fn a_dump_is_read_as_it_was_written() {
    for name in Profile::names() {
        let dump = rig(name, Underlay::V6, 1).dump;
        let mut text = Vec::new();
        dump.write(&mut text).unwrap();
        let read = Dump::read(text.as_slice()).unwrap();
        assert_eq!(read.node, dump.node);
        assert_eq!(read.rules.len(), dump.rules.len());
        for (read, written) in read.rules.iter().zip(&dump.rules) {
            assert_eq!(read.rule.to_string(), written.rule.to_string());
            assert_eq!((&read.serves, read.phase), (&written.serves, written.phase));
        }
        let profile = Profile::named(name).unwrap();
        assert_eq!(verify(&read, &profile), verify(&dump, &profile));
    }
}

#[test]
fn a_wrong_dump_is_refused_with_its_line() {
    let dump = rig("unlimited", Underlay::V4, 0).dump;
    let mut text = Vec::new();
    dump.write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let error = |text: &str| Dump::read(text.as_bytes()).unwrap_err().to_string();
    assert!(error("").contains("empty"));
    assert!(error(&text.replacen("\"format\":1", "\"format\":7", 1)).contains("format 7"));
    assert!(
        error(&text.replacen("\"item\":\"eth\"", "\"item\":\"ether\"", 1))
            .contains("no item `ether`")
    );
    let line = error(&(text + "{\n"));
    assert!(line.starts_with(&format!("line {} of the dump", dump.rules.len() + 2)), "{line}");
}

#[test]
fn properties_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = Property::ALL.iter().map(|p| p.name()).collect();
    assert_eq!(names.len(), Property::ALL.len());
}
