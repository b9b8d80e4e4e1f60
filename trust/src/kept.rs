//! A record that outlives the program, as JSON in a file: what is said to be kept is on disk.

use std::path::PathBuf;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::file::{self, FileError};

/// The form of the files; another program may write another one.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    record: &'a T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<T> {
    #[serde(rename = "format")]
    _format: IgnoredAny,
    record: T,
}

/// See the module.
#[derive(Debug)]
pub struct Kept<T> {
    pub(crate) path: PathBuf,
    /// As it is on disk, or about to be.
    pub(crate) record: T,
}

impl<T: Serialize + DeserializeOwned + Default> Kept<T> {
    /// What is in a file; an empty record where there is none. `mending` is what an operator can do about one that is damaged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: PathBuf, mending: &'static str) -> Result<Self, FileError> {
        let record = match file::read(&path)? {
            None => T::default(),
            Some(bytes) => parse(&bytes).map_err(|message| {
                let path = path.clone();
                FileError::Content { path, message, mending }
            })?,
        };
        Ok(Self { path, record })
    }

    /// Another record in place of this one.
    ///
    /// # Errors
    /// When it cannot be kept; then this one stays.
    pub fn replace(&mut self, record: T) -> Result<(), FileError> {
        let written = serde_json::to_vec_pretty(&Written { format: FORMAT, record: &record });
        let bytes = written
            .map_err(|error| FileError::Io { path: self.path.clone(), error: error.into() })?;
        file::replace(&self.path, &bytes)?;
        self.record = record;
        Ok(())
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    // Of another form, all else may be different.
    let Any { format, .. } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if format != FORMAT {
        return Err(format!("it has format {format}, not {FORMAT}"));
    }
    serde_json::from_slice(bytes)
        .map(|read: Read<T>| read.record)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    #[test]
    fn what_is_kept_is_there_again_and_what_is_not_understood_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        let open = || Kept::<BTreeMap<String, u8>>::open(path.clone(), "remove it");
        let mut kept = open().unwrap();
        assert!(kept.record.is_empty());
        kept.replace([("a".to_owned(), 1)].into()).unwrap();
        assert_eq!(open().unwrap().record, kept.record);
        kept.path = directory.path().join("missing\0");
        assert!(kept.replace(BTreeMap::new()).is_err());
        assert_eq!(kept.record.len(), 1);
        for (text, expected) in [
            ("{", "EOF"),
            ("{\"format\": 9, \"other\": 1}", "it has format 9, not 1; remove it"),
            ("{\"format\": 1, \"record\": {}, \"more\": 1}", "unknown field"),
            ("{\"format\": 1, \"record\": {\"a\": \"b\"}}", "invalid type"),
        ] {
            fs::write(&path, text).unwrap();
            let error = open().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
