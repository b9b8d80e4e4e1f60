//! A network namespace, gone with its value.

use std::process::Command;

use miette::Result;

use super::program::output;

/// See ip-netns(8).
pub struct Namespace(String);

impl Namespace {
    /// A new one, of this process.
    ///
    /// # Errors
    /// What the kernel refuses; it takes root.
    pub fn new() -> Result<Self> {
        let name = format!("penstock-bench-{}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))?;
        Ok(Self(name))
    }

    /// A program in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        // `exec` makes the program replace `ip`, so that it is the one that is ended.
        command.args(["netns", "exec", &self.0, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing can be done about it at the end.
        let _ = output(Command::new("ip").args(["netns", "delete", &self.0]));
    }
}
