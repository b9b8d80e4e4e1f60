//! A program and the one before, beside each other: what is installed is always whole, and there is a way back until it is
//! given up.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Everybody may run it, and only its owner change it.
const MODE: u32 = 0o755;

/// Why programs cannot be changed.
#[derive(Debug, Error)]
pub enum StageError {
    /// The system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// An upgrade ended early.
    #[error(
        "{}: an earlier upgrade ended before it was known whether the new daemon is well; go back with `penstock upgrade --roll-back`, or stay with --keep",
        .0.display()
    )]
    Unfinished(PathBuf),
    /// There is nothing to go back to.
    #[error("{}: there is no program to go back to", .0.display())]
    NoWayBack(PathBuf),
}

/// See the module.
#[derive(Debug)]
pub struct Stage {
    installed: PathBuf,
    previous: PathBuf,
    new: PathBuf,
}

impl Stage {
    /// Of a program that is installed there.
    #[must_use]
    pub fn of(installed: &Path) -> Self {
        let beside = |suffix: &str| {
            let mut name = installed.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let (previous, new) = (beside(".previous"), beside(".new"));
        Self { installed: installed.to_owned(), previous, new }
    }

    /// Whether an upgrade may begin.
    ///
    /// # Errors
    /// When another one has not ended.
    pub fn check(&self) -> Result<(), StageError> {
        if self.previous.exists() {
            return Err(StageError::Unfinished(self.previous.clone()));
        }
        Ok(())
    }

    /// Puts a program in the place of the one that is installed, which stays beside it.
    ///
    /// # Errors
    /// When it cannot; then the program that was installed is still in its place.
    pub fn put(&self, program: &Path) -> Result<(), StageError> {
        self.check()?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| StageError::Io { path, error }
        };
        remove(&self.new).map_err(at(&self.new))?;
        let mut from = File::open(program).map_err(at(program))?;
        let mut to = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&self.new)
            .map_err(at(&self.new))?;
        io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(at(&self.new))?;
        fs::hard_link(&self.installed, &self.previous).map_err(at(&self.previous))?;
        let renamed = self
            .flush()
            .and_then(|()| fs::rename(&self.new, &self.installed).map_err(at(&self.installed)));
        if renamed.is_err() {
            // Nothing has changed: so there is nothing to go back to, either.
            remove(&self.previous).map_err(at(&self.previous))?;
        }
        renamed?;
        self.flush()
    }

    /// Puts the program before in its place again. It stays beside it, too, until [`Self::keep`].
    ///
    /// # Errors
    /// When there is none, or it cannot.
    pub fn take_back(&self) -> Result<(), StageError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| StageError::Io { path, error }
        };
        if !self.previous.exists() {
            return Err(StageError::NoWayBack(self.previous.clone()));
        }
        remove(&self.new).map_err(at(&self.new))?;
        fs::hard_link(&self.previous, &self.new).map_err(at(&self.new))?;
        fs::rename(&self.new, &self.installed).map_err(at(&self.installed))?;
        // Of two names of one file, renaming leaves both.
        remove(&self.new).map_err(at(&self.new))?;
        self.flush()
    }

    /// Gives the way back up.
    ///
    /// # Errors
    /// When it cannot.
    pub fn keep(&self) -> Result<(), StageError> {
        remove(&self.previous)
            .map_err(|error| StageError::Io { path: self.previous.clone(), error })?;
        self.flush()
    }

    fn flush(&self) -> Result<(), StageError> {
        let directory = self.installed.parent().filter(|path| !path.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| StageError::Io { path: directory.to_owned(), error })
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_way_back_until_it_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let content = |name: &str| fs::read_to_string(path(name)).ok();
        fs::write(path("dpud"), "old").unwrap();
        fs::write(path("other"), "new").unwrap();
        // As after a death while it was copied.
        fs::write(path("dpud.new"), "half").unwrap();
        let stage = Stage::of(&path("dpud"));
        assert!(matches!(stage.take_back(), Err(StageError::NoWayBack(_))));
        assert!(stage.put(&path("missing")).is_err());
        stage.put(&path("other")).unwrap();
        assert_eq!(
            (content("dpud").unwrap(), content("dpud.previous").unwrap()),
            ("new".into(), "old".into())
        );
        assert!(matches!(stage.put(&path("other")), Err(StageError::Unfinished(_))));
        // Twice, as after a death in between.
        stage.take_back().unwrap();
        stage.take_back().unwrap();
        assert_eq!(content("dpud").unwrap(), "old");
        assert!(stage.check().is_err());
        stage.keep().unwrap();
        stage.check().unwrap();
        assert_eq!((content("dpud").unwrap(), content("dpud.new")), ("old".into(), None));
    }
}
