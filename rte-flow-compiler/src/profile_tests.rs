//! What of the layout each profile accepts, and that rules survive the C structures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rte_flow::{Api, EncodedRule, Profile, decode_rule};

use crate::layout::{Field, Table};
use crate::samples::samples;
use crate::{EthdevPort, Nic, Ports, Refusal, shape, templates};

fn nic(profile: &str) -> Nic {
    let profile = Arc::new(Profile::named(profile).expect("a profile of this name"));
    Nic::new(profile, Ports { uplink: EthdevPort(0), vfs: BTreeMap::new() })
}

/// Tables with entries for which there are no rules, and why.
fn refused(nic: &Nic) -> Vec<(Table, Refusal)> {
    let why = |entry: &crate::Entry| Some((entry.table(), nic.rules_for(entry, nic.api()).err()?));
    samples().iter().filter_map(why).collect()
}

#[test]
fn every_profile_takes_the_whole_layout() {
    for name in Profile::names() {
        assert_eq!(refused(&nic(name)), [], "{name}");
    }
}

#[test]
fn few_fields_cannot_be_matched() {
    let length = (Table::VmDispatch, Field::Length);
    let vni_valid = (Table::TunnelDispatch, Field::VniValid);
    let header_length =
        [Table::VmChecks, Table::TunnelChecks].map(|table| (table, Field::HeaderLength));
    for (name, fields) in [
        ("unlimited", vec![]),
        ("bluefield3-sws-22.11", vec![length, vni_valid]),
        ("bluefield2-sws-22.11", [vec![length, vni_valid], header_length.to_vec()].concat()),
        ("bluefield3-hws-22.11", vec![length]),
        ("bluefield3-hws-24.11", vec![length]),
    ] {
        assert_eq!(nic(name).unmatchable(), BTreeSet::from_iter(fields), "{name}");
    }
}

#[test]
fn an_explanation_ends_with_the_rules_that_are_made() {
    for name in Profile::names() {
        let nic = nic(name);
        for entry in samples() {
            let explanation = nic.explain(&entry);
            let changed = explanation.steps.iter().rev().find_map(|step| step.changed.clone());
            let last = changed.unwrap_or_else(|| vec![explanation.contract.clone()]);
            assert_eq!(explanation.verdict, Ok(last), "{name}: {entry:?}");
            let mut shared = Vec::new();
            let own = nic.rule(&entry, |rule| {
                shared.push(rule);
                shared.len() as u32
            });
            let numbered = shared.iter().zip(1..).map(|(shared, number)| shared.rule(&nic, number));
            let rules: Result<Vec<_>, _> = numbered.chain([own]).collect();
            // The own rule notes nothing.
            assert_eq!(explanation.verdict, rules, "{name}: {entry:?}");
        }
    }
}

#[test]
fn every_acceptable_rule_has_a_template() {
    for profile in ["unlimited", "bluefield3-hws-22.11", "bluefield3-hws-24.11"] {
        let nic = nic(profile);
        let templates = templates(&nic);
        for entry in samples() {
            let rules = nic.rules_for(&entry, Api::Template).expect("takes all");
            for rule in rules {
                assert!(templates.contains(&shape(&rule)), "{profile}: {entry:?}");
            }
        }
    }
}

#[test]
fn rules_survive_their_c_form() {
    for name in ["unlimited", "bluefield3-hws-22.11"] {
        let nic = nic(name);
        for entry in samples() {
            for rule in nic.rules_for(&entry, nic.api()).expect("takes all") {
                let encoded = EncodedRule::new(&rule);
                // SAFETY: the pointers are those of a rule encoded just now, which lives to the end of the block.
                let decoded = unsafe {
                    decode_rule(encoded.attributes(), encoded.pattern(), encoded.actions())
                };
                assert_eq!(decoded, Ok(rule));
            }
        }
    }
}
