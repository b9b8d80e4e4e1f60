//! The machines' file system: all of it is the kernel's first one, so that nothing has to be mounted, and nothing is kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::{IntoDiagnostic, Result, WrapErr, miette};

use crate::process;

/// What is tested, and what tests it.
pub struct Programs {
    /// The checks.
    pub checks: PathBuf,
    /// `penstock-hostd`.
    pub daemon: PathBuf,
    /// `penstock`.
    pub command: PathBuf,
}

/// Programs of this machine that the others have as well.
const BORROWED: [&str; 2] = ["busybox", "ip"];

/// Writes the file system, packed. The machine loads its modules, runs the checks that the kernel's argument `checks` names, and
/// switches itself off: results go to its second serial port, all else to the first.
///
/// # Errors
/// When a program is not there, or a file cannot be written.
pub fn write(programs: &Programs, modules: &[PathBuf], root: &Path, into: &Path) -> Result<()> {
    // What another run has left.
    let _ = fs::remove_dir_all(root);
    for directory in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr/bin", "var/lib"] {
        fs::create_dir_all(root.join(directory)).into_diagnostic()?;
    }
    for name in BORROWED {
        let program = find(name)?;
        copy(&program, &root.join("bin").join(name))?;
        libraries(&program, root)?;
    }
    let ours = [
        (&programs.checks, "vm"),
        (&programs.daemon, "penstock-hostd"),
        (&programs.command, "penstock"),
    ];
    for (program, name) in ours {
        let to = root.join("usr/bin").join(name);
        process::run(Command::new("strip").arg("-o").args([&to, program]))?;
        libraries(program, root)?;
    }
    for (index, module) in modules.iter().enumerate() {
        copy(module, &root.join(format!("{index}.ko")))?;
    }
    let init = root.join("init");
    fs::write(&init, init_script(modules.len())).into_diagnostic()?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).into_diagnostic()?;
    let pack =
        format!("find . | busybox cpio --create --format=newc 2>/dev/null > '{}'", into.display());
    process::run(Command::new("sh").args(["-c", &pack]).current_dir(root))
}

fn init_script(modules: usize) -> String {
    let modules: Vec<String> = (0..modules).map(|index| index.to_string()).collect();
    format!(
        "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t debugfs debug /sys/kernel/debug
for number in {}; do /bin/busybox insmod /$number.ko; done
/bin/ip link set lo up
export PATH=/usr/bin:/bin NO_COLOR=1
vm $checks > /dev/ttyS1 2> /dev/ttyS0
echo \"end $?\" > /dev/ttyS1
/bin/busybox poweroff -f
",
        modules.join(" ")
    )
}

/// Where a program of this machine is.
fn find(name: &str) -> Result<PathBuf> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| miette!("there is no {name} on this machine"))
}

/// Puts the libraries of a program where it looks for them.
fn libraries(program: &Path, root: &Path) -> Result<()> {
    let text = process::output("ldd", &[&program.to_string_lossy()]).unwrap_or_default();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        if !to.exists() {
            copy(Path::new(library), &to)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let problem = || miette!("{} cannot be copied to {}", from.display(), to.display());
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).into_diagnostic()?;
    }
    fs::copy(from, to).into_diagnostic().wrap_err_with(problem).map(drop)
}
