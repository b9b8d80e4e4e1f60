//! The kernel's simulated card, whose switch, ports and health devlink tells: Debian leaves it out, and has its source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use crate::{packages, process};

const SOURCE: &str = "linux-source-6.12";
const DIRECTORY: &str = "drivers/net/netdevsim";

/// Builds it for a kernel, unless it is there.
///
/// # Errors
/// When the kernel's headers or source cannot be fetched, or it does not build.
pub fn build(release: &str, into: &Path) -> Result<()> {
    if into.is_file() {
        return Ok(());
    }
    let work = into.with_extension("new");
    // What an interrupted attempt has left.
    let _ = fs::remove_dir_all(&work);
    let root = work.join("root");
    let headers = headers(release, &work, &root)?;
    let module = source(&work, &root)?;
    let mut make = Command::new("make");
    make.arg("--silent").arg("-C").arg(&headers).arg(format!("M={}", module.display()));
    // Types for BPF would need the kernel's own image.
    make.args(["CONFIG_NETDEVSIM=m", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]);
    process::run(&mut make)?;
    fs::rename(module.join("netdevsim.ko"), into).into_diagnostic()?;
    fs::remove_dir_all(&work).into_diagnostic()
}

/// Unpacks what modules of a kernel are built with; where that is.
fn headers(release: &str, work: &Path, root: &Path) -> Result<PathBuf> {
    let version = release.trim_end_matches("-amd64");
    let names = [
        format!("linux-headers-{release}"),
        format!("linux-headers-{version}-common"),
        format!("linux-kbuild-{version}"),
    ];
    for name in &names {
        let archive = fetch(name, work)?;
        process::run(Command::new("dpkg-deb").arg("--extract").args([&archive, root]))?;
    }
    let headers = root.join("usr/src").join(&names[0]);
    // It names the common part by its place after installation.
    let makefile = headers.join("Makefile");
    let text = fs::read_to_string(&makefile).into_diagnostic()?;
    let moved = text.replace("/usr/src/", &format!("{}/usr/src/", root.display()));
    fs::write(&makefile, moved).into_diagnostic()?;
    Ok(headers)
}

/// Unpacks the module's part of the kernel's source; where that is.
fn source(work: &Path, root: &Path) -> Result<PathBuf> {
    let archive = fetch(SOURCE, work)?;
    process::run(Command::new("dpkg-deb").arg("--extract").args([&archive, root]))?;
    let all = root.join(format!("usr/src/{SOURCE}.tar.xz"));
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--file").arg(&all).arg("--directory").arg(work);
    process::run(unpack.arg(format!("{SOURCE}/{DIRECTORY}")))?;
    let module = work.join(SOURCE).join(DIRECTORY);
    if !module.is_dir() {
        bail!("{} has no {DIRECTORY}", all.display());
    }
    Ok(module)
}

fn fetch(name: &str, work: &Path) -> Result<PathBuf> {
    let directory = work.join(name);
    fs::create_dir_all(&directory).into_diagnostic()?;
    packages::download(name, &directory)
        .wrap_err_with(|| miette!("what modules are built with is not there: {name}"))
}
