//! What was set, and in which run of the machine: so that what did not help is known, and not tried again and again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Value;

/// Why it cannot be remembered.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct MemoryError {
    path: PathBuf,
    reason: String,
}

/// What was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// To what.
    pub value: Value,
    /// The machine's run in which it was.
    pub boot: String,
}

/// See the module.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    /// By card and setting.
    noted: BTreeMap<String, BTreeMap<String, Noted>>,
}

impl Memory {
    /// What is remembered in a file; nothing where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self, MemoryError> {
        let failed = |reason: String| MemoryError { path: path.to_owned(), reason };
        let noted = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                failed(format!("{error}; remove it to begin anew: what was set is then forgotten"))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok(Self { path: path.to_owned(), noted })
    }

    /// What was set of a setting.
    #[must_use]
    pub fn of(&self, device: &str, name: &str) -> Option<&Noted> {
        self.noted.get(device)?.get(name)
    }

    /// Remembers settings that are about to be set.
    ///
    /// # Errors
    /// When that cannot be kept; then they must not be.
    pub fn note(
        &mut self,
        device: &str,
        settings: &[(&str, &Value)],
        boot: &str,
    ) -> Result<(), MemoryError> {
        let of_device = self.noted.entry(device.to_owned()).or_default();
        for (name, value) in settings {
            let noted = Noted { value: (*value).clone(), boot: boot.to_owned() };
            of_device.insert((*name).to_owned(), noted);
        }
        let keep = || -> io::Result<()> {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(directory)?;
            let new = self.path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(&self.noted)?)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        keep().map_err(|error| MemoryError { path: self.path.clone(), reason: error.to_string() })
    }
}
