//! The kernel of the virtual machines that tests start: Debian's for clouds, small and quick to boot, unpacked and not installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use crate::{packages, process};

/// The package that depends on the kernel of today.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// What a machine with `virtio_net` loads, in this order, below `kernel/`.
const MODULES: [&str; 8] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
];

/// Puts `vmlinuz` and the modules, as `0.ko`, `1.ko` and so on, into the directory `into`; nothing happens when they are there.
///
/// # Errors
/// When no package source has the kernel, or a file cannot be written.
pub fn fetch(into: &Path) -> Result<()> {
    if into.join("vmlinuz").is_file() {
        return Ok(());
    }
    eprintln!("Tests start a virtual machine; its kernel is fetched now, and not installed.");
    let work = into.with_extension("new");
    let unpacked = work.join("unpacked");
    // What an interrupted fetch has left.
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&unpacked).into_diagnostic()?;
    let package = packages::dependency(PACKAGE, "linux-image-")?;
    let archive = packages::download(&package, &work)?;
    let mut unpack = Command::new("dpkg-deb");
    process::run(unpack.arg("--extract").args([&archive, &unpacked]))?;
    let release = package.trim_start_matches("linux-image-");
    let modules = unpacked.join("lib/modules").join(release).join("kernel");
    let kernel = unpacked.join("boot").join(format!("vmlinuz-{release}"));
    let named = MODULES.iter().enumerate().map(|(index, name)| (modules.join(name), index));
    fs::create_dir_all(into).into_diagnostic()?;
    for (from, index) in named {
        copy(&from, &into.join(format!("{index}.ko")))?;
    }
    // Last: it says that all is there.
    copy(&kernel, &into.join("vmlinuz"))?;
    fs::remove_dir_all(&work).into_diagnostic()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let problem = || miette!("{} cannot be copied to {}", from.display(), to.display());
    fs::copy(from, to).into_diagnostic().wrap_err_with(problem).map(drop)
}
