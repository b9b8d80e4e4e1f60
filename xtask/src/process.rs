//! Running other programs: each is shown before it runs, and a failure says which one it was.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use miette::{IntoDiagnostic, Result, WrapErr, bail};

use crate::workspace;

/// Cargo, the one that runs us, in the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command =
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(arguments).current_dir(workspace());
    command
}

/// The command line, as one would type it.
pub fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    std::iter::once(name)
        .chain(command.get_args().map(|argument| argument.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Shows and runs a command; says whether it succeeded.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let line = show(command);
    eprintln!("$ {line}");
    let status = command.status().into_diagnostic().wrap_err_with(|| cannot_start(&line))?;
    Ok(status.success())
}

/// Shows and runs a command that must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    if succeeds(command)? { Ok(()) } else { bail!("`{}` failed; see above", show(command)) }
}

/// What a command prints, without showing it; `None` when it fails or does not exist.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The words for a program that does not start.
pub fn cannot_start(line: &str) -> String {
    format!("`{line}` does not start")
}
