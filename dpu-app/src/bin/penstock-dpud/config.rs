//! The configuration file. See `docs/reference/dpud-config.md`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dpu_app::api::DEFAULT_SOCKET;
use dpu_app::datapath::Port;
use dpu_app::datapath::settings::Settings;
use dpu_app::offload::OffloadSettings;
use rte_flow::Profile;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use trust::NodeName;
use trust::functions::{Functions, HostFunction};

/// All that an operator tells a daemon beside intent. Times, sizes and names are as in the reference.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The Node of intent that this daemon is.
    pub node: String,
    /// Where intent comes from at the start.
    #[serde(default)]
    pub intent: IntentConfig,
    /// The control API.
    #[serde(default)]
    pub api: ApiConfig,
    /// Prometheus metrics.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// DPDK's environment.
    #[serde(default)]
    pub eal: EalConfig,
    /// Ports.
    pub ports: PortsConfig,
    /// The datapath.
    #[serde(default)]
    pub datapath: Settings,
    /// Offload to the NIC.
    #[serde(default)]
    pub offload: OffloadConfig,
    /// Hosts.
    #[serde(default)]
    pub host: HostConfig,
    /// Logs.
    #[serde(default)]
    pub log: LogConfig,
}

/// Where intent comes from at the start.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct IntentConfig {
    /// Where the last applied intent is kept; by default `/var/lib/penstock/NODE`.
    pub state_directory: Option<PathBuf>,
    /// Files of intent for a daemon to which none was ever applied.
    pub files: Vec<PathBuf>,
}

/// The control API.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiConfig {
    /// The Unix socket.
    pub socket: PathBuf,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into() }
    }
}

/// Prometheus metrics.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where they are served over HTTP; absent: not at all.
    pub listen: Option<SocketAddr>,
}

/// DPDK's environment.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct EalConfig {
    /// Drivers to load beside DPDK's own.
    pub drivers: Vec<PathBuf>,
    /// DPDK's own arguments. Where they say nothing of memory, cores or PCI, there are defaults.
    pub arguments: Vec<String>,
}

/// Ports.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortsConfig {
    /// Devices as DPDK names them, with their arguments.
    pub devices: Vec<String>,
    /// Which DPDK port is which, where that cannot be found out: `uplink`, `vf0`, ... to DPDK's name. `kernel` never can
    /// be found out, and goes with [`Settings::kernel_port`].
    #[serde(default, deserialize_with = "port_names")]
    pub names: BTreeMap<Port, String>,
    /// Longest IP packet of a port, bytes.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// Length of receive queues.
    #[serde(default = "default_descriptors")]
    pub rx_descriptors: u16,
    /// Length of transmit queues.
    #[serde(default = "default_descriptors")]
    pub tx_descriptors: u16,
}

const fn default_mtu() -> u16 {
    1500
}

const fn default_descriptors() -> u16 {
    1024
}

fn port_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Port, String>, D::Error> {
    let names = BTreeMap::<String, String>::deserialize(deserializer)?;
    let parse = |(port, name): (String, String)| {
        Ok((port.parse().map_err(serde::de::Error::custom)?, name))
    };
    names.into_iter().map(parse).collect()
}

/// Offload to the NIC.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OffloadConfig {
    /// Whether connections are offloaded at all, where the NIC can.
    pub enabled: bool,
    /// The profile that describes the NIC.
    pub profile: String,
    /// How rules are retried and counted.
    pub timing: OffloadSettings,
}

impl Default for OffloadConfig {
    fn default() -> Self {
        Self { enabled: true, profile: "bluefield3-sws".into(), timing: OffloadSettings::default() }
    }
}

/// Hosts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct HostConfig {
    /// Where the DPU is there for its hosts; absent: nowhere.
    pub listen: Option<SocketAddr>,
    /// How long certificates live, hours.
    pub certificate_hours: u16,
    /// The card's functions that hosts have.
    pub functions: Vec<HostFunction>,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self { listen: None, certificate_hours: 24, functions: Vec::new() }
    }
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,penstock_dpud::apply=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".into() }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not a configuration.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Two parts contradict each other, or a value cannot work.
    #[error("{}: {message}", file.display())]
    Value {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::Read { file: file.to_owned(), error })?;
        Self::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ConfigError::Syntax {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                message: error.message().trim().replace('\n', " "),
            }
        })?;
        match config.problem() {
            Some(message) => Err(ConfigError::Value { file: file.to_owned(), message }),
            None => Ok(config),
        }
    }

    fn problem(&self) -> Option<String> {
        let ports = &self.ports;
        if self.node.is_empty() || self.node.contains('/') {
            return Some("node: expected the name of a Node of intent".into());
        }
        if ports.devices.is_empty() {
            return Some("[ports] devices: name at least one device, such as \"net_eswitch0,vfs=2\" or \"0000:03:00.0\"".into());
        }
        if !(1280..=9600).contains(&ports.mtu) {
            return Some(format!("[ports] mtu = {}: expected 1280 to 9600", ports.mtu));
        }
        match (ports.names.contains_key(&Port::Kernel), self.datapath.kernel_port) {
            (true, None) => {
                return Some(
                    "[ports.names] kernel: also limit what it gets, with [datapath.kernelPort] packetsPerSecond and burst"
                        .into(),
                );
            }
            (false, Some(_)) => {
                return Some(
                    "[datapath.kernelPort]: also say which port it is, in [ports.names], as `kernel = \"net_tap0\"`"
                        .into(),
                );
            }
            (true, Some(_)) | (false, None) => {}
        }
        if let Err(error) = Profile::named(&self.offload.profile) {
            return Some(format!("[offload] profile: {error}"));
        }
        if let Some(problem) = self.host_problem() {
            return Some(problem);
        }
        let zero =
            [("rxDescriptors", ports.rx_descriptors), ("txDescriptors", ports.tx_descriptors)];
        zero.iter()
            .find(|(_, number)| *number == 0)
            .map(|(key, _)| format!("[ports] {key} = 0: expected 1 to 65535"))
    }

    fn host_problem(&self) -> Option<String> {
        let host = &self.host;
        if let Err(error) = Functions::new(&host.functions) {
            return Some(format!("[[host.functions]]: {error}"));
        }
        if !(1..=8760).contains(&host.certificate_hours) {
            let hours = host.certificate_hours;
            return Some(format!("[host] certificateHours = {hours}: expected 1 to 8760"));
        }
        let node = self.node.parse::<NodeName>().err().filter(|_| host.listen.is_some());
        node.map(|error| format!("node: {error}"))
    }

    /// Where the last applied intent is kept.
    pub fn state_directory(&self) -> PathBuf {
        match &self.intent.state_directory {
            Some(directory) => directory.clone(),
            None => Path::new("/var/lib/penstock").join(&self.node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::snapshot::VfIndex;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("dpud.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn little_is_needed() {
        let config =
            parse("node = \"dpu-a\"\n[ports]\ndevices = [\"net_eswitch0,vfs=1\"]").unwrap();
        assert_eq!(config.api.socket, Path::new(DEFAULT_SOCKET));
        assert_eq!(config.state_directory(), Path::new("/var/lib/penstock/dpu-a"));
        assert_eq!((config.ports.mtu, config.metrics.listen), (1500, None));
        assert_eq!(config.datapath, Settings::default());
    }

    #[test]
    fn ports_are_named() {
        let config = parse(
            "node = \"a\"\n[ports]\ndevices = [\"net_pcap0\", \"net_tap0\", \"net_tap1\"]\n[ports.names]\nuplink = \"net_pcap0\"\nvf3 = \"net_tap0\"\nkernel = \"net_tap1\"\n[datapath.kernelPort]\nburst = 7",
        )
        .unwrap();
        assert_eq!(config.ports.names[&Port::Uplink], "net_pcap0");
        assert_eq!(config.ports.names[&Port::Vf(VfIndex(3))], "net_tap0");
        assert_eq!(config.ports.names[&Port::Kernel], "net_tap1");
        assert_eq!(config.datapath.kernel_port.unwrap().burst.get(), 7);
    }

    #[test]
    fn errors_are_one_line_and_say_where() {
        for (text, expected) in [
            ("node = \"a\"\nprots = 1", "dpud.toml:2: unknown field `prots`"),
            ("node = \"a\"", "dpud.toml:1: missing field `ports`"),
            (
                "node = \"a\"\n[ports]\ndevices = []",
                "dpud.toml: [ports] devices: name at least one",
            ),
            ("node = \"a\"\n[ports]\ndevices = [\"x\"]\nmtu = 20", "dpud.toml: [ports] mtu = 20"),
            (
                "node = \"a\"\n[ports]\ndevices = [\"x\"]\n[ports.names]\nwan = \"x\"",
                "dpud.toml:4: `wan` names no port",
            ),
            (
                "node = \"a\"\n[ports]\ndevices = [\"x\"]\n[ports.names]\nkernel = \"x\"",
                "dpud.toml: [ports.names] kernel: also limit",
            ),
            (
                "node = \"a\"\n[ports]\ndevices = [\"x\"]\n[datapath.kernelPort]",
                "dpud.toml: [datapath.kernelPort]: also say which port",
            ),
            (
                "node = \"a\"\n[ports]\ndevices = [\"x\"]\n[host]\ncertificateHours = 0",
                "dpud.toml: [host] certificateHours = 0: expected 1 to 8760",
            ),
            (
                "node = \"A\"\n[ports]\ndevices = [\"x\"]\n[host]\nlisten = \"[::1]:1\"",
                "dpud.toml: node: `A` is not a name",
            ),
            (
                "node = \"a\"\n[ports]\ndevices = [\"x\"]\n[[host.functions]]\nhost = \"h\"\npfMac = \"01:00:00:00:00:00\"\nvfs = 1",
                "dpud.toml: [[host.functions]]: pfMac",
            ),
            (
                "node = \"a\"\n[ports]\ndevices = [\"x\"]\n[[host.functions]]\nhost = \"H\"",
                "dpud.toml:5: `H` is not a name",
            ),
            ("node = ", "dpud.toml:1: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
