//! Debian's package sources as this machine has them, and packages unpacked from them without installing anything here.

use std::fs;
use std::path::Path;
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use crate::{packages, process};

/// The release that Penstock is built and tested on.
const RELEASE: &str = "bookworm";

/// Unpacks packages of the backports, where those have them, into a directory, unless it is there.
///
/// # Errors
/// When a package cannot be fetched.
pub fn unpack_from_backports(packages: &[&str], into: &Path) -> Result<()> {
    if into.is_dir() {
        return Ok(());
    }
    let mirror = mirror()?;
    let work = into.with_extension("new");
    // What an interrupted attempt has left.
    let _ = fs::remove_dir_all(&work);
    if let Some(parent) = into.parent() {
        fs::create_dir_all(parent).into_diagnostic()?;
    }
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=extract", "--architectures=amd64"])
        .arg(format!("--include={}", packages.join(",")))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg("--aptopt=Acquire::Retries \"3\"")
        .arg(format!("--aptopt=APT::Default-Release \"{RELEASE}-backports\""))
        .arg(RELEASE)
        .arg(&work)
        .arg(format!("deb {mirror} {RELEASE} main"))
        .arg(format!("deb {mirror} {RELEASE}-backports main"));
    if !process::succeeds(&mut command)? {
        bail!("these packages could not be fetched: {}; see above", packages.join(", "));
    }
    fs::rename(&work, into).into_diagnostic().wrap_err_with(|| into.display().to_string())
}

/// Where this machine has its packages from.
fn mirror() -> Result<String> {
    let find = || {
        let format = ["indextargets", "--format", "$(REPO_URI)"];
        let of = ["Created-By: Packages", &format!("Codename: {RELEASE}")];
        let text = process::output("apt-get", &[&format[..], &of[..]].concat())?;
        text.lines().next().map(|line| line.trim_end_matches('/').to_owned())
    };
    if let Some(mirror) = find() {
        return Ok(mirror);
    }
    packages::update()?;
    find().ok_or_else(|| miette!("no package source has Debian {RELEASE}; add it to /etc/apt"))
}
