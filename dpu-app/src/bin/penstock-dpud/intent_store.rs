//! The intent that is in force: taken in whole or not at all, kept over restarts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::diagnostic::{Diagnostic, Diagnostics};
use model::intent::{Intent, Object, Source, Spec};
use model::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::shared::Shared;

/// The file in the state directory.
const FILE: &str = "applied-intent.json";

/// A file of intent, as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedSource {
    /// What messages call it.
    pub name: String,
    /// YAML or JSON.
    pub text: String,
}

/// The form of the state file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Applied {
    version: u32,
    sources: Vec<OwnedSource>,
}

const VERSION: u32 = 1;

/// Why intent was not taken.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// It is wrong; everything that is wrong with it.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// It could not be kept.
    #[error("cannot keep intent in {}: {error}; nothing was changed", file.display())]
    Keep {
        /// Where.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Why intent could not be read at the start.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{}: {error}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It cannot be in force.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// A change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened to it.
    pub what: What,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is another.
    Changed,
    /// It is gone.
    Removed,
}

/// See the module.
#[derive(Debug)]
pub struct IntentStore {
    node: String,
    file: PathBuf,
    intent: Intent,
}

impl IntentStore {
    /// A store for a node that keeps intent in `directory`. Nothing is read yet.
    pub fn new(node: &str, directory: &Path) -> Self {
        Self { node: node.to_owned(), file: directory.join(FILE), intent: Intent::default() }
    }

    /// The intent in force.
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Puts in force what was applied last; if nothing ever was, what `files` say. Whether there was anything.
    ///
    /// # Errors
    /// When it cannot be read, or is wrong; nothing is in force then.
    pub fn load(&mut self, files: &[PathBuf], shared: &Shared) -> Result<bool, LoadError> {
        let sources = match fs::read(&self.file) {
            Ok(bytes) => {
                let wrong = |message: String| LoadError::Read {
                    file: self.file.clone(),
                    error: io::Error::new(io::ErrorKind::InvalidData, message),
                };
                let applied: Applied =
                    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
                if applied.version != VERSION {
                    let version = applied.version;
                    return Err(wrong(format!(
                        "version {version} is not known to this daemon, which knows {VERSION}; apply intent anew"
                    )));
                }
                applied.sources
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let read = |file: &PathBuf| match fs::read_to_string(file) {
                    Ok(text) => Ok(OwnedSource { name: file.display().to_string(), text }),
                    Err(error) => Err(LoadError::Read { file: file.clone(), error }),
                };
                files.iter().map(read).collect::<Result<_, _>>()?
            }
            Err(error) => return Err(LoadError::Read { file: self.file.clone(), error }),
        };
        if sources.is_empty() {
            return Ok(false);
        }
        let (intent, snapshot) = self.compile(&borrowed(&sources), None)?;
        self.intent = intent;
        shared.snapshot.store(Some(Arc::new(snapshot)));
        Ok(true)
    }

    /// Puts intent in force, after it was kept for the next start.
    ///
    /// # Errors
    /// When it is wrong or cannot be kept; then nothing has changed.
    pub fn apply(
        &mut self,
        sources: &[(String, Vec<u8>)],
        shared: &Shared,
    ) -> Result<(u64, Vec<Change>), ApplyError> {
        let previous = shared.snapshot.load_full();
        let borrowed: Vec<Source<'_>> =
            sources.iter().map(|(name, bytes)| Source { name, bytes }).collect();
        let (intent, snapshot) = self.compile(&borrowed, previous.as_deref())?;
        self.keep(sources).map_err(|error| ApplyError::Keep { file: self.file.clone(), error })?;
        let epoch = snapshot.epoch;
        shared.snapshot.store(Some(Arc::new(snapshot)));
        // The last owner frees the old snapshot, which takes time: that must not be the datapath's loop.
        let rounds = shared.rounds();
        while rounds > 0 && shared.is_alive() && shared.rounds().wrapping_sub(rounds) < 2 {
            std::thread::sleep(Duration::from_micros(100));
        }
        drop(previous);
        let changes = changes(&self.intent, &intent);
        self.intent = intent;
        Ok((epoch, changes))
    }

    fn compile(
        &self,
        sources: &[Source<'_>],
        previous: Option<&Snapshot>,
    ) -> Result<(Intent, Snapshot), ApplyError> {
        let refused = |diagnostics: &Diagnostics| {
            ApplyError::Refused(diagnostics.iter().map(Diagnostic::render).collect())
        };
        let intent = Intent::parse(sources).map_err(|diagnostics| refused(&diagnostics))?;
        let snapshot = Snapshot::compile(&intent, &self.node, previous)
            .map_err(|unknown| ApplyError::Refused(vec![unknown.to_string()]))?;
        Ok((intent, snapshot))
    }

    /// Replaces the state file so that at any moment, also after a power failure, the old or the new one is there.
    fn keep(&self, sources: &[(String, Vec<u8>)]) -> io::Result<()> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "intent is not UTF-8"))
        };
        let sources = sources
            .iter()
            .map(|(name, bytes)| Ok(OwnedSource { name: name.clone(), text: text(bytes)? }))
            .collect::<io::Result<_>>()?;
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let new = self.file.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&Applied { version: VERSION, sources })?)?;
        file.sync_all()?;
        fs::rename(&new, &self.file)?;
        File::open(directory)?.sync_all()
    }
}

fn borrowed(sources: &[OwnedSource]) -> Vec<Source<'_>> {
    sources.iter().map(|s| Source { name: &s.name, bytes: s.text.as_bytes() }).collect()
}

/// What differs between two intents.
fn changes(old: &Intent, new: &Intent) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(old.nodes(), new.nodes(), &mut changes);
    compare(old.vpcs(), new.vpcs(), &mut changes);
    compare(old.subnets(), new.subnets(), &mut changes);
    compare(old.interfaces(), new.interfaces(), &mut changes);
    compare(old.security_groups(), new.security_groups(), &mut changes);
    compare(old.route_tables(), new.route_tables(), &mut changes);
    changes
}

/// Both are sorted by name.
fn compare<S: Spec + PartialEq>(old: &[Object<S>], new: &[Object<S>], changes: &mut Vec<Change>) {
    let mut add = |what, object: &Object<S>| {
        changes.push(Change { what, kind: S::KIND, name: object.name().to_string() });
    };
    let find = |list: &[Object<S>], object: &Object<S>| {
        list.binary_search_by(|other| other.name().cmp(object.name())).ok()
    };
    for object in new {
        match find(old, object).and_then(|place| old.get(place)) {
            None => add(What::Added, object),
            Some(before) if before != object => add(What::Changed, object),
            Some(_) => {}
        }
    }
    for object in old {
        if find(new, object).is_none() {
            add(What::Removed, object);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const NODE: &str = "apiVersion: penstock.dev/v1alpha1\nkind: Node\nmetadata: {name: a}\nspec: {vtep: 192.0.2.1, mac: '02:00:00:00:00:01', underlay: {prefix: 192.0.2.0/24}}\n";

    fn source(text: &str) -> Vec<(String, Vec<u8>)> {
        vec![("intent.yaml".to_owned(), text.as_bytes().to_vec())]
    }

    #[test]
    fn what_was_applied_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let shared = Shared::new(Clock::start(), None);
        let mut store = IntentStore::new("a", &state);
        assert!(!store.load(&[], &shared).unwrap());
        assert!(shared.snapshot.load().is_none());
        let (epoch, changes) = store.apply(&source(NODE), &shared).unwrap();
        assert_eq!(epoch, 1);
        assert_eq!(changes, [Change { what: What::Added, kind: "Node", name: "a".into() }]);
        // The same again changes nothing.
        assert_eq!(store.apply(&source(NODE), &shared).unwrap(), (1, vec![]));

        let restarted = Shared::new(Clock::start(), None);
        let mut store = IntentStore::new("a", &state);
        assert!(store.load(&[], &restarted).unwrap());
        assert_eq!(restarted.snapshot.load().as_ref().unwrap().node.name, "a");
        assert_eq!(store.intent().nodes().len(), 1);
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Shared::new(Clock::start(), None);
        let mut store = IntentStore::new("a", directory.path());
        store.apply(&source(NODE), &shared).unwrap();
        let kept = fs::read(directory.path().join(FILE)).unwrap();
        for wrong in ["kind: [", "", "kind: Nonsense"] {
            let error = store.apply(&source(wrong), &shared).unwrap_err();
            assert!(matches!(error, ApplyError::Refused(_)), "{wrong}: {error}");
        }
        assert_eq!(store.intent().nodes().len(), 1);
        assert_eq!(fs::read(directory.path().join(FILE)).unwrap(), kept);
    }

    #[test]
    fn first_intent_comes_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("first.yaml");
        fs::write(&file, NODE).unwrap();
        let shared = Shared::new(Clock::start(), None);
        let mut store = IntentStore::new("a", &directory.path().join("state"));
        assert!(store.load(&[file], &shared).unwrap());
        let missing = directory.path().join("missing.yaml");
        let mut store = IntentStore::new("a", &directory.path().join("state"));
        let error = store.load(std::slice::from_ref(&missing), &shared).unwrap_err();
        assert!(error.to_string().contains(&missing.display().to_string()));
    }
}
