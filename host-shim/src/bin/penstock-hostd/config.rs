//! The configuration file. See `docs/reference/hostd-config.md`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_shim::api::DEFAULT_SOCKET;
use host_shim::attachment::fault::FaultPoint;
use host_shim::device::{SoftwareCard, Sources, VfNumber};
use host_shim::dpu::Settings;
use host_shim::sysfs::PciAddress;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// All that an operator tells a daemon.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where leases are kept.
    pub state_directory: PathBuf,
    /// The control API.
    pub api: ApiConfig,
    /// Devices.
    pub devices: DevicesConfig,
    /// NICs in software.
    pub software_cards: Vec<SoftwareCard>,
    /// The DPU; none: leases are the host's own business.
    pub dpu: Option<DpuConfig>,
    /// How often all is looked at.
    pub reconcile: ReconcileConfig,
    /// For tests: where to die.
    pub faults: FaultsConfig,
    /// Logs.
    pub log: LogConfig,
    /// The file, for a support bundle.
    #[serde(skip)]
    pub text: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_directory: "/var/lib/penstock/host".into(),
            api: ApiConfig::default(),
            devices: DevicesConfig::default(),
            software_cards: Vec::new(),
            dpu: None,
            reconcile: ReconcileConfig::default(),
            faults: FaultsConfig::default(),
            log: LogConfig::default(),
            text: String::new(),
        }
    }
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

/// Devices.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct DevicesConfig {
    /// The kernel's devices.
    pub sysfs: PathBuf,
    /// Device nodes.
    pub dev: PathBuf,
    /// Functions that are GPUs although their class does not say so.
    pub gpus: BTreeSet<PciAddress>,
}

impl Default for DevicesConfig {
    fn default() -> Self {
        Self { sysfs: "/sys".into(), dev: "/dev".into(), gpus: BTreeSet::new() }
    }
}

/// The DPU.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DpuConfig {
    /// Where it is there for its hosts.
    pub address: SocketAddr,
    /// Milliseconds that a call may take.
    #[serde(default = "default_deadline")]
    pub deadline_ms: u32,
    /// Milliseconds from one heartbeat to the next; after five without an answer it is gone.
    #[serde(default = "default_heartbeat")]
    pub heartbeat_ms: u32,
}

const fn default_deadline() -> u32 {
    3000
}

const fn default_heartbeat() -> u32 {
    2000
}

/// How often all is looked at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ReconcileConfig {
    /// Milliseconds, also when nothing is heard from the kernel.
    pub interval_ms: u32,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self { interval_ms: 5000 }
    }
}

/// For tests: where to die.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultsConfig {
    /// The fault point at which the daemon ends itself, without cleaning up.
    #[serde(deserialize_with = "fault_point")]
    pub abort_at: Option<FaultPoint>,
}

fn fault_point<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FaultPoint>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives.
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
    /// A value cannot work.
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
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ConfigError::Syntax {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                message: error.message().trim().replace('\n', " "),
            }
        })?;
        text.clone_into(&mut config.text);
        match config.problem() {
            Some(message) => Err(ConfigError::Value { file: file.to_owned(), message }),
            None => Ok(config),
        }
    }

    fn problem(&self) -> Option<String> {
        if !(100..=3_600_000).contains(&self.reconcile.interval_ms) {
            let interval = self.reconcile.interval_ms;
            return Some(format!("[reconcile] intervalMs = {interval}: expected 100 to 3600000"));
        }
        if let Some(dpu) = &self.dpu {
            for (key, value) in [("deadlineMs", dpu.deadline_ms), ("heartbeatMs", dpu.heartbeat_ms)]
            {
                if !(50..=60_000).contains(&value) {
                    return Some(format!("[dpu] {key} = {value}: expected 50 to 60000"));
                }
            }
        }
        let mut cards = BTreeSet::new();
        for card in &self.software_cards {
            if !cards.insert((&card.serial, card.pf_mac)) {
                return Some(format!(
                    "[[softwareCards]] {}: another has the same serial and pfMac; VFs would have one name twice",
                    card.name
                ));
            }
            if card.pf_mac.unicast().is_err() {
                return Some(format!(
                    "[[softwareCards]] {}: pfMac must be a unicast address",
                    card.name
                ));
            }
            if let Some(error) = card.sockets.keys().find_map(|vf| vf.parse::<VfNumber>().err()) {
                return Some(format!("[[softwareCards]] {}: sockets: {error}", card.name));
            }
        }
        None
    }

    /// What is added to the devices that can be found out.
    pub fn sources(&self) -> Sources {
        Sources { gpus: self.devices.gpus.clone(), cards: self.software_cards.clone() }
    }

    /// The DPU.
    pub fn dpu_settings(&self) -> Option<Settings> {
        self.dpu.as_ref().map(|dpu| Settings {
            address: dpu.address,
            deadline: Duration::from_millis(dpu.deadline_ms.into()),
            heartbeat: Duration::from_millis(dpu.heartbeat_ms.into()),
            credentials: self.state_directory.join("dpu.pem"),
        })
    }

    /// How often all is looked at.
    pub fn reconcile_interval(&self) -> Duration {
        Duration::from_millis(self.reconcile.interval_ms.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("hostd.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_needed() {
        let config = parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.api.socket, Path::new(DEFAULT_SOCKET));
    }

    #[test]
    fn everything_can_be_said() {
        let config = parse(
            "stateDirectory = \"/s\"\n[devices]\ngpus = [\"0000:41:00.0\"]\n[reconcile]\nintervalMs = 500\n\
             [faults]\nabortAt = \"after-bind\"\n[[softwareCards]]\nname = \"sim\"\nserial = \"SIM1\"\n\
             pfMac = \"02:00:00:00:01:00\"\nsockets = {vf0 = \"/run/vf0.sock\"}",
        )
        .unwrap();
        assert_eq!(config.faults.abort_at.unwrap().to_string(), "after-bind");
        assert_eq!(config.sources().cards[0].sockets["vf0"], Path::new("/run/vf0.sock"));
        assert_eq!(config.reconcile_interval(), Duration::from_millis(500));
        let config = parse("stateDirectory = \"/s\"\n[dpu]\naddress = \"192.0.2.1:7443\"").unwrap();
        let dpu = config.dpu_settings().unwrap();
        assert_eq!((dpu.credentials, dpu.deadline.as_secs()), ("/s/dpu.pem".into(), 3));
        assert_eq!(dpu.heartbeat.as_secs(), 2);
    }

    #[test]
    fn errors_are_one_line_and_say_where() {
        let card =
            "[[softwareCards]]\nname = \"a\"\nserial = \"S\"\npfMac = \"02:00:00:00:00:01\"\n";
        for (text, expected) in [
            ("[api]\nsokcet = \"x\"", "hostd.toml:2: unknown field `sokcet`"),
            ("[dpu]\naddress = \"dpu\"", "hostd.toml:2: invalid socket address"),
            ("[dpu]\ndeadlineMs = 100", "hostd.toml:1: missing field `address`"),
            (
                "[dpu]\naddress = \"192.0.2.1:7443\"\nheartbeatMs = 1",
                "hostd.toml: [dpu] heartbeatMs = 1: expected 50",
            ),
            ("[devices]\ngpus = [\"41:00.0\"]", "hostd.toml:2: `41:00.0` is no PCI address"),
            ("[faults]\nabortAt = \"lunch\"", "hostd.toml:2: `lunch` is no fault point"),
            ("[reconcile]\nintervalMs = 1", "hostd.toml: [reconcile] intervalMs = 1: expected 100"),
            (
                &format!("{card}sockets = {{eth0 = \"/x\"}}"),
                "hostd.toml: [[softwareCards]] a: sockets: `eth0` is no VF",
            ),
            (
                &format!("{card}sockets = {{}}\n{card}sockets = {{}}"),
                "hostd.toml: [[softwareCards]] a: another has the same serial",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
