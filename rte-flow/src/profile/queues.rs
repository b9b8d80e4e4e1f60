//! What a profile says of flow queues, of template tables and of the objects that `rte_flow_configure` reserves. An absent table, and an absent
//! key, stand for no restriction.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::error::{EAGAIN, EBUSY, EINVAL, ENOENT, ENOMEM, ENOSPC};

/// What `rte_flow_configure` does with a port that is configured already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconfiguration {
    /// The queues are new; all else stays.
    #[default]
    Queues,
    /// The port begins anew: its templates, tables and shared actions are gone.
    Anew,
    /// Nothing where it asks for what is there; else it is refused (ENOTSUP).
    SameOnly,
}

/// Flow queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueRules {
    /// The errno of an operation for which its queue has no room.
    #[serde(deserialize_with = "errno")]
    pub full: i32,
    /// All queues of a port have one size.
    pub equal: bool,
    /// Sizes are rounded up to a power of two.
    pub rounded: bool,
    /// What configuring a port again does.
    pub again: Reconfiguration,
}

impl Default for QueueRules {
    fn default() -> Self {
        Self { full: EAGAIN, equal: false, rounded: false, again: Reconfiguration::default() }
    }
}

/// Counters, ages, meters and tracked connections of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolRules {
    /// A port has no more of them than `rte_flow_configure` reserved for it.
    pub reserved: bool,
    /// Synchronous rules and shared actions of a port that reserved none of a kind take them from the device.
    pub on_demand: bool,
    /// Counters beyond those asked for, in percent of them.
    pub spare_counters_percent: u32,
    /// The errno of a rule's insertion when all counters are in use.
    #[serde(deserialize_with = "errno")]
    pub no_counter: i32,
    /// The errno when counters were given back that the card has not refreshed since.
    #[serde(deserialize_with = "errno")]
    pub stale_counter: i32,
}

impl Default for PoolRules {
    fn default() -> Self {
        Self {
            reserved: false,
            on_demand: false,
            spare_counters_percent: 0,
            no_counter: ENOENT,
            stale_counter: EAGAIN,
        }
    }
}

/// Template tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableRules {
    /// The errno of a rule for which its table has no room.
    #[serde(deserialize_with = "errno")]
    pub full: i32,
    /// A table has room for the next power of two of rules.
    pub rounded: bool,
    /// Pattern templates of a table.
    pub pattern_templates: Option<usize>,
    /// Pattern templates of a table in a root group.
    pub root_pattern_templates: Option<usize>,
    /// Actions templates of a table.
    pub actions_templates: Option<usize>,
}

impl Default for TableRules {
    fn default() -> Self {
        Self {
            full: ENOSPC,
            rounded: false,
            pattern_templates: None,
            root_pattern_templates: None,
            actions_templates: None,
        }
    }
}

fn errno<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    match String::deserialize(from)?.as_str() {
        "EAGAIN" => Ok(EAGAIN),
        "EBUSY" => Ok(EBUSY),
        "EINVAL" => Ok(EINVAL),
        "ENOENT" => Ok(ENOENT),
        "ENOMEM" => Ok(ENOMEM),
        "ENOSPC" => Ok(ENOSPC),
        other => Err(D::Error::custom(format!(
            "`{other}` is no errno of a flow queue, a table or a pool"
        ))),
    }
}
