//! What operators write: parsing, validation, and the objects that come of it.
//!
//! Sources go one way: text to pieces (`chunk`), pieces to documents (`yaml`), documents to drafts with all local errors (`draft`), drafts against
//! each other (`check`), and only if nothing at all was wrong, to an [`Intent`].

mod address;
mod change;
mod check;
mod chunk;
mod draft;
mod index;
mod name;
mod object;
mod objects;
mod patch;
mod reader;
mod report;
mod yaml;

pub use address::gateway_of;
pub use change::{Change, What};
pub(crate) use index::Index;
pub use name::{Name, NameError};
pub use object::{
    API_VERSION, DEFAULT_GATEWAY_MAC, DEFAULT_UNDERLAY_MTU, DEFAULT_UPLINK, Dscp, EgressRule,
    Encap, Given, IcmpType, IngressRule, Interface, InterfaceSpec, Metadata, Node, NodeSpec,
    Object, Peer, PortRange, Route, RouteTable, RouteTableSpec, SecurityGroup, SecurityGroupSpec,
    Spec, Subnet, SubnetSpec, Traffic, Underlay, Via, Vpc, VpcSpec,
};
pub(crate) use objects::Inventory;
pub use objects::{ObjectName, Objects};
pub(crate) use patch::Parts;
pub use patch::{Patch, Patched};

use std::num::NonZero;
use std::thread::ScopedJoinHandle;

use check::{Settled, check};
use chunk::{Chunk, chunks};
use draft::{
    Draft, Drafts, InterfaceDraft, NodeDraft, RouteTableDraft, SecurityGroupDraft, SubnetDraft,
    VpcDraft,
};
use hashbrown::HashMap;
use report::{Position, Report};

use crate::diagnostic::Diagnostics;

/// A file, or something like one.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// YAML or JSON in UTF-8, any number of documents and of objects in each.
    pub bytes: &'a [u8],
}

/// A whole intent without errors: every reference leads somewhere, nothing is twice, everything fits.
///
/// All defaults are filled in, so two texts that mean the same are equal intents.
#[derive(Debug, Clone, Default)]
pub struct Intent {
    inventory: Inventory,
    /// By VPC.
    given: HashMap<Name, Given>,
    /// Made for the first change.
    index: Option<Box<Index>>,
}

/// Whether both have the same objects.
impl PartialEq for Intent {
    fn eq(&self, other: &Self) -> bool {
        self.inventory == other.inventory
    }
}

impl Eq for Intent {}

impl Intent {
    /// Reads and validates an intent. It may be spread over any number of sources, in any order, and may be empty.
    ///
    /// # Errors
    /// All errors there are, never only the first.
    pub fn parse(sources: &[Source<'_>]) -> Result<Self, Diagnostics> {
        let (drafts, mut report) = read(sources);
        let settled = check(&drafts, sources, &mut report);
        Self::accept(drafts, settled, report, sources)
    }

    /// The intent, unless something was wrong with it.
    fn accept(
        drafts: Drafts,
        settled: Vec<Settled>,
        mut report: Report,
        sources: &[Source<'_>],
    ) -> Result<Self, Diagnostics> {
        if !report.is_empty() {
            return Err(report.diagnostics(sources));
        }
        Self::finish(drafts, settled).ok_or_else(|| {
            // Every draft that is not whole has been reported. Should that ever not hold, nothing may be applied.
            let start = Position { source: 0, line: 1, column: 1 };
            let message =
                "an object is not whole, and the validation does not say why: a bug in it";
            report.error(start, None, message, None);
            report.diagnostics(sources)
        })
    }

    fn finish(drafts: Drafts, settled: Vec<Settled>) -> Option<Self> {
        let given = |draft: &Draft<VpcDraft>| {
            (draft.name.value.clone(), draft.spec.as_ref().map(VpcDraft::given).unwrap_or_default())
        };
        let given = drafts.vpcs.iter().map(given).collect();
        let vpcs = drafts.vpcs.into_iter().zip(settled);
        let inventory = Inventory {
            nodes: whole(drafts.nodes.into_iter().map(|d| d.finish(NodeDraft::finish)))?,
            vpcs: whole(vpcs.map(|(draft, settled)| {
                let vni = settled.vni?;
                draft.finish(|spec| Some(spec.finish(vni, settled.mtu)))
            }))?,
            subnets: whole(drafts.subnets.into_iter().map(|d| d.finish(SubnetDraft::finish)))?,
            interfaces: whole(
                drafts.interfaces.into_iter().map(|d| d.finish(InterfaceDraft::finish)),
            )?,
            security_groups: whole(
                drafts.security_groups.into_iter().map(|d| d.finish(SecurityGroupDraft::finish)),
            )?,
            route_tables: whole(
                drafts.route_tables.into_iter().map(|d| d.finish(RouteTableDraft::finish)),
            )?,
        };
        Some(Self { inventory, given, index: None })
    }

    /// All nodes.
    #[must_use]
    pub const fn nodes(&self) -> &Objects<NodeSpec> {
        &self.inventory.nodes
    }

    /// All VPCs.
    #[must_use]
    pub const fn vpcs(&self) -> &Objects<VpcSpec> {
        &self.inventory.vpcs
    }

    /// All subnets.
    #[must_use]
    pub const fn subnets(&self) -> &Objects<SubnetSpec> {
        &self.inventory.subnets
    }

    /// All interfaces.
    #[must_use]
    pub const fn interfaces(&self) -> &Objects<InterfaceSpec> {
        &self.inventory.interfaces
    }

    /// All security groups.
    #[must_use]
    pub const fn security_groups(&self) -> &Objects<SecurityGroupSpec> {
        &self.inventory.security_groups
    }

    /// All route tables.
    #[must_use]
    pub const fn route_tables(&self) -> &Objects<RouteTableSpec> {
        &self.inventory.route_tables
    }

    /// The node of a name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.inventory.nodes.get(name)
    }

    /// What a VPC's object itself says of its VNI and MTU.
    #[must_use]
    pub fn given(&self, vpc: &str) -> Given {
        self.given.get(vpc).copied().unwrap_or_default()
    }

    /// What differs from another intent, which was in force before.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        change::changes(&before.inventory, &self.inventory)
    }

    pub(crate) const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The index, where it was made.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.as_deref()
    }
}

/// Reads sources, each object by itself.
fn read(sources: &[Source<'_>]) -> (Drafts, Report) {
    let mut report = Report::default();
    let mut pieces = Vec::new();
    for (number, source) in (0..).zip(sources) {
        pieces.extend(chunks(source, number, &mut report));
    }
    let mut drafts = Drafts::default();
    for (some_drafts, some_report) in read_all(&pieces) {
        drafts.append(some_drafts);
        report.append(some_report);
    }
    (drafts, report)
}

/// Reads documents on as many threads as pay off. Results are in the order of the documents.
fn read_all(chunks: &[Chunk<'_>]) -> Vec<(Drafts, Report)> {
    /// Less than this, bytes, is read before a thread has started.
    const WORTH_A_THREAD: usize = 1 << 20;

    let bytes: usize = chunks.iter().map(|chunk| chunk.text.len()).sum();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = (bytes / cores).max(WORTH_A_THREAD);
    let mut parts = Vec::new();
    let mut rest = chunks;
    while !rest.is_empty() {
        let mut size = 0;
        let length = rest
            .iter()
            .take_while(|chunk| {
                let room_left = size < share;
                size += chunk.text.len();
                room_left
            })
            .count();
        let (part, behind) = rest.split_at(length);
        parts.push(part);
        rest = behind;
    }
    if let [] | [_] = parts[..] {
        return parts.into_iter().map(read_part).collect();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            parts.into_iter().map(|part| scope.spawn(move || read_part(part))).collect();
        let join = |thread: ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

fn read_part(chunks: &[Chunk<'_>]) -> (Drafts, Report) {
    let (mut drafts, mut report) = (Drafts::default(), Report::default());
    for chunk in chunks {
        yaml::read(chunk, &mut report, |document, report| drafts.add(&document, report));
    }
    (drafts, report)
}

/// All objects, or nothing if one is not whole.
fn whole<S>(objects: impl Iterator<Item = Option<Object<S>>>) -> Option<Objects<S>> {
    Some(Objects::new(objects.collect::<Option<_>>()?))
}
