//! What came of a check.

use std::fmt::Write;
use std::time::Duration;

use crate::table::RuleIndex;

/// What is proven, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// Every rule is one that this check can follow; all else rests on it.
    Followed,
    /// No two rules of a group take the same packet at equal priority.
    Overlap,
    /// No packet of one VPC reaches an interface or a tunnel of another.
    Isolation,
    /// What the rules on a packet's way admit, together, lies inside the match set of one decision, and what becomes of it
    /// is what that decision says.
    Decision,
    /// Jumps end, and no packet comes to software that a rule has rewritten.
    Whole,
    /// Every rule can be met by some packet.
    Reachable,
}

impl Property {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Followed,
        Self::Overlap,
        Self::Isolation,
        Self::Decision,
        Self::Whole,
        Self::Reachable,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Followed => "followed",
            Self::Overlap => "overlap",
            Self::Isolation => "isolation",
            Self::Decision => "decision",
            Self::Whole => "whole",
            Self::Reachable => "reachable",
        }
    }

    /// What it says, where it holds.
    #[must_use]
    pub const fn claim(self) -> &'static str {
        match self {
            Self::Followed => "every rule is understood",
            Self::Overlap => "no two rules of a group take the same packet at equal priority",
            Self::Isolation => "no packet of one VPC reaches an interface or tunnel of another",
            Self::Decision => {
                "every chain of rules lies inside its decision, and does what it says"
            }
            Self::Whole => "jumps end, and no packet comes to software rewritten",
            Self::Reachable => "every rule can be met by some packet",
        }
    }
}

/// A packet, and where it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The ethdev port.
    pub port: u16,
    /// Whether software sends it there, not the entity behind.
    pub by_software: bool,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What does not hold.
    pub property: Property,
    /// What is wrong, for a person.
    pub what: String,
    /// The rules, by their place in the dump, in the order in which the packet meets them.
    pub rules: Vec<RuleIndex>,
    /// A packet that shows it; there is none where the very point is that no packet meets a rule.
    pub packet: Option<Packet>,
    /// Part of the packet's way is taken for wider than it may be: the packet may not show it.
    pub is_uncertain: bool,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rules.
    pub rules: usize,
    /// Groups.
    pub groups: usize,
    /// Pairs of rules that agree about all bits that both look at.
    pub pairs: usize,
    /// Ways through the rules, from a port to where they end.
    pub ways: usize,
    /// Those that end at a port.
    pub deliveries: usize,
    /// Rules of connections that were held to a decision.
    pub decisions: usize,
    /// Rules on their way in or out, which are held to none.
    pub moving: usize,
    /// Rules that wait for connections: no packet meets them yet.
    pub idle: usize,
    /// Findings, of which only the first of each property are kept.
    pub findings: usize,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How much was looked at.
    pub counts: Counts,
    /// What does not hold; empty: all is proven.
    pub findings: Vec<Finding>,
    /// What of the decisions the profile cannot match, and so is not held to.
    pub exemptions: Vec<&'static str>,
    /// There was so much wrong that not everything was looked at.
    pub is_cut_short: bool,
}

impl Report {
    /// Whether everything is proven.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.findings.is_empty()
    }

    /// What does not hold of a property.
    pub fn of(&self, property: Property) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.property == property)
    }

    /// The lines of a person's summary, one a property.
    #[must_use]
    pub fn summary(&self, time: Duration) -> String {
        let mut text = String::new();
        let counts = &self.counts;
        for property in Property::ALL {
            let found = self.of(property).count();
            let of_what = match property {
                Property::Followed => format!("{} rules in {} groups", counts.rules, counts.groups),
                Property::Overlap => format!("{} pairs compared bit by bit", counts.pairs),
                Property::Isolation => format!("{} deliveries", counts.deliveries),
                Property::Decision => {
                    format!(
                        "{} rules of connections, {} on their way",
                        counts.decisions, counts.moving
                    )
                }
                Property::Whole => format!("{} ways", counts.ways),
                Property::Reachable => format!("{} rules, {} idle", counts.rules, counts.idle),
            };
            let (mark, end) = if found == 0 {
                ("ok  ", String::new())
            } else {
                ("FAIL", format!(": {found} found"))
            };
            let (name, claim) = (property.name(), property.claim());
            // Writing to a string does not fail.
            let _ = writeln!(text, "{mark} {name:<10}{claim} ({of_what}){end}");
        }
        for exemption in &self.exemptions {
            let _ = writeln!(text, "     not held to: {exemption}");
        }
        if self.is_cut_short {
            text += "     so much is wrong that not everything was looked at\n";
        }
        let _ = write!(text, "     {:.2} s", time.as_secs_f64());
        text
    }
}
