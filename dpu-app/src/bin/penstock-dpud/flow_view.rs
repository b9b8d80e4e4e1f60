//! Connections as the control API shows them.

use std::time::Duration;

use dpu_app::api::v1::{self, flow_direction::Path};
use dpu_app::datapath::conntrack::{Connection, Offload, State, TcpState};
use dpu_app::datapath::{ConnectionHandle, FlowDirection, Time};
use model::decision::{Output, Side};
use model::snapshot::{InterfaceId, Snapshot};

use crate::refusals::Refusals;

/// What is needed to put names to numbers.
pub struct FlowView<'a> {
    /// The intent in force.
    pub snapshot: &'a Snapshot,
    /// What the NIC said.
    pub refusals: &'a Refusals,
    /// The time.
    pub now: Time,
}

impl FlowView<'_> {
    /// Whether an interface is one end of a connection.
    pub fn involves(&self, connection: &Connection, interface: &str) -> bool {
        let initiator = connection.key(FlowDirection::Forward).zone.interface();
        let receiver = match connection.decision().forward.output {
            Output::Local(id) => Some(id),
            Output::Tunnel(_) => None,
        };
        [Some(initiator), receiver].into_iter().flatten().any(|id| self.name(id) == interface)
    }

    /// A connection.
    pub fn flow(&self, id: ConnectionHandle, connection: &Connection) -> v1::Flow {
        let key = connection.key(FlowDirection::Forward);
        let direction = |direction| Some(self.direction(id, connection, direction));
        v1::Flow {
            interface: self.name(key.zone.interface()),
            from_network: key.zone.side() == Side::FromNetwork,
            protocol: key.tuple.protocol().into(),
            source: key.tuple.source().to_string(),
            destination: key.tuple.destination().to_string(),
            source_port: key.tuple.source_port().into(),
            destination_port: key.tuple.destination_port().into(),
            state: state_name(connection.state()).into(),
            age_ms: milliseconds(self.now - connection.created()),
            idle_ms: milliseconds(self.now - connection.last_seen()),
            expires_in_ms: milliseconds(connection.deadline() - self.now),
            forward: direction(FlowDirection::Forward),
            reverse: direction(FlowDirection::Reverse),
        }
    }

    fn direction(
        &self,
        id: ConnectionHandle,
        connection: &Connection,
        direction: FlowDirection,
    ) -> v1::FlowDirection {
        let (path, reason) = match connection.offload().get(direction) {
            Offload::Software(why) => (Path::Software, why.name()),
            Offload::Pending => (Path::Pending, ""),
            Offload::Hardware => (Path::Hardware, ""),
        };
        let message = (path == Path::Software).then(|| self.refusals.message(id, direction));
        let output = match connection.path(direction) {
            Ok(path) => match path.output {
                Output::Local(id) => self.name(id),
                Output::Tunnel(id) => {
                    let node = self.snapshot.tunnel(id).map_or("?", |tunnel| tunnel.node.as_str());
                    format!("tunnel to {node}")
                }
            },
            Err(reason) => format!("dropped: {}", reason.name()),
        };
        let software = connection.software().get(direction);
        let hardware = connection.hardware().get(direction);
        v1::FlowDirection {
            path: path.into(),
            reason: reason.into(),
            message: message.flatten().unwrap_or_default(),
            output,
            software_packets: software.packets,
            software_bytes: software.bytes,
            hardware_packets: hardware.packets,
            hardware_bytes: hardware.bytes,
        }
    }

    /// An interface's name; of one that intent no longer has, its number.
    fn name(&self, id: InterfaceId) -> String {
        match self.snapshot.interface(id) {
            Some(interface) => interface.name.clone(),
            None => format!("#{}", id.0),
        }
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Tcp(TcpState::SynSent) => "syn_sent",
        State::Tcp(TcpState::SynReceived) => "syn_received",
        State::Tcp(TcpState::Established) => "established",
        State::Tcp(TcpState::Closing(_)) => "closing",
        State::Tcp(TcpState::TimeWait) => "time_wait",
        State::Tcp(TcpState::Reset { .. }) => "reset",
        State::Udp { answered } | State::Echo { answered } | State::Other { answered } => {
            if answered {
                "answered"
            } else {
                "one_way"
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
