//! Fetches the four DPDK headers that a driver needs and Debian does not package, from DPDK's source package.
//!
//! The system's package sources stay as they are: the source package comes through a package configuration of its
//! own, derived from the entries that provide the installed DPDK, in a directory that is removed afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};

use crate::process;

/// The headers, as they lie in DPDK's tree. They are closed over the packaged ones.
const HEADERS: [&str; 4] = [
    "lib/ethdev/ethdev_driver.h",
    "lib/ethdev/ethdev_vdev.h",
    "lib/eal/include/dev_driver.h",
    "drivers/bus/vdev/bus_vdev_driver.h",
];

/// The package whose headers these belong to.
const PACKAGE: &str = "libdpdk-dev";

/// Puts the headers into the directory `into`; nothing happens when those of the installed version are there.
///
/// # Errors
/// When DPDK is not installed, no package source has its source, or a file cannot be written.
pub fn fetch(into: &Path) -> Result<()> {
    let version = output(
        "dpkg-query",
        &["--show", "--showformat=${source:Package}=${source:Version}", PACKAGE],
    )
    .wrap_err_with(|| format!("install {PACKAGE} first"))?;
    let marker = into.join("VERSION");
    if fs::read_to_string(&marker).is_ok_and(|fetched| fetched == version) {
        return Ok(());
    }

    eprintln!(
        "The headers for DPDK drivers are not packaged; they come from the source package now."
    );
    let work = tempfile::tempdir().into_diagnostic()?;
    let options = apt_options(work.path())?;
    let apt = |arguments: &[&str]| -> Result<()> {
        let mut all: Vec<&str> = options.iter().map(String::as_str).collect();
        all.extend(arguments);
        process::run(Command::new("apt-get").args(all).current_dir(work.path()))
    };
    apt(&["--quiet=2", "update"])?;
    apt(&["--quiet=2", "source", "--download-only", &version])?;
    let archive = fs::read_dir(work.path())
        .into_diagnostic()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains(".orig.tar."))
        .ok_or_else(|| miette!("the source package {version} has no .orig.tar archive"))?;
    process::run(
        Command::new("tar")
            .args(["--extract", "--strip-components=1", "--wildcards", "--file"])
            .arg(&archive)
            .args(HEADERS.map(|header| format!("*/{header}")))
            .current_dir(work.path()),
    )?;

    fs::create_dir_all(into).into_diagnostic()?;
    for header in HEADERS {
        let from = work.path().join(header);
        let to = into.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).into_diagnostic().wrap_err_with(|| format!("{}", to.display()))?;
    }
    // Last, so that an interrupted fetch is begun anew.
    fs::write(marker, version).into_diagnostic()
}

/// Options that make apt-get use the sources, lists and cache in `work` alone.
fn apt_options(work: &Path) -> Result<Vec<String>> {
    let sources = work.join("sources");
    let lists = work.join("lists");
    let archives = work.join("archives");
    for directory in [&sources, &lists.join("partial"), &archives.join("partial")] {
        fs::create_dir_all(directory).into_diagnostic()?;
    }
    write_sources(&sources, work)?;
    Ok([
        ("Dir::Etc::sourcelist", PathBuf::from("/dev/null")),
        ("Dir::Etc::sourceparts", sources),
        ("Dir::State::lists", lists),
        ("Dir::Cache", work.join("cache")),
        ("Dir::Cache::archives", archives),
        // The work directory belongs to whoever runs this: apt need not become its own user for it.
        ("APT::Sandbox::User", PathBuf::from("root")),
    ]
    .into_iter()
    .flat_map(|(key, value)| ["--option".to_owned(), format!("{key}={}", value.display())])
    .collect())
}

/// Writes source-package entries for every configured entry that offers DPDK.
fn write_sources(into: &Path, scratch: &Path) -> Result<()> {
    let offers = offers(scratch)?;
    // A line: "libdpdk-dev | VERSION | URI SUITE/COMPONENT ARCHITECTURE Packages".
    let uris: Vec<&str> = offers
        .lines()
        .filter_map(|line| line.split('|').nth(2)?.split_whitespace().next())
        .map(|uri| uri.trim_end_matches('/'))
        .collect();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.filter_map(Result::ok).map(|entry| entry.path()));
    }
    let mut written = 0;
    for (number, file) in files.iter().enumerate() {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let (entries, extension) = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => (source_lines(&text, &uris), "list"),
            Some("sources") => (source_stanzas(&text, &uris), "sources"),
            _ => continue,
        };
        if !entries.is_empty() {
            fs::write(into.join(format!("{number}.{extension}")), entries).into_diagnostic()?;
            written += 1;
        }
    }
    if written == 0 {
        bail!("no configured package source offers {PACKAGE}; add Debian's main to /etc/apt");
    }
    Ok(())
}

/// What `apt-cache madison` says about the package. An image often comes without package lists; then they are read
/// into `scratch`, and an entry that has none does no harm.
fn offers(scratch: &Path) -> Result<String> {
    let offers = output("apt-cache", &["madison", PACKAGE])?;
    if !offers.is_empty() {
        return Ok(offers);
    }
    let lists = scratch.join("all-lists");
    fs::create_dir_all(lists.join("partial")).into_diagnostic()?;
    let option = format!("Dir::State::lists={}", lists.display());
    let mut update = Command::new("apt-get");
    process::succeeds(
        update
            .args(["--option", &option, "--option", "APT::Sandbox::User=root"])
            .args(["--quiet=2", "update"]),
    )?;
    output("apt-cache", &["--option", &option, "madison", PACKAGE])
}

/// Whether an entry names one of the addresses.
fn names_one(entry: &str, uris: &[&str]) -> bool {
    entry.split_whitespace().any(|word| uris.contains(&word.trim_end_matches('/')))
}

/// The `deb` lines of a one-line-style file that name one of `uris`, as `deb-src` lines.
fn source_lines(text: &str, uris: &[&str]) -> String {
    text.lines()
        .filter(|line| names_one(line, uris))
        .filter_map(|line| line.trim().strip_prefix("deb "))
        .flat_map(|rest| ["deb-src ", rest, "\n"])
        .collect()
}

/// The `deb` stanzas of a deb822-style file that name one of `uris`, for source packages.
fn source_stanzas(text: &str, uris: &[&str]) -> String {
    let mut stanzas = String::new();
    let mut stanza = String::new();
    let mut is_binary = false;
    for line in text.lines().filter(|line| !line.starts_with('#')).chain([""]) {
        if line.trim().is_empty() {
            if is_binary && names_one(&stanza, uris) {
                stanzas += &stanza;
                stanzas.push('\n');
            }
            stanza.clear();
            is_binary = false;
        } else if let Some(types) = line.strip_prefix("Types:") {
            is_binary = types.split_whitespace().any(|kind| kind == "deb");
            stanza += "Types: deb-src\n";
        } else {
            stanza += line;
            stanza.push('\n');
        }
    }
    stanzas
}

/// What a command that must succeed prints, trimmed.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    process::output(program, arguments)
        .map(|text| text.trim().to_owned())
        .ok_or_else(|| miette!("`{program} {}` failed", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URIS: [&str; 1] = ["http://mirror.example/debian"];

    #[test]
    fn only_sources_that_offer_the_package_are_taken_from_stanzas() {
        let text = "Types: deb\n# a comment\nURIs: http://mirror.example/debian/\nSuites: bookworm\n\
                    Components: main\nSigned-By: /key.gpg\n\nTypes: deb\nURIs: http://other.example\nSuites: x\n\n\
                    Types: deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm\n";
        assert_eq!(
            source_stanzas(text, &URIS),
            "Types: deb-src\nURIs: http://mirror.example/debian/\nSuites: bookworm\nComponents: main\n\
             Signed-By: /key.gpg\n\n"
        );
    }

    #[test]
    fn only_sources_that_offer_the_package_are_taken_from_lines() {
        let text = "# deb http://mirror.example/debian bookworm main\n\
                    deb [signed-by=/key.gpg] http://mirror.example/debian bookworm main\n\
                    deb http://other.example bookworm main\n\
                    deb-src http://mirror.example/debian bookworm main\n";
        assert_eq!(
            source_lines(text, &URIS),
            "deb-src [signed-by=/key.gpg] http://mirror.example/debian bookworm main\n"
        );
    }
}
