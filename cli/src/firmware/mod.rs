//! `penstock firmware`: settings of a card that count from its next power cycle on. What is to be done is shown first, done
//! once, and named when it did not help: nothing here restarts a machine, and nothing is tried again by itself.

mod memory;
mod plan;
mod tool;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Deserialize;
use thiserror::Error;
use trust::file::FileError;

pub use memory::Memory;
pub use plan::{Item, State, plan};
pub use tool::{Tool, ToolError, Value};

use crate::table;

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Arguments of `penstock firmware`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what would be set, and what waits for a power cycle; exit code 1 when something did not help
    Plan(Common),
    /// Set it; nothing is restarted
    Apply {
        #[command(flatten)]
        common: Common,
        /// Set again what was set before and is not there any more
        #[arg(long)]
        again: bool,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Settings that are wanted (TOML)
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The program that reads and writes them: mstconfig, or mlxconfig
    #[arg(long, value_name = "PROGRAM", default_value = "mstconfig")]
    tool: PathBuf,
    /// Where it is remembered what was set
    #[arg(long, value_name = "FILE", default_value = "/var/lib/penstock/firmware.json")]
    memory: PathBuf,
}

/// What is wanted of a card.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// As the tool calls it: a PCI address.
    pub device: String,
    /// Settings, as the tool calls them.
    pub settings: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    cards: Vec<Card>,
}

/// Why settings cannot be seen or set.
#[derive(Debug, Error)]
pub enum FirmwareError {
    /// The file of settings.
    #[error("{}: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The tool.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// What was set before.
    #[error(transparent)]
    Memory(#[from] FileError),
    /// Something did not help; the plan.
    #[error("{0}")]
    Stuck(String),
}

/// Does what is asked.
///
/// # Errors
/// [`FirmwareError`].
pub fn run(arguments: &Arguments) -> Result<String, FirmwareError> {
    let (common, setting, again) = match &arguments.command {
        Command::Plan(common) => (common, false, false),
        Command::Apply { common, again } => (common, true, *again),
    };
    let file = |reason: String| FirmwareError::File { file: common.file.clone(), reason };
    let text = std::fs::read_to_string(&common.file).map_err(|error| file(error.to_string()))?;
    let wanted: Wanted =
        toml::from_str(&text).map_err(|error| file(error.message().replace('\n', " ")))?;
    let boot = std::fs::read_to_string(BOOT).unwrap_or_default();
    let (tool, mut memory) = (Tool::at(&common.tool), Memory::open(&common.memory)?);
    let boot = boot.trim();
    if setting {
        apply(&wanted.cards, &tool, &mut memory, boot, again)
    } else {
        finish(&seen(&wanted.cards, &tool, &memory, boot)?)
    }
}

/// What is to be done, by card.
fn seen(
    cards: &[Card],
    tool: &Tool,
    memory: &Memory,
    boot: &str,
) -> Result<Vec<Item>, FirmwareError> {
    let mut items = Vec::new();
    for card in cards {
        items.extend(plan(card, &tool.query(&card.device)?, memory, boot));
    }
    Ok(items)
}

/// Sets what is to be set.
///
/// # Errors
/// [`FirmwareError`].
pub fn apply(
    cards: &[Card],
    tool: &Tool,
    memory: &mut Memory,
    boot: &str,
    again: bool,
) -> Result<String, FirmwareError> {
    for card in cards {
        let items = plan(card, &tool.query(&card.device)?, memory, boot);
        let due: Vec<(&str, &Value)> = items
            .iter()
            .filter(|item| item.state == State::Due || again && item.state == State::Lost)
            .map(|item| (item.name.as_str(), &item.wanted))
            .collect();
        if !due.is_empty() {
            // Remembered first: what is set and not remembered could be set for ever.
            memory.note(&card.device, &due, boot)?;
            tool.set(&card.device, &due)?;
        }
    }
    finish(&seen(cards, tool, memory, boot)?)
}

fn finish(items: &[Item]) -> Result<String, FirmwareError> {
    let mut shown = table::table(&["device", "setting", "wanted", "now", "next", "state"]);
    for item in items {
        shown.add_row([
            item.device.clone(),
            item.name.clone(),
            item.wanted.to_string(),
            item.now.clone().unwrap_or_else(|| "-".into()),
            item.next.clone().unwrap_or_else(|| "-".into()),
            item.state.words().to_owned(),
        ]);
    }
    let mut text = table::text(&shown);
    let waits: Vec<&str> = items
        .iter()
        .filter(|item| item.state == State::Waits)
        .map(|item| item.name.as_str())
        .collect();
    if !waits.is_empty() {
        let names = waits.join(", ");
        text =
            format!("{text}\na power cycle is needed for {names}: switch the machine off and on");
    }
    if items.iter().any(|item| item.state.is_stuck()) {
        Err(FirmwareError::Stuck(text))
    } else {
        Ok(text)
    }
}
