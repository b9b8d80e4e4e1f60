//! Rules as the card holds them: where they sit, what they match, the program they run.

use std::hash::{Hash, Hasher};

use rte_flow::{Domain, GeneveOptionId, IndirectHandle};

use super::arena::Id;
use super::counter::{Ageing, Counter};
use super::group::GroupNumber;
use super::meter::Meter;
use super::program::Program;
use super::sample::Sampler;
use super::table::{Place, Rank};
use super::template::TemplateTable;
use super::time::Time;

/// The handle of a rule.
pub type RuleId = Id<Rule>;

/// One set of rules that is searched as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupKey {
    /// Which domain.
    pub domain: Domain,
    /// The ethdev port whose domain it is; `None` for the switch's own.
    pub port: Option<u16>,
    /// The group.
    pub group: u32,
}

impl Hash for GroupKey {
    /// As one number: a packet looks a group up for each jump.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { domain, port, group } = *self;
        let port = port.map_or(0, |port| u64::from(port) + 1);
        state.write_u64((domain as u64) << 56 | port << 32 | u64::from(group));
    }
}

/// What the rule owns alone, and so what goes with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owned {
    /// Its counter.
    pub counter: Option<Id<Counter>>,
    /// Its ageing.
    pub ageing: Option<Id<Ageing>>,
}

/// What few rules have, apart from them: a million of the others are the smaller for it.
#[derive(Debug, Default)]
pub struct Rare {
    /// The shared actions that the rule uses.
    pub shared: Vec<IndirectHandle>,
    /// The options of GENEVE that it asks for.
    pub options: Box<[GeneveOptionId]>,
    /// The meters with a number that it uses.
    pub meters: Vec<Id<Meter>>,
    /// What else it owns alone.
    pub owned: Vec<Other>,
}

impl Rare {
    /// Itself, unless there is nothing in it.
    pub fn kept(self) -> Option<Box<Self>> {
        let Self { shared, options, meters, owned } = &self;
        let is_empty =
            shared.is_empty() && options.is_empty() && meters.is_empty() && owned.is_empty();
        (!is_empty).then(|| Box::new(self))
    }
}

/// What few rules own.
#[derive(Clone, Copy, Debug)]
pub enum Other {
    /// A meter.
    Meter(Id<Meter>),
    /// A sampler.
    Sampler(Id<Sampler>),
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// The ethdev port through which it was made.
    pub(super) port: u16,
    pub(super) group: GroupKey,
    /// The number of that group.
    pub(super) number: GroupNumber,
    /// The group that its program jumps to.
    pub(super) next: Option<GroupNumber>,
    pub(super) rank: Rank,
    /// Where it is in the group's table.
    pub(super) place: Place,
    pub(super) program: Program,
    pub(super) owned: Owned,
    /// The counter it counts with, own or shared.
    pub(super) counter: Option<Id<Counter>>,
    /// Its ageing, own or shared.
    pub(super) ageing: Option<Id<Ageing>>,
    /// The template table it belongs to; `None` for a rule of the synchronous API.
    pub(super) table: Option<Id<TemplateTable>>,
    /// When it begins to take packets.
    pub(super) from: Time,
    /// When it ends to.
    pub(super) until: Time,
    /// What few rules have.
    pub(super) rare: Option<Box<Rare>>,
    /// Where the asynchronous API is with it.
    pub(super) stage: Stage,
}

/// Where a rule is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its creation was enqueued and the result not yet pulled.
    Creating,
    /// It is there.
    Settled,
    /// Its creation failed: there is nothing but the handle, which is to be destroyed.
    Stillborn,
    /// Its destruction was enqueued.
    Destroying,
    /// Its destruction failed: it is there, and has no handle any more.
    Stranded,
}

impl Rule {
    /// Whether it is in the hardware at `now`.
    pub(super) fn in_force(&self, now: Time) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether another rule with its pattern would be one too many.
    pub(super) fn counts_as_duplicate(&self) -> bool {
        self.stage != Stage::Stillborn && !self.is_leaving()
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        self.stage == Stage::Destroying || self.until != Time::NEVER
    }
}
