//! Leases on disk. A file is replaced as a whole, so that there is always one that is whole.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Lease, LeaseKey, LeaseNumber};
use crate::attachment::fault::{FaultPoint, Faults, Moment, Record};
use crate::device::VfId;

const VERSION: u32 = 1;
const FILE: &str = "leases.json";
const NEW: &str = "leases.json.new";
const LOCK: &str = "lock";

/// Why leases cannot be read or kept.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system says no.
    #[error("{}: {error}; leases must be kept: mend the disk or the directory's owner", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else has them.
    #[error("{}: another penstock-hostd keeps its leases here; stop it, or give this one another stateDirectory", .0.display())]
    InUse(PathBuf),
    /// It is not what this program writes.
    #[error("{}: {message}; which VF belongs to which VM is not known without it: restore it, or move it away when no VM runs", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

/// The file's content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    /// The number of the next lease.
    next: u64,
    leases: Vec<Lease>,
}

/// A document of any version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// All leases of a host. Only one program has them at a time.
#[derive(Debug)]
pub struct LeaseStore {
    directory: PathBuf,
    document: Document,
    /// Locked while this value lives; the kernel unlocks it when the program dies.
    _lock: File,
}

impl LeaseStore {
    /// Opens the leases in a directory, which is made where there is none.
    ///
    /// # Errors
    /// When they cannot be read: a program that does not know which VF belongs to whom must not begin.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::Io { path, error }
        };
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let path = directory.join(LOCK);
        let lock = File::create(&path).map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
        }
        let path = directory.join(FILE);
        let document = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|message| StoreError::Content { path, message })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Document { version: VERSION, next: 1, leases: Vec::new() }
            }
            Err(error) => return Err(failed(&path)(error)),
        };
        Ok(Self { directory: directory.to_owned(), document, _lock: lock })
    }

    /// All leases, the oldest first.
    #[must_use]
    pub fn leases(&self) -> &[Lease] {
        &self.document.leases
    }

    /// The lease of this number.
    #[must_use]
    pub fn get(&self, number: LeaseNumber) -> Option<&Lease> {
        self.leases().iter().find(|lease| lease.number == number)
    }

    /// The lease for an interface of a VM.
    #[must_use]
    pub fn of(&self, key: &LeaseKey) -> Option<&Lease> {
        self.leases().iter().find(|lease| lease.key() == *key)
    }

    /// The lease of a VF.
    #[must_use]
    pub fn of_vf(&self, vf: &VfId) -> Option<&Lease> {
        self.leases().iter().find(|lease| lease.vf == *vf)
    }

    /// The number that the next lease gets.
    #[must_use]
    pub const fn next_number(&self) -> LeaseNumber {
        LeaseNumber(self.document.next)
    }

    /// Keeps a lease, in place of the one that has its number.
    ///
    /// # Errors
    /// When it cannot be kept; then it is not.
    pub fn put(
        &mut self,
        lease: Lease,
        record: Record,
        faults: &dyn Faults,
    ) -> Result<(), StoreError> {
        let mut document = self.document.clone();
        document.next = document.next.max(lease.number.0 + 1);
        document.leases.retain(|other| other.number != lease.number);
        document.leases.push(lease);
        document.leases.sort_by_key(|lease| lease.number);
        self.replace(document, record, faults)
    }

    /// Forgets a lease.
    ///
    /// # Errors
    /// When that cannot be kept; then it is not forgotten.
    pub fn remove(&mut self, number: LeaseNumber, faults: &dyn Faults) -> Result<(), StoreError> {
        let mut document = self.document.clone();
        document.leases.retain(|lease| lease.number != number);
        self.replace(document, Record::Removed, faults)
    }

    fn replace(
        &mut self,
        document: Document,
        record: Record,
        faults: &dyn Faults,
    ) -> Result<(), StoreError> {
        let path = self.directory.join(FILE);
        let failed = |error| StoreError::Io { path: path.clone(), error };
        faults.reach(FaultPoint::Store(record, Moment::Before));
        let text =
            serde_json::to_string_pretty(&document).map_err(io::Error::from).map_err(failed)?;
        let new = self.directory.join(NEW);
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        faults.reach(FaultPoint::Store(record, Moment::Written));
        fs::rename(&new, &path).map_err(failed)?;
        // What is renamed is in force, also when the directory cannot be flushed: memory must say the same.
        self.document = document;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        faults.reach(FaultPoint::Store(record, Moment::Renamed));
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Document, String> {
    let Version { version } =
        serde_json::from_slice::<Version>(bytes).map_err(|e| e.to_string())?;
    if version != VERSION {
        return Err(format!("it is of version {version}, this program knows {VERSION}"));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let mut seen = BTreeSet::new();
    for lease in &document.leases {
        let names = [
            format!("lease {}", lease.number.0),
            format!("VF {}", lease.vf),
            format!("VM interface {}", lease.key()),
            format!("address {}", lease.settings.mac),
        ];
        if let Some(twice) = names.into_iter().find(|name| !seen.insert(name.clone())) {
            return Err(format!("{twice} is there twice"));
        }
        if lease.number.0 >= document.next {
            return Err(format!("lease {} is not below `next`", lease.number.0));
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::fault::NoFaults;
    use crate::attachment::testing::lease;
    use proptest::prelude::*;

    #[test]
    fn leases_outlive_the_program_and_have_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let mut store = LeaseStore::open(&path).unwrap();
        assert!(matches!(LeaseStore::open(&path), Err(StoreError::InUse(_))));
        store.put(lease(1, 0), Record::Created, &NoFaults).unwrap();
        store.put(lease(2, 1), Record::Created, &NoFaults).unwrap();
        store.remove(LeaseNumber(2), &NoFaults).unwrap();
        drop(store);
        // As after a death in the middle of a write.
        fs::write(path.join(NEW), "{").unwrap();
        let store = LeaseStore::open(&path).unwrap();
        assert_eq!(store.leases(), [lease(1, 0)]);
        assert_eq!(store.next_number(), LeaseNumber(3), "numbers are never used twice");
    }

    #[test]
    fn what_is_not_understood_stops_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let one = serde_json::to_value(lease(1, 0)).unwrap();
        let mut more = one.clone();
        more["colour"] = "red".into();
        let mut twice = one.clone();
        twice["number"] = 2.into();
        for (content, expected) in [
            ("{".to_owned(), "EOF"),
            (
                "{\"version\": 2, \"leases\": 7}".to_owned(),
                "it is of version 2, this program knows 1",
            ),
            (
                serde_json::json!({"version": 1, "next": 9, "leases": [more]}).to_string(),
                "unknown field `colour`",
            ),
            (
                serde_json::json!({"version": 1, "next": 9, "leases": [one, twice]}).to_string(),
                "VF S1/52:54:00:00:00:01/vf0 is there twice",
            ),
            (
                serde_json::json!({"version": 1, "next": 1, "leases": [one]}).to_string(),
                "lease 1 is not below `next`",
            ),
        ] {
            fs::write(directory.path().join(FILE), &content).unwrap();
            let error = LeaseStore::open(directory.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read_to_string(directory.path().join(FILE)).unwrap(), content);
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
