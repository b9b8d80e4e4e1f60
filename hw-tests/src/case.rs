//! A case as its file says it; the crate's `README.md` describes the format for those who write cases.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rte_flow::{Profile, Steering, TransferPorts};
use serde::Deserialize;
use testbed::notation;

use crate::step::{Act, Step};

/// Pieces of packets that all cases have.
const FRAMES: &str = include_str!("../frames.yaml");

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name: the file's, without ending, within the directory of all cases.
    #[serde(skip)]
    pub name: String,
    /// What it shows, for people.
    pub about: String,
    /// For which profiles it holds: names, or classes of profiles.
    on: Vec<String>,
    /// How the NIC and testpmd are started.
    #[serde(default)]
    pub start: Start,
    /// Pieces of packets, beside those that all cases have.
    #[serde(default)]
    names: BTreeMap<String, String>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// What the NIC and testpmd are started with. Cases that want the same share one run of testpmd.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Start {
    /// Further device arguments of the simulated NIC; a real NIC does not run the case then.
    pub device: String,
    /// Further arguments of testpmd.
    pub testpmd: String,
    /// How the flow engine of the uplink's ethdev is configured where there are templates: arguments of `flow configure`;
    /// empty: as for all cases.
    pub configure: String,
    /// The case leaves testpmd in another state than it found it: nobody else gets it.
    pub alone: bool,
}

impl Case {
    /// Reads all cases below a directory, in the order of their names.
    ///
    /// # Errors
    /// What is wrong with the first file that cannot be used, in a line.
    pub fn all(directory: &Path) -> Result<Vec<Self>, String> {
        let mut files = Vec::new();
        find(directory, &mut files).map_err(|e| format!("{}: {e}", directory.display()))?;
        files.sort();
        files.iter().map(|file| Self::read(file, directory)).collect()
    }

    fn read(file: &Path, directory: &Path) -> Result<Self, String> {
        let wrong = |what: String| format!("{}: {what}", file.display());
        let text = fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
        let mut case: Self = serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        let name = file.strip_prefix(directory).unwrap_or(file).with_extension("");
        case.name = name.display().to_string();
        let frames: BTreeMap<String, String> =
            serde_saphyr::from_str(FRAMES).map_err(|e| wrong(format!("frames.yaml: {e}")))?;
        for (name, text) in frames {
            case.names.entry(name).or_insert(text);
        }
        case.check().map_err(wrong)?;
        Ok(case)
    }

    /// What can be known to be wrong before the case runs.
    fn check(&self) -> Result<(), String> {
        if self.steps.is_empty() {
            return Err("a case without steps shows nothing".to_owned());
        }
        for text in self.on.iter().chain(self.steps.iter().flat_map(|step| &step.on).flatten()) {
            if !Profile::names().any(|name| belongs(text, name)) {
                return Err(format!("`{text}` is no profile and no class of profiles"));
            }
        }
        for (number, step) in self.steps.iter().enumerate() {
            let wrong = |e| format!("step {}: {e}", number + 1);
            let is_until = |step: &Step| matches!(step.act, Act::Until(_));
            if step.loses_the_sentinel() && !self.steps.get(number + 1).is_some_and(is_until) {
                return Err(wrong("where the sentinel is lost, until must come next".to_owned()));
            }
            for text in step.packets() {
                self.packet(text).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// Whether the case holds for a NIC of this profile.
    #[must_use]
    pub fn holds_for(&self, profile: &str) -> bool {
        self.on.iter().any(|text| belongs(text, profile))
    }

    /// The bytes of a packet whose text may name pieces.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn packet(&self, text: &str) -> Result<Vec<u8>, String> {
        notation::packet(&self.expand(text)?)
    }

    /// A packet's text with names replaced, also those within names.
    fn expand(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for _ in 0..16 {
            let Some((before, rest)) = text.split_once('{') else {
                return Ok(text);
            };
            let (name, after) =
                rest.split_once('}').ok_or_else(|| format!("`{{{rest}` is not closed"))?;
            let value = self.names.get(name).ok_or_else(|| format!("`{name}` is not in names"))?;
            text = format!("{before}{value}{after}");
        }
        Err("names lead to each other without end".to_owned())
    }
}

/// Whether a profile is the one of this name, or of this class.
pub(crate) fn belongs(text: &str, profile: &str) -> bool {
    let has = |property: fn(&Profile) -> bool| Profile::named(profile).is_ok_and(|p| property(&p));
    match text {
        "all" => true,
        "software-steering" => has(|profile| profile.steering == Steering::Software),
        "hardware-steering" => has(|profile| profile.steering == Steering::Hardware),
        "synchronous" => has(|profile| {
            let interface = &profile.interface;
            interface.synchronous && interface.transfer_ports == TransferPorts::Any
        }),
        "templates" => has(|profile| profile.interface.templates),
        name => name == profile,
    }
}

/// All cases below a directory.
fn find(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}
