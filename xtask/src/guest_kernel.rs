//! Kernels of the virtual machines that tests start: Debian's, unpacked and not installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use crate::{packages, process};

/// A kernel, and what a machine loads into it.
pub struct GuestKernel {
    /// The package that depends on the kernel of today.
    pub package: &'static str,
    /// The modules, in the order in which they are loaded, below `kernel/`.
    pub modules: &'static [&'static str],
}

/// Debian's for clouds, small and quick to boot; for a machine with `virtio_net`.
pub const CLOUD: GuestKernel = GuestKernel {
    package: "linux-image-cloud-amd64",
    modules: &[
        "drivers/virtio/virtio_ring.ko",
        "drivers/virtio/virtio.ko",
        "drivers/virtio/virtio_pci_legacy_dev.ko",
        "drivers/virtio/virtio_pci_modern_dev.ko",
        "drivers/virtio/virtio_pci.ko",
        "net/core/failover.ko",
        "drivers/net/net_failover.ko",
        "drivers/net/virtio_net.ko",
    ],
};

impl GuestKernel {
    /// Puts `vmlinuz`, the modules, as `0.ko`, `1.ko` and so on, and the kernel's `release` into the directory `into`; nothing
    /// happens when they are there.
    ///
    /// # Errors
    /// When no package source has the kernel, or a file cannot be written.
    pub fn fetch(&self, into: &Path) -> Result<()> {
        let list = self.modules.join("\n");
        let is_kept = fs::read_to_string(into.join("modules")).is_ok_and(|kept| kept == list);
        if is_kept && into.join("vmlinuz").is_file() {
            return Ok(());
        }
        eprintln!("Tests start a virtual machine; its kernel is fetched now, and not installed.");
        let work = into.with_extension("new");
        let unpacked = work.join("unpacked");
        // What an interrupted fetch has left.
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(&unpacked).into_diagnostic()?;
        let package = packages::dependency(self.package, "linux-image-")?;
        let archive = packages::download(&package, &work)?;
        let mut unpack = Command::new("dpkg-deb");
        process::run(unpack.arg("--extract").args([&archive, &unpacked]))?;
        let release = package.trim_start_matches("linux-image-");
        let modules = unpacked.join("lib/modules").join(release).join("kernel");
        let kernel = unpacked.join("boot").join(format!("vmlinuz-{release}"));
        let _ = fs::remove_dir_all(into);
        fs::create_dir_all(into).into_diagnostic()?;
        for (index, name) in self.modules.iter().enumerate() {
            module(&modules.join(name), &into.join(format!("{index}.ko")))?;
        }
        fs::write(into.join("release"), release).into_diagnostic()?;
        fs::write(into.join("modules"), list).into_diagnostic()?;
        // Last: it says that all is there.
        copy(&kernel, &into.join("vmlinuz"))?;
        fs::remove_dir_all(&work).into_diagnostic()
    }
}

/// Newer kernels have their modules compressed.
fn module(from: &Path, to: &Path) -> Result<()> {
    let compressed = PathBuf::from(format!("{}.xz", from.display()));
    if !compressed.is_file() {
        return copy(from, to);
    }
    let file = File::create(to).into_diagnostic().wrap_err_with(|| to.display().to_string())?;
    let mut unpack = Command::new("xz");
    unpack.args(["--decompress", "--stdout"]).arg(&compressed).stdout(Stdio::from(file));
    if unpack.status().into_diagnostic()?.success() {
        return Ok(());
    }
    bail!("{} cannot be unpacked", compressed.display())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let problem = || miette!("{} cannot be copied to {}", from.display(), to.display());
    fs::copy(from, to).into_diagnostic().wrap_err_with(problem).map(drop)
}
