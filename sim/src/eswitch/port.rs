//! The ports of the switch.

use rte_flow::{EINVAL, ErrorKind, FlowError};

/// What is behind a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortRole {
    /// The wire.
    Uplink,
    /// The virtual function of this index.
    Vf(u16),
}

/// A port to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// The DPDK port identifier of its ethdev.
    pub id: u16,
    /// What is behind it.
    pub role: PortRole,
    /// The longest packet that passes it towards what is behind it, in bytes without the Ethernet header and tags.
    pub mtu: u16,
}

/// What happened at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCounters {
    /// Frames that were longer than the MTU allows and died here.
    pub oversize: u64,
}

/// A port.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// How it was made; the MTU may have changed since.
    pub config: PortConfig,
    /// Whether its ethdev is started.
    pub started: bool,
    /// Whether the flow engine of its ethdev is configured.
    pub configured: bool,
    /// How many receive queues its ethdev has; `None` where nobody said so, and any can be named.
    pub receive_queues: Option<u16>,
    /// What happened here.
    pub counters: PortCounters,
}

/// The ports; few, so that searching the list is fastest.
#[derive(Clone, Debug, Default)]
pub struct Ports(Vec<Port>);

/// What is wrong with a list of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PortError {
    /// Not one uplink.
    #[error("the switch has {0} uplinks; give it exactly one")]
    Uplinks(usize),
    /// Two ports with one ethdev.
    #[error("two ports have the DPDK port identifier {0}; give each its own")]
    Identifier(u16),
    /// Two ports for one VF.
    #[error("two ports represent VF {0}; give each its own")]
    Vf(u16),
}

impl Ports {
    /// Checks and makes the ports.
    pub fn new(configs: &[PortConfig]) -> Result<Self, PortError> {
        let mut ports = Self::default();
        for config in configs {
            ports.add(*config)?;
        }
        let uplinks = configs.iter().filter(|config| config.role == PortRole::Uplink).count();
        if uplinks == 1 { Ok(ports) } else { Err(PortError::Uplinks(uplinks)) }
    }

    /// Adds a port.
    pub fn add(&mut self, config: PortConfig) -> Result<(), PortError> {
        if self.get(config.id).is_some() {
            return Err(PortError::Identifier(config.id));
        }
        match config.role {
            role if self.0.iter().all(|port| port.config.role != role) => {}
            PortRole::Uplink => return Err(PortError::Uplinks(2)),
            PortRole::Vf(index) => return Err(PortError::Vf(index)),
        }
        let counters = PortCounters::default();
        self.0.push(Port {
            config,
            started: false,
            configured: false,
            receive_queues: None,
            counters,
        });
        Ok(())
    }

    /// The port of an ethdev.
    pub fn get(&self, id: u16) -> Option<&Port> {
        self.0.iter().find(|port| port.config.id == id)
    }

    /// The port of an ethdev, to change it.
    pub fn get_mut(&mut self, id: u16) -> Option<&mut Port> {
        self.0.iter_mut().find(|port| port.config.id == id)
    }

    /// All ports.
    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.0.iter()
    }

    /// Checks that the receive queues that the action at `index` names are there.
    pub fn check_queues(&self, id: u16, index: usize, named: &[u16]) -> Result<(), FlowError> {
        let Some(queues) = self.known(id)?.receive_queues else { return Ok(()) };
        match named.iter().find(|queue| **queue >= queues) {
            Some(missing) => {
                let message = format!(
                    "there is no receive queue {missing}; port {id} is configured with {queues}, from 0"
                );
                Err(FlowError::action(index, ErrorKind::ActionConf, EINVAL, message))
            }
            None => Ok(()),
        }
    }

    /// The port of an ethdev that must be there.
    pub fn known(&self, id: u16) -> Result<&Port, FlowError> {
        self.get(id).ok_or_else(|| {
            FlowError::other(
                ErrorKind::Unspecified,
                EINVAL,
                format!("port {id} does not belong to this switch; name one of its ethdev ports"),
            )
        })
    }
}
