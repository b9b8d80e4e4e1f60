//! The order in which ethdevs start and stop with hardware steering (mlx5 guide, "Limitations": the transfer proxy port starts first
//! and stops last), as the driver sees to it from the moment on when the proxy's flow engine is configured.

use rte_flow::{EAGAIN, EBUSY, EINVAL, ErrorKind, FlowError, Steering};

use super::port::{Port, PortRole};
use super::switch::Eswitch;

impl Eswitch {
    /// Whether a port that starts configures its flow engine by itself: since there are synchronous rules.
    pub(super) fn configures_at_start(&self) -> bool {
        self.profile.steering == Steering::Hardware && self.profile.interface.synchronous
    }

    /// Whether a port may start now: `EAGAIN` before the proxy, `EINVAL` without a flow engine.
    pub(super) fn may_start(&self, port: u16) -> Result<(), FlowError> {
        let starting = self.ports.known(port)?;
        let Some(proxy) = self.configured_proxy().filter(|proxy| proxy.config.id != port) else {
            return Ok(());
        };
        if !proxy.started {
            let message =
                format!("port {} manages transfer rules; start it first", proxy.config.id);
            return Err(FlowError::other(ErrorKind::Unspecified, EAGAIN, message));
        }
        if !starting.configured && !self.configures_at_start() {
            let message =
                format!("port {port} has no flow queues; configure some before it starts");
            return Err(FlowError::other(ErrorKind::Unspecified, EINVAL, message));
        }
        Ok(())
    }

    /// Whether a port may stop now: `EBUSY` for the proxy before the others.
    pub(super) fn may_stop(&self, port: u16) -> Result<(), FlowError> {
        self.ports.known(port)?;
        if self.configured_proxy().is_none_or(|proxy| proxy.config.id != port) {
            return Ok(());
        }
        let started = |other: &&Port| other.started && other.config.id != port;
        match self.ports.iter().find(started) {
            Some(other) => {
                let message = format!(
                    "port {port} manages the transfer rules of port {}; stop that first",
                    other.config.id
                );
                Err(FlowError::other(ErrorKind::Unspecified, EBUSY, message))
            }
            None => Ok(()),
        }
    }

    /// The port that manages transfer rules, where rules are the hardware's and its flow engine is configured.
    fn configured_proxy(&self) -> Option<&Port> {
        let is_proxy = |port: &&Port| port.config.role == PortRole::Uplink && port.configured;
        self.ports.iter().find(is_proxy).filter(|_| self.profile.steering == Steering::Hardware)
    }
}
