//! The one place that says what a profile accepts: the compiler asks before, the simulated NIC refuses by it.

mod actions;
mod conf;
mod pattern;
mod template;

pub use template::{check_actions_template, check_pattern_template, check_table};

use crate::action::{ActionKind, IndirectHandle};
use crate::attribute::{Attributes, Domain};
use crate::error::{EINVAL, ENOTSUP, ErrorKind, FlowError};
use crate::item::Item;
use crate::profile::{Place, Profile, TransferPorts};
use crate::rule::Rule;

use actions::{Known, KnownActions};

/// Through which interface a rule comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// `rte_flow_create`, `rte_flow_validate`.
    Synchronous,
    /// `rte_flow_async_create`, from templates.
    Template,
}

/// The objects that rules name.
pub trait Objects {
    /// What a shared action is; `None` for an unknown one.
    fn shared(&self, handle: IndirectHandle) -> Option<ActionKind>;

    /// Whether a meter's policy decides where packets of rules of a domain go; `None` for an unknown meter.
    fn meter_decides(&self, meter: u32, domain: Domain) -> Option<bool>;
}

/// None: for rules that name no objects.
#[derive(Debug, Clone, Copy)]
pub struct NoObjects;

impl Objects for NoObjects {
    fn shared(&self, _: IndirectHandle) -> Option<ActionKind> {
        None
    }
    fn meter_decides(&self, _: u32, _: Domain) -> Option<bool> {
        None
    }
}

/// Where a rule is to be created.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Through which interface.
    pub api: Api,
    /// Whether the port is the switch's transfer proxy; the others are representors.
    pub is_proxy: bool,
    /// What there is for rules to name.
    pub objects: &'a dyn Objects,
}

/// Whether a NIC of this profile accepts the rule.
///
/// # Errors
/// The first thing it refuses, as `rte_flow` reports it, with what to do.
pub fn check(rule: &Rule, profile: &Profile, context: Context<'_>) -> Result<(), FlowError> {
    let Rule { attributes, pattern, actions } = rule;
    let list = || {
        let mut list = KnownActions::new();
        for (index, action) in actions.iter().enumerate() {
            list.push(Known::rule(index, action, context.objects)?);
        }
        Ok(list)
    };
    Check::new(attributes, Some(pattern), profile, context).all(list)
}

/// A rule, as far as it is known, against one profile.
struct Check<'a> {
    attributes: &'a Attributes,
    /// `None`: any.
    pattern: Option<&'a [Item]>,
    profile: &'a Profile,
    context: Context<'a>,
    is_root: bool,
}

impl<'a> Check<'a> {
    fn new(
        attributes: &'a Attributes,
        pattern: Option<&'a [Item]>,
        profile: &'a Profile,
        context: Context<'a>,
    ) -> Self {
        let is_root = profile.is_root(attributes.domain, attributes.group);
        Self { attributes, pattern, profile, context, is_root }
    }

    fn all<'k>(
        &self,
        actions: impl FnOnce() -> Result<KnownActions<'k>, FlowError>,
    ) -> Result<(), FlowError> {
        self.interface()?;
        self.place_of_rule()?;
        self.pattern()?;
        self.actions(&actions()?)?;
        self.egress()
    }

    /// Whether such a port has egress rules; mlx5 says so last, of no item in particular.
    fn egress(&self) -> Result<(), FlowError> {
        let is_there = self.context.is_proxy || self.profile.interface.egress_on_representors;
        if self.domain() == Domain::Egress && !is_there {
            let message =
                "a representor has no egress rules; match what it sends in a transfer rule";
            return Err(FlowError::other(ErrorKind::Item, EINVAL, message));
        }
        Ok(())
    }

    fn domain(&self) -> Domain {
        self.attributes.domain
    }

    fn interface(&self) -> Result<(), FlowError> {
        let interface = &self.profile.interface;
        let refuse = |message| Err(FlowError::other(ErrorKind::Unspecified, ENOTSUP, message));
        match self.context.api {
            Api::Synchronous if !interface.synchronous => refuse(
                "this steering mode has no synchronous rules; use the asynchronous API with templates",
            ),
            Api::Template if !interface.templates => {
                refuse("incorrect steering mode: there are no templates; use rte_flow_create")
            }
            _ => Ok(()),
        }
    }

    /// Whether rules of this domain are made through such a port.
    fn ports(&self) -> Result<(), FlowError> {
        if self.domain() == Domain::Transfer
            && !self.context.is_proxy
            && self.profile.interface.transfer_ports == TransferPorts::Proxy
        {
            let message =
                "transfer rules are the proxy port's; create it on rte_flow_pick_transfer_proxy's";
            return Err(FlowError::attributes(ErrorKind::Transfer, EINVAL, message));
        }
        Ok(())
    }

    fn place_of_rule(&self) -> Result<(), FlowError> {
        let limits = &self.profile.limits;
        let attributes = self.attributes;
        self.ports()?;
        if let Some(highest) = limits.highest_group.filter(|highest| attributes.group > *highest) {
            let message = format!("group {} is too high; use 0 to {highest}", attributes.group);
            return Err(FlowError::attributes(ErrorKind::Group, EINVAL, message));
        }
        let lowest =
            if self.is_root { limits.lowest_root_priority } else { limits.lowest_priority };
        if let Some(lowest) = lowest.filter(|lowest| attributes.priority > *lowest) {
            let message =
                format!("priority {} is out of range; use 0 to {lowest}", attributes.priority);
            return Err(FlowError::attributes(ErrorKind::Priority, ENOTSUP, message));
        }
        Ok(())
    }

    /// Whether an item or action is accepted in the rule's domain and group.
    fn place(&self, name: &str, what: &str, place: &Place) -> Result<(), String> {
        if !place.domains.contains(&self.domain()) {
            let domain = self.domain().name();
            return Err(format!(
                "{what} {name} is not supported in {domain} rules; use another domain"
            ));
        }
        if self.is_root && !place.root {
            return Err(format!(
                "{what} {name} is not supported in the root group; jump to another and use it there"
            ));
        }
        Ok(())
    }

    fn tag(&self, index: u32) -> Result<(), String> {
        match self.profile.limits.tags {
            Some(tags) if index >= tags => Err(format!(
                "there is no tag register {index}; use 0 to {}",
                tags.saturating_sub(1)
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "legality_tests.rs"]
mod tests;
