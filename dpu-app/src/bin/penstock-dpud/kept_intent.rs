//! The intent that was applied, on disk: the sources of the whole, and a journal of the changes since.
//!
//! A journal belongs to the whole of its number; a new whole has another number, so that no moment's crash can bring changes
//! together with a whole that they were not made to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use model::intent::{ObjectName, Source};
use serde::{Deserialize, Serialize};

/// The file of the whole.
pub const FILE: &str = "applied-intent.json";

/// Versions of the file: 1 had no number.
const VERSION: u32 = 2;

/// A journal that is longer, bytes, is made one with its whole.
const LONG: u64 = 64 << 20;

/// A file of intent, as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedSource {
    /// What messages call it.
    pub name: String,
    /// YAML or JSON.
    pub text: String,
}

/// A change, as it was applied; a line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptPatch {
    /// Objects that came or became others.
    pub sources: Vec<OwnedSource>,
    /// Kinds and names of those that went.
    pub removed: Vec<(String, String)>,
}

/// The form of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    version: u32,
    #[serde(default)]
    number: u64,
    sources: Vec<OwnedSource>,
}

/// What was kept.
#[derive(Debug, Default)]
pub struct Read {
    /// The sources of the whole.
    pub sources: Vec<OwnedSource>,
    /// The changes since, in their order.
    pub patches: Vec<KeptPatch>,
}

/// See the module.
#[derive(Debug)]
pub struct KeptIntent {
    directory: PathBuf,
    /// Of the whole that is there, if one is.
    number: Option<u64>,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    /// Up to the end of the last change that counts.
    length: u64,
}

impl KeptIntent {
    /// In a directory; nothing is read yet.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), number: None, journal: None }
    }

    /// The file of the whole.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    fn journal_file(&self, number: u64) -> PathBuf {
        self.directory.join(format!("applied-changes-{number}.jsonl"))
    }

    /// What was kept, if anything was.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(&mut self) -> io::Result<Option<Read>> {
        let bytes = match fs::read(self.file()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        let whole: Whole =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if !(1..=VERSION).contains(&whole.version) {
            return Err(wrong(format!(
                "version {} is not known to this daemon, which knows {VERSION}; apply intent anew",
                whole.version
            )));
        }
        self.number = Some(whole.number);
        let mut patches = Vec::new();
        let journal = self.journal_file(whole.number);
        match fs::read(&journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(bytes) => {
                let mut length = 0;
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    // The end of a line that was being written when the power failed: nobody was told that it was kept.
                    let Some(line) = line.strip_suffix(b"\n") else { break };
                    let patch = serde_json::from_slice(line)
                        .map_err(|error| wrong(format!("{}: {error}", journal.display())))?;
                    patches.push(patch);
                    length += line.len() as u64 + 1;
                }
                let file = OpenOptions::new().write(true).open(&journal)?;
                file.set_len(length)?;
                self.journal = Some(Journal { file, length });
            }
        }
        Ok(Some(Read { sources: whole.sources, patches }))
    }

    /// Whether there is a whole.
    pub const fn has_whole(&self) -> bool {
        self.number.is_some()
    }

    /// Whether the journal has become long.
    pub fn is_long(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.length > LONG)
    }

    /// Keeps a whole in place of what there was, so that at any moment, also after a power failure, the old or the new one
    /// is there.
    ///
    /// # Errors
    /// When it cannot be kept; the old one is there still.
    pub fn replace(&mut self, sources: Vec<OwnedSource>) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let number = self.number.map_or(0, |number| number.wrapping_add(1));
        let path = self.file();
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        let whole = Whole { version: VERSION, number, sources };
        file.write_all(&serde_json::to_vec(&whole)?)?;
        file.sync_all()?;
        // One of that number can only be what a crash left.
        remove(&self.journal_file(number))?;
        fs::rename(&new, &path)?;
        File::open(&self.directory)?.sync_all()?;
        if let Some(old) = self.number.replace(number) {
            self.journal = None;
            // It means nothing any more; should it stay, it is in nobody's way.
            let _ = remove(&self.journal_file(old));
        }
        Ok(())
    }

    /// Writes a change down; not until [`KeptIntent::sync`] does it outlast a power failure.
    ///
    /// # Errors
    /// When it cannot be written; then it does not count.
    pub fn write(&mut self, patch: &KeptPatch) -> io::Result<()> {
        let number = self.number.unwrap_or_default();
        let mut line = serde_json::to_vec(patch)?;
        line.push(b'\n');
        let mut journal = if let Some(journal) = self.journal.take() {
            journal
        } else {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(self.journal_file(number))?;
            File::open(&self.directory)?.sync_all()?;
            Journal { file, length: 0 }
        };
        journal.file.seek(SeekFrom::Start(journal.length))?;
        let written = journal.file.write_all(&line);
        match written {
            Ok(()) => journal.length += line.len() as u64,
            Err(_) => journal.file.set_len(journal.length)?,
        }
        self.journal = Some(journal);
        written
    }

    /// Makes what was written outlast a power failure.
    ///
    /// # Errors
    /// When that is not sure.
    pub fn sync(&self) -> io::Result<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.file.sync_data())
    }

    /// How long the journal is, to come back to.
    pub fn length(&self) -> u64 {
        self.journal.as_ref().map_or(0, |journal| journal.length)
    }

    /// Takes back what was written since the journal was so long.
    ///
    /// # Errors
    /// When that is not sure.
    pub fn take_back(&mut self, length: u64) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.length = length;
        journal.file.set_len(length)?;
        journal.file.sync_data()
    }
}

impl KeptPatch {
    /// Its sources and removals as the model takes them.
    pub fn borrowed(&self) -> (Vec<Source<'_>>, Vec<ObjectName>) {
        let name =
            |(kind, name): &(String, String)| ObjectName { kind: kind.clone(), name: name.clone() };
        (borrowed(&self.sources), self.removed.iter().map(name).collect())
    }
}

/// Sources as the model takes them.
pub fn borrowed(sources: &[OwnedSource]) -> Vec<Source<'_>> {
    sources.iter().map(|s| Source { name: &s.name, bytes: s.text.as_bytes() }).collect()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Vec<OwnedSource> {
        vec![OwnedSource { name: "intent.yaml".into(), text: text.into() }]
    }

    fn patch(text: &str) -> KeptPatch {
        KeptPatch { sources: source(text), removed: vec![("Vpc".into(), "blue".into())] }
    }

    fn read(directory: &Path) -> Option<(String, Vec<KeptPatch>)> {
        let read = KeptIntent::new(directory).read().unwrap()?;
        Some((read.sources[0].text.clone(), read.patches))
    }

    #[test]
    fn changes_are_those_of_their_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(read(path), None);
        let mut kept = KeptIntent::new(path);
        kept.replace(source("one")).unwrap();
        kept.write(&patch("a")).unwrap();
        let length = kept.length();
        kept.write(&patch("b")).unwrap();
        kept.sync().unwrap();
        assert_eq!(read(path), Some(("one".into(), vec![patch("a"), patch("b")])));
        kept.take_back(length).unwrap();
        kept.write(&patch("c")).unwrap();
        assert_eq!(read(path), Some(("one".into(), vec![patch("a"), patch("c")])));
        let journal = fs::read(kept.journal_file(0)).unwrap();
        kept.replace(source("two")).unwrap();
        assert_eq!(read(path), Some(("two".into(), vec![])));
        // Not even when a crash left the old one's.
        fs::write(kept.journal_file(0), &journal).unwrap();
        assert_eq!(read(path), Some(("two".into(), vec![])));
        fs::write(kept.journal_file(2), &journal).unwrap();
        kept.replace(source("three")).unwrap();
        assert_eq!(read(path), Some(("three".into(), vec![])));
    }

    #[test]
    fn half_a_line_does_not_count_and_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let mut kept = KeptIntent::new(directory.path());
        kept.replace(source("one")).unwrap();
        kept.write(&patch("a")).unwrap();
        let journal = kept.journal_file(0);
        let mut bytes = fs::read(&journal).unwrap();
        bytes.extend(b"{\"sources\": [");
        fs::write(&journal, bytes).unwrap();
        let mut kept = KeptIntent::new(directory.path());
        assert_eq!(kept.read().unwrap().unwrap().patches, [patch("a")]);
        kept.write(&patch("b")).unwrap();
        assert_eq!(read(directory.path()).unwrap().1, [patch("a"), patch("b")]);
    }

    #[test]
    fn the_version_before_is_read_and_a_later_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let text = |version: u32| {
            format!(
                "{{\"version\": {version}, \"sources\": [{{\"name\": \"a\", \"text\": \"b\"}}]}}"
            )
        };
        fs::write(directory.path().join(FILE), text(1)).unwrap();
        assert_eq!(read(directory.path()), Some(("b".into(), vec![])));
        fs::write(directory.path().join(FILE), text(VERSION + 1)).unwrap();
        let error = KeptIntent::new(directory.path()).read().unwrap_err().to_string();
        assert!(error.contains("apply intent anew"), "{error}");
    }
}
