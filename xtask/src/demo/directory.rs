//! The demo's directory: configurations, sockets, logs and the driver, removed with its value.

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, Result, WrapErr, bail};

use super::plan::DIRECTORY;

/// The directory, held against another demo on this machine.
pub struct Directory {
    _lock: File,
    leave: bool,
}

impl Directory {
    /// Makes it, empty.
    ///
    /// # Errors
    /// When another demo runs, or the system refuses.
    pub fn claim() -> Result<Self> {
        let path = Path::new(DIRECTORY);
        let what = || format!("{DIRECTORY}: cannot be used");
        fs::create_dir_all(path).into_diagnostic().wrap_err_with(what)?;
        // DPDK loads no driver from a directory that others may write to.
        fs::set_permissions(path, Permissions::from_mode(0o755)).into_diagnostic()?;
        let lock = File::open(path).into_diagnostic().wrap_err_with(what)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another demo runs on this machine; wait for it, or end it with Ctrl-C")
            }
            Err(TryLockError::Error(error)) => return Err(error).into_diagnostic(),
        }
        let directory = Self { _lock: lock, leave: false };
        for entry in fs::read_dir(path).into_diagnostic()?.filter_map(Result::ok) {
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .into_diagnostic()
                .wrap_err_with(|| path.display().to_string())?;
        }
        Ok(directory)
    }

    /// Whether an earlier demo left something here.
    pub fn has_leftovers() -> bool {
        fs::read_dir(DIRECTORY).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Leaves it for good.
    pub fn leave(mut self) {
        self.leave = true;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.leave {
            // What is left is removed at the next start.
            let _ = fs::remove_dir_all(DIRECTORY);
        }
    }
}

/// Writes a file, with the directories it lies in.
///
/// # Errors
/// When the system refuses.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let create = || {
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        fs::write(file, text)
    };
    create().into_diagnostic().wrap_err_with(|| file.display().to_string())
}

/// A file of the demo as a whole.
pub fn file(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
