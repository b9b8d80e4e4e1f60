//! A running `dpdk-testpmd` with the driver, told what to do line by line.

use std::process::Command;
use std::time::Duration;

use testbed::testpmd;

use super::library;
use super::namespace::Namespace;

/// A `dpdk-testpmd` whose failures are the test's.
pub struct Testpmd(testpmd::Testpmd);

/// The command of a DPDK program, perhaps under another one, with one device of the driver: in memory of its own, beside others on the machine.
pub fn dpdk(program: &[&str], namespace: &Namespace, device: &str) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &namespace.name])
        .env("RUNTIME_DIRECTORY", namespace.runtime.path())
        // Into a pipe, C programs would hold their output back.
        .args(["stdbuf", "-oL"])
        .args(program)
        .args(["--no-huge", "-m", "256", "--no-pci", "-l", "0,1"])
        .arg("-d")
        .arg(library())
        .arg("--vdev")
        .arg(device);
    command
}

impl Testpmd {
    /// Starts it and waits until it takes commands.
    pub fn start(namespace: &Namespace, device: &str, arguments: &[&str]) -> Self {
        let mut command = dpdk(&["dpdk-testpmd"], namespace, device);
        command.args(["--", "-i", "--total-num-mbufs=4096"]).args(arguments);
        Self::run(command)
    }

    /// Runs a command that starts it, and waits until it takes commands.
    pub fn run(command: Command) -> Self {
        Self(testpmd::Testpmd::start(command).unwrap_or_else(|problem| panic!("{problem}")))
    }

    /// Runs a command and returns what it printed.
    pub fn command(&mut self, line: &str) -> String {
        self.0.command(line).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Runs a command whose output must have these words.
    pub fn expect(&mut self, line: &str, words: &str) -> String {
        let output = self.command(line);
        assert!(output.contains(words), "{line}: expected \"{words}\" in\n{output}");
        output
    }

    /// Runs a command until its output has these words, which may take a moment.
    #[allow(dead_code, reason = "not every test has to wait")]
    pub fn until(&mut self, line: &str, words: &str) -> String {
        let mut output = String::new();
        for _ in 0..50 {
            output += &self.command(line);
            if output.contains(words) {
                return output;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{line}: expected \"{words}\" in\n{output}");
    }

    /// The value that xstats show for a port.
    pub fn statistic(&mut self, port: u16, name: &str) -> u64 {
        let output = self.command(&format!("show port xstats {port}"));
        output
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{output}"))
    }

    /// Ends it in order and returns the last it printed.
    pub fn quit(self) -> String {
        self.0.quit().unwrap_or_else(|problem| panic!("{problem}"))
    }
}
