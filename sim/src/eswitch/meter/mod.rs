//! Meters: the objects of `rte_mtr`, and what they do to a packet.

mod bucket;
mod input;
mod objects;
mod policies;
mod profiles;
mod registry;
mod rounding;

use std::sync::Arc;

use hashbrown::HashMap;
use packet::Frame;
use rte_flow::{Color, Domain, IndirectHandle, MeterProfile, MeterStatistics};

use self::bucket::Buckets;
use self::input::Input;
use super::arena::{Arena, Id};
use super::program::{Fate, Program};
use super::subject::Subject;
use super::time::Time;

pub use self::objects::MeterCapabilities;

/// A meter profile of a port.
#[derive(Debug)]
pub struct ProfileEntry {
    port: u16,
    profile: MeterProfile,
    /// How many meters use it.
    users: usize,
}

/// A meter policy of a port.
#[derive(Debug)]
pub struct PolicyEntry {
    port: u16,
    /// What it does in each domain where it can be, by colour.
    programs: [Option<[Arc<Program>; 3]>; 3],
    /// The meters it leads to, and the shared actions.
    meters: Vec<Id<Meter>>,
    shared: Vec<IndirectHandle>,
    users: usize,
}

impl PolicyEntry {
    fn program(&self, domain: Domain, color: Color) -> Option<&Arc<Program>> {
        self.programs.get(domain as usize)?.as_ref()?.get(color as usize)
    }

    /// Whether it decides where packets go that are neither red nor dropped.
    fn decides(&self, domain: Domain) -> bool {
        let fate = |color| self.program(domain, color).map(|program| &program.fate);
        fate(Color::Green).is_some_and(|fate| *fate != Fate::Default)
            || fate(Color::Yellow).is_some_and(|fate| !matches!(fate, Fate::Default | Fate::Drop))
    }
}

/// What a meter has counted: packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MeterCount {
    /// Packets.
    pub packets: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
}

/// What `rte_mtr_stats_read` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MeterStats {
    /// What passed, by colour.
    pub passed: [MeterCount; 3],
    /// What the policy dropped.
    pub dropped: MeterCount,
    /// Which of these numbers the meter keeps.
    pub kept: MeterStatistics,
}

/// One meter.
#[derive(Debug)]
pub struct Meter {
    profile: Id<ProfileEntry>,
    policy: Option<Id<PolicyEntry>>,
    buckets: Buckets,
    input: Input,
    enabled: bool,
    /// Whether several rules may have it.
    shared: bool,
    users: usize,
    stats: MeterStats,
}

impl Meter {
    fn count(&mut self, color: Color, dropped: bool, bytes: usize) {
        let kept = self.stats.kept;
        let passed = match color {
            Color::Green => MeterStatistics::PACKETS_GREEN | MeterStatistics::BYTES_GREEN,
            Color::Yellow => MeterStatistics::PACKETS_YELLOW | MeterStatistics::BYTES_YELLOW,
            Color::Red => MeterStatistics::PACKETS_RED | MeterStatistics::BYTES_RED,
        };
        let gone = MeterStatistics::PACKETS_DROPPED | MeterStatistics::BYTES_DROPPED;
        if !kept.intersects(if dropped { gone } else { passed }) {
            return;
        }
        let slot = if dropped {
            Some(&mut self.stats.dropped)
        } else {
            self.stats.passed.get_mut(color as usize)
        };
        if let Some(count) = slot {
            count.packets = count.packets.wrapping_add(1);
            count.bytes = count.bytes.wrapping_add(bytes as u64);
        }
    }
}

/// The meters of a switch, and what they are made of. Identifiers are those of `rte_mtr`, each port's own.
#[derive(Debug, Default)]
pub struct Meters {
    profiles: Arena<ProfileEntry>,
    policies: Arena<PolicyEntry>,
    meters: Arena<Meter>,
    profile_ids: HashMap<(u16, u32), Id<ProfileEntry>>,
    policy_ids: HashMap<(u16, u32), Id<PolicyEntry>>,
    meter_ids: HashMap<(u16, u32), Id<Meter>>,
    /// Of ports that have made a meter without policy.
    default_policies: HashMap<u16, Id<PolicyEntry>>,
}

impl Meters {
    /// Meters a packet; the answer is what the meter's policy does with it, where it has one.
    pub fn hit(
        &mut self,
        id: Id<Meter>,
        domain: Domain,
        now: Time,
        subject: &mut Subject,
        frame: &Frame<'_>,
    ) -> Option<Arc<Program>> {
        let meter = self.meters.get_mut(id)?;
        let bytes = frame.bytes().len();
        let before = meter.input.color(subject, frame);
        let color = if meter.enabled { meter.buckets.color(now, bytes, before) } else { before };
        subject.registers.color = Some(color);
        let program = meter
            .policy
            .and_then(|policy| self.policies.get(policy)?.program(domain, color))
            .map(Arc::clone);
        let dropped = program.as_ref().is_some_and(|program| program.fate == Fate::Drop);
        meter.count(color, dropped, bytes);
        program
    }
}
