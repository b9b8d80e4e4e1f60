//! What is to be done about settings, and what did not help.

use std::collections::BTreeMap;

use super::tool::Shown;
use super::{Card, Memory, Value};

/// How a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it is wanted.
    InForce,
    /// To be set.
    Due,
    /// Set; it counts from the next power cycle on.
    Waits,
    /// Set, and the machine has started since: that was not enough.
    NotTaken,
    /// Set before, and not there any more.
    Lost,
    /// The card has no such setting.
    Unknown,
}

impl State {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Due => "to be set",
            Self::Waits => "waits for a power cycle",
            Self::NotTaken => {
                "not taken: the machine has restarted since; the card needs its power taken away, or refuses the value"
            }
            Self::Lost => {
                "lost: it was set and is not there any more; who changes it back? (apply --again sets it once more)"
            }
            Self::Unknown => "the card has no such setting",
        }
    }

    /// Whether somebody has to look at it: doing the same again would not help.
    #[must_use]
    pub const fn is_stuck(self) -> bool {
        matches!(self, Self::NotTaken | Self::Lost | Self::Unknown)
    }
}

/// A setting that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Of which card.
    pub device: String,
    /// Which.
    pub name: String,
    /// What it should be.
    pub wanted: Value,
    /// What it is.
    pub now: Option<String>,
    /// What it will be.
    pub next: Option<String>,
    /// How it is.
    pub state: State,
}

/// What is to be done about a card in this run of the machine.
#[must_use]
pub fn plan(
    card: &Card,
    shown: &BTreeMap<String, Shown>,
    memory: &Memory,
    boot: &str,
) -> Vec<Item> {
    let item = |(name, wanted): (&String, &Value)| {
        let seen = shown.get(name);
        // Only what was set to this value says something about it.
        let noted = memory.of(&card.device, name).filter(|noted| noted.value == *wanted);
        let state = match seen {
            None => State::Unknown,
            Some(seen) if wanted.is(&seen.next) => match noted {
                _ if wanted.is(&seen.now) => State::InForce,
                Some(noted) if noted.boot != boot => State::NotTaken,
                _ => State::Waits,
            },
            Some(_) if noted.is_some() => State::Lost,
            Some(_) => State::Due,
        };
        Item {
            device: card.device.clone(),
            name: name.clone(),
            wanted: wanted.clone(),
            now: seen.map(|seen| seen.now.clone()),
            next: seen.map(|seen| seen.next.clone()),
            state,
        }
    };
    card.settings.iter().map(item).collect()
}
