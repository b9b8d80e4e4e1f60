//! `cargo xtask package`: Debian packages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use crate::{process, setup, workspace};

/// A file of a package: what it is in the workspace, where it goes, and who may do what with it.
struct Content {
    from: &'static str,
    to: &'static str,
    mode: u32,
}

const HOST: &str = "penstock-host";

/// The host's package: `penstock-hostd` and `penstock`.
const HOST_CONTENTS: &[Content] = &[
    Content { from: "target/release/penstock-hostd", to: "usr/bin/penstock-hostd", mode: 0o755 },
    Content { from: "target/release/penstock", to: "usr/bin/penstock", mode: 0o755 },
    Content {
        from: "host-shim/systemd/penstock-hostd.service",
        to: "lib/systemd/system/penstock-hostd.service",
        mode: 0o644,
    },
    Content { from: "host-shim/packaging/hostd.toml", to: "etc/penstock/hostd.toml", mode: 0o640 },
    Content {
        from: "docs/reference/host.md",
        to: "usr/share/doc/penstock-host/host.md",
        mode: 0o644,
    },
    Content {
        from: "docs/reference/hostd-config.md",
        to: "usr/share/doc/penstock-host/hostd-config.md",
        mode: 0o644,
    },
];

/// Scripts of the package, which dpkg runs.
const HOST_SCRIPTS: [&str; 2] = ["postinst", "prerm"];

/// Builds the programs, then the package in `target/package`, and looks at what came of it.
///
/// # Errors
/// When something does not build.
pub fn run() -> Result<()> {
    setup::run()?;
    let build = ["build", "--release", "--locked", "-p", "host-shim", "-p", "cli", "--bins"];
    process::run(&mut process::cargo(&build))?;
    let package = host()?;
    process::run(Command::new("dpkg-deb").arg("--info").arg(&package))?;
    process::run(Command::new("dpkg-deb").arg("--contents").arg(&package))?;
    println!("{}", package.display());
    Ok(())
}

fn host() -> Result<PathBuf> {
    let output = workspace().join("target/package");
    let root = output.join(HOST);
    // What another run has left.
    let _ = fs::remove_dir_all(&root);
    for content in HOST_CONTENTS {
        place(&workspace().join(content.from), &root.join(content.to), content.mode)?;
    }
    for program in HOST_CONTENTS.iter().filter(|content| content.from.starts_with("target/")) {
        process::run(Command::new("strip").arg(root.join(program.to)))?;
    }
    let copyright = root.join("usr/share/doc").join(HOST).join("copyright");
    fs::write(copyright, "License: Apache-2.0, see /usr/share/common-licenses/Apache-2.0\n")
        .into_diagnostic()?;
    let control = root.join("DEBIAN");
    for script in HOST_SCRIPTS {
        let from = workspace().join("host-shim/packaging").join(script);
        place(&from, &control.join(script), 0o755)?;
    }
    // dpkg asks before it replaces what an operator has changed there.
    fs::write(control.join("conffiles"), "/etc/penstock/hostd.toml\n").into_diagnostic()?;
    let version = env!("CARGO_PKG_VERSION");
    let libc = libc_version()?;
    fs::write(
        control.join("control"),
        format!(
            "Package: {HOST}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Penstock <penstock@localhost>\n\
             Depends: libc6 (>= {libc}), libgcc-s1\nSection: net\nPriority: optional\n\
             Description: VFs of a host for its VMs\n \
             penstock-hostd hands VFs of a NIC to VMs, as the DPU allows;\n penstock is the operator's command.\n"
        ),
    )
    .into_diagnostic()?;
    let file = output.join(format!("{HOST}_{version}_amd64.deb"));
    let mut pack = Command::new("dpkg-deb");
    process::run(pack.args(["--root-owner-group", "--build"]).args([&root, &file]))?;
    Ok(file)
}

/// The C library that programs were built with: an older one may lack what they call.
fn libc_version() -> Result<String> {
    let text = process::output("dpkg-query", &["--show", "--showformat=${Version}", "libc6"]);
    let version = text
        .ok_or_else(|| miette!("dpkg-query does not know libc6; packages are built on Debian"))?;
    match version.split(['-', '+']).next() {
        Some(upstream) if !upstream.is_empty() => Ok(upstream.to_owned()),
        _ => bail!("`{version}` is no version of libc6"),
    }
}

fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let problem = || miette!("{} cannot be copied to {}", from.display(), to.display());
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).into_diagnostic()?;
    }
    fs::copy(from, to).into_diagnostic().wrap_err_with(problem)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).into_diagnostic()
}
