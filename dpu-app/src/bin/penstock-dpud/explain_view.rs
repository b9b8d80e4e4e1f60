//! How a connection becomes rules, as the control API shows it.

use std::net::IpAddr;

use dpu_app::api::v1::{self, flow_direction::Path};
use dpu_app::datapath::FlowDirection;
use dpu_app::datapath::conntrack::Connection;
use dpu_app::offload::{Asked, Explanation, NoEnd, explain, tunnel_header};
use model::decision::Output;
use model::snapshot::{Snapshot, VfIndex};
use packet::Tuple;

use crate::nic_status::Target;

/// A question that makes sense.
pub struct ExplainQuestion(Asked);

impl ExplainQuestion {
    /// Reads a question.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(snapshot: &Snapshot, request: &v1::ExplainOffloadRequest) -> Result<Self, String> {
        let address =
            |text: &str| text.parse::<IpAddr>().map_err(|_| format!("`{text}` is no IP address"));
        let (source, destination) = (address(&request.source)?, address(&request.destination)?);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err("source and destination are not of one family".into());
        }
        let protocol = u8::try_from(request.protocol)
            .map_err(|_| format!("{} is no IP protocol", request.protocol))?;
        let port = |port| u16::try_from(port).map_err(|_| format!("{port} is no port"));
        let (from, to) = (port(request.source_port)?, port(request.destination_port)?);
        let name = &request.interface;
        let by_name = snapshot.interfaces.values().find(|interface| interface.name == *name);
        let by_vf = || {
            let vf = name.strip_prefix("vf")?.parse().ok()?;
            snapshot.interface_of_vf(VfIndex(vf))
        };
        let interface = by_name.or_else(by_vf).ok_or_else(|| {
            format!(
                "node {} has no interface `{name}`; see `penstock get interfaces`",
                snapshot.node.name
            )
        })?;
        let tuple = Tuple::new(source, destination, protocol, from, to);
        Ok(Self(Asked { interface: interface.id, tuple }))
    }

    /// What is asked.
    pub const fn asked(&self) -> &Asked {
        &self.0
    }

    /// The answer; `flow` is the connection, if there is one.
    ///
    /// # Errors
    /// [`NoEnd`].
    pub fn answer(
        &self,
        target: &Target,
        snapshot: &Snapshot,
        flow: Option<v1::Flow>,
    ) -> Result<Explanation, NoEnd> {
        let header = |tunnel| tunnel_header(snapshot, &target.neighbors, tunnel);
        let mut explanation = explain(&target.nic, snapshot, header, &self.0)?;
        let known = flow.map(|flow| [flow.forward, flow.reverse]);
        for (direction, known) in explanation.directions.iter_mut().zip(known.into_iter().flatten())
        {
            direction.now = known.map(|known| now(&known));
        }
        Ok(explanation)
    }
}

/// Whether a connection is the one that is asked for.
pub fn is_asked(asked: &Asked, connection: &Connection) -> bool {
    let key = connection.key(FlowDirection::Forward);
    let receiver = match connection.decision().forward.output {
        Output::Local(id) => Some(id),
        Output::Tunnel(_) => None,
    };
    key.tuple == asked.tuple
        && (key.zone.interface() == asked.interface || receiver == Some(asked.interface))
}

/// Where a direction is now.
fn now(known: &v1::FlowDirection) -> String {
    let place = match known.path {
        path if path == Path::Hardware as i32 => "hardware",
        path if path == Path::Pending as i32 => "on its way into hardware",
        _ => "software",
    };
    let why = if known.message.is_empty() { &known.reason } else { &known.message };
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    format!(
        "{place}{why}; {} packets by hardware, {} by software",
        known.hardware_packets, known.software_packets
    )
}
