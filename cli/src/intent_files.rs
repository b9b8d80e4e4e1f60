//! Where intent comes from: files, directories of files, standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use model::diagnostic::Diagnostics;
use model::intent::{Intent, Source};
use thiserror::Error;

/// Endings of the files that count in a directory.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Why there is no intent.
#[derive(Debug, Error)]
pub enum IntentError {
    /// A file or directory cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A directory without intent.
    #[error("{}: the directory has no .yaml, .yml or .json file", .0.display())]
    EmptyDirectory(PathBuf),
    /// The text is wrong.
    #[error("{}", .0.render())]
    Wrong(Diagnostics),
}

/// Reads and checks intent from files, directories (their YAML and JSON files, in the order of their names, not deeper)
/// and, for `-`, standard input.
///
/// # Errors
/// [`IntentError`]: of wrong intent, everything that is wrong.
pub fn read<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Intent, IntentError> {
    let texts = texts(paths)?;
    let sources: Vec<Source<'_>> =
        texts.iter().map(|(name, bytes)| Source { name, bytes }).collect();
    Intent::parse(&sources).map_err(IntentError::Wrong)
}

/// The texts of files, directories and standard input as [`read`] takes them, unchecked, each with its name.
///
/// # Errors
/// When one of them cannot be read.
pub fn texts<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
) -> Result<Vec<(String, Vec<u8>)>, IntentError> {
    let mut texts = Vec::new();
    for path in paths {
        collect(path.as_ref(), &mut texts)?;
    }
    Ok(texts)
}

fn collect(path: &Path, texts: &mut Vec<(String, Vec<u8>)>) -> Result<(), IntentError> {
    let unreadable = |path: &Path, error| IntentError::Unreadable { path: path.to_owned(), error };
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
        texts.push(("<stdin>".to_owned(), bytes));
        return Ok(());
    }
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
            let file = entry.map_err(|error| unreadable(path, error))?.path();
            let ending = file.extension().and_then(|ending| ending.to_str());
            if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && !file.is_dir() {
                files.push(file);
            }
        }
        if files.is_empty() {
            return Err(IntentError::EmptyDirectory(path.to_owned()));
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    for file in files {
        let bytes = fs::read(&file).map_err(|error| unreadable(&file, error))?;
        texts.push((file.display().to_string(), bytes));
    }
    Ok(())
}
