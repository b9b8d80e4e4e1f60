//! Network namespaces (ip-netns(8)), removed with their values.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use miette::Result;
use rustix::process::Signal;

use super::program::{succeed, terminate};
use crate::process;

/// How long configuring the kernel may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace of the demo's.
pub struct Namespace {
    name: &'static str,
    leave: bool,
}

impl Namespace {
    /// Makes one in which IPv6 works as on a host of its own, or not at all.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(name: &'static str, ipv6: bool) -> Result<Self> {
        succeed(Command::new("ip").args(["netns", "add", name]), PATIENCE)?;
        let namespace = Self { name, leave: false };
        for scope in ["all", "default"] {
            namespace.sysctl(
                &format!("net/ipv6/conf/{scope}/disable_ipv6"),
                if ipv6 { "0" } else { "1" },
            )?;
        }
        if ipv6 {
            // No interface is here yet. What it announces of itself follows from its MAC, and routers are heeded.
            namespace.sysctl("net/ipv6/conf/default/addr_gen_mode", "0")?;
            namespace.sysctl("net/ipv6/conf/default/accept_ra", "1")?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let line = format!("echo {value} > /proc/sys/{key}");
        succeed(self.command("sh").args(["-c", &line]), PATIENCE).map(|_| ())
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// A program in the namespace.
    pub fn command(&self, program: &str) -> Command {
        command(self.name, program)
    }

    /// `ip` in the namespace, with arguments divided by blanks.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut command = Command::new("ip");
        succeed(command.args(["-n", self.name]).args(arguments.split(' ')), PATIENCE)
    }

    /// Makes an interface send complete frames: with checksums, and none larger than the MTU. What a card would do
    /// for the kernel, nobody does for it on the way to a packet socket.
    ///
    /// # Errors
    /// When ethtool fails.
    pub fn without_offloads(&self, interface: &str) -> Result<()> {
        let features = ["tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off"];
        let mut command = self.command("ethtool");
        succeed(command.args(["--offload", interface]).args(features), PATIENCE).map(|_| ())
    }

    /// Leaves it for good.
    pub fn leave(mut self) {
        self.leave = true;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.leave {
            remove(self.name);
        }
    }
}

/// A program in a namespace.
pub fn command(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// Whether there is one of this name.
pub fn exists(name: &str) -> bool {
    Path::new("/run/netns").join(name).exists()
}

/// Ends the processes in a namespace and removes it.
pub fn remove(name: &str) {
    for signal in [Signal::TERM, Signal::KILL] {
        for pid in pids(name) {
            terminate(pid, signal);
        }
        let deadline = Instant::now() + PATIENCE;
        while !pids(name).is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
    // A failure would show at the next start, which removes it first.
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
}

/// The processes in a namespace.
fn pids(name: &str) -> Vec<u32> {
    process::output("ip", &["netns", "pids", name])
        .map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
        .unwrap_or_default()
}
