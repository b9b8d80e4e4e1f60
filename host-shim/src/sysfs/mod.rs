//! The kernel's view of devices as files. The root is a parameter, so that tests can build their own.

use std::fmt::{self, Display};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

mod pci_address;

pub use pci_address::{PciAddress, PciAddressError};

/// Attributes are at most a page.
const LONGEST_ATTRIBUTE: u64 = 4096;
/// Configuration space of PCI Express, and more than any VPD (32 KiB).
const LONGEST_BINARY: u64 = 64 << 10;

/// Why a file of sysfs could not be used.
#[derive(Debug, Error)]
pub enum SysfsError {
    /// It cannot be read.
    #[error("{}: cannot be read: {error}{}", path.display(), mending(error))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It has something that was not expected.
    #[error("{}: `{text}` is not {expected}; is {} a sysfs?", path.display(), root.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// The sysfs it is in.
        root: PathBuf,
        /// What it has.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The kernel does not take what is written.
    #[error("{}: `{text}` cannot be written: {error}{}", path.display(), mending(error))]
    Write {
        /// Which file.
        path: PathBuf,
        /// What was to be written.
        text: String,
        /// Why.
        error: io::Error,
    },
}

/// How to mend what the kernel refuses.
fn mending(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run as root",
        io::ErrorKind::NotFound => "; the device is gone, or neither it nor its driver has this",
        io::ErrorKind::ResourceBusy => "; the device is in use: release it first",
        io::ErrorKind::InvalidInput => "; the driver does not take this value now; see dmesg",
        io::ErrorKind::ReadOnlyFilesystem => "; make /sys writable for the daemon",
        _ => "",
    }
}

/// Writes attributes. The kernel acts while it takes a write; where there is no kernel, a test does.
pub trait AttributeWriter: Send + Sync {
    /// Writes `text` to an attribute, at once.
    ///
    /// # Errors
    /// What the system says.
    fn write(&self, file: &Path, text: &str) -> io::Result<()>;
}

/// Writes to the file, and creates none.
struct FileWriter;

impl AttributeWriter for FileWriter {
    fn write(&self, file: &Path, text: &str) -> io::Result<()> {
        io::Write::write_all(
            &mut std::fs::OpenOptions::new().write(true).open(file)?,
            text.as_bytes(),
        )
    }
}

/// A sysfs. Paths are relative to its root.
#[derive(Clone)]
pub struct Sysfs {
    root: PathBuf,
    writer: Arc<dyn AttributeWriter>,
}

impl fmt::Debug for Sysfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sysfs").field(&self.root).finish()
    }
}

impl Sysfs {
    /// The sysfs at `root`, which is `/sys` but in tests.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn at(root: &Path) -> Result<Self, SysfsError> {
        Self::with_writer(root, Arc::new(FileWriter))
    }

    /// The same, with somebody else to take what is written.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn with_writer(root: &Path, writer: Arc<dyn AttributeWriter>) -> Result<Self, SysfsError> {
        let root = root
            .canonicalize()
            .map_err(|error| SysfsError::Read { path: root.to_owned(), error })?;
        Ok(Self { root, writer })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Whether there is such a file, directory or link.
    #[must_use]
    pub fn exists(&self, relative: &str) -> bool {
        self.path(relative).symlink_metadata().is_ok()
    }

    /// An attribute's text, without its end of line; none where there is no such attribute, or its device has no such
    /// value now (as the speed of a link that is down).
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn text(&self, relative: &str) -> Result<Option<String>, SysfsError> {
        Ok(self
            .bytes_up_to(relative, LONGEST_ATTRIBUTE)?
            .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// A binary attribute, or none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn bytes(&self, relative: &str) -> Result<Option<Vec<u8>>, SysfsError> {
        self.bytes_up_to(relative, LONGEST_BINARY)
    }

    fn bytes_up_to(&self, relative: &str, most: u64) -> Result<Option<Vec<u8>>, SysfsError> {
        let path = self.path(relative);
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(SysfsError::Read { path, error }),
        }
    }

    /// An attribute as a decimal number, or none.
    ///
    /// # Errors
    /// When it cannot be read, or is no such number.
    pub fn number<T: FromStr>(&self, relative: &str) -> Result<Option<T>, SysfsError> {
        self.parsed(relative, "a decimal number of this size", |text| text.parse().ok())
    }

    /// An attribute as a hexadecimal number with `0x` before it, or none.
    ///
    /// # Errors
    /// When it cannot be read, or is no such number.
    pub fn hexadecimal(&self, relative: &str) -> Result<Option<u32>, SysfsError> {
        self.parsed(relative, "a hexadecimal number", |text| {
            u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        })
    }

    /// An attribute as what `parse` makes of it, or none.
    ///
    /// # Errors
    /// When it cannot be read, or `parse` makes nothing of it.
    pub fn parsed<T>(
        &self,
        relative: &str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SysfsError> {
        let Some(text) = self.text(relative)? else { return Ok(None) };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(SysfsError::Syntax {
                path: self.path(relative),
                root: self.root.clone(),
                text: shortened(&text),
                expected,
            }),
        }
    }

    /// The last part of what a link points to, or none where there is no such link.
    ///
    /// # Errors
    /// When it is there and is no link.
    pub fn link_name(&self, relative: &str) -> Result<Option<String>, SysfsError> {
        let path = self.path(relative);
        match std::fs::read_link(&path) {
            Ok(target) => Ok(target.file_name().map(|name| name.to_string_lossy().into_owned())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(SysfsError::Read { path, error }),
        }
    }

    /// Where a path ends when its links are followed, as parts below the root; none where it leads nowhere.
    ///
    /// # Errors
    /// When it leads out of this sysfs, or cannot be followed.
    pub fn resolved(&self, relative: &str) -> Result<Option<Vec<String>>, SysfsError> {
        let path = self.path(relative);
        match path.canonicalize() {
            Ok(end) => match end.strip_prefix(&self.root) {
                Ok(below) => {
                    Ok(Some(below.iter().map(|part| part.to_string_lossy().into_owned()).collect()))
                }
                Err(_) => Err(SysfsError::Syntax {
                    path,
                    root: self.root.clone(),
                    text: end.display().to_string(),
                    expected: "a place in the same sysfs",
                }),
            },
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(SysfsError::Read { path, error }),
        }
    }

    /// The names in a directory, in order; empty where there is no such directory.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn names(&self, relative: &str) -> Result<Vec<String>, SysfsError> {
        let path = self.path(relative);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(SysfsError::Read { path, error }),
        };
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<String>>>()
            .map_err(|error| SysfsError::Read { path, error })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Writes an attribute.
    ///
    /// # Errors
    /// When there is none, or the kernel does not take it.
    pub fn write(&self, relative: &str, value: impl Display) -> Result<(), SysfsError> {
        let path = self.path(relative);
        let text = value.to_string();
        self.writer.write(&path, &text).map_err(|error| SysfsError::Write {
            path,
            text: shortened(&text),
            error,
        })
    }
}

/// What the kernel says of attributes that are not there, or have no value now.
fn is_absent(error: &io::Error) -> bool {
    const ENXIO: i32 = 6;
    const ENODEV: i32 = 19;
    const EINVAL: i32 = 22;
    const EOPNOTSUPP: i32 = 95;
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || matches!(error.raw_os_error(), Some(ENXIO | ENODEV | EINVAL | EOPNOTSUPP))
}

/// A text for a message: cut where it would fill the screen.
fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Sysfs) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("devices/a")).unwrap();
        fs::write(directory.path().join("devices/a/vendor"), "0x15b3\n").unwrap();
        fs::write(directory.path().join("devices/a/numa_node"), "-1\n").unwrap();
        symlink("../devices/a", directory.path().join("devices/b")).unwrap();
        symlink("/etc", directory.path().join("out")).unwrap();
        let sysfs = Sysfs::at(directory.path()).unwrap();
        (directory, sysfs)
    }

    #[test]
    fn attributes_are_typed_and_may_be_absent() {
        let (_directory, sysfs) = tree();
        assert_eq!(sysfs.hexadecimal("devices/a/vendor").unwrap(), Some(0x15b3));
        assert_eq!(sysfs.number("devices/a/numa_node").unwrap(), Some(-1));
        assert_eq!(sysfs.number::<u32>("devices/a/absent").unwrap(), None);
        assert_eq!(sysfs.names("devices").unwrap(), ["a", "b"]);
        assert_eq!(sysfs.link_name("devices/b").unwrap(), Some("a".into()));
        assert_eq!(sysfs.resolved("devices").unwrap(), Some(vec!["devices".into()]));
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let (_directory, sysfs) = tree();
        let error = sysfs.number::<u32>("devices/a/vendor").unwrap_err().to_string();
        assert!(error.contains("devices/a/vendor: `0x15b3` is not a decimal number"), "{error}");
        let error = sysfs.write("devices/a/sriov_numvfs", 4).unwrap_err().to_string();
        assert!(error.contains("sriov_numvfs: `4` cannot be written"), "{error}");
        assert!(error.ends_with("neither it nor its driver has this"), "{error}");
        assert!(!sysfs.exists("devices/a/sriov_numvfs"), "an attribute is never created");
        let error = sysfs.resolved("out").unwrap_err().to_string();
        assert!(error.contains("is not a place in the same sysfs"), "{error}");
    }
}
