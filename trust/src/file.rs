//! Files that hold keys and records: replaced as a whole, flushed, and for their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Owner only.
const MODE: u32 = 0o600;

/// Why a file cannot be read or kept.
#[derive(Debug, Error)]
pub enum FileError {
    /// The disk says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not what this program writes.
    #[error("{}: {message}; {mending}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        mending: &'static str,
    },
}

/// Replaces a file; its directory is made where there is none. After this it is there, whatever happens to the machine.
///
/// # Errors
/// When the disk says no; then there is the file that was there before.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    try_replace(path, content).map_err(|error| FileError::Io { path: path.to_owned(), error })
}

fn try_replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // A leftover of a death, or a link of somebody else: never written to.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

/// What is in a file; none when there is no such file.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::Io { path: path.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_reads_it_and_leftovers_are_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/secret");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, b"one").unwrap();
        // As after a death in the middle.
        fs::write(directory.path().join("sub/secret.new"), "half").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
