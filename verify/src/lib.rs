//! Proofs about the rules in a NIC: computed with sets of headers, not with samples.
//!
//! A [`Dump`] says which rules are there and what they are for; [`verify`] says what holds of them. What is proven and how is
//! told in `docs/reference/verify.md`.

mod bits;
mod decision;
pub mod dump;
mod pattern;
mod places;
mod program;
mod report;
mod space;
mod table;
mod view;
mod walk;
mod witness;

use std::sync::LazyLock;

use rte_flow::{Profile, Steering};

pub use dump::{Dump, DumpError};
pub use report::{Counts, Finding, Packet, Property, Report};
pub use table::RuleIndex;
pub use walk::served;

use decision::Exemptions;
use places::Places;
use space::Space;
use table::{Table, is_in_transition};
use walk::{Findings, Walk};

/// Checks all there is to check of a dump. `profile` says how the NIC understands rules.
#[must_use]
pub fn verify(dump: &Dump, profile: &Profile) -> Report {
    // The same for every dump.
    static PACKETS: LazyLock<Space> = LazyLock::new(Space::new);
    let space: &Space = &PACKETS;
    let places = Places::new(&dump.node);
    let mut table = Table::new(dump, profile);
    let mut findings = Findings::default();
    for (rule, why) in &table.unfollowed {
        findings.add(Property::Followed, || Finding {
            property: Property::Followed,
            what: format!("a rule cannot be followed: {why}"),
            rules: vec![*rule],
            packet: None,
            is_uncertain: false,
        });
    }
    let pairs = table.compare(space, &mut |rules| {
        if is_in_transition(dump, rules) {
            return true;
        }
        findings.add(Property::Overlap, || Finding {
            property: Property::Overlap,
            what: "two rules of a group take the same packet at equal priority".to_owned(),
            rules: rules.to_vec(),
            // Packets that come there are yet to be seen.
            packet: None,
            is_uncertain: false,
        });
        !findings.is_enough()
    });
    let exempt = Exemptions::of(profile);
    let mut walk = Walk::new(space, &table, dump, &places, exempt, findings);
    walk.may_send_metadata = profile.steering == Steering::None;
    walk.run();
    let Walk { findings, mut counts, .. } = walk;
    counts.rules = dump.rules.len();
    counts.groups = table.groups.len();
    counts.pairs = pairs;
    counts.moving = dump.rules.iter().filter(|rule| rule.phase == dump::Phase::Moving).count();
    counts.findings = findings.count;
    let is_cut_short = findings.is_enough();
    let mut kept = findings.kept;
    kept.sort_by_key(|finding| finding.property);
    Report { counts, findings: kept, exemptions: exempt.names(), is_cut_short }
}
