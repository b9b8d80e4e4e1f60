//! A DPU's daemon, and the operator's command that talks to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, WrapErr, bail, miette};
use serde::Deserialize;
use serde_json::Value;

use super::directory;
use super::interrupt;
use super::namespace::command;
use super::plan::Node;
use super::program::{Running, finish, succeed};

/// How long a daemon may take to start.
const START: Duration = Duration::from_secs(20);
/// How long an answer of a daemon may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What was built.
pub struct Programs {
    /// Where the binaries are.
    pub directory: PathBuf,
}

impl Programs {
    /// The driver's file name.
    pub const DRIVER: &str = "libpenstock_eswitch.so";

    /// One of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// A running daemon.
pub struct Dpu {
    node: &'static Node,
    penstock: PathBuf,
    running: Running,
}

impl Dpu {
    /// Starts the daemon of a DPU in its namespace. Its NIC makes its VFs' interfaces there, `vf0` and so on.
    ///
    /// # Errors
    /// When it does not run after a while; with the end of its log.
    pub fn start(node: &'static Node, programs: &Programs) -> Result<Self> {
        let config = node.file("dpud.toml");
        directory::write(&config, &configuration(node))?;
        let mut daemon =
            command(node.namespace, &programs.path("penstock-dpud").display().to_string());
        let running = Running::start(daemon.arg("--config").arg(config), &log(node))?;
        Ok(Self { node, penstock: programs.path("penstock"), running })
    }

    /// Waits until packets begin to flow.
    ///
    /// # Errors
    /// When that takes too long or the daemon ends.
    pub fn wait(&mut self) -> Result<()> {
        let up = interrupt::wait_for(START, || {
            if let Some(status) = self.running.ended()? {
                bail!(
                    "{}: penstock-dpud has ended ({status}):\n{}",
                    self.node.name,
                    self.last_words()
                );
            }
            Ok(finish(self.penstock().arg("status"), ANSWER)?.success.then_some(()))
        })?;
        up.ok_or_else(|| {
            miette!("{}: penstock-dpud does not answer:\n{}", self.node.name, self.last_words())
        })
    }

    /// The node it is.
    pub const fn node(&self) -> &'static Node {
        self.node
    }

    /// `penstock`, for this daemon.
    fn penstock(&self) -> Command {
        let mut command = Command::new(&self.penstock);
        command.env("PENSTOCK_SOCKET", socket(self.node));
        command
    }

    /// Puts intent in force: files of `xtask/demo`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&self, files: &[&str]) -> Result<String> {
        let mut command = self.penstock();
        command.arg("apply");
        for file in files {
            command.arg("-f").arg(directory::file(file));
        }
        succeed(&mut command, ANSWER).wrap_err_with(|| self.node.name.to_owned())
    }

    /// The lines of `penstock status`.
    ///
    /// # Errors
    /// When the daemon is not well.
    pub fn status(&self) -> Result<String> {
        succeed(self.penstock().arg("status"), ANSWER)
    }

    /// How many packets of an interface were dropped for a reason, in either direction.
    ///
    /// # Errors
    /// When the daemon does not know the interface.
    pub fn drops(&self, interface: &str, reason: &str) -> Result<u64> {
        let text = succeed(self.penstock().args(["get", "interface", "-o", "json"]), ANSWER)?;
        let list: Vec<Value> = serde_json::from_str(&text).into_diagnostic()?;
        let object = list
            .iter()
            .find(|object| object.pointer("/metadata/name").is_some_and(|name| name == interface))
            .ok_or_else(|| miette!("{}: there is no interface {interface}", self.node.name))?;
        let sides = ["fromVm", "fromNetwork"];
        Ok(sides
            .iter()
            .filter_map(|side| object.pointer(&format!("/status/{side}/drops/{reason}"))?.as_u64())
            .sum())
    }

    /// The connections it knows.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flows(&self) -> Result<Vec<Flow>> {
        let text = succeed(self.penstock().args(["flows", "-o", "json"]), ANSWER)?;
        serde_json::from_str(&text).into_diagnostic().wrap_err("penstock flows -o json")
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(log(self.node)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
        end.iter().flat_map(|line| ["  ", line, "\n"]).collect()
    }

    /// Leaves it running for good.
    pub fn leave(self) {
        self.running.leave();
    }
}

/// Where a daemon's control API is.
pub fn socket(node: &Node) -> PathBuf {
    node.file("dpud.sock")
}

/// Where a daemon logs.
pub fn log(node: &Node) -> PathBuf {
    node.file("dpud.log")
}

/// The configuration of a DPU's daemon.
fn configuration(node: &Node) -> String {
    let links: Vec<String> = (0..node.vfs).map(|vf| format!("vf{vf}=tap:vf{vf}")).collect();
    format!(
        r#"# The DPU {name} of the demo.
node = "{name}"

[intent]
stateDirectory = "{state}"

[api]
socket = "{socket}"

[metrics]
listen = "127.0.0.1:9100"

[eal]
drivers = ["{driver}"]
# Any machine can do without huge pages.
arguments = ["--no-huge", "--no-shconf", "-m", "256"]

[ports]
devices = ["net_eswitch0,vfs={vfs},representor=vf[0-{last}],uplink=packet:uplink,{links},profile=bluefield3-sws"]

[offload]
profile = "bluefield3-sws"
"#,
        name = node.name,
        state = node.file("state").display(),
        socket = socket(node).display(),
        driver = Path::new(&directory::file(Programs::DRIVER)).display(),
        vfs = node.vfs,
        last = node.vfs.saturating_sub(1),
        links = links.join(","),
    )
}

/// A connection as `penstock flows -o json` shows it; what the demo needs of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Where it was initiated, or, for one from the wire, its receiver.
    pub interface: String,
    /// `tcp` and so on.
    pub protocol: String,
    /// The initiator's address.
    pub source: String,
    /// The receiver's address.
    pub destination: String,
    /// The initiator's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// From the initiator.
    pub forward: Direction,
    /// To the initiator.
    pub reverse: Direction,
}

/// One direction of a connection.
#[derive(Clone, Debug, Deserialize)]
pub struct Direction {
    /// `hardware`, `pending` or `software`.
    pub path: String,
    /// What the daemon's processor carried.
    pub software: Carried,
    /// What the NIC carried.
    pub hardware: Carried,
}

/// Traffic.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Carried {
    /// Packets.
    pub packets: u64,
}

impl Flow {
    /// Whether the NIC has it, both ways.
    pub fn is_in_hardware(&self) -> bool {
        [&self.forward, &self.reverse].iter().all(|direction| direction.path == "hardware")
    }

    /// Whether both are the same connection, at the same DPU.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let key = |flow: &Self| (flow.interface.clone(), flow.source_port, flow.destination_port);
        key(self) == key(other) && self.source == other.source
    }

    /// Packets that NIC rules carried, both ways.
    pub const fn hardware(&self) -> u64 {
        self.forward.hardware.packets + self.reverse.hardware.packets
    }

    /// Packets that the daemon's processor carried, both ways.
    pub const fn software(&self) -> u64 {
        self.forward.software.packets + self.reverse.software.packets
    }
}
