//! A running `dpdk-testpmd` with the driver, told what to do line by line.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::library;
use super::namespace::Namespace;

const PROMPT: &str = "testpmd> ";
const PATIENCE: Duration = Duration::from_secs(30);

/// A `dpdk-testpmd`, ended with this value.
pub struct Testpmd {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
}

/// The command of a DPDK program with one device of the driver: in memory of its own, beside others on the machine.
pub fn dpdk(program: &str, namespace: &Namespace, device: &str) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &namespace.name])
        .env("RUNTIME_DIRECTORY", namespace.runtime.path())
        // Into a pipe, C programs would hold their output back.
        .args(["stdbuf", "-oL", program])
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
        // One pipe: refusals go to the errors, in order with what is printed.
        let (mut pipe, write) = std::io::pipe().expect("a pipe");
        let errors = write.try_clone().expect("a pipe");
        let mut child = dpdk("dpdk-testpmd", namespace, device)
            .args(["--", "-i", "--total-num-mbufs=4096"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(write)
            .stderr(errors)
            .spawn()
            .expect("start dpdk-testpmd");
        let input = child.stdin.take().expect("its input");
        let (send, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut testpmd = Self { child, input, output };
        testpmd.until_prompt("the start");
        testpmd
    }

    /// Runs a command and returns what it printed.
    pub fn command(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("dpdk-testpmd takes commands");
        self.until_prompt(line)
    }

    /// Runs a command whose output must have these words.
    pub fn expect(&mut self, line: &str, words: &str) -> String {
        let output = self.command(line);
        assert!(output.contains(words), "{line}: expected \"{words}\" in\n{output}");
        output
    }

    /// The value that xstats show for a port.
    pub fn statistic(&mut self, port: u16, name: &str) -> u64 {
        let output = self.command(&format!("show port xstats {port}"));
        output
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{output}"))
    }

    fn until_prompt(&mut self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut text = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => panic!("{what} takes too long:\n{text}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{what} ended it:\n{text}"),
            }
            // The prompt for the next command; lines of other threads may follow it.
            if text.contains(PROMPT) {
                return text;
            }
        }
    }

    /// Ends it in order and returns the last it printed.
    pub fn quit(mut self) -> String {
        writeln!(self.input, "quit").expect("dpdk-testpmd takes commands");
        let mut text = String::new();
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        let status = self.child.wait().expect("wait for dpdk-testpmd");
        assert!(status.success(), "dpdk-testpmd ended with {status}:\n{text}");
        text
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // After `quit` it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
