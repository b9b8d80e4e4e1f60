//! The NIC that rules are made for: its profile and its ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::snapshot::VfIndex;
use rte_flow::{Api, FlowError, Profile, Rule};

use crate::actions::shared_actions;
use crate::draft::{Ask, Draft, Shape};
use crate::entry::{Entry, EthdevPort, Value};
use crate::layout::{Field, Need, Table};
use crate::legalise::{self, PASSES, Refusal, Subject};
use crate::pattern::pattern;
use crate::samples::samples;

/// The ethdev ports of the NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The uplink.
    pub uplink: EthdevPort,
    /// The representors, by VF.
    pub vfs: BTreeMap<VfIndex, EthdevPort>,
}

/// The drafts of entries of one shape that the NIC takes.
type Plan = Result<Vec<Arc<Draft>>, Refusal>;

/// A NIC: what it accepts, and its ports.
#[derive(Debug)]
pub struct Nic {
    profile: Arc<Profile>,
    api: Api,
    ports: Ports,
    plans: BTreeMap<Shape, Plan>,
}

/// A rule that those of several entries build upon. It must be in the NIC before theirs, and leave after them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shared {
    draft: Arc<Draft>,
    values: Vec<(Field, Value)>,
    /// The number of the shared rule that it builds upon itself.
    after: Option<u32>,
}

impl Shared {
    /// The number of the shared rule that it builds upon itself.
    #[must_use]
    pub const fn after(&self) -> Option<u32> {
        self.after
    }

    /// The rule, which those that build upon it know by a number.
    ///
    /// # Errors
    /// The refusal that the NIC would answer with, where the profile knows it beforehand.
    pub fn rule(&self, nic: &Nic, number: u32) -> Result<Rule, Refusal> {
        let Self { draft, values, after } = self;
        let value = |field| values.iter().find(|(of, _)| *of == field).map(|(_, value)| *value);
        let rule = Rule {
            attributes: legalise::attributes(draft.group),
            pattern: pattern(draft, value, after.unwrap_or(0)),
            actions: shared_actions(draft, number),
        };
        nic.check(&rule, nic.api)?;
        Ok(rule)
    }
}

/// A pass of legalisation, and what it made of the rules before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The pass.
    pub pass: &'static str,
    /// The rules after it; `None` when it changed nothing.
    pub changed: Option<Vec<Rule>>,
}

/// How an entry becomes rules. Rules that others share know each other by numbers from 1 on here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The contract's rule.
    pub contract: Rule,
    /// The passes, as far as they came.
    pub steps: Vec<Step>,
    /// The rules, or why there are none.
    pub verdict: Result<Vec<Rule>, Refusal>,
}

impl Nic {
    /// A NIC; finds out which rules it takes for each shape of entry.
    #[must_use]
    pub fn new(profile: Arc<Profile>, ports: Ports) -> Self {
        let api = if profile.interface.synchronous { Api::Synchronous } else { Api::Template };
        let plan = |entry: &Entry| -> Plan {
            let drafts = Subject { entry, profile: &profile, api }.legalise()?;
            Ok(drafts.into_iter().map(Arc::new).collect())
        };
        let plans = samples().iter().map(|entry| (Shape::of(entry), plan(entry))).collect();
        Self { profile, api, ports, plans }
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The interface through which this NIC is programmed: the synchronous one where there is a choice.
    #[must_use]
    pub const fn api(&self) -> Api {
        self.api
    }

    /// The port of the wire.
    #[must_use]
    pub const fn uplink(&self) -> EthdevPort {
        self.ports.uplink
    }

    /// The port of a VF, if the NIC has it.
    #[must_use]
    pub fn port_of(&self, vf: VfIndex) -> Option<EthdevPort> {
        self.ports.vfs.get(&vf).copied()
    }

    /// All VFs that the NIC has, with their ports.
    pub fn vfs(&self) -> impl Iterator<Item = (VfIndex, EthdevPort)> {
        self.ports.vfs.iter().map(|(vf, port)| (*vf, *port))
    }

    /// The optional fields of the layout that this NIC cannot match; see `docs/reference/offload-differences.md`.
    #[must_use]
    pub fn unmatchable(&self) -> BTreeSet<(Table, Field)> {
        let mut unmatchable = BTreeSet::new();
        for entry in samples() {
            let Ok(drafts) = self.plan(&entry) else { continue };
            for ask in Draft::of(&entry).asks {
                if let Ask::Field(field, Need::WhereMatchable) = ask
                    && !drafts.iter().any(|draft| draft.asks.contains(&ask))
                {
                    unmatchable.insert((entry.table(), field));
                }
            }
        }
        unmatchable
    }

    /// Whether the rules of connections sit in a group, each with its own: a table of it must have room for many.
    #[must_use]
    pub fn has_connections(&self, group: u32) -> bool {
        let is_connection = |entry: &&Entry| {
            matches!(entry.table(), Table::VmConnections | Table::TunnelConnections)
        };
        samples().iter().filter(is_connection).any(|entry| {
            let own = self.plan(entry).ok().and_then(<[_]>::last);
            own.is_some_and(|draft| draft.group == group)
        })
    }

    fn plan(&self, entry: &Entry) -> Result<&[Arc<Draft>], Refusal> {
        let plan = self.plans.get(&Shape::of(entry));
        // There is a sample of every shape, as a test says.
        plan.map_or(Ok(&[]), |plan| plan.as_ref().map(Vec::as_slice).map_err(Clone::clone))
    }

    /// The rule of an entry. `number` gives each shared rule that it builds upon a number of its own, the same whenever it is asked
    /// for; they are asked for from the first that a packet meets on.
    ///
    /// # Errors
    /// Why the NIC takes none, where the profile knows it beforehand.
    pub fn rule(
        &self,
        entry: &Entry,
        mut number: impl FnMut(Shared) -> u32,
    ) -> Result<Rule, Refusal> {
        let Some((own, before)) = self.plan(entry)?.split_last() else {
            return Err(Refusal::Rule(unknown_shape()));
        };
        let mut after = None;
        for draft in before {
            let values = draft.asks.iter().filter_map(|ask| match ask {
                Ask::Field(field, _) => Some((*field, entry.value(*field)?)),
                Ask::AnyPort | Ask::Found => None,
            });
            after = Some(number(Shared { draft: draft.clone(), values: values.collect(), after }));
        }
        let rule = legalise::rule(own, entry, after.unwrap_or(0), 0);
        self.check(&rule, self.api)?;
        Ok(rule)
    }

    /// All rules of an entry through one interface, those that are shared first, with numbers from 1 on.
    pub(crate) fn rules_for(&self, entry: &Entry, api: Api) -> Result<Vec<Rule>, Refusal> {
        let drafts: Vec<Draft> =
            self.plan(entry)?.iter().map(|draft| Draft::clone(draft)).collect();
        let subject = Subject { entry, profile: &self.profile, api };
        let rules = subject.rules(&drafts);
        rules.iter().try_for_each(|rule| subject.check(rule))?;
        Ok(rules)
    }

    /// How an entry becomes rules.
    #[must_use]
    pub fn explain(&self, entry: &Entry) -> Explanation {
        let subject = Subject { entry, profile: &self.profile, api: self.api };
        let mut drafts = vec![Draft::of(entry)];
        let contract = legalise::rule(&Draft::of(entry), entry, 0, 0);
        let mut steps = Vec::new();
        for pass in PASSES {
            match (pass.run)(drafts.clone(), subject) {
                Ok(outcome) => {
                    let changed = (outcome != drafts).then(|| subject.rules(&outcome));
                    steps.push(Step { pass: pass.name, changed });
                    drafts = outcome;
                }
                Err(refusal) => {
                    steps.push(Step { pass: pass.name, changed: None });
                    return Explanation { contract, steps, verdict: Err(refusal) };
                }
            }
        }
        let verdict = self.rules_for(entry, self.api);
        Explanation { contract, steps, verdict }
    }

    fn check(&self, rule: &Rule, api: Api) -> Result<(), Refusal> {
        let context = rte_flow::Context { api, is_proxy: true, objects: &rte_flow::NoObjects };
        Ok(rte_flow::check(rule, &self.profile, context)?)
    }
}

fn unknown_shape() -> FlowError {
    let message = "the layout has no rule of this shape";
    FlowError::other(rte_flow::ErrorKind::Unspecified, rte_flow::ENOTSUP, message)
}
