//! The command line of replay, and its files.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use dpu_app::datapath::Time;
use dpu_app::datapath::settings::Settings;
use rte_flow::{Profile, ProfileError};
use thiserror::Error;

use super::{HardwareError, Input, InputError, NodeMissing, Timeline, lines, replay_with_rules};
use crate::intent_files::{self, IntentError};

/// Arguments of `penstock replay`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Intent at the start: a file, a directory, or `-` for standard input
    #[arg(long)]
    pub intent: PathBuf,
    /// Another intent from SECONDS (after the first packet) on, before packets of that time; repeatable
    #[arg(long, value_name = "SECONDS:INTENT")]
    pub intent_at: Vec<IntentAt>,
    /// The node whose datapath runs
    #[arg(long)]
    pub node: String,
    /// Capture with interfaces named vf0, vf1, ... (frames the VM sends), uplink (frames from the wire), and kernel (frames
    /// the DPU's kernel sends; with a kernel port in the settings)
    #[arg(long = "in", value_name = "IN.pcapng")]
    pub input: PathBuf,
    /// Capture to write: what each VM and the wire receive
    #[arg(long = "out", value_name = "OUT.pcapng")]
    pub output: PathBuf,
    /// Whether connections move into the simulated NIC
    #[arg(long, value_enum, default_value_t = Offload::On)]
    pub offload: Offload,
    /// What the simulated NIC is; without effect with `--offload off`
    #[arg(long, value_name = "NAME", default_value = "unlimited")]
    pub profile: String,
    /// Events to write, one JSON object a line
    #[arg(long, value_name = "EVENTS.jsonl")]
    pub events: Option<PathBuf>,
    /// The rules that are in the simulated NIC at the end, to write for `penstock verify`
    #[arg(long, value_name = "RULES.jsonl")]
    pub dump_rules: Option<PathBuf>,
    /// The datapath's settings (TOML); what it leaves out has its default
    #[arg(long, value_name = "SETTINGS.toml")]
    pub settings: Option<PathBuf>,
}

/// Whether connections move into the simulated NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Offload {
    /// They do.
    On,
    /// All packets take the software path.
    Off,
}

/// An intent and when it begins to hold: `SECONDS:INTENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentAt {
    /// Virtual time.
    pub time: Time,
    /// Where it is.
    pub path: PathBuf,
}

impl FromStr for IntentAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (seconds, path) =
            text.split_once(':').ok_or("write SECONDS:INTENT, for example 2.5:new.yaml")?;
        let time = nanoseconds(seconds)
            .ok_or("SECONDS is a number like 2 or 2.5, with at most nine decimals")?;
        if path.is_empty() {
            return Err("the file is missing after SECONDS:".to_owned());
        }
        Ok(Self { time: Time(time), path: path.into() })
    }
}

/// Decimal seconds, exactly.
fn nanoseconds(seconds: &str) -> Option<u64> {
    const DIGITS: usize = 9;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > DIGITS {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<DIGITS$}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Why nothing was replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// There is no NIC of this profile for this intent.
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    /// There is no such profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Intent cannot be read or is wrong.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// Intent lacks the node.
    #[error(transparent)]
    Node(#[from] NodeMissing),
    /// The capture is wrong.
    #[error("{}: {error}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: InputError,
    },
    /// The settings are wrong.
    #[error("{}: {error}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: toml::de::Error,
    },
    /// Rules are to be written, and there is no NIC.
    #[error("--dump-rules needs a NIC; leave --offload off away")]
    NoRules,
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

fn read(path: &Path) -> Result<Vec<u8>, ReplayError> {
    fs::read(path).map_err(|error| ReplayError::File { path: path.to_owned(), error })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ReplayError> {
    fs::write(path, bytes).map_err(|error| ReplayError::File { path: path.to_owned(), error })
}

fn settings(path: &Path) -> Result<Settings, ReplayError> {
    let text = fs::read_to_string(path)
        .map_err(|error| ReplayError::File { path: path.to_owned(), error })?;
    toml::from_str(&text).map_err(|error| ReplayError::Settings { path: path.to_owned(), error })
}

/// Replays as the arguments say; says in a line what came of it.
///
/// # Errors
/// [`ReplayError`]; then no file was written, but for one that could not be written whole.
pub fn run(arguments: &Arguments) -> Result<String, ReplayError> {
    if arguments.dump_rules.is_some() && arguments.offload == Offload::Off {
        return Err(ReplayError::NoRules);
    }
    let profile = Profile::named(&arguments.profile)?;
    let settings = arguments.settings.as_deref().map(settings).transpose()?.unwrap_or_default();
    let first = intent_files::read([&arguments.intent])?;
    let later = arguments
        .intent_at
        .iter()
        .map(|at| Ok((at.time, intent_files::read([&at.path])?)))
        .collect::<Result<Vec<_>, IntentError>>()?;
    let timeline = Timeline::compile(&arguments.node, &first, later)?;
    let file = read(&arguments.input)?;
    let input = Input::read(&file, &settings)
        .map_err(|error| ReplayError::Input { path: arguments.input.clone(), error })?;

    let card = (arguments.offload == Offload::On).then(|| profile.into());
    let (output, rules) = replay_with_rules(&input, timeline, settings, card)?;

    write(&arguments.output, &output.capture(&input))?;
    if let Some(path) = &arguments.events {
        write(path, &lines(&output.events))?;
    }
    if let Some(path) = &arguments.dump_rules {
        let rules = rules.ok_or(ReplayError::NoRules)?;
        let file = fs::File::create(path).map(io::BufWriter::new);
        let written = file.and_then(|mut file| {
            rules.write(&mut file)?;
            file.flush()
        });
        written.map_err(|error| ReplayError::File { path: path.clone(), error })?;
    }
    Ok(format!(
        "{} packets in, {} out, {} events",
        input.packets.len(),
        output.departures.len(),
        output.events.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        for (text, time) in [
            ("0", 0),
            ("2", 2_000_000_000),
            ("2.5", 2_500_000_000),
            ("0.000000001", 1),
            ("18446744073.709551615", u64::MAX),
        ] {
            assert_eq!(nanoseconds(text), Some(time), "{text}");
        }
        for wrong in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000000001", "1 ", "18446744073.709551616"]
        {
            assert_eq!(nanoseconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_may_have_colons() {
        let at: IntentAt = "1.5:a:b.yaml".parse().unwrap();
        assert_eq!(at, IntentAt { time: Time(1_500_000_000), path: "a:b.yaml".into() });
        for wrong in ["new.yaml", "5:", "x:new.yaml"] {
            assert!(wrong.parse::<IntentAt>().is_err(), "{wrong}");
        }
    }
}
