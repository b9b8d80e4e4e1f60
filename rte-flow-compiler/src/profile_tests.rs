//! What of the layout each profile accepts, and that rules survive the C structures.

use std::collections::BTreeMap;
use std::sync::Arc;

use packet::Family;
use rte_flow::{Api, EncodedRule, Profile, decode_rule};

use crate::layout::{Field, Table};
use crate::nic::samples;
use crate::{Entry, EthdevPort, Nic, Ports, shape, templates};

fn nic(profile: &str) -> Nic {
    let profile = Arc::new(Profile::named(profile).expect("a profile of this name"));
    Nic::new(profile, Ports { uplink: EthdevPort(0), vfs: BTreeMap::new() })
}

/// Entries whose rule the profile refuses, by table and family of the (inner) packet.
fn refused(nic: &Nic) -> Vec<(Table, Option<Family>)> {
    let family = |entry: &Entry| match entry {
        Entry::VmConnection { tuple, .. } | Entry::TunnelConnection { tuple, .. } => {
            Some(tuple.family())
        }
        _ => None,
    };
    let mut refused: Vec<_> = samples()
        .iter()
        .filter(|entry| nic.rule(entry).is_err())
        .map(|entry| (entry.table(), family(entry)))
        .collect();
    refused.sort_unstable();
    refused.dedup();
    refused
}

#[test]
fn unlimited_accepts_the_whole_layout() {
    let nic = nic("unlimited");
    assert_eq!(refused(&nic), []);
    assert_eq!(nic.unmatchable().count(), 0);
}

#[test]
fn bluefield3_with_software_steering_accepts_all_but_lengths() {
    let nic = nic("bluefield3-sws-22.11");
    assert_eq!(refused(&nic), []);
    let unmatchable: Vec<_> = nic.unmatchable().collect();
    assert!(unmatchable.contains(&(Table::VmDispatch, Field::Length)), "{unmatchable:?}");
}

#[test]
fn bluefield3_with_hardware_steering_leaves_ipv6_connections_to_software() {
    let nic = nic("bluefield3-hws-22.11");
    let refused = refused(&nic);
    assert!(refused.contains(&(Table::VmConnections, Some(Family::V6))), "{refused:?}");
    assert!(!refused.contains(&(Table::VmConnections, Some(Family::V4))), "{refused:?}");
    assert!(!refused.contains(&(Table::VmChecks, None)), "{refused:?}");
}

#[test]
fn every_acceptable_rule_has_a_template() {
    for profile in ["unlimited", "bluefield3-hws-22.11"] {
        let nic = nic(profile);
        let templates = templates(&nic);
        for entry in samples() {
            let Ok(rule) = nic.rule_for(&entry, Api::Template) else { continue };
            assert!(templates.contains(&shape(&rule)), "{profile}: {entry:?}");
        }
    }
}

#[test]
fn rules_survive_their_c_form() {
    let nic = nic("unlimited");
    for entry in samples() {
        let rule = nic.rule(&entry).expect("unlimited accepts all");
        let encoded = EncodedRule::new(&rule);
        // SAFETY: the pointers are those of a rule encoded just now, which lives to the end of the block.
        let decoded =
            unsafe { decode_rule(encoded.attributes(), encoded.pattern(), encoded.actions()) };
        assert_eq!(decoded, Ok(rule));
    }
}
