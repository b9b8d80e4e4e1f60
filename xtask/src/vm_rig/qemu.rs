//! A QEMU with a NIC that has VFs: Debian 12's own has none, its backports' has. It is unpacked and not installed, and runs with the
//! libraries that came with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use miette::Result;

use crate::debian::unpack_from_backports;

const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// An unpacked QEMU.
pub struct Qemu(PathBuf);

impl Qemu {
    /// Fetches it, unless it is there.
    ///
    /// # Errors
    /// When its packages cannot be fetched.
    pub fn fetch(into: &Path) -> Result<Self> {
        unpack_from_backports(&["qemu-system-x86"], into)?;
        Ok(Self(into.to_owned()))
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let libraries = [self.0.join(LIBRARIES), self.0.join("usr").join(LIBRARIES)];
        let path = libraries.each_ref().map(|path| path.display().to_string()).join(":");
        let mut command = Command::new(libraries[0].join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(path).arg(self.0.join("usr/bin/qemu-system-x86_64"));
        for data in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.0.join(data));
        }
        command.env("QEMU_MODULE_DIR", libraries[1].join("qemu"));
        command
    }
}
