//! Debian packages: which ones building needs, why, and how they get onto the machine.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, bail, miette};

use crate::process;

/// A Debian package and the reason for it.
pub struct Package {
    name: &'static str,
    reason: &'static str,
}

/// What building and testing needs beside the Rust toolchain.
pub const BUILD: &[Package] = &[
    Package {
        name: "libdpdk-dev",
        reason: "DPDK 22.11: the headers and libraries Penstock binds to",
    },
    Package {
        name: "libibverbs-dev",
        reason: "rdma-core: the headers by which Mellanox cards are identified",
    },
    Package { name: "dpdk-dev", reason: "dpdk-testpmd and others, which the driver's tests run" },
    Package { name: "libpcap-dev", reason: "packet sockets of the suite of NICs" },
    Package {
        name: "openvswitch-switch-dpdk",
        reason: "a switch with hardware offload, which runs on the simulated NIC in tests and is measured beside \
                 Penstock",
    },
    Package {
        name: "valgrind",
        reason: "looks for what the driver does wrong in memory, and counts the packet path's instructions",
    },
    Package { name: "busybox", reason: "a DHCP client and ping for tests" },
    Package { name: "iproute2", reason: "network namespaces and interfaces" },
    Package { name: "libclang-dev", reason: "bindgen reads DPDK's headers with it" },
    Package { name: "gcc", reason: "compiles DPDK's inline functions, and links" },
    Package { name: "libc6-dev", reason: "the C headers those include" },
    Package {
        name: "xz-utils",
        reason: "unpacks DPDK's source, which has the headers for drivers",
    },
    Package { name: "protobuf-compiler", reason: "generates the control API's messages" },
    Package { name: "pkg-config", reason: "says with which flags DPDK was built" },
];

/// What tests run beside what building needs.
pub const TEST: &[Package] = &[Package {
    name: "qemu-system-x86",
    reason: "virtual machines at the simulated NIC's vhost-user sockets",
}];

/// What the virtual machines with SR-IOV are made with.
pub const VM_RIG: &[Package] = &[
    Package { name: "mmdebstrap", reason: "unpacks a QEMU that has a NIC with SR-IOV" },
    Package { name: "busybox", reason: "the machines' first program" },
    Package { name: "iproute2", reason: "says in the machines what the kernel keeps of VFs" },
    Package { name: "binutils", reason: "makes programs small before they go into a machine" },
    Package { name: "xz-utils", reason: "unpacks the kernel's modules" },
    Package { name: "gcc-12", reason: "builds a module that Debian's kernel lacks" },
    Package { name: "make", reason: "builds a module that Debian's kernel lacks" },
    Package { name: "libelf1", reason: "the kernel's tools look into modules with it" },
];

/// What the demo runs beside Penstock.
pub const DEMO: &[Package] = &[
    Package { name: "iproute2", reason: "network namespaces, interfaces, the Linux VTEP" },
    Package { name: "ethtool", reason: "switches off what virtual interfaces leave to cards" },
    Package { name: "isc-dhcp-client", reason: "VMs get their addresses with it (dhclient)" },
    Package { name: "iputils-ping", reason: "VMs ping each other with it" },
    Package { name: "iperf3", reason: "VMs send TCP at full speed with it" },
    Package { name: "busybox", reason: "a small web server for VMs" },
    Package { name: "curl", reason: "VMs ask each other's web servers with it" },
];

/// Installs those of the packages that are missing.
pub fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> = packages.iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("These Debian packages are needed and missing; they are installed now:");
    for package in &missing {
        eprintln!("  {:<18} {}", package.name, package.reason);
    }
    let apt = Apt::find()?;
    let mut fresh = false;
    if !missing.iter().all(|package| has_candidate(package)) {
        apt.update()?;
        fresh = true;
    }
    if apt.install(&missing)? {
        return Ok(());
    }
    // Lists of another day name versions that the mirror no longer has.
    if !fresh {
        apt.update()?;
        if apt.install(&missing)? {
            return Ok(());
        }
    }
    bail!("the packages could not be installed; see apt-get's messages above")
}

/// Fetches the package lists.
///
/// # Errors
/// When that fails.
pub fn update() -> Result<()> {
    Apt::find()?.update()
}

/// The package whose name begins so that another one depends on.
///
/// # Errors
/// When no package source has it.
pub fn dependency(of: &str, prefix: &str) -> Result<String> {
    let find = || {
        let text = process::output("apt-cache", &["depends", of])?;
        let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "))?;
        name.starts_with(prefix).then(|| name.to_owned())
    };
    if let Some(name) = find() {
        return Ok(name);
    }
    Apt::find()?.update()?;
    find().ok_or_else(|| miette!("no package source has {of}; add Debian's main to /etc/apt"))
}

/// Fetches a package's archive into a directory, without installing it; where it is.
///
/// # Errors
/// When no package source has it.
pub fn download(name: &str, into: &Path) -> Result<PathBuf> {
    let download = || {
        process::succeeds(
            Command::new("apt-get")
                .args([
                    // The directory belongs to whoever runs this: apt need not become its own user for it.
                    "--option",
                    "APT::Sandbox::User=root",
                    "--quiet=2",
                    "download",
                    name,
                ])
                .current_dir(into),
        )
    };
    // Lists of another day name versions that the mirror no longer has.
    if !download()? {
        Apt::find()?.update()?;
        if !download()? {
            bail!("{name} could not be fetched; see apt-get's messages above");
        }
    }
    let entries = fs::read_dir(into).into_diagnostic()?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| miette!("apt-get left no archive of {name} in {}", into.display()))
}

fn is_installed(package: &Package) -> bool {
    process::output("dpkg-query", &["--show", "--showformat=${db:Status-Status}", package.name])
        .is_some_and(|status| status == "installed")
}

/// Whether the package lists on this machine (an image often has none) know the package.
fn has_candidate(package: &Package) -> bool {
    process::output("apt-cache", &["policy", package.name])
        .is_some_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
}

/// `apt-get` with the rights it needs.
struct Apt {
    sudo: bool,
}

impl Apt {
    fn find() -> Result<Self> {
        if process::output("apt-get", &["--version"]).is_none() {
            bail!(
                "this machine has no apt-get; install the packages above, or what your distribution calls them, \
                 by hand (DPDK must be 22.11 or later)"
            );
        }
        // The owner of /proc/self is the effective user.
        let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !root && process::output("sudo", &["--version"]).is_none() {
            bail!("installing packages needs root or sudo; run this once as root");
        }
        Ok(Self { sudo: !root })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(if self.sudo { "sudo" } else { "env" });
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command.args(["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]);
        command
    }

    fn update(&self) -> Result<()> {
        process::run(self.command().arg("update"))
    }

    fn install(&self, packages: &[&Package]) -> Result<bool> {
        let names = packages.iter().map(|package| package.name);
        process::succeeds(
            self.command().args(["install", "--yes", "--no-install-recommends"]).args(names),
        )
    }
}
