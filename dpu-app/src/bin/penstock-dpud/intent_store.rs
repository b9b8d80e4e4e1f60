//! The intent that is in force: taken in whole, or changed in parts; either way altogether or not at all. Kept over restarts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::diagnostic::{Diagnostic, Diagnostics};
use model::intent::{Change, Intent, Object, ObjectName, Patch, Patched, Source, Spec};
use model::snapshot::Snapshot;
use thiserror::Error;

use crate::kept_intent::{KeptIntent, KeptPatch, OwnedSource, borrowed};
use crate::shared::Shared;

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

/// See the module.
#[derive(Debug)]
pub struct IntentStore {
    node: String,
    kept: KeptIntent,
    intent: Intent,
    /// What is in force, but was read from files and not applied: it is kept with the first change of it.
    unkept: Vec<OwnedSource>,
}

impl IntentStore {
    /// A store for a node that keeps intent in `directory`. Nothing is read yet.
    pub fn new(node: &str, directory: &Path) -> Self {
        Self {
            node: node.to_owned(),
            kept: KeptIntent::new(directory),
            intent: Intent::default(),
            unkept: Vec::new(),
        }
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
        let read = self.kept.read();
        let read = read.map_err(|error| LoadError::Read { file: self.kept.file(), error })?;
        let (sources, changes) = if let Some(read) = read {
            (read.sources, read.patches)
        } else {
            let read = |file: &PathBuf| match fs::read_to_string(file) {
                Ok(text) => Ok(OwnedSource { name: file.display().to_string(), text }),
                Err(error) => Err(LoadError::Read { file: file.clone(), error }),
            };
            (files.iter().map(read).collect::<Result<Vec<_>, _>>()?, Vec::new())
        };
        if sources.is_empty() && changes.is_empty() {
            return Ok(false);
        }
        let mut intent = parse(&borrowed(&sources))?;
        for change in &changes {
            let (sources, removed) = change.borrowed();
            let patched = intent.patch(&Patch { sources: &sources, removed: &removed });
            patched.map_err(|diagnostics| refused(&diagnostics))?;
        }
        let snapshot = Snapshot::compile(&intent, &self.node, None).map_err(unknown)?;
        shared.snapshot.store(Some(Arc::new(snapshot)));
        intent.prepare();
        self.intent = intent;
        if !self.kept.has_whole() {
            self.unkept = sources;
        }
        Ok(true)
    }

    /// Puts a whole intent in force, after it was kept for the next start.
    ///
    /// # Errors
    /// When it is wrong or cannot be kept; then nothing has changed.
    pub fn apply(
        &mut self,
        sources: Vec<(String, Vec<u8>)>,
        shared: &Shared,
    ) -> Result<(u64, Vec<Change>), ApplyError> {
        let previous = shared.snapshot.load_full();
        let as_sources: Vec<Source<'_>> =
            sources.iter().map(|(name, bytes)| Source { name, bytes }).collect();
        let mut intent = parse(&as_sources)?;
        let snapshot =
            Snapshot::compile(&intent, &self.node, previous.as_deref()).map_err(unknown)?;
        let kept = owned(sources).and_then(|sources| self.kept.replace(sources));
        kept.map_err(|error| self.not_kept(error))?;
        let epoch = snapshot.epoch;
        put_in_force(snapshot, previous, shared);
        let changes = intent.changes_since(&self.intent);
        intent.prepare();
        self.intent = intent;
        self.unkept = Vec::new();
        Ok((epoch, changes))
    }

    /// Puts a change of some objects in force: those of `sources` are added or take the place of what has their name, those
    /// of `removed` are removed.
    ///
    /// It is written down before it is in force, and safe from a power failure when this returns; in between it works
    /// already. Should the disk fail there, it is taken back.
    ///
    /// # Errors
    /// When something would be wrong then, or it cannot be kept; then nothing has changed.
    pub fn patch(
        &mut self,
        sources: Vec<(String, Vec<u8>)>,
        removed: &[ObjectName],
        shared: &Shared,
    ) -> Result<(u64, Vec<Change>), ApplyError> {
        let Some(previous) = shared.snapshot.load_full() else {
            let why = "no intent was applied yet that could be changed: apply a whole one first";
            return Err(ApplyError::Refused(vec![why.to_owned()]));
        };
        let as_sources: Vec<Source<'_>> =
            sources.iter().map(|(name, bytes)| Source { name, bytes }).collect();
        let patched = self.intent.patch(&Patch { sources: &as_sources, removed });
        let patched = patched.map_err(|diagnostics| refused(&diagnostics))?;
        let changes = patched.changes().to_vec();
        if changes.is_empty() {
            return Ok((previous.epoch, changes));
        }
        match self.follow(&patched, sources, removed, &previous, shared) {
            Ok(epoch) => {
                drop(patched);
                if self.kept.is_long() {
                    // Should it fail, the next change tries again.
                    let _ = self.kept.replace(documents(&self.intent));
                }
                Ok((epoch, changes))
            }
            Err(error) => {
                self.intent.revert(patched);
                // Whatever was in force for a moment has to be judged anew.
                let now = shared.snapshot.load_full();
                if let Some(now) = now.filter(|now| now.epoch != previous.epoch)
                    && let Ok(snapshot) = Snapshot::compile(&self.intent, &self.node, Some(&now))
                {
                    put_in_force(snapshot, Some(now), shared);
                }
                Err(error)
            }
        }
    }

    /// Puts in force, and keeps, what the intent has become.
    fn follow(
        &mut self,
        patched: &Patched,
        sources: Vec<(String, Vec<u8>)>,
        removed: &[ObjectName],
        previous: &Arc<Snapshot>,
        shared: &Shared,
    ) -> Result<u64, ApplyError> {
        let snapshot =
            Snapshot::follow(&self.intent, patched, &self.node, previous).map_err(unknown)?;
        if !self.kept.has_whole() {
            let unkept = self.unkept.clone();
            self.kept.replace(unkept).map_err(|error| self.not_kept(error))?;
            self.unkept = Vec::new();
        }
        let removed = removed.iter().map(|it| (it.kind.clone(), it.name.clone())).collect();
        let before = self.kept.length();
        let written =
            owned(sources).and_then(|sources| self.kept.write(&KeptPatch { sources, removed }));
        written.map_err(|error| self.not_kept(error))?;
        let epoch = snapshot.epoch;
        put_in_force(snapshot, Some(Arc::clone(previous)), shared);
        self.kept.sync().map_err(|error| {
            // A disk that cannot keep may not be able to forget either: the error is told all the same.
            let _ = self.kept.take_back(before);
            self.not_kept(error)
        })?;
        Ok(epoch)
    }

    fn not_kept(&self, error: io::Error) -> ApplyError {
        ApplyError::Keep { file: self.kept.file(), error }
    }
}

/// Gives the datapath another snapshot, and frees the old one where that keeps no packet waiting.
fn put_in_force(snapshot: Snapshot, previous: Option<Arc<Snapshot>>, shared: &Shared) {
    shared.snapshot.store(Some(Arc::new(snapshot)));
    // The last owner frees the old snapshot, which takes time: that must not be the datapath's loop.
    let rounds = shared.rounds();
    while rounds > 0 && shared.is_alive() && shared.rounds().wrapping_sub(rounds) < 2 {
        std::thread::sleep(Duration::from_micros(100));
    }
    drop(previous);
}

fn parse(sources: &[Source<'_>]) -> Result<Intent, ApplyError> {
    Intent::parse(sources).map_err(|diagnostics| refused(&diagnostics))
}

fn refused(diagnostics: &Diagnostics) -> ApplyError {
    ApplyError::Refused(diagnostics.iter().map(Diagnostic::render).collect())
}

#[allow(clippy::needless_pass_by_value, reason = "it is what the error is made of")]
fn unknown(unknown: model::UnknownNode) -> ApplyError {
    ApplyError::Refused(vec![unknown.to_string()])
}

fn owned(sources: Vec<(String, Vec<u8>)>) -> io::Result<Vec<OwnedSource>> {
    let source = |(name, bytes)| {
        let text = String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "intent is not UTF-8"))?;
        Ok(OwnedSource { name, text })
    };
    sources.into_iter().map(source).collect()
}

/// An intent as sources that say the same.
fn documents(intent: &Intent) -> Vec<OwnedSource> {
    fn add<'o, S: Spec + 'o>(objects: impl Iterator<Item = &'o Object<S>>, text: &mut String) {
        for object in objects {
            *text += &serde_json::to_string(object).unwrap_or_default();
            text.push('\n');
        }
    }
    let mut text = String::new();
    add(intent.nodes().iter(), &mut text);
    for vpc in intent.vpcs() {
        let mut value = serde_json::to_value(vpc).unwrap_or_default();
        // What follows from the rest of intent follows from it tomorrow.
        let given = intent.given(vpc.name());
        if let Some(spec) = value.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
            spec.retain(|field, _| match &field[..] {
                "vni" => given.vni.is_some(),
                "mtu" => given.mtu.is_some(),
                _ => true,
            });
        }
        text += &value.to_string();
        text.push('\n');
    }
    add(intent.subnets().iter(), &mut text);
    add(intent.interfaces().iter(), &mut text);
    add(intent.security_groups().iter(), &mut text);
    add(intent.route_tables().iter(), &mut text);
    vec![OwnedSource { name: "applied before".into(), text }]
}

#[cfg(test)]
mod tests {
    use model::intent::What;

    use super::*;
    use crate::clock::Clock;
    use crate::kept_intent::FILE;

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
        let (epoch, changes) = store.apply(source(NODE), &shared).unwrap();
        assert_eq!(epoch, 1);
        assert_eq!(changes, [Change { what: What::Added, kind: "Node", name: "a".into() }]);
        // The same again changes nothing.
        assert_eq!(store.apply(source(NODE), &shared).unwrap(), (1, vec![]));

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
        store.apply(source(NODE), &shared).unwrap();
        let kept = fs::read(directory.path().join(FILE)).unwrap();
        for wrong in ["kind: [", "", "kind: Nonsense"] {
            let error = store.apply(source(wrong), &shared).unwrap_err();
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

    const VPC: &str = "apiVersion: penstock.dev/v1alpha1\nkind: Vpc\nmetadata: {name: blue}\nspec: {cidrs: [10.0.0.0/16]}\n---\napiVersion: penstock.dev/v1alpha1\nkind: Subnet\nmetadata: {name: web}\nspec: {vpc: blue, cidrs: [10.0.1.0/24]}\n";

    fn interface(name: &str, vf: u16) -> Vec<(String, Vec<u8>)> {
        source(&format!(
            "apiVersion: penstock.dev/v1alpha1\nkind: Interface\nmetadata: {{name: {name}}}\nspec: {{subnet: web, node: a, vf: {vf}, mac: '02:00:00:00:00:0{vf}', addresses: [10.0.1.1{vf}]}}\n"
        ))
    }

    fn named(kind: &str, name: &str) -> ObjectName {
        ObjectName { kind: kind.into(), name: name.into() }
    }

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Shared::new(Clock::start(), None);
        // First intent from a file, which is kept with the first change.
        let file = directory.path().join("first.yaml");
        fs::write(&file, format!("{NODE}---\n{VPC}")).unwrap();
        let state = directory.path().join("state");
        let mut store = IntentStore::new("a", &state);
        assert!(store.load(&[file], &shared).unwrap());
        assert_eq!(store.patch(interface("one", 1), &[], &shared).unwrap().0, 2);
        assert_eq!(store.patch(interface("two", 2), &[], &shared).unwrap().0, 3);
        let (epoch, changes) = store.patch(vec![], &[named("Interface", "one")], &shared).unwrap();
        assert_eq!((epoch, changes.len(), changes[0].what), (4, 1, What::Removed));
        // The same again is no change, and is not written down.
        let length = store.kept.length();
        assert_eq!(store.patch(interface("two", 2), &[], &shared).unwrap(), (4, vec![]));
        assert_eq!(store.kept.length(), length);

        let restarted = Shared::new(Clock::start(), None);
        let mut again = IntentStore::new("a", &state);
        assert!(again.load(&[], &restarted).unwrap());
        assert_eq!(again.intent(), store.intent());
        let snapshot = restarted.snapshot.load_full().unwrap();
        assert_eq!(snapshot.interfaces.values().map(|it| &it.name).collect::<Vec<_>>(), ["two"]);

        // A journal that has become long becomes one with the whole, and says the same; so does a new whole.
        again.kept.replace(documents(again.intent())).unwrap();
        let mut last = IntentStore::new("a", &state);
        assert!(last.load(&[], &restarted).unwrap());
        assert_eq!(last.intent(), store.intent());
        assert_eq!(last.intent().given("blue"), store.intent().given("blue"));
    }

    #[test]
    fn a_change_that_is_wrong_or_cannot_be_kept_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Shared::new(Clock::start(), None);
        let state = directory.path().join("state");
        let mut store = IntentStore::new("a", &state);
        let early = store.patch(interface("one", 1), &[], &shared).unwrap_err();
        assert!(early.to_string().contains("apply a whole one first"), "{early}");
        store.apply(source(&format!("{NODE}---\n{VPC}")), &shared).unwrap();
        store.patch(interface("one", 1), &[], &shared).unwrap();
        let before = (store.intent().clone(), store.kept.length());
        for (wrong, removed) in [
            (interface("two", 1), vec![]),
            (vec![], vec![named("Subnet", "web")]),
            (vec![], vec![named("Interface", "nobody")]),
            // This node's own.
            (vec![], vec![named("Interface", "one"), named("Node", "a")]),
            (source("kind: ["), vec![]),
        ] {
            let error = store.patch(wrong, &removed, &shared).unwrap_err();
            assert!(matches!(error, ApplyError::Refused(_)), "{error}");
            assert_eq!((store.intent(), store.kept.length()), (&before.0, before.1));
            assert_eq!(shared.snapshot.load().as_ref().unwrap().epoch, 2);
        }
        // What is in force already has no place in a file.
        let error = store.patch(interface("two", 1), &[], &shared).unwrap_err().to_string();
        assert!(error.contains("intent.yaml:4:34: error: Interface/two: VF 1"), "{error}");
        assert!(error.contains("the first is at intent in force"), "{error}");

        fs::remove_dir_all(&state).unwrap();
        fs::write(&state, "in the way").unwrap();
        store.kept = KeptIntent::new(&state);
        let error = store.patch(interface("two", 2), &[], &shared).unwrap_err();
        assert!(matches!(error, ApplyError::Keep { .. }), "{error}");
        assert_eq!(store.intent(), &before.0);
        assert_eq!(shared.snapshot.load().as_ref().unwrap().epoch, 2);
    }
}
