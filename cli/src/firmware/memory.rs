//! What was set, and in which run of the machine: so that what did not help is known, and not tried again and again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trust::file::{self, FileError};

use super::Value;

const MENDING: &str = "remove it to begin anew: what was set is then forgotten";

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
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let noted = match file::read(path)? {
            None => BTreeMap::new(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let (path, message) = (path.to_owned(), error.to_string());
                FileError::Content { path, message, mending: MENDING }
            })?,
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
    ) -> Result<(), FileError> {
        let of_device = self.noted.entry(device.to_owned()).or_default();
        for (name, value) in settings {
            let noted = Noted { value: (*value).clone(), boot: boot.to_owned() };
            of_device.insert((*name).to_owned(), noted);
        }
        let bytes = serde_json::to_vec_pretty(&self.noted);
        let bytes = bytes
            .map_err(|error| FileError::Io { path: self.path.clone(), error: error.into() })?;
        file::replace(&self.path, &bytes)
    }
}
